"""All losses: their definitions in NumPy, what masks, weights and reductions do, gradients, large numbers, dtypes."""

import itertools
import math

import ml_dtypes
import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

import fdl
import fdl.numpy as fnp
from fdl import nn
from fdl.errors import DtypeError, ShapeError

RNG = np.random.default_rng(7)
X, Y, Z = RNG.normal(size=(3, 6, 4))
P, Q = RNG.dirichlet(np.ones(4), (2, 6))
LABELS, SIGNS = RNG.integers(0, 4, 6), RNG.choice([-1.0, 1.0], (6, 4))
SOFT, LOG = special.softmax(X, -1), special.log_softmax(X, -1)
SIGMOID = special.expit(X)
UNITS = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (X, Y)]


def at(scores):
    return scores[np.arange(6), LABELS]


def sparse(scores):
    """The nearest distribution, by bisection of its threshold."""
    threshold = optimize.brentq(lambda t: np.maximum(scores - t, 0).sum() - 1, scores.min() - 1, scores.max())
    return np.maximum(scores - threshold, 0)


def sparse_loss(scores):
    p = sparse(scores)
    return p @ scores - p @ p / 2 + 0.5


def list_mle(scores, labels):
    s = scores[np.argsort(-labels)]
    return sum(special.logsumexp(s[i:]) - s[i] for i in range(len(s)))


def pairwise(scores, labels):
    pairs = [(i, j) for i, j in itertools.permutations(range(4), 2) if labels[i] > labels[j]]
    return np.mean([np.logaddexp(0, scores[j] - scores[i]) for i, j in pairs])


def crps(mean, target, deviation):
    """The integral of its definition."""
    below = integrate.quad(lambda x: stats.norm.cdf(x, mean, deviation) ** 2, -90, target)[0]
    return below + integrate.quad(lambda x: stats.norm.sf(x, mean, deviation) ** 2, target, 90)[0]


LISTS = [
    ("squared_error", (X, Y), (X - Y) ** 2),
    ("l2_loss", (X, Y), (X - Y) ** 2 / 2),
    ("absolute_error", (X, Y), np.abs(X - Y)),
    ("huber_loss", (X, Y, 0.5), special.huber(0.5, X - Y)),
    ("smooth_l1_loss", (X, Y, 0.5), special.huber(0.5, X - Y) / 0.5),
    ("log_cosh", (X, Y), np.log(np.cosh(X - Y))),
    ("quantile_loss", (X, Y, 0.8), np.where(Y > X, 0.8 * (Y - X), 0.2 * (X - Y))),
    ("absolute_percentage_error", (X, Y), 100 * np.abs((X - Y) / Y)),
    ("symmetric_absolute_percentage_error", (X, Y), 200 * np.abs(X - Y) / (np.abs(X) + np.abs(Y))),
    ("squared_log_error", (np.exp(X), np.exp(Y)), (np.log1p(np.exp(X)) - np.log1p(np.exp(Y))) ** 2),
    ("cosine_similarity", (X, Y), (UNITS[0] * UNITS[1]).sum(-1)),
    ("cosine_distance", (X, Y), 1 - (UNITS[0] * UNITS[1]).sum(-1)),
    ("softmax_cross_entropy", (X, P), -(P * LOG).sum(-1)),
    ("safe_softmax_cross_entropy", (X, P), -(P * LOG).sum(-1)),
    ("softmax_cross_entropy_with_integer_labels", (X, LABELS), -at(LOG)),
    ("poly_loss_cross_entropy", (X, P, 1.5), (P * (1.5 * (1 - SOFT) - LOG)).sum(-1)),
    ("softmax_focal_loss", (X, P, 1.5), -(P * (1 - SOFT) ** 1.5 * LOG).sum(-1)),
    ("sigmoid_binary_cross_entropy", (X, P), -P * np.log(SIGMOID) - (1 - P) * np.log1p(-SIGMOID)),
    (
        "sigmoid_focal_loss",
        (X, SIGNS > 0, 0.3, 1.5),
        np.where(
            SIGNS > 0, -0.3 * (1 - SIGMOID) ** 1.5 * np.log(SIGMOID), -0.7 * SIGMOID**1.5 * np.log(1 - SIGMOID)
        ),
    ),
    ("kl_divergence", (np.log(Q), P), special.rel_entr(P, Q).sum(-1)),
    ("kl_divergence_with_log_targets", (np.log(Q), np.log(P)), special.rel_entr(P, Q).sum(-1)),
    ("generalized_kl_divergence", (np.log(2 * Q), P), (special.rel_entr(P, 2 * Q) + 2 * Q - P).sum(-1)),
    (
        "js_divergence",
        (np.log(Q), P),
        (special.rel_entr(P, (P + Q) / 2) + special.rel_entr(Q, (P + Q) / 2)).sum(-1) / 2,
    ),
    ("gaussian_nll_loss", (X, Y, np.exp(Z), True), -stats.norm.logpdf(Y, X, np.exp(Z / 2))),
    ("poisson_nll_loss", (X, np.round(np.exp(Y)), True, True), -stats.poisson.logpmf(np.round(np.exp(Y)), np.exp(X))),
    ("gaussian_crps", (X[0], Y[0], np.exp(Z[0])), [crps(*a) for a in zip(X[0], Y[0], np.exp(Z[0]), strict=True)]),
    (
        "ensemble_crps",
        (X, Y[:, 0]),
        np.abs(X - Y[:, :1]).mean(1) - np.abs(X[:, :, None] - X[:, None]).mean((1, 2)) / 2,
    ),
    ("hinge_loss", (X, SIGNS), np.maximum(0, 1 - X * SIGNS)),
    ("squared_hinge_loss", (X, SIGNS), np.maximum(0, 1 - X * SIGNS) ** 2),
    ("perceptron_loss", (X, SIGNS), np.maximum(0, -X * SIGNS)),
    (
        "sparsemax_loss",
        (2 * X, SIGNS > 0),
        [[sparse_loss(np.array([s, 0])) - (s if t > 0 else 0) for s, t in zip(a, b, strict=True)]
         for a, b in zip(2 * X, SIGNS, strict=True)],
    ),
    ("multiclass_hinge_loss", (X, LABELS), (X + 1 - np.eye(4)[LABELS]).max(-1) - at(X)),
    ("multiclass_perceptron_loss", (X, LABELS), X.max(-1) - at(X)),
    ("multiclass_sparsemax_loss", (X, LABELS), [sparse_loss(x) for x in X] - at(X)),
    (
        "triplet_margin_loss",
        (X, Y, Z),
        np.maximum(np.sqrt(((X - Y) ** 2).sum(-1) + 1e-6) - np.sqrt(((X - Z) ** 2).sum(-1) + 1e-6) + 1, 0),
    ),
    (
        "contrastive_loss",
        (X, Y, LABELS > 1, 4.0),
        np.where(
            LABELS > 1, ((X - Y) ** 2).sum(-1), np.maximum(4 - np.linalg.norm(X - Y, axis=-1), 0) ** 2
        ),
    ),
    (
        "cosine_embedding_loss",
        (X, Y, SIGNS[:, 0], 0.1),
        np.where(SIGNS[:, 0] > 0, 1 - (UNITS[0] * UNITS[1]).sum(-1),
                 np.maximum((UNITS[0] * UNITS[1]).sum(-1) - 0.1, 0)),
    ),
    ("info_nce", (X, Y, 0.5), -np.diag(special.log_softmax(UNITS[0] @ UNITS[1].T / 0.5, -1))),
    ("bpr_loss", (X, Y), np.logaddexp(0, Y - X)),
    ("margin_ranking_loss", (X, Y, SIGNS, 0.5), np.maximum(0.5 - SIGNS * (X - Y), 0)),
    ("pairwise_logistic_loss", (X, Y), [pairwise(*a) for a in zip(X, Y, strict=True)]),
    ("list_mle_loss", (X, Y), [list_mle(*a) for a in zip(X, Y, strict=True)]),
]  # fmt: skip
IDS = [case[0] for case in LISTS]


@pytest.mark.parametrize(("name", "args", "expected"), LISTS, ids=IDS)
def test_losses_are_their_definitions(name, args, expected):
    """In the dtype of the predictions; in 16 bits near to it."""
    loss = getattr(nn, name)
    np.testing.assert_allclose(loss(*args), expected, rtol=1e-7, atol=1e-9)
    found = fdl.jit(lambda *arrays: loss(*arrays, *args[len(arrays) :]))(
        *(x for x in args if isinstance(x, np.ndarray))
    )
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)
    narrow = [x.astype(ml_dtypes.bfloat16) if isinstance(x, np.ndarray) and x.dtype == float else x for x in args]
    if name != "absolute_percentage_error":  # it divides by numbers near zero
        found = loss(*narrow)
        assert found.dtype == ml_dtypes.bfloat16
        np.testing.assert_allclose(np.asarray(found, float), expected, rtol=0.1, atol=0.1 * np.abs(expected).max())


@pytest.mark.parametrize(("name", "args", "expected"), LISTS, ids=IDS)
def test_masks_weights_and_reductions(name, args, expected):
    """What is masked may hold NaN: neither the loss nor the gradient of the others sees it."""
    loss, expected = getattr(nn, name), np.asarray(expected)
    mask = np.ones(expected.shape, bool)
    mask[1] = False
    weights = RNG.uniform(0.5, 1.5, expected.shape)
    spoiled = [x.copy() if isinstance(x, np.ndarray) else x for x in args]
    for x in spoiled:
        if isinstance(x, np.ndarray) and x.dtype == float:
            x[1] = np.nan
    if name == "info_nce":  # masked ones are no candidates either
        keep = mask
        expected = np.zeros(6)
        expected[keep] = nn.info_nce(X[keep], Y[keep], 0.5)
    np.testing.assert_allclose(loss(*spoiled, mask=mask), np.where(mask, expected, 0), rtol=1e-7, atol=1e-9)
    mean = loss(*spoiled, mask=mask, weights=weights, reduction="mean")
    np.testing.assert_allclose(mean, (weights * expected)[mask].sum() / weights[mask].sum(), rtol=1e-7)
    total = loss(*args, weights=weights[..., :1] if weights.ndim > 1 else 2.0, reduction="sum")
    if name != "info_nce":
        factor = weights[..., :1] if weights.ndim > 1 else 2.0
        np.testing.assert_allclose(total, (factor * expected).sum(), rtol=1e-7)

    def mean_of(x):
        return loss(x, *spoiled[1:], mask=mask, reduction="mean")

    gradient = np.asarray(fdl.grad(mean_of)(spoiled[0]))
    assert np.isfinite(gradient).all() and (gradient[1] == 0).all()
    direction, step = np.where(np.isnan(spoiled[0]), 0, RNG.normal(size=spoiled[0].shape)), 1e-6
    ends = [mean_of(spoiled[0] + s * step * direction).item() for s in (1, -1)]
    np.testing.assert_allclose((gradient * direction).sum(), (ends[0] - ends[1]) / (2 * step), rtol=2e-5, atol=1e-7)
    assert loss(*spoiled, mask=np.zeros_like(mask), reduction="mean").item() == 0


@pytest.mark.parametrize(
    ("name", "args"),
    [
        (name, args)
        for name, args, _ in LISTS
        if name not in ("squared_log_error", "poisson_nll_loss", "generalized_kl_divergence", "js_divergence")
    ],
)
def test_large_numbers_give_finite_losses_and_gradients(name, args):
    """Of both signs, compiled."""
    loss = getattr(nn, name)
    first = np.float32(1e4 * args[0])
    rest = [np.float32(x) if isinstance(x, np.ndarray) and x.dtype == float else x for x in args[1:]]
    value, gradient = fdl.jit(fdl.value_and_grad(lambda x: loss(x, *rest, reduction="mean")))(first)
    assert np.isfinite(value) and np.isfinite(np.asarray(gradient)).all()


def test_a_reduction_or_a_mask_that_is_none():
    with pytest.raises(ValueError, match="reduction must be 'none', 'mean' or 'sum', got 'average'"):
        nn.squared_error(X, Y, reduction="average")
    with pytest.raises(DtypeError, match="use weights for numbers"):
        nn.squared_error(X, Y, mask=np.ones((6, 4)))
    with pytest.raises(ShapeError, match=r"weights f64\[3\] of losses do not broadcast to their shape \[6, 4\]"):
        nn.squared_error(X, Y, weights=np.ones(3))


def test_classes_that_do_not_count():
    where = np.array([True, True, False, True])
    logs = special.log_softmax(X[:, where], -1)
    p = P[:, where]
    np.testing.assert_allclose(nn.softmax_cross_entropy(X, P, where=where), -(p * logs).sum(-1))
    np.testing.assert_allclose(nn.kl_divergence(np.log(Q), P, where=where), special.rel_entr(P, Q)[:, where].sum(-1))
    np.testing.assert_allclose(
        nn.poly_loss_cross_entropy(X, P, where=where), (p * (2 * (1 - np.exp(logs)) - logs)).sum(-1)
    )
    labels = np.array([0, 1, 3, 0, 1, 3])
    found = nn.softmax_cross_entropy_with_integer_labels(X, labels, where=where)
    np.testing.assert_allclose(found, -logs[np.arange(6), [0, 1, 2, 0, 1, 2]])


def test_smoothed_integer_labels_are_smoothed_vectors():
    found = nn.softmax_cross_entropy_with_integer_labels(X, LABELS, label_smoothing=0.2)
    np.testing.assert_allclose(found, nn.softmax_cross_entropy(X, nn.smooth_labels(np.eye(4)[LABELS], 0.2)))


def test_labels_of_probability_zero_cost_nothing():
    logits = np.float32([[0, -np.inf]])
    assert nn.safe_softmax_cross_entropy(logits, np.float32([[1, 0]])).tolist() == [0]
    gradient = fdl.grad(lambda x: nn.safe_softmax_cross_entropy(x, np.float32([[1, 0]])).sum())(logits)
    assert np.isfinite(np.asarray(gradient)).all()


def test_ntxent():
    """The definition: for each pair of the same label, against all of other labels."""
    x, labels, t = RNG.normal(size=(7, 3)), np.array([0, 0, 1, 1, 1, 2, 3]), 0.5
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines, losses = units @ units.T / t, []
    for i, j in itertools.permutations(range(7), 2):
        if labels[i] == labels[j]:
            far = special.logsumexp(cosines[i][labels != labels[i]])
            losses.append(np.logaddexp(cosines[i, j], far) - cosines[i, j])
    assert nn.ntxent(x, labels, t).item() == pytest.approx(np.mean(losses))
    assert nn.ntxent(x, np.arange(7)).item() == 0 == nn.ntxent(x, np.zeros(7, int)).item()
    assert np.isfinite(np.asarray(fdl.grad(lambda x: nn.ntxent(x, np.zeros(7, int)))(x))).all()
    with pytest.raises(ShapeError, match="ntxent needs"):
        nn.ntxent(x, labels[:3])


@pytest.mark.parametrize("name", ["dice_loss", "iou_loss", "tversky_loss"])
def test_overlaps(name):
    logits, targets = RNG.normal(size=(2, 3, 3, 4)), np.eye(4)[RNG.integers(0, 4, (2, 3, 3))]
    p = special.softmax(logits, -1)
    common, found, true = ((x).sum((1, 2)) for x in (p * targets, p, targets))
    below = {
        "dice_loss": (found + true) / 2,
        "iou_loss": found + true - common,
        "tversky_loss": common + 0.3 * (found - common) + 0.7 * (true - common),
    }[name]
    settings = {"alpha": 0.3, "beta": 0.7} if name == "tversky_loss" else {}
    losses = 1 - (common + 1) / (below + 1)
    loss = getattr(nn, name)
    np.testing.assert_allclose(loss(logits, targets, reduction="none", **settings), losses)
    np.testing.assert_allclose(loss(logits, targets, ignore_background=True, **settings), losses[:, 1:].mean(1))
    np.testing.assert_allclose(loss(p, targets, apply_softmax=False, **settings), losses.mean(1))
    weighted = loss(logits, targets, class_weights=[1.0, 2.0, 0.0, 1.0], reduction="sum", **settings)
    np.testing.assert_allclose(weighted, losses @ [1, 2, 0, 1])
    mask = np.ones((2, 3, 3), bool)
    mask[:, 2] = False
    spoiled = np.where(mask[..., None], logits, np.nan)
    np.testing.assert_allclose(
        loss(spoiled, targets, mask=mask, **settings), loss(logits[:, :2], targets[:, :2], **settings)
    )
    one = nn.binary_dice_loss(logits[..., 0], targets[..., 0])
    s, t = special.expit(logits[..., 0]), targets[..., 0]
    np.testing.assert_allclose(one, 1 - ((s * t).sum((1, 2)) + 1) / ((s + t).sum((1, 2)) / 2 + 1))
    with pytest.raises(ShapeError, match="need one shape"):
        loss(logits, targets[:, :2], **settings)


def test_rare_classes_count_more_in_generalized_dice():
    logits, targets = RNG.normal(size=(2, 5, 3)), np.eye(3)[RNG.integers(0, 3, (2, 5))]
    factors = 1 / (targets.sum((0, 1)) ** 2 + 1e-7)
    factors = 3 * factors / factors.sum()
    expected = (np.asarray(nn.dice_loss(logits, targets, reduction="none")) * factors).mean()
    assert nn.multiclass_generalized_dice_loss(logits, targets).item() == pytest.approx(expected)


def paths(logs, labels, blank):
    """The log probability of labels, summed over all alignments."""
    total = -np.inf
    for path in itertools.product(range(logs.shape[1]), repeat=len(logs)):
        kept = [c for i, c in enumerate(path) if c != blank and (i == 0 or path[i - 1] != c)]
        if kept == labels:
            total = np.logaddexp(total, sum(logs[t, c] for t, c in enumerate(path)))
    return total


@pytest.mark.parametrize("labels", [[1, 2], [1, 1], [2], []])
def test_ctc_is_the_sum_over_all_paths(labels):
    logits = RNG.normal(size=(1, 5, 3))
    pads, label_pads = np.zeros((1, 5)), np.ones((1, 3))
    pads[:, 4:], label_pads[:, : len(labels)] = 1, 0
    padded = np.array([labels + [0] * (3 - len(labels))])
    expected = -paths(special.log_softmax(logits[0, :4], -1), labels, 0)
    found = fdl.jit(nn.ctc_loss)(logits, pads, padded, label_pads)
    np.testing.assert_allclose(found, [expected], rtol=1e-9)
    gradient = fdl.grad(lambda x: nn.ctc_loss(x, pads, padded, label_pads).sum())(logits)
    assert np.isfinite(np.asarray(gradient)).all() and np.abs(np.asarray(gradient)[:, 4]).max() == 0
    with pytest.raises(ShapeError, match="ctc_loss needs logits"):
        nn.ctc_loss(logits[0], pads, padded, label_pads)


def test_rankings_of_lists_with_holes():
    where = np.array([True, True, False, True])
    short = (X[:, where], Y[:, where])
    logits = np.where(where, X, np.nan)
    for name in ("list_mle_loss", "pairwise_logistic_loss"):
        loss = getattr(nn, name)
        np.testing.assert_allclose(loss(logits, Y, where), loss(*short), rtol=1e-9)
        gradient = fdl.grad(lambda x, loss=loss: loss(x, Y, where).sum())(logits)
        np.testing.assert_allclose(
            np.asarray(gradient)[:, where], fdl.grad(lambda x, loss=loss: loss(x, short[1]).sum())(short[0])
        )
    found = nn.ranking_softmax_loss(X, P, where=where, reduce_fn=None)
    np.testing.assert_allclose(found, -(P[:, where] * special.log_softmax(X[:, where], -1)).sum(-1))
    assert nn.ranking_softmax_loss(X, P, where=np.zeros((6, 4), bool)).item() == 0
    np.testing.assert_allclose(nn.ranking_softmax_loss(X, P, weights=2.0), 2 * (-(P * LOG).sum(-1)).mean())


def test_fenchel_young_losses_of_softmax_and_sparsemax():
    np.testing.assert_allclose(
        nn.make_fenchel_young_loss(nn.logsumexp)(X, P), special.logsumexp(X, -1) - (P * X).sum(-1)
    )
    np.testing.assert_allclose(nn.sparsemax(X), [sparse(x) for x in X], atol=1e-9)
    gradient = fdl.grad(lambda x: nn.multiclass_sparsemax_loss(x, LABELS).sum())(X)
    np.testing.assert_allclose(gradient, nn.sparsemax(X) - np.eye(4)[LABELS], atol=1e-12)


def test_variances_that_are_too_small():
    value, gradient = fdl.value_and_grad(lambda v: nn.gaussian_nll_loss(0.0, 1e-3, v))(fnp.asarray(0.0))
    assert np.isfinite(value) and np.isfinite(gradient) and math.isfinite(nn.gaussian_nll_loss(0.0, 0.0, -1.0).item())
