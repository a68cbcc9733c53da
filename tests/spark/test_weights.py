"""Rows that weigh differently, by a column or their class: numbers of NumPy and scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

import fdl.numpy as fnp
import fdl_spark
from fdl import optim
from fdl_spark.errors import ArgumentError, DataError, LossError, MissingColumnError, NonFiniteError

RANDOM = np.random.default_rng(5)
X = RANDOM.standard_normal((47, 3)).astype(np.float32)
Y = (X @ RANDOM.standard_normal(3) + RANDOM.standard_normal(47)).astype(np.float32)
W = RANDOM.integers(0, 5, 47).astype(np.float32)
LABEL = RANDOM.choice([3, 7, 9], 47, p=[0.6, 0.3, 0.1]).astype(np.int32)
DATA = {"x": X, "y": Y, "w": W, "label": LABEL}
ZERO = {"a": np.zeros(3, np.float32), "b": np.zeros((), np.float32)}
SETTINGS = {"optimizer": optim.sgd(0.05), "batch_size": 10, "shards": 4, "seed": 2}


def errors(params, batch):
    return (batch["x"] @ params["a"] + params["b"] - batch["y"]) ** 2


def mean(params, batch):
    return fnp.mean(errors(params, batch))


def reference(weights, steps, batch_size=10):
    """The losses and parameters of gradient descent in float64, over the batches of the schedule."""
    from fdl_spark.data.shards import Schedule

    schedule = Schedule(len(X), batch_size, SETTINGS["shards"], SETTINGS["seed"])
    shard_of, slot_of = schedule.deal(np.arange(len(X)))
    a, b, losses = np.zeros(3), 0.0, []
    for step in range(steps):
        taken = [(shard_of == s) & np.isin(slot_of, schedule.slots(step, s)) for s in range(schedule.shards)]
        rows = np.flatnonzero(np.any(taken, axis=0))
        x, w = X[rows].astype(float), weights[rows].astype(float)
        error = x @ a + b - Y[rows]
        losses.append((w * error**2).sum() / w.sum())
        a, b = a - 0.1 * (w * error) @ x / w.sum(), b - 0.1 * (w * error).sum() / w.sum()
    return losses, a, b


@pytest.mark.parametrize("partitions", [1, 2, 4])
def test_the_mean_is_that_of_the_whole_batch(train_here, digest, partitions):
    """Not the mean of the shards' means: shards of a batch weigh differently."""
    run = train_here(errors, ZERO, DATA, weights="w", epochs=3, partitions=partitions, **SETTINGS)
    losses, a, b = reference(W, 15)
    np.testing.assert_allclose(run.history.loss, losses, rtol=2e-5)
    np.testing.assert_allclose(run.params["a"], a, rtol=2e-5)
    np.testing.assert_allclose(run.params["b"], b, rtol=2e-5)
    assert digest(run.params) == digest(train_here(errors, ZERO, DATA, weights="w", epochs=3, **SETTINGS).params)


def test_weights_of_one_change_no_bit(train_here, digest):
    ones = {**DATA, "w": np.ones_like(W)}
    run = train_here(errors, ZERO, ones, weights="w", epochs=2, **SETTINGS)
    assert digest(run.params) == digest(train_here(mean, ZERO, DATA, epochs=2, **SETTINGS).params)


def test_weighted_rows_are_repeated_rows(train_here):
    """A full batch with whole weights: the least squares of scikit-learn, with the same weights."""
    settings = {**SETTINGS, "batch_size": len(X), "optimizer": optim.sgd(0.2), "validation": DATA}
    run = train_here(errors, ZERO, DATA, weights="w", steps=400, **settings)
    expected = LinearRegression().fit(X, Y, sample_weight=W)
    np.testing.assert_allclose(run.params["a"], expected.coef_, rtol=1e-4)
    np.testing.assert_allclose(run.params["b"], expected.intercept_, rtol=1e-4)
    residual = (W * (expected.predict(X) - Y) ** 2).sum() / W.sum()
    np.testing.assert_allclose(run.history.epochs[-1]["validation"]["loss"], residual, rtol=1e-5)


def test_classes(train_here):
    """Those that are not named weigh 1; a column of weights multiplies."""
    given = {3: 0.5, 9: 4.0}
    weights = W * compute_sample_weight({**given, 7: 1.0}, LABEL)
    run = train_here(errors, ZERO, DATA, weights="w", class_weights=given, label="label", steps=5, **SETTINGS)
    np.testing.assert_allclose(run.history.loss, reference(weights, 5)[0], rtol=2e-5)
    total = sum(record["loss_weight"] * record["rows"] for record in run.history.steps)
    np.testing.assert_allclose(total, weights.sum(), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.uint8])
def test_balanced_classes(train_here, dtype):
    data = {**DATA, "label": LABEL.astype(dtype)}
    run = train_here(errors, ZERO, data, class_weights="balanced", label="label", steps=5, partitions=3, **SETTINGS)
    np.testing.assert_allclose(run.history.loss, reference(compute_sample_weight("balanced", LABEL), 5)[0], rtol=2e-5)
    by_class = dict(zip([3, 7, 9], compute_class_weight("balanced", classes=np.array([3, 7, 9]), y=LABEL), strict=True))
    same = train_here(errors, ZERO, data, class_weights=by_class, label="label", steps=5, **SETTINGS)
    assert same.history.loss == run.history.loss


def test_the_epoch_weighs_its_steps(train_here):
    run = train_here(errors, ZERO, DATA, weights="w", epochs=1, **{**SETTINGS, "optimizer": optim.sgd(0.0)})
    np.testing.assert_allclose(run.history.epochs[0]["loss"], (W * Y.astype(float) ** 2).sum() / W.sum(), rtol=1e-5)


@pytest.mark.parametrize("nonfinite", ["stop", "skip"])
def test_a_batch_that_weighs_nothing(train_here, digest, nonfinite):
    data = {**DATA, "w": np.zeros_like(W)}
    settings = {"weights": "w", "steps": 3, "nonfinite": nonfinite, **SETTINGS}
    if nonfinite == "stop":
        with pytest.raises(NonFiniteError, match=r"step 0, shard 0: the mean over rows that all weigh 0 is not finite"):
            train_here(errors, ZERO, data, **settings)
        return
    run = train_here(errors, ZERO, data, **settings)
    assert digest(run.params) == digest(ZERO)
    assert np.isnan(run.history.loss).all()
    assert len(run.history.events) == 3


def test_a_shard_that_weighs_nothing_does_not_count(train_here):
    """Its rows are in the batch, but not in the mean."""
    weights = W * (np.arange(len(W)) % 4 == 1)
    data = {**DATA, "w": weights}
    run = train_here(errors, ZERO, data, weights="w", steps=1, **{**SETTINGS, "batch_size": 47, "shards": 16})
    np.testing.assert_allclose(run.history.loss, reference(weights, 1, 47)[0], rtol=2e-5)


def test_metrics_of_the_loss_are_not_weighted(train_here):
    def loss(params, batch):
        return errors(params, batch), {"y": fnp.mean(batch["y"])}

    run = train_here(loss, ZERO, DATA, weights="w", epochs=1, **SETTINGS)
    np.testing.assert_allclose(run.history.epochs[0]["y"], Y.astype(float).mean(), rtol=1e-5)


MISTAKES = {
    "a mean": (
        {"weights": "w", "loss": mean},
        LossError,
        r"the loss of each row .* of shape \(3,\); it returned shape",
    ),
    "no such column": ({"weights": "v"}, MissingColumnError, "weights= asked for column 'v'"),
    "a vector": ({"weights": "x"}, ArgumentError, r"weights='x' must have one real number in each row"),
    "no label": ({"class_weights": {0: 1}}, ArgumentError, "class_weights= and label= go together"),
    "no classes": ({"label": "label"}, ArgumentError, "class_weights= and label= go together"),
    "a word": ({"class_weights": "even", "label": "label"}, ArgumentError, 'must be a dict {label: weight} or "bal'),
    "a negative class": ({"class_weights": {3: -1}, "label": "label"}, ArgumentError, r"class_weights\[3\] must be"),
    "a name": ({"class_weights": {"cat": 1}, "label": "label"}, ArgumentError, "a label must be a number"),
    "a number": ({"weights": 3}, ArgumentError, "weights must be the name of a column"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(train_here, mistake):
    changes, error, match = MISTAKES[mistake]
    settings = {"loss": errors, **SETTINGS, **changes}
    with pytest.raises(error, match=match):
        train_here(settings.pop("loss"), ZERO, DATA, steps=1, **settings)


def test_negative_weights_are_refused(train_here):
    with pytest.raises(DataError, match=r"weights='w': a weight must not be negative; one is -2"):
        train_here(errors, ZERO, {**DATA, "w": W - 2}, weights="w", steps=2, **SETTINGS)
    with pytest.raises(DataError, match=r"validation: weights='w': a weight must not be negative; one is -2"):
        train_here(errors, ZERO, DATA, validation={**DATA, "w": W - 2}, weights="w", steps=2, **SETTINGS)


def test_too_many_classes(train_here, monkeypatch):
    monkeypatch.setattr("fdl_spark.compute.weighting.MOST_CLASSES", 8)
    with pytest.raises(ArgumentError, match="label='y' has more than 8 different values; is it a class"):
        train_here(errors, ZERO, DATA, class_weights="balanced", label="y", steps=1, **SETTINGS)


def test_local_steps_follow_weighted_means(spark, digest):
    """Each shard steps by the weighted mean over its own rows; rows that all weigh 0 move nothing."""
    settings = {**SETTINGS, "shards": 2, "batch_size": 12, "weights": "w", "steps": 4, "sync": fdl_spark.every(2)}
    runs = [fdl_spark.train(errors, ZERO, DATA, partitions=partitions, **settings) for partitions in (1, 2)]
    assert digest(runs[0].params) == digest(runs[1].params)
    still = fdl_spark.train(errors, ZERO, {**DATA, "w": W * 0}, partitions=2, nonfinite="skip", **settings)
    assert digest(still.params) == digest(ZERO)
