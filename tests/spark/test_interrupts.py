"""Ctrl-C at any line of training: the run that is kept, and the checkpoint, are those after a whole number of steps.

A data set in this process stands for the executors, so that a run takes milliseconds and can be interrupted everywhere.
"""

import ast
import io
import logging
import os
import runpy
import signal
import sys
import threading
import time
from contextlib import closing, nullcontext
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fdl
import fdl_spark
from fdl import optim
from fdl_spark.compute.program import Program
from fdl_spark.compute.update import Update
from fdl_spark.data.sharded import Dataset
from fdl_spark.data.shards import Schedule
from fdl_spark.engines.driver import Driver
from fdl_spark.engines.engine import Snapshot
from fdl_spark.spark.interrupts import Interrupts
from fdl_spark.training.controls import Settings
from fdl_spark.training.loop import Loop

HERE = runpy.run_path(str(Path(__file__).with_name("disks.py")))
X = np.linspace(-1, 1, 24, dtype=np.float32)
STEPS = 6
PACKAGE = str(Path(fdl_spark.__file__).parent)
TRACED = (
    *("loop.py", "engines/engine.py", "engines/stepping.py", "engines/driver.py"),
    *("checkpoint.py", "journal.py", "history.py"),
)


class InProcess(Dataset):
    """Two tasks in this process, with a shard each."""

    def __init__(self):
        self.template, self.columns = {"x": "x"}, {"x": ("<f4", ())}
        self.schedule, self.tasks = Schedule(len(X), 6, 2, 3), 2
        shards, slots = self.schedule.deal(np.arange(len(X)))
        self.rows = [X[shards == n][np.argsort(slots[shards == n])] for n in range(2)]

    def batch(self, shard, slots, template):
        return {"x": self.rows[shard][slots]}

    def map(self, function, barrier=False):
        return [bytes(payload) for task in range(2) for payload in function(task, iter([self]))]

    def share(self, value):
        return SimpleNamespace(value=value, destroy=lambda: None)

    def describe(self, text):
        pass


InProcess.__abstractmethods__ = frozenset()  # what no engine here asks for


def loss(params, batch):
    return ((params["w"] * batch["x"] - 3 * batch["x"] + params["b"]) ** 2).mean()


@lru_cache
def program():
    params = {"w": np.zeros(1, np.float32), "b": np.ones(1, np.float32)}
    return Program(loss, params, seed=3, update=Update(optim.adam(0.1), params, True))


def loop(disk):
    made = program()
    weights = made.flat()
    engine = Driver(InProcess(), made, Snapshot(0, weights, made.update.initial(weights)))
    often = fdl_spark.every(epochs=1) | fdl_spark.every(steps=2)
    return Loop(engine, None, HERE["folder_on"](disk), settings=Settings(save=often))


def state(run):
    """Parameters and optimizer state, to the bit."""
    tensors = [np.asarray(leaf) for leaf in fdl.tree.leaves(run.params)] + list(run.optimizer_state.values())
    return b"".join(array.tobytes() for array in tensors)


class Interrupt:
    """Raises KeyboardInterrupt at a line of ours, counted from the beginning."""

    def __init__(self, at):
        self.at, self.count, self.where = at, 0, None

    def __call__(self, frame, event, argument):
        name = frame.f_code.co_filename
        return self.line if name.startswith(PACKAGE) and name.endswith(TRACED) else None

    def line(self, frame, event, argument):
        if event == "line":
            self.count += 1
            if self.count == self.at:
                self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                raise KeyboardInterrupt
        return self.line

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self)
        return self

    def __exit__(self, *_):
        sys.settrace(self.before)


class Saves(fdl_spark.Callback):
    def __init__(self):
        self.states = {}

    def step(self, run, record):
        self.states[run.step] = state(run), run.history.loss


def train(disk, interrupt=None, callbacks=()):
    made = loop(disk)
    with interrupt or nullcontext():
        return made.train(STEPS, callbacks)


@pytest.fixture(scope="module")
def undisturbed():
    """The state and the losses after each step."""
    saves = Saves()
    train(HERE["Disk"](), callbacks=[saves])
    saves.states[0] = state(loop(HERE["Disk"]()).train(0, [])), []
    assert len({content for content, _ in saves.states.values()}) == STEPS + 1
    return saves.states


def test_an_interrupt_at_any_line_keeps_whole_steps(undisturbed):
    kept, lost, lines = set(), [], 1
    while True:
        disk, interrupt, error = HERE["Disk"](), Interrupt(lines), None
        try:
            train(disk, interrupt)
        except KeyboardInterrupt as caught:
            error = caught
        if interrupt.where is None:
            break  # it has no so many lines
        run = getattr(error, "run", None)
        found = HERE["folder_on"](disk).load()
        if run is None:
            assert error is not None, interrupt.where
            lost.append(interrupt.where)
        else:
            assert (state(run), run.history.loss) == undisturbed[run.step], interrupt.where
            assert [record["step"] for record in run.history.steps] == list(range(run.step))
            assert (found.step if found else 0) == run.step, interrupt.where
            kept.add(run.step)
        if found:
            again = loop(disk)
            again.folder.load()
            again.resume(again.folder, found)
            resumed = again.train(STEPS, [])
            assert (state(resumed), resumed.history.loss) == undisturbed[STEPS], interrupt.where
            assert [(r["epoch"], r["step"]) for r in resumed.history.epochs] == [(1, 3), (2, 5)], interrupt.where
        lines += 13
    assert lines > 1000 and kept == set(range(STEPS + 1))
    # Only before the first step and after the last one there is nothing to carry the run.
    assert len(lost) < 10, lost


def test_engines_change_parameters_and_their_number_in_one_statement():
    """An interrupt between two statements would let the parameters of one step pass for those of another."""
    content = {"self.weights", "self._weights", "self.leaves", "self._leaves", "self._kept"}
    seen = set()
    for path in Path(PACKAGE).glob("engines/*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef) and function.name in ("step", "_take"):
                for node in ast.walk(function):
                    if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
                        stored = [n for n in ast.walk(node) if isinstance(getattr(n, "ctx", None), ast.Store)]
                        targets = {ast.unparse(target) for target in stored}
                        assert not targets & content or "self.done" in targets, f"{path.name}:{node.lineno}"
                        if targets & content:
                            seen.add(str(path.relative_to(PACKAGE)))
    names = ("blocks", "connect_shuffle", "driver", "resident", "shuffle")
    assert seen == {f"engines/{name}.py" for name in names}


@pytest.fixture
def before():
    """The handler of Ctrl-C, which is the same after the test."""
    handler = signal.signal(signal.SIGINT, lambda *_: pytest.fail("nobody heard the interrupt"))
    mine = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is mine
    signal.signal(signal.SIGINT, handler)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0)  # Python calls handlers between instructions


def test_an_interrupt_is_raised_at_once_or_where_it_is_asked_for(before):
    with pytest.raises(KeyboardInterrupt), Interrupts():
        interrupt()
        raise AssertionError("not raised")
    done = []
    with pytest.raises(KeyboardInterrupt), Interrupts(1e6) as interrupts:
        interrupt()
        done.append(interrupts.asked)
        interrupts.settle()
    assert done == [True]


@pytest.mark.parametrize("patience", [1e6, float("inf")])
def test_a_second_interrupt_and_the_end_of_the_context_raise(before, patience):
    done = []
    with pytest.raises(KeyboardInterrupt), Interrupts(patience):
        interrupt()
        done.append(1)
        interrupt()
        raise AssertionError("not raised")
    with pytest.raises(KeyboardInterrupt), Interrupts(patience):
        interrupt()
        done.append(2)
    assert done == [1, 2]


def test_an_interrupt_that_is_not_heard_is_raised_after_a_while(before):
    noted = threading.Event()
    with pytest.raises(KeyboardInterrupt), Interrupts(0.01) as interrupts:
        interrupt()
        assert interrupts.asked
        noted.set()
        time.sleep(600)
    assert noted.is_set()


def test_patience_that_has_ended_raises_nothing_later(before):
    interrupts = Interrupts(0.05)
    with pytest.raises(KeyboardInterrupt), interrupts:
        interrupt()
    interrupts._timer.join()
    with Interrupts(1e6) as later:
        time.sleep(0.1)
        assert not later.asked


def test_an_error_on_its_way_is_not_hidden_by_an_interrupt(before):
    with pytest.raises(ZeroDivisionError), Interrupts(1e6):
        interrupt()
        raise ZeroDivisionError


def test_a_group_that_is_closed_hands_its_interrupt_on(before):
    def group():
        with Interrupts(float("inf")):
            yield 1

    with pytest.raises(KeyboardInterrupt), Interrupts(1e6) as outer:
        with closing(group()) as outcomes:
            next(outcomes)
            interrupt()
        assert outer.asked


def test_an_interrupted_call_to_the_jvm_leaves_the_log_as_it_is(before, monkeypatch):
    """Py4J logs by functions of `logging`, which set up the root logger if nobody has."""
    root, said = logging.getLogger(), io.StringIO()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(logging, "lastResort", logging.StreamHandler(said))
    with pytest.raises(KeyboardInterrupt), Interrupts():
        logging.exception("KeyboardInterrupt while sending command.")
        logging.getLogger("py4j.clientserver").exception("Exception occurred while shutting down connection")
        logging.getLogger("fdl_spark").warning("a warning")
        interrupt()
    assert said.getvalue() == "a warning\n"
    assert root.handlers == [] and root.filters == [] and logging.getLogger("py4j.clientserver").filters == []
