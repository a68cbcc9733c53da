"""Closures as arguments, linear functions with a transpose of their own, and functions that return their gradient."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.custom_derivatives import linear_call
from fdl.errors import TreeError
from fdl.test_util import check_grads


def minimum(f, x):
    """Where a quadratic `f` is least; its derivative by what `f` closes over is given by a rule."""
    converted, consts = fdl.closure_convert(f, x)

    @fdl.custom_vjp
    def find(x, *consts):
        return x - fdl.grad(converted)(x, *consts) / fdl.grad(fdl.grad(converted))(x, *consts)

    def forward(x, *consts):
        out = find(x, *consts)
        return out, (out, consts)

    def backward(kept, g):
        x, consts = kept
        second = fdl.grad(fdl.grad(converted))(x, *consts)
        _, pull = fdl.vjp(lambda *consts: fdl.grad(converted)(x, *consts), *consts)
        return (fnp.zeros_like(x), *pull(-g / second))

    find.defvjp(forward, backward)
    return find(x, *consts)


def test_closed_over_values_become_arguments() -> None:
    def run(centre, scale):
        return minimum(lambda x: scale * (x - centre * scale) ** 2, 0.5)

    value, grads = fdl.jit(fdl.value_and_grad(run, (0, 1)))(3.0, 2.0)
    assert float(value) == 6.0
    np.testing.assert_allclose(grads, (2.0, 3.0), rtol=1e-5)
    assert fdl.closure_convert(lambda x: x * fnp.ones(3), 1.0)[1] == []
    with pytest.raises(TreeError, match="a converted closure takes arguments of the structure"):
        fdl.closure_convert(lambda x: x, 1.0)[0]((1.0, 2.0))


def test_linear_call_has_the_transpose_that_it_is_given() -> None:
    def f(scale, x):
        return linear_call(lambda r, x: r * x, lambda r, t: 10 * r * t, scale, x)

    x, scale = fnp.arange(3.0), fnp.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(fdl.jit(f)(scale, x), scale * x)
    np.testing.assert_array_equal(fdl.jvp(lambda x: f(scale, x), (x,), (x + 1,))[1], scale * (x + 1))
    np.testing.assert_array_equal(fdl.grad(lambda x: f(scale, x).sum())(x), 10 * scale)
    np.testing.assert_array_equal(fdl.vmap(fdl.grad(lambda x: f(2.0, x)))(x), [20, 20, 20])
    twice = fdl.linear_transpose(lambda t: fdl.linear_transpose(lambda x: f(scale, x), x)(t)[0], x)
    np.testing.assert_array_equal(twice(x)[0], scale * x)  # the transpose of the transpose
    np.testing.assert_array_equal(fdl.grad(lambda s: f(s, x).sum())(scale), x)
    with pytest.raises(TreeError, match="where linear_args are"):
        linear_call(lambda r, x: x, lambda r, t: (t, t), 1.0, x)


def test_custom_gradient_runs_the_rule_on_what_the_forward_pass_computed() -> None:
    runs: list[str] = []

    @fdl.custom_gradient
    def f(x, y):
        runs.append("forward")
        kept = fnp.sin(x)
        return {"out": x * y}, lambda g: (10 * g["out"] * kept, g["out"] * y)

    dx, dy = fdl.grad(lambda x, y: f(x, y)["out"], (0, 1))(2.0, 3.0)
    np.testing.assert_allclose([dx, dy], [10 * np.sin(2.0), 3.0], rtol=1e-6)
    assert runs == ["forward"]
    grads = fdl.jit(fdl.vmap(fdl.grad(lambda x: f(x, 3.0)["out"])))(fnp.arange(3.0))
    np.testing.assert_allclose(grads, 10 * np.sin(np.arange(3.0)), rtol=1e-6)
    second = fdl.grad(fdl.grad(lambda x: f(x, 3.0)["out"]))(2.0)
    np.testing.assert_allclose(second, 10 * np.cos(2.0), rtol=1e-6)


def test_custom_gradient_of_a_true_derivative() -> None:
    f = fdl.custom_gradient(lambda x, y: (x @ y, lambda g: (g @ y.T, x.T @ g)))
    check_grads(f, (fnp.ones((2, 3)), fnp.arange(6.0).reshape(3, 2)), order=2, modes=["rev"])


def test_zeros_of_values() -> None:
    assert repr(fdl.custom_derivatives.zero_from_primal(fnp.ones(2), symbolic_zeros=True)) == "SymbolicZero(f32[2])"
    np.testing.assert_array_equal(fdl.custom_derivatives.zero_from_primal(fnp.ones(2)), [0, 0])
