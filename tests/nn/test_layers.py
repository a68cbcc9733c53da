"""Layers against direct computations in NumPy."""

import math

import numpy as np
import pytest
from scipy import special

import fdl
import fdl.numpy as fnp
from fdl import lax, nn, random, tree
from fdl.errors import DtypeError, ShapeError

KEY = random.key(0)


def numbers(params):
    return tree.map(np.asarray, params)


def test_dense(rng):
    params, x = nn.init_dense(KEY, 3, 4, b_init=nn.initializers.ones), rng.normal(size=(2, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(nn.dense(params, x), x @ np.asarray(params["w"]) + 1, rtol=1e-5)
    assert set(nn.init_dense(KEY, 3, 4, bias=False)) == {"w"}
    with pytest.raises(ShapeError, match=r"\[\.\.\., 3\].*f32\[2\]"):
        nn.dense(params, fnp.ones(2))


def test_embedding_takes_rows_and_its_gradient_counts_them():
    params, ids = nn.init_embedding(KEY, 4, 2), np.array([[1, 3], [1, 1]])
    np.testing.assert_array_equal(nn.embedding(params, ids), np.asarray(params["w"])[ids])
    gradient = fdl.grad(lambda p: nn.embedding(p, ids).sum())(params)["w"]
    assert gradient.tolist() == [[0, 0], [3, 3], [0, 0], [1, 1]]


def direct_conv(x, w, stride, low, size):
    """Two-dimensional convolution of NHWC images, by loops over the window."""
    padded = np.pad(x, ((0, 0), (low, w.shape[0]), (low, w.shape[1]), (0, 0)))
    return sum(
        padded[:, i : i + stride * size : stride, j : j + stride * size : stride] @ w[i, j]
        for i in range(w.shape[0])
        for j in range(w.shape[1])
    )


@pytest.mark.parametrize(
    ("stride", "padding", "low", "size"), [(1, "SAME", 1, 7), (2, "VALID", 0, 3), (2, [(1, 1)] * 2, 1, 4)]
)
def test_conv(rng, stride, padding, low, size):
    params = nn.init_conv(KEY, 2, 3, (3, 3), dtype="float64", b_init=nn.initializers.ones)
    x = rng.normal(size=(2, 7, 7, 2))
    found = nn.conv(params, x, strides=stride, padding=padding)
    np.testing.assert_allclose(
        found, direct_conv(x, np.asarray(params["w"]), stride, low, size) + 1, rtol=1e-9, atol=1e-12
    )


def test_grouped_conv_is_one_conv_per_group(rng):
    params = nn.init_conv(KEY, 4, 6, (3,), groups=2, bias=False, dtype="float64")
    x, w = rng.normal(size=(2, 9, 4)), params["w"]
    parts = [nn.conv({"w": w[..., 3 * g : 3 * g + 3]}, x[..., 2 * g : 2 * g + 2]) for g in range(2)]
    np.testing.assert_allclose(nn.conv(params, x, groups=2), np.concatenate(parts, -1), rtol=1e-10)
    with pytest.raises(ShapeError, match="3 groups"):
        nn.init_conv(KEY, 4, 6, (3,), groups=3)


def test_conv_transpose_spreads_each_element(rng):
    params = nn.init_conv(KEY, 1, 1, (2,), bias=False, dtype="float64")
    x, w = rng.normal(size=(1, 4, 1)), np.asarray(params["w"]).ravel()
    found = np.asarray(nn.conv_transpose(params, x, strides=2, padding="VALID")).ravel()
    expected = np.outer(x.ravel(), w[::-1]).ravel()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_pooling(rng):
    x = rng.normal(size=(2, 6, 4, 3)).astype(np.float32)
    blocks = x.reshape(2, 3, 2, 2, 2, 3)
    np.testing.assert_array_equal(nn.max_pool(x, 2), blocks.max((2, 4)))
    np.testing.assert_allclose(nn.avg_pool(x, 2), blocks.mean((2, 4)), rtol=1e-6, atol=1e-7)
    ones = np.ones((1, 3, 1), np.float32)
    assert nn.avg_pool(ones, 3, 1, "SAME").ravel().tolist() == pytest.approx([2 / 3, 1, 2 / 3])
    assert nn.avg_pool(ones, 3, 1, "SAME", count_include_pad=False).ravel().tolist() == [1, 1, 1]
    with pytest.raises(ShapeError, match="batch"):
        nn.max_pool(np.ones((2, 2)), 2)


def test_dropout_keeps_the_mean_and_scales():
    x = fnp.ones(20_000)
    y = np.asarray(nn.dropout(KEY, 0.25, x))
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)} and abs(y.mean() - 1) < 0.02
    assert np.array_equal(nn.dropout(KEY, 0.0, x), x)
    with pytest.raises(ValueError, match="rate"):
        nn.dropout(KEY, 1.0, x)


def test_norms_standardize_what_they_should(rng):
    x = rng.normal(3, 5, size=(4, 6, 8))
    y = np.asarray(nn.layer_norm(nn.init_layer_norm(8), x, epsilon=0.0))
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(y.std(-1), 1, rtol=1e-6)
    y = np.asarray(nn.group_norm(nn.init_group_norm(8), x, 2, epsilon=0.0)).reshape(4, 6, 2, 4)
    np.testing.assert_allclose(y.mean((1, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(y.std((1, 3)), 1, rtol=1e-6)
    y = np.asarray(nn.rms_norm(nn.init_rms_norm(8), x, epsilon=0.0))
    np.testing.assert_allclose((y**2).mean(-1), 1, rtol=1e-6)


def test_batch_norm_and_its_running_statistics(rng):
    x = rng.normal(2, 3, size=(50, 4, 3))
    params, stats = nn.init_batch_norm(3, dtype="float64")
    y, new = nn.batch_norm(params, stats, x, training=True, epsilon=0.0)
    np.testing.assert_allclose(np.asarray(y).std((0, 1)), 1, rtol=1e-9)
    np.testing.assert_allclose(new["mean"], 0.1 * x.mean((0, 1)))
    np.testing.assert_allclose(new["var"], 0.9 + 0.1 * x.var((0, 1)))
    fixed = {"mean": fnp.full(3, 2.0, "float64"), "var": fnp.full(3, 4.0, "float64")}
    y, same = nn.batch_norm(params, fixed, x, training=False, epsilon=0.0)
    np.testing.assert_allclose(y, (x - 2) / 2)
    assert same is fixed


def attention(q, k, v, seen):
    """Attention for one head in float64."""
    logits = np.where(seen, q @ k.T / math.sqrt(q.shape[-1]), -np.inf)
    return special.softmax(logits, -1) @ v


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({}, lambda q, k: q == q + 0 * k),
        ({"is_causal": True}, lambda q, k: k <= q),
        ({"local_window_size": (2, 1)}, lambda q, k: (k >= q - 2) & (k <= q + 1)),
        ({"key_value_seq_lengths": np.array([4, 4], np.int32)}, lambda q, k: k < 4 + 0 * q),
    ],
)
def test_dot_product_attention(rng, settings, rule):
    q, k, v = (rng.normal(size=(2, 6, heads, 5)) for heads in (4, 2, 2))
    seen = rule(np.arange(6)[:, None], np.arange(6)[None])
    found = np.asarray(nn.dot_product_attention(q, k, v, **settings))
    for b in range(2):
        for head in range(4):
            expected = attention(q[b, :, head], k[b, :, head // 2], v[b, :, head // 2], seen)
            np.testing.assert_allclose(found[b, :, head], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("queries", "keys", "settings"),
    [
        (515, 515, {"is_causal": True}),
        (512, 600, {"is_causal": True, "local_window_size": (40, 7)}),
        (640, 640, {"local_window_size": 3}),
        (600, 512, {"is_causal": True}),
    ],
)
def test_long_attention_leaves_out_blocks_that_no_query_sees(rng, queries, keys, settings):
    q = rng.normal(size=(2, queries, 2, 3))
    k, v = (rng.normal(size=(2, keys, 1, 3)) for _ in range(2))
    before = after = queries + keys
    if "local_window_size" in settings:
        window = settings["local_window_size"]
        before, after = (window, window) if isinstance(window, int) else window
    t, s = np.arange(queries)[:, None], np.arange(keys)[None]
    seen = (s >= t - before) & (s <= t + (0 if settings.get("is_causal") else after))
    found, residual = fdl.jit(lambda *x: nn.dot_product_attention(*x, **settings, return_residual=True))(q, k, v)
    for b in range(2):
        for head in range(2):
            expected = attention(q[b, :, head], k[b, :, 0], v[b, :, 0], seen)
            np.testing.assert_allclose(found[b, :, head], expected, rtol=1e-9, atol=1e-12)
            logits = np.where(seen, q[b, :, head] @ k[b, :, 0].T / math.sqrt(3), -np.inf)
            np.testing.assert_allclose(residual[b, :, head], special.logsumexp(logits, -1), rtol=1e-9, atol=1e-12)


def test_gradients_of_long_causal_attention_are_those_of_attention_with_a_mask(rng):
    x = tuple(rng.normal(size=(1, 513, 1, 2)) for _ in range(3))
    weights, seen = rng.normal(size=x[0].shape), np.tri(513, dtype=bool)
    parts = [
        fdl.jit(fdl.grad(lambda x, s=s: (nn.dot_product_attention(*x, **s) * weights).sum()))(x)
        for s in ({"is_causal": True}, {"mask": seen})
    ]
    for left, right in zip(*parts, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-11)


def test_attention_bias_mask_and_lengths(rng):
    q = k = v = rng.normal(size=(1, 3, 1, 4)).astype(np.float32)
    mask = np.array([[True, False, True]] * 3)
    by_mask = nn.dot_product_attention(q, k, v, mask=mask)
    by_bias = nn.dot_product_attention(q, k, v, bias=np.where(mask, 0, -1e9).astype(np.float32))
    np.testing.assert_allclose(by_mask, by_bias, rtol=1e-6)
    short = nn.dot_product_attention(q, k, v, query_seq_lengths=np.array([2], np.int32))
    assert (np.asarray(short)[:, 2] == 0).all() and (np.asarray(short)[:, :2] != 0).all()
    with pytest.raises(DtypeError, match="boolean"):
        nn.dot_product_attention(q, k, v, mask=mask.astype(int))
    with pytest.raises(ShapeError, match="multiple of groups"):
        nn.dot_product_attention(np.ones((1, 3, 3, 4)), np.ones((1, 3, 2, 4)), np.ones((1, 3, 2, 4)))


def test_multi_head_attention_sees_only_the_past_if_causal(rng):
    params = nn.init_multi_head_attention(KEY, 8, 2)
    x = rng.normal(size=(2, 5, 8)).astype(np.float32)
    changed = x.copy()
    changed[:, 3:] += 1
    first, second = (np.asarray(nn.multi_head_attention(params, v, heads=2, is_causal=True)) for v in (x, changed))
    np.testing.assert_allclose(first[:, :3], second[:, :3], rtol=1e-5, atol=1e-6)
    assert np.abs(first[:, 3:] - second[:, 3:]).max() > 0.01


def test_lstm_cell(rng):
    params, x = nn.init_lstm(KEY, 3, 2, dtype="float64"), rng.normal(size=(4, 3))
    h, c = rng.normal(size=(2, 4, 2))
    p = numbers(params)
    i, f, g, o = np.split(x @ p["wx"] + h @ p["wh"] + p["b"], 4, -1)
    new_c = special.expit(f) * c + special.expit(i) * np.tanh(g)
    new_h = special.expit(o) * np.tanh(new_c)
    (found_h, found_c), y = nn.lstm_cell(params, (fnp.asarray(h), fnp.asarray(c)), x)
    np.testing.assert_allclose(found_h, new_h, rtol=1e-12)
    np.testing.assert_allclose(found_c, new_c, rtol=1e-12)
    assert np.array_equal(y, found_h)
    assert p["b"].tolist() == [0, 0, 1, 1, 0, 0, 0, 0]


def test_gru_scans_over_time(rng):
    params, xs = nn.init_gru(KEY, 3, 2, dtype="float64"), rng.normal(size=(5, 4, 3))
    last, ys = lax.scan(lambda h, x: nn.gru_cell(params, h, x), nn.gru_carry((4,), 2, "float64"), fnp.asarray(xs))
    p, h = numbers(params), np.zeros((4, 2))
    for x in xs:
        (rx, zx, nx), (rh, zh, nh) = np.split(x @ p["wx"] + p["b"], 3, -1), np.split(h @ p["wh"], 3, -1)
        r, z = special.expit(rx + rh), special.expit(zx + zh)
        h = (1 - z) * np.tanh(nx + r * (nh + p["bh"])) + z * h
    np.testing.assert_allclose(last, h, rtol=1e-10)
    assert ys.shape == (5, 4, 2)
