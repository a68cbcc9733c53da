"""Killed at any operation on a file, interrupted at any line: what was controlled is as in a run never disturbed.

A data set in this process stands for the executors, as in `test_interrupts.py`.
"""

import runpy
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

import fdl
from fdl import optim
from fdl_spark import EarlyStopping, Plateau, every
from fdl_spark.compute.program import Program
from fdl_spark.compute.update import Update
from fdl_spark.engines.driver import Driver
from fdl_spark.engines.engine import Snapshot
from fdl_spark.training.controls import Settings
from fdl_spark.training.loop import Loop
from fdl_spark.training.plateau import rescaled

HERE = runpy.run_path(str(Path(__file__).with_name("test_interrupts.py")))
DISKS = HERE["HERE"]
STEPS = 40  # 4 an epoch
SETTINGS = Settings.of(
    every(steps=3), every(steps=5), EarlyStopping(patience=4), None, Plateau(patience=1, factor=0.5, cooldown=2)
)


@lru_cache
def program():
    params = {"w": np.zeros(1, np.float32), "b": np.ones(1, np.float32)}
    return Program(HERE["loss"], params, seed=3, update=Update(rescaled(optim.adam(0.9)), params, True))


def loop(disk):
    made = program()
    weights = made.flat()
    engine = Driver(HERE["InProcess"](), made, Snapshot(0, weights, made.update.initial(weights)))
    return Loop(engine, HERE["InProcess"](), DISKS["folder_on"](disk), settings=SETTINGS)


def run(disk):
    """A run, or the rest of one, on the files that are there."""
    made = loop(disk)
    saved = made.folder.load()
    made.folder.prepare()
    made.resume(made.folder, saved)
    return made.train(STEPS, [])


def outcome(run):
    """All that a run has come to."""
    tensors = [*fdl.tree.leaves(run.params), *run.optimizer_state.values(), *fdl.tree.leaves(run.best.params)]
    return (
        [np.asarray(array).tobytes() for array in tensors],
        (run.step, run.best.step, run.best.value, run.history.loss),
        [(record["step"], record["validation"]) for record in run.history.steps if "validation" in record],
        [(record["epoch"], record["loss"], record.get("validation")) for record in run.history.epochs],
        [(event["step"], event["event"]) for event in run.history.events if "interrupted" not in event["event"]],
    )


@pytest.fixture(scope="module")
def straight():
    disk = DISKS["Disk"]()
    return outcome(run(disk)), 10**9 - disk.left


def test_the_run_is_worth_killing(straight):
    (_, (step, best, value, _), validations, _, events), operations = straight
    assert best < step < STEPS and value == min(seen["loss"] for _, seen in validations)
    assert sum("learning rate" in text for _, text in events) > 1 and "stopped by" in events[-1][1]
    assert operations > 50


def test_killed_at_any_operation_it_goes_on_to_the_same_end(straight):
    expected, operations = straight
    for count in range(operations):
        disk = DISKS["Disk"](operations=count)
        with suppress(DISKS["Killed"]):
            run(disk)
        assert outcome(run(DISKS["Disk"](disk.files))) == expected, count


def test_interrupted_at_any_line_it_goes_on_to_the_same_end(straight):
    expected, lines = straight[0], 400
    while True:
        disk, interrupt = DISKS["Disk"](), HERE["Interrupt"](lines)
        with suppress(KeyboardInterrupt), interrupt:
            run(disk)
        if interrupt.where is None:
            break
        assert outcome(run(disk)) == expected, interrupt.where
        lines += 331
    assert lines > 5000


def test_a_run_that_has_stopped_stays_as_it_is(straight):
    disk = DISKS["Disk"]()
    run(disk)
    files = dict(disk.files)
    assert outcome(run(disk)) == straight[0]
    assert {name: content for name, content in disk.files.items() if name.startswith("step")} == {
        name: content for name, content in files.items() if name.startswith("step")
    }


def test_the_best_checkpoint_stays_beside_the_newest(straight):
    disk, (step, best, *_) = DISKS["Disk"](), straight[0][1]
    run(disk)
    kept = DISKS["folder_on"](disk).steps()
    assert kept == sorted({best, *kept[-2:]}) and kept[-1] == step and best < kept[-2]


def test_a_best_checkpoint_that_is_lost_is_told(straight):
    disk, (_, best, *_) = DISKS["Disk"](), straight[0][1]
    run(disk)
    disk.safe = {name: content for name, content in disk.files.items() if f"{best:09d}" not in name}
    disk.pending = []
    again = run(disk)
    assert again.best is None or again.best.step != best
    assert f"the best parameters, of step {best}, are not in" in again.history.events[-1]["event"]
