"""Matrices of a known form, Schur's form and what is made of it, equations and functions of matrices."""

import numpy as np
import pytest
import scipy.linalg

import fdl
import fdl.numpy as fnp
from fdl import condensed
from fdl.errors import ShapeError
from fdl.scipy import linalg

RNG = np.random.default_rng(0)


def close(found, expected, bound=1e-10):
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(np.asarray(found), expected, bound, bound)


@pytest.mark.parametrize("name", "circulant companion fiedler fiedler_companion hankel".split())
def test_matrices_from_a_vector(name):
    ours, theirs = getattr(linalg, name), getattr(scipy.linalg, name)
    for n in (2, 3, 6, 7):
        v = np.random.default_rng(n).normal(size=(2, n))
        expected = np.stack([theirs(row) for row in v])
        close(ours(v), expected)
        close(ours(v[0]), expected[0])
    with pytest.raises(ShapeError, match=name):
        ours(np.float64(1.0))


def test_matrices_from_two_vectors():
    f, s = RNG.normal(size=4), RNG.normal(size=3)
    close(linalg.leslie(f, s), scipy.linalg.leslie(f, s))
    close(
        linalg.hankel(f, s), np.array([[f[0], f[1], f[2]], [f[1], f[2], f[3]], [f[2], f[3], s[1]], [f[3], s[1], s[2]]])
    )
    for n in (1, 2, 5):
        for mode in ("full", "same", "valid"):
            close(linalg.convolution_matrix(f, n, mode), scipy.linalg.convolution_matrix(f, n, mode))


@pytest.mark.parametrize("name", "dft hadamard helmert hilbert invhilbert invpascal pascal".split())
def test_matrices_from_a_size(name):
    found = getattr(linalg, name)(4)
    close(found, getattr(scipy.linalg, name)(4), 1e-6)
    assert found.dtype == {"dft": np.complex64, "hadamard": np.int32}.get(name, np.float32)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.complex64, np.complex128])
def test_schur_and_hessenberg_forms(kind):
    rng = np.random.default_rng(1)
    a = (
        (rng.normal(size=(2, 4, 4)) + 1j * rng.normal(size=(2, 4, 4))).astype(kind)
        if np.dtype(kind).kind == "c"
        else (rng.normal(size=(2, 4, 4)).astype(kind))
    )
    bound = 200 * float(np.finfo(kind).eps)
    h, q = linalg.hessenberg(a, calc_q=True)
    assert h.dtype == kind
    assert np.abs(np.tril(h, -2)).max() <= bound
    close(q @ h @ q.conj().swapaxes(-1, -2), a, bound)
    t, z = fdl.jit(fdl.vmap(linalg.schur))(a)
    close(z @ t @ z.conj().swapaxes(-1, -2), a, bound)
    forms = linalg.rsf2csf(t, z), linalg.schur(a, "complex")
    for t, z in forms:
        assert t.dtype == np.result_type(kind, np.complex64)
        assert np.abs(np.tril(t, -1)).max() <= bound
        close(z @ t @ z.conj().swapaxes(-1, -2), a, bound)


def test_equations_and_roots():
    rng = np.random.default_rng(2)
    a, b, c = rng.normal(size=(3, 3)), rng.normal(size=(2, 2)), rng.normal(size=(3, 2))
    close(linalg.solve_sylvester(a, b, c), scipy.linalg.solve_sylvester(a, b, c))
    fdl.test_util.check_grads(linalg.solve_sylvester, (a, b, c), 2, atol=1e-4, rtol=1e-4)
    close(
        fdl.jit(fdl.vmap(linalg.solve_sylvester, (None, None, 0)))(a, b, c[None])[0],
        scipy.linalg.solve_sylvester(a, b, c),
    )
    close(linalg.sqrtm(a), scipy.linalg.sqrtm(a))
    positive = a @ a.T + np.eye(3)
    fdl.test_util.check_grads(lambda a: linalg.sqrtm(a).real, (positive,), 2, atol=1e-4, rtol=1e-4)
    with pytest.raises(ShapeError, match="solve_sylvester"):
        linalg.solve_sylvester(a, b, c.T)


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4)])
@pytest.mark.parametrize("side", ["right", "left"])
def test_polar_decomposition(shape, side):
    a = np.random.default_rng(3).normal(size=shape)
    for found, expected in zip(linalg.polar(a, side), scipy.linalg.polar(a, side), strict=True):
        close(found, expected)


def test_functions_of_matrices():
    rng = np.random.default_rng(4)
    a, e = rng.normal(size=(4, 4)), rng.normal(size=(4, 4))
    close(linalg.funm(a, fnp.exp), scipy.linalg.expm(a), 1e-9)
    result, error = linalg.funm(a, fnp.sin, disp=False)
    close(result, scipy.linalg.sinm(a), 1e-9)
    assert 0 < error < 1e-10
    for found, expected in zip(linalg.expm_frechet(a, e), scipy.linalg.expm_frechet(a, e), strict=True):
        close(found, expected)


def test_tridiagonal_eigenvalues_and_products_with_q():
    rng = np.random.default_rng(5)
    d, e = rng.normal(size=5), rng.normal(size=4)
    w, v = linalg.eigh_tridiagonal(d, e)
    close(w, scipy.linalg.eigh_tridiagonal(d, e)[0])
    close((np.diag(d) + np.diag(e, 1) + np.diag(e, -1)) @ np.asarray(v), v * w)
    close(linalg.eigh_tridiagonal(d, e, eigvals_only=True, select="i", select_range=(1, 2)), w[1:3])
    a, c = rng.normal(size=(4, 3)) + 1j, rng.normal(size=(2, 4))
    for conjugate in (False, True):
        for mode, given in (("right", c), ("left", rng.normal(size=(3, 2)))):
            ours = linalg.qr_multiply(a, given, mode, conjugate=conjugate)
            for found, expected in zip(
                ours, scipy.linalg.qr_multiply(a, given, mode, conjugate=conjugate), strict=True
            ):
                close(found, expected)


@pytest.mark.parametrize("kind", [np.float32, np.complex128])
def test_condensed_forms_as_lapack_packs_them(kind):
    rng = np.random.default_rng(3)
    a = (rng.normal(size=(2, 4, 4)) + (1j * rng.normal(size=(2, 4, 4)) if kind == np.complex128 else 0)).astype(kind)
    bound = 200 * float(np.finfo(kind).eps)
    eye = np.eye(4)
    packed, taus = condensed.hessenberg(a)
    q = np.broadcast_to(eye, a.shape).astype(kind).copy()
    q[:, 1:, 1:] = np.asarray(fdl.linalg.householder_product(packed[:, 1:, :-1], taus))
    form = np.triu(np.asarray(packed), -1)
    np.testing.assert_allclose(q @ form @ np.conj(np.swapaxes(q, 1, 2)), a, bound, 4 * bound)

    h = a + np.conj(np.swapaxes(a, 1, 2))
    for lower in (True, False):
        packed, d, e, taus = condensed.tridiagonal(np.tril(h) if lower else np.triu(h), lower=lower)
        assert d.dtype == e.dtype == np.finfo(kind).dtype and taus.dtype == kind
        for i in range(2):
            close(scipy.linalg.eigvalsh_tridiagonal(d[i], e[i]), np.linalg.eigvalsh(h[i]), 4 * bound)

    t, z = condensed.schur(a)
    np.testing.assert_allclose(np.asarray(z @ t @ fnp.conj(fnp.swapaxes(z, 1, 2))), a, bound, 4 * bound)
    assert len(condensed.schur(a, compute_schur_vectors=False)) == 1
    u, p, _, converged = condensed.qdwh(a[0, :, :3])
    assert converged
    np.testing.assert_allclose(np.asarray(u @ p), a[0, :, :3], bound, 4 * bound)
    np.testing.assert_allclose(np.asarray(fnp.conj(u.T) @ u), np.eye(3), bound, 4 * bound)


def test_condensed_forms_of_empty_and_wrong_matrices():
    empty = np.zeros((2, 0, 0))
    assert [v.shape for v in condensed.hessenberg(empty)] == [(2, 0, 0), (2, 0)]
    assert [v.shape for v in condensed.tridiagonal(empty)] == [(2, 0, 0), (2, 0), (2, 0), (2, 0)]
    for function in (condensed.hessenberg, condensed.tridiagonal, condensed.schur, condensed.qdwh):
        with pytest.raises(ShapeError):
            function(np.ones((2, 3)))
    with pytest.raises(NotImplementedError, match="sort"):
        condensed.schur(np.eye(2), sort_eig_vals=True)
    t, z = (np.asarray(v) for v in condensed.schur(np.stack([np.full((2, 2), np.nan), np.eye(2)])))
    assert np.isnan(t[0]).all() and np.isnan(z[0]).all() and np.array_equal(t[1], np.eye(2))
    u, p, *_ = condensed.qdwh(np.diag([2.0, 3.0, 0.0]), dynamic_shape=(2, 2))
    close(u @ p, np.diag([2.0, 3.0, 0.0]))
    with pytest.raises(ShapeError, match=r"dynamic_shape must be at most .*\(3, 3\), got \(5, 5\)"):
        condensed.qdwh(np.eye(3), dynamic_shape=(5, 5))


def test_equations_without_solution_and_matrices_of_few_numbers():
    a, change = np.diag([1.0, 2.0]), np.array([[1.0, 2.0], [3.0, 4.0]])
    similar = change @ np.diag([-2.0, 5.0]) @ np.linalg.inv(change)
    assert np.isnan(np.asarray(linalg.solve_sylvester(a, similar, np.ones((2, 2)), tol=1e-5))).all()
    found = linalg.solve_sylvester(np.stack([a, a]), np.stack([similar, a]), np.ones((2, 2)), tol=1e-5)
    assert np.isnan(np.asarray(found)).all((1, 2)).tolist() == [True, False]
    assert linalg.fiedler_companion(np.ones((3, 1))).shape == (3, 0, 0)
    assert linalg.hankel(np.ones(0), np.ones(4)).shape == (0, 4)
    assert linalg.hankel(np.ones(3), np.ones(0)).shape == (3, 0)
