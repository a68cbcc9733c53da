"""Derivatives where a formula cancels, divides by zero or chooses: products with zeros, norms, ties, ends of ranges.

The numbers are those of calculus; where a convention chooses among subgradients it is that of JAX 0.10, which was run
beside: ties share a derivative equally, abs rises at zero, norms have no derivative there.
"""

from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, nn

INF, NAN = np.inf, np.nan
WEIGHTS = np.arange(1.0, 6.0)

#: Name, function of x, x, gradient.
CASES: list[tuple[str, Any, list[float], list[float]]] = [
    ("prod, one zero", fnp.prod, [2, 0, 3], [0, 6, 0]),
    ("prod, two zeros", fnp.prod, [0, 0, 3], [0, 0, 0]),
    ("prod of nothing", fnp.prod, [], []),
    ("cumprod", lambda x: fnp.cumprod(x).sum(), [2, 0, 3], [1, 2 + 6, 0]),
    ("cumprod, first", lambda x: fnp.cumprod(x).sum(), [0, 2, 3], [1 + 2 + 6, 0, 0]),
    ("norm", fnp.linalg.norm, [3, 4], [0.6, 0.8]),
    ("norm at zero", fnp.linalg.norm, [0, 0], [NAN, NAN]),
    ("norm 1 at zero", lambda x: fnp.linalg.norm(x, 1), [-3, 2], [-1, 1]),
    ("max", fnp.max, [1, 3, 3, 2], [0, 0.5, 0.5, 0]),
    ("min", fnp.min, [1, 1, 3, 1], [1 / 3, 1 / 3, 0, 1 / 3]),
    ("sort", lambda x: (fnp.sort(x) * WEIGHTS[:3]).sum(), [2, 1, 2], [2, 1, 3]),
    ("median of equals", fnp.median, [2, 2, 2, 2], [0, 0.5, 0.5, 0]),
    ("median", fnp.median, [1, 4, 2, 8], [0, 0.5, 0.5, 0]),
    ("quantile of equals", lambda x: fnp.quantile(x, 0.3), [2, 2, 2, 2], [0.1, 0.9, 0, 0]),
    ("median at infinity", fnp.median, [INF, INF, 1], [1, 0, 0]),
    ("var of a constant", fnp.var, [2, 2, 2], [0, 0, 0]),
    ("sum of abs", lambda x: fnp.abs(x).sum(), [0, -2, 3], [1, -1, 1]),
    ("sqrt", lambda x: fnp.sqrt(x).sum(), [0], [INF]),
    ("clip", lambda x: fnp.clip(x, -1, 2).sum(), [-2, -1, 0, 2, 3], [0, 0.5, 1, 0.5, 0]),
    ("power 0", lambda x: (x**0).sum(), [0, 2], [0, 0]),
    ("power 0.0", lambda x: fnp.power(x, 0.0).sum(), [0, 2], [0, 0]),
    ("power 1", lambda x: (x**1).sum(), [0, -2], [1, 1]),
    ("power 2", lambda x: (x**2).sum(), [0, -3], [0, -6]),
    ("power 2.0", lambda x: fnp.power(x, 2.0).sum(), [0, -3], [0, -6]),
    ("power -1", lambda x: (x**-1).sum(), [2, -4], [-0.25, -0.0625]),
    ("0 to the power", lambda x: fnp.power(0.0, x).sum(), [1, 2], [0, 0]),
    ("mod", lambda x: fnp.mod(x, 2.0).sum(), [0, 1, 2, -2, 3], [1, 1, 1, 1, 1]),
    ("fmod", lambda x: fnp.fmod(x, 2.0).sum(), [0, 1, 2, -2, 3], [1, 1, 1, 1, 1]),
    ("divisor of mod", lambda x: fnp.mod(6.0, x).sum(), [3, 4, -3], [-2, -1, 2]),
    ("floor_divide", lambda x: (x // 2.0).sum(), [0, 1, 2, INF, NAN], [0, 0, 0, 0, 0]),
    ("divisor of floor_divide", lambda x: (6.0 // x).sum(), [0, 3, 4, INF], [0, 0, 0, 0]),
    ("logsumexp of -inf", nn.logsumexp, [-INF, 0, 0], [0, 0.5, 0.5]),
    ("logsumexp of large", nn.logsumexp, [1e300, 0, 1e300], [0.5, 0, 0.5]),
    ("factors of logsumexp", lambda b: nn.logsumexp(fnp.zeros(3), b=b), [2, 0, 5], [1 / 7, 1 / 7, 1 / 7]),
    ("factor zero", lambda a: nn.logsumexp(a, b=np.array([1.0, 1.0, 0.0])), [0, 0, 9], [0.5, 0.5, 0]),
    ("softmax", lambda x: nn.softmax(x)[0], [-INF, 0, 0], [0, 0, 0]),
    ("softmax of huge", lambda x: nn.softmax(x)[0], [1e4, -1e4], [0, 0]),
    ("masked softmax", lambda x: nn.softmax(x, where=np.array([True, False]))[0], [1, NAN], [0, 0]),
    ("log_softmax", lambda x: nn.log_softmax(x)[1], [-INF, 0, 0], [0, 0.5, -0.5]),
    ("log_softmax of huge", lambda x: nn.log_softmax(x)[1], [1e4, -1e4], [-1, 1]),
    (
        "cross entropy",
        lambda x: nn.softmax_cross_entropy_with_integer_labels(x, np.array(1)),
        [-INF, 0, 0],
        [0, -0.5, 0.5],
    ),
    (
        "cross entropy of huge logits",
        lambda x: nn.softmax_cross_entropy_with_integer_labels(x, np.array(1)),
        [1e4, -1e4],
        [1, -1],
    ),
    ("sigmoid cross entropy", lambda x: nn.sigmoid_binary_cross_entropy(x, 1.0).sum(), [-1e4, 0, 1e4], [-1, -0.5, 0]),
    ("masked max", lambda x: fnp.max(x, where=np.array([True, False]), initial=-INF), [1, NAN], [1, 0]),
    ("masked sum", lambda x: fnp.sum(x, where=np.array([True, False])), [1, NAN], [1, 0]),
    ("masked mean", lambda x: fnp.mean(x, where=np.array([True, False])), [1, INF], [1, 0]),
    ("masked var", lambda x: fnp.var(x, where=np.array([True, True, False])), [1, 3, INF], [-1, 1, 0]),
    (
        "pieces that do not count",
        lambda x: fnp.piecewise(x, [x > 0, x > 1], [fnp.sqrt, lambda v: 1 / (v - 1), lambda v: 3 * v]).sum(),
        [0, 1, 2, -1],
        [3, 0.5, -1, 3],
    ),
    ("relu", lambda x: nn.relu(x).sum(), [0, -1, 2], [0, 0, 1]),
    ("relu6", lambda x: nn.relu6(x).sum(), [0, 6, 2], [0, 0, 1]),
    ("softplus", lambda x: nn.softplus(x).sum(), [-1e4, 0, 1e4], [0, 0.5, 1]),
    ("cummax", lambda x: lax.cummax(x).sum(), [1, 3, 2], [1, 2, 0]),
    ("top_k", lambda x: lax.top_k(x, 2)[0].sum(), [3, 3, 1, 3], [1, 1, 0, 0]),
    (
        "segment_max",
        lambda x: fdl.ops.segment_max(x, np.array([0, 0, 1]), num_segments=2).sum(),
        [2, 2, 1],
        [0.5, 0.5, 1],
    ),
]


@pytest.mark.parametrize(("name", "function", "x", "expected"), CASES, ids=[c[0] for c in CASES])
def test_gradients(name: str, function: Any, x: list[float], expected: list[float]) -> None:
    point = fnp.asarray(np.array(x, np.float64))
    for transform in (fdl.grad(function), fdl.jit(fdl.grad(function)), fdl.jacfwd(function)):
        found = np.asarray(transform(point))
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14, err_msg=name)
    batched = np.asarray(fdl.vmap(fdl.grad(function))(fnp.stack([point, point])))
    np.testing.assert_allclose(batched, [expected, expected], rtol=1e-12, atol=1e-14)


def test_remainders_keep_the_sign_of_zero() -> None:
    for x, y in ((0.0, 2.0), (-0.0, 2.0), (0.0, -2.0), (4.0, -2.0), (-4.0, 2.0)):
        for f in (fnp.mod, fdl.jit(fnp.mod)):
            assert np.signbit(np.asarray(f(x, y))) == np.signbit(np.mod(x, y))


def test_infinity_times_a_zero_cotangent_needs_two_choices() -> None:
    """One choice is not enough in reverse mode, as in JAX; decision 018 says why."""
    once = lambda x: fnp.where(x > 0, fnp.sqrt(x), 0.0)  # noqa: E731
    twice = lambda x: fnp.where(x > 0, fnp.sqrt(fnp.where(x > 0, x, 1.0)), 0.0)  # noqa: E731
    chosen = lambda x: lax.cond(x > 0, fnp.sqrt, lambda x: 0.0 * x, x)  # noqa: E731
    assert np.isnan(fdl.grad(once)(0.0)) and fdl.grad(twice)(0.0) == 0.0 and fdl.grad(chosen)(0.0) == 0.0
