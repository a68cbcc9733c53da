"""Rounded gradients through every engine: the same bits, half the bytes, and nothing that was lost in rounding lost."""

import os
from pathlib import Path

import numpy as np
import pytest

import fdl
import fdl_spark
from fdl import optim
from fdl_spark.data.rdd_dataset import RddDataset
from fdl_spark.spark.repeated import Repeated

STEPPING = ("shuffle", "blocks", "driver")


@pytest.fixture(scope="module")
def train(spark, problem):
    def run(**changes):
        settings = {"optimizer": optim.adam(0.02), "wire": "bfloat16", "batch_size": 100, "shards": 4, "seed": 11}
        settings |= {"partitions": 2, "steps": 8, **changes}
        return fdl_spark.train(settings.pop("loss", problem.loss), problem.params, problem.data, **settings)

    return run


@pytest.fixture(scope="module")
def once(train):
    """The run that others are compared to."""
    return train(sync="resident", partitions=1)


def assert_same(run, other, digest):
    assert digest(run.params) == digest(other.params)
    np.testing.assert_array_equal(run.history.loss, other.history.loss)
    assert run.optimizer_state.keys() == other.optimizer_state.keys()
    for name, leaf in other.optimizer_state.items():
        np.testing.assert_array_equal(run.optimizer_state[name], leaf, err_msg=name)


def test_it_is_rounded(train, once, digest):
    assert digest(train(wire="float32", sync="resident").params) != digest(once.params)
    lost = [leaf for name, leaf in once.optimizer_state.items() if name.endswith(".wire")]
    assert len(lost) == 4 and all(leaf.any() for leaf in lost)


@pytest.mark.parametrize("sync", STEPPING)
def test_same_bits(train, once, digest, monkeypatch, sync):
    monkeypatch.setattr("fdl_spark.engines.common.cuts.best_slices", lambda *_, **__: 3)
    monkeypatch.setattr("fdl_spark.engines.common.cuts.ALIGNMENT", 8)
    assert_same(train(sync=sync, partitions=4 if sync == "shuffle" else 2), once, digest)


def test_an_optimizer_that_needs_all_parameters(train, digest):
    optimizer = optim.chain(optim.clip_by_global_norm(0.1), optim.adam(0.02))
    expected = train(optimizer=optimizer, sync="resident", steps=3)
    assert_same(train(optimizer=optimizer, sync="shuffle", steps=3), expected, digest)


def test_batches_smaller_than_the_number_of_shards(train, digest):
    expected = train(batch_size=2, steps=4, sync="resident")
    assert_same(train(batch_size=2, steps=4, sync="shuffle"), expected, digest)


def test_resumed_by_other_engines_on_other_numbers_of_partitions(train, once, digest, tmp_path):
    for steps, sync, partitions in ((2, "shuffle", 2), (4, "blocks", 4), (6, "driver", 1), (8, "shuffle", 4)):
        run = train(sync=sync, partitions=partitions, steps=steps, checkpoint=tmp_path)
    assert_same(run, once, digest)
    with pytest.raises(fdl_spark.CheckpointError, match="is of another run"):
        train(wire="float32", checkpoint=tmp_path, steps=9)


@pytest.mark.parametrize("sync", ["shuffle", "blocks"])
def test_steps_that_are_left_out_lose_nothing(train, problem, digest, sync):
    """The first, and two in a row: what shards had lost before is still theirs."""

    def loss(params, batch):
        return problem.loss(params, batch) * fdl.numpy.where(fdl.numpy.max(batch["x"][:, 0]) > 1.9, fdl.numpy.nan, 1.0)

    settings = {"loss": loss, "nonfinite": "skip", "batch_size": 25, "seed": 1}
    expected = train(sync="resident", partitions=1, **settings)
    left_out = [event["step"] for event in expected.history.events]
    assert left_out == [0, 3, 4, 5]
    run = train(sync=sync, **settings)
    assert [event["step"] for event in run.history.events] == left_out
    assert_same(run, expected, digest)


def test_files_that_are_gone_are_a_step_back(train, once, digest, spark):
    class Delete(fdl_spark.Callback):
        deleted = 0

        def step(self, run, record):
            if record["step"] == 4:
                roots = spark.sparkContext.parallelize([0], 1).map(lambda _: os.environ["SPARK_LOCAL_DIRS"]).collect()
                for root in roots:
                    for path in Path(root).glob("fdl-*-task*.block"):
                        path.unlink()
                        Delete.deleted += 1

    run = train(sync="shuffle", callbacks=[Delete()])
    assert Delete.deleted == 4  # two a task, as it may be repeated: those of earlier steps are gone
    (event,) = [event["event"] for event in run.history.events if "back to" in event["event"]]
    assert "StateMissing: the state of task" in event and "after step 5 is not on this executor" in event
    assert_same(run, once, digest)


def test_without_tasks_that_stay(train, once, digest, monkeypatch):
    monkeypatch.setattr(RddDataset, "slots", lambda self: 0)
    run = train()
    assert_same(run, once, digest)
    assert {record["engine"] for record in run.history.engines} <= set(STEPPING)


def test_the_history_says_why_the_tasks_stay(train, once, digest, monkeypatch):
    """Where tasks do not run again where their data was, `auto` has no choice; nobody has asked for what it takes."""
    monkeypatch.setattr(RddDataset, "returns", False)
    run = train()
    assert_same(run, once, digest)
    (choice,) = run.history.engines
    assert choice["engine"] == "resident"
    assert choice["why"].startswith('wire="bfloat16" needs tasks that run where they ran before')
    with pytest.raises(fdl_spark.ArgumentError, match=r'wire="bfloat16" needs all of its 3 tasks .* or fewer$'):
        train(partitions=3)
    (choice,) = train(sync=fdl_spark.every(2), steps=2).history.engines
    assert choice["why"].startswith("sync=fdl_spark.every(2): local steps")


def shuffled(spark):
    """Bytes that the executors have written for shuffles."""
    context = spark.sparkContext._jsc.sc()
    context.listenerBus().waitUntilEmpty()
    executors = context.statusStore().executorList(True)
    return sum(executors.apply(n).totalShuffleWrite() for n in range(executors.size()))


@pytest.mark.parametrize("sync", ["shuffle", "driver"])
def test_half_the_bytes(spark, monkeypatch, sync):
    """Gradients of random numbers, which Spark's compression does not make smaller."""
    collected, collect = [], Repeated.collect

    def watched(self, rdd):
        payloads = collect(self, rdd)
        collected.append(sum(map(len, payloads)))
        return payloads

    monkeypatch.setattr(Repeated, "collect", watched)
    sent, random = {}, np.random.default_rng(0)
    params = random.standard_normal(100_000).astype(np.float32)
    data = {"x": random.standard_normal((4, 100_000)).astype(np.float32)}
    for wire in ("float32", "bfloat16"):
        before = shuffled(spark)
        collected.clear()
        settings = {"optimizer": optim.sgd(0.1), "batch_size": 4, "partitions": 2, "steps": 5, "sync": sync}
        fdl_spark.train(lambda w, batch: ((w * batch["x"]) ** 2).mean(), params, data, wire=wire, **settings)
        sent[wire] = sum(collected) if sync == "driver" else shuffled(spark) - before
    gradients = 5 * 2 * params.nbytes
    assert 0.8 * gradients < sent["float32"] < 1.2 * gradients
    assert 0.45 < sent["bfloat16"] / sent["float32"] < 0.55
