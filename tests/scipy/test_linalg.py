"""scipy.linalg, the Krylov methods and BFGS."""

import numpy as np
import pytest
from scipy import linalg as reference

import fdl
import fdl.numpy as fnp
from fdl.errors import ShapeError
from fdl.scipy import linalg, optimize
from fdl.scipy.sparse import linalg as krylov


@pytest.fixture
def a(rng):
    return rng.normal(size=(2, 4, 4)) + 1j * rng.normal(size=(2, 4, 4))


def h(x):
    return np.conj(np.swapaxes(x, -1, -2))


def close(x, y):
    np.testing.assert_allclose(x, y, rtol=0, atol=1e-11 * max(1.0, np.abs(y).max()))


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("columns", [(), (2,)])
def test_cholesky_systems_read_one_triangle(rng, a, lower, columns):
    spd = a @ h(a) + np.eye(4)
    half = np.tril(spd) if lower else np.triu(spd)
    factor = np.asarray(linalg.cholesky(half, lower))
    close(factor @ h(factor) if lower else h(factor) @ factor, spd)
    b = rng.normal(size=(2, 4, *columns))
    x = np.asarray(linalg.cho_solve(linalg.cho_factor(half, lower), b))
    close((spd @ x.reshape(2, 4, -1)).reshape(b.shape), b)
    close(linalg.solve(half, b, lower, assume_a="pos"), x)


@pytest.mark.parametrize("trans", [0, 1, 2])
def test_lu_and_triangular_systems(rng, a, trans):
    op = [a, np.swapaxes(a, -1, -2), h(a)][trans]
    b = rng.normal(size=(2, 4, 3))
    close(op @ np.asarray(linalg.lu_solve(linalg.lu_factor(a), b, trans)), b)
    vector = np.asarray(linalg.lu_solve(linalg.lu_factor(a), b[..., 0], trans))
    close((op @ vector[..., None])[..., 0], b[..., 0])
    expected = np.stack([reference.solve_triangular(m, r, trans, lower=True) for m, r in zip(a, b, strict=True)])
    np.testing.assert_allclose(linalg.solve_triangular(a, b, trans, lower=True), expected, rtol=1e-9)


def test_lu_factors_multiply_to_the_matrix(a):
    p, lower, upper = (np.asarray(x) for x in linalg.lu(a))
    close(p @ lower @ upper, a)
    close(np.asarray(linalg.lu(a[..., :2], permute_l=True)[0]) @ linalg.lu(a[..., :2], permute_l=True)[1], a[..., :2])


def test_solve_inv_det_eigh_qr_svd(rng, a):
    b = rng.normal(size=(2, 4, 1))
    close(a @ np.asarray(linalg.solve(a, b)), b)
    close(linalg.inv(a) @ fnp.asarray(a), np.broadcast_to(np.eye(4), a.shape))
    close(linalg.det(a), np.linalg.det(a))
    w, v = linalg.eigh(a + h(a))
    close((a + h(a)) @ np.asarray(v), np.asarray(v) * np.asarray(w)[..., None, :])
    close(linalg.eigh(np.triu(a + h(a)), lower=False, eigvals_only=True), w)
    q, r = linalg.qr(a[..., :3], mode="economic")
    close(np.asarray(q) @ np.asarray(r), a[..., :3])
    close(linalg.qr(a[..., :3], mode="r")[0][..., :3, :], r)
    close(linalg.svd(a, compute_uv=False), np.linalg.svd(a, compute_uv=False))


def test_qr_with_exchange_of_columns(rng):
    a = rng.normal(size=(2, 4, 3)) * [0.1, 10, 1]
    q, r, p = fdl.jit(lambda a: linalg.qr(a, mode="economic", pivoting=True))(a)
    for n in range(2):
        expected = reference.qr(a[n], mode="economic", pivoting=True)
        for x, y in zip((q[n], r[n], p[n]), expected, strict=True):
            close(x, y)
    assert p.dtype == np.int32
    close(fdl.vmap(lambda a: linalg.qr(a, mode="r", pivoting=True)[0])(a)[:, :3], r)
    product = lambda a: fnp.matmul(*linalg.qr(a, pivoting=True)[:2]).sum()  # noqa: E731
    close(fdl.grad(product)(a[0]), np.ones((4, 3)))
    # What is not finite is NaN, and no error.
    a[0, 1, 1] = np.nan
    assert linalg.qr(a, mode="r", pivoting=True)[1].tolist() == [[0, 1, 2], p[1].tolist()]


def test_structured_matrices():
    blocks = [np.ones((1, 2)), np.full((2, 1), 3.0)]
    np.testing.assert_array_equal(linalg.block_diag(*blocks, 5.0), reference.block_diag(*blocks, 5.0))
    c, r = np.array([1.0, 2, 3]), np.array([1.0, 7, 8, 9])
    np.testing.assert_array_equal(linalg.toeplitz(c, r), reference.toeplitz(c, r))
    np.testing.assert_array_equal(linalg.toeplitz(1j * c), reference.toeplitz(1j * c))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 8.0])
def test_expm(rng, scale):
    x = scale * rng.normal(size=(2, 4, 4))
    expected = np.stack([reference.expm(m) for m in x])
    np.testing.assert_allclose(linalg.expm(x), expected, rtol=1e-9, atol=1e-11 * np.abs(expected).max())


def test_derivative_of_expm(rng):
    x, d = rng.normal(size=(2, 3, 3))
    _, tangent = fdl.jvp(linalg.expm, (x,), (d,))
    np.testing.assert_allclose(tangent, reference.expm_frechet(x, d, compute_expm=False), rtol=1e-8)


@pytest.mark.parametrize("name", ["cg", "bicgstab", "gmres"])
def test_krylov_methods_solve_and_differentiate(rng, name):
    solver = getattr(krylov, name)
    m = rng.normal(size=(8, 8)) + 5 * np.eye(8)
    m = m @ m.T if name == "cg" else m
    b = rng.normal(size=8)
    close(solver(m, b, tol=1e-12)[0], np.linalg.solve(m, b))
    preconditioner = np.diag(1 / np.diag(m))
    close(fdl.jit(lambda b: solver(m, b, np.ones(8), tol=1e-12, M=preconditioner)[0])(b), np.linalg.solve(m, b))
    found = fdl.grad(lambda b: (solver(m, b, tol=1e-13)[0] * fnp.arange(8.0)).sum())(b)
    np.testing.assert_allclose(found, np.linalg.solve(m.T, np.arange(8.0)), rtol=1e-8, atol=1e-9)


def test_krylov_on_trees_of_functions():
    def multiply(v):
        return {"a": 2 * v["a"], "b": v["b"] + 0.5 * v["a"].sum()}

    b = {"a": fnp.array([2.0, 4.0]), "b": fnp.array(1.0)}
    x, _ = krylov.bicgstab(multiply, b)
    np.testing.assert_allclose(x["a"], [1, 2], rtol=1e-4)
    np.testing.assert_allclose(x["b"], -0.5, rtol=1e-4)


def rosenbrock(x):
    return fnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def test_bfgs_finds_the_minimum_of_rosenbrock():
    found = optimize.minimize(rosenbrock, np.array([-1.2, 1.0, 0.5]), method="BFGS", tol=1e-8)
    assert found.success.item() and found.status.item() == 0
    np.testing.assert_allclose(found.x, np.ones(3), atol=1e-7)
    assert np.abs(found.jac).max() < 1e-8 and found.nfev.item() < 300


def test_bfgs_on_a_quadratic_learns_the_inverse_hessian(rng):
    root = rng.normal(size=(4, 4))
    hessian, b = root @ root.T + np.eye(4), rng.normal(size=4)
    f = fdl.jit(
        lambda x0: optimize.minimize(lambda x, c: x @ hessian @ x / 2 - c @ x, x0, (b,), method="BFGS", tol=1e-9)
    )
    found = f(np.zeros(4))
    np.testing.assert_allclose(found.x, np.linalg.solve(hessian, b), atol=1e-7)


def test_bfgs_reports_failure_and_bad_arguments():
    assert optimize.minimize(rosenbrock, np.zeros(2), method="BFGS", options={"maxiter": 2}).status.item() == 1
    with pytest.raises(ValueError, match="'BFGS'"):
        optimize.minimize(rosenbrock, np.zeros(2), method="Newton")
    with pytest.raises(ValueError, match="gamma"):
        optimize.minimize(rosenbrock, np.zeros(2), method="BFGS", options={"gamma": 1})
    with pytest.raises(ShapeError, match="floating vector"):
        optimize.minimize(rosenbrock, np.zeros((2, 2)), method="BFGS")
