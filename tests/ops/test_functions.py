"""Mathematical functions: special values, half precision, branches of complex functions, identities."""

import mpmath
import numpy as np
import pytest
from scipy import special as scipy_special

from fdl.array import as_array
from fdl.core.interpret import evaluate
from fdl.core.primitive import registry
from fdl.dtypes import bfloat16, float16
from fdl.errors import DifferentiationError
from fdl.ops import hypergeometric, sigmoid, special
from fdl.ops import transcendental as t
from fdl.ops import trigonometric as g
from fdl.ops.transcendental import Function
from fdl.transforms.forward import jvp_values


def run(operation, *arrays):
    return np.asarray(evaluate(operation, arrays)[0])


def slope(operation, *arrays, by=0):
    tangents = [as_array(np.ones(a.shape, a.dtype)) if i == by else None for i, a in enumerate(arrays)]
    return np.asarray(jvp_values(lambda *xs: [operation(*xs)], arrays, tangents)[1][0])


FUNCTIONS = sorted(name for name, cls in registry.items() if issubclass(cls, Function))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [bfloat16, float16], ids=str)
def test_half_precision_is_the_float32_result_rounded_once(name, dtype, rng):
    operation = registry[name]()
    x = operation.draw(rng, (200,), dtype)
    np.testing.assert_array_equal(run(operation, x), run(operation, x.astype(np.float32)).astype(dtype))


def test_special_values():
    inf, nan = np.inf, np.nan
    x = np.array([-inf, -1.0, -0.0, 0.0, inf, nan])
    np.testing.assert_array_equal(run(t.log, x), [nan, nan, -inf, -inf, inf, nan])
    np.testing.assert_array_equal(run(t.exp, x)[[0, 4, 5]], [0, inf, nan])
    np.testing.assert_array_equal(run(t.rsqrt, x), [nan, nan, -inf, inf, 0, nan])
    np.testing.assert_array_equal(run(sigmoid.logistic, x)[[0, 2, 4, 5]], [0, 0.5, 1, nan])
    np.testing.assert_array_equal(run(t.expm1, np.array([1e-20, -inf])), [1e-20, -1])
    np.testing.assert_array_equal(run(t.log1p, np.array([1e-20, -1.0])), [1e-20, -inf])
    np.testing.assert_array_equal(run(sigmoid.tanh, np.array([-inf, 1e3, -0.0])), [-1, 1, -0.0])
    one = np.array([1.0, 0.0, 2.0, nan, -8.0])
    np.testing.assert_array_equal(run(t.pow_, one, np.array([nan, 0.0, -1.0, 0.0, 1 / 3])), [1, 1, 0.5, 1, nan])
    angles = run(g.atan2, np.array([0.0, -0.0, 0.0, -0.0]), np.array([-1.0, -1.0, 0.0, -0.0]))
    np.testing.assert_array_equal(angles, [np.pi, -np.pi, 0, -np.pi])


def test_logistic_of_large_numbers_neither_overflows_nor_loses_its_tail():
    x = np.array([-700.0, -40.0, 40.0, 700.0])
    np.testing.assert_allclose(run(sigmoid.logistic, x), scipy_special.expit(x), 1e-14)


def test_derivatives_of_powers_at_zero():
    zero, one = np.zeros(1), np.ones(1)
    assert slope(t.pow_, zero, zero) == 0 and slope(t.pow_, zero, one) == 1 and slope(t.pow_, zero, 2 * one) == 0
    assert slope(t.pow_, zero, 2 * one, by=1) == 0
    np.testing.assert_allclose(slope(t.pow_, 2 * one, 3 * one, by=1), 8 * np.log(2))


INVERSE = [
    (g.sin, g.asin),
    (g.cos, g.acos),
    (g.tan, g.atan),
    (g.sinh, g.asinh),
    (g.cosh, g.acosh),
    (sigmoid.tanh, g.atanh),
]


@pytest.mark.parametrize(("forth", "back"), [*INVERSE, (t.exp, t.log)], ids=repr)
def test_inverse_functions_of_complex_numbers(forth, back, rng):
    z = rng.normal(size=50) + 1j * rng.normal(size=50)
    np.testing.assert_allclose(run(forth, run(back, z)), z, 1e-12)
    # The derivative of the inverse is the reciprocal of the derivative.
    np.testing.assert_allclose(slope(back, z) * slope(forth, run(back, z)), np.ones(50), 1e-10)


def test_poles_of_the_gamma_functions():
    x = np.array([0.0, -1.0, -2.5, 1e-3, 50.0])
    np.testing.assert_array_equal(np.isnan(run(special.digamma, x)), [True, True, False, False, False])
    np.testing.assert_array_equal(run(special.lgamma, x)[:2], [np.inf, np.inf])
    np.testing.assert_allclose(slope(special.lgamma, x[2:]), scipy_special.psi(x[2:]), 1e-13)
    np.testing.assert_allclose(slope(special.digamma, x[2:]), scipy_special.polygamma(1, x[2:]), 1e-12)


def test_error_functions():
    x = np.array([-1.0, -0.999, -0.0, 0.5, 1.0, 1.5])
    np.testing.assert_allclose(run(special.erf_inv, x)[1:4], scipy_special.erfinv(x[1:4]), 1e-14)
    np.testing.assert_array_equal(run(special.erf_inv, x)[[0, 4, 5]], [-np.inf, np.inf, np.nan])
    assert np.signbit(run(special.erf_inv, x)[2])
    np.testing.assert_allclose(run(special.erfc, np.array([20.0])), 5.3958656116079e-176, 1e-12)


@pytest.mark.parametrize("a", [1e-3, 0.5, 3.0, 1e4])
def test_the_incomplete_gamma_functions_derivative_by_a(a):
    x = a * np.array([0.2, 0.9, 1.0, 1.1, 3.0])
    at = np.full(5, a)
    # P(a, x) is the integral of a density up to x; here over s = log(x) - y / a, differentiated under the integral.
    panels = 60 * (1 + a**0.5) * np.linspace(0, 1, 201)[:, None] ** 3
    nodes, weights = np.polynomial.legendre.leggauss(20)
    half = np.diff(panels, axis=0) / 2
    y = (panels[:-1] + half * (nodes + 1)).reshape(-1)
    s = np.log(x)[:, None] - y / a
    density = np.exp(a * s - np.exp(s) - scipy_special.gammaln(a + 1))
    expected = np.sum((s - scipy_special.psi(a)) * density * (half * weights).reshape(-1), 1)
    np.testing.assert_allclose(run(special.igamma_grad_a, at, x), expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(slope(special.igammac, at, x), -run(special.igamma_grad_a, at, x))


def test_derivatives_that_do_not_exist_say_so():
    half = np.full(2, 0.5)
    with pytest.raises(DifferentiationError, match="no derivative by a and b"):
        slope(special.betainc, half, half, half)
    with pytest.raises(DifferentiationError, match="no derivative by its order"):
        slope(special.polygamma, np.ones(1), np.ones(1))


def test_derivatives_by_parameters_against_mpmath():
    with mpmath.workdps(30):
        for f, reference, points in (
            (special.zeta, mpmath.zeta, [(1.1, 0.3), (2.0, 1.0), (7.5, 20.0), (60.0, 1.5)]),
            (hypergeometric.hyp1f1, mpmath.hyp1f1, [(0.5, 1.5, 2.0), (2.0, 0.7, -8.0), (-1.5, 3.0, 12.0)]),
            # near a pole, and where large parameters still matter
            (hypergeometric.hyp1f1, mpmath.hyp1f1, [(0.5, 0.01, 2.0), (0.5, -0.99, 2.0), (1000.0, 2.5, 100.0)]),
            (hypergeometric.hyp2f1, mpmath.hyp2f1, [(0.5, 1.5, 2.0, 0.7), (1.0, -0.5, 0.8, -3.0)]),
            (hypergeometric.hyp2f1, mpmath.hyp2f1, [(0.5, 0.2, 0.01, 0.5), (200.0, 0.3, 2.0, 0.5)]),
        ):
            for point in points:
                for n in range(len(point) - 1):
                    of_one = lambda v, n=n, point=point, f=reference: f(*point[:n], v, *point[n + 1 :])  # noqa: E731
                    found = slope(f, *(np.full(1, p) for p in point), by=n)
                    np.testing.assert_allclose(found, float(mpmath.diff(of_one, point[n])), rtol=1e-8)
    # What no term can be told from zero in.
    assert slope(special.zeta, np.full(1, 1e25), np.full(1, 2.0)) == 0
    assert slope(special.zeta, np.full(1, 3.0), np.full(1, np.inf)) == 0


def test_bessel_functions_at_zero():
    zero = np.zeros(1)
    assert slope(special.i1e, zero) == 0.5
    assert run(special.i0e, zero) == 1 and run(special.i1e, zero) == 0
    np.testing.assert_allclose(slope(special.i0e, np.array([2.0])), scipy_special.i1e(2) - scipy_special.i0e(2))
