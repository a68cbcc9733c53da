"""Taylor mode against mpmath's derivatives along curves."""

import mpmath
import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.errors import ShapeError, TreeError
from fdl.experimental.jet import jet, zero_series

CURVE = [0.5, -0.3, 0.2, 0.7, -0.1]
POINT = 0.7

FUNCTIONS = {
    "exp": (fnp.exp, mpmath.exp),
    "log": (fnp.log, mpmath.log),
    "sin": (fnp.sin, mpmath.sin),
    "tanh": (fnp.tanh, mpmath.tanh),
    "arctan": (fnp.arctan, mpmath.atan),
    "arcsin": (fnp.arcsin, mpmath.asin),
    "sqrt": (fnp.sqrt, mpmath.sqrt),
    "rsqrt": (fdl.lax.rsqrt, lambda x: 1 / mpmath.sqrt(x)),
    "sigmoid": (fdl.nn.sigmoid, lambda x: 1 / (1 + mpmath.exp(-x))),
    "erf": (fdl.lax.erf, mpmath.erf),
    "lgamma": (fdl.lax.lgamma, mpmath.loggamma),
    "cube": (lambda x: x**3, lambda x: x**3),
    "power": (lambda x: x**2.5, lambda x: x ** mpmath.mpf("2.5")),
    "quotient": (
        lambda x: fnp.sin(x) * fnp.exp(x) / (1 + x * x),
        lambda x: mpmath.sin(x) * mpmath.exp(x) / (1 + x * x),
    ),
    "choice": (lambda x: fnp.where(x > 0.5, x * x, x) + fnp.maximum(x, 0.1) + abs(x), lambda x: x * x + 2 * x),
    "loop": (
        lambda x: fdl.lax.fori_loop(0, 2, lambda i, v: fnp.sin(v) * x, x),
        lambda x: mpmath.sin(mpmath.sin(x) * x) * x,
    ),
    "jit": (fdl.jit(lambda x: fnp.exp(fnp.sin(x))), lambda x: mpmath.exp(mpmath.sin(x))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_along_a_curve_are_those_of_mpmath(name) -> None:
    f, exact = FUNCTIONS[name]

    def along(t):
        return exact(POINT + sum(c * t**n / mpmath.factorial(n) for n, c in enumerate(CURVE, 1)))

    value, found = jet(f, (np.asarray(POINT),), ([np.asarray(c) for c in CURVE],))
    with mpmath.workdps(30):
        expected = [float(mpmath.diff(along, 0, n)) for n in range(len(CURVE) + 1)]
    np.testing.assert_allclose([value, *found], expected, rtol=1e-10, atol=1e-12)


def test_networks_agree_with_nested_derivatives(rng) -> None:
    w, x, dw, dx = (rng.normal(size=s) for s in [(3, 3), (3,), (3, 3), (3,)])

    def f(params, x):
        return {"out": fdl.nn.softmax(params["w"] @ fnp.tanh(params["w"] @ x)).max() + fnp.sort(x)[0], "n": 3}

    zero = [np.zeros_like(dw)] * 2, [np.zeros_like(dx)] * 2
    value, found = jet(f, ({"w": w}, x), ({"w": [dw, *zero[0]]}, [dx, *zero[1]]))

    def along(t):
        return f({"w": w + t * dw}, x + t * dx)["out"]

    derivatives = [along]
    for _ in range(3):
        derivatives.append(fdl.grad(derivatives[-1]))
    expected = [float(d(np.asarray(0.0))) for d in derivatives]
    np.testing.assert_allclose([value["out"], *found["out"]], expected, rtol=1e-8)
    compiled = fdl.jit(lambda w, x: jet(f, ({"w": w}, x), ({"w": [dw, *zero[0]]}, [dx, *zero[1]]))[1])(w, x)
    np.testing.assert_allclose(compiled["out"], found["out"], rtol=1e-10)
    assert [float(n) for n in found["n"]] == [0, 0, 0]


def test_jet_under_other_transforms() -> None:
    def third(x):
        return jet(lambda x: fnp.sin(2 * x), (x,), ([1.0, 0.0, 0.0],))[1][2]

    x = fnp.array([0.1, 0.5])
    np.testing.assert_allclose(fdl.vmap(third)(x), -8 * np.cos(2 * np.asarray(x)), rtol=1e-5)
    np.testing.assert_allclose(fdl.vmap(fdl.grad(third))(x), 16 * np.sin(2 * np.asarray(x)), rtol=1e-5)


def test_arguments_that_do_not_move() -> None:
    _, found = jet(lambda x, y: x * x * y, (3.0, 2.0), ([1.0, 0.0], zero_series))
    assert [float(d) for d in found] == [12.0, 4.0]


def test_series_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TreeError, match="series of one length"):
        jet(lambda x, y: x, (1.0, 1.0), ([1.0], [1.0, 0.0]))
    with pytest.raises(ShapeError, match=r"the derivative 1 is f32\[2\]"):
        jet(fnp.sin, (1.0,), ([fnp.ones(2)],))
    with pytest.raises(TreeError, match="a tuple of arguments and a tuple of their series"):
        jet(fnp.sin, 1.0, [1.0])
    with pytest.raises(TreeError, match="a list of derivatives for each leaf"):
        jet(fnp.sin, (1.0,), (2.0,))
