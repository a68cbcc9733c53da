"""Metrics have the values of scikit-learn, and the same bits wherever the rows are."""

import json
import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from sklearn import metrics as reference

import fdl.numpy as fnp
import fdl_spark
from fdl import nn, optim, quantization, random
from fdl_spark import metrics
from fdl_spark.metrics.rows import Rows
from fdl_spark.metrics.sums import Sum, product, ratio

RANDOM = np.random.default_rng(7)
N, CLASSES = 1003, 5
BINARY = {
    "score": (np.round(RANDOM.random(N) * 40) / 40).astype(np.float32),  # many ties
    "y": RANDOM.integers(0, 2, N),
    "w": RANDOM.integers(0, 4, N).astype(np.float32) / 3,
}
MANY = {
    "scores": RANDOM.dirichlet(np.ones(CLASSES), N).astype(np.float32),
    "y": RANDOM.integers(0, CLASSES, N).astype(np.int32),
    "w": RANDOM.random(N).astype(np.float32),
}
REAL = {"p": RANDOM.normal(size=N).astype(np.float32), "w": MANY["w"]}
REAL["y"] = (REAL["p"] + 1e3 + RANDOM.normal(size=N)).astype(np.float32)
PREDICTED = MANY["scores"].argmax(axis=1)


def sklearn(name, *args, weight=None, **options):
    return getattr(reference, name)(*args, sample_weight=weight, **options)


@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("name, other", [("auc", "roc_auc_score"), ("pr_auc", "average_precision_score")])
def test_areas(name, other, weight):
    found = getattr(metrics, name)("score", "y", weight=weight)(None, BINARY)
    expected = sklearn(other, BINARY["y"], BINARY["score"], weight=weight and BINARY["w"])
    assert found == pytest.approx(expected, rel=1e-12)


def test_area_of_whole_numbers_is_the_rounded_fraction():
    score, y = BINARY["score"], BINARY["y"]
    positive, negative = score[y == 1][:, None], score[y == 0]
    wins = 2 * int((positive > negative).sum()) + int((positive == negative).sum())
    assert metrics.auc("score", "y")(None, BINARY) == float(Fraction(wins, 2 * positive.size * negative.size))


@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_classes(name, average, weight):
    found = getattr(metrics, name)("scores", "y", average=average, weight=weight)(None, MANY)
    weights = weight and MANY["w"]
    expected = sklearn(f"{name}_score", MANY["y"], PREDICTED, average=average, weight=weights)
    if average is None:
        assert list(found) == list("01234")
        found = list(found.values())
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_one_class_against_the_others(name):
    found = getattr(metrics, name)("score", "y", threshold=0.7)(None, BINARY)
    assert found == pytest.approx(getattr(reference, f"{name}_score")(BINARY["y"], BINARY["score"] > 0.7), rel=1e-12)
    other = getattr(metrics, name)("scores", "y", positive=3)(None, MANY)
    assert other == pytest.approx(getattr(reference, f"{name}_score")(MANY["y"] == 3, PREDICTED == 3), rel=1e-12)


def test_classes_without_rows_count_as_scikit_learn_counts_them():
    batch = {"p": np.array([0, 0, 2]), "y": np.array([0, 1, 0])}
    for name in ("precision", "recall", "f1"):
        expected = getattr(reference, f"{name}_score")(batch["y"], batch["p"], average="macro", zero_division=0)
        assert getattr(metrics, name)("p", "y", average="macro")(None, batch) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("weight", [None, "w"])
def test_confusion_and_accuracy(weight):
    weights = weight and MANY["w"]
    found = metrics.confusion_matrix("scores", "y", weight=weight)(None, MANY)
    assert found["labels"] == list(range(CLASSES))
    expected = sklearn("confusion_matrix", MANY["y"], PREDICTED, weight=weights)
    np.testing.assert_allclose(found["matrix"], expected, rtol=1e-12)
    found = metrics.accuracy("scores", "y", weight=weight)(None, MANY)
    assert found == pytest.approx(sklearn("accuracy_score", MANY["y"], PREDICTED, weight=weights), rel=1e-12)


def test_top_k():
    for k in (1, 2, 4):
        found = metrics.top_k("scores", "y", k)(None, MANY)
        assert found == pytest.approx(reference.top_k_accuracy_score(MANY["y"], MANY["scores"], k=k), rel=1e-12)
    ties = {"scores": np.round(MANY["scores"] * 3), "y": MANY["y"]}  # whatever the ties, the first is what argmax takes
    assert metrics.top_k("scores", "y", 1)(None, ties) == metrics.accuracy("scores", "y")(None, ties)
    assert metrics.top_k("scores", "y", 2)(None, {"scores": np.ones((2, 3)), "y": [7, -1]}) == 0


@pytest.mark.parametrize("weight", [None, "w"])
def test_regression(weight):
    weights = weight and REAL["w"].astype(float)
    arrays = REAL["y"].astype(float), REAL["p"].astype(float)
    names = {"mae": "mean_absolute_error", "mse": "mean_squared_error", "rmse": "root_mean_squared_error"}
    for name, other in (names | {"r2": "r2_score"}).items():
        found = getattr(metrics, name)("p", "y", weight=weight)(None, REAL)
        assert found == pytest.approx(sklearn(other, *arrays, weight=weights), rel=1e-10), name


def test_r2_where_sums_of_squares_cancel():
    """All that is left of the labels' squares is in their last bits."""
    y = (2**23 + RANDOM.integers(0, 4, 500)).astype(np.float32)
    p = (y + RANDOM.integers(-1, 2, 500)).astype(np.float32)
    w = RANDOM.random(500).astype(np.float32)
    ys, ps, ws = ([Fraction(float(value)) for value in array] for array in (y, p, w))
    mean = sum(a * b for a, b in zip(ws, ys, strict=True)) / sum(ws)
    total = sum(a * (b - mean) ** 2 for a, b in zip(ws, ys, strict=True))
    expected = 1 - sum(a * (b - c) ** 2 for a, b, c in zip(ws, ys, ps, strict=True)) / total
    assert metrics.r2("p", "y", weight="w")(None, {"p": p, "y": y, "w": w}) == pytest.approx(float(expected), rel=1e-14)


@pytest.mark.parametrize("weight", [None, "w"])
def test_pearson(weight):
    pair, weights = np.stack([REAL["p"], REAL["y"]]).astype(float), weight and REAL["w"].astype(float)
    expected = np.cov(pair, aweights=weights)[0, 1] / np.sqrt(np.cov(pair, aweights=weights).diagonal().prod())
    assert metrics.pearson("p", "y", weight=weight)(None, REAL) == pytest.approx(expected, rel=1e-10)
    turned = {"p": -REAL["p"], "y": REAL["y"], "w": REAL["w"]}
    assert metrics.pearson("p", "y", weight=weight)(None, turned) == pytest.approx(-expected, rel=1e-10)


def test_pearson_where_sums_cancel_and_of_equal_numbers():
    x = np.array([1e9, 1e9 + 1, 1e9 + 3])  # y + 1e9 - 2, in float64
    y = np.array([2.0, 3.0, 5.0])
    assert metrics.pearson("p", "y")(None, {"p": x, "y": y}) == 1
    assert metrics.pearson("p", "y")(None, {"p": x * 2.0**400, "y": y}) == 1
    assert math.isnan(metrics.pearson("p", "y")(None, {"p": [1.0, 1.0], "y": [1.0, 2.0]}))
    assert math.isnan(metrics.pearson("p", "y")(None, {"p": [1.0, np.nan], "y": [1.0, 2.0]}))


def test_r2_of_several_outputs_and_of_equal_labels():
    y, p = REAL["y"][:1000].reshape(-1, 2), REAL["p"][:1000].reshape(-1, 2)
    expected = reference.r2_score(y.astype(float), p.astype(float))
    assert metrics.r2("p", "y")(None, {"p": p, "y": y}) == pytest.approx(expected, rel=1e-10)
    assert metrics.r2("p", "y")(None, {"p": [1.0, 2.0], "y": [1.0, 1.0]}) == 0
    assert metrics.r2("p", "y")(None, {"p": [1.0, 1.0], "y": [1.0, 1.0]}) == 1


@pytest.mark.parametrize("weight", [None, "w"])
def test_log_loss(weight):
    weights = weight and MANY["w"].astype(float)
    probability = MANY["scores"].astype(float)
    found = metrics.log_loss("scores", "y", weight=weight)(None, MANY | {"scores": probability})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows of float32 do not sum to one in float64
        expected = sklearn("log_loss", MANY["y"], probability, weight=weights)
    assert found == pytest.approx(expected, rel=1e-6)
    logits = {"scores": np.log(probability), "y": MANY["y"], "w": MANY["w"]}
    assert metrics.log_loss("scores", "y", logits=True, weight=weight)(None, logits) == pytest.approx(found, rel=1e-6)
    score = BINARY["score"].astype(float)
    two = {"score": score, "y": BINARY["y"], "w": MANY["w"]}
    expected = sklearn("log_loss", BINARY["y"], np.clip(score, 1e-16, 1), weight=weights)
    assert metrics.log_loss("score", "y", weight=weight)(None, two) == pytest.approx(expected, rel=1e-9)
    odds = {"score": np.array([-800.0, 2.0, 1.0]), "y": np.array([1, 1, 0])}
    expected = np.mean([800.0, math.log1p(math.exp(-2)), math.log1p(math.exp(1))])
    assert metrics.log_loss("score", "y", logits=True)(None, odds) == pytest.approx(expected, rel=1e-14)


# Ranking.

LISTS, ITEMS = 40, 12
RANKED = {
    "s": np.round(RANDOM.random((LISTS, ITEMS)) * 8).astype(np.float32),
    "y": RANDOM.integers(0, 3, (LISTS, ITEMS)) * RANDOM.integers(0, 2, (LISTS, ITEMS)),
    "w": RANDOM.random(LISTS).astype(np.float32),
}
FLAT = {
    "s": RANKED["s"].reshape(-1),
    "y": RANKED["y"].reshape(-1),
    "user": np.repeat(np.arange(LISTS) * 7 - 20, ITEMS),
    "w": np.repeat(RANKED["w"], ITEMS),
}


@pytest.mark.parametrize("k", [1, 5, None])
def test_ndcg(k):
    found = metrics.ndcg("s", "y", k)(None, RANKED)
    assert found == pytest.approx(reference.ndcg_score(RANKED["y"], RANKED["s"], k=k), rel=1e-12)
    found = metrics.ndcg("s", "y", k, exponential=True, weight="w")(None, RANKED)
    gains = 2.0 ** RANKED["y"] - 1
    expected = reference.ndcg_score(gains, RANKED["s"], k=k, sample_weight=RANKED["w"].astype(float))
    assert found == pytest.approx(expected, rel=1e-12)


def test_mean_average_precision_of_lists():
    relevant = RANKED["y"] > 0
    each = [reference.average_precision_score(y, s) for y, s in zip(relevant, RANKED["s"], strict=True) if y.any()]
    found = metrics.mean_average_precision("s", "y")(None, RANKED)
    assert found == pytest.approx(sum(each) / LISTS, rel=1e-12)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_hit_ratio_is_the_mean_over_orders_of_ties(k):
    random, hits, orders = np.random.default_rng(0), 0, 4000
    scores, relevant = RANKED["s"][:6], RANKED["y"][:6] > 1
    for _ in range(orders):
        order = np.lexsort((random.random(scores.shape), -scores))[:, :k]
        hits += np.take_along_axis(relevant, order, axis=1).any(axis=1).sum()
    found = metrics.hit_ratio("s", "y", k)(None, {"s": scores, "y": relevant})
    assert found == pytest.approx(hits / orders / 6, abs=4 * math.sqrt(0.25 / orders / 6))
    single = {"s": [[3, 3, 1]], "y": [[0, 1, 0]]}
    assert metrics.hit_ratio("s", "y", 1)(None, single) == 0.5
    assert metrics.hit_ratio("s", "y", 2)(None, single) == 1


RANKINGS = {"hit": metrics.hit_ratio, "ndcg": metrics.ndcg, "map": metrics.mean_average_precision}


@pytest.mark.parametrize("name", RANKINGS)
def test_rows_of_a_list_may_be_anywhere(name):
    for weight in (None, "w"):
        expected = RANKINGS[name]("s", "y", weight=weight)(None, RANKED)
        order = np.random.default_rng(3).permutation(LISTS * ITEMS)
        shuffled = {column: array[order] for column, array in FLAT.items()}
        assert RANKINGS[name]("s", "y", group="user", weight=weight)(None, shuffled) == expected


def test_negative_labels_fill_up_lists():
    padded = {"s": np.float32([[1, 9, 3], [5, 2, 9]]), "y": np.array([[1, -1, 0], [0, 1, -1]])}
    cut = {"s": np.float32([[1, 3], [5, 2]]), "y": np.array([[1, 0], [0, 1]])}
    for make in RANKINGS.values():
        assert make("s", "y")(None, padded) == make("s", "y")(None, cut)


# Sums and rows.


def test_sums_are_those_of_fsum_in_any_order():
    values = RANDOM.normal(size=2000) * 10.0 ** RANDOM.integers(-300, 300, 2000)
    values[:3] = 5e-324, -2.2250738585072014e-308, 1.7e308
    assert float(Sum.of(values)) == math.fsum(values)
    assert Sum.of(values[:700]) + Sum.of(values[700:][::-1]) == Sum.of(values)
    assert math.isnan(float(Sum.of([1.0, np.inf]) + Sum.of([-np.inf])))
    assert float(Sum.of([np.inf, 1.0])) == np.inf
    assert float(Sum.of([1.7e308, 1.7e308])) == np.inf
    assert math.isnan(ratio(Sum(), Sum()))
    a, b = RANDOM.normal(size=(2, 500))
    exact = [Fraction(x) * Fraction(y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    high, low = product(a, b)
    assert [Fraction(x) + Fraction(y) for x, y in zip(high.tolist(), low.tolist(), strict=True)] == exact


def test_rows_are_the_same_however_they_come_together(monkeypatch):
    monkeypatch.setitem(Rows.__add__.__globals__, "LEAST", 50)
    monkeypatch.setitem(Rows.__add__.__globals__, "PIECES", 5)
    a, b = RANDOM.integers(0, 6, (2, 1000))
    unique, counts = np.unique(np.stack([a, b], axis=1), axis=0, return_counts=True)
    for size in (1, 9, 400):
        found = Rows.of(a[:0], b[:0])
        for start in range(0, 1000, size):
            found += Rows.of(a[start : start + size], b[start : start + size])
        np.testing.assert_array_equal(np.stack(found.columns, axis=1), np.c_[unique, counts])


def test_nothing_to_measure_is_nan_and_not_an_error():
    empty = {"s": np.zeros(0, np.float32), "y": np.zeros(0, np.int64), "g": np.zeros(0, np.int64)}
    for metric in (metrics.auc, metrics.pr_auc, metrics.mse, metrics.log_loss, metrics.accuracy):
        assert math.isnan(metric("s", "y")(None, empty))
    assert math.isnan(metrics.ndcg("s", "y", group="g")(None, empty))
    assert metrics.by_group(metrics.auc("s", "y"), "g")(None, empty) == {}
    assert metrics.f1("s", "y")(None, empty) == 0
    one = {"s": np.float32([0.2, 0.4]), "y": np.array([1, 1])}
    assert math.isnan(metrics.auc("s", "y")(None, one))
    assert metrics.pr_auc("s", "y")(None, one) == 1
    assert math.isnan(metrics.auc("s", "y")(None, {"s": np.float32([0.2, np.nan]), "y": np.array([0, 1])}))


def test_rows_without_weight_do_not_count_whatever_they_hold():
    cut = {"s": np.float32([0.2, 0.9, 0.6]), "y": np.float32([0, 1, 0]), "w": np.float32([1, 2, 1]), "g": [0, 0, 1]}
    padded = {"s": [np.inf], "y": [np.nan], "w": [0], "g": [9]}
    padded = {
        name: np.append(column, np.asarray(padded[name], np.asarray(column).dtype)) for name, column in cut.items()
    }
    names = ("auc", "pr_auc", "f1", "recall", "confusion_matrix", "mse", "mae", "r2", "log_loss", "accuracy")
    made = [getattr(metrics, name)("s", "y", weight="w") for name in names]
    made += [make("s", "y", group="g", weight="w") for make in RANKINGS.values()] + [metrics.mean("s", weight="w")]
    for metric in made:
        assert metric(None, padded) == metric(None, cut)


def test_columns_alone_need_no_parameters(spark):
    assert fdl_spark.evaluate({"mse": metrics.mse("s", "y")}, {}, {"s": np.arange(4.0), "y": np.arange(4) * 2}) == {
        "mse": 3.5
    }


# On Spark.

SUITE = {
    "auc": metrics.auc("score", "y"),
    "weighted auc": metrics.auc("score", "y", weight="w"),
    "pr_auc": metrics.pr_auc(lambda params, batch: batch["score"] * params, "y", weight="w"),
    "f1": metrics.f1("score", "y", average=None, weight="w"),
    "confusion": metrics.confusion_matrix("score", "y"),
    "log_loss": metrics.log_loss("score", "y", weight="w"),
    "r2": metrics.r2("score", "y", weight="w"),
    "pearson": metrics.pearson("score", "y", weight="w"),
    "rmse": metrics.rmse("score", "y"),
    "ndcg": metrics.ndcg("score", "y", 3, group="user"),
    "hits": metrics.hit_ratio("score", "y", 2, group="user", weight="w"),
    "by user": metrics.by_group(metrics.auc("score", "y", weight="w"), "user"),
    "mean": lambda params, batch: batch["score"].mean(),
}
DATA = BINARY | {"user": RANDOM.integers(0, 90, N).astype(np.int32)}


@pytest.fixture(scope="module")
def frame(spark):
    columns = {name: column.tolist() for name, column in DATA.items()}
    rows = list(zip(*columns.values(), strict=True))
    return spark.createDataFrame(rows, "score float, y int, w float, user int")


def test_evaluate_has_the_same_bits_on_any_partitions_and_batches(frame):
    direct = {name: metric(np.float32(2), DATA) for name, metric in SUITE.items() if name != "mean"}
    assert len(direct["by user"]) == 90
    for partitions, batch_size in ((1, 64), (5, 1000)):
        found = fdl_spark.evaluate(SUITE, np.float32(2), frame.repartition(partitions), batch_size=batch_size)
        assert list(found) == list(SUITE)
        assert found.pop("mean") == pytest.approx(float(BINARY["score"].mean()), rel=1e-6)
        assert repr(found) == repr(direct)  # NaN of users with rows of one kind too


def test_validation_takes_metrics_and_checkpoints_keep_them(spark, problem, tmp_path):
    chosen = {
        "auc": metrics.auc(lambda p, b: problem.scores(p, b)[:, 1], lambda p, b: b["y"] == 1),
        "accuracy": problem.accuracy,
        "matrix": metrics.confusion_matrix(problem.scores, "y"),
    }
    held_out = {name: column[:50] for name, column in problem.data.items()}
    options = {"optimizer": optim.adam(1e-2), "batch_size": 128, "validation": held_out, "metrics": chosen}
    options |= {"checkpoint": tmp_path, "sync": "driver", "shards": 2}
    run = fdl_spark.train(problem.loss, problem.params, problem.data, epochs=1, **options)
    last = run.history.epochs[-1]["validation"]
    assert list(last) == ["loss", "auc", "accuracy", "matrix"]
    assert last["auc"] == chosen["auc"](run.params, held_out)
    assert sum(map(sum, last["matrix"]["matrix"])) == 50
    again = fdl_spark.train(problem.loss, problem.params, problem.data, epochs=2, **options)
    assert again.history.epochs[0]["validation"] == last
    assert json.loads(json.dumps(last)) == last
    again.history.plot()


def test_mistakes(frame):
    with pytest.raises(fdl_spark.MissingColumnError, match=r"metric 'auc'.* asked for column 'label'"):
        fdl_spark.evaluate({"auc": metrics.auc("score", "label")}, np.float32(0), frame)
    with pytest.raises(fdl_spark.ArgumentError, match=r"scores and labels.* \(\d+, 2\) and \(\d+,\)"):
        scores = lambda params, batch: fnp.stack([batch["score"]] * 2, axis=1)  # noqa: E731
        fdl_spark.evaluate({"auc": metrics.auc(scores, "y")}, np.float32(0), frame)
    with pytest.raises(fdl_spark.ArgumentError, match="group= must say which rows belong together"):
        metrics.ndcg("score", "y")(None, BINARY)
    with pytest.raises(fdl_spark.ArgumentError, match="average must be one of"):
        metrics.f1("score", "y", average="mean")
    with pytest.raises(fdl_spark.ArgumentError, match="takes a metric of fdl_spark.metrics"):
        metrics.by_group(lambda params, batch: 0.0, "y")
    with pytest.raises(fdl_spark.DataError, match=r"whole numbers; there is 0\.5"):
        metrics.f1("score", "y")(None, {"score": [1, 0], "y": [0.5, 1.0]})
    with pytest.raises(fdl_spark.ArgumentError, match=r"weights of rows"):
        metrics.mse("score", "y", weight="w")(None, BINARY | {"w": np.ones(3)})


def test_log_loss_takes_labels_of_one_column():
    """As accuracy does: (rows, 1) beside (rows, classes)."""
    batch = {"p": np.array([[0.2, 0.8], [0.6, 0.4]]), "y": np.array([[1], [0]])}
    np.testing.assert_allclose(metrics.log_loss("p", "y")(None, batch), -np.log([0.8, 0.6]).mean(), rtol=1e-6)


def test_input_ranges_are_those_of_all_rows(spark):
    params = nn.init_dense(random.key(0), CLASSES, 3)
    found = fdl_spark.evaluate(
        {"ranges": metrics.input_ranges(lambda params, batch: nn.dense(params, batch["scores"]))},
        params,
        spark.createDataFrame([{"scores": row.tolist()} for row in MANY["scores"][:200]]).repartition(3),
        batch_size=16,
    )
    assert found["ranges"] == quantization.calibrate(nn.dense, params, [MANY["scores"][:200]])
