"""Matrix products: every shape and stride against float64 NumPy."""

import itertools

import numpy as np
import pytest
from tests.compile.native import kernel

from fdl.compile.kernels import contract
from fdl.compile.target import host_target

SHAPES = [
    (1, 1, 1, 1), (2, 3, 5, 7), (1, 6, 16, 8), (1, 13, 33, 9), (3, 1, 40, 17), (2, 40, 1, 19), (1, 7, 16, 1),
    (1, 64, 48, 300), (2, 70, 130, 20), (1, 5, 3, 1000), (1, 100, 10, 64), (1, 33, 200, 65), (1, 2, 70, 33),
]  # fmt: skip
LAYOUTS = ["row", "column", "strided"]


def laid_out(rng, shape, dtype, layout):
    batch, rows, columns = shape
    if layout == "row":
        return rng.standard_normal(shape).astype(dtype)
    if layout == "column":
        return rng.standard_normal((batch, columns, rows)).astype(dtype).swapaxes(1, 2)
    return rng.standard_normal((batch, 2 * rows, 3 * columns)).astype(dtype)[:, ::-2, 1::3]


def strides(array):
    return tuple(s // array.itemsize for s in array.strides)


def product(a, b, c, target, parts=1, accumulate=False, epilogue=None, extras=()):
    spec = contract.Contraction(
        a.dtype, a.shape[0], a.shape[1], b.shape[2], a.shape[2], strides(a), strides(b), strides(c), accumulate
    )
    emitted, run = kernel(
        lambda module: contract.emit(module, target, spec, epilogue, len(extras)), target, 3 + len(extras)
    )
    run([a, b, c, *extras], parts)
    return emitted


def check(a, b, c, before=0):
    exact = a.astype(np.float64) @ b.astype(np.float64) + before
    scale = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64) + np.abs(before)
    depth = a.shape[2] + 1
    assert (np.abs(c - exact) <= depth * np.finfo(a.dtype).eps * scale + 1e-30).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_layouts(shape, dtype):
    rng = np.random.default_rng(0)
    batch, m, n, k = shape
    combinations = list(itertools.product(LAYOUTS, LAYOUTS, LAYOUTS))
    for a_layout, b_layout, c_layout in [combinations[i] for i in rng.choice(27, 4, replace=False)]:
        a = laid_out(rng, (batch, m, k), dtype, a_layout)
        b = laid_out(rng, (batch, k, n), dtype, b_layout)
        c = laid_out(rng, (batch, m, n), dtype, c_layout)
        c[:] = np.nan
        product(a, b, c, host_target(), parts=int(rng.integers(1, 4)))
        check(a, b, c)
