"""Large results of one cheap operation are computed where they are read, from what is in memory anyway."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.compile import compile_program
from fdl.compile.ir.plan import nbytes
from fdl.compile.llvm.target import TUNING
from fdl.compile.passes.order import prepared
from fdl.compile.schedule.planner import make_plan
from fdl.core.interpret import interpret

ROWS = TUNING.recomputed_bytes // 4 // 64


def batch_norm(x):
    mean = x.mean(0)
    variance = ((x - mean) ** 2).mean(0)
    return (x - mean) / fnp.sqrt(variance + 1e-5)


def group_norm(x):
    y = x.reshape(2, -1, 8, 8)  # two images, so large that no tile holds one
    mean = y.mean((1, 3), keepdims=True)
    variance = ((y - mean) ** 2).mean((1, 3), keepdims=True)
    return ((y - mean) / fnp.sqrt(variance + 1e-5)).reshape(x.shape)


def plan_of(fun, *args):
    program = fdl.jit(fun).lower(*args).traced.program
    return program, make_plan(prepared(program))


@pytest.mark.parametrize("fun", [batch_norm, group_norm])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_differences_from_means_are_not_stored(fun, dtype):
    x = np.random.default_rng(0).normal(3, 2, (ROWS, 64)).astype(dtype)
    program, plan = plan_of(fun, x)
    large = [v for step in plan.steps for v in step.outputs if v.type.size == x.size]
    assert len(large) == 1  # the result
    (found,), (wanted,) = compile_program(program).run([x]), interpret(program, [x])
    np.testing.assert_allclose(found, wanted, 1e-12 if dtype == "float64" else 1e-5, 1e-5)


def test_small_ones_and_those_of_values_that_are_not_stored_are_as_before():
    _, small = plan_of(batch_norm, np.zeros((ROWS // 4, 64), np.float32))
    assert sum(v.type.size == ROWS * 16 for step in small.steps for v in step.outputs) == 2

    def epilogue(x, w, b):
        y = x @ w + b
        return fnp.tanh(y).sum(), y.max()

    x, w, b = np.zeros((ROWS, 8), np.float32), np.zeros((8, 64), np.float32), np.zeros(64, np.float32)
    _, plan = plan_of(epilogue, x, w, b)
    stored = [v for step in plan.steps for v in step.outputs if nbytes(v.type) >= TUNING.recomputed_bytes]
    assert len(stored) <= 1


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, -0.0])
def test_special_values_and_gradients(special):
    x = np.random.default_rng(1).normal(size=(ROWS, 64))
    x[5, 3] = special
    with np.errstate(invalid="ignore"):
        for fun in (batch_norm, fdl.grad(lambda x: (batch_norm(x) ** 3).sum())):
            program, _ = plan_of(fun, x)
            (found,), (wanted,) = compile_program(program).run([x]), interpret(program, [x])
            np.testing.assert_allclose(found, wanted, 1e-9, 1e-9)
