"""Krylov methods and BFGS: dtypes, starts, limits, complex systems, jit, vmap, functions without a minimum."""

import numpy as np
import pytest
from scipy import optimize as reference

import fdl
import fdl.numpy as fnp
from fdl.errors import RangeError, ShapeError
from fdl.scipy import optimize
from fdl.scipy.sparse import linalg as krylov

METHODS = ["cg", "bicgstab", "gmres"]
KINDS = [np.float32, np.complex128]


def system(kind, n=6, seed=0):
    rng = np.random.default_rng(seed)
    m, b = rng.normal(size=(n, n)), rng.normal(size=n)
    if np.dtype(kind).kind == "c":
        m, b = m + 1j * rng.normal(size=(n, n)), b + 1j * rng.normal(size=n)
    return (m @ m.conj().T / n + np.eye(n)).astype(kind), b.astype(kind)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_the_residual_is_as_small_as_asked_for(name, kind):
    solver, (m, b) = getattr(krylov, name), system(kind)
    eps = float(np.finfo(kind).eps)
    run = fdl.jit(lambda m, b, tol, atol: solver(lambda v: m @ v, b, tol=tol, atol=atol)[0])
    for tol, atol in ((1e-1, 0.0), (1e-3, 0.0), (64 * eps, 0.0), (0.0, 1e-2)):
        x = run(m, b, tol, atol)
        assert x.dtype == kind
        assert np.linalg.norm(b - m @ np.asarray(x)) <= (tol + 32 * eps) * np.linalg.norm(b) + 1.01 * atol


@pytest.mark.parametrize("name", METHODS)
def test_starts_and_limits(name):
    solver, (m, b) = getattr(krylov, name), system(np.float64)
    small = {"restart": 1} if name == "gmres" else {}
    run = fdl.jit(lambda b, x, M, tol, maxiter: solver(m, b, x, tol=tol, maxiter=maxiter, M=M, **small)[0])
    exact, zero, one, none = np.linalg.solve(m, b), np.zeros(6), np.ones(6), np.eye(6)
    np.testing.assert_array_equal(run(zero, zero, none, 1e-5, 60), zero)
    np.testing.assert_array_equal(run(b, exact, none, 1e-5, 60), exact)
    np.testing.assert_array_equal(run(b, one, none, 1e-12, 0), one)
    step = np.asarray(run(b, zero, none, 1e-12, 1))
    assert 0 < np.linalg.norm(b - m @ step) < np.linalg.norm(b)
    np.testing.assert_allclose(run(b, zero, np.linalg.inv(m), 1e-12, 60), exact, rtol=1e-10)
    assert solver(np.zeros((0, 0)), np.zeros(0))[0].shape == (0,)


@pytest.mark.parametrize("name", METHODS)
def test_vmap_and_derivatives_of_complex_systems(name):
    solver = getattr(krylov, name)
    systems = [system(np.float64, seed=seed) for seed in range(3)]
    ms, bs = (np.stack(x) for x in zip(*systems, strict=True))
    found = fdl.vmap(lambda m, b: solver(m, b, tol=1e-12)[0])(ms, bs)
    np.testing.assert_allclose(found, np.linalg.solve(ms, bs[..., None])[..., 0], rtol=1e-9)
    m, b = system(np.complex128)
    w = system(np.complex128, seed=1)[1]
    _, pull = fdl.vjp(lambda b: solver(m, b, tol=1e-13)[0], b)
    np.testing.assert_allclose(pull(fnp.asarray(w))[0], np.linalg.solve(m.T, w), rtol=1e-9)


@pytest.mark.parametrize("name", ["bicgstab", "gmres"])
def test_systems_that_are_not_symmetric(name):
    rotation = np.kron(np.eye(3), [[1.0, -2.0], [2.0, 1.0]])
    x, _ = getattr(krylov, name)(rotation, np.arange(6.0), tol=1e-12)
    np.testing.assert_allclose(x, np.linalg.solve(rotation, np.arange(6.0)), atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_systems_that_do_not_fit(name):
    with pytest.raises(ShapeError):
        getattr(krylov, name)(np.eye(3), np.ones(2))


def quadratic(x):
    return fnp.sum((x - fnp.arange(1.0, 1.0 + x.size).astype(x.dtype)) ** 2 * 0.5)


#: Functions, where to start, and SciPy's minimum to compare with.
FUNCTIONS = {
    "quadratic": (quadratic, [5.0, -3.0, 0.0]),
    "booth": (lambda x: (x[0] + 2 * x[1] - 7) ** 2 + (2 * x[0] + x[1] - 5) ** 2, [0.0, 0.0]),
    "log cosh": (lambda x: fnp.sum(fnp.log(fnp.cosh(x - 0.5))), [2.0, -1.0]),
    "rosenbrock": (lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2, [-1.2, 1.0]),
    "exponential": (lambda x: fnp.exp(x[0]) - 2 * x[0] + fnp.exp(-x[1]) + x[1], [0.0, 3.0]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_minimum_is_that_of_scipy(name):
    f, start = FUNCTIONS[name]
    expected = reference.minimize(lambda x: float(f(fnp.asarray(x))), start, method="BFGS").x
    found = fdl.jit(lambda x: optimize.minimize(f, x, method="BFGS", tol=1e-7))(np.array(start))
    assert found.success and found.status == 0 and found.x.dtype == np.float64
    np.testing.assert_allclose(found.x, expected, atol=1e-4)
    np.testing.assert_allclose(found.fun, f(found.x), rtol=1e-12)
    np.testing.assert_allclose(found.jac, fdl.grad(f)(found.x), atol=1e-12)
    assert found.nit < 100 and found.nfev == found.njev >= found.nit


def test_float32_and_a_start_at_the_minimum():
    found = optimize.minimize(quadratic, np.zeros(3, np.float32), method="bfgs", options={"gtol": 1e-3})
    assert found.x.dtype == np.float32 and found.success
    np.testing.assert_allclose(found.x, [1, 2, 3], rtol=1e-3)
    there = optimize.minimize(quadratic, np.array([1.0, 2.0]), method="BFGS")
    assert there.success and there.nit == 0 and there.nfev == 1
    np.testing.assert_array_equal(there.hess_inv, np.eye(2))


def test_vmap_over_starts():
    starts = np.array([[5.0, -3.0], [0.0, 0.0], [1.0, 2.0]])
    found = fdl.vmap(lambda x: optimize.minimize(quadratic, x, method="BFGS").x)(starts)
    np.testing.assert_allclose(found, [[1, 2]] * 3, atol=1e-5)


@pytest.mark.parametrize(
    ("f", "status"), [(lambda x: fnp.sum(x), 3), (lambda x: fnp.sum(x) * np.nan, None), (lambda x: -fnp.sum(x * x), 3)]
)
def test_functions_without_a_minimum_end(f, status):
    found = optimize.minimize(f, np.ones(2), method="BFGS", options={"maxiter": 50})
    assert not found.success and found.nit <= 50 and found.status != 0


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS"])
def test_gradients_whose_squares_overflow(method):
    """Steps start, and values that are not finite end them."""
    far = optimize.minimize(lambda x: fnp.sum((x - 3) ** 2), np.full(4, 100, np.float16), method=method)
    steep = optimize.minimize(lambda x: 1e20 * fnp.sum((x - 3) ** 2), np.zeros(2, np.float32), method=method)
    for found in (far, steep):
        assert found.success and np.asarray(found.x).tolist() == [3.0] * found.x.size
    broken = optimize.minimize(lambda x: np.nan * fnp.sum(x * x), np.ones(2), method=method)
    assert not broken.success and broken.status == 3 and broken.nit == 0


@pytest.mark.parametrize("method", ["Newton-CG", None, 3])
def test_unknown_methods(method):
    with pytest.raises(ValueError, match=f"knows the methods 'BFGS' and 'L-BFGS', got {method!r}"):
        optimize.minimize(quadratic, np.ones(2), method=method)


def test_limited_memory_and_complex_numbers():
    """Rosenbrock's function of eleven numbers, of which four steps are kept; and one of complex numbers."""

    def valley(x):
        return fnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    found = optimize.minimize(valley, np.zeros(11), method="L-BFGS", options={"maxcor": 4, "gtol": 1e-9})
    assert found.success and found.hess_inv is None
    np.testing.assert_allclose(found.x, np.ones(11), rtol=1e-8)
    goal = np.array([1 + 2j, -3j])
    for method in ("BFGS", "l-bfgs-experimental-do-not-rely-on-this"):
        found = optimize.minimize(lambda z: fnp.sum(fnp.abs(z - goal) ** 2), np.zeros(2, complex), method=method)
        assert found.x.dtype == np.complex128
        np.testing.assert_allclose(found.x, goal, rtol=1e-6)
    distance = lambda z: fnp.sum(fnp.abs(z - goal) ** 2)  # noqa: E731
    found = optimize.minimize(distance, np.zeros(2, complex), method="BFGS", options={"maxiter": 0})
    np.testing.assert_allclose(found.jac, -2 * goal.conj())


def test_steps_from_far_away():
    """Zakharov's function, whose gradient is 1e22 at the start: a step of its length is 1e22 times too long."""

    def steep(x):
        line = 0.5 * fnp.sum(fnp.arange(1, 7) * x)
        return fnp.sum(x**2) + line**2 + line**4

    start = np.array([600.0, 700.0, 200.0, 100.0, 90.0, 1e4])
    assert optimize.minimize(steep, start, method="BFGS").fun < 1e-6


def test_wrong_arguments_of_minimize():
    with pytest.raises(TypeError, match="args .* must be a tuple"):
        optimize.minimize(quadratic, np.ones(2), 45, method="BFGS")
    with pytest.raises(TypeError, match="maxiter"):
        optimize.minimize(quadratic, np.ones(2), method="BFGS", options={"maxiter": 1.5})
    with pytest.raises(ValueError, match="maxcor"):
        optimize.minimize(quadratic, np.ones(2), method="BFGS", options={"maxcor": 5})
    for options in ([1], {"gtol": "small"}):
        with pytest.raises(TypeError, match="minimize"):
            optimize.minimize(quadratic, np.ones(2), method="BFGS", options=options)
    for name, wrong in [("gtol", -1), ("gtol", np.nan), ("maxiter", -1), ("maxls", 0), ("maxcor", 0)]:
        with pytest.raises(RangeError, match=f"minimize: the option {name} must be .*at least"):
            optimize.minimize(quadratic, np.ones(2), method="L-BFGS", options={name: wrong})
    for options in ({"gtol": [1, 2]}, {"norm": "x"}):
        with pytest.raises(TypeError, match="minimize: the option"):
            optimize.minimize(quadratic, np.ones(2), method="BFGS", options=options)
    with pytest.raises(TypeError, match="fun must be"):
        optimize.minimize(3, np.ones(2), method="BFGS")
    for start in (np.ones(2, int), np.ones((2, 2)), 1.0):
        with pytest.raises(ShapeError, match="floating vector"):
            optimize.minimize(quadratic, start, method="BFGS")


def test_derivatives_by_the_operator_and_wrong_operators():
    a, b = np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([1.0, 2.0])
    for solve in (krylov.cg, krylov.bicgstab, krylov.gmres):
        found = fdl.grad(lambda a, solve=solve: fnp.sum(solve(lambda x: a @ x, b, tol=1e-12)[0] ** 2))(a)
        exact = np.linalg.solve(a, b)
        np.testing.assert_allclose(found, -np.outer(np.linalg.solve(a.T, 2 * exact), exact), rtol=1e-9)
    several, _ = krylov.cg(a, np.eye(2), tol=1e-12)
    np.testing.assert_allclose(several, np.linalg.inv(a), rtol=1e-9)
    for call, error, words in [
        (lambda: krylov.cg(np.ones((2, 3)), b), ShapeError, "square"),
        (lambda: krylov.cg([[1.0]], b), TypeError, "operator"),
        (lambda: krylov.cg(a, b, np.ones(3)), ShapeError, "matching shapes"),
        (lambda: krylov.cg(a, b, {"x": b}), ShapeError, "tree structures"),
        (lambda: krylov.gmres(a, b, M=[1.0]), TypeError, "M must be"),
    ]:
        with pytest.raises(error, match=words):
            call()
