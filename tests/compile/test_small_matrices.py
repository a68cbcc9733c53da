"""Native factorizations of small matrices against NumPy and SciPy; none may be a call of Python in disguise."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import scipy.linalg

import fdl
import fdl.numpy as fnp
from fdl.array import as_array
from fdl.compile import pipeline
from fdl.core.trace import trace_program
from fdl.core.types import TensorType
from fdl.errors import FdlError
from fdl.ops.linalg import cholesky
from fdl.ops.matrix import TriangularSolve, swap
from fdl.ops.systems import Solve, lu, slogdet, solve

FLAGS = list(product((False, True), repeat=4))


def computed(a: Any, positive: Any, b: Any) -> tuple[Any, ...]:
    """Every factorization of stacks of matrices, some read across their rows, and systems with right-hand sides b."""
    triangular = [TriangularSolve(left, lower, turned, False, unit) for left, lower, turned, unit in FLAGS]
    return (
        cholesky(swap(positive)),
        lu(a),
        lu(a[..., :2]),
        lu(swap(a)[..., :2, :]),
        slogdet(swap(a)),
        solve(swap(a), b),
        Solve(True)(a, b),
        solve(a, a[..., ::-1]),
        [operation(positive, b if operation.left_side else swap(b)) for operation in triangular],
    )


def check_lu(found: Any, a: np.ndarray) -> None:
    """The definition: rows in the order of the permutation, which the pivots make, are the product of the factors."""
    factors, pivots, permutation = map(np.asarray, found)
    m, n = a.shape
    k = min(m, n)
    product_ = (np.tril(factors[:, :k], -1) + np.eye(m, k)) @ np.triu(factors[:k])
    np.testing.assert_allclose(a[permutation], product_, atol=1e-5)
    assert np.abs(np.tril(factors[:, :k], -1)).max() <= 1  # that is what pivoting is for
    order = list(range(m))
    for i, p in enumerate(pivots):
        order[i], order[p] = order[p], order[i]
    assert order == list(permutation)


@pytest.mark.parametrize(("n", "dtype"), [(2, "float32"), (5, "float64"), (19, "float32"), (32, "float64")])
def test_against_numpy_and_scipy(n: int, dtype: str) -> None:
    rng = np.random.default_rng(n)
    a = rng.normal(size=(3, n, n)).astype(dtype)
    positive = (a @ a.swapaxes(1, 2) / n + np.eye(n)).astype(dtype)
    b = rng.normal(size=(3, n, 3)).astype(dtype)
    factor, full, tall, wide, (sign, size), one, two, three, triangular = fdl.jit(computed)(a, positive, b)
    tolerance = {"rtol": 0, "atol": 2e-3 if dtype == "float32" else 1e-9}
    np.testing.assert_allclose(factor, np.linalg.cholesky(positive.astype(float)), **tolerance)
    for i in range(3):
        check_lu([part[i] for part in full], a[i])
        check_lu([part[i] for part in tall], a[i, :, :2])
        check_lu([part[i] for part in wide], a[i].T[:2])
    expected = np.linalg.slogdet(a.astype(float))
    np.testing.assert_array_equal(sign, expected.sign)
    np.testing.assert_allclose(size, expected.logabsdet, **tolerance)
    turned = a.swapaxes(1, 2).astype(float)
    for found, right in ((one, b), (two, b), (three, None)):
        matrix, right = (a.astype(float), a[..., ::-1]) if right is None else (turned, right)
        np.testing.assert_allclose(matrix @ np.asarray(found), right, **tolerance)
    for (left, lower, transposed, unit), found in zip(FLAGS, triangular, strict=True):
        for x, matrix, right in zip(np.asarray(found), positive, b, strict=True):
            mode = int(transposed == left)
            want = scipy.linalg.solve_triangular(matrix, right, lower=lower, trans=mode, unit_diagonal=unit)
            scale = max(1.0, np.abs(want).max())
            np.testing.assert_allclose(x if left else x.T, want, rtol=0, atol=tolerance["atol"] * scale)


def test_matrices_without_a_factorization() -> None:
    nan, inf = np.nan, np.inf
    stack = [np.eye(2), -np.eye(2), np.zeros((2, 2)), [[nan, 0], [0, 1]], [[1, 0], [0, nan]], [[inf, 0], [0, 1]]]
    factor, (sign, size) = fdl.jit(lambda x: (cholesky(x), slogdet(x)))(np.array(stack))
    bad = [[nan, 0], [nan, nan]]
    expected = [np.eye(2), *[bad] * 5]
    np.testing.assert_array_equal(factor, expected)
    np.testing.assert_array_equal(sign, [1, 1, 0, nan, nan, nan])
    assert not np.signbit(fdl.jit(slogdet)(np.array([[1.0, 2.0], [2.0, 4.0]]))[0])
    np.testing.assert_array_equal(size, [0, 0, -inf, nan, nan, nan])
    a = np.array([[1.0, 2.0], [0.0, 0.0]])
    below, above = np.array([[1.0], [1.0]]), np.array([[3.0], [-1.0]])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(fdl.jit(solve)(a, below), [[-inf], [inf]])
        np.testing.assert_array_equal(fdl.jit(TriangularSolve(True, False))(a, above), [[inf], [-inf]])
    np.testing.assert_array_equal(fdl.jit(lambda x: lu(x)[0])(np.ones((3, 3))), [[1, 1, 1], [1, 0, 0], [1, 0, 0]])


@pytest.mark.parametrize(
    "function",
    [
        cholesky,
        lambda x: solve(x, x),
        lambda x: fnp.linalg.inv(x[..., ::2, ::2]),
        lambda x: cholesky(fnp.pad(x, ((0, 0), (0, 29), (0, 29)))),
        fnp.linalg.eigvals,
    ],
)
def test_no_python_takes_part(function: Any) -> None:
    program, _ = trace_program(
        lambda x: [as_array(function(as_array(x)))], [TensorType((2, 4, 4), np.dtype("float32"))]
    )
    assert not pipeline.build_archive(program, ()).hosts


def test_wrong_shapes_are_told_before() -> None:
    with pytest.raises(FdlError, match="square"):
        fdl.jit(cholesky)(np.ones((2, 3)))
