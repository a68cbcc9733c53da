"""Linear algebra over batches, empty and 1x1 matrices, and of NaN, infinities and singular matrices: NaN, no error."""

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.linalg

import fdl
import fdl.numpy as fnp
from fdl import linalg as lax_linalg
from fdl.scipy import linalg
from tests.programs import assert_returns, check_program

WELL = np.array([[4.0, 1.0, 0.5], [1.0, 5.0, 0.2], [0.5, 0.2, 6.0]])
BATCH = np.stack([WELL, 2 * WELL, WELL + np.eye(3), WELL.T * 3])
ONE = np.array([[3.0]])
COLUMNS, VECTOR = np.arange(6.0).reshape(3, 2), np.array([1.0, -2.0, 0.5])


def each(function: Any, *stacks: np.ndarray) -> np.ndarray:
    """`function` of NumPy or SciPy for every matrix of a stack."""
    return np.stack([function(*matrices) for matrices in zip(*stacks, strict=True)])


# Right-hand sides over batches

SOLVERS: dict[str, tuple[Any, Any]] = {
    "cho_solve": (lambda a, b: linalg.cho_solve((fnp.tril(a), True), b), lambda a, b: _cho(np.tril(a), b)),
    "cho_solve, upper": (lambda a, b: linalg.cho_solve((fnp.triu(a), False), b), lambda a, b: _cho(np.triu(a).T, b)),
    "solve_triangular": (
        lambda a, b: linalg.solve_triangular(a, b, lower=True), lambda a, b: np.linalg.solve(np.tril(a), b)
    ),
    "solve_triangular, transposed": (
        lambda a, b: linalg.solve_triangular(a, b, trans=1), lambda a, b: np.linalg.solve(np.triu(a).T, b)
    ),
    "lu_solve": (lambda a, b: linalg.lu_solve(linalg.lu_factor(a), b), np.linalg.solve),
    "lu_solve, transposed": (
        lambda a, b: linalg.lu_solve(linalg.lu_factor(a), b, trans=1), lambda a, b: np.linalg.solve(a.T, b)
    ),
}  # fmt: skip


def _cho(lower: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.solve(lower @ lower.T, b)


@pytest.mark.parametrize("name", SOLVERS)
def test_right_hand_sides_over_batches(name: str) -> None:
    solve, expected = SOLVERS[name]
    many = np.stack([COLUMNS, 2 * COLUMNS, COLUMNS + 1, -COLUMNS])
    vectors = np.stack([VECTOR, 2 * VECTOR, VECTOR + 1, -VECTOR])
    for a, b, value in (
        (WELL, VECTOR, expected(WELL, VECTOR)),
        (WELL, COLUMNS, expected(WELL, COLUMNS)),
        (ONE, np.array([2.0]), expected(ONE, np.array([2.0]))),
        (BATCH, many, each(expected, BATCH, many)),
        (BATCH, vectors, each(expected, BATCH, vectors)),
        (WELL, many, each(lambda b: expected(WELL, b), many)),
        (BATCH, VECTOR, each(lambda a: expected(a, VECTOR), BATCH)),
        (BATCH, COLUMNS, each(lambda a: expected(a, COLUMNS), BATCH)),
        (BATCH[None], COLUMNS, each(lambda a: expected(a, COLUMNS), BATCH)[None]),
    ):
        check_program(solve, (a, b), value)
    for a, b in ((np.zeros((0, 0)), np.zeros(0)), (np.zeros((0, 0)), np.zeros((0, 2))), (BATCH[:0], many[:0])):
        check_program(solve, (a, b), b)


@pytest.mark.parametrize("name", SOLVERS)
def test_right_hand_sides_that_do_not_fit(name: str) -> None:
    with pytest.raises(fdl.errors.ShapeError, match=name.split(",")[0]):
        SOLVERS[name][0](fnp.asarray(WELL), fnp.ones(2))


# Every function of one matrix, over a batch, 1x1 and empty ones, against NumPy and SciPy matrix by matrix

ONE_MATRIX: dict[str, tuple[Any, Any]] = {
    "cholesky": (fnp.linalg.cholesky, np.linalg.cholesky),
    "scipy cholesky": (linalg.cholesky, lambda a: np.linalg.cholesky(a).T),
    "qr, r": (lambda a: abs(fnp.linalg.qr(a, mode="r")), lambda a: abs(np.linalg.qr(a, mode="r"))),
    "svdvals": (fnp.linalg.svdvals, lambda a: np.linalg.svd(a, compute_uv=False)),
    "eigvalsh": (fnp.linalg.eigvalsh, np.linalg.eigvalsh),
    "scipy eigh": (lambda a: linalg.eigh(a, eigvals_only=True), np.linalg.eigvalsh),
    "inv": (fnp.linalg.inv, np.linalg.inv),
    "scipy inv": (linalg.inv, np.linalg.inv),
    "det": (fnp.linalg.det, np.linalg.det),
    "scipy det": (linalg.det, np.linalg.det),
    "slogdet": (lambda a: fnp.linalg.slogdet(a)[1], lambda a: np.linalg.slogdet(a)[1]),
    "pinv": (fnp.linalg.pinv, np.linalg.pinv),
    "expm": (lambda a: linalg.expm(a / 8), lambda a: scipy.linalg.expm(a / 8)),
    "matrix_power": (lambda a: fnp.linalg.matrix_power(a, -2), lambda a: np.linalg.matrix_power(a, -2)),
    "lu": (lambda a: fnp.matmul(*linalg.lu(a, permute_l=True)), lambda a: a),
    "norm 2": (
        lambda a: fnp.linalg.norm(a, 2, (-2, -1)), lambda a: np.linalg.norm(a, 2) if a.size else np.float64(0)
    ),
    "norm inf": (
        lambda a: fnp.linalg.norm(a, np.inf, (-2, -1)),
        lambda a: np.linalg.norm(a, np.inf) if a.size else np.float64(0),
    ),
    "matrix_rank": (fnp.linalg.matrix_rank, lambda a: np.linalg.matrix_rank(a) if a.size else 0),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_MATRIX)
def test_batches_single_numbers_and_empty_matrices(name: str) -> None:
    function, expected = ONE_MATRIX[name]
    for a in (WELL, ONE, np.zeros((0, 0))):
        check_program(function, (a,), np.asarray(expected(a)))
    check_program(function, (BATCH,), each(expected, BATCH))
    assert function(fnp.zeros((0, 3, 3))).shape == (0, *np.shape(expected(WELL)))
    assert function(fnp.zeros((2, 0, 0))).shape == (2, *np.shape(expected(np.zeros((0, 0)))))


def test_nested_lists() -> None:
    a = [[4.0, 1.0], [1.0, 3.0]]
    assert_returns(linalg.solve(a, [1.0, 2.0]), np.linalg.solve(a, [1.0, 2.0]))
    assert_returns(linalg.svd(a, compute_uv=False), np.linalg.svd(a, compute_uv=False))
    assert_returns(linalg.cho_solve(linalg.cho_factor(a), [1, 2]), np.linalg.solve(a, [1.0, 2.0]))


def test_toeplitz_over_batches() -> None:
    c, r = np.arange(6.0).reshape(2, 3), 10 + np.arange(8.0).reshape(2, 4)
    check_program(linalg.toeplitz, (c, r), each(scipy.linalg.toeplitz, c, r))
    check_program(linalg.toeplitz, (c, r[0]), each(lambda c: scipy.linalg.toeplitz(c, r[0]), c))


def test_rank_of_vectors_and_numbers() -> None:
    for x in (VECTOR, 0 * VECTOR, np.float64(3), np.float64(0), np.zeros(0)):
        check_program(fnp.linalg.matrix_rank, (x,), np.int64(np.any(x)))


# NaN, infinities, singular matrices: as JAX, run beside, NaN in the result of that matrix alone and no error

BAD = [
    np.array([[1.0, np.nan], [2.0, 3.0]]), np.array([[np.nan, 0.0], [0.0, 1.0]]), np.full((2, 2), np.nan),
    np.array([[1.0, np.inf], [2.0, 3.0]]), np.full((2, 2), np.inf), np.array([[-np.inf, 0.0], [0.0, 1.0]]),
    np.diag([np.nan, *np.ones(29)]),
]  # fmt: skip
FACTORIZATIONS: dict[str, Any] = {
    "cholesky": fnp.linalg.cholesky, "qr": fnp.linalg.qr, "svd": fnp.linalg.svd, "eigh": fnp.linalg.eigh,
    "svdvals": fnp.linalg.svdvals, "eigvalsh": fnp.linalg.eigvalsh, "eig": fnp.linalg.eig,
    "eigvals": fnp.linalg.eigvals, "inv": fnp.linalg.inv, "pinv": fnp.linalg.pinv, "det": fnp.linalg.det,
    "slogdet": fnp.linalg.slogdet, "lu": lax_linalg.lu, "expm": linalg.expm, "scipy cholesky": linalg.cholesky,
    "scipy eigh": linalg.eigh, "scipy svd": linalg.svd, "cond": fnp.linalg.cond,
    "norm": lambda a: fnp.linalg.norm(a, 2),
    "lstsq": lambda a: fnp.linalg.lstsq(a, fnp.ones(a.shape[0]))[0], "matrix_rank": fnp.linalg.matrix_rank,
    "solve": lambda a: fnp.linalg.solve(a, fnp.ones(a.shape[0])),
    "lu_solve": lambda a: linalg.lu_solve(linalg.lu_factor(a), fnp.ones(a.shape[0])),
    "lax eig": lambda a: tuple(lax_linalg.eig(a)), "matrix_power": lambda a: fnp.linalg.matrix_power(a, -1),
}  # fmt: skip


def parts(found: Any) -> list[np.ndarray]:
    return [np.asarray(f) for f in (found if isinstance(found, tuple) else (found,))]


@pytest.mark.parametrize("name", FACTORIZATIONS)
def test_matrices_that_are_not_finite(name: str) -> None:
    function = FACTORIZATIONS[name]
    for number, a in enumerate(BAD):
        found, compiled = parts(function(fnp.asarray(a))), parts(fdl.jit(function)(a))
        for x, y in zip(found, compiled, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-14, atol=1e-15)
        if number in (0, 2) and name not in ("matrix_rank", "scipy eigh"):  # ranks are counts, and half is not read
            assert any(np.isnan(f).any() for f in found)


@pytest.mark.parametrize("name", ["cholesky", "svd", "eigh", "eig", "eigvals", "svdvals", "inv", "slogdet", "pinv"])
def test_one_matrix_that_is_not_finite_does_not_touch_its_neighbours(name: str) -> None:
    function, good = FACTORIZATIONS[name], np.array([[2.0, 0.5], [0.5, 1.0]])
    for bad in (BAD[0], BAD[2]):
        found = parts(fdl.jit(function)(np.stack([good, bad, good])))
        for part, expected in zip(found, parts(function(fnp.asarray(good))), strict=True):
            np.testing.assert_allclose(part[[0, 2]], np.stack([expected] * 2), rtol=1e-12)
            assert np.isnan(part[1]).any()


def test_the_sign_of_no_number_is_no_number() -> None:
    for bad in BAD[:5]:
        sign, log = fnp.linalg.slogdet(fnp.asarray(bad))
        assert np.isnan(float(log)) == np.isnan(float(sign))


def test_singular_systems() -> None:
    """What substitution gives; the values are those of JAX, run beside."""
    inf, nan = np.inf, np.nan
    np.testing.assert_array_equal(np.asarray(fnp.linalg.inv(np.ones((2, 2)))), [[inf, -inf], [-inf, inf]])
    np.testing.assert_array_equal(np.asarray(fnp.linalg.inv(np.zeros((2, 2)))), [[nan, nan], [nan, inf]])
    np.testing.assert_array_equal(np.asarray(linalg.solve(np.ones((2, 2)), np.ones(2))), [nan, nan])
    found = np.asarray(fnp.linalg.cholesky(fnp.stack([fnp.eye(2), fnp.zeros((2, 2))])))
    np.testing.assert_array_equal(found, [[[1, 0], [0, 1]], [[nan, 0], [nan, nan]]])


@pytest.mark.parametrize("name", ["lu", "slogdet", "solve", "inv", "cholesky"])
@pytest.mark.parametrize("n", [4, 40])
def test_infinities_give_what_they_give_when_compiled(name: str, n: int, rng: np.random.Generator) -> None:
    for place, value in (((0, 2), np.inf), ((3, 1), -np.inf), ((2, 2), np.nan)):
        a = rng.normal(size=(n, n))
        a[place] = value
        for found, compiled in zip(
            parts(FACTORIZATIONS[name](a)), parts(fdl.jit(FACTORIZATIONS[name])(a)), strict=True
        ):
            np.testing.assert_array_equal(found, compiled)
            assert found.dtype.kind == "i" or np.isnan(found).any() or (name, place) == ("cholesky", (0, 2))


def test_triangular_systems_spread_nothing_to_rows_that_do_not_depend_on_it(rng: np.random.Generator) -> None:
    """What row i of the solution depends on: the rows before it (or behind it), and row i of the matrix."""
    for side, lower, transposed in itertools.product((True, False), repeat=3):
        a, b = np.eye(5) * 3 + rng.normal(size=(5, 5)), np.ones((5, 5))
        a[2, 1], a[1, 2] = np.nan, np.inf
        solve = lambda a, b, s=side, low=lower, t=transposed: lax_linalg.triangular_solve(  # noqa: E731
            a, b, left_side=s, lower=low, transpose_a=t
        )
        found, compiled = np.asarray(solve(a, b)), np.asarray(fdl.jit(solve)(a, b))
        np.testing.assert_allclose(found, compiled, rtol=1e-12)
        forward = (lower != transposed) == side
        whole = found if side else found.T
        assert np.isfinite(whole[:2] if forward else whole[2:]).all()
        assert not np.isfinite(whole[2 if forward else 1]).any()
