"""Second derivatives, derivatives of 16-bit floats, and what derivatives are by convention, where calculus has none."""

from functools import cache
from typing import Any

import mpmath as mp
import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.dtypes import bfloat16, float16
from fdl.scipy import special
from tests.accuracy.measure import Exact, check, evaluated, value_and_derivatives
from tests.accuracy.unary import UNARY

SMOOTH = [
    "exp", "exp2", "expm1", "log", "log1p", "sqrt", "rsqrt", "cbrt", "sin", "cos", "tan", "sinc", "arcsin", "arctan",
    "sinh", "cosh", "tanh", "arcsinh", "sigmoid", "softplus", "log_sigmoid", "silu", "mish", "gelu", "gelu, exact",
    "squareplus", "log_cosh", "erf", "erfc", "ndtr", "log_ndtr", "logit", "entr", "reciprocal", "cube",
]  # fmt: skip


@cache
def second(name: str, dtype: type) -> tuple[np.ndarray, Exact, np.ndarray]:
    row = UNARY[name]
    rng = np.random.default_rng(2)
    x = np.concatenate([10.0 ** rng.uniform(-5, 0, 20), rng.uniform(0, 12, 25)])
    x = np.concatenate([x, -x]).astype(dtype)
    low, high = row.domain
    x = x[(x > max(low, 0.0 if name in ("log", "sqrt", "rsqrt") else low)) & (x < high)]
    rows = [(v,) for v in x.tolist()]
    first = evaluated(row.derivative, rows, {})
    curvature = evaluated(lambda v: mp.diff(row.derivative, v, h=abs(v) * mp.mpf(2) ** -80), rows, {})
    return x, curvature, np.abs(first.rounded)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SMOOTH)
def test_second_derivatives(name: str, dtype: type) -> None:
    """Within 64 units in the last place, of the first derivative if that is larger; gelu has the bound of its row."""
    x, want, first = second(name, dtype)
    row = UNARY[name]

    def slope(v: Any) -> Any:
        return value_and_derivatives(row.function, 1)(v)[1][0]

    for transform in (lambda f: f, fdl.jit):
        _, (got,) = transform(value_and_derivatives(slope, 1))(fnp.asarray(x))
        defined = want.only(np.isfinite(first))
        bound = (lambda v: 8 * row.slope(v)) if callable(row.slope) else 64.0
        check(f"the second derivative of {name}", got, defined, (x,), bound, np.nan_to_num(first), 1024)


COMMON = [
    "exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "sin", "cos", "tanh", "sigmoid", "softplus", "log_sigmoid", "silu",
    "gelu", "gelu, exact", "elu", "relu", "erf", "arctan", "square", "reciprocal", "abs",
]  # fmt: skip


def places(x: np.ndarray) -> np.ndarray:
    """The numbers of a 16-bit format, counted from zero."""
    bits = x.view(np.int16).astype(np.int32)
    return np.where(bits < 0, -(bits & 0x7FFF), bits)


@pytest.mark.parametrize("dtype", [bfloat16, float16], ids=str)
@pytest.mark.parametrize("name", COMMON)
def test_half_precision(name: str, dtype: np.dtype) -> None:
    """Values and derivatives are the exact ones rounded, or a neighbour of that number."""
    row = UNARY[name]
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.uniform(-8, 8, 60), rng.normal(size=40) * 10.0 ** rng.integers(-3, 3, 40)]).astype(dtype)
    x = np.abs(x) if name in ("log", "sqrt", "rsqrt", "log1p") else x
    rows = [(float(v),) for v in x]
    for transform in (lambda f: f, fdl.jit):
        out, (slope,) = transform(value_and_derivatives(row.function, 1))(fnp.asarray(x))
        for got, exact in ((out, row.exact), (slope, row.derivative)):
            want = evaluated(exact, rows, {}).rounded
            # Near a root of silu and gelu the unit is that of the terms.
            away = (np.abs(want) > 2.0**-5) | (np.abs(x.astype(np.float32) + 1) > 0.6)
            with np.errstate(over="ignore"):
                error = np.abs(places(np.asarray(got)) - places(want.astype(dtype)))
            wrong = np.flatnonzero(away & (error > 1))
            shown = [f"{x[i]}: {np.asarray(got)[i]} for {want[i]}" for i in wrong[:5]]
            assert not wrong.size, f"{name} of {dtype}, {len(wrong)} of {len(x)}: {'; '.join(shown)}"


INF, NAN = np.inf, np.nan

#: function: (x, y): the derivatives. What JAX gives (compared with version 0.10), unless a comment says otherwise.
CONVENTIONS = {
    fnp.maximum: {(0.0, 0.0): (0.5, 0.5), (INF, INF): (0.5, 0.5), (1.0, NAN): (0.0, 0.0)},
    fnp.minimum: {(0.0, 0.0): (0.5, 0.5), (-INF, -INF): (0.5, 0.5)},
    fnp.fmax: {(0.0, 0.0): (0.0, 1.0), (1.0, NAN): (1.0, 0.0), (NAN, 1.0): (0.0, 1.0)},
    fnp.copysign: {(0.0, -1.0): (-1.0, 0.0), (-0.0, 1.0): (1.0, 0.0), (2.0, -0.0): (-1.0, 0.0)},
    # JAX gives NaN where the length is infinite; here the limit.
    fnp.hypot: {(0.0, 0.0): (0.5, 0.5), (-3.0, 0.0): (-1.0, 0.0), (INF, 1.0): (1.0, 0.0), (2.0, -INF): (0.0, -1.0)},
    # JAX gives NaN for two -inf, and 1 and e**1 for (inf, 1).
    fnp.logaddexp: {(-INF, -INF): (0.5, 0.5), (INF, 1.0): (1.0, 0.0), (-INF, 0.0): (0.0, 1.0), (0.0, -INF): (1.0, 0.0)},
    # JAX gives NaN by x at (0, 0), although x**0 is one everywhere.
    fnp.power: {
        (0.0, 0.0): (0.0, 0.0), (0.0, 1.0): (1.0, 0.0), (0.0, 2.0): (0.0, 0.0), (0.0, 0.5): (INF, 0.0),
        (0.0, -1.0): (-INF, NAN), (-2.0, 3.0): (12.0, NAN), (INF, 1.0): (1.0, INF), (-2.0, 0.5): (NAN, NAN),
    },
    fnp.remainder: {(1.0, 1.0): (1.0, -1.0), (-2.0, 3.0): (1.0, 1.0), (1.0, INF): (1.0, 0.0), (0.0, -2.0): (1.0, 0.0)},
    fnp.fmod: {(1.0, 1.0): (1.0, -1.0), (-2.0, 0.5): (1.0, 4.0), (1.0, INF): (1.0, 0.0)},
    fnp.floor_divide: {(1.0, 0.0): (0.0, 0.0), (-2.0, 0.5): (0.0, 0.0), (INF, 1.0): (0.0, 0.0)},
    fnp.nextafter: {(0.0, 1.0): (0.0, 0.0), (1.0, 1.0): (0.0, 0.0)},
    fnp.divide: {(1.0, 0.0): (INF, -INF), (1.0, INF): (0.0, 0.0)},
    special.xlogy: {(0.0, 0.0): (-INF, NAN), (0.0, 2.0): (np.log(2.0), 0.0), (1.0, 0.0): (-INF, INF)},
    special.xlog1py: {(0.0, -1.0): (-INF, NAN), (0.0, 1.0): (np.log(2.0), 0.0)},
    special.rel_entr: {(0.0, 1.0): (0.0, 0.0), (1.0, 0.0): (0.0, 0.0), (1.0, 1.0): (1.0, -1.0)},
    special.kl_div: {(0.0, 0.0): (-1.0, 1.0), (1.0, 1.0): (0.0, 0.0)},
}  # fmt: skip


@pytest.mark.parametrize("function", CONVENTIONS, ids=lambda f: f.__name__)
def test_conventions(function: Any) -> None:
    for point, want in CONVENTIONS[function].items():
        for transform in (lambda f: f, fdl.jit):
            got = transform(fdl.grad(function, (0, 1)))(*map(np.asarray, point))
            np.testing.assert_allclose([float(g) for g in got], want, rtol=1e-15, err_msg=f"at {point}")


def test_products_with_logarithms_of_nan() -> None:
    """As in SciPy, NaN wins over the factor zero."""
    for f in (special.xlogy, special.xlog1py):
        assert np.isnan(np.asarray(f(np.asarray(0.0), np.asarray(np.nan, float))))
        assert f(np.asarray(0.0), np.asarray(2.0)).item() == 0.0


@pytest.mark.parametrize("name", ["sqrt", "rsqrt", "log", "reciprocal"])
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_poles_at_zero_have_the_sign_of_jax(name: str, zero: float) -> None:
    want = {"sqrt": np.copysign(INF, zero), "rsqrt": -INF, "log": np.copysign(INF, zero), "reciprocal": -INF}[name]
    assert float(fdl.grad(UNARY[name].function)(np.asarray(zero, float))) == want
