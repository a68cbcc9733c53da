"""Vector mathematics: errors in units in the last place against extended precision, and the special values."""

import math

import mpmath as mp
import numpy as np
import pytest
from llvmlite import ir

from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.target import host_target
from fdl.compile.llvm.values import I64, POINTER
from fdl.errors import DtypeError
from tests.compile.native import native

#: name: largest error in ulp for float32, float64, and the interval tested.
UNARY = {
    "exp": (1.1, 1.1, -750, 715), "exp2": (1.1, 1.1, -1080, 1030), "expm1": (2, 2, -50, 715),
    "log": (1.5, 1.5, 0, np.inf), "log2": (2, 2, 0, np.inf), "log10": (3, 3, 0, np.inf),
    "log1p": (1.5, 1.5, -1, np.inf),
    "tanh": (3, 3, -30, 30), "logistic": (3, 3, -750, 750), "sinh": (3, 3, -715, 715), "cosh": (3, 3, -715, 715),
    "asinh": (2, 2, -np.inf, np.inf), "acosh": (2.5, 2.5, 1, np.inf), "atanh": (2.5, 2.5, -1, 1),
    "erf": (1.5, 1.5, -7, 7), "erfc": (5, 5, -7, 28), "cbrt": (1, 1, -np.inf, np.inf),
    "sin": (1, 1, -np.inf, np.inf), "cos": (1, 1, -np.inf, np.inf), "tan": (2.5, 2.5, -np.inf, np.inf),
    "asin": (2.5, 2.5, -1, 1), "acos": (1.5, 1.5, -1, 1), "atan": (2.5, 2.5, -np.inf, np.inf),
}  # fmt: skip
EXTENDED = np.finfo(np.longdouble).nmant > 52


def compiled(name, dtype, arity=1, lanes=8, target=None):
    """The function as a NumPy ufunc on arrays whose length is a multiple of `lanes`."""
    target, module = target or host_target(), ir.Module("test")
    function = new_function(module, "run", [POINTER] * (arity + 1) + [I64], exported=True)
    b = Build(module, target, function)
    with b.loop(0, b.argument(arity + 1, "int64"), lanes) as i:
        operands = [b.load(b.argument(j), dtype, i, lanes) for j in range(arity)]
        b.store(b.call(name, *operands), b.argument(arity), i)
    b.ret()
    call = native(module, target, "run", arity + 1, 1)

    def run(*arrays):
        size = max(np.size(a) for a in arrays)
        padded = [np.resize(np.asarray(a, dtype), -(-size // lanes) * lanes) for a in arrays]
        result = np.empty_like(padded[0])
        call(*padded, result, len(result))
        return result[:size]

    return run


def exact(name, x, dtype):
    """The function in more digits than `dtype` has."""
    if name in ("erf", "erfc"):
        return np.array([getattr(math, name)(v) for v in x.tolist()])
    x = x.astype(np.longdouble if dtype == np.float64 else np.float64)
    if name == "logistic":
        return 1 / (1 + np.exp(-x))
    alias = {"asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh", "asin": "arcsin", "acos": "arccos"}
    alias |= {"atan": "arctan", "atan2": "arctan2", "pow": "power"}
    return getattr(np, alias.get(name, name))(x)


def ulps(got, want):
    dtype = got.dtype
    with np.errstate(over="ignore"):
        near = np.asarray(want, dtype)
    finite = np.isfinite(near)
    same = np.isnan(got) & np.isnan(near) | (got == near)
    assert same[~finite].all() or (np.abs(want[~finite & ~same]) < 2.0 * np.finfo(dtype).max).all()
    assert np.isfinite(got[finite & (np.abs(near) < 0.999999 * np.finfo(dtype).max)]).all()
    finite &= np.isfinite(got)
    unit = np.spacing(np.abs(near[finite]))
    return np.abs((got[finite].astype(want.dtype) - want[finite]) / unit)


def inputs(low, high, dtype, count=40000):
    """Numbers of every size in the interval, denser near 0 and 1 and at its ends."""
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2 ** (8 * np.dtype(dtype).itemsize), count, dtype=f"uint{8 * np.dtype(dtype).itemsize}")
    some = [bits.view(dtype), rng.uniform(-3, 3, count), rng.normal(1, 1e-3, count), rng.normal(0, 1e-5, count)]
    some += [rng.uniform(-100, 100, count), rng.uniform(max(low, -1e6), min(high, 1e6), count)]
    with np.errstate(all="ignore"):
        x = np.concatenate([s.astype(dtype) for s in some])
    return x[(x >= low) & (x <= high)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", UNARY)
def test_error_over_the_range(name, dtype):
    single, double, low, high = UNARY[name]
    x = inputs(low, high, dtype, 4000 if name.startswith("erf") else 40000)
    with np.errstate(all="ignore"):
        want = exact(name, x, dtype)
    error = ulps(compiled(name, dtype)(x), want).max()
    double += 1.0 if name.startswith("erf") or not EXTENDED else 0.0
    assert error <= (single if dtype == np.float32 else double)


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("cpu", ["x86-64", "x86-64-v3"])
def test_other_processors_lose_at_most_one_more_ulp(name, cpu):
    single, double, low, high = UNARY[name]
    dtype, bound = (np.float32, single) if len(name) % 2 else (np.float64, double)
    x = inputs(low, high, dtype, 2000)
    with np.errstate(all="ignore"):
        want = exact(name, x, dtype)
    error = ulps(compiled(name, dtype, lanes=2, target=host_target(cpu))(x), want).max()
    assert error <= bound + (2.0 if name.startswith("erf") or not EXTENDED else 1.0)


SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    2.0,
    -2.0,
    3.0,
    -3.0,
    np.inf,
    -np.inf,
    np.nan,
    5e-324,
    -5e-324,
    1e308,
    -1e308,
]
SPECIAL += [1e-40, -1e-40, 3e38, 2.5, -2.5, 1e20, -1e20, 9007199254740993.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [n for n in UNARY if n not in ("erf", "erfc", "logistic")])
def test_special_values(name, dtype):
    with np.errstate(all="ignore"):
        x = np.array(SPECIAL, dtype)
        want = exact(name, x, dtype).astype(dtype)
    got = compiled(name, dtype)(x)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    zero = ~np.isnan(want) & ((want == 0) | np.isinf(want))
    np.testing.assert_array_equal(got[zero], want[zero])
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["asin", "acos"])
def test_inverse_sines_next_to_one_and_where_formulas_meet(name, dtype):
    steps = 2.0 ** -np.arange(1, np.finfo(dtype).nmant + 2)
    x = np.concatenate([1 - steps, 0.5 - steps, 0.5 + steps / 2, steps, [0.0, 1.0]]).astype(dtype)
    x = np.concatenate([x, -x])
    assert ulps(compiled(name, dtype)(x), exact(name, x, dtype)).max() <= (2.5 if name == "asin" else 1.5)
    beyond = np.array([np.nextafter(dtype(1), dtype(2)), -1.5, np.inf, -np.inf, np.nan], dtype)
    assert np.isnan(compiled(name, dtype)(beyond)).all()


def test_special_values_of_error_functions_and_logistic():
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 30.0, -30.0, 1e300])
    np.testing.assert_array_equal(compiled("erf", np.float64)(x), [0.0, -0.0, 1, -1, np.nan, 1, -1, 1])
    np.testing.assert_array_equal(compiled("erfc", np.float64)(x), [1, 1, 0, 2, np.nan, 0, 2, 0])
    np.testing.assert_array_equal(compiled("logistic", np.float64)(x)[:5], [0.5, 0.5, 1, 0, np.nan])
    assert np.signbit(compiled("erf", np.float32)(x[:2])).tolist() == [False, True]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["pow", "atan2", "hypot"])
def test_functions_of_two_arguments(name, dtype):
    rng = np.random.default_rng(2)
    x, y = (v.ravel() for v in np.meshgrid(np.array(SPECIAL), np.array(SPECIAL)))
    random = [np.exp(rng.uniform(-50, 50, 20000)), rng.uniform(-14, 14, 20000)]
    near = [rng.normal(1, 1e-4, 20000), rng.normal(0, 1e4, 20000)]
    with np.errstate(all="ignore"):
        x, y = (np.concatenate(v).astype(dtype) for v in zip((x, y), random, near, strict=True))
        long = [v.astype(np.longdouble if dtype == np.float64 else np.float64) for v in (x, y)]
        want = {"pow": np.power, "atan2": np.arctan2, "hypot": np.hypot}[name](*long)
        near_value = want.astype(dtype)
    got = compiled(name, dtype, 2)(x, y)
    edge = np.isnan(near_value) | np.isinf(near_value) | (near_value == 0)
    np.testing.assert_array_equal(got[edge], near_value[edge])
    np.testing.assert_array_equal(np.signbit(got[edge & ~np.isnan(got)]), np.signbit(near_value[edge & ~np.isnan(got)]))
    bound = {"pow": 1.0, "atan2": 2.5, "hypot": 0.501}[name]
    assert ulps(got[~edge], want[~edge]).max() <= bound + (0 if EXTENDED else 1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_the_rounded_single_precision_result(dtype):
    import ml_dtypes

    dtype = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    x = np.linspace(-4, 4, 1001).astype(dtype)
    want = compiled("tanh", np.float32)(x.astype(np.float32)).astype(dtype)
    np.testing.assert_array_equal(compiled("tanh", dtype)(x), want)


def test_one_function_serves_every_call():
    target, module = host_target(), ir.Module("test")
    b = Build(module, target, new_function(module, "f", [ir.DoubleType()], exported=True))
    x = b.argument(0, "float64")
    b.call("sin", b.call("sin", x))
    assert [name for name in module.globals if name.startswith("math.sin")] == ["math.sin.float64x1"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("name", "exact", "roots"),
    [("lgamma", mp.loggamma, [1.0, 2.0]), ("digamma", mp.digamma, [1.4616321449683622]), ("erf_inv", mp.erfinv, [0.0])],
)
def test_few_digits_are_lost_next_to_roots(name, exact, roots, dtype):
    """And where one formula takes over from another: functions of which other libraries bound the absolute error."""
    steps = np.concatenate([[0, 1, 3], 2.0 ** np.arange(3, np.finfo(dtype).nmant - 1)]) * np.finfo(dtype).eps
    places = [*roots, *((0.5, 0.75) if name == "erf_inv" else (0.5, 3.0, 4.0, 7.0, 8.0))]
    x = np.concatenate([sign * steps * (p or 1) + p for p in places for sign in (-1, 1)]).astype(dtype)
    found = compiled(name, dtype)(x).astype(np.float64)
    with mp.workprec(200):
        error = [abs(exact(mp.mpf(v)) - mp.mpf(f)) for v, f in zip(x.tolist(), found.tolist(), strict=True)]
    unit = np.spacing(np.abs(found).astype(dtype)).astype(np.float64)
    assert (np.array(error, np.float64) / unit).max() <= 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cpu", ["x86-64", "x86-64-v3"])
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_angles_next_to_multiples_of_a_right_angle(name, cpu, dtype):
    """Where what is left of the angle has the fewest digits, on both sides of where another method takes over."""
    turns = np.concatenate([np.arange(1, 200), np.arange(10400, 10460), 2**20 + np.arange(-40, 40)]).astype(float)
    x = (turns * (np.pi / 2)).astype(dtype)
    x = np.concatenate([x, np.nextafter(x, dtype(0)), -np.nextafter(x, dtype(1e9))])
    found = compiled(name, dtype, target=host_target(cpu))(x)
    with mp.workprec(200):
        want = [getattr(mp, name)(mp.mpf(v)) for v in x.tolist()]
        error = [abs(w - mp.mpf(f)) for w, f in zip(want, found.tolist(), strict=True)]
    unit = np.spacing(np.abs(found)).astype(np.float64)
    assert (np.array(error, np.float64) / unit).max() <= (2.5 if name == "tan" else 1) + (cpu == "x86-64")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_derivative_of_digamma(dtype):
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.uniform(0, 9, 300), rng.uniform(-6, 0, 300), np.exp(rng.uniform(-30, 60, 300))])
    x = np.concatenate([x, np.arange(1, 10), np.nextafter(8, [0, 9])]).astype(dtype)
    found = compiled("trigamma", dtype)(x)
    with mp.workprec(200):
        error = [abs(mp.psi(1, mp.mpf(v)) - mp.mpf(f)) for v, f in zip(x.tolist(), found.tolist(), strict=True)]
    assert (np.array(error, np.float64) / np.spacing(found).astype(np.float64)).max() <= 5
    edges = compiled("trigamma", dtype)(np.array([0.0, -0.0, -1.0, -7.0, np.inf, -np.inf, np.nan, -1e-30]))
    np.testing.assert_array_equal(edges[:7], [np.inf] * 4 + [0.0, np.inf, np.nan])
    assert edges[7] == np.inf if dtype == np.float32 else abs(edges[7] / 1e60 - 1) < 1e-14


def test_what_is_not_offered_is_said():
    target, module = host_target(), ir.Module("test")
    b = Build(module, target, new_function(module, "f", [I64], exported=True))
    assert b.supports("exp", "float32")
    assert not b.supports("zeta", "float32")
    assert not b.supports("exp", "int32")
    with pytest.raises(DtypeError, match="exp of dtype int64"):
        b.call("exp", b.argument(0, "int64"))
