"""Operations of which only some results are read."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.compile.passes.simplify import simplify
from fdl.ops.linalg import Qr


def factorizations(f, x):
    """The QR factorizations that are left in a function after simplification."""
    program = simplify(fdl.make_program(f)(x))
    return [e.operation for e in program.equations if isinstance(e.operation, Qr)]


def test_only_what_is_read_is_made():
    x = fnp.ones((4, 3))
    assert factorizations(fnp.linalg.qr, x) == [Qr(False)]
    assert factorizations(lambda x: fnp.linalg.qr(x)[1], x) == [Qr(False, False)]
    assert factorizations(lambda x: fnp.linalg.qr(x, "complete")[1], x) == [Qr(True, False)]
    assert factorizations(lambda x: fnp.linalg.qr(x)[0], x) == [Qr(False)]
    assert factorizations(lambda x: fnp.linalg.qr(x, "r"), x) == [Qr(False, False)]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_r_has_the_same_bits_without_q(dtype):
    """In all kernels: groups of small matrices, LAPACK, and no elements at all."""
    rng = np.random.default_rng(0)
    shapes = [(3, 3), (5, 2), (2, 5), (20, 7, 7), (70, 70), (80, 40), (40, 80), (2, 65, 70), (0, 0), (3, 0), (2, 0, 4)]
    matrices = [fnp.asarray((rng.normal(size=s) + 1j * rng.normal(size=s)).astype("complex128")) for s in shapes]
    given = [x.astype(dtype) if dtype.startswith("c") else fnp.real(x).astype(dtype) for x in matrices]
    both = fdl.jit(lambda given: [fnp.linalg.qr(x) for x in given])(given)
    alone = fdl.jit(lambda given: [fnp.linalg.qr(x, mode="r") for x in given])(given)
    for (q, r), found, x in zip(both, alone, given, strict=True):
        np.testing.assert_array_equal(np.asarray(found), np.asarray(r))
        close = 1e-4 if np.finfo(dtype).bits == 32 else 1e-12
        np.testing.assert_allclose(np.asarray(q) @ np.asarray(found), np.asarray(x), atol=close)


def test_r_of_what_is_not_finite_is_nan():
    x = fnp.ones((3, 80, 80)).at[1, 2, 3].set(fnp.inf)
    r = fdl.jit(lambda x: fnp.linalg.qr(x, mode="r"))(x)
    assert np.isnan(np.asarray(r)[1][np.triu_indices(80)]).all()
    assert np.isfinite(np.asarray(r)[[0, 2]]).all()
