"""An engine is one class that keeps the contract in `fdl_spark/engines/engine.py`: a whole one, small and slow."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

import fdl_spark
from fdl import optim
from fdl_spark.compute.part import received, timings_of, total_of
from fdl_spark.compute.worker import forward_backward
from fdl_spark.engines.stepping import SteppingEngine, Stopwatch, slowest
from fdl_spark.history.outcome import Outcome
from fdl_spark.spark.failures import BlocksLost, Lost
from fdl_spark.spark.wire import pack
from fdl_spark.training import engine_choice as module
from fdl_spark.training.loop import Loop

LOST = []


class Plain(SteppingEngine):
    """Each part of the gradient goes to the driver by `Dataset.map`, which sends its function anew in every step."""

    name = "plain"
    begun = renewed = 0

    def restore(self, snapshot):
        Plain.begun += 1
        self.weights, self.leaves, self.done = snapshot.weights, snapshot.leaves, snapshot.done

    def state(self):
        return self.leaves

    def renew(self):
        Plain.renewed += 1
        super().renew()

    def step(self, step):
        def sent(job, task, blocks):
            for node, part in forward_backward(job, task, blocks):
                yield pack((node, replace(part, gradient=None)), part.gradient)

        watch = Stopwatch()
        if LOST and step == LOST[0][0]:
            raise LOST.pop(0)[1]
        with self.job(step) as job:
            watch.lap("broadcast")
            parts = received(self.dataset.map(partial(sent, job)))
        timings = timings_of(parts)
        watch.lap("schedule", forward_backward=slowest(timings))
        total = total_of(parts, self.dataset.schedule.shards)
        if not total.bad:
            weights, leaves = self.program.update(self.weights, total.gradient, self.leaves)
            self.weights, self.leaves, self.done = weights, leaves, step + 1
        watch.lap("update")
        return Outcome(total.sums, total.bad, watch.phases, timings)


@pytest.fixture(scope="module")
def train(spark, problem):
    settings = {"optimizer": optim.adam(0.02), "batch_size": 100, "shards": 4, "partitions": 2, "seed": 11, "steps": 6}
    return partial(fdl_spark.train, problem.loss, problem.params, problem.data, **settings)


def test_a_new_engine_gives_the_same_bits_and_goes_back_when_it_must(train, digest, monkeypatch):
    monkeypatch.setitem(module.ENGINES, "plain", Plain)
    LOST[:] = [(4, Lost("a task")), (3, BlocksLost("its blocks"))]
    run = train(sync="plain")
    assert digest(run.params) == digest(train(sync="driver").params)
    assert [record["engine"] for record in run.history.engines] == ["plain"]
    assert [event["event"] for event in run.history.events] == ["back to step 0: a task", "back to step 0: its blocks"]
    assert (Plain.begun, Plain.renewed) == (3, 1)  # at the start and after each setback; blocks were made anew
    assert all(set(record["phases"]) >= {"schedule", "update"} for record in run.history.steps)


class Refusing:
    """An engine that takes no step of its first group, since another one goes on; or, stuck, of none."""

    def __init__(self, stuck=False):
        self.done, self.choices, self.stuck = 40, [], stuck

    def restore(self, snapshot):
        self.done = snapshot.done

    def group(self, count):
        if not self.choices and not self.stuck:
            self.choices.append("shuffle")
            return
        for _ in range(0 if self.stuck else count):
            self.done += 1
            yield


def test_steps_are_taken_again_by_the_engine_that_goes_on():
    """A callback that reads parameters in the middle of a group gets those of that very step."""
    loop = SimpleNamespace(_snapshot=SimpleNamespace(done=40), engine=Refusing())
    Loop._replay(loop, 47)
    assert loop.engine.done == 47
    loop.engine = Refusing(stuck=True)
    with pytest.raises(Lost, match="steps after 40 were not taken again"):
        Loop._replay(loop, 47)
