"""The typed builder: every operation on every dtype against NumPy."""

import itertools
import math
import re

import ml_dtypes
import numpy as np
import pytest
from llvmlite import ir

from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.target import host_target
from fdl.compile.llvm.values import I64, POINTER
from fdl.errors import DtypeError
from tests.compile.native import native

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
INTEGERS = [np.dtype(f"{sign}int{bits}") for sign, bits in itertools.product(("", "u"), (8, 16, 32, 64))]
FLOATS = [np.dtype("float32"), np.dtype("float64"), np.dtype("float16"), BFLOAT16]
NUMBERS = [*INTEGERS, *FLOATS]
BOOL = np.dtype(bool)
LANES = 4


def interesting(dtype):
    """Values at the edges of a dtype, as many as a multiple of the lanes."""
    dtype = np.dtype(dtype)
    if dtype == BOOL:
        return np.array([True, False, True, True])
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        values = [0, 1, 2, 3, 5, 7, 100, info.max, info.max - 1, info.min, info.min + 1, info.max // 2]
        return np.array(values + [(-v) & info.max if dtype.kind == "u" else -v for v in values[1:9]], dtype)
    values = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 3.0, 7.25, 1e-3, -1e4, 1e-7, 300.0]
    return np.array([*values, np.inf, -np.inf, np.nan, 65504.0], dtype)


def run(body, *arrays, result):
    """Compile a loop that stores `body(build, *values)`, one vector after the other."""
    target, module = host_target(), ir.Module("test")
    function = new_function(module, "run", [POINTER] * (len(arrays) + 1) + [I64], exported=True)
    b = Build(module, target, function)
    with b.loop(0, b.argument(len(arrays) + 1, "int64"), LANES) as i:
        values = [b.load(b.argument(j), a.dtype, i, LANES) for j, a in enumerate(arrays)]
        made = body(b, *values)
        assert made.dtype == np.dtype(result)
        b.store(made, b.argument(len(arrays)), i)
    b.ret()
    out = np.empty(len(arrays[0]), result)
    assert len(out) % LANES == 0
    native(module, target, "run", len(arrays) + 1, 1)(*map(np.ascontiguousarray, arrays), out, len(out))
    return out


def pairs(dtype):
    x = interesting(dtype)
    left, right = np.meshgrid(x, x)
    return left.ravel(), right.ravel()


def same(got, want):
    want = np.array(want, got.dtype) if isinstance(want, list) else np.asarray(want).astype(got.dtype)
    np.testing.assert_array_equal(
        got.astype(np.float64) if got.dtype == BFLOAT16 else got,
        want.astype(np.float64) if got.dtype == BFLOAT16 else want,
    )


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
@pytest.mark.parametrize("name", ["add", "sub", "mul", "max", "min"])
def test_arithmetic(name, dtype):
    x, y = pairs(dtype)
    ufunc = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "max": np.maximum, "min": np.minimum}[name]
    with np.errstate(all="ignore"):
        want = ufunc(x, y)
    same(run(lambda b, u, v: getattr(b, name)(u, v), x, y, result=dtype), want)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_float_division_and_remainder(dtype):
    x, y = pairs(dtype)
    with np.errstate(all="ignore"):
        same(run(lambda b, u, v: u / v, x, y, result=dtype), x / y)
        same(run(lambda b, u, v: b.rem(u, v), x, y, result=dtype), np.fmod(x, y))


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integer_division_truncates_and_never_traps(dtype):
    x, y = pairs(dtype)
    info, quotients, rests = np.iinfo(dtype), [], []
    for a, b in zip(x.tolist(), y.tolist(), strict=True):
        q = (abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1) if b else -1
        quotients.append(q & (2**info.bits - 1))
        rests.append((a - q * b if b else a) & (2**info.bits - 1))
    unsigned = np.dtype(f"uint{info.bits}")
    same(run(lambda b, u, v: u / v, x, y, result=dtype), np.array(quotients, unsigned).view(dtype))
    same(run(lambda b, u, v: b.rem(u, v), x, y, result=dtype), np.array(rests, unsigned).view(dtype))


@pytest.mark.parametrize("dtype", [*NUMBERS, BOOL], ids=str)
def test_comparisons_and_select(dtype):
    x, y = pairs(dtype)
    for name, ufunc in [
        ("eq", np.equal),
        ("ne", np.not_equal),
        ("lt", np.less),
        ("le", np.less_equal),
        ("gt", np.greater),
        ("ge", np.greater_equal),
    ]:
        with np.errstate(invalid="ignore"):
            want = ufunc(x, y)
        same(run(lambda b, u, v, name=name: getattr(b, name)(u, v), x, y, result=bool), want)
    with np.errstate(invalid="ignore"):
        smaller = np.where(x < y, x, y)
    same(run(lambda b, u, v: b.select(u < v, u, v), x, y, result=dtype), smaller)


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_unary(dtype):
    x = interesting(dtype)
    with np.errstate(all="ignore"):
        same(run(lambda b, u: -u, x, result=dtype), -x)
        same(run(lambda b, u: b.abs(u), x, result=dtype), np.abs(x))
        same(run(lambda b, u: b.sign(u), x, result=dtype), np.sign(x))
        same(run(lambda b, u: b.is_finite(u), x, result=bool), np.isfinite(x))
        same(run(lambda b, u: b.clamp(0, u, 3), x, result=dtype), np.clip(x, dtype.type(0), dtype.type(3)))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_rounding_and_roots(dtype):
    x = interesting(dtype)
    single = x.astype(np.float64)
    with np.errstate(all="ignore"):
        for name, exact in [("floor", np.floor), ("ceil", np.ceil), ("trunc", np.trunc), ("round_half_even", np.rint)]:
            same(run(lambda b, u, name=name: getattr(b, name)(u), x, result=dtype), exact(single).astype(dtype))
        away = np.copysign(np.floor(np.abs(single) + 0.5), single)
        same(run(lambda b, u: b.round_half_away(u), x, result=dtype), away.astype(dtype))
        same(run(lambda b, u: b.sqrt(u), x, result=dtype), np.sqrt(x))
        got = run(lambda b, u: b.rsqrt(u), x, result=dtype).astype(np.float64)
        np.testing.assert_allclose(got, 1 / np.sqrt(single), rtol=2 * float(ml_dtypes.finfo(dtype).eps))


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_bits(dtype):
    x = interesting(dtype)
    bits = dtype.itemsize * 8
    unsigned = [v & (2**bits - 1) for v in x.tolist()]
    same(run(lambda b, u: b.popcount(u), x, result=dtype), [v.bit_count() for v in unsigned])
    same(run(lambda b, u: b.clz(u), x, result=dtype), [bits - v.bit_length() for v in unsigned])
    same(run(lambda b, u: ~u, x, result=dtype), ~x)
    y = np.resize(np.array([0, 1, 3, bits - 1, bits, bits + 1, 100], dtype), x.size)
    shifts = y.tolist()
    wrap = np.array([(v << s) & (2**bits - 1) for v, s in zip(unsigned, shifts, strict=True)], f"uint{bits}").view(
        dtype
    )
    same(run(lambda b, u, v: b.shift_left(u, v), x, y, result=dtype), wrap)
    logical = np.array([v >> s for v, s in zip(unsigned, shifts, strict=True)], f"uint{bits}").view(dtype)
    same(run(lambda b, u, v: b.shift_right_logical(u, v), x, y, result=dtype), logical)
    signed = x.view(f"int{bits}")
    arithmetic = np.array([v >> s for v, s in zip(signed.tolist(), shifts, strict=True)], f"int{bits}").view(dtype)
    same(run(lambda b, u, v: b.shift_right_arithmetic(u, v), x, y, result=dtype), arithmetic)


def test_logic_of_booleans():
    x, y = pairs(BOOL)
    for name, ufunc in [
        ("and_", np.logical_and),
        ("or_", np.logical_or),
        ("xor", np.logical_xor),
        ("add", np.add),
        ("mul", np.multiply),
    ]:
        same(run(lambda b, u, v, name=name: getattr(b, name)(u, v), x, y, result=bool), ufunc(x, y))
    same(run(lambda b, u: ~u, x, result=bool), ~x)


@pytest.mark.parametrize("source", [*NUMBERS, BOOL], ids=str)
def test_conversion(source):
    x = interesting(source)
    for wanted in [*NUMBERS, BOOL]:
        got = run(lambda b, u, wanted=wanted: b.convert(u, wanted), x, result=wanted)
        if wanted.kind in "iu" and source in FLOATS:
            info = np.iinfo(wanted)
            numbers = x.astype(np.float64).tolist()
            want = [
                0 if math.isnan(v) else info.max if v >= info.max else info.min if v <= info.min else int(v)
                for v in numbers
            ]
        else:
            with np.errstate(all="ignore"):
                want = (
                    x.astype(np.float32).astype(wanted)
                    if wanted == BFLOAT16 and source.kind in "iu"
                    else x.astype(wanted)
                )
        with np.errstate(invalid="ignore"):
            same(got, want)


@pytest.mark.parametrize("cpu", ["native", "x86-64"])
@pytest.mark.parametrize("dtype", [np.dtype("float16"), BFLOAT16], ids=str)
def test_all_half_precision_numbers(dtype, cpu, monkeypatch):
    """Every bit pattern survives, and float32 halfway cases round to even, with and without the instructions."""
    monkeypatch.setenv("FDL_CPU", cpu)
    every = np.arange(2**16, dtype=np.uint16).view(dtype)
    back = run(lambda b, u: b.convert(b.convert(u, "float32"), dtype), every, result=dtype)
    exact = every.astype(np.float32)
    np.testing.assert_array_equal(back.astype(np.float32), exact)
    same(run(lambda b, u: b.convert(u, "float32"), every, result="float32"), exact)
    finite = exact[np.isfinite(exact)]
    middle = (finite[:-1].astype(np.float64) + finite[1:]) / 2
    for x in (middle, np.nextafter(middle, np.inf), np.nextafter(middle, -np.inf)):
        with np.errstate(over="ignore"):
            x = x[: x.size // LANES * LANES].astype(np.float32)
            same(run(lambda b, u: b.convert(u, dtype), x, result=dtype), x.astype(dtype))


def test_float64_to_float16_rounds_once():
    x = np.array(
        [
            1 + 2.0**-11 + 2.0**-40,
            1 + 2.0**-11 - 2.0**-40,
            65520.0,
            65519.999999,
            2.0**-25,
            2.0**-25 + 2.0**-60,
            np.nan,
            -np.inf,
        ]
    )
    with np.errstate(over="ignore"):
        same(run(lambda b, u: b.convert(u, "float16"), x, result="float16"), x.astype(np.float16))


def test_bitcast():
    x = interesting("float32")
    same(run(lambda b, u: b.bitcast(u, "uint32"), x, result="uint32"), x.view(np.uint32))
    h = interesting("float16")
    same(run(lambda b, u: b.bitcast(u, "int16"), h, result="int16"), h.view(np.int16))
    with pytest.raises(DtypeError, match="sizes differ"):
        run(lambda b, u: b.bitcast(u, "uint64"), x, result="uint64")


def test_mixed_dtypes_are_refused():
    with pytest.raises(DtypeError, match="float32 and float64"):
        run(lambda b, u, v: u + v, interesting("float32"), interesting("float64"), result="float32")


@pytest.mark.parametrize("lanes", [1, 2, 8, 16])
@pytest.mark.parametrize("kind", ["sum", "prod", "max", "min"])
def test_horizontal_reduction(kind, lanes):
    target, module = host_target(), ir.Module("test")
    b = Build(module, target, new_function(module, "run", [POINTER, POINTER], exported=True))
    b.store(b.reduce(kind, b.load(b.argument(0), "float64", lanes=lanes)), b.argument(1))
    b.ret()
    x, out = np.arange(1.0, lanes + 1), np.zeros(1)
    native(module, target, "run", 2)(x, out)
    assert out[0] == {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min}[kind](x)


@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "float32", "int64"])
def test_memory_access(dtype):
    """Contiguous, strided, broadcast, gathered and masked, with the bytes beyond a mask untouched."""
    target, module = host_target(), ir.Module("test")
    b = Build(module, target, new_function(module, "run", [POINTER, POINTER], exported=True))
    x, y = b.function.args
    mask = b.first_lanes(3, 4)
    b.store(b.load(x, dtype, 2, 4), y, 0)
    b.store(b.load(x, dtype, 9, 4, stride=-2), y, 4, stride=2)
    b.store(b.load(x, dtype, 5, 4, stride=0), y, 5, stride=2)
    b.store(b.load(x, dtype, b.constants([7, 0, 1, 3], "int64")), y, b.constants([12, 15, 13, 14], "int64"))
    b.store(b.load(x, dtype, 10, 4, mask=mask), y, 16, mask=mask)
    b.store(b.load(x, dtype, 3, 4, stride=2, mask=mask), y, 20)
    b.store(b.load(x, dtype, 1, 4), y, 24, stride=2, mask=b.constants([True, False, True, False], "bool"))
    b.ret()
    source = np.random.default_rng(0).integers(0, 2, 13).astype(dtype)
    got = np.ones(32, dtype)
    native(module, target, "run", 2)(source, got)
    want = np.ones(32, dtype)
    want[0:4], want[4:12:2], want[5:12:2] = source[2:6], source[[9, 7, 5, 3]], source[5]
    want[[12, 15, 13, 14]], want[16:19], want[20:24] = source[[7, 0, 1, 3]], source[10:13], [*source[[3, 5, 7]], 0]
    want[24], want[28] = source[1], source[3]
    np.testing.assert_array_equal(got, want)


def test_control_flow():
    """Collatz steps: a loop that runs until a condition, a branch, and variables carried through both."""
    target, module = host_target(), ir.Module("test")
    b = Build(module, target, new_function(module, "run", [POINTER, I64], exported=True))
    with b.loop(0, b.argument(1, "int64"), 1) as i:
        number, steps = b.variable(i + 1), b.variable(b.index(0))
        with b.while_() as loop:
            loop.proceed_if(b.ne(number.get(), 1))
            with b.if_else(b.eq(number.get() & 1, 0)) as (then, otherwise):
                with then:
                    number.set(b.quotient(number.get(), 2))
                with otherwise:
                    number.set(number.get() * 3 + 1)
            steps.set(steps.get() + 1)
        with b.if_(steps.get() > 0):
            b.store(steps.get(), b.argument(0), i)
    b.ret()
    got = np.zeros(10, np.int64)
    native(module, target, "run", 1, 1)(got, 10)
    assert got.tolist() == [0, 1, 7, 2, 5, 8, 16, 3, 19, 6]


def test_loads_whose_lanes_are_all_off_read_no_memory_beyond_an_array():
    """Processors survive a masked load of memory that is not there, but take a thousand times as long."""
    target = host_target()
    module = ir.Module("test")
    b = Build(module, target, new_function(module, "run", [POINTER, POINTER, I64], exported=True))
    count = b.argument(2, "int64")
    b.store(b.load(b.argument(0), "float32", count, lanes=8, mask=b.first_lanes(count, 8)), b.argument(1))
    b.ret()
    (address,) = re.findall(r"call [^\n]*llvm\.masked\.load[^\n]*\(ptr ([^,]+),", str(module))
    assert f"{address} = select" in str(module)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_quotients_and_remainders_of_vectors_are_exact(dtype):
    """Around multiples of the divisor, where a rounded quotient would be one too large."""
    rng, info = np.random.default_rng(3), np.iinfo(dtype)
    y = rng.integers(1, info.max, 4000, dtype, endpoint=True) >> rng.integers(0, info.bits - 1, 4000, dtype)
    y = np.maximum(y, 1).astype(dtype)
    multiple = info.max // y * y
    x = np.where(
        rng.random(4000) < 0.5, multiple - rng.integers(0, 2, 4000, dtype), rng.integers(0, info.max, 4000, dtype)
    )
    x = x.astype(dtype)
    if dtype.kind == "i":
        x, y = x * rng.choice([-1, 1], 4000).astype(dtype), y * rng.choice([-1, 1], 4000).astype(dtype)
    exact = [
        (abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)) for a, b in zip(x.tolist(), y.tolist(), strict=True)
    ]
    quotient = np.array(exact, dtype)
    np.testing.assert_array_equal(run(lambda b, x, y: b.div(x, y), x, y, result=dtype), quotient)
    np.testing.assert_array_equal(run(lambda b, x, y: b.rem(x, y), x, y, result=dtype), x - quotient * y)


@pytest.mark.parametrize("divisor", [1, 3, 100, 127])
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_quotients_by_a_constant(dtype, divisor):
    x = interesting(dtype)
    quotient = np.array([abs(a) // divisor * (1 if a >= 0 else -1) for a in x.tolist()], dtype)
    np.testing.assert_array_equal(run(lambda b, x: b.div(x, divisor), x, result=dtype), quotient)
    np.testing.assert_array_equal(
        run(lambda b, x: b.rem(x, divisor), x, result=dtype), x - quotient * np.asarray(divisor, dtype)
    )
