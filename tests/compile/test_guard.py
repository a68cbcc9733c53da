"""Programs between guard pages (see `tests.guard`), and proof that the guards guard."""

import os
import subprocess
import sys

import pytest

GUARDED = {**os.environ, "FDL_TEST_GUARD": "1"}

FAULTY = """
import numpy as np
from llvmlite import ir
import fdl
import fdl.compile.loopnest.nest as nest
from tests import guard
guard.install()
x = np.arange(1027.0)
assert fdl.jit(lambda x: x * 2)(x)[3] == 6
original = nest.NestEmitter.{method}
def shifted(self, affine, counters):
    return original(self, affine, counters) + {by}
nest.NestEmitter.{method} = shifted
fdl.jit(lambda x: x * 3)(x)
print("survived")
"""


@pytest.mark.parametrize("by", [1, -1])
def test_an_element_outside_ends_the_process(by):
    code = FAULTY.format(method="address", by=by)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -11, done.stderr
    assert "survived" not in done.stdout


def test_programs_between_guards():
    chosen = ["tests/compile/test_pipeline_programs.py", "tests/compile/test_regressions.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *chosen]
    done = subprocess.run(command, capture_output=True, text=True, env=GUARDED)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
