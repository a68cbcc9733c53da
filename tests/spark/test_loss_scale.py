"""Loss scaling: no bit changes where nothing overflows; a dynamic one follows overflows, and gives up in time."""

import numpy as np
import pytest

import fdl.numpy as fnp
import fdl_spark
from fdl import nn, optim
from fdl_spark.errors import ArgumentError, NonFiniteError

RANDOM = np.random.default_rng(2)
DATA = {"x": RANDOM.standard_normal((40, 8)).astype(np.float32)}
PARAMS = {"w": (RANDOM.standard_normal((8, 4)) / 3).astype(np.float32)}
SETTINGS = {"optimizer": optim.adam(0.02), "batch_size": 20, "shards": 2, "seed": 1, "steps": 4}


def loss(params, batch):
    return fnp.mean(fnp.tanh(batch["x"] @ params["w"]) ** 2)


def small(params, batch):
    """Its gradients are too small for float16: 2**-24 is the least number that there is."""
    return fnp.mean((batch["x"] @ params["w"]).astype(np.float16) * np.float16(2**-8)).astype(np.float32) * 2.0**-14


def spoilt(params, batch):
    """The loss is finite, and its gradient is not, whatever the scale."""
    return fnp.sum(fnp.sqrt(fnp.abs(params["w"] * 0)))


def scales(run):
    return [record["loss_scale"] for record in run.history.steps]


@pytest.mark.parametrize("scale", [1.0, 2.0**15, 2.0**60])
def test_a_scale_changes_no_bit(train_here, digest, scale):
    run = train_here(loss, PARAMS, DATA, loss_scale=scale, **SETTINGS)
    assert digest(run.params) == digest(train_here(loss, PARAMS, DATA, **SETTINGS).params)
    assert "loss_scale" not in run.history.steps[0]


def test_gradients_that_underflow_without_it(train_here):
    settings = {**SETTINGS, "optimizer": optim.sgd(2.0**22), "steps": 1, "batch_size": 40, "shards": 1}
    without = train_here(small, PARAMS, DATA, **settings)
    np.testing.assert_array_equal(without.params["w"], PARAMS["w"])
    run = train_here(small, PARAMS, DATA, loss_scale=2.0**20, **settings)
    expected = PARAMS["w"] - np.mean(DATA["x"], axis=0, dtype=float)[:, None] / 4
    np.testing.assert_allclose(run.params["w"], expected, rtol=2e-3, atol=1e-3)


def test_a_dynamic_scale_grows(train_here, digest):
    run = train_here(loss, PARAMS, DATA, loss_scale=fdl_spark.LossScale(4.0, 2), **{**SETTINGS, "steps": 5})
    assert scales(run) == [4.0, 4.0, 8.0, 8.0, 16.0]
    assert digest(run.params) == digest(train_here(loss, PARAMS, DATA, **{**SETTINGS, "steps": 5}).params)
    assert scales(train_here(loss, PARAMS, DATA, loss_scale="dynamic", **SETTINGS)) == [2.0**15] * 4


def test_an_overflow_leaves_parameters_and_optimizer_as_they_are(train_here, digest):
    run = train_here(spoilt, PARAMS, DATA, loss_scale=fdl_spark.LossScale(8.0, 2), **{**SETTINGS, "steps": 3})
    assert scales(run) == [8.0, 4.0, 2.0]
    assert digest(run.params) == digest(PARAMS)
    assert not any(leaf.any() for leaf in run.optimizer_state.values())
    assert [event["event"] for event in run.history.events] == [
        f"left out: a gradient overflowed at loss scale {scale}" for scale in (8, 4, 2)
    ]


def test_a_gradient_that_is_never_finite_is_no_overflow(train_here):
    """At the smallest scale the policy for what is not finite holds."""
    settings = {**SETTINGS, "loss_scale": fdl_spark.LossScale(4.0, 2), "steps": 9}
    with pytest.raises(NonFiniteError, match=r"step 2, shard 0: the gradient of params\['w'\] is not finite"):
        train_here(spoilt, PARAMS, DATA, **settings)
    run = train_here(spoilt, PARAMS, DATA, nonfinite="skip", **settings)
    assert scales(run) == [4.0, 2.0] + [1.0] * 7


def test_a_loss_that_is_not_finite_is_no_overflow(train_here):
    with pytest.raises(NonFiniteError, match=r"step 0, shard 0: the loss \(inf\) is not finite"):
        train_here(lambda p, b: loss(p, b) + fnp.inf, PARAMS, DATA, loss_scale="dynamic", **SETTINGS)


def test_steps_that_are_left_out_for_ever_end_the_run(train_here, monkeypatch, digest):
    """Two finite steps, then none: the run stops after some steps, with what it has."""
    monkeypatch.setattr("fdl_spark.training.loop.MOST_LEFT_OUT", 5)

    def dying(params, batch):
        return loss(params, batch) / fnp.where(params["count"] < 2, 1.0, 0.0) + params["count"]

    params = {**PARAMS, "count": np.zeros((), np.float32)}
    settings = {
        **SETTINGS,
        "optimizer": optim.multi_transform({"w": optim.adam(0.02), "n": optim.scale(1.0)}, {"w": "w", "count": "n"}),
        "steps": 50,
    }
    with pytest.raises(NonFiniteError, match=r"step 6, .* the 4 steps before it were left out too; training") as caught:
        train_here(dying, params, DATA, nonfinite="skip", **settings)
    run = caught.value.run
    assert run.step == 7
    assert run.params["count"] == 2
    assert [event["step"] for event in run.history.events] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"loss_scale": 1000.0}, r"loss_scale must be a power of two from 1 to 2\*\*100"),
        ({"loss_scale": 0.5}, "loss_scale must be a power of two"),
        ({"loss_scale": "static"}, 'loss_scale must be a power of two, "dynamic" or a fdl_spark.LossScale'),
        ({"loss_scale": "dynamic", "wire": "bfloat16"}, 'which loss_scale="dynamic" does not bear'),
    ],
)
def test_mistakes(train_here, changes, match):
    with pytest.raises(ArgumentError, match=match):
        train_here(loss, PARAMS, DATA, **{**SETTINGS, **changes})


def test_local_steps_take_no_dynamic_scale():
    settings = {**SETTINGS, "loss_scale": "dynamic", "sync": fdl_spark.every(2)}
    with pytest.raises(ArgumentError, match='loss_scale="dynamic" follows the gradients of all shards'):
        fdl_spark.train(loss, PARAMS, DATA, **settings)


@pytest.mark.parametrize(("compute", "scale"), [("bfloat16", None), ("float16", "dynamic")])
def test_a_loss_in_mixed_precision(train_here, compute, scale):
    """Parameters, and the optimizer's state, stay float32."""
    run = train_here(nn.mixed_precision(loss, compute), PARAMS, DATA, loss_scale=scale, **SETTINGS)
    exact = train_here(loss, PARAMS, DATA, **SETTINGS)
    assert run.params["w"].dtype == np.float32
    np.testing.assert_allclose(run.params["w"], exact.params["w"], atol=0.01)
    assert np.abs(run.params["w"] - exact.params["w"]).max() > 0
    losses = [[record["loss"] for record in one.history.steps] for one in (run, exact)]
    np.testing.assert_allclose(*losses, rtol=0.01)
