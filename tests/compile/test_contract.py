"""Matrix products: every shape and stride against float64 NumPy."""

import itertools
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from llvmlite import ir

from fdl.compile.kernels.matmul import contraction
from fdl.compile.kernels.matmul.product import ProductLowering
from fdl.compile.kernels.matmul.spec import Contraction
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.target import host_target
from fdl.compile.llvm.values import I64, POINTER
from fdl.compile.runtime.machine import assembly
from tests.compile.native import kernel

SHAPES = [
    (1, 1, 1, 1), (2, 3, 5, 7), (1, 6, 16, 8), (1, 13, 33, 9), (3, 1, 40, 17), (2, 40, 1, 19), (1, 7, 16, 1),
    (1, 64, 48, 300), (2, 70, 130, 20), (1, 5, 3, 1000), (1, 100, 10, 64), (1, 33, 200, 65), (1, 2, 70, 33),
    (1, 3, 700, 21), (2, 1, 300, 16), (1, 40, 9, 70), (1, 21, 37, 150), (1, 50, 40, 3),
]  # fmt: skip
LAYOUTS = ["row", "column", "strided"]


def laid_out(rng, shape, dtype, layout):
    batch, rows, columns = shape
    if layout == "row":
        return rng.standard_normal(shape).astype(dtype)
    if layout == "column":
        return rng.standard_normal((batch, columns, rows)).astype(dtype).swapaxes(1, 2)
    return rng.standard_normal((batch, 2 * rows, 3 * columns)).astype(dtype)[:, ::-2, 1::3]


def strides(array):
    return tuple(s // array.itemsize for s in array.strides)


def product(a, b, c, target, parts=1, accumulate=False, epilogue=None, extras=()):
    spec = Contraction(
        a.dtype, a.shape[0], a.shape[1], b.shape[2], a.shape[2], strides(a), strides(b), strides(c), accumulate
    )
    emitted, run = kernel(
        lambda module: contraction.emit(module, target, spec, epilogue, len(extras)), target, 3 + len(extras)
    )
    run([a, b, c, *extras], parts)
    return emitted


def check(a, b, c, before=0):
    exact = a.astype(np.float64) @ b.astype(np.float64) + before
    scale = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64) + np.abs(before)
    depth = a.shape[2] + 1
    assert (np.abs(c - exact) <= depth * np.finfo(a.dtype).eps * scale + 1e-30).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_layouts(shape, dtype):
    rng = np.random.default_rng(0)
    batch, m, n, k = shape
    combinations = list(itertools.product(LAYOUTS, LAYOUTS, LAYOUTS))
    for a_layout, b_layout, c_layout in [combinations[i] for i in rng.choice(27, 4, replace=False)]:
        a = laid_out(rng, (batch, m, k), dtype, a_layout)
        b = laid_out(rng, (batch, k, n), dtype, b_layout)
        c = laid_out(rng, (batch, m, n), dtype, c_layout)
        c[:] = np.nan
        product(a, b, c, host_target(), parts=int(rng.integers(1, 4)))
        check(a, b, c)


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 0, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0), (1, 1, 7, 0), (1, 7, 1, 0)])
def test_empty_dimensions(shape):
    batch, m, n, k = shape
    a, b, c = np.ones((batch, m, k)), np.ones((batch, k, n)), np.full((batch, m, n), np.nan)
    product(a, b, c, host_target())
    assert (c == 0).all()


@pytest.mark.parametrize("shape", [(1, 7, 19, 11), (2, 3, 5, 400), (1, 2, 3, 40)])
def test_accumulation(shape):
    rng = np.random.default_rng(0)
    batch, m, n, k = shape
    for layout in LAYOUTS:
        a, b = laid_out(rng, (batch, m, k), np.float32, "row"), laid_out(rng, (batch, k, n), np.float32, layout)
        c = rng.standard_normal((batch, m, n)).astype(np.float32)
        before = c.astype(np.float64)
        product(a, b, c, host_target(), accumulate=True)
        check(a, b, c, before)


def test_broadcast_operands():
    rng = np.random.default_rng(0)
    a = np.broadcast_to(rng.standard_normal((1, 9, 1)), (3, 9, 20))
    b = np.broadcast_to(rng.standard_normal((1, 20, 17)), (3, 20, 17))
    c = np.zeros((3, 9, 17))
    product(a, b, c, host_target(), parts=3)
    check(a, b, c)


def test_rows_that_share_cache_lines_are_packed():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((1, 20, 1024)).astype(np.float32)[:, :, :301]
    b = rng.standard_normal((1, 301, 90)).astype(np.float32)
    c = np.zeros((1, 20, 90), np.float32)
    assert strides(a)[1] * 4 == 4096
    product(a, b, c, host_target())
    check(a, b, c)


@pytest.mark.parametrize(
    "shape",
    [(2, 13, 37, 300), (1, 1, 50, 9), (1, 50, 1, 9), (1, 3, 4, 64), (2, 6, 16, 5), (1, 2, 300, 17), (2, 50, 7, 64)],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_epilogue_sees_every_element_once_at_its_index(shape, layout):
    rng = np.random.default_rng(0)
    batch, m, n, k = shape
    a, b = laid_out(rng, (batch, m, k), np.float32, "row"), laid_out(rng, (batch, k, n), np.float32, layout)
    c = laid_out(rng, (batch, m, n), np.float32, layout)
    bias = rng.standard_normal(n).astype(np.float32)

    def epilogue(build, value, index, extras, mask, axis=-1):
        column, row = (build.broadcast(i, value.lanes) for i in (index[2], index[0] * 100 + index[1]))
        lanes = build.iota("int64", value.lanes)
        column, row = (column, row + lanes) if axis == 1 else (column + lanes, row)
        value = value + build.load(extras[0], "float32", column, mask=mask)
        return value + build.convert(row, "float32")

    product(a, b, c, host_target(), parts=2, epilogue=epilogue, extras=[bias])
    rows = np.arange(batch)[:, None, None] * 100 + np.arange(m)[:, None]
    np.testing.assert_allclose(c, a.astype(np.float64) @ b + bias + rows, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("n", [100, 128, 257, 304])
@pytest.mark.parametrize("m", range(1, 9))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cpu", ["native", "native:256", "x86-64"])
def test_few_rows_in_parts(m, n, dtype, cpu):
    """Parts end where the columns of a turn end, whatever algorithm serves so many rows."""
    rng = np.random.default_rng(0)
    a = laid_out(rng, (1, m, 77), dtype, "column")
    b = laid_out(rng, (1, 77, n), dtype, "row")
    c = np.full((1, m, n), np.nan, dtype)
    product(a, b, c, host_target(cpu), parts=2)
    check(a, b, c)


@pytest.mark.parametrize("shape", [(3, 40, 70, 33), (1, 200, 10, 65), (1, 9, 300, 700), (2, 3, 700, 50)])
def test_parts_give_the_same_bits(shape):
    rng = np.random.default_rng(0)
    batch, m, n, k = shape
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((batch, m, k), (batch, k, n)))
    one, many = np.zeros((batch, m, n), np.float32), np.zeros((batch, m, n), np.float32)
    work = product(a, b, one, host_target()).work
    product(a, b, many, host_target(), parts=work)
    assert work > 1
    np.testing.assert_array_equal(one, many)


def test_nan_and_infinity_reach_only_their_rows_and_columns():
    a, b = np.ones((1, 20, 9), np.float32), np.ones((1, 9, 35), np.float32)
    a[0, 3, 4], b[0, 2, 34] = np.nan, np.inf
    c = np.zeros((1, 20, 35), np.float32)
    product(a, b, c, host_target())
    nan = np.zeros(c.shape, bool)
    nan[0, 3] = True
    np.testing.assert_array_equal(np.isnan(c), nan)
    np.testing.assert_array_equal(np.isinf(c[0, :, 34]), np.arange(20) != 3)
    assert np.isfinite(np.delete(c[0], 3, 0)[:, :34]).all()


@pytest.mark.parametrize("cpu", ["x86-64", "x86-64-v3"])
def test_other_processors(cpu):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((1, 23, 50)), rng.standard_normal((1, 50, 29))
    c = np.zeros((1, 23, 29))
    product(a, b, c, host_target(cpu))
    check(a, b, c)


def test_code_for_wide_vectors_uses_them():
    module = ir.Module("test")
    spec = Contraction(np.dtype("float32"), 1, 60, 128, 64, (0, 64, 1), (0, 128, 1), (0, 128, 1))
    contraction.emit(module, host_target("x86-64-v4"), spec)
    keep = new_function(module, "keep", [POINTER] * 4 + [I64, I64], exported=True)
    b = Build(module, host_target("x86-64-v4"), keep)
    b.call_function(next(f for f in module.functions if f.name.startswith("contract")), list(keep.args))
    b.ret()
    text = assembly(module, host_target("x86-64-v4"))
    inner = [line for line in text.splitlines() if "vfmadd" in line]
    assert len(inner) >= 24 and all("%zmm" in line for line in inner)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize(
    "case", list(enumerate([(1, 13, 37, 90), (2, 70, 33, 20), (1, 1, 300, 40), (1, 5, 7, 64)])), ids=str
)
def test_16_bit_floats_are_rounded_once(dtype, case):
    rng = np.random.default_rng(0)
    number, (batch, m, n, k) = case
    layout = LAYOUTS[number % 3]
    a, b = laid_out(rng, (batch, m, k), dtype, "row"), laid_out(rng, (batch, k, n), dtype, layout)
    c = laid_out(rng, (batch, m, n), dtype, layout)
    # Without float16 in hardware its conversions are long; one case is enough.
    product(a, b, c, host_target("x86-64" if number == 3 else "native"), parts=2)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    # Half a unit for the rounding, and what float32 leaves of sums that cancel.
    slack = k * 2.0**-24 * (np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64))
    unit = float(ml_dtypes.finfo(dtype).eps)
    assert (np.abs(c.astype(np.float64) - exact) <= 0.51 * unit * np.abs(exact) + slack + 1e-7).all()


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.uint64])
@pytest.mark.parametrize("shape", [(1, 13, 37, 300), (2, 3, 5, 7), (1, 1, 300, 9), (1, 40, 9, 70), (1, 30, 40, 2)])
def test_integers_wrap(dtype, shape):
    rng = np.random.default_rng(0)
    batch, m, n, k = shape
    limits = np.iinfo(dtype)
    a, b = (rng.integers(limits.min, limits.max, s, dtype, endpoint=True) for s in ((batch, m, k), (batch, n, k)))
    for layout in (b.swapaxes(1, 2), np.ascontiguousarray(b.swapaxes(1, 2))):
        c = np.zeros((batch, m, n), dtype)
        product(a, layout, c, host_target(), parts=2)
        np.testing.assert_array_equal(c, a @ layout)


@pytest.mark.parametrize("name", ["native", "x86-64", "native:512"])
def test_products_of_8_bits_are_summed_in_32(name):
    rng = np.random.default_rng(0)
    for number, (batch, m, n, k) in enumerate([*SHAPES[::3], (2, 3, 4, 0)] if name == "native" else SHAPES[1::5]):
        a, b = (rng.integers(-128, 128, s, np.int8) for s in ((batch, m, k), (batch, k, n)))
        for turn in ((False, False), (True, True)) if number % 2 else ((True, False), (False, True)):
            left, right = (
                np.ascontiguousarray(v.swapaxes(1, 2)).swapaxes(1, 2) if t else v
                for v, t in zip((a, b), turn, strict=True)
            )
            c = np.full((batch, m, n), 7, np.int32)
            product(left, right, c, host_target(name), parts=2, accumulate=turn[0])
            np.testing.assert_array_equal(c, a.astype(np.int32) @ b.astype(np.int32) + 7 * turn[0])


def test_sums_of_the_largest_8_bit_products_stay_exact():
    a = np.full((1, 5, 4099), -128, np.int8)
    c = np.zeros((1, 5, 20), np.int32)
    product(a, np.full((1, 4099, 20), -128, np.int8), c, host_target())
    assert (c == 4099 * 2**14).all()


def test_processors_with_vnni_add_pairs_in_one_instruction():
    target = replace(host_target("x86-64-v3"), cpu="alderlake")
    module = ir.Module("test")
    spec = Contraction(np.dtype("int8"), 1, 64, 64, 64, (0, 64, 1), (0, 64, 1), (0, 64, 1))
    contraction.emit(module, target, spec)
    text = assembly(module, target)
    assert "vpdpwssd" in text and "vpmulld" not in text


def test_what_is_not_offered_is_said():
    assert all(ProductLowering.takes_dtype(d) for d in ("float32", "float64", "int32", "uint64", "float16"))
    assert not any(ProductLowering.takes_dtype(d) for d in ("int8", "complex64", "bool"))
    assert not ProductLowering.takes_dtype(np.dtype(ml_dtypes.bfloat16), 100_000)
