"""Roots and linear solutions: values, derivatives of both modes and orders, batches."""

import numpy as np
import pytest
import scipy.optimize

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.errors import DifferentiationError, ShapeError, TreeError
from fdl.test_util import check_grads

A = np.array([[3.0, 1.0, 0.5], [0.2, 2.0, -1.0], [0.1, 0.3, 4.0]])
B = np.array([1.0, -2.0, 0.5])


def dense(matvec, b):
    return fnp.linalg.solve(fdl.jacobian(matvec)(b), b)


def jacobi(matvec, b):
    """Iterative, with a loop that has no reverse mode."""
    diagonal = fnp.diag(fdl.jacobian(matvec)(b))

    def going(state):
        return fnp.abs(matvec(state) - b).max() > 1e-12

    return lax.while_loop(going, lambda x: x + (b - matvec(x)) / diagonal, b / diagonal)


def solved(a, b, solve=dense):
    return lax.custom_linear_solve(lambda x: a @ x, b, solve, solve)


@pytest.mark.parametrize("solve", [dense, jacobi])
def test_linear_solutions_are_differentiated_by_the_equation(solve) -> None:
    np.testing.assert_allclose(solved(A, B, solve), np.linalg.solve(A, B), rtol=1e-10)
    if solve is dense:
        check_grads(lambda a, b: solved(a, b), (fnp.array(A), fnp.array(B)), order=2)
    x, weight = np.linalg.solve(A, B), np.array([1.0, 2.0, 3.0])
    left = np.linalg.solve(A.T, weight)
    da, db = fdl.jit(fdl.grad(lambda a, b: (solved(a, b, solve) * weight).sum(), (0, 1)))(A, B)
    np.testing.assert_allclose(db, left, rtol=1e-9)
    np.testing.assert_allclose(da, -np.outer(left, x), rtol=1e-9)


def test_complex_linear_solutions(rng) -> None:
    a, b = A + 1j * rng.normal(size=(3, 3)), B + 1j * rng.normal(size=3)
    np.testing.assert_allclose(solved(a, b), np.linalg.solve(a, b), rtol=1e-10)
    check_grads(solved, (fnp.array(a), fnp.array(b)), order=2)


def test_batches_of_linear_solutions_are_those_of_a_loop() -> None:
    many_a = A + 0.1 * np.arange(4.0)[:, None, None]
    many_b = B + np.arange(4.0)[:, None]
    of_both = fdl.vmap(lambda a, b: solved(a, b, jacobi))(many_a, many_b)
    np.testing.assert_allclose(of_both, np.linalg.solve(many_a, many_b[..., None])[..., 0], rtol=1e-9)
    of_right = fdl.jit(fdl.vmap(lambda b: solved(A, b, jacobi)))(many_b)
    np.testing.assert_allclose(of_right, np.linalg.solve(A, many_b.T).T, rtol=1e-9)
    grads = fdl.vmap(fdl.grad(lambda a: solved(a, B, jacobi).sum()))(many_a)
    alone = [fdl.grad(lambda a: solved(a, B).sum())(a) for a in many_a]
    np.testing.assert_allclose(grads, np.stack(alone), rtol=1e-8)


def test_symmetric_solves_and_aux() -> None:
    s = A @ A.T

    def solve(matvec, b):
        return dense(matvec, b), {"steps": fnp.int32(7)}

    def run(b):
        return lax.custom_linear_solve(lambda x: s @ x, b, solve, symmetric=True, has_aux=True)

    x, aux = run(B)
    np.testing.assert_allclose(x, np.linalg.solve(s, B), rtol=1e-10)
    assert int(aux["steps"]) == 7
    np.testing.assert_allclose(fdl.grad(lambda b: run(b)[0].sum())(B), np.linalg.solve(s, np.ones(3)), rtol=1e-10)

    def by_matrix(s):
        return lax.custom_linear_solve(lambda x: s @ x, B, dense, symmetric=True)

    check_grads(by_matrix, (fnp.array(s),), order=2)  # also beside symmetric matrices, where differences look


def test_trees_may_be_solved_for() -> None:
    def matvec(x):
        return {"u": 2.0 * x["u"] + x["v"], "v": 4.0 * x["v"]}

    def solve(matvec, b):
        v = b["v"] / 4.0
        return {"u": (b["u"] - v) / 2.0, "v": v}

    def solve_back(vecmat, c):
        u = c["u"] / 2.0
        return {"u": u, "v": (c["v"] - u) / 4.0}

    def run(u, v):
        return lax.custom_linear_solve(matvec, {"u": u, "v": v}, solve, solve_back)

    found = run(fnp.float32(6), fnp.float32(8))
    assert (float(found["u"]), float(found["v"])) == (2.0, 2.0)
    assert [float(g) for g in fdl.grad(lambda u, v: run(u, v)["u"], (0, 1))(6.0, 8.0)] == [0.5, -0.125]


def test_what_is_wrong_with_a_linear_solve_is_said() -> None:
    with pytest.raises(DifferentiationError, match="transpose_solve"):
        fdl.grad(lambda b: lax.custom_linear_solve(lambda x: A @ x, b, dense).sum())(B)
    with pytest.raises(TreeError, match="matvec must return the structure of b"):
        lax.custom_linear_solve(lambda x: (x, x), B, dense)
    with pytest.raises(ShapeError, match=r"solve must return values of the shapes of b, .* is f64\[2\]"):
        lax.custom_linear_solve(lambda x: A @ x, B, lambda f, b: b[:2])


def bisect(f, low):
    def step(_, state):
        low, high = state
        middle = (low + high) / 2
        return fnp.where(f(middle) > 0, low, middle), fnp.where(f(middle) > 0, middle, high)

    return lax.fori_loop(0, 60, step, (low, low + 10.0))[0]


def root(a, guess=0.0):
    return lax.custom_root(lambda x: x**3 + a * x - 1, guess, bisect, lambda g, y: y / g(1.0))


def test_roots_are_differentiated_by_the_implicit_function_theorem() -> None:
    a = np.asarray(2.5)
    x = scipy.optimize.brentq(lambda x: x**3 + a * x - 1, 0, 10, xtol=1e-15)
    value, slope = fdl.jit(fdl.value_and_grad(root))(a, np.zeros(()))
    np.testing.assert_allclose(value, x, rtol=1e-12)
    np.testing.assert_allclose(slope, -x / (3 * x * x + a), rtol=1e-10)
    check_grads(lambda a: root(a, np.zeros(())), (fnp.array(a),), order=2)
    many = np.array([0.5, 1.5, 2.5])
    np.testing.assert_allclose(fdl.vmap(fdl.grad(root), (0, None))(many, np.zeros(()))[2], slope, rtol=1e-10)


def test_roots_of_systems_by_linear_solves_with_aux() -> None:
    def f(x):
        return {"y": x["y"] ** 2 - x["z"], "z": x["z"] * scale - 8.0}

    def newton(f, x):
        flat, back = fdl.flatten_util.ravel_pytree(x)

        def residual(v):
            return fdl.flatten_util.ravel_pytree(f(back(v)))[0]

        def step(_, v):
            return v - fnp.linalg.solve(fdl.jacobian(residual)(v), residual(v))

        return back(lax.fori_loop(0, 30, step, flat)), 30

    def solve_tangent(g, y):
        flat, back = fdl.flatten_util.ravel_pytree(y)
        matrix = fdl.jacobian(lambda v: fdl.flatten_util.ravel_pytree(g(back(v)))[0])(flat)
        return back(fnp.linalg.solve(matrix, flat))

    guess = {"y": np.float64(1), "z": np.float64(1)}
    scale: object = 2.0

    def run(value):
        nonlocal scale
        scale = value
        found, steps = lax.custom_root(f, guess, newton, solve_tangent, has_aux=True)
        return found["y"], steps

    (y, steps), slope = fdl.value_and_grad(run, has_aux=True)(np.float64(2.0))  # y = sqrt(8 / scale)
    np.testing.assert_allclose([y, slope], [2.0, -0.5], rtol=1e-12)
    assert int(steps) == 30


def test_values_that_only_the_solver_reads_have_no_derivative() -> None:
    def run(tolerance):
        def solve(f, x):
            return x + 2.0 + 0.0 * tolerance

        return lax.custom_root(lambda x: x - 2.0, 0.0, solve, lambda g, y: y / g(1.0))

    assert float(fdl.grad(run)(3.0)) == 0.0


def test_structures_of_roots_are_compared() -> None:
    with pytest.raises(TreeError, match="f must return the structure of the initial guess"):
        lax.custom_root(lambda x: (x, x), 1.0, bisect, lambda g, y: y)
