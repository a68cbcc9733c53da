"""Nobody else on the machine can slip code or data into a session, and what somebody hands us is data."""

import os
import pickle
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import fdl_spark
from fdl_spark.checkpoints.checkpoint import CheckpointFolder, Saved
from fdl_spark.spark.failures import NoRoom, explained
from fdl_spark.spark.java import _shim


def test_sockets_are_in_a_folder_of_the_user(spark):
    """Spark's Unix sockets ask for no password: who can connect can run code."""
    context = spark.sparkContext
    umasks = context.parallelize(range(2), 2).map(lambda _: os.umask(os.umask(0o022))).collect()
    mine = os.umask(0o022)
    os.umask(mine)
    assert umasks == [mine] * 2  # the user's functions write files as they always did
    folder = Path(context.getConf().get("spark.python.unix.domain.socket.dir"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    sockets = [path for path in folder.iterdir() if stat.S_ISSOCK(path.stat().st_mode)]
    local = context.parallelize([0], 1).flatMap(lambda _: os.environ["SPARK_LOCAL_DIRS"].split(",")).collect()
    assert local and not any(os.stat(place).st_mode & 0o007 for place in local)  # where files of rows are
    assert len(sockets) >= 2  # the driver's for accumulators, the daemon's for workers
    assert any(not path.stat().st_mode & 0o077 for path in sockets)  # the daemon's, also on executors elsewhere


def test_a_full_disk_of_an_executor_is_told(spark):
    def full(_):
        raise OSError(28, "No space left on device")

    with pytest.raises(NoRoom, match="a disk of an executor is full: OSError"), explained("writing"):
        spark.sparkContext.parallelize([1], 1).map(full).count()


def test_the_shim_for_java_is_private_and_goes_with_the_process():
    shim = _shim(Path("/usr/bin/java"))
    assert shim is _shim(Path("/usr/bin/java"))
    assert stat.S_IMODE(shim.stat().st_mode) == 0o700
    script = "import fdl_spark.spark.java as j, pathlib; print(j._shim(pathlib.Path('/usr/bin/java')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not Path(done.stdout.strip()).exists()


def test_another_thread_finds_the_session_and_changes_nothing(spark):
    def settings():
        return {name: spark.conf.get(name, "") for name in names}, dict(os.environ)

    names = ["spark.sql.execution.arrow.pyspark.enabled", "spark.ui.showConsoleProgress", "spark.app.name"]
    spark.conf.set(names[0], "false")
    try:
        before, found = settings(), []
        for config in (None, {"spark.sql.shuffle.partitions": "7", "spark.app.name": "mine"}):
            thread = threading.Thread(
                target=lambda c=config: found.append(fdl_spark.session("local[7]", "b", config=c))
            )
            thread.start()
            thread.join()
        assert found == [spark, spark]
        assert settings() == before
        assert spark.conf.get("spark.sql.shuffle.partitions") != "7"
    finally:
        spark.conf.set(names[0], "true")


def test_descriptions_of_jobs_stay(spark):
    context = spark.sparkContext
    context.setJobDescription("the user's own")
    try:
        x = {"x": np.ones(4, np.float32)}
        fdl_spark.evaluate({"m": lambda p, b: b["x"].mean()}, np.float32(0), x)
        with pytest.raises(fdl_spark.MissingColumnError):
            fdl_spark.evaluate({"m": lambda p, b: b["z"].mean()}, np.float32(0), x)
        assert context.getLocalProperty("spark.job.description") == "the user's own"
    finally:
        context.setLocalProperty("spark.job.description", None)


SAVED = Saved(1, {"shards": 2}, {"params": np.zeros(3, np.float32)}, {"steps": [], "epochs": [], "events": []})


class Malice:
    """A pickle of it makes a folder when it is opened."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


FOREIGN = {
    "a list": "[]",
    "a number": "3",
    "text": '"step"',
    "deep": "[" * 100_000,
    "no format": "{}",
    "cut off": '{"format": 1, "st',
    "another step": '{"format": 1, "step": 2, "arguments": {"shards": 2}, "sha256": SHA, "history": HISTORY}',
    "no shards": '{"format": 1, "step": 1, "arguments": {}, "sha256": SHA, "history": HISTORY}',
    "shards of text": '{"format": 1, "step": 1, "arguments": {"shards": "2"}, "sha256": SHA, "history": HISTORY}',
    "arguments of text": '{"format": 1, "step": 1, "arguments": "shards", "sha256": SHA, "history": HISTORY}',
    "history of text": '{"format": 1, "step": 1, "arguments": {"shards": 2}, "sha256": SHA, "history": "steps"}',
    "records of text": '{"format": 1, "step": 1, "arguments": {"shards": 2}, "sha256": SHA, "history": '
    '{"steps": ["a"], "epochs": [], "events": []}}',
    "another hash": '{"format": 1, "step": 1, "arguments": {"shards": 2}, "sha256": "00", "history": HISTORY}',
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_checkpoint_is_one_clear_error(tmp_path, kind):
    import hashlib

    folder = CheckpointFolder(tmp_path)
    folder.save(SAVED)
    (tensors,) = tmp_path.glob("*.safetensors")
    (described,) = tmp_path.glob("*.json")
    sha = f'"{hashlib.sha256(tensors.read_bytes()).hexdigest()}"'
    history = '{"steps": [], "epochs": [], "events": []}'
    described.write_text(FOREIGN[kind].replace("SHA", sha).replace("HISTORY", history))
    with pytest.raises(fdl_spark.CheckpointError, match=r"step-000000001\..*(restore|format)"):
        folder.load()


def test_a_checkpoint_that_is_a_pickle_is_not_opened(tmp_path):
    import hashlib

    folder = CheckpointFolder(tmp_path)
    folder.save(SAVED)
    (tensors,) = tmp_path.glob("*.safetensors")
    (described,) = tmp_path.glob("*.json")
    evil = pickle.dumps(Malice(tmp_path / "made"))
    old = hashlib.sha256(tensors.read_bytes()).hexdigest()
    tensors.write_bytes(evil)
    described.write_text(described.read_text().replace(old, hashlib.sha256(evil).hexdigest()))
    with pytest.raises(fdl_spark.CheckpointError, match="cannot be read"):
        folder.load()
    described.write_bytes(evil)
    with pytest.raises(fdl_spark.CheckpointError, match="cannot be read"):
        folder.load()
    assert not (tmp_path / "made").exists()
    pickle.loads(evil)
    assert (tmp_path / "made").exists()  # it would have been noticed


def test_a_planted_link_is_not_followed(tmp_path):
    """In a folder that all may write to, under the name that an unfinished checkpoint used to have."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    for ending in ("safetensors", "json"):
        (run / f".step-000000001.{ending}.unfinished").symlink_to(precious)
        (run / f"step-000000001.{ending}").symlink_to(precious)
    folder = CheckpointFolder(run)
    folder.save(SAVED)
    assert precious.read_text() == "mine"
    np.testing.assert_array_equal(folder.load().tensors["params"], SAVED.tensors["params"])
