"""Matrices that a loop multiplies by in every step are packed before it."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.compile.kernels.matmul.prepacked import PrepackedProduct
from tests.compile.test_hoist import bodies, compiled

STEPS = 5


def powers(w, x):
    return lax.scan(lambda h, _: (fnp.sin(h @ w), h), x, None, length=STEPS)


def by_columns(w, x):
    return lax.scan(lambda h, _: (fnp.sin(fnp.matmul(w, h)), h), x, None, length=STEPS)


def tensors(w, x):
    """Contracts two axes, in another order than they have in memory."""
    w = w.reshape(w.shape[0] // 4, 4, w.shape[0] // 8, 8)

    def step(h, _):
        return fnp.sin(fnp.einsum("jxi,ijkl->lxk", h.reshape(4, -1, w.shape[0]), w).reshape(x.shape)), h

    return lax.scan(step, x, None, length=STEPS)


def packed(program):
    return sum(isinstance(e.operation, PrepackedProduct) for body in bodies(program) for e in body.equations)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("rows", "size"), [(4, 72), (5, 64), (20, 65), (128, 67)])
@pytest.mark.parametrize("run", [powers, by_columns])
def test_products_with_packed_matrices(run, rows, size, dtype, rng):
    w = (rng.normal(size=(size, size)) / 8).astype(dtype)
    x = rng.normal(size=(rows, size) if run is powers else (size, rows)).astype(dtype)
    assert packed(compiled(run, w, x)) == (w.nbytes >= 1 << 14)
    last, states = fdl.jit(run)(w, x)
    h, expected = x.astype(np.float64), []
    for _ in range(STEPS):
        expected.append(h)
        h = np.sin(h @ w.astype(np.float64) if run is powers else w.astype(np.float64) @ h)
    tolerance = {"rtol": 1e-3, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-10}
    np.testing.assert_allclose(states, np.stack(expected), **tolerance)
    np.testing.assert_allclose(last, h, **tolerance)


def test_axes_in_any_order(rng):
    w, x = rng.normal(size=(72, 72)) / 8, rng.normal(size=(6, 72))
    assert packed(compiled(tensors, w, x)) == 1
    for found, expected in zip(fdl.jit(tensors)(w, x), tensors(w, x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10)
    h, four = x, w.reshape(18, 4, 9, 8)
    for _ in range(STEPS):
        h = np.sin(np.einsum("jxi,ijkl->lxk", h.reshape(4, -1, 18), four).reshape(x.shape))
    np.testing.assert_allclose(fdl.jit(tensors)(w, x)[0], h, rtol=1e-10)


@pytest.mark.parametrize(("rows", "size", "length"), [(1, 80, 5), (3, 80, 5), (200, 80, 5), (8, 20, 5), (8, 80, 2)])
def test_where_packing_does_not_pay(rows, size, length, rng):
    w, x = rng.normal(size=(size, size)) / 8, rng.normal(size=(rows, size))

    def run(w, x):
        return lax.scan(lambda h, _: (fnp.sin(h @ w), None), x, None, length=length)[0]

    assert packed(compiled(run, w, x)) == 0
    np.testing.assert_allclose(fdl.jit(run)(w, x), run(w, x), rtol=1e-12)


def test_not_numbers_and_infinities_pass(rng):
    w, x = np.zeros((80, 80)), np.ones((4, 80))
    w[3, 79], x[1, 4] = np.inf, np.nan
    found = np.asarray(fdl.jit(lambda w, x: lax.scan(lambda h, _: (h @ w + x, None), x, None, length=4)[0])(w, x))
    h = x
    for _ in range(4):
        with np.errstate(invalid="ignore"):
            h = h @ w + x
    np.testing.assert_array_equal(found, h)
