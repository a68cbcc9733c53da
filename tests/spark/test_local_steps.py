"""Local steps and rounded gradients, which are algorithms of their own, against plain loops over the same batches."""

import ml_dtypes
import numpy as np
import pytest

import fdl
import fdl_spark
from fdl import optim
from fdl_spark.data.shards import Schedule

SETTINGS = {"batch_size": 100, "shards": 4, "seed": 11, "partitions": 2}


@pytest.fixture(scope="module")
def train(spark, problem):
    def run(**changes):
        settings = {"optimizer": optim.adam(0.02), "epochs": 3, **SETTINGS, **changes}
        params = settings.pop("params", problem.params)
        return fdl_spark.train(settings.pop("loss", problem.loss), params, problem.data, **settings)

    return run


def parts_of(problem, schedule, step):
    """The shards' parts of a batch, and each one's rows."""
    x, y = problem.data["x"], problem.data["y"]
    shard_of, slot_of = schedule.deal(np.arange(len(x)))
    row_of = {(int(s), int(t)): row for row, (s, t) in enumerate(zip(shard_of, slot_of, strict=True))}
    for shard in range(schedule.shards):
        rows = [row_of[shard, int(slot)] for slot in schedule.slots(step, shard)]
        if rows:
            yield shard, {"x": x[rows], "y": y[rows]}, len(rows)


def flat(tree):
    return np.asarray(fdl.flatten_util.ravel_pytree(tree)[0])


def local_descent(problem, inner, outer, steps, length):
    """Local steps as the papers have them: every shard from the common parameters, then one outer step."""
    schedule = Schedule(len(problem.data["x"]), 100, 4, 11)
    params = problem.params
    states = [inner.init(params) for _ in range(4)]
    outer_state = outer.init(params)
    step = 0
    while step < steps:
        count = min(
            length - step % schedule.steps_per_epoch % length,
            schedule.steps_per_epoch - step % schedule.steps_per_epoch,
            steps - step,
        )
        replicas, rows = [params] * 4, np.zeros(4)
        for now in range(step, step + count):
            for shard, batch, size in parts_of(problem, schedule, now):
                gradient = fdl.grad(problem.loss)(replicas[shard], batch)
                updates, states[shard] = inner.update(gradient, states[shard], replicas[shard])
                replicas[shard] = optim.apply_updates(replicas[shard], updates)
                rows[shard] += size
        moved = fdl.tree.map(np.zeros_like, params)
        for share, end in zip(rows / rows.sum(), replicas, strict=True):
            moved = fdl.tree.map(lambda sum, start, end, by=float(share): sum + by * (start - end), moved, params, end)
        updates, outer_state = outer.update(moved, outer_state, params)
        params = optim.apply_updates(params, updates)
        step += count
    return params


OUTERS = {"mean": None, "momentum": optim.sgd(0.7, momentum=0.9, nesterov=True)}


@pytest.mark.parametrize("outer", OUTERS)
def test_local_steps_are_those_of_the_papers(train, problem, outer):
    run = train(sync=fdl_spark.every(3, outer=OUTERS[outer]))
    expected = local_descent(problem, optim.adam(0.02), OUTERS[outer] or optim.sgd(1.0), 15, 3)
    np.testing.assert_allclose(flat(run.params), flat(expected), rtol=2e-4, atol=2e-5)
    assert len(run.history.loss) == 15 and run.history.loss[-1] < run.history.loss[0]


def test_one_local_step_with_the_mean_is_synchronous_descent(train):
    """For plain gradient descent the mean of the shards' steps is the step of the mean gradient."""
    settings = {"optimizer": optim.sgd(0.1), "epochs": 1}
    local, whole = train(sync=fdl_spark.every(1), **settings), train(sync="driver", **settings)
    np.testing.assert_allclose(flat(local.params), flat(whole.params), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [{"sync": fdl_spark.every(2)}, {"wire": "bfloat16"}, {"wire": "bfloat16", "sync": fdl_spark.every(2)}],
    ids=["local", "rounded", "both"],
)
def test_same_bits_on_any_cluster_and_after_any_end(train, digest, tmp_path, changes):
    whole = train(**changes)
    assert digest(train(**changes, partitions=1).params) == digest(whole.params)
    assert digest(train(**changes, group=1).params) == digest(whole.params)
    train(**changes, steps=10, checkpoint=tmp_path)
    resumed = train(**changes, checkpoint=tmp_path, partitions=1)
    assert digest(resumed.params) == digest(whole.params)
    assert resumed.history.loss == whole.history.loss
    with pytest.raises(fdl_spark.CheckpointError, match="is of another run"):
        train(checkpoint=tmp_path)


def rounded_descent(problem, rate, steps):
    """Descent on gradients that every shard rounds, each with its own feedback, in double precision but for that."""
    schedule = Schedule(len(problem.data["x"]), 100, 4, 11)
    params, unravel = fdl.flatten_util.ravel_pytree(problem.params)
    params = np.asarray(params, np.float64)
    lost = np.zeros((4, params.size))
    for step in range(steps):
        total = np.zeros_like(params)
        for shard, batch, size in parts_of(problem, schedule, step):
            gradient = flat(fdl.grad(problem.loss)(unravel(params.astype(np.float32)), batch)).astype(np.float64)
            wanted = gradient * size / schedule.batch_rows(step) + lost[shard]
            sent = wanted.astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float64)
            lost[shard] = wanted - sent
            total += sent
        params -= rate * total
    return params


def test_rounded_gradients_lose_nothing_for_good(train, problem):
    settings = {"optimizer": optim.sgd(0.1), "steps": 15}
    rounded, exact = train(wire="bfloat16", **settings), train(sync="driver", **settings)
    np.testing.assert_allclose(flat(rounded.params), rounded_descent(problem, 0.1, 15), rtol=0, atol=3e-4)
    assert not np.array_equal(flat(rounded.params), flat(exact.params))
    np.testing.assert_allclose(flat(rounded.params), flat(exact.params), rtol=0, atol=1e-3)
    residuals = [leaf for path, leaf in rounded.optimizer_state.items() if path.endswith(".wire")]
    assert len(residuals) == 4 and all(np.abs(leaf).max() > 0 for leaf in residuals)


def test_stopping_between_rounds(train, digest):
    class Stop(fdl_spark.Callback):
        def step(self, run, record):
            return run.step == 4

    run = train(sync=fdl_spark.every(3), callbacks=[Stop()])
    assert run.step == len(run.history.steps) == 5  # epochs have 5 steps: rounds end after 3 and 5
    assert digest(run.params) == digest(train(sync=fdl_spark.every(3), steps=5).params)


def test_arguments(train, problem):
    halves = fdl.tree.map(lambda leaf: leaf.astype(np.float64), problem.params)
    with pytest.raises(fdl_spark.ArgumentError, match="rounds gradients of float32 parameters; params"):
        train(wire="bfloat16", params=halves)
    with pytest.raises(fdl_spark.ArgumentError, match="must be a multiple of the 4 steps of a round"):
        train(sync=fdl_spark.every(4), checkpoint_steps=6)
    for steps in (0, None, 1.5):
        with pytest.raises(fdl_spark.ArgumentError, match=r"steps of every\(\) must be"):
            fdl_spark.every(steps)
    with pytest.raises(fdl_spark.ArgumentError, match="optimizer must have functions"):
        fdl_spark.every(2, outer="sgd")
