"""Loops over narrow rows, joined into longer ones."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.compile.ir.steps import LoopNest
from fdl.compile.passes.order import prepared
from fdl.compile.schedule.planner import make_plan


def layer(x, scale, shift):
    y = fnp.maximum(x * scale + shift, 0)
    return y, y > 0, y.sum((0, 1)), y.max((0, 1)), y.sum(2), (x * y[::-1]).min((0, 1))


@pytest.mark.parametrize("rows", [(64, 64), (33, 61)])
@pytest.mark.parametrize("channels", [3, 6, 20, 31])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_numpy(rows, channels, dtype):
    rng = np.random.default_rng(0)
    x, shift = rng.standard_normal((*rows, channels)).astype(dtype), rng.standard_normal(channels).astype(dtype)
    scale = rng.standard_normal((1, channels)).astype(dtype)
    x[1, 2, -1], x[5, 0, 0] = np.nan, -0.0
    found = fdl.jit(layer)(x, scale, shift)
    y = np.maximum(x * scale + shift, 0)
    np.testing.assert_array_equal(found[0], y, strict=True)
    np.testing.assert_array_equal(found[1], y > 0, strict=True)
    np.testing.assert_allclose(found[2], y.astype(float).sum((0, 1)), 1e-5)
    np.testing.assert_array_equal(found[3], y.max((0, 1)), strict=True)
    np.testing.assert_allclose(found[4], y.astype(float).sum(2), 1e-5, 1e-5)
    np.testing.assert_array_equal(found[5], (x * y[::-1]).min((0, 1)), strict=True)


@pytest.mark.parametrize(("rows", "channels", "joined"), [(4096, 6, 48), (4096, 5, 80), (4096, 16, 16), (4095, 6, 6)])
def test_rows_are_joined_if_they_fill_vectors_then(rows, channels, joined):
    x = fdl.ShapeDtypeStruct((rows, channels), "float32")
    program = fdl.jit(lambda x: x.sum(0)).lower(x).traced.program
    steps = make_plan(prepared(program)).steps
    first = next(s for s in steps if isinstance(s, LoopNest))
    assert first.loops.extents[-1] == joined
