"""A driver that is killed, and one that is interrupted: the run goes on from where it was, and nothing stays behind."""

import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from fdl_spark.checkpoints.checkpoint import CheckpointFolder

PROGRAM = Path(__file__).with_name("driver_program.py")
HERE = runpy.run_path(str(PROGRAM))
PATIENCE = 300.0  # seconds for processes to follow the one that was killed


class Driver:
    """A driver in a process group of its own, as a shell starts one, with a temporary folder in place of /tmp."""

    def __init__(self, temporary, *arguments):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        environment |= {"TMPDIR": str(temporary), "SPARK_LOCAL_DIRS": str(temporary)}
        environment["JDK_JAVA_OPTIONS"] += f" -Djava.io.tmpdir={temporary}"
        self.process = subprocess.Popen(
            [sys.executable, PROGRAM, *map(str, arguments)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def read_to(self, line):
        """Lines up to one."""
        lines = []
        for read in self.process.stdout:
            lines.append(read.strip())
            if lines[-1] == line:
                return lines
        raise AssertionError(f"{lines}\n{self.process.stderr.read()}")

    def send(self, number):
        """As Ctrl-C or the end of a container: all processes of the group get the signal."""
        os.killpg(self.process.pid, number)

    def end(self):
        """What it printed, by first word."""
        out, err = self.process.communicate(timeout=600)
        assert self.process.returncode == 0 and "Traceback" not in err, err
        return dict(line.split(" ", 1) for line in out.splitlines())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.send(signal.SIGKILL)
        self.process.communicate()


def ours(folder):
    """What is in a temporary folder, but for a library that the JVM unpacks, which sweeps its own, and a folder of
    Spark's launcher, which is empty and says nothing of whose it is."""
    names = {path.name for path in folder.iterdir() if not path.name.startswith("liblz4")}
    return {name for name in names if not name.startswith("spark") or any((folder / name).glob("*"))}


@pytest.fixture
def temporary():
    """A folder in place of /tmp, whose path leaves room for those of Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="t") as folder:
        yield Path(folder)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="JVMs are found dead by what Linux tells of processes")
def test_a_run_that_is_killed_and_interrupted_ends_with_the_same_bits(spark, problem, digest, tmp_path, temporary):
    expected = HERE["train"](problem, sync="driver", partitions=2)
    folder = tmp_path / "run"

    with Driver(temporary, folder, "shuffle", 2, 22) as killed:
        killed.read_to(f"step {np.random.default_rng().integers(9, 20)}")
        time.sleep(np.random.default_rng().random() * 0.1)
        killed.send(signal.SIGKILL)
        killed.process.wait()
    left = ours(temporary)
    assert {name.split("-")[0] for name in left} == {"fdl", "spark", "blockmgr"}, left
    (saved,) = CheckpointFolder(folder).steps()[-1:]
    assert 8 <= saved <= 23

    with Driver(temporary, folder, "driver", 3, saved + 10) as interrupted:
        read = interrupted.read_to(f"step {saved + 5}")
        assert f"from {saved}" in read
        assert not left & ours(temporary)
        interrupted.send(signal.SIGINT)
        printed = interrupted.end()
    step = int(printed["interrupted"])
    assert saved + 5 < step <= saved + 11 < HERE["STEPS"]
    assert CheckpointFolder(folder).steps()[-1] == step
    deadline = time.monotonic() + PATIENCE
    while ours(temporary) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not ours(temporary)

    run = HERE["train"](problem, folder, partitions=1)
    assert digest(run.params) == digest(expected.params)
    assert [record["step"] for record in run.history.steps] == list(range(HERE["STEPS"]))
    assert run.history.loss == expected.history.loss
    assert [(r["epoch"], r["loss"]) for r in run.history.epochs] == [
        (r["epoch"], r["loss"]) for r in expected.history.epochs
    ]
    assert all("interrupted" in event["event"] for event in run.history.events)  # if it was killed while it wrote
