"""Folders that cannot be written, disks that fill, runs that end early: what was trained is not lost."""

import logging
import os
import resource
import signal

import numpy as np
import pytest

import fdl_spark
from fdl import optim
from fdl_spark.checkpoints.checkpoint import CheckpointFolder, Saved

X = np.linspace(-1, 1, 12, dtype=np.float32)
DATA = {"x": X, "y": 3 * X}


def loss(slope, batch):
    return ((slope * batch["x"] - batch["y"]) ** 2).mean()


def train(function=loss, **options):
    settings = {"optimizer": optim.sgd(0.5), "batch_size": 4, "shards": 2, "partitions": 2, "steps": 4, **options}
    return fdl_spark.train(function, np.float32(0), DATA, **settings)


def untouched(*_):
    raise AssertionError("the loss was called before the checkpoint's folder was tried")


def saved(step, size=3):
    history = {"steps": [], "epochs": [], "events": []}
    return Saved(step, {"shards": 2}, {"params": np.full(size, step, np.float32)}, history)


def test_a_folder_that_cannot_be_is_found_before_the_first_step(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(fdl_spark.CheckpointError, match=r"file/run.*name a folder that can, or leave it out"):
        train(untouched, checkpoint=tmp_path / "file" / "run")
    with pytest.raises(fdl_spark.CheckpointError, match="/file'|/file cannot"):
        train(untouched, checkpoint=tmp_path / "file")


def test_a_folder_that_cannot_be_written_is_found_before_the_first_step(tmp_path):
    """Root may write anywhere: the disk is full from the start."""
    (tmp_path / "run").mkdir()
    with limited(0), pytest.raises(fdl_spark.CheckpointError, match="cannot be written .*File too large"):
        CheckpointFolder(tmp_path / "run").prepare()
    assert not list((tmp_path / "run").iterdir())


class limited:
    """Files may have so many bytes: a disk that fills, and what an interrupted writing leaves."""

    def __init__(self, size):
        self.size = size

    def __enter__(self):
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)
        signal.signal(signal.SIGXFSZ, self.handler)


@pytest.mark.parametrize("room", [0, 4096, 40_100])
def test_a_disk_that_fills_keeps_the_checkpoints_before(tmp_path, room):
    """At the first byte, in the middle of the tensors, and in the middle of the JSON."""
    folder = CheckpointFolder(tmp_path)
    folder.prepare()
    for step in (1, 2):
        folder.save(saved(step))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    large = Saved(3, {"shards": 2, "note": "x" * 50_000}, {"params": np.zeros(10_000, np.float32)}, saved(3).history)
    with limited(room), pytest.raises(fdl_spark.CheckpointError, match="step 3 cannot be written"):
        folder.save(large)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert folder.load().step == 2
    folder.save(large)
    assert folder.load().step == 3 and len(list(tmp_path.iterdir())) == 4


def test_training_survives_a_disk_that_fills(spark, tmp_path, monkeypatch, caplog):
    write = CheckpointFolder._write

    def fills(self, contents):
        if any("000000002" in name or "000000003" in name for name in contents):
            raise OSError(28, "No space left on device")
        write(self, contents)

    monkeypatch.setattr(CheckpointFolder, "_write", fills)
    with caplog.at_level(logging.WARNING, "fdl_spark"):
        run = train(checkpoint=tmp_path, checkpoint_steps=1)
    assert run.step == 4 and [event["step"] for event in run.history.events] == [2, 3]
    assert all(
        "no checkpoint: " in event["event"] and "No space left" in event["event"] for event in run.history.events
    )
    assert len(caplog.records) == 2 and "training goes on" in caplog.text
    assert CheckpointFolder(tmp_path).steps() == [1, 4]
    assert run.params == train().params
    assert train(checkpoint=tmp_path).params == run.params


def test_training_goes_on_from_the_checkpoint_before_a_damaged_one(spark, tmp_path, caplog):
    """With one line in the log and an event, which later checkpoints keep; and again when that one is damaged."""
    undisturbed = train(steps=6, sync="driver")
    train(steps=4, checkpoint=tmp_path, checkpoint_steps=1, sync="driver")
    newest = tmp_path / "step-000000004.json"
    content = newest.read_text()
    newest.write_text(content.replace('"step": 4', '"step": 5', 1))
    with caplog.at_level(logging.WARNING, "fdl_spark"):
        run = train(steps=5, checkpoint=tmp_path, checkpoint_steps=1, sync="driver")
    (record,) = caplog.records
    assert f"{newest} cannot be read: it has another SHA-256" in record.getMessage()
    assert "training goes on from step 3" in record.getMessage()
    assert [event["step"] for event in run.history.events] == [3]
    assert run.history.loss == undisturbed.history.loss[:5]
    (aside,) = tmp_path.glob("step-000000004.json.*.broken")
    assert aside.read_text() == content.replace('"step": 4', '"step": 5', 1)
    (tmp_path / "step-000000005.safetensors").write_bytes(b"")
    run = train(steps=6, checkpoint=tmp_path, checkpoint_steps=1, sync="driver")
    assert run.params == undisturbed.params and run.history.loss == undisturbed.history.loss
    assert [event["step"] for event in run.history.events] == [3, 4]
    for name, event in zip(("4.json", "5.safetensors"), run.history.events, strict=True):
        assert name in event["event"] and "earlier checkpoint" in event["event"]
    for step in (5, 6):
        (tmp_path / f"step-{step:09}.json").write_text("{}")
    with pytest.raises(
        fdl_spark.CheckpointError, match=r"6\.json cannot be read.*, nor can the 1 before it; restore it"
    ):
        train(steps=6, checkpoint=tmp_path, sync="driver")


def test_what_a_killed_run_left_is_cleared(tmp_path):
    (tmp_path / ".step-000000007.json.0123.unfinished").touch()
    (tmp_path / "notes.unfinished").touch()
    CheckpointFolder(tmp_path).prepare()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.unfinished"]


def test_an_error_carries_the_run(spark):
    def fails_later(slope, batch):
        import fdl.numpy as fnp

        return loss(slope, batch) / fnp.where(slope > 2, 0.0, 1.0)

    with pytest.raises(fdl_spark.NonFiniteError) as caught:
        train(fails_later, steps=50)
    run = caught.value.run
    assert 0 < run.step == caught.value.step == len(run.history.loss)
    assert run.params > 2 and run.params == train(steps=run.step).params
    assert run.optimizer_state.keys() == train(steps=0).optimizer_state.keys()


def test_what_a_callback_raises_passes_and_the_others_end(spark):
    """As searches of hyperparameters stop a run by an exception of theirs."""
    ended = []

    class Pruned(Exception):
        pass

    class Watch(fdl_spark.Callback):
        def __init__(self, name):
            self.name = name

        def end(self, run):
            ended.append(self.name)
            if self.name == "b":
                raise Pruned

        def step(self, run, record):
            if self.name == "b":
                raise Pruned

    with pytest.raises(Pruned):
        train(callbacks=[Watch("a"), Watch("b"), Watch("c")])
    assert sorted(ended) == ["a", "b", "c"]


def test_the_last_state_is_read_again_if_it_is_lost(spark, monkeypatch):
    """A callback stops the run, and the cluster loses the state before it is read."""
    from fdl_spark.engines.shuffle import Shuffle
    from fdl_spark.spark.failures import Lost

    state, lost = Shuffle.state, []

    def losing(self):
        if self._leaves is None and not lost:
            lost.append(1)
            raise Lost("both copies")
        return state(self)

    class Stop(fdl_spark.Callback):
        def step(self, run, record):
            return run.step == 2

    monkeypatch.setattr(Shuffle, "state", losing)
    run = train(callbacks=[Stop()], sync="shuffle")
    assert lost and run.step == 2 and run.params == train(steps=2).params
    assert [event["event"] for event in run.history.events] == ["back to step 0: both copies"]


def test_environment_is_not_needed_for_a_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = CheckpointFolder("~/run")
    folder.prepare()
    assert os.path.isdir(tmp_path / "run")
