"""Factorizations: what their results must satisfy, and derivatives of functions of them that are unique."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import linalg, vmap
from fdl.errors import DifferentiationError, DtypeError, ShapeError

DTYPES = ["float32", "float64", "complex64", "complex128"]


def matrices(rng, *shape, dtype="float64"):
    x = rng.normal(size=shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.normal(size=shape)
    return x.astype(dtype)


def hermitian(rng, *shape, dtype="float64"):
    x = matrices(rng, *shape, dtype=dtype)
    return x + np.conj(np.swapaxes(x, -1, -2))


def h(x):
    return np.conj(np.swapaxes(np.asarray(x), -1, -2))


def close(x, y):
    single = any(np.asarray(v).dtype in (np.float32, np.complex64) for v in (x, y))
    np.testing.assert_allclose(x, y, rtol=0, atol=3e-5 if single else 1e-11)


def check_gradient(f, x, step=1e-6):
    """The gradient of a real function of one array, against central differences along random directions."""
    gradient = np.asarray(fdl.vjp(f, x)[1](fnp.ones((), "float64"))[0])
    for seed in range(3):
        d = matrices(np.random.default_rng(seed), *x.shape, dtype=x.dtype)
        difference = (f(fnp.asarray(x + step * d)).item() - f(fnp.asarray(x - step * d)).item()) / (2 * step)
        assert np.sum(gradient * d).real == pytest.approx(difference, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cholesky(rng, dtype):
    x = matrices(rng, 2, 3, 3, dtype=dtype)
    a = x @ h(x) + np.eye(3, dtype=dtype)
    factor = np.asarray(linalg.cholesky(a))
    assert factor.dtype == dtype
    close(factor @ h(factor), a)
    assert (np.triu(factor, 1) == 0).all()


def test_cholesky_of_an_indefinite_matrix_is_nan_and_others_are_not_touched():
    found = np.asarray(linalg.cholesky(np.stack([np.eye(2), -np.eye(2)])))
    assert np.array_equal(found[0], np.eye(2)) and np.isnan(found[1]).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 2), (2, 2, 4)])
def test_lu(rng, dtype, shape):
    a = matrices(rng, *shape, dtype=dtype)
    factors, pivots, permutation = (np.asarray(x) for x in linalg.lu(a))
    k = min(shape[-2:])
    lower = np.tril(factors[..., :k], -1) + np.eye(shape[-2], k)
    close(lower @ np.triu(factors[..., :k, :]), np.take_along_axis(a, permutation[..., None], -2))
    assert np.array_equal(linalg.lu_pivots_to_permutation(pivots, shape[-2]), permutation)


def test_pivots_are_vectors_of_integers():
    with pytest.raises(DtypeError, match="pivots must be integers"):
        linalg.lu_pivots_to_permutation(np.array([1.7, 1]), 3)
    with pytest.raises(ShapeError, match="pivots need at least one axis"):
        linalg.lu_pivots_to_permutation(np.int32(1), 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 2), (2, 2, 4)])
def test_qr_and_svd(rng, dtype, full, shape):
    a = matrices(rng, *shape, dtype=dtype)
    q, r = linalg.qr(a, full_matrices=full)
    close(np.asarray(q) @ np.asarray(r), a)
    close(h(q) @ np.asarray(q), np.broadcast_to(np.eye(q.shape[-1]), (*a.shape[:-2], *q.shape[-1:] * 2)))
    assert (np.tril(np.asarray(r), -1) == 0).all()
    u, s, vh = (np.asarray(x) for x in linalg.svd(a, full_matrices=full))
    k = s.shape[-1]
    close((u[..., :k] * s[..., None, :]) @ vh[..., :k, :], a)
    assert (np.diff(s) <= 0).all() and u.shape[-1] == (shape[-2] if full else k)
    close(linalg.svd(a, compute_uv=False), s)


@pytest.mark.parametrize("dtype", DTYPES)
def test_eigh(rng, dtype):
    a = hermitian(rng, 2, 3, 3, dtype=dtype)
    v, w = (np.asarray(x) for x in linalg.eigh(a))
    close(a @ v, v * w[..., None, :])
    assert (np.diff(w) >= 0).all() and w.dtype.kind == "f"
    upper = np.triu(a)
    close(linalg.eigh(upper, lower=False, symmetrize_input=False)[1], w)


def test_eig_left_and_right(rng):
    a = matrices(rng, 2, 3, 3)
    w, left, right = (np.asarray(x) for x in linalg.eig(a))
    close(a @ right, right * w[..., None, :])
    close(h(left) @ a, w[..., None] * h(left))
    close(np.linalg.norm(left, axis=-2), np.ones((2, 3)))
    assert len(linalg.eig(a, compute_left_eigenvectors=False)) == 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_eigenvalues_of_real_matrices_are_real_or_in_pairs(rng, dtype):
    w = np.asarray(fnp.linalg.eigvals(matrices(rng, 20, 5, 5, dtype=dtype)))
    assert w.dtype == np.result_type(dtype, "complex64")
    # Not up to rounding: programs look for eigenvalues with w.imag == 0, of which an odd number must have one.
    np.testing.assert_array_equal(np.sort_complex(w), np.sort_complex(w.conj()))
    assert ((w.imag == 0).sum(-1) % 2 == 1).all()


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("op", [(False, False), (True, False), (True, True), (False, True)])
@pytest.mark.parametrize("unit", [False, True])
def test_triangular_solve_reads_one_triangle(rng, dtype, left, lower, op, unit):
    a = matrices(rng, 2, 3, 3, dtype=dtype) + 3 * np.eye(3, dtype=dtype)
    b = matrices(rng, *((2, 3, 2) if left else (2, 2, 3)), dtype=dtype)
    x = np.asarray(
        linalg.triangular_solve(
            a, b, left_side=left, lower=lower, transpose_a=op[0], conjugate_a=op[1], unit_diagonal=unit
        )
    )
    read = np.tril(a) if lower else np.triu(a)
    if unit:
        read = read - read * np.eye(3) + np.eye(3, dtype=dtype)
    read = np.swapaxes(read, -1, -2) if op[0] else read
    read = read.conj() if op[1] else read
    close(read @ x if left else x @ read, b)


def test_triangular_solve_of_vectors_and_singular_matrices():
    a = np.diag([2.0, 4.0])
    assert linalg.triangular_solve(a, np.array([2.0, 2.0]), left_side=True).tolist() == [1.0, 0.5]
    assert np.isinf(linalg.triangular_solve(np.diag([2.0, 0.0]), np.ones(2), left_side=True)[1].item())


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_householder_product_makes_q(rng, dtype):
    from scipy.linalg import lapack

    a = matrices(rng, 4, 3, dtype=dtype)
    packed, taus, _, _ = lapack.zgeqrf(a) if dtype == "complex128" else lapack.dgeqrf(a)
    close(linalg.householder_product(packed, taus), np.linalg.qr(a)[0])


def test_symmetric_product(rng):
    a, c = matrices(rng, 3, 2), matrices(rng, 3, 3)
    close(linalg.symmetric_product(a, c, alpha=2.0, beta=0.5), 2 * a @ a.T + 0.5 * c)
    lower = np.tril(2 * a @ a.T + c)
    found = linalg.symmetric_product(a, c, alpha=2.0, beta=1.0, symmetrize_output=True)
    close(found, lower + np.tril(lower, -1).T)


def test_gradients_of_unique_functions(rng):
    a = matrices(rng, 3, 3)
    weights = matrices(rng, 3, 3)
    check_gradient(lambda x: (linalg.cholesky(x @ x.T + fnp.eye(3)) * weights).sum(), a)
    check_gradient(lambda x: (linalg.eigh(x + x.T)[1] * fnp.arange(3.0)).sum(), a)
    check_gradient(lambda x: (linalg.svd(x, compute_uv=False) ** 3).sum(), matrices(rng, 4, 3))
    check_gradient(lambda x: (linalg.qr(x, full_matrices=False)[1] * weights).sum(), matrices(rng, 4, 3))


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_derivatives_of_wide_and_of_whole_qr(rng, dtype):
    wide, tall = matrices(rng, 2, 4, dtype=dtype), matrices(rng, 4, 2, dtype=dtype)
    da, dt = matrices(rng, 2, 4, dtype=dtype), matrices(rng, 4, 2, dtype=dtype)
    step = 1e-6
    (q, r), (dq, dr) = fdl.jvp(linalg.qr, (wide,), (da,))
    (low, high) = (np.linalg.qr(wide + sign * step * da) for sign in (-1, 1))
    np.testing.assert_allclose(dq, (high[0] - low[0]) / (2 * step), atol=1e-6)
    np.testing.assert_allclose(dr, (high[1] - low[1]) / (2 * step), atol=1e-6)
    # Columns beyond the rank are any basis; what follows of it for a = q r and unitary q does not depend on which.
    whole = lambda a: linalg.qr(a, full_matrices=True)  # noqa: E731
    (q, r), (dq, dr) = fdl.jvp(whole, (tall,), (dt,))
    q, r, dq, dr = (np.asarray(x) for x in (q, r, dq, dr))
    close(dq @ r + q @ dr, dt)
    close(h(dq) @ q + h(q) @ dq, np.zeros((4, 4)))
    assert not np.asarray(dr)[2:].any()


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_derivatives_of_eigenvectors_where_they_are_asked_for(rng, dtype):
    a, da = matrices(rng, 4, 4, dtype=dtype), matrices(rng, 4, 4, dtype=dtype)
    step = 1e-6
    f = lambda a: linalg.eig(a, enable_eigvec_derivs=True)  # noqa: E731
    (w, left, _), tangents = fdl.jvp(f, (a,), (da,))
    low, high = (np.linalg.eig(a + sign * step * da) for sign in (-1, 1))
    for found, place in ((tangents[0], 0), (tangents[2], 1)):
        np.testing.assert_allclose(found, (high[place] - low[place]) / (2 * step), atol=1e-6)
    sides = [f(a + sign * step * da)[1] for sign in (-1, 1)]
    np.testing.assert_allclose(tangents[1], (np.asarray(sides[1]) - np.asarray(sides[0])) / (2 * step), atol=1e-6)
    close(h(left) @ a, np.asarray(w)[:, None] * h(left))
    loss = lambda a: (linalg.eig(a, compute_left_eigenvectors=False, enable_eigvec_derivs=True)[1].real ** 3).sum()  # noqa: E731
    slope = fdl.vjp(loss, a)[1](np.float64(1))[0]
    np.testing.assert_allclose((np.asarray(slope) * da).sum().real, fdl.jvp(loss, (a,), (da,))[1], rtol=1e-9)


def test_pseudo_inverses_of_hermitian_matrices_differentiate_by_that_part_of_a_direction(rng):
    a, da = hermitian(rng, 3, 3, dtype=np.complex128), matrices(rng, 3, 3, dtype=np.complex128)
    found = fdl.jvp(lambda a: fnp.linalg.pinv(a, hermitian=True), (a,), (da,))[1]
    inverse = np.linalg.inv(a)
    close(found, -inverse @ (da + h(da)) / 2 @ inverse)
    with pytest.raises(ShapeError, match="square"):
        fnp.linalg.pinv(np.ones((2, 3)), hermitian=True)


def test_gradients_of_spectral_projections_of_complex_matrices(rng):
    def projection(x):
        v, _ = linalg.eigh(x)
        first = v[:, :1]
        return (first @ fnp.conj(first).T * weights).real.sum()

    def polar(x):
        u, _, vh = linalg.svd(x, full_matrices=False)
        return ((u @ vh) * weights[:, :2]).real.sum()

    weights = matrices(rng, 3, 3, dtype="complex128")
    a = hermitian(rng, 3, 3, dtype="complex128")
    check_gradient(lambda x: projection((x + fnp.conj(x).T) / 2), a)
    check_gradient(polar, matrices(rng, 3, 2, dtype="complex128"))


def test_eigenvalue_gradient_and_missing_rules(rng):
    a = matrices(rng, 3, 3)
    w = lambda x: linalg.eig(x, compute_left_eigenvectors=False, compute_right_eigenvectors=False)[0]  # noqa: E731
    check_gradient(lambda x: (w(x) ** 3).sum().real, a)
    with pytest.raises(DifferentiationError, match="eigenvectors"):
        fdl.grad(lambda x: abs(linalg.eig(x)[1]).sum())(a)
    with pytest.raises(DifferentiationError, match="full_matrices=False"):
        fdl.grad(lambda x: linalg.svd(x)[0].sum())(matrices(rng, 2, 3))


def test_vmap_and_jit(rng):
    a = hermitian(rng, 4, 3, 3)
    for name in ("eigh", "qr", "svd", "lu"):
        f = getattr(linalg, name)
        whole = f(a)
        for found in (vmap(f)(a), fdl.jit(f)(a)):
            for x, y in zip(found, whole, strict=True):
                close(x, y)


def test_bad_operands():
    with pytest.raises(ShapeError, match=r"square.*f32\[2,3\]"):
        linalg.eig(fnp.ones((2, 3)))
    with pytest.raises(DtypeError, match="bf16"):
        linalg.qr(fnp.ones((2, 2), "bfloat16"))
    with pytest.raises(ShapeError, match="do not fit"):
        linalg.triangular_solve(fnp.eye(2), fnp.ones((3, 2)), left_side=True)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.complex64, np.complex128])
@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5), (2, 4, 3), (3, 0), (0, 3)])
def test_reflections_are_applied_as_the_matrix_they_stand_for(shape: tuple[int, ...], kind: type) -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    a = (a if np.issubdtype(kind, np.complexfloating) else a.real).astype(kind)
    m = shape[-2]
    q, r = np.linalg.qr(a, mode="complete")
    packed, taus = linalg.geqrf(a)
    bound = 1e-5 if np.finfo(kind).bits == 32 else 1e-12
    np.testing.assert_allclose(np.triu(packed), r, atol=bound)
    c = rng.normal(size=(*shape[:-2], m, 2)).astype(kind)
    adjoint = q.conj().swapaxes(-1, -2)
    row = c.swapaxes(-1, -2)
    for left, transpose, given, expected in [
        (True, False, c, q @ c),
        (True, True, c, adjoint @ c),
        (False, False, row, row @ q),
        (False, True, row, row @ adjoint),
    ]:
        found = fdl.jit(lambda *args, on=left, adj=transpose: linalg.ormqr(*args, left=on, transpose=adj))
        np.testing.assert_allclose(found(packed, taus, given), expected, atol=bound)


def test_raw_qr_keeps_reflections_that_do_nothing() -> None:
    h, taus = fnp.linalg.qr(fnp.array([[2.0, 1.0], [0.0, 3.0], [0.0, 0.0]]), mode="raw")
    np.testing.assert_array_equal(taus, 0)
    np.testing.assert_array_equal(linalg.ormqr(h.mT, taus, fnp.eye(3)), np.eye(3))
    with pytest.raises(ShapeError, match=r"ormqr needs a \[..., m, n\], taus"):
        linalg.ormqr(h.mT, taus, fnp.eye(2))
