"""Elementwise functions against NumPy, over dtypes and awkward numbers."""

import numpy as np
import pytest

import fdl.numpy as fnp

SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -2.5, 1e-3, 40.0, -40.0, np.inf, -np.inf, np.nan])
DTYPES = ["float32", "float64"]

UNARY = [
    "abs",
    "absolute",
    "fabs",
    "sign",
    "square",
    "sqrt",
    "cbrt",
    "exp",
    "exp2",
    "expm1",
    "log",
    "log1p",
    "log2",
    "log10",
    "sin",
    "cos",
    "tan",
    "arcsin",
    "arccos",
    "arctan",
    "sinh",
    "cosh",
    "tanh",
    "arcsinh",
    "arccosh",
    "arctanh",
    "floor",
    "ceil",
    "trunc",
    "rint",
    "positive",
    "negative",
    "reciprocal",
    "isnan",
    "isinf",
    "isfinite",
    "signbit",
    "degrees",
    "radians",
    "deg2rad",
    "rad2deg",
    "sinc",
    "isposinf",
    "isneginf",
    "nan_to_num",
    "i0",
    "spacing",
    "angle",
    "real",
    "imag",
    "conj",
    "logical_not",
]
BINARY = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "true_divide",
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "arctan2",
    "hypot",
    "logaddexp",
    "logaddexp2",
    "copysign",
    "nextafter",
    "remainder",
    "mod",
    "fmod",
    "heaviside",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "logical_and",
    "logical_or",
    "logical_xor",
    "float_power",
]


def tolerance(dtype: str) -> float:
    return 2e-5 if dtype == "float32" else 1e-12


def check(actual: object, expected: np.ndarray, rtol: float) -> None:
    actual = np.asarray(actual)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected.astype(actual.dtype), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_unary_agrees_with_numpy(name: str, dtype: str, rng: np.random.Generator) -> None:
    x = np.concatenate([SPECIAL, rng.normal(size=30) * 3]).astype(dtype)
    if name == "i0":
        x = x[np.isfinite(x)]
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x.astype(np.float64) if name not in ("spacing", "nan_to_num") else x)
    check(getattr(fnp, name)(x), np.asarray(expected), tolerance(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BINARY)
def test_binary_agrees_with_numpy(name: str, dtype: str, rng: np.random.Generator) -> None:
    x, y = np.meshgrid(SPECIAL, np.concatenate([SPECIAL, rng.normal(size=5)]))
    x, y = x.astype(dtype), y.astype(dtype)
    if name in ("remainder", "mod"):
        keep = np.isfinite(x) & np.isfinite(y) & (y != 0)
        x, y = x[keep], y[keep]
    if name == "float_power":
        x, y = x.astype(np.float64), y.astype(np.float64)
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x, y)
    check(getattr(fnp, name)(x, y), expected, 1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint8", "uint32", "int64"])
@pytest.mark.parametrize(
    "name",
    [
        "add",
        "subtract",
        "multiply",
        "maximum",
        "minimum",
        "floor_divide",
        "remainder",
        "fmod",
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
        "gcd",
        "lcm",
        "equal",
        "less",
        "power",
        "left_shift",
        "right_shift",
    ],
)
def test_integer_functions_agree_with_numpy(name: str, dtype: str, rng: np.random.Generator) -> None:
    low = 0 if dtype[0] == "u" else -20
    x, y = rng.integers(low, 20, (2, 200)).astype(dtype)
    if name in ("floor_divide", "remainder", "fmod"):
        y = np.where(y == 0, 3, y).astype(dtype)
    if name in ("power", "left_shift", "right_shift"):
        y = np.abs(y % np.array(7, dtype))
    if name == "lcm":
        x, y = x % np.array(5, dtype), y % np.array(5, dtype)
    actual = np.asarray(getattr(fnp, name)(x, y))
    expected = getattr(np, name)(x, y)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["exp", "log", "tanh", "sqrt", "sin", "square", "floor", "abs"])
def test_half_precision_is_rounded_once(name: str, dtype: str) -> None:
    x = fnp.array([0.1, 0.7, 1.3, 3.0], dtype)
    expected = getattr(np, name)(np.asarray(x).astype(np.float64))
    actual = getattr(fnp, name)(x)
    assert actual.dtype == getattr(fnp, dtype)
    np.testing.assert_allclose(
        np.asarray(actual).astype(float), expected, rtol=2**-8 if dtype == "bfloat16" else 2**-11
    )


@pytest.mark.parametrize(
    "name",
    [
        "exp",
        "log",
        "sqrt",
        "sin",
        "cos",
        "tan",
        "tanh",
        "sinh",
        "cosh",
        "square",
        "reciprocal",
        "conj",
        "abs",
        "angle",
        "rint",
    ],
)
def test_complex_agrees_with_numpy(name: str, rng: np.random.Generator) -> None:
    x = rng.normal(size=20) + 1j * rng.normal(size=20)
    np.testing.assert_allclose(np.asarray(getattr(fnp, name)(x)), getattr(np, name)(x), rtol=1e-12, atol=1e-12)


def test_integers_become_the_default_float() -> None:
    assert fnp.exp(2).dtype == fnp.float32
    assert fnp.exp(fnp.arange(3, dtype="int64")).dtype == fnp.float32
    assert (fnp.array(1) / fnp.array(2)).dtype == fnp.float32
    assert fnp.floor(fnp.array([1, 2])).dtype == fnp.int32


@pytest.mark.parametrize("exponent", [-3, -1, 0, 1, 2, 3, 7, 0.5, 1.5, -0.5, 2.0])
def test_powers_of_python_numbers(exponent: float) -> None:
    x = np.array([0.5, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(np.asarray(fnp.array(x) ** exponent), x**exponent, rtol=1e-13)
    np.testing.assert_allclose(
        np.asarray(exponent ** fnp.array(x) if exponent > 0 else 1.0), exponent**x if exponent > 0 else 1.0
    )


def test_floor_division_and_remainder_of_floats(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(2, 300)) * 10
    np.testing.assert_allclose(np.asarray(fnp.floor_divide(x, y)), x // y)
    np.testing.assert_allclose(np.asarray(fnp.remainder(x, y)), x % y, rtol=1e-12, atol=1e-12)
    quotient, rest = fnp.divmod(x, y)
    np.testing.assert_allclose(np.asarray(quotient * y + rest), x, rtol=1e-9)
    assert fnp.floor_divide(5.0, 0.0) == np.inf
    assert fnp.remainder(5, 0) == 0


@pytest.mark.parametrize("decimals", [-1, 0, 1, 3])
def test_round(decimals: int) -> None:
    x = np.array([0.5, 1.5, 2.345, -17.26, 125.0])
    np.testing.assert_allclose(np.asarray(fnp.round(x, decimals)), np.round(x, decimals), rtol=1e-13)
    whole = np.array([15, 25, -14])
    np.testing.assert_array_equal(np.asarray(fnp.round(whole, decimals)), np.round(whole, decimals))


def test_frexp_ldexp_and_modf_take_numbers_apart_and_together(rng: np.random.Generator) -> None:
    for dtype in (np.float32, np.float64):
        x = np.concatenate(
            [rng.normal(size=50) * 1e3, [0.0, -0.0, 1.0, 2.0, np.inf, np.nan, np.finfo(dtype).tiny / 8]]
        ).astype(dtype)
        mantissa, exponent = fnp.frexp(x)
        expected = np.frexp(x)
        np.testing.assert_array_equal(np.asarray(mantissa), expected[0])
        finite = np.isfinite(x)
        np.testing.assert_array_equal(np.asarray(exponent)[finite], expected[1][finite])
        np.testing.assert_array_equal(
            np.asarray(fnp.ldexp(mantissa, exponent))[finite & (np.abs(x) > 1e-30)], x[finite & (np.abs(x) > 1e-30)]
        )
        for mine, theirs in zip(fnp.modf(x), np.modf(x), strict=True):
            np.testing.assert_array_equal(np.asarray(mine), theirs)


def test_clip_and_nan_to_num() -> None:
    x = np.array([-2.0, 0.0, 3.0])
    np.testing.assert_array_equal(np.asarray(fnp.clip(x, -1, 1)), [-1, 0, 1])
    np.testing.assert_array_equal(np.asarray(fnp.clip(x, max=1)), [-2, 0, 1])
    np.testing.assert_array_equal(np.asarray(fnp.clip(x, min=0)), [0, 0, 3])
    small = np.array([-100, 5, 100], np.int8)
    for bounds, expected in (((-1000, 1000), small), ((300, None), [127] * 3), ((0, -999), [-128] * 3)):
        np.testing.assert_array_equal(np.asarray(fnp.clip(small, *bounds)), expected)
    np.testing.assert_array_equal(
        np.asarray(fnp.nan_to_num(np.array([np.nan, np.inf, -np.inf]), nan=1, posinf=2, neginf=3)), [1, 2, 3]
    )


def test_isclose_counts_infinities_and_nan() -> None:
    a = np.array([1.0, 1.0, np.inf, np.inf, np.nan, 0.0])
    b = np.array([1.0 + 1e-6, 1.1, np.inf, -np.inf, np.nan, 1e-9])
    for equal_nan in (False, True):
        np.testing.assert_array_equal(
            np.asarray(fnp.isclose(a, b, equal_nan=equal_nan)), np.isclose(a, b, equal_nan=equal_nan)
        )
    assert fnp.allclose(a[:1], b[:1]) and not fnp.allclose(a, b)
    assert fnp.array_equal(a[:4], a[:4]) and not fnp.array_equal(a, a) and fnp.array_equal(a, a, equal_nan=True)
    assert not fnp.array_equal(a, a[:2]) and fnp.array_equiv(np.ones((2, 3)), np.ones(3))


def test_bits() -> None:
    x = np.array([0, 1, -1, 7, -128], np.int8)
    np.testing.assert_array_equal(np.asarray(fnp.invert(x)), ~x)
    np.testing.assert_array_equal(np.asarray(fnp.bitwise_count(x)), np.bitwise_count(x))
    for order in ("big", "little"):
        for axis in (None, 0, 1):
            bits = np.arange(2 * 11).reshape(2, 11) % 3 == 0
            packed = np.packbits(bits, axis, order)
            np.testing.assert_array_equal(np.asarray(fnp.packbits(bits, axis, order)), packed)
            np.testing.assert_array_equal(
                np.asarray(fnp.unpackbits(packed, axis, bitorder=order)), np.unpackbits(packed, axis, bitorder=order)
            )
