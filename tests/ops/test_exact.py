"""Functions whose result the format holds exactly give it, eager and compiled, whatever the processor's vectors are."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.compile.llvm.target import host_target
from fdl.core.interpret import evaluate
from fdl.ops import sigmoid, transcendental, trigonometric
from tests.compile.test_vecmath import compiled


def two(exponents, dtype):
    return np.ldexp(np.ones(len(exponents), dtype), exponents)


def cases(name, dtype):
    """Operands and results; every operation on them is one of integers, so NumPy's are exact too."""
    info = np.finfo(dtype)
    exponents = np.arange(info.minexp - info.nmant, info.maxexp)
    if name == "cbrt":
        roots = np.arange(1, int(2 ** ((info.nmant + 1) / 3)) + 1).astype(dtype)
        roots = np.concatenate([roots, *(two(np.arange(-48, 42), dtype) * r for r in (1, 3, 5, 7, 255)), -roots])
        with np.errstate(over="ignore", under="ignore"):
            cubes = roots * roots * roots
        whole = (cubes / roots / roots == roots) & np.isfinite(cubes) & (np.abs(cubes) >= info.tiny)
        yield (cubes[whole],), roots[whole]
        smallest = np.arange(-(-exponents[0] // 3) * 3, -40, 3)  # subnormal cubes among them
        yield (two(smallest, dtype),), two(smallest // 3, dtype)
    elif name == "exp2":
        yield (exponents.astype(dtype),), two(exponents, dtype)
    elif name == "log2":
        yield (two(exponents, dtype),), exponents.astype(dtype)
    elif name == "log10":
        tens = range(11 if dtype == np.float32 else 23)
        yield (np.array([10**t for t in tens], dtype),), np.array(tens, dtype)
    elif name == "hypot":
        triples = np.array([(3, 4, 5), (5, 12, 13), (8, 15, 17), (7, 24, 25), (20, 21, 29), (99, 20, 101), (0, 1, 1)])
        some = np.concatenate([triples * f for f in (1, 3, 7, 1001, 40001)])
        high = info.maxexp - 24
        for scale in (-high, -high // 2, -20, 0, 20, high // 2, high):
            x, y, length = np.ldexp(some.astype(dtype), scale).T
            yield (x, -y), length
    elif name == "pow":
        x = np.arange(-3000, 3001)
        for exponent in (1, 2, 3, 4, 5, 7, 11):
            bases = x[np.abs(x) < 2 ** ((info.nmant + 1) / exponent)]
            yield (bases.astype(dtype), np.full(len(bases), exponent, dtype)), (bases**exponent).astype(dtype)
        tens = range(11 if dtype == np.float32 else 23)
        yield (np.full(len(tens), 10, dtype), np.array(tens, dtype)), np.array([10**t for t in tens], dtype)
        yield (np.full(len(exponents), 2, dtype), exponents.astype(dtype)), two(exponents, dtype)
        rng = np.random.default_rng(0)
        for exponent in (2, 3, 6) if dtype == np.float64 else ():
            odd, power = rng.integers(1, int(2 ** (53 / exponent)), 20000), rng.integers(-900, 900, 20000) // exponent
            bases = np.ldexp(odd.astype(dtype), power)
            yield (bases, np.full(20000, exponent, dtype)), np.ldexp((odd**exponent).astype(dtype), exponent * power)
        squares = np.arange(4000)
        yield ((squares**2).astype(dtype), np.full(4000, 0.5, dtype)), squares.astype(dtype)


def operation(name):
    places = (transcendental, trigonometric, sigmoid)
    return next(found for place in places if (found := getattr(place, "pow_" if name == "pow" else name, None)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["cbrt", "exp2", "log2", "log10", "hypot", "pow"])
def test_exact_results(name, dtype):
    for operands, want in cases(name, dtype):
        np.testing.assert_array_equal(evaluate(operation(name), operands)[0], want)
        for cpu, lanes in (("native", 8), ("native", 1), ("x86-64-v3", 4), ("x86-64", 2)):
            found = compiled(name, dtype, len(operands), lanes, host_target(cpu))(*operands)
            np.testing.assert_array_equal(found, want, f"{cpu}, {lanes} lanes")


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_the_modulus_of_whole_complex_numbers(dtype):
    (x, y), length = next(cases("hypot", np.zeros(0, dtype).real.dtype.type))
    np.testing.assert_array_equal(fnp.abs(fnp.asarray(x + 1j * y, dtype)), length)


@pytest.mark.parametrize("name", ["exp", "expm1", "log1p", "sin", "tanh", "pow", "atan2", "asin", "cosh"])
def test_references_in_float32_are_rounded_from_float64(name, rng):
    """Within half a unit in the last place, which NumPy's own float32 functions are not for wide vectors."""
    function = operation(name)
    operands = [rng.uniform(0.05, 0.95, 20000).astype(np.float32) for _ in range(function.arity)]
    near = evaluate(function, [v.astype(np.float64) for v in operands])[0]
    found = evaluate(function, operands)[0]
    assert found.dtype == np.float32
    assert (np.abs(found - near) <= 0.5001 * np.spacing(np.abs(found))).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ratios_that_are_powers_of_ten(dtype):
    start, stop = np.asarray(1, dtype), np.asarray(1e6, dtype)
    for found in (fnp.geomspace(start, stop, 7), fdl.jit(lambda x: fnp.geomspace(x, stop, 7))(start)):
        np.testing.assert_allclose(found, 10.0 ** np.arange(7), np.finfo(dtype).eps * 40)
        assert [found[0], found[-1]] == [start, stop]
    np.testing.assert_array_equal(fnp.geomspace(np.float32(1), np.float32(256), 9), 2.0 ** np.arange(9))
