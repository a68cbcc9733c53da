"""Arrays arrive in tasks as they were sent, read-only, whatever Spark encrypts on the way."""

import io
import os
import pickle
import runpy
import struct
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from pyspark.serializers import ChunkedStream

import fdl_spark
from fdl_spark.spark.broadcasts import _Arrays, lend
from fdl_spark.spark.failures import settled

PROGRAM = Path(__file__).with_name("private_program.py")
RANDOM = np.random.default_rng(0).standard_normal((300, 70)).astype(np.float32)  # 84 kB: more than a frame of a pickle

VALUES = {
    "vector": RANDOM.reshape(-1),
    "matrix": RANDOM,
    "transposed": RANDOM.T,
    "strided": RANDOM[:, ::2],
    "bfloat16": np.concatenate([RANDOM, RANDOM]).astype(ml_dtypes.bfloat16),
    "scalar": np.array(3, np.float32),
    "empty": np.zeros((0, 4), np.float32),
    "bytes": RANDOM.tobytes(),
    "leaves": [RANDOM, np.array(7, np.int32), RANDOM.T],
}


def unchunked(stream):
    """What the JVM's encryption server makes of the chunks."""
    content = b""
    while (size := struct.unpack(">i", stream.read(4))[0]) >= 0:
        content += stream.read(size)
    return content


class Kept(io.BytesIO):
    def close(self):
        self.content = self.getvalue()
        super().close()


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("encrypted", [False, True])
def test_arrays_come_out_as_they_went_in(kind, encrypted):
    value, file = VALUES[kind], Kept()
    _Arrays.dump(None, value, ChunkedStream(file, 8192) if encrypted else file)
    found = pickle.loads(unchunked(io.BytesIO(file.content)) if encrypted else file.content)
    for one, other in zip(*(v if isinstance(v, list) else [v] for v in (found, value)), strict=True):
        if isinstance(other, bytes):
            assert one == other
        else:
            assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
            assert not one.flags.writeable
            assert other.flags.writeable  # the sender's own array stays as it was


def test_tasks_read_what_was_lent(spark):
    lent = lend(spark.sparkContext, RANDOM)
    try:
        assert spark.sparkContext.parallelize([0], 1).map(lambda _: float(lent.value.sum())).first() == RANDOM.sum()
        assert os.path.exists(lent._path)
    finally:
        lent.destroy()
    assert not os.path.exists(lent._path)


def test_a_full_disk_of_the_driver_is_told_and_keeps_nothing(spark, monkeypatch):
    class Full:
        def write(self, content):
            raise OSError(28, "No space left on device")

        def close(self):
            raise OSError(28, "No space left on device")

    before = os.listdir(spark.sparkContext._temp_dir)
    dump = _Arrays.dump
    monkeypatch.setattr(_Arrays, "dump", lambda self, value, file: dump(self, value, Full()))
    text = r"driver cannot write .*: /.* on .*: No space left on device \(84000 bytes needed, \d+ bytes free\)"
    with pytest.raises(fdl_spark.ClusterError, match=text), settled("training"):
        lend(spark.sparkContext, RANDOM)
    assert os.listdir(spark.sparkContext._temp_dir) == before


def test_a_session_that_encrypts_and_authenticates_gives_the_same_bits(spark, capsys):
    """Parameters larger than what a pickle hands on in one piece, through every call and every way to synchronise."""
    private = [
        "spark.authenticate.secret=a",
        *(f"spark.{name}=true" for name in ("io.encryption.enabled", "authenticate", "network.crypto.enabled")),
    ]
    words = [sys.executable, PROGRAM, "local-cluster[2,1,1024]", "40000", *private]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as other:
        runpy.run_path(str(PROGRAM))["main"]("local[2]", 40000, {})
        expected = capsys.readouterr().out
        printed, errors = other.communicate(timeout=600)
    assert other.returncode == 0, errors
    clear = next(line for line in expected.splitlines() if line.startswith("readable"))
    assert any(".mu" in word for word in clear.split()) and any(".wire" in word for word in clear.split())
    assert printed == expected.replace(clear, "readable")  # nothing of what training keeps
    assert [len(line.split()) for line in printed.splitlines()[:2]] == [2, 2]  # one digest for all of them
