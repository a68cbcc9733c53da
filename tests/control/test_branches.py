"""A branch that an example of a batch does not take leaves its gradient alone, however bad it would be there.

The derivatives are those of calculus, written beside each function.
"""

from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax

POINTS = np.array([0.0, 4.0, 1e-9, 1.0, 2.0, 9.0])


def _root(v: Any) -> Any:
    return lax.cond(v < 1e-3, lambda _: 1e-3, lambda _: fnp.sqrt(v), ())


def _operand(v: Any) -> Any:
    return lax.cond(v < 1e-3, lambda x: 2 * x, lambda x: fnp.log(x) / x, v)


def _steps(v: Any) -> Any:
    index = (v >= 1).astype(int) + (v > 3)
    return lax.switch(index, [lambda x: x**2, lambda x: fnp.sqrt(x - 0.5), lambda x: 1 / (x - 3)], v)


def _scan(v: Any) -> Any:
    def step(c: Any, t: Any) -> Any:
        c = lax.cond(c < 1e-3, lambda c: c * t, lambda c: fnp.sqrt(c) * t, c)
        return c, c

    return lax.scan(step, v, np.array([1.0, 2.0]))[1].sum()


def _fori(v: Any) -> Any:
    return lax.fori_loop(0, 3, lambda i, c: lax.cond(c > 2, lambda c: fnp.sqrt(c - 2), lambda c: c * v, c), v * 0 + 1)


def _nested(v: Any) -> Any:
    inner = lambda x: lax.cond(x < 3, lambda x: x, lambda x: fnp.sqrt(x - 3), x)  # noqa: E731
    return lax.cond(v < 1e-3, lambda x: x, inner, v)


def _tree(v: Any) -> Any:
    out = lax.cond(v < 1e-3, lambda p: {"a": p["b"]}, lambda p: {"a": p["b"] / p["a"]}, {"a": v, "b": v**3})
    return out["a"]


def _fori_slope(v: Any) -> Any:
    # v, v^2, v^3 while not above 2; sqrt(v - 2) after it.
    value, slope = np.ones_like(v), np.zeros_like(v)
    for _ in range(3):
        up = value > 2
        root = np.sqrt(np.where(up, value - 2, 1.0))
        value, slope = np.where(up, root, value * v), np.where(up, slope / (2 * root), slope * v + value)
    return slope


def _scan_slope(v: Any) -> Any:
    low = v < 1e-3
    w = np.where(low, 1.0, v)
    # v + 2 v, or sqrt(v) + 2 v^(1/4); 1e-9 and 2e-9 stay low.
    return np.where(low, 3.0, 0.5 * w**-0.5 + 0.5 * w**-0.75)


#: Functions and their derivatives.
FUNCTIONS = {
    "cond": (_root, lambda v: np.where(v < 1e-3, 0.0, 0.5 / np.sqrt(np.where(v < 1e-3, 1.0, v)))),
    "cond with an operand": (
        _operand,
        lambda v: np.where(v < 1e-3, 2.0, (1 - np.log(np.maximum(v, 1e-3))) / np.maximum(v, 1e-3) ** 2),
    ),
    "switch": (
        _steps,
        lambda v: np.select(
            [v < 1, v <= 3], [2 * v, 0.5 / np.sqrt(np.abs(v - 0.5))], -((np.where(v > 3, v, 4.0) - 3) ** -2.0)
        ),
    ),
    "scan": (_scan, _scan_slope),
    "fori_loop": (_fori, _fori_slope),
    "nested": (_nested, lambda v: np.where(v < 3, 1.0, 0.5 / np.sqrt(np.where(v < 3, 1.0, v - 3)))),
    "tree": (_tree, lambda v: np.where(v < 1e-3, 3 * v * v, 2 * v)),
}


def _diagonal(matrix: Any) -> Any:
    return np.diagonal(np.asarray(matrix))


#: From a function of one number to its derivative at all points.
TRANSFORMS = {
    "grad of vmap": lambda f: fdl.grad(lambda x: fdl.vmap(f)(x).sum())(POINTS),
    "jit of grad of vmap": lambda f: fdl.jit(fdl.grad(lambda x: fdl.vmap(f)(x).sum()))(POINTS),
    "vmap of grad": lambda f: fdl.vmap(fdl.grad(f))(POINTS),
    "grad of vmap of jit": lambda f: fdl.grad(lambda x: fdl.vmap(fdl.jit(f))(x).sum())(POINTS),
    "grad of vmap of checkpoint": lambda f: fdl.grad(lambda x: fdl.vmap(fdl.checkpoint(f))(x).sum())(POINTS),
    "jvp of vmap": lambda f: fdl.jvp(fdl.vmap(f), (POINTS,), (np.ones(6),))[1],
    "linearize of vmap": lambda f: fdl.linearize(fdl.vmap(f), POINTS)[1](np.ones(6)),
    "jacfwd": lambda f: _diagonal(fdl.jacfwd(fdl.vmap(f))(POINTS)),
    "jacrev": lambda f: _diagonal(fdl.jacrev(fdl.vmap(f))(POINTS)),
    "shared operand": lambda f: [
        fdl.grad(lambda v: fdl.vmap(lambda i: f(v + 0 * i))(np.zeros(2)).sum())(p) / 2 for p in map(np.asarray, POINTS)
    ],
    "batch of batches": lambda f: fdl.grad(lambda x: fdl.vmap(fdl.vmap(f))(x.reshape(2, 3)).sum())(POINTS),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_first_derivatives(name: str, transform: str) -> None:
    f, slope = FUNCTIONS[name]
    found = np.asarray(TRANSFORMS[transform](f))
    np.testing.assert_allclose(found, slope(POINTS), rtol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_second_derivatives(name: str) -> None:
    f, slope = FUNCTIONS[name]
    points, h = np.array([0.0, 1.5, 4.0]), 1e-6
    expected = (slope(points + h) - slope(np.abs(points - h))) / (2 * h)
    expected[0] = 0.0 if name in ("cond", "cond with an operand", "scan", "nested", "fori_loop") else expected[0]
    if name in ("switch", "tree"):
        expected[0] = {"switch": 2.0, "tree": 0.0}[name]
    if name == "fori_loop":
        expected[0] = 0.0
    whole = lambda x: fdl.vmap(f)(x).sum()  # noqa: E731
    for derivative in (fdl.hessian(whole), fdl.jacrev(fdl.jacrev(whole)), fdl.jacfwd(fdl.jacfwd(whole))):
        np.testing.assert_allclose(_diagonal(derivative(points)), expected, rtol=1e-5, atol=1e-5)


def test_an_index_alone_is_batched() -> None:
    def f(w: Any) -> Any:
        return fdl.vmap(lambda i: lax.cond(i, lambda: 3.0 * w, lambda: fnp.sqrt(w)))(np.array([True, True])).sum()

    assert fdl.grad(f)(0.0) == 6.0 and fdl.jit(fdl.grad(f))(0.0) == 6.0


def test_finished_lanes_of_a_loop_keep_their_tangents() -> None:
    # v sqrt(v) sqrt(v - 1) ... while the counter is above a tenth: the root of a negative number is not used.
    def f(v: Any) -> Any:
        return lax.while_loop(lambda c: c[0] > 0.1, lambda c: (c[0] - 1, c[1] * fnp.sqrt(c[0])), (v, v))[1]

    points = np.array([0.0, 0.05, 0.5, 1.5, 2.5])
    expected = []
    for v in points:
        value, slope = v, 1.0
        while v > 0.1:
            value, slope, v = value * np.sqrt(v), slope * np.sqrt(v) + value / (2 * np.sqrt(v)), v - 1
        expected.append(slope)
    for g in (fdl.vmap(f), fdl.jit(fdl.vmap(f))):
        np.testing.assert_allclose(np.asarray(fdl.jvp(g, (points,), (np.ones(5),))[1]), expected, rtol=1e-12)
        np.testing.assert_allclose(np.asarray(fdl.linearize(g, points)[1](np.ones(5))), expected, rtol=1e-12)


def test_a_linear_choice_can_be_transposed() -> None:
    def f(x: Any) -> Any:
        choose = lambda i, v: lax.cond(i, lambda v: 2 * v, lambda v: -v, v)  # noqa: E731
        return fdl.vmap(choose)(np.array([True, False]), x)

    assert fdl.linear_transpose(f, np.ones(2))(np.array([1.0, 1.0]))[0].tolist() == [2.0, -1.0]


def test_gates_cost_nothing() -> None:
    f = fdl.vmap(lambda p, x: lax.cond(p, lambda x: x @ x, lambda x: x, x))
    program = fdl.jit(f).lower(np.ones(2, bool), np.ones((2, 3, 3))).traced.program
    from fdl.compile.passes.order import prepared

    names = [e.operation.name for e in prepared(program).equations]
    assert "gate" not in names and names.count("select") == 1
