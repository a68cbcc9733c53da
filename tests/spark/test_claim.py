"""Two runs in one folder of checkpoints: the second is told of the first; a dead one stops nobody."""

import errno
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from pyarrow import fs

import fdl_spark
from fdl import optim
from fdl_spark.checkpoints import claim as claims
from fdl_spark.checkpoints.checkpoint import CheckpointFolder
from fdl_spark.checkpoints.files import RemoteFiles

X = np.linspace(-1, 1, 12, dtype=np.float32)
HOLD = """
import os, sys, time
from fdl_spark.checkpoints.checkpoint import CheckpointFolder
CheckpointFolder(sys.argv[1]).claim()
if sys.argv[2:] and os.fork() == 0:
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(600)
if not sys.argv[2:]:
    os.write(1, b"held\\n")
time.sleep(600)
"""


def loss(slope, batch):
    return ((slope * batch["x"] - 3 * batch["x"]) ** 2).mean()


def train(folder, function=loss, **options):
    options = {"steps": 2, "sync": "driver", **options}
    return fdl_spark.train(
        function,
        np.float32(0),
        {"x": X},
        optimizer=optim.sgd(0.5),
        batch_size=6,
        shards=2,
        checkpoint=folder,
        **options,
    )


@pytest.fixture
def hold():
    """Starts processes that hold a folder; they end with the test."""
    started = []

    def start(folder, *arguments):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", HOLD, str(folder), *arguments]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(claims, "PATIENCE", 0.0)


def test_a_second_run_is_told_where_the_first_one_is_and_a_killed_one_stops_nobody(spark, tmp_path, hold):
    folder = tmp_path / "run"
    process, _ = hold(folder)
    where = f"in use by process {process.pid} on {socket.gethostname()}, since 20"
    with pytest.raises(fdl_spark.CheckpointError, match=re.escape(where)) as caught:
        train(folder)
    assert str(folder) in str(caught.value) and "name another folder" in str(caught.value)
    process.kill()
    process.wait()
    assert [path.name for path in folder.iterdir()] == [".lock"]
    assert train(folder).step == 2
    assert not list(folder.glob(".*"))


def test_children_of_a_killed_run_hold_nothing(tmp_path, hold):
    process, child = hold(tmp_path, "fork")
    try:
        process.kill()
        process.wait()
        os.kill(int(child), 0)  # it lives
        folder = CheckpointFolder(tmp_path)
        folder.claim()
        folder.release()
    finally:
        os.kill(int(child), signal.SIGKILL)


def test_two_runs_of_one_process_are_two(spark, tmp_path):
    """In the middle of a run another one starts, from a callback and from a thread, by another path to the folder."""
    (tmp_path / "link").symlink_to(tmp_path / "run")
    errors = []

    def second():
        try:
            train(tmp_path / "link")
        except fdl_spark.CheckpointError as error:
            errors.append(str(error))

    class Starts(fdl_spark.Callback):
        def step(self, run, record):
            second()
            thread = threading.Thread(target=second)
            thread.start()
            thread.join()

    run = train(tmp_path / "run", callbacks=[Starts()])
    assert run.step == 2 and len(errors) == 4 and not run.history.events
    assert all(f"in use by another call to train in this process, {os.getpid()} on" in error for error in errors)
    train(tmp_path / "link")


def test_a_run_that_fails_gives_the_folder_back(spark, tmp_path):
    def fails(slope, batch):
        raise ValueError

    with pytest.raises(fdl_spark.UserFunctionError):
        train(tmp_path, function=fails)
    assert not list(tmp_path.iterdir())
    (tmp_path / "step-000000001.json").write_text("{}")
    with pytest.raises(fdl_spark.CheckpointError, match="cannot be read"):
        train(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001.json"]


def claimed_often(path, count, pipe):
    for _ in range(count):
        folder = CheckpointFolder(path)
        while True:
            try:
                folder.claim()
                break
            except fdl_spark.CheckpointError:
                continue
        try:
            alone = os.open(f"{path}/alone", os.O_CREAT | os.O_EXCL)
            os.close(alone)
            os.unlink(f"{path}/alone")
        except OSError as error:
            pipe.send(repr(error))
            return
        folder.release()
    pipe.send("done")


def test_whatever_the_order_only_one_has_it(tmp_path):
    """Processes take it, and delete its file when they give it back, as fast as they can."""
    context = multiprocessing.get_context("fork")
    pipes, processes = [], []
    for _ in range(4):
        mine, theirs = context.Pipe()
        processes.append(context.Process(target=claimed_often, args=(str(tmp_path), 50, theirs)))
        processes[-1].start()
        pipes.append(mine)
    assert [pipe.recv() for pipe in pipes] == ["done"] * 4
    for process in processes:
        process.join()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_without_locks_the_folder_is_the_last_ones(tmp_path, monkeypatch, caplog, number):
    def no_locks(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(claims.fcntl, "lockf", no_locks)
    last_one_has_it(lambda: CheckpointFolder(tmp_path), tmp_path, caplog)


def test_on_other_file_systems_the_folder_is_the_last_ones(tmp_path, caplog):
    def folder():
        made = CheckpointFolder(tmp_path)
        made.files = RemoteFiles(fs.LocalFileSystem(), str(tmp_path))
        return made

    last_one_has_it(folder, tmp_path, caplog)


def last_one_has_it(make, path, caplog):
    first, second = make(), make()
    first.claim()
    assert not caplog.records
    second.claim()
    (record,) = caplog.records
    assert f"last used by process {os.getpid()} on {socket.gethostname()}, since 20" in record.getMessage()
    saved = fdl_spark.checkpoints.checkpoint.Saved(1, {"shards": 2}, {"params": X}, {})
    with pytest.raises(fdl_spark.CheckpointError, match=rf"step 1 is not written: .* in use by process {os.getpid()} "):
        first.save(saved)
    first.release()
    second.save(saved)
    second.release()
    first.claim()
    (path / ".lock").unlink()
    with pytest.raises(fdl_spark.CheckpointError, match="does not say whose"):
        first.save(saved)
    first.release()
    assert {Path(name).suffix for name in os.listdir(path)} == {".json", ".safetensors"}


def test_a_folder_that_cannot_be_locked_says_why(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(
        fdl_spark.CheckpointError, match=r"cannot be written \(.*Is a directory.*name a folder that can"
    ):
        CheckpointFolder(tmp_path).claim()
