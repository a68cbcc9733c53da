"""Blocks that are lost or damaged in the middle of a run: the same bits, one line in the history, no file left."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fdl_spark
from fdl import optim

HERE = runpy.run_path(str(Path(__file__).with_name("problem.py")))
SETTINGS = {"optimizer": optim.adam(0.02), "batch_size": 100, "steps": 7, "seed": 11, "shards": 4, "partitions": 2}


class Damage(fdl_spark.Callback):
    """Does something to the files of the blocks after the third step, and sees which there are after later ones."""

    def __init__(self, folder, change):
        self.folder, self.change, self.changed, self.seen = Path(folder), change, [], set()
        self.before = self.blocks()

    def blocks(self):
        """Of data, not those of state: slices', and what ranks leave where Spark has more workers than there are ranks,
        which is up to the tests before."""
        return {path for path in self.folder.glob("*.block") if not re.search("-(slice|rank)", path.name)}

    def step(self, run, record):
        files = sorted(self.blocks() - self.before)
        if record["step"] == 2 and not self.changed:
            self.changed = files
            self.change(self.changed)
        elif record["step"] > 2:
            self.seen.update(files)


def flip(paths):
    content = bytearray(paths[0].read_bytes())
    content[1000] ^= 16
    paths[0].write_bytes(content)


def swap(paths):
    one, other = paths[0].read_bytes(), paths[1].read_bytes()
    paths[0].write_bytes(other)
    paths[1].write_bytes(one)


CHANGES = {
    "all gone": lambda paths: [path.unlink() for path in paths],
    "one cut off": lambda paths: os.truncate(paths[0], 10),
    "all empty": lambda paths: [os.truncate(path, 0) for path in paths],
    "a bit of one": flip,
    "exchanged": swap,
}


def train(problem, **options):
    return fdl_spark.train(problem.loss, problem.params, problem.data, **(SETTINGS | options))


@pytest.fixture(scope="module")
def expected(spark, problem, digest):
    return digest(train(problem, sync="driver").params)


@pytest.fixture(scope="module")
def folder(spark):
    return spark.sparkContext.parallelize([0], 1).map(lambda _: os.environ["SPARK_LOCAL_DIRS"]).first()


@pytest.mark.parametrize(
    ("sync", "kind"),
    [("driver", kind) for kind in CHANGES]
    + [("shuffle", "one cut off"), ("resident", "all gone"), ("resident", "a bit of one")],
)
def test_damaged_blocks_are_made_again(spark, problem, digest, expected, folder, sync, kind):
    damage = Damage(folder, CHANGES[kind])
    run = train(problem, sync=sync, group=3, callbacks=[damage])
    assert len(damage.changed) == 2
    assert digest(run.params) == expected
    events = [record["event"] for record in run.history.events]
    assert any("BlockMissing" in event for event in events)
    assert not any(path.exists() for path in damage.changed)
    assert len(damage.seen) == 2  # they are not made again at every step


def test_damaged_blocks_of_an_evaluation_are_made_again(spark, problem, folder, tmp_path):
    """Damaged by the first task that reads them, in its own host's folder."""
    mark = tmp_path / "damaged"

    def metric(params, batch):
        if "SPARK_LOCAL_DIRS" in os.environ and not mark.exists():
            mark.touch()
            for path in Path(folder).glob("*.block"):
                path.write_bytes(bytes(path.stat().st_size))
            raise BlockMissing("on purpose")
        return batch["x"].mean()

    from fdl_spark.data.block import BlockMissing

    found = fdl_spark.evaluate({"mean": metric}, np.float32(0), problem.data, batch_size=100)
    np.testing.assert_allclose(found["mean"], problem.data["x"].mean(dtype=np.float64), rtol=1e-4)
    assert mark.exists()


FOLDER = """
import glob, os, runpy, shutil, sys
import fdl_spark
from fdl import optim
here = runpy.run_path(sys.argv[1])
problem = here["make_problem"]()
spark = fdl_spark.session("local[2]", config={"spark.ui.enabled": "false", "spark.local.dir": sys.argv[2]})
(folder,) = glob.glob(sys.argv[2] + "/blockmgr-*")

class Delete(fdl_spark.Callback):
    def step(self, run, record):
        if record["step"] == 2 and not glob.glob(sys.argv[2] + "/deleted*"):
            os.rename(folder, sys.argv[2] + "/deleted")

for sync in ("driver", "shuffle", "resident"):
    run = fdl_spark.train(problem.loss, problem.params, problem.data, optimizer=optim.adam(0.02), batch_size=100,
                          steps=7, seed=11, shards=4, partitions=2, sync=sync, group=3, callbacks=[Delete()])
    shutil.rmtree(sys.argv[2] + "/deleted")
    print(here["digest"](run.params), len(glob.glob(folder + "/*.block")), len(run.history.events) > 0)
os.rename(folder, sys.argv[2] + "/deleted")
print(fdl_spark.evaluate(problem.loss, problem.params, problem.data)["loss"] > 0)
spark.stop()
"""


def test_deleted_local_directories_are_made_again(expected, tmp_path):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", FOLDER, str(Path(__file__).with_name("problem.py")), str(tmp_path)]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    *trained, last = done.stdout.splitlines()
    assert trained == [f"{expected} 0 True"] * 3
    assert last == "True"
    shutil.rmtree(tmp_path)
