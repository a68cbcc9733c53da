"""Losses, metrics, pools and attention at their edges: unsigned labels, 16-bit sums, absent classes, caches."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

import fdl
import fdl.numpy as fnp
from fdl import lax, nn, optim
from fdl.errors import ShapeError


@pytest.mark.parametrize("dtype", ["uint8", "uint32", "int8", "bool"])
def test_labels_of_any_kind_of_integer(dtype):
    labels = np.array([1, 0], dtype)
    logits = np.array([0.5, -2.0], np.float32)
    wide = logits.astype(float)
    expected = np.log1p(np.exp(-wide)) + (1 - labels.astype(float)) * wide
    np.testing.assert_allclose(nn.sigmoid_binary_cross_entropy(logits, labels), expected, rtol=1e-5)


def test_means_of_many_16_bit_numbers():
    assert nn.squared_error(fnp.full(10_000, 3.0, "float16"), reduction="mean") == 9
    assert nn.squared_error(fnp.ones(100_000, "float16"), weights=fnp.ones(100_000), reduction="mean") == 1
    assert (nn.avg_pool(np.full((1, 4, 4, 1), 200, np.uint8), 2) == 200).all()
    assert (nn.avg_pool(np.full((1, 3, 3, 1), 100, np.int8), 2, padding="SAME", count_include_pad=False) == 100).all()
    assert (nn.avg_pool(np.full((1, 32, 32, 1), 100.0, np.float16), 32) == 100).all()


def test_medians_of_the_largest_numbers():
    for dtype in (np.float16, np.float32):
        largest = np.full(4, np.finfo(dtype).max, dtype)
        np.testing.assert_array_equal(fnp.median(largest), largest[0])
        np.testing.assert_array_equal(fnp.quantile(largest, 0.5, method="midpoint"), largest[0])


def test_divergences_and_projections_where_probabilities_vanish():
    def loss(x):
        return nn.js_divergence(nn.log_softmax(x), fnp.array([1.0, 0.0, 0.0]))

    assert np.isfinite(fdl.grad(loss)(fnp.array([0.0, 0.0, -200.0]))).all()
    np.testing.assert_allclose(nn.sparsemax(fnp.array([1.0, 1.0, -np.inf])), [0.5, 0.5, 0.0])
    clipped = optim.clip_by_global_norm(0.0).update(fnp.zeros(2), optim.EmptyState())[0]
    np.testing.assert_array_equal(clipped, [0.0, 0.0])


@pytest.mark.parametrize("positive", [0, 1, 2])
def test_one_class_against_all_others(positive):
    predicted, labels = np.array([1, 1, 1, 2, 0, 2]), np.array([1, 2, 2, 1, 0, 2])
    expected = precision_recall_fscore_support(labels == positive, predicted == positive, average="binary")
    for function, value in zip((nn.metrics.precision, nn.metrics.recall, nn.metrics.f1), expected, strict=False):
        np.testing.assert_allclose(function(predicted, labels, positive=positive), value, rtol=1e-6)
    scores = np.eye(3)[predicted]
    np.testing.assert_allclose(nn.metrics.precision(scores, labels, positive=positive), expected[0], rtol=1e-6)


def test_causal_attention_with_a_cache_is_causal():
    params = nn.init_multi_head_attention(fdl.random.key(0), 8, heads=2)
    x = fdl.random.normal(fdl.random.key(1), (2, 6, 8))
    whole = nn.multi_head_attention(params, x, heads=2, is_causal=True)
    cache, parts = nn.attention_cache(2, 6, 8, 2), []
    for start in range(0, 6, 2):
        part, cache = nn.multi_head_attention(params, x[:, start : start + 2], heads=2, cache=cache, is_causal=True)
        parts.append(part)
    np.testing.assert_allclose(fnp.concatenate(parts, 1), whole, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="window as a mask"):
        nn.multi_head_attention(params, x, heads=2, cache=cache, local_window_size=(1, 0))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
def test_groups_of_many_rows(dtype):
    x, w = np.ones((200, 1), np.float32), np.array([[[1.0]], [[5.0]]], np.float32)
    found = lax.ragged_dot(x, w, np.array([100, 100], dtype))
    np.testing.assert_array_equal(found[:, 0], [1.0] * 100 + [5.0] * 100)


def test_running_statistics_of_16_bit_parameters_reach_the_mean():
    params, stats = nn.init_batch_norm(1, dtype="bfloat16")
    x = fnp.array([[2.0], [4.0]], "bfloat16")
    step = fdl.jit(lambda stats: nn.batch_norm(params, stats, x, training=True, momentum=0.99)[1])
    for _ in range(2000):
        stats = step(stats)
    np.testing.assert_allclose(stats["mean"], [3.0], rtol=1e-3)
    assert nn.batch_norm(params, stats, x, training=False)[0].dtype == x.dtype


def test_sums_of_16_bit_numbers_are_wide():
    images = np.full((1, 100, 100, 1), 100, np.float16)
    np.testing.assert_array_equal(nn.global_avg_pool(images, mask=np.ones((1, 100, 100), bool)), [[100]])
    np.testing.assert_array_equal(nn.global_avg_pool(images, mask=np.zeros((1, 100, 100), bool)), [[0]])
    table = {"w": fnp.full((2, 1), 60000, "float16")}
    np.testing.assert_array_equal(nn.embedding_bag(table, np.array([[0, 1, 1]])), [[60000]])
    labels, weights = np.ones(5000, np.int32), np.ones(5000, np.float16)
    assert nn.metrics.accuracy(labels, labels, weights=weights).item() == 1
    assert nn.metrics.confusion_matrix(labels, labels, 2, weights=weights)[1, 1].item() == 5000


def test_roots_have_derivatives_of_zero_at_zero():
    zero = fnp.zeros(3)
    np.testing.assert_array_equal(fdl.grad(nn.metrics.root_mean_squared_error)(zero, zero), [0, 0, 0])
    ball = fdl.jacrev(optim.projections.projection_l2_ball)
    np.testing.assert_array_equal(ball(zero), np.eye(3))
    # Outside of the ball: of x / |x|, which is (1 - x x^T) at norm 1, and that over the norm further out.
    x = np.array([0.0, 3.0, 4.0])
    np.testing.assert_allclose(ball(x), (np.eye(3) - np.outer(x, x) / 25) / 5, atol=1e-12)


def test_padding_is_a_name_or_pairs():
    x, params = fnp.ones((1, 4, 4, 2)), nn.init_conv(fdl.random.key(0), 2, 1, (2, 2))
    for call in (lambda p: nn.max_pool(x, 2, padding=p), lambda p: nn.conv(params, x, padding=p)):
        for padding in (1, (1, 1), ((1, 1),)):
            with pytest.raises(ShapeError, match="a pair .low, high. for each of 2 space axes"):
                call(padding)
    assert nn.max_pool(x, 2, padding=((1, 1), (0, 0))).shape == (1, 3, 2, 2)


@pytest.mark.parametrize("drop", [nn.dropout, nn.feature_dropout, nn.drop_path, nn.alpha_dropout, nn.gaussian_dropout])
def test_rates_that_are_arrays_leave_the_dtype(drop):
    assert drop(fdl.random.key(0), fnp.float32(0.5), fnp.ones((2, 3, 4), "float16")).dtype == np.float16


def test_groups_do_not_see_what_is_not_finite_in_others():
    x, w = np.ones((4, 2), np.float32), np.ones((2, 2, 1), np.float32)
    w[0, 0, 0], x[0, 0] = np.inf, np.nan
    sizes = np.array([2, 2])
    np.testing.assert_array_equal(lax.ragged_dot(x, w, sizes)[:, 0], [np.nan, np.inf, 2, 2])
    by_x, by_w = fdl.grad(lambda *xw: lax.ragged_dot(*xw, sizes)[2:].sum(), (0, 1))(x, w)
    np.testing.assert_array_equal(by_x[2:], [[1, 1], [1, 1]])
    np.testing.assert_array_equal(by_w[1, :, 0], [2, 2])
