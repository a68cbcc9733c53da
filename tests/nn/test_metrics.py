"""Metrics against scikit-learn, against those of fdl_spark, and under jit."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

import fdl
from fdl import nn
from fdl.errors import ShapeError
from fdl_spark import metrics as spark_metrics

RNG = np.random.default_rng(3)
ROWS, CLASSES = 60, 4
SCORES, LABELS = RNG.normal(size=(ROWS, CLASSES)).round(1), RNG.integers(0, CLASSES, ROWS)
PREDICTED = SCORES.argmax(1)
BINARY, TRUE = RNG.uniform(size=ROWS).round(1), RNG.integers(0, 2, ROWS)
WEIGHTS = RNG.integers(0, 3, ROWS).astype(float)
LISTS, RELEVANCE = RNG.normal(size=(ROWS, 8)).round(0), RNG.integers(-1, 4, (ROWS, 8)) * RNG.integers(0, 2, (ROWS, 1))
NUMBERS = (SCORES[:, 0], SCORES[:, 1])
COUNT = {"classes": CLASSES}


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weights"])
@pytest.mark.parametrize(
    ("name", "args", "settings", "sklearn", "theirs", "spark"),
    [
        ("accuracy", (SCORES, LABELS), {}, "accuracy_score", (LABELS, PREDICTED), "accuracy"),
        ("accuracy", (BINARY, TRUE), {}, "accuracy_score", (TRUE, BINARY > 0.5), "accuracy"),
        ("top_k_accuracy", (SCORES, LABELS, 2), {}, None, (), "top_k"),
        ("auc", (BINARY, TRUE), {}, "roc_auc_score", (TRUE, BINARY), "auc"),
        ("pr_auc", (BINARY, TRUE), {}, "average_precision_score", (TRUE, BINARY), "pr_auc"),
        ("mean_absolute_error", NUMBERS, {}, "mean_absolute_error", NUMBERS[::-1], "mae"),
        ("mean_squared_error", NUMBERS, {}, "mean_squared_error", NUMBERS[::-1], "mse"),
        ("root_mean_squared_error", NUMBERS, {}, "root_mean_squared_error", NUMBERS[::-1], "rmse"),
        ("r2", NUMBERS, {}, "r2_score", NUMBERS[::-1], "r2"),
        ("hit_ratio", (LISTS, RELEVANCE, 2), {}, None, (), "hit_ratio"),
        ("ndcg", (LISTS, RELEVANCE), {}, None, (), "ndcg"),
        ("ndcg", (LISTS, RELEVANCE, 3), {"exponential": True}, None, (), "ndcg"),
        ("mean_average_precision", (LISTS, RELEVANCE), {}, None, (), "mean_average_precision"),
    ],
)  # fmt: skip
def test_metrics_agree(name, args, settings, sklearn, theirs, spark, weights):
    metric = getattr(nn.metrics, name)
    found = metric(*args, weights=weights, **settings).item()
    if weights is None:
        compiled = fdl.jit(lambda x, y: metric(x, y, *args[2:], **settings))(*args[:2])
        assert compiled.item() == pytest.approx(found)
    if sklearn is not None:
        expected = getattr(sklearn_metrics, sklearn)(*theirs, sample_weight=weights)
        assert found == pytest.approx(expected, rel=1e-6)
    batch = {"x": args[0], "y": args[1], "w": WEIGHTS}
    more = {} if weights is None else {"weight": "w"}
    expected = getattr(spark_metrics, spark)("x", "y", *args[2:], **settings, **more)(None, batch)
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weights"])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
def test_classes(average, weights):
    matrix = nn.metrics.confusion_matrix(SCORES, LABELS, CLASSES, weights=weights)
    np.testing.assert_allclose(matrix, sklearn_metrics.confusion_matrix(LABELS, PREDICTED, sample_weight=weights))
    for name in ("precision", "recall", "f1"):
        found = getattr(nn.metrics, name)(PREDICTED, LABELS, average=average, weights=weights, **COUNT)
        score = getattr(sklearn_metrics, f"{name}_score")
        expected = score(LABELS, PREDICTED, average=average, sample_weight=weights, zero_division=0)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        binary = getattr(nn.metrics, name)(BINARY, TRUE, weights=weights)
        np.testing.assert_allclose(binary, score(TRUE, BINARY > 0.5, sample_weight=weights), rtol=1e-5)


def test_metrics_of_nothing_and_of_wrong_shapes():
    assert np.isnan(nn.metrics.auc(BINARY, np.ones(ROWS)).item())
    assert nn.metrics.ndcg(LISTS, np.zeros_like(LISTS)).item() == 0
    with pytest.raises(ShapeError, match=r"need one shape \[..., items\]"):
        nn.metrics.ndcg(LISTS, LABELS)
    with pytest.raises(ValueError, match="average must be"):
        nn.metrics.f1(PREDICTED, LABELS, average="mean", classes=4)
    with pytest.raises(ShapeError, match="need the same shape"):
        nn.metrics.r2(BINARY, TRUE[:3])
