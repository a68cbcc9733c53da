"""Cleaning up never hides why a run ended, nor what it gave, whichever of its steps fails."""

import re
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest

import fdl_spark
from fdl import optim
from fdl_spark.compute.job import Shared
from fdl_spark.data.rdd_dataset import RddDataset
from fdl_spark.engines.driver import Driver
from fdl_spark.engines.engine import Engine
from fdl_spark.spark.cleanup import Cleanup

X = np.linspace(-1, 1, 12, dtype=np.float32)
DATA = {"x": X, "y": 3 * X}


def loss(slope, batch):
    return ((slope * batch["x"] - batch["y"]) ** 2).mean()


def train(function=loss, **options):
    settings = {"optimizer": optim.sgd(0.5), "batch_size": 4, "shards": 2, "partitions": 2, "steps": 2}
    return fdl_spark.train(function, np.float32(0), DATA, **{**settings, "sync": "driver", **options})


class Bad(Exception):
    pass


class Ends(fdl_spark.Callback):
    """Notes that it was ended, and raises."""

    def __init__(self, said, name, error=None):
        self.said, self.name, self.error = said, name, error

    def end(self, run):
        self.said.append(self.name)
        if self.error:
            raise self.error


def steps_of(cleanup, said, bad, error):
    for number in range(4):

        def step(number=number):
            said.append(number)
            if number == bad:
                raise error

        cleanup.add(f"step {number}", step)


@pytest.mark.parametrize("bad", range(4))
@pytest.mark.parametrize("why", [None, ValueError("why")])
def test_every_step_is_taken_and_the_first_error_is_seen(bad, why, caplog):
    said = []

    def run():
        with Cleanup() as cleanup:
            steps_of(cleanup, said, bad, Bad("line 1\nline 2"))
            if why:
                raise why
            return "what it gave"

    if why:
        with pytest.raises(ValueError, match="why"):
            run()
    else:
        assert run() == "what it gave"
    assert said == [3, 2, 1, 0]
    assert [record.getMessage() for record in caplog.records] == [f"step {bad} failed: Bad: line 1"]


@pytest.mark.parametrize("why", [None, ValueError("why"), KeyboardInterrupt("first")])
def test_an_interrupt_waits_for_the_other_steps(why):
    """Ctrl-C, while the blocks of a finished run are being deleted: they are, and the run is not lost."""
    said, interrupt = [], KeyboardInterrupt("second")
    with pytest.raises(type(why or interrupt)) as caught, Cleanup() as cleanup:
        steps_of(cleanup, said, 2, interrupt)
        cleanup.run = "what it gave"
        if why:
            raise why
    assert caught.value is (why or interrupt) and said == [3, 2, 1, 0]
    assert why or caught.value.run == "what it gave"


def test_a_context_that_passes_an_error_on_is_no_second_one(caplog):
    """As `own_jobs`, which looks at an interrupt and lets it pass."""

    @contextmanager
    def passing():
        yield

    with pytest.raises(Bad, match="why"), Cleanup() as cleanup:
        cleanup.enter("passing on", passing())
        cleanup.enter("leaving", leaving_fails(nullcontext()))
        raise Bad("why")
    assert [record.getMessage() for record in caplog.records] == ["leaving failed: Bad: leaving failed"]


def broken(monkeypatch, owner, name):
    """Do what a method does, then raise."""
    works = getattr(owner, name)

    def fails(self, *arguments, **options):
        works(self, *arguments, **options)
        raise Bad(f"{name} failed")

    monkeypatch.setattr(owner, name, fails)


@contextmanager
def leaving_fails(context):
    """A context that does what another does, and fails when it is left."""
    try:
        with context:
            yield
    finally:
        raise Bad("leaving failed")


STEPS = {
    "blocks": lambda patch: broken(patch, RddDataset, "close"),
    "engine": lambda patch: broken(patch, Engine, "close"),
    "program": lambda patch: broken(patch, Shared, "close"),
    "jobs": lambda patch: patch.setattr(
        RddDataset, "own_jobs", lambda self, own=RddDataset.own_jobs: leaving_fails(own(self))
    ),
}


@pytest.mark.parametrize("kind", STEPS)
def test_a_run_that_ended_well_is_what_the_caller_gets(spark, monkeypatch, caplog, kind):
    STEPS[kind](monkeypatch)
    run = train(validation=DATA)
    assert run.step == 2 and "validation" in run.history.epochs[-1] and run.params > 0
    assert re.search(r"failed: Bad: \w+ failed", caplog.text)
    caplog.clear()
    assert fdl_spark.evaluate(loss, np.float32(3), DATA) == {"loss": 0.0}
    assert kind == "engine" or re.search(r"failed: Bad: \w+ failed", caplog.text)


def test_the_first_error_is_what_the_caller_gets(spark, monkeypatch):
    for fail in STEPS.values():
        fail(monkeypatch)
    with pytest.raises(fdl_spark.UserFunctionError, match="on purpose"):
        train(bad_loss)
    with pytest.raises(fdl_spark.UserFunctionError, match="on purpose"):
        fdl_spark.evaluate(bad_loss, np.float32(2), DATA)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(callbacks=[Interrupts()], steps=4)
    assert caught.value.run.step == 2


def bad_loss(slope, batch):
    raise ValueError("on purpose")


class Interrupts(fdl_spark.Callback):
    def step(self, run, record):
        if record["step"] == 1:
            raise KeyboardInterrupt


def test_an_engine_that_cannot_begin_frees_what_it_has(spark, monkeypatch):
    freed = []
    monkeypatch.setattr(Shared, "close", lambda self: freed.append(1))

    def fails(self, *_):
        raise Bad

    monkeypatch.setattr(Driver, "restore", fails)
    with pytest.raises(Bad):
        train()
    assert freed == [1]


def test_what_the_end_of_a_callback_raises_is_seen_if_nothing_else_failed(spark, caplog):
    """All callbacks are ended, what they raise passes as it is, and the run is not lost with it."""
    said = []
    with pytest.raises(Bad, match="mine") as caught:
        train(callbacks=[Ends(said, "a", ValueError("later")), Ends(said, "b", Bad("mine")), Ends(said, "c")])
    assert said == ["c", "b", "a"]
    assert caught.value.run.step == 2 and caught.value.run.params == train().params
    (record,) = caplog.records
    assert record.getMessage() == "Ends.end failed: ValueError: later" and record.exc_info


def test_what_the_end_of_a_callback_raises_hides_no_error(spark, caplog):
    said = []
    with pytest.raises(KeyboardInterrupt) as caught:
        train(callbacks=[Ends(said, "a", Bad("mine")), Interrupts(), Ends(said, "b", KeyboardInterrupt())], steps=4)
    assert said == ["b", "a"] and caught.value.run.step == 2
    assert [record.getMessage() for record in caplog.records] == [
        "Ends.end failed: KeyboardInterrupt: ",
        "Ends.end failed: Bad: mine",
    ]
