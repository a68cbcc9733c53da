"""A model's state: batch normalisation against NumPy in float64, checkpoints, resumes, validation."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
import fdl_spark
from fdl import nn, optim
from fdl_spark.errors import ArgumentError, LossError, NonFiniteError

RANDOM = np.random.default_rng(12)
X = (3 + 2 * RANDOM.standard_normal((32, 4))).astype(np.float32)
Y = (X @ RANDOM.standard_normal(4)).astype(np.float32)
DATA = {"x": X, "y": Y}
NORM, STATE = (fdl.tree.map(np.asarray, tree) for tree in nn.init_batch_norm(4))
PARAMS = {"norm": NORM, "w": RANDOM.standard_normal(4).astype(np.float32)}
SETTINGS = {"optimizer": optim.sgd(0.05), "batch_size": 32, "seed": 3, "state": STATE}


def loss(params, state, batch, training):
    normal, state = nn.batch_norm(params["norm"], state, batch["x"], training=training)
    return fnp.mean((normal @ params["w"] - batch["y"]) ** 2), {}, state


def error(params, state, batch):
    return loss(params, state, batch, training=False)[0]


def reference(steps):
    """Gradient descent on all rows in float64, derived by hand (Ioffe and Szegedy, 2015, section 3)."""
    scale, shift, w = np.ones(4), np.zeros(4), PARAMS["w"].astype(float)
    mean, var, losses = np.zeros(4), np.ones(4), []
    x, y = X.astype(float), Y.astype(float)
    unit = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)
    for _ in range(steps):
        mean, var = 0.9 * mean + 0.1 * x.mean(axis=0), 0.9 * var + 0.1 * x.var(axis=0)
        residual = (unit * scale + shift) @ w - y
        losses.append((residual**2).mean())
        by_output = 2 * residual[:, None] * w / len(x)
        by_w = 2 * residual @ (unit * scale + shift) / len(x)
        scale, shift = scale - 0.05 * (by_output * unit).sum(axis=0), shift - 0.05 * by_output.sum(axis=0)
        w = w - 0.05 * by_w
    return losses, scale, shift, w, mean, var


def test_a_state_may_be_empty(train_here):
    """A model that could have a state, and has none, trains as one that cannot: the same bits."""

    def plain(params, batch):
        return fnp.mean((batch["x"] @ params["w"] - batch["y"]) ** 2)

    def empty(params, state, batch, training):
        return plain(params, batch), {}, state

    settings = {**SETTINGS, "steps": 3, "shards": 2, "validation": DATA}
    nothing = {"layer": {}, "other": []}
    one = train_here(empty, {"w": PARAMS["w"]}, DATA, **settings | {"state": nothing})
    other = train_here(plain, {"w": PARAMS["w"]}, DATA, **settings | {"state": None})
    assert one.params["w"].tobytes() == other.params["w"].tobytes()
    assert one.history.loss == other.history.loss
    assert one.history.epochs[-1]["validation"] == other.history.epochs[-1]["validation"]
    assert one.state == nothing


def test_one_shard_is_the_whole_batch(train_here):
    """Parameters, statistics and losses of float64, and a validation that normalises by the statistics."""
    run = train_here(loss, PARAMS, DATA, steps=6, validation=DATA, metrics={"error": error}, **SETTINGS)
    losses, scale, shift, w, mean, var = reference(6)
    np.testing.assert_allclose(run.history.loss, losses, rtol=1e-4)
    found = run.params["norm"]["w"], run.params["norm"]["b"], run.params["w"], run.state["mean"], run.state["var"]
    for one, expected in zip(found, (scale, shift, w, mean, var), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-5)
    unit = (X - mean) / np.sqrt(var + 1e-5)
    validated = (((unit * scale + shift) @ w - Y) ** 2).mean()
    last = run.history.epochs[-1]["validation"]
    np.testing.assert_allclose([last["loss"], last["error"]], validated, rtol=1e-4)


def test_the_state_is_the_mean_over_rows(train_here, digest):
    """What the shards return, weighted by their rows, whatever slices and partitions there are."""

    def counting(params, state, batch):
        return (params["w"] ** 2).sum(), {}, {"x": batch["x"].mean(axis=0), "old": state["old"] + 1}

    start = {"x": np.zeros(4, np.float32), "old": np.zeros((), np.float32)}
    settings = {**SETTINGS, "state": start, "batch_size": 10, "shards": 3, "optimizer": optim.adam(0.1)}
    runs = [train_here(counting, PARAMS, DATA, epochs=2, partitions=n, **settings) for n in (1, 3)]
    assert digest(runs[0].state) == digest(runs[1].state)
    assert runs[0].state["old"] == 8
    one = train_here(counting, PARAMS, DATA, steps=1, **{**settings, "batch_size": 32})
    np.testing.assert_allclose(one.state["x"], X.mean(axis=0, dtype=float), rtol=1e-6)


def test_a_resumed_run_is_a_straight_one(train_here, digest, tmp_path):
    settings = {**SETTINGS, "batch_size": 8, "shards": 2, "optimizer": optim.adam(0.05)}
    settings |= {"loss_scale": fdl_spark.LossScale(4.0, 3)}
    straight = train_here(loss, PARAMS, DATA, steps=9, **settings)
    train_here(loss, PARAMS, DATA, steps=4, checkpoint=tmp_path, **settings)
    resumed = train_here(loss, PARAMS, DATA, steps=9, checkpoint=tmp_path, partitions=2, **settings)
    assert (digest(resumed.params), digest(resumed.state)) == (digest(straight.params), digest(straight.state))
    assert [step["loss_scale"] for step in resumed.history.steps] == [4.0] * 3 + [8.0] * 3 + [16.0] * 3
    further = train_here(loss, PARAMS, DATA, steps=1, continue_from=tmp_path, **settings)
    anew = train_here(loss, resumed.params, DATA, steps=1, continue_from=resumed, **settings)
    assert digest(further.state) == digest(anew.state) != digest(straight.state)


@pytest.mark.parametrize("restore", [False, True])
def test_the_best_parameters_come_with_their_state(train_here, digest, restore):
    """The best validation is the first one: the rate is far too large."""
    settings = {**SETTINGS, "optimizer": optim.sgd(3.0)}
    stop = {"stop": fdl_spark.EarlyStopping(patience=2, restore_best=True)} if restore else {"best": "loss"}
    run = train_here(
        loss, PARAMS, DATA, steps=3, validation=DATA, validate=fdl_spark.every(steps=1), **stop, **settings
    )
    first = train_here(loss, PARAMS, DATA, steps=1, **settings)
    found = run if restore else run.best
    assert (digest(found.params), digest(found.state)) == (digest(first.params), digest(first.state))


@pytest.mark.parametrize("optimizer", [optim.chain(optim.clip_by_global_norm(0.5), optim.adam(0.05)), optim.lamb(0.01)])
def test_optimizers_of_the_whole_tree_do_not_see_the_state(train_here, digest, optimizer):
    """An update with state has the bits of one without."""

    def stateless(params, batch):
        return loss(params, STATE, batch, training=True)[0]

    settings = {**SETTINGS, "optimizer": optimizer, "batch_size": 8, "shards": 2, "epochs": 2}
    with_state = train_here(loss, PARAMS, DATA, **settings)
    without = train_here(stateless, PARAMS, DATA, **{**settings, "state": None})
    assert digest(with_state.params) == digest(without.params)
    assert with_state.optimizer_state.keys() == without.optimizer_state.keys()


def test_a_skipped_step_leaves_the_state(train_here, digest):
    def spoilt(params, state, batch):
        return fnp.mean(batch["x"] @ params["w"]) * np.inf, {}, {"x": state["x"] + 1}

    settings = {**SETTINGS, "state": {"x": np.ones(3, np.float32)}, "steps": 2}
    run = train_here(spoilt, PARAMS, DATA, nonfinite="skip", **settings)
    assert digest(run.state) == digest({"x": np.ones(3, np.float32)})

    def state_only(params, state, batch):
        return fnp.mean(batch["x"] @ params["w"]), {}, {"x": state["x"] / 0}

    with pytest.raises(NonFiniteError, match=r"model_state\['x'\] is not finite"):
        train_here(state_only, PARAMS, DATA, **settings)


def test_local_steps_average_the_state(spark, digest):
    """In a round each shard keeps a state of its own; then it is the mean of the shards', by rows."""

    def counting(params, state, batch):
        return ((batch["x"] @ params["w"]) ** 2).mean(), {}, {"x": state["x"] + batch["x"].mean(axis=0)}

    settings = {**SETTINGS, "state": {"x": np.zeros(4, np.float32)}, "shards": 2, "batch_size": 16}
    runs = [
        fdl_spark.train(counting, PARAMS, DATA, epochs=1, partitions=n, sync=fdl_spark.every(2), **settings)
        for n in (1, 2)
    ]
    assert digest(runs[0].state) == digest(runs[1].state)
    np.testing.assert_allclose(runs[0].state["x"], 2 * X.mean(axis=0, dtype=float), rtol=1e-5)


MISTAKES = {
    "a mean": (lambda p, s, b: p["w"].sum(), {}, LossError, "a number, a dict of metrics, and the new state"),
    "another shape": (lambda p, s, b: (p["w"].sum(), {}, {"x": 0.0}), {}, LossError, "a new state like state="),
    "whole numbers": (loss, {"state": {"n": np.zeros(2, np.int32)}}, ArgumentError, r"state\['n'\] must be floating"),
    "rounded": (loss, {"wire": "bfloat16"}, ArgumentError, 'wire="bfloat16" rounds what travels, which state='),
    "lazy": (
        loss,
        {"optimizer": optim.by_rows(optim.sgd(0.1), {"norm": False, "w": True}, lazy=True)},
        ArgumentError,
        "with state= gradients are whole; pass lazy=False",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(train_here, mistake):
    function, changes, kind, match = MISTAKES[mistake]
    with pytest.raises(kind, match=match):
        train_here(function, PARAMS, DATA, steps=1, **{**SETTINGS, **changes})


def test_a_loss_and_metrics_with_a_state_keep_it_beside_frozen_parameters(train_here):
    """As without freezing but for the frozen ones: `training` by its name, and the pair of a Metric."""
    both = fdl_spark.metrics.mse(lambda pair, batch: nn.batch_norm(
        pair[0]["norm"], pair[1], batch["x"], training=False)[0] @ pair[0]["w"], label="y")  # fmt: skip
    options = {"steps": 3, "validation": DATA, "metrics": {"error": error, "mse": both}, **SETTINGS}
    run = train_here(loss, PARAMS, DATA, frozen=["norm/*"], **options)
    np.testing.assert_array_equal(run.params["norm"]["w"], NORM["w"])
    assert (np.asarray(run.params["w"]) != PARAMS["w"]).any() and (np.asarray(run.state["mean"]) != 0).all()
    last = run.history.epochs[-1]["validation"]
    np.testing.assert_allclose(last["mse"], last["error"], rtol=1e-5)
