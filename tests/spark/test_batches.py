"""What happens to a batch and a gradient, all at once: the same bits by every engine, or a refusal by name."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
import fdl_spark
from fdl import nn, optim

RANDOM = np.random.default_rng(8)
X = RANDOM.standard_normal((61, 5)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(np.int32)
DATA = {"x": X, "y": Y, "w": RANDOM.uniform(0.5, 2, 61).astype(np.float32)}
NORM, STATE = nn.init_batch_norm(4)
PARAMS = {
    "in": (RANDOM.standard_normal((5, 4)) / 2).astype(np.float32),
    "norm": fdl.tree.map(np.asarray, NORM),
    "out": RANDOM.standard_normal(4).astype(np.float32),
}
STATE = fdl.tree.map(np.asarray, STATE)


def loss(params, state, batch, key, training):
    """A loss of each row, with batch normalisation, noise, and a product whose gradients are float16."""
    hidden, state = nn.batch_norm(params["norm"], state, batch["x"] @ params["in"], training=training)
    hidden = hidden * (1 + 0.1 * fdl.random.normal(key, hidden.shape))
    half = fnp.tanh(hidden).astype(np.float16) @ params["out"].astype(np.float16)
    score = half.astype(np.float32)
    return fnp.logaddexp(0.0, score) - batch["y"] * score, {"score": fnp.mean(score)}, state


def right(params, state, batch):
    hidden, _ = nn.batch_norm(params["norm"], state, batch["x"] @ params["in"], training=False)
    return fnp.mean((fnp.tanh(hidden) @ params["out"] > 0) == (batch["y"] > 0))


def shaken(key, row):
    return {**row, "x": row["x"] + 0.1 * fdl.random.normal(key, row["x"].shape)}


EVERYTHING = {
    "state": STATE,
    "weights": "w",
    "class_weights": "balanced",
    "label": "y",
    "augment": shaken,
    "drop_remainder": True,
    "microbatch": 3,
    "loss_scale": fdl_spark.LossScale(2.0**18, 2),
    "optimizer": optim.adam(0.05),
    "batch_size": 20,
    "shards": 4,
    "seed": 4,
    "validation": DATA,
    "metrics": {"right": right},
}


def scales(scale, interval, overflown):
    """What a scale is in each step: halved after an overflow, doubled after so many steps without one."""
    found, good = [], 0
    for overflow in overflown:
        found.append(scale)
        good = 0 if overflow else good + 1
        if overflow or good == interval:
            scale, good = scale * (0.5 if overflow else 2), 0
    return found


def bits(run, digest):
    return digest(run.params), digest(run.state), [record["loss"] for record in run.history.steps]


@pytest.fixture(scope="module")
def train(spark):
    def run(**changes):
        return fdl_spark.train(loss, PARAMS, DATA, **{**EVERYTHING, "epochs": 2, "partitions": 2, **changes})

    return run


@pytest.fixture(scope="module")
def expected(train_here, digest):
    return bits(train_here(loss, PARAMS, DATA, **EVERYTHING, epochs=2), digest)


@pytest.mark.parametrize("sync", ["resident", "shuffle", "blocks", "driver"])
def test_every_engine_gives_the_same_bits(train, expected, digest, monkeypatch, sync):
    """On two slices, the last of which has the state and the loss scale."""
    monkeypatch.setattr("fdl_spark.engines.common.cuts.best_slices", lambda *_, **__: 2)
    monkeypatch.setattr("fdl_spark.engines.common.cuts.ALIGNMENT", 8)
    run = train(sync=sync)
    assert run.history.engines[0]["slices"] == 2
    assert bits(run, digest) == expected
    overflown = [record["overflow"] > 0 for record in run.history.steps]
    assert [record["loss_scale"] for record in run.history.steps] == scales(2.0**18, 2, overflown)
    assert 0 < sum(overflown) < len(overflown)


def test_several_inputs_and_outputs(spark, digest):
    """A batch is a pytree like the data; each output has a loss of its own, which the history shows too."""
    data = {
        "inputs": (X, {"more": X[:, :2] ** 2}),
        "targets": {"class": Y, "value": X.sum(axis=1)},
        "w": DATA["w"],
    }
    params = {"a": np.zeros(5, np.float32), "b": np.zeros(2, np.float32), "c": np.zeros((), np.float32)}

    def outputs(params, inputs):
        first, second = inputs
        shared = first @ params["a"]
        return shared, shared + second["more"] @ params["b"] + params["c"]

    def losses(params, batch):
        score, value = outputs(params, batch["inputs"])
        by_class = fnp.logaddexp(0.0, score) - batch["targets"]["class"] * score
        by_value = (value - batch["targets"]["value"]) ** 2
        return by_class + by_value, {"class": fnp.mean(by_class), "value": fnp.mean(by_value)}

    settings = {"optimizer": optim.sgd(0.05), "batch_size": 20, "shards": 2, "epochs": 2, "weights": "w"}
    runs = [fdl_spark.train(losses, params, data, partitions=n, sync="driver", **settings) for n in (1, 2)]
    assert digest(runs[0].params) == digest(runs[1].params)
    first, last = runs[0].history.epochs
    assert last["class"] + last["value"] < first["class"] + first["value"]


def penalty(params):
    """An L1 penalty of one subtree, and an L2 penalty of another, as a loss has them."""
    return 0.01 * fnp.abs(params["in"]).sum() + 0.1 * fnp.sum(params["out"] ** 2) / 2


def test_regularisers(train_here):
    """A penalty in the loss is that of the whole batch, whatever shards and weights there are; an L2 penalty may also
    be decay in the optimizer, of the subtrees that a mask names."""

    def plain(params, batch):
        score = fnp.tanh(batch["x"] @ params["in"]) @ params["out"]
        return fnp.logaddexp(0.0, score) - batch["y"] * score

    params = {"in": PARAMS["in"], "out": PARAMS["out"]}
    settings = {"batch_size": 20, "shards": 3, "epochs": 2, "weights": "w"}
    by_loss = train_here(lambda p, b: plain(p, b) + penalty(p), params, DATA, optimizer=optim.sgd(0.1), **settings)
    decay = optim.add_decayed_weights(0.1, mask={"in": False, "out": True})
    by_both = train_here(
        lambda p, b: plain(p, b) + 0.01 * fnp.abs(p["in"]).sum(),
        params,
        DATA,
        optimizer=optim.chain(decay, optim.sgd(0.1)),
        **settings,
    )
    for name in params:
        np.testing.assert_allclose(by_loss.params[name], by_both.params[name], rtol=1e-5, atol=1e-6)
    # The reference: one process, the mean of weighted losses, and its gradient.
    one = train_here(plain, params, DATA, optimizer=optim.sgd(0.0), **{**settings, "epochs": 1, "batch_size": 61})
    other = train_here(
        lambda p, b: plain(p, b) + penalty(p),
        params,
        DATA,
        optimizer=optim.sgd(0.0),
        epochs=1,
        batch_size=61,
        weights="w",
    )
    np.testing.assert_allclose(other.history.loss[0] - one.history.loss[0], float(penalty(params)), rtol=1e-4)
