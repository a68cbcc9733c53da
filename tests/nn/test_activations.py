"""Activations against their formulas in float64, their derivatives, and their corners."""

import math

import numpy as np
import pytest
from scipy import special

import fdl
import fdl.numpy as fnp
from fdl import nn
from fdl.errors import ShapeError


def log1p_exp(x):
    return np.logaddexp(x, 0)


FORMULAS = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "celu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: x * special.ndtr(x),
    "sigmoid": special.expit,
    "silu": lambda x: x * special.expit(x),
    "tanh": np.tanh,
    "softplus": log1p_exp,
    "log_sigmoid": lambda x: -log1p_exp(-x),
    "mish": lambda x: x * np.tanh(log1p_exp(x)),
    "soft_sign": lambda x: x / (1 + np.abs(x)),
    "squareplus": lambda x: (x + np.sqrt(x * x + 4)) / 2,
    "sparse_plus": lambda x: np.where(x < -1, 0, np.where(x > 1, x, (x + 1) ** 2 / 4)),
    "sparse_sigmoid": lambda x: np.clip((x + 1) / 2, 0, 1),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hard_silu": lambda x: x * np.clip(x + 3, 0, 6) / 6,
}
TOLERANCE = {"gelu": 2e-3}
X = np.concatenate([np.linspace(-8.03, 8.01, 41), [-200.0, 200.0]])


@pytest.mark.parametrize("name", FORMULAS)
def test_values_derivatives_and_jit(name):
    f, tolerance = getattr(nn, name), TOLERANCE.get(name, 1e-12)
    np.testing.assert_allclose(f(X), FORMULAS[name](X), rtol=tolerance, atol=tolerance)
    h = 1e-6
    slopes = (np.asarray(f(X + h)) - np.asarray(f(X - h))) / (2 * h)
    np.testing.assert_allclose(fdl.grad(lambda x: f(x).sum())(X), slopes, rtol=1e-6, atol=1e-7)
    assert f(X.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(
        fdl.jit(f)(X.astype(np.float32)), FORMULAS[name](X), rtol=max(tolerance, 3e-6), atol=2e-3
    )


def test_derivatives_in_the_corners():
    zero, six = fnp.zeros(()), fnp.asarray(6.0)
    assert [fdl.grad(f)(zero).item() for f in (nn.relu, nn.relu6, nn.leaky_relu, nn.elu)] == [0.0, 0.0, 1.0, 1.0]
    assert fdl.grad(nn.relu6)(six).item() == 0.0
    assert np.isnan(nn.relu(fnp.nan).item())
    assert nn.relu(np.array([-1, 2])).dtype == np.int64


def test_gelu_exact_and_approximate():
    np.testing.assert_allclose(nn.gelu(X, approximate=False), X * special.ndtr(X), rtol=1e-12)
    inner = math.sqrt(2 / math.pi) * (X + 0.044715 * X**3)
    # (1 + tanh(u)) / 2 without its cancellation; rounding of u, up to 30, shows in the tail.
    np.testing.assert_allclose(nn.gelu(X), X * special.expit(2 * inner), rtol=1e-12)


def test_log1mexp():
    x = np.array([1e-10, 0.1, 0.6, 0.8, 12.0])
    exact = np.log(-np.expm1(-x.astype(np.longdouble))).astype(np.float64)
    np.testing.assert_allclose(nn.log1mexp(x), exact, rtol=1e-12)
    assert np.isfinite(fdl.grad(lambda x: nn.log1mexp(x).sum())(x)).all()


def test_glu(rng):
    x = rng.normal(size=(3, 4))
    np.testing.assert_allclose(nn.glu(x), x[:, :2] * special.expit(x[:, 2:]))
    with pytest.raises(ShapeError, match=r"f64\[3,4\]"):
        nn.glu(x, axis=0)


@pytest.mark.parametrize("axis", [-1, 0, (0, 1), None])
def test_softmax_family(rng, axis):
    x = 50 * rng.normal(size=(3, 4))
    np.testing.assert_allclose(nn.softmax(x, axis), special.softmax(x, axis), rtol=1e-10)
    np.testing.assert_allclose(nn.log_softmax(x, axis), special.log_softmax(x, axis), rtol=1e-10)
    np.testing.assert_allclose(nn.logsumexp(x, axis), special.logsumexp(x, axis), rtol=1e-12)
    count = special.logsumexp(np.zeros_like(x), axis)
    np.testing.assert_allclose(nn.logmeanexp(x, axis), special.logsumexp(x, axis) - count, rtol=1e-12)
    found, sign = nn.logsumexp(x, axis, b=-x, return_sign=True)
    expected, expected_sign = special.logsumexp(x, axis, b=-x, return_sign=True)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_array_equal(sign, expected_sign)


def test_softmax_of_a_subset(rng):
    x = rng.normal(size=(2, 4))
    where = np.array([[True, False, True, False], [False] * 4])
    expected = np.zeros_like(x)
    expected[0, ::2] = special.softmax(x[0, ::2])
    np.testing.assert_allclose(nn.softmax(x, where=where), expected)
    assert nn.log_softmax(x, where=where)[1].tolist() == [-math.inf] * 4
    assert np.isfinite(fdl.grad(lambda x: nn.softmax(x, where=where)[0, 0])(x)).all()
    assert nn.logsumexp(np.full(2, -np.inf)).item() == -math.inf
    np.testing.assert_allclose(nn.logsumexp(x, where=where, axis=1)[0], special.logsumexp(x[0, ::2]))


@pytest.mark.parametrize("algorithm", ["fast", "stable"])
def test_standardize(rng, algorithm):
    x = rng.normal(2, 3, size=(5, 40))
    y = np.asarray(nn.standardize(x, epsilon=0.0, algorithm=algorithm))
    np.testing.assert_allclose(y.mean(1), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(1), 1, rtol=1e-12)


def test_one_hot():
    assert nn.one_hot(np.array([2, -1, 5]), 3).tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    x = np.array([[0, 1], [2, 0]])
    np.testing.assert_array_equal(
        nn.one_hot(x, 3, axis=1, dtype="int8"), np.moveaxis(np.eye(3, dtype=np.int8)[x], -1, 1)
    )
