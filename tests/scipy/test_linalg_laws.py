"""Every function of fdl.scipy.linalg on one table: SciPy's numbers, dtypes, batches, derivatives, corner cases."""

import ml_dtypes
import numpy as np
import pytest
from scipy import linalg as reference

import fdl
import fdl.numpy as fnp
from fdl.errors import ShapeError
from fdl.scipy import linalg

N = 4


def positive(a):
    """A Hermitian positive definite matrix, in fdl's arrays or NumPy's."""
    xp = np if isinstance(a, np.ndarray) else fnp
    return xp.matmul(a, xp.conj(xp.swapaxes(a, -1, -2))) + N * xp.eye(a.shape[-1], dtype=a.dtype)


def hermitian(a):
    xp = np if isinstance(a, np.ndarray) else fnp
    return a + xp.conj(xp.swapaxes(a, -1, -2))


#: By name: the function of a matrix [..., n, n] and right-hand sides [..., n, k], and the same for one matrix in SciPy.
#: What is defined up to signs is multiplied together.
CASES = {
    "det": (lambda a, b: linalg.det(a), lambda a, b: reference.det(a)),
    "inv": (lambda a, b: linalg.inv(a), lambda a, b: reference.inv(a)),
    "cholesky": (lambda a, b: linalg.cholesky(positive(a)), lambda a, b: reference.cholesky(positive(a))),
    "cholesky, lower": (
        lambda a, b: linalg.cholesky(positive(a), lower=True),
        lambda a, b: reference.cholesky(positive(a), lower=True),
    ),
    "cho_factor": (
        lambda a, b: fnp.triu(linalg.cho_factor(positive(a))[0]),
        lambda a, b: reference.cholesky(positive(a)),
    ),
    "cho_solve": (
        lambda a, b: linalg.cho_solve(linalg.cho_factor(positive(a)), b),
        lambda a, b: reference.cho_solve(reference.cho_factor(positive(a)), b),
    ),
    "solve": (lambda a, b: linalg.solve(a, b), lambda a, b: reference.solve(a, b)),
    "solve, pos": (
        lambda a, b: linalg.solve(positive(a), b, assume_a="pos"),
        lambda a, b: reference.solve(positive(a), b, assume_a="pos"),
    ),
    "solve_triangular": (
        lambda a, b: linalg.solve_triangular(positive(a), b),
        lambda a, b: reference.solve_triangular(positive(a), b),
    ),
    "solve_triangular, unit": (
        lambda a, b: linalg.solve_triangular(a, b, trans="T", lower=True, unit_diagonal=True),
        lambda a, b: reference.solve_triangular(a, b, trans="T", lower=True, unit_diagonal=True),
    ),
    "lu_factor": (lambda a, b: linalg.lu_factor(a)[0], lambda a, b: reference.lu_factor(a)[0]),
    "lu_solve": (
        lambda a, b: linalg.lu_solve(linalg.lu_factor(a), b, 1),
        lambda a, b: reference.lu_solve(reference.lu_factor(a), b, 1),
    ),
    "lu": (lambda a, b: fnp.concatenate(linalg.lu(a), -1), lambda a, b: np.concatenate(reference.lu(a), -1)),
    "qr": (lambda a, b: fnp.matmul(*linalg.qr(a)), lambda a, b: a),
    "qr, r": (
        lambda a, b: fnp.abs(linalg.qr(a, mode="r")[0]),
        lambda a, b: np.abs(reference.qr(a, mode="r")[0]),
    ),
    "svd": (lambda a, b: linalg.svd(a, compute_uv=False), lambda a, b: reference.svd(a, compute_uv=False)),
    "svd, vectors": (lambda a, b: product(*linalg.svd(a)), lambda a, b: a),
    "eigh": (lambda a, b: linalg.eigh(hermitian(a), eigvals_only=True), lambda a, b: reference.eigvalsh(hermitian(a))),
    "eigh, vectors": (lambda a, b: of_eigen(*linalg.eigh(hermitian(a))), lambda a, b: hermitian(a)),
    "expm": (lambda a, b: linalg.expm(a / 2), lambda a, b: reference.expm(a / 2)),
    "toeplitz": (lambda a, b: linalg.toeplitz(a[..., 0], a[..., 1]), lambda a, b: reference.toeplitz(a[:, 0], a[:, 1])),
    "toeplitz, one": (lambda a, b: linalg.toeplitz(a[..., 0]), lambda a, b: reference.toeplitz(a[:, 0])),
    "block_diag": (lambda a, b: linalg.block_diag(a, b, 2.0), lambda a, b: reference.block_diag(a, b, 2.0)),
}
#: Those that take one matrix at a time; those that only move elements and keep every dtype.
ALONE, MOVES = ("block_diag",), ("toeplitz", "toeplitz, one", "block_diag")
REAL_RESULT = ("svd", "eigh", "qr, r")


def product(u, s, vh):
    return fnp.matmul(u * s[..., None, :], vh)


def of_eigen(w, v):
    return fnp.matmul(v * w[..., None, :], fnp.conj(fnp.swapaxes(v, -1, -2)))


def problem(kind, lead=(), seed=0, n=N):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(*lead, n, n)) + 2 * np.eye(n), rng.normal(size=(*lead, n, 2))
    if np.dtype(kind).kind == "c":
        a, b = a + 1j * rng.normal(size=a.shape), b + 1j * rng.normal(size=b.shape)
    return a.astype(kind), b.astype(kind)


def wide(x):
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


#: Matrices of known forms, and functions of matrices that take other arguments: tests/scipy/test_matrices.py.
OTHERS = """
    circulant companion convolution_matrix dft eigh_tridiagonal expm_frechet fiedler fiedler_companion funm hadamard
    hankel helmert hessenberg hilbert invhilbert invpascal leslie pascal polar qr_multiply rsf2csf schur solve_sylvester
    sqrtm
""".split()


def test_the_table_is_complete():
    assert sorted({name.split(",")[0] for name in CASES} | set(OTHERS)) == sorted(linalg.__all__)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.complex64, np.complex128], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_numbers_dtypes_and_batches(name, kind):
    """A batch, compiled, and one matrix after the other; both have SciPy's numbers."""
    function, exact = CASES[name]
    (a, b), eps = problem(kind, (3,)), float(np.finfo(kind).eps)
    expected = np.stack([exact(wide(x), wide(y)) for x, y in zip(a, b, strict=True)])
    run = fdl.vmap(function) if name in ALONE else function
    whole = fdl.jit(run) if kind in (np.float32, np.complex128) else run
    for found in (
        whole(a, b),
        fnp.stack([function(fnp.asarray(x), fnp.asarray(y)) for x, y in zip(a, b, strict=True)]),
    ):
        real = np.dtype(kind).type(0).real.dtype
        assert found.dtype == (real if name in REAL_RESULT else kind)
        np.testing.assert_allclose(wide(np.asarray(found)), expected, rtol=0, atol=512 * eps * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["float16", ml_dtypes.bfloat16, "int32", "bool"], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_other_dtypes_are_computed_in_float32(name, kind):
    function, exact = CASES[name]
    a = np.array([[4, 1, 0], [1, 3, 1], [0, 1, 5]]).astype(kind)
    b = np.array([[1, 0], [0, 1], [1, 1]]).astype(kind)
    if name in MOVES:
        assert function(fnp.asarray(a), fnp.asarray(b)).dtype == (
            a.dtype if name != "block_diag" else fnp.result_type(a, 2.0)
        )
        return
    if np.dtype(kind).kind in "bi":  # the matrices that positive and hermitian make must stay those
        a = a.astype(np.float32)
    found = function(fnp.asarray(a), fnp.asarray(b))
    assert found.dtype == np.float32 or (found.dtype == a.dtype and np.dtype(kind).kind not in "bi")
    rounding = max(1e-4, 8 * float(ml_dtypes.finfo(found.dtype).eps))
    np.testing.assert_allclose(
        np.asarray(found).astype(float), exact(a.astype(float), b.astype(float)), rtol=rounding, atol=rounding
    )


@pytest.mark.parametrize("kind", [np.float64, np.complex128], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_derivatives(name, kind):
    """Forward against differences, reverse against forward."""
    function, _ = CASES[name]
    (a, b), (da, db) = problem(kind), problem(kind, seed=1)
    found, tangent = fdl.jvp(function, (a, b), (da, db))
    h = 1e-6
    ends = [np.asarray(function(fnp.asarray(a + s * h * da), fnp.asarray(b + s * h * db))) for s in (1, -1)]
    slope = (ends[0] - ends[1]) / (2 * h)
    np.testing.assert_allclose(tangent, slope, rtol=1e-6, atol=1e-7 * max(1.0, np.abs(slope).max()))
    weight = np.random.default_rng(2).normal(size=found.shape).astype(found.dtype)
    back = fdl.vjp(function, a, b)[1](fnp.asarray(weight))
    forward = np.sum(weight * np.asarray(tangent))
    total = sum(np.sum(np.asarray(c) * d) for c, d in zip(back, (da, db), strict=True))
    np.testing.assert_allclose(total.real, forward.real, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in CASES if "toeplitz" not in name])
@pytest.mark.parametrize("n", [0, 1])
def test_the_smallest_matrices(name, n):
    function, exact = CASES[name]
    a, b = problem(np.float64, n=n)
    found = function(fnp.asarray(a), fnp.asarray(b))
    if n:
        np.testing.assert_allclose(found, exact(a, b), rtol=1e-12)
    else:
        assert found.shape == {"det": (), "block_diag": (1, 3), "cho_solve": (0, 2)}.get(name, found.shape)
        assert found.size == {"det": 1, "block_diag": 3}.get(name, 0)
    assert fdl.eval_shape(function, a, b).shape == found.shape


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", CASES)
def test_what_is_not_finite_raises_no_error(name, value):
    """It is seen in the result: no decomposition of such a matrix is finite."""
    function, _ = CASES[name]
    a, b = problem(np.float64)
    a[1, 1] = value
    found = np.asarray(function(fnp.asarray(a), fnp.asarray(b)))
    if name not in ("solve_triangular, unit", "toeplitz, one", "inv", "solve", "lu_solve"):
        assert not np.isfinite(found).all()


def test_singular_and_indefinite_matrices():
    zero, b = np.zeros((2, 2)), np.ones(2)
    indefinite = np.array([[1.0, 2.0], [2.0, 1.0]])
    assert linalg.det(zero) == 0 and not np.isfinite(linalg.inv(zero)).any()
    assert (
        not np.isfinite(linalg.solve(zero, b)).any()
        and not np.isfinite(linalg.lu_solve(linalg.lu_factor(zero), b)).any()
    )
    for lower in (False, True):
        assert np.isnan(linalg.cholesky(indefinite, lower)).any()
        assert np.isnan(linalg.solve(indefinite, b, lower, assume_a="pos")).any()
    with np.errstate(divide="ignore"):
        assert not np.isfinite(linalg.solve_triangular(zero, b)).all()
    big = linalg.expm(np.array([[1e30]]))
    assert np.isnan(big).all() and linalg.expm(np.array([[-700.0]])) == pytest.approx(np.exp(-700.0), rel=1e-10)
    np.testing.assert_allclose(linalg.expm(np.array([[1e-30, 1.0], [0.0, 1e-30]])), [[1, 1], [0, 1]])


@pytest.mark.parametrize("call", [
    lambda: linalg.solve(np.ones((2, 3)), np.ones(2)),
    lambda: linalg.solve(np.eye(2), np.ones(3)),
    lambda: linalg.solve_triangular(np.eye(2), np.ones(3)),
    lambda: linalg.cho_solve((np.eye(2), True), np.ones(3)),
    lambda: linalg.lu_solve((np.eye(2), np.arange(2)), np.ones(3)),
    lambda: linalg.expm(np.ones((2, 3))),
    lambda: linalg.inv(np.ones((2, 3))),
    lambda: linalg.det(np.ones(3)),
    lambda: linalg.cholesky(np.ones((2, 3))),
    lambda: linalg.eigh(np.ones((2, 3))),
    lambda: linalg.block_diag(np.ones((1, 1, 1))),
])  # fmt: skip
def test_shapes_that_do_not_fit(call):
    with pytest.raises(ShapeError):
        call()


def test_what_is_not_offered():
    with pytest.raises(NotImplementedError, match="generalized"):
        linalg.eigh(np.eye(2), np.eye(2))
    with pytest.raises(NotImplementedError, match="raw"):
        linalg.qr(np.eye(2), mode="raw")
    with pytest.raises(ValueError, match="'gen', 'sym', 'her' or 'pos', got 'banded'"):
        linalg.solve(np.eye(2), np.ones(2), assume_a="banded")
    with pytest.raises(ValueError, match="trans 0, 1, 2"):
        linalg.solve_triangular(np.eye(2), np.ones(2), trans=3)
