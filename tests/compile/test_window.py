"""Window reductions and their derivatives against loops in Python."""

import itertools

import ml_dtypes
import numpy as np
import pytest

from fdl.compile.kernels import window
from fdl.compile.llvm.target import host_target
from tests.compile.native import kernel

CASES = {
    # name: (outer, in_spatial, inner, window, stride, (low, high), dilation, base dilation)
    "2x2 stride 2": (2, (6, 8), 16, (2, 2), (2, 2), [(0, 0), (0, 0)], (1, 1), (1, 1)),
    "3x3 stride 2 padded": (2, (7, 9), 13, (3, 3), (2, 2), [(1, 1), (1, 1)], (1, 1), (1, 1)),
    "no inner": (3, (6, 7), 1, (3, 2), (1, 2), [(0, 0), (1, 0)], (1, 1), (1, 1)),
    "1d wide inner": (1, (9,), 75, (4,), (3,), [(2, 1)], (1,), (1,)),
    "3d": (2, (4, 5, 3), 5, (2, 3, 2), (1, 2, 1), [(0, 1), (1, 1), (0, 0)], (1, 1, 1), (1, 1, 1)),
    "dilated": (1, (9, 8), 6, (3, 2), (1, 1), [(1, 2), (0, 0)], (2, 3), (1, 1)),
    "dilated base": (2, (4, 5), 9, (3, 3), (1, 2), [(2, 2), (1, 1)], (1, 1), (2, 3)),
    "no inner 2x2 stride 2": (2, (6, 44), 1, (2, 2), (2, 2), [(0, 0), (0, 0)], (1, 1), (1, 1)),
    "no inner 3x3 stride 2": (2, (5, 41), 1, (3, 3), (2, 2), [(1, 1), (1, 1)], (1, 1), (1, 1)),
    "no inner stride 1": (2, (4, 30), 1, (2, 3), (1, 1), [(0, 1), (2, 2)], (1, 2), (1, 1)),
    "apart with gaps": (2, (7, 11), 6, (1, 2), (2, 3), [(0, 0), (1, 0)], (1, 1), (1, 1)),
    "no inner, apart with gaps": (2, (3, 67), 1, (1, 2), (2, 3), [(0, 0), (1, 0)], (1, 1), (1, 1)),
    "only padding": (1, (2, 2), 4, (1, 1), (1, 1), [(2, 2), (0, 1)], (1, 1), (1, 1)),
    "cut": (1, (6, 6), 3, (2, 2), (1, 1), [(-1, -2), (0, -1)], (1, 1), (1, 1)),
}


def specify(name, dtype):
    outer, sizes, inner, taps, stride, padding, dilation, base = CASES[name]
    out = tuple(
        ((n - 1) * e + 1 + low + high - ((t - 1) * d + 1)) // s + 1
        for n, e, (low, high), t, d, s in zip(sizes, base, padding, taps, dilation, stride, strict=True)
    )
    low = tuple(p[0] for p in padding)
    return window.Window(np.dtype(dtype), outer, inner, sizes, taps, out, stride, low, dilation, base)


def meetings(spec):
    """For every output position the positions of x in its window, in the order of the taps."""
    for o in itertools.product(*map(range, spec.out_spatial)):
        found = []
        for t in itertools.product(*map(range, spec.window)):
            at = [a * s + b * d - p for a, s, b, d, p in zip(o, spec.stride, t, spec.dilation, spec.low, strict=True)]
            inside = [
                q % e == 0 and 0 <= q // e < n for q, e, n in zip(at, spec.base_dilation, spec.in_spatial, strict=True)
            ]
            if all(inside):
                found.append(tuple(q // e for q, e in zip(at, spec.base_dilation, strict=True)))
        yield o, found


def some(spec, rng, dtype):
    shape = (spec.outer, *spec.in_spatial, spec.inner)
    return (rng.integers(0, 9, shape) if np.dtype(dtype).kind in "iu" else rng.standard_normal(shape)).astype(dtype)


def run(emit, spec, arrays, parts=1):
    _, call = kernel(lambda module: emit(module, host_target()), host_target(), len(arrays))
    call(arrays, parts)


REDUCTIONS = {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min}
IDENTITY = {"sum": 0, "prod": 1, "max": -np.inf, "min": np.inf}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", REDUCTIONS)
def test_reduce(name, kind):
    spec = specify(name, np.float32)
    x = some(spec, np.random.default_rng(0), np.float32)
    x.flat[:: max(1, x.size // 3)] = [np.nan, np.inf, -np.inf][: len(x.flat[:: max(1, x.size // 3)])]
    y = np.zeros((spec.outer, *spec.out_spatial, spec.inner), np.float32)
    run(lambda m, t: window.emit_reduce(m, t, spec, kind), spec, [x, y], parts=spec.outer)
    want = np.full(y.shape, IDENTITY[kind], np.float64)
    with np.errstate(invalid="ignore"):
        for o, found in meetings(spec):
            if found:
                stack = np.stack([x[(slice(None), *q)] for q in found]).astype(np.float64)
                want[(slice(None), *o)] = REDUCTIONS[kind](stack, 0)
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "uint64", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("kind", ["sum", "max"])
def test_reduce_of_every_kind_of_number(dtype, kind):
    dtype = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    spec = specify("3x3 stride 2 padded", dtype)
    x = some(spec, np.random.default_rng(0), dtype)
    y = np.zeros((spec.outer, *spec.out_spatial, spec.inner), dtype)
    run(lambda m, t: window.emit_reduce(m, t, spec, kind), spec, [x, y])
    wide = np.float64 if dtype.kind not in "iu" else np.int64
    for o, found in meetings(spec):
        stack = np.stack([x[(slice(None), *q)] for q in found]).astype(wide)
        want = REDUCTIONS[kind](stack, 0).astype(dtype)
        tolerance = 0 if dtype.kind in "iu" or kind == "max" else float(ml_dtypes.finfo(dtype).eps)
        got = y[(slice(None), *o)].astype(wide)
        np.testing.assert_allclose(got, want.astype(wide), rtol=tolerance, atol=4 * tolerance)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", ["max", "min"])
def test_select_and_scatter_and_its_transpose(name, kind):
    spec = specify(name, np.float32)
    rng = np.random.default_rng(0)
    x = np.round(some(spec, rng, np.float32))
    x.flat[x.size // 2] = np.nan
    y_shape = (spec.outer, *spec.out_spatial, spec.inner)
    dy, direction = rng.integers(1, 9, y_shape).astype(np.float32), rng.integers(1, 9, x.shape).astype(np.float32)
    dx, gathered = np.full(x.shape, np.nan, np.float32), np.full(y_shape, np.nan, np.float32)
    run(lambda m, t: window.emit_select_and_scatter(m, t, spec, kind), spec, [x, dy, dx], parts=spec.outer)
    run(lambda m, t: window.emit_select_and_gather(m, t, spec, kind), spec, [x, direction, gathered])
    want, along = np.zeros(x.shape), np.zeros(y_shape)
    for o, found in meetings(spec):
        for n, c in itertools.product(range(spec.outer), range(spec.inner)) if found else ():
            values = np.array([x[(n, *q, c)] for q in found])
            at = (n, *found[(np.argmax if kind == "max" else np.argmin)(values)], c)
            want[at] += dy[(n, *o, c)]
            along[(n, *o, c)] = direction[at]
    np.testing.assert_array_equal(dx, want)
    np.testing.assert_array_equal(gathered, along)
