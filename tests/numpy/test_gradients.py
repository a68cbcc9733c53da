"""Derivatives through the functions of fdl.numpy by finite differences, and the same functions vmapped."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp

RNG = np.random.default_rng(3)
X = RNG.normal(size=(3, 4)) + 0.05
P = np.abs(X) + 0.2
S = X @ X.T + np.eye(3)
PLACES = np.array([[2, 0], [1, 1]])
MASK = np.array([True, False, True])
Function = Callable[[Any], Any]

FUNCTIONS: dict[str, tuple[Function, np.ndarray]] = {
    "indexing by arrays": (lambda x: x[PLACES, 1:3], X),
    "indexing by slices": (lambda x: x[::-2, None, 1:], X),
    "a mask": (lambda x: x[MASK], X),
    "set": (lambda x: x.at[1:, 2].set(x[0, :2] ** 2), X),
    "scattered set": (lambda x: x.at[np.array([0, 2]), 1].set(x[1, :2] ** 2), X),
    "scattered add": (lambda x: x.at[np.array([0, 0, 2])].add(x[:3] ** 2), X),
    "scattered multiply": (lambda x: x.at[np.array([0, 2])].multiply(x[1], unique_indices=True), X),
    "scattered max": (lambda x: x.at[np.array([0, 2])].max(x[1]), X),
    "take_along_axis": (lambda x: fnp.take_along_axis(x, PLACES, 1), X[:2]),
    "where": (lambda x: fnp.where(x > 0, x**2, -x), X),
    "sort": (lambda x: fnp.sort(x, 0) * np.arange(3.0)[:, None], X),
    "sort descending": (lambda x: fnp.sort(x, descending=True) * np.arange(4.0), X),
    "median": (lambda x: fnp.median(x, 1), X),
    "quantile": (lambda x: fnp.quantile(x, np.array([0.2, 0.9]), 0), X),
    "clip": (lambda x: fnp.clip(x, -0.5, 0.5) ** 2, X),
    "max": (lambda x: x.max(1), X),
    "prod": (lambda x: x.prod(0), X),
    "var": (lambda x: x.var(0, ddof=1), X),
    "std": (lambda x: x.std(), X),
    "cov": (lambda x: fnp.cov(x), X),
    "cumprod": (lambda x: fnp.cumprod(x, 1), X),
    "cumsum": (lambda x: fnp.cumsum(x, 0) ** 2, X),
    "logaddexp": (lambda x: fnp.logaddexp(x[0], x[1]), X),
    "hypot": (lambda x: fnp.hypot(x[0], x[1]), X),
    "sinc": (lambda x: fnp.sinc(x), X),
    "power": (lambda x: x ** x[0] + x**3 + x**-1.5 + 2.0**x, P),
    "remainder": (lambda x: fnp.mod(x, 0.7) + fnp.fmod(x, 0.7), X),
    "einsum": (lambda x: fnp.einsum("ij,kj,il->kl", x, x, x), X),
    "diagonal of einsum": (lambda x: fnp.einsum("ii,ij->j", x, x), S),
    "kron": (lambda x: fnp.kron(x, x[0]), X),
    "cross": (lambda x: fnp.cross(x[:, :3], x[:, 1:]), X),
    "pad": (lambda x: fnp.pad(x, 2, mode="reflect") ** 2, X),
    "roll": (lambda x: fnp.roll(x, (1, 2), (0, 1)) * np.arange(4.0), X),
    "tile and repeat": (lambda x: fnp.tile(x, (2, 1)) * fnp.repeat(x, 2, 0), X),
    "interp": (lambda x: fnp.interp(x, np.array([-1.0, 0.3, 2.0]), np.array([1.0, 4.0, 2.0])), X),
    "convolve": (lambda x: fnp.convolve(x[0], x[1], "same"), X),
    "norm": (lambda x: fnp.linalg.norm(x, axis=1) + fnp.linalg.norm(x, 3, axis=1), X),
    "nuclear norm": (lambda x: fnp.linalg.norm(x, "nuc"), X),
    "inv": (lambda x: fnp.linalg.inv(x), S),
    "det": (lambda x: fnp.linalg.det(x), S),
    "slogdet": (lambda x: fnp.linalg.slogdet(x)[1], S),
    "cholesky": (lambda x: fnp.linalg.cholesky(x), S),
    "solve": (lambda x: fnp.linalg.solve(x, x[0]), S),
    "eigh": (lambda x: fnp.linalg.eigh(x)[0], S),
    "pinv": (lambda x: fnp.linalg.pinv(x), X),
    "polyval": (lambda x: fnp.polyval(x[0], x[1]), X),
    "nan_to_num": (lambda x: fnp.nan_to_num(fnp.where(x > 0, x, np.nan)), X),
    "nanmean": (lambda x: fnp.nanmean(fnp.where(x > -0.5, x, np.nan), 0), X),
    "trapezoid": (lambda x: fnp.trapezoid(x, x.cumsum(1)), X),
    "unwrap": (lambda x: fnp.unwrap(x * 4), X),
    "histogram weights": (lambda x: fnp.histogram(np.arange(4.0), 2, weights=x[0])[0], X),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_agree_with_finite_differences(name: str) -> None:
    function, x = FUNCTIONS[name]
    weights = np.random.default_rng(4).normal(size=np.shape(function(fnp.asarray(x))))

    def loss(x: Any) -> Any:
        return (function(x) * weights).sum()

    gradient = np.asarray(fdl.grad(loss)(x))
    direction = np.random.default_rng(5).normal(size=x.shape)
    step = 1e-6
    difference = (float(loss(fnp.asarray(x + step * direction))) - float(loss(fnp.asarray(x - step * direction)))) / (
        2 * step
    )
    np.testing.assert_allclose(np.sum(gradient * direction), difference, rtol=2e-6, atol=1e-8)
    compiled = np.asarray(fdl.jit(fdl.grad(loss))(x))
    np.testing.assert_allclose(compiled, gradient, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_vmap_agrees_with_a_loop(name: str) -> None:
    function, x = FUNCTIONS[name]
    if name == "a mask":
        function = lambda x: x[np.array([0, 2])]  # noqa: E731
    batch = np.stack([x, x * 1.1, x + 0.01])
    expected = np.stack([np.asarray(function(fnp.asarray(row))) for row in batch])
    np.testing.assert_allclose(np.asarray(fdl.vmap(function)(batch)), expected, rtol=1e-9, atol=1e-11)


def test_where_protects_the_branch_that_is_not_taken() -> None:
    assert fdl.grad(lambda x: fnp.where(x > 0, fnp.sqrt(fnp.where(x > 0, x, 1.0)), 0.0))(0.0) == 0.0
    assert fdl.grad(fnp.sinc)(0.0) == 0.0
    assert fdl.grad(lambda x: fnp.logaddexp(x, -np.inf))(1.0) == 1.0


def test_indices_have_no_derivative() -> None:
    rows = np.arange(6.0).reshape(3, 2)
    gradient = fdl.grad(lambda x, i: x[i].sum())(rows, 1)
    np.testing.assert_array_equal(np.asarray(gradient), [[0, 0], [1, 1], [0, 0]])


@pytest.mark.parametrize("function", [fnp.logaddexp, fnp.logaddexp2, fnp.hypot])
@pytest.mark.parametrize("point", [(0.3, 0.3), (1.0, -0.5), (-0.4, 2.0)])
def test_second_derivatives_also_where_operands_are_equal(function: Any, point: tuple[float, float]) -> None:
    x = np.array(point)
    hessian = np.asarray(fdl.hessian(lambda v: function(v[0], v[1]))(x))
    step = 1e-5
    gradient = fdl.grad(lambda v: function(v[0], v[1]))
    for i in range(2):
        move = step * np.eye(2)[i]
        column = (np.asarray(gradient(x + move)) - np.asarray(gradient(x - move))) / (2 * step)
        np.testing.assert_allclose(hessian[:, i], column, rtol=1e-6, atol=1e-8)


def test_logaddexp_of_infinities_has_a_finite_derivative() -> None:
    for pair in ((-np.inf, -np.inf), (-np.inf, 0.0), (np.inf, 1.0)):
        assert np.isfinite(np.asarray(fdl.grad(lambda v: fnp.logaddexp(v[0], v[1]))(np.array(pair)))).all()
