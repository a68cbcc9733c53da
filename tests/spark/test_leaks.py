"""Runs of every kind, whether they end well or not, leave a session as they found it."""

import logging
import runpy
import time
from pathlib import Path

import pytest

LEAKS = runpy.run_path(str(Path(__file__).with_name("leaks.py")), run_name="leaks")
FIRST = ("shuffle", "frame", "predict")  # the first runs of a session start workers, connections and threads
PATIENCE = 60.0  # seconds until Spark's cleaner, workers and sockets have followed


@pytest.fixture
def no_logs():
    """pytest would keep the logged exceptions, and with their tracebacks what the runs held."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads what Linux tells of processes")
def test_a_session_holds_as_much_after_many_runs_as_after_three(spark, tmp_path, no_logs):
    held, run, runs = LEAKS["held"], LEAKS["run"], LEAKS["RUNS"]
    for kind in FIRST:
        assert run(spark, runs[kind], tmp_path / "first" / kind) == "ran"
    end = time.monotonic() + PATIENCE
    while (before := held(spark)).get("deleted maps of workers") and time.monotonic() < end:
        time.sleep(0.5)  # workers map the blocks that they wrote for some seconds more
    ended = {kind: run(spark, runs[kind], tmp_path / "then" / kind) for kind in runs}
    assert ended == {
        "shuffle": "ran",
        "blocks": "ran",
        "driver": "ran",
        "whole tree": "ran",
        "frame": "ran",
        "rows": "ran",
        "checkpoint and resume": "ran",
        "evaluate": "ran",
        "search": "ran",
        "predict": "ran",
        "arguments": "ArgumentError",
        "survey fails": "ColumnError",
        "query fails": "DataError",
        "validation fails": "MissingColumnError",
        "tracing fails": "MissingColumnError",
        "optimizer fails": "UserFunctionError",
        "step fails": "UserFunctionError",
        "step fails with blocks": "UserFunctionError",
        "step fails through the driver": "UserFunctionError",
        "evaluation fails": "UserFunctionError",
        "prediction fails": "PythonException",
        "not finite": "NonFiniteError",
        "callback raises": "RuntimeError",
        "callback interrupts": "KeyboardInterrupt",
        "interrupted": "KeyboardInterrupt",
        "a worker dies": "ran",
        "resident": "ran",
        "local steps": "ran",
    }
    # An interrupt between the end of Spark's job and the reading of its result leaves the JVM waiting at a socket.
    before["sockets"] += 1
    end = time.monotonic() + PATIENCE
    while (more := more_than(before, held(spark))) and time.monotonic() < end:
        time.sleep(0.5)
    assert not more


def more_than(before, after):
    """What there is more of now; what holds the parameters of the last predictions stays until the next one."""
    allowed = {"temporary files of the driver": 2, "objects of the JVM": 2}
    return {name: (before[name], n) for name, n in after.items() if n > before[name] + allowed.get(name, 0)}
