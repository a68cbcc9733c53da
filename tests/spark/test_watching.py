"""A run that one can watch: its phases, its jobs in Spark's UI, what it records of itself, from the call on."""

import fcntl
import io
import json
import logging
import os
import pty
import re
import struct
import termios
import threading
from contextlib import suppress
from html import escape

import numpy as np
import pytest

import fdl.numpy as fnp
import fdl_spark
from fdl import optim
from fdl_spark.checkpoints.checkpoint import CheckpointFolder
from fdl_spark.history import History
from fdl_spark.history.ending import Ending
from fdl_spark.logs import JsonFormatter


@pytest.fixture
def train(spark, problem):
    def call(**options):
        settings = {
            "loss": problem.loss,
            "params": problem.params,
            "data": problem.data,
            "optimizer": optim.adam(0.01),
            "batch_size": 100,
            "partitions": 2,
            "sync": "driver",
        }
        return fdl_spark.train(**{**settings, **options})

    return call


@pytest.fixture
def jobs(spark):
    """(group, description) of the jobs since the test began, the first one first."""

    def all_jobs():
        found = spark.sparkContext._jsc.sc().statusStore().jobsList(None)
        return [found.apply(number) for number in range(found.size())]

    before = {job.jobId() for job in all_jobs()}

    def told():
        new = sorted((job for job in all_jobs() if job.jobId() not in before), key=lambda job: job.jobId())
        text = [
            [option.get() if option.isDefined() else None for option in (j.jobGroup(), j.description())] for j in new
        ]
        return [tuple(pair) for pair in text]

    return told


class Phases(fdl_spark.Callback):
    passive = True

    def __init__(self):
        self.seen = []

    def phase(self, phase, progress):
        assert isinstance(progress(), str)
        if self.seen[-1:] != [phase]:
            self.seen.append(phase)


@pytest.mark.parametrize("sync", ["driver", "shuffle", "resident"])
def test_every_job_says_what_it_does_and_belongs_to_its_run(train, jobs, sync, spark, tmp_path, problem):
    held_out = {name: column[:50] for name, column in problem.data.items()}
    run = train(sync=sync, steps=5, validation=held_out, checkpoint=str(tmp_path))
    found = jobs()
    (session,) = run.history.sessions
    other = {text for group, text in found if group != f"fdl-train-{session['run']}"}
    assert other <= {"fdl: delete the data's blocks", "fdl: start the Python workers"}  # which one does not cancel
    texts = [text for _, text in found]
    assert all(text and text.startswith("fdl") for text in texts), texts
    assert any("of 5 (epoch 1)" in text for text in texts) and "fdl train: validation after epoch 1" in texts
    assert spark.sparkContext.getLocalProperty("spark.jobGroup.id") is None


def test_jobs_of_evaluation_say_what_they_do(jobs, problem, spark):
    fdl_spark.evaluate(problem.loss, problem.params, problem.data)
    assert all(text and text.startswith("fdl") for _, text in jobs()) and len(jobs()) >= 3


def test_a_group_of_the_users_own_stays(train, jobs, spark):
    spark.sparkContext.setLocalProperty("spark.jobGroup.id", "mine")
    try:
        train(steps=1)
        assert {group for group, _ in jobs()} == {"mine"}  # all, as the user may want to cancel all
        assert spark.sparkContext.getLocalProperty("spark.jobGroup.id") == "mine"
    finally:
        spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)


@pytest.mark.parametrize("sync", ["driver", "resident"])
def test_a_run_that_is_cancelled_in_spark_ends_with_one_error(train, sync, spark, tmp_path, caplog):
    class Cancel(fdl_spark.Callback):
        passive = True

        def step(self, run, record):
            if run.step == 3:
                group = f"fdl-train-{run.history.sessions[0]['run']}"
                spark.sparkContext._jsc.sc().cancelJobGroupAndFutureJobs(group, "by a colleague")

    with pytest.raises(
        fdl_spark.ClusterError, match=r"Spark's job was cancelled \(.*(group fdl-train|by a colleague)"
    ) as caught:
        train(sync=sync, epochs=200, callbacks=[Cancel()])
    run = caught.value.run
    assert run.step <= 800 and run.history.sessions[0]["outcome"].startswith("ClusterError: ")
    assert "was cancelled (" in run.report(tmp_path / "report.html").read_text()
    assert not caplog.records  # cleaning up was not cancelled


def test_phases_are_told_from_the_call_on(train, tmp_path, problem):
    phases = Phases()
    held_out = {name: column[:50] for name, column in problem.data.items()}
    run = train(steps=4, validation=held_out, checkpoint=str(tmp_path), callbacks=[phases])
    assert phases.seen[:3] == ["load", "compile", "train"] and phases.seen[-1] == "end"
    assert {"validate", "save"} < set(phases.seen)
    (session,) = run.history.sessions
    assert set(session["phases"]) == set(phases.seen) - {"end"}
    assert session["seconds"] == pytest.approx(sum(session["phases"].values()))
    assert session["phases"]["train"] >= 0.5 * sum(record["seconds"] for record in run.history.steps)


def test_a_run_that_cannot_begin_ends_its_phases(train):
    phases, file = Phases(), io.StringIO()
    with pytest.raises(fdl_spark.ColumnError):
        train(data={"x": np.array(["a", "b"])}, callbacks=[phases, fdl_spark.Progress(file=file)])
    assert phases.seen == ["load", "end"]
    assert file.getvalue().startswith("fdl: loading data\n")
    assert not [thread for thread in threading.enumerate() if thread.name == "fdl-progress"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_lines_in_a_log_and_a_bar_in_a_terminal(train):
    log, terminal, often = io.StringIO(), Terminal(), io.StringIO()
    bars = [
        fdl_spark.Progress(file=log, desc="digits"),
        fdl_spark.Progress(file=terminal),
        fdl_spark.Progress(file=often, seconds=0),
    ]
    run = train(steps=8, callbacks=bars)
    lines = log.getvalue().splitlines()
    assert lines[0] == "digits: loading data" and len(lines) <= 6  # no flood
    last = f"digits: step 8 of 8, loss {run.history.loss[-1]:.4g}, "
    assert lines[-1].startswith(last) and "engine driver" in lines[-1] and "left" not in lines[-1]
    assert re.search(r"step 3 of 8, loss \S+, rows/s \S+, engine driver, \S+.* left\n", often.getvalue())
    assert "compiling" in often.getvalue()
    shown = terminal.getvalue()
    assert "loading data" in shown and "8/8" in shown and "engine=driver" in shown and shown.count("\n") == 1


@pytest.mark.parametrize("columns", [60, 30, 120])
def test_a_bar_fits_its_terminal_and_cuts_no_number(columns):
    """What there is no room for is left out as a whole; in a narrow terminal the bar itself is."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with open(terminal, "w") as file:
        bar = fdl_spark.Progress(file=file)
        run = fdl_spark.Run(40, history=History(sessions=[{"step": 0}]))
        run.history.engines.append({"step": 0, "engine": "resident", "why": "w", "slices": 1})
        bar.phase("load", str)
        bar.start(run)
        run.history.steps, run.step = [{"step": 19, "loss": 0.0123456, "rows": 800}], 20
        bar.epoch(run, {"epoch": 4, "validation": {"loss": 0.25, "accuracy": 0.5}})
        run.history.end_session(Ending("stopped", "stopped by when(step=20)"), 20)
        bar.end(run)
        bar.phase("end", str)
        file.flush()
        shown = b""
        while not shown.endswith(b"\n"):
            shown += os.read(controller, 1 << 16)
        last = shown.decode().rstrip().split("\r")[-1]
    os.close(controller)
    assert len(last) <= columns and last.startswith("stopped: ") and "20/40" in last
    told = dict(pair.split("=") for pair in re.findall(r"\w+=[^,\]]+", last))
    whole = {"loss": "0.01235", "val_loss": "0.25", "val_accuracy": "0.5", "epoch": "4", "engine": "resident"}
    assert told.items() <= whole.items() and (len(told) > 1 if columns > 30 else not told)


def test_sessions_are_saved_with_the_run(train, tmp_path):
    first = train(steps=3, checkpoint=f"file://{tmp_path}/digits", seed=5)
    run = train(steps=6, checkpoint=f"file://{tmp_path}/digits", seed=5, columns=["x", "y"])
    before, after = run.history.sessions
    assert before["run"] == first.history.sessions[0]["run"] != after["run"]
    assert (before["step"], after["step"]) == (0, 3)
    assert [(s["ended"], s["outcome"], s["params_step"]) for s in (before, after)] == [
        ("finished", "finished", 3), ("finished", "finished", 6),
    ]  # fmt: skip
    assert (
        before["settings"]["steps"] == 3
        and after["settings"]["columns"] == ["x", "y"]
        and after["settings"]["seed"] == 5
    )
    assert after["name"] == "digits" and after["settings"]["data"] == {"x": "float32[403, 6]", "y": "int32[403]"}
    assert "scale_by_adam(b1=0.9" in after["settings"]["optimizer"] and "-0.01" in after["settings"]["optimizer"]
    assert after["versions"]["pyspark"] == after["versions"]["Spark"] and after["data"]["rows"] == 403
    sizes = {record["path"]: record["size"] for record in after["parameters"]}
    assert sizes == {"['hidden']['b']": 16, "['hidden']['w']": 96, "['out']['b']": 3, "['out']['w']": 48}
    assert after["bytes"]["parameters"] == 4 * 163 and after["bytes"]["gradients"] == 2 * 4 * 163
    assert [record["steps"] for record in run.history.records["sessions"][1]["tasks"]] == [3, 3]
    json.dumps(run.history.records, allow_nan=False)
    page = run.report(tmp_path / "report.html").read_text()
    assert page.count("<summary>Session ") == 2 and "<h1>digits</h1>" in page


class Stop(fdl_spark.Callback):
    """Asks for an end, or raises, after four steps; at the end it asks how the run ended, as trackers do."""

    def __init__(self, error=None, stop=True):
        self.error, self.stop = error, stop

    def step(self, run, record):
        if self.error is not None and run.step == 4:
            raise self.error
        return self.stop and run.step == 4

    def end(self, run):
        self.ended, self.page = run.history.ended, run._page()


ENDINGS = {
    "all steps": (Stop(stop=False), None, ("finished", "finished")),
    "a trigger": (Stop(stop=False), fdl_spark.when(step=4), ("stopped", "stopped by when(step=4)")),
    "a callback": (Stop(), None, ("stopped", "stopped by the callback Stop")),
    "Ctrl-C": (Stop(KeyboardInterrupt()), None, ("interrupted", "interrupted")),
    "an exit": (Stop(SystemExit(3)), None, ("interrupted", "interrupted: SystemExit(3)")),
    "an error": (Stop(OSError("no s3://me:pw@bucket")), None, ("failed", "OSError: no s3://...@bucket")),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_all_are_told_how_a_run_ended(train_here, problem, how, caplog, tmp_path):
    """Before the callbacks are told of the end, and in the checkpoint that is saved at the end."""
    callback, stop, expected = ENDINGS[how]
    log = io.StringIO()
    options = {"optimizer": optim.adam(0.01), "batch_size": 100, "steps": 7, "stop": stop, "checkpoint": tmp_path}
    options["callbacks"] = [callback, fdl_spark.Progress(file=log)]
    with caplog.at_level(logging.INFO, "fdl_spark"), suppress(KeyboardInterrupt, SystemExit, OSError):
        train_here(problem.loss, problem.params, problem.data, **options)
    outcome = expected[1]
    assert callback.ended == expected[0] and f"<dd>{escape(outcome)}</dd>" in callback.page
    assert (caplog.records[-1].ended, caplog.records[-1].outcome) == expected
    last = log.getvalue().splitlines()[-1]
    assert "left" not in last and last.endswith(outcome if how != "all steps" else last)
    saved = CheckpointFolder(tmp_path).load()
    if how in ("an exit", "an error"):
        assert saved is None
    else:
        assert saved.step == (7 if how == "all steps" else 4)
        assert (saved.history["sessions"][0]["ended"], saved.history["sessions"][0]["outcome"]) == expected


def test_a_run_that_failed_has_its_report(train, problem, tmp_path):
    def loss(params, batch):
        return problem.loss(params, batch) + fnp.log(2.0 - batch["y"].max())

    with pytest.raises(fdl_spark.NonFiniteError) as caught:
        train(loss=loss, epochs=3)
    page = caught.value.run.report(tmp_path / "report.html").read_text()
    assert "NonFiniteError: step " in page and "is not finite" in page


def test_logs_carry_the_run_its_step_and_engine(train, caplog):
    with caplog.at_level(logging.INFO, "fdl_spark"):
        run = train(steps=5)
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records if record.name == "fdl_spark"]
    assert {line["run"] for line in lines} == {run.history.sessions[0]["run"]}
    events = [line.get("event") for line in lines]
    assert events[0] == "start" and "engine" in events and "epoch" in events and events[-1] == "end"
    assert lines[-1] | {"step": 5, "engine": "driver", "outcome": "finished", "level": "INFO"} == lines[-1]
    assert not logging.getLogger("fdl_spark").filters


def test_a_history_tells_no_value_of_the_rows():
    import pandas as pd
    import pyarrow as pa

    from fdl_spark.training.described import _without_rows

    secret = ["123-45-6789"] * 3
    kinds = (pd.DataFrame({"ssn": secret}), pa.table({"ssn": secret}), {"x": [4711, 4712]}, [{"x": 4711}], (4711, 4712))
    for data in kinds:
        assert not re.search("123-45|471", str(_without_rows(data)))
