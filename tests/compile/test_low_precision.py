"""Products and convolutions of 16-bit floats: by float32 panels and by pairs, against float64 NumPy."""

import itertools
import re
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from llvmlite import ir

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.compile.kernels.conv import convolution
from fdl.compile.kernels.conv.spec import Convolution
from fdl.compile.kernels.matmul import contraction
from fdl.compile.kernels.matmul.spec import Contraction
from fdl.compile.llvm import target
from fdl.compile.llvm.target import Target, process_triple
from fdl.compile.pipeline import compile_program
from fdl.compile.runtime.machine import assembly
from tests.compile.test_contract import SHAPES, laid_out
from tests.compile.tuned import tune

BF16 = ml_dtypes.bfloat16
needs_x86 = pytest.mark.skipif(not process_triple().startswith("x86_64"), reason="instructions of x86-64")

KINDS = [("bfloat16", "panels"), ("bfloat16", "pairs"), ("bfloat16", "blocks"), ("float16", "")]
kinds = pytest.mark.parametrize(("dtype", "way"), KINDS, ids=["panels", "pairs", "blocks", "float16"])


def rounded(rng, shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


def close(got, exact, size, dtype):
    """One rounding to `dtype`, and sums in float32 of terms whose sizes sum to `size`."""
    unit = float(ml_dtypes.finfo(dtype).eps) / 2
    bound = 1.01 * unit * np.abs(exact) + 2.0**-20 * size + 1e-7
    assert (np.abs(np.asarray(got, np.float64) - exact) <= bound).all()


@kinds
@pytest.mark.parametrize("layouts", ["row row", "column column", "strided strided"])
def test_products(dtype, way, layouts, monkeypatch):
    tune(monkeypatch, low_products=way)
    rng = np.random.default_rng(0)
    cases = SHAPES[::2] if layouts == "row row" else [SHAPES[3], SHAPES[8]]
    operands = [
        (laid_out(rng, (b, m, k), dtype, layouts.split()[0]), laid_out(rng, (b, k, n), dtype, layouts.split()[1]))
        for b, m, n, k in cases
    ]
    made = fdl.jit(lambda pairs: [x @ y for x, y in pairs])([(fnp.asarray(x), fnp.asarray(y)) for x, y in operands])
    for (x, y), found in zip(operands, made, strict=True):
        x, y = x.astype(np.float64), y.astype(np.float64)
        close(found, x @ y, np.abs(x) @ np.abs(y), dtype)


CONVOLUTIONS = {
    # name: (x, window, features, strides, padding, lhs, rhs)
    "3x3": ((2, 5, 6, 5), (3, 3), 20, (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1)),
    "strided": ((2, 6, 7, 4), (3, 2), 6, (1, 2), ((2, 1), (0, 3)), (1, 1), (2, 3)),
    "transposed": ((2, 4, 3, 4), (3, 2), 9, (1, 1), ((2, 1), (1, 2)), (2, 3), (1, 1)),
    "line": ((3, 20, 7), (5,), 11, (2,), ((2, 1),), (1,), (1,)),
    "one pixel": ((1, 1, 1, 1), (1, 1), 1, (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1)),
    "many channels": ((3, 9, 7, 20), (3, 3), 35, (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1)),
    "strided, many channels": ((2, 9, 11, 17), (3, 2), 33, (2, 3), ((1, 1), (0, 2)), (1, 1), (1, 1)),
    "dilated, cut off": ((2, 8, 9, 16), (2, 3), 16, (1, 2), ((-1, 1), (2, -2)), (1, 1), (2, 2)),
    "pointwise": ((5, 7, 7, 40), (1, 1), 24, (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1)),
    "volume": ((2, 4, 3, 5, 9), (2, 3, 2), 16, (1, 2, 1), ((1, 0), (1, 1), (0, 1)), (1, 1, 1), (1, 1, 1)),
    "lines of 32": ((2, 3, 34, 8), (3, 3), 8, (1, 1), ((1, 1), (0, 0)), (1, 1), (1, 1)),
    "long line": ((2, 70, 9), (5,), 48, (1,), ((2, 2),), (1,), (1,)),
    "no image": ((0, 4, 4, 2), (3, 3), 8, (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1)),
}


@kinds
def test_convolutions_and_their_gradients(dtype, way, monkeypatch):
    """Values and gradients, against those of the same numbers in float64."""
    tune(monkeypatch, low_products=way)
    rng = np.random.default_rng(1)

    def all_of(operands):
        found = []
        for (x, w, g), case in zip(operands, CONVOLUTIONS.values(), strict=True):
            _, _, _, stride, padding, lhs, rhs = case
            axes = "DHW"[-len(stride) :]
            numbers = (f"N{axes}C", f"{axes}IO", f"N{axes}C")

            def f(x, w, given=(stride, padding, lhs, rhs, numbers)):
                return lax.conv_general_dilated(x, w, *given)

            y, pull = fdl.vjp(f, x, w)
            found.append((y, *pull(g.reshape(y.shape))))
        return found

    operands = []
    for x, window, features, *rest in CONVOLUTIONS.values():
        w = (*window, x[-1], features)
        axes = "DHW"[-len(window) :]
        out = lax.conv_general_dilated(np.zeros(x), np.zeros(w), *rest, (f"N{axes}C", f"{axes}IO", f"N{axes}C"))
        operands.append([rounded(rng, shape, dtype) for shape in (x, w, out.shape)])
    wide = [[a.astype(np.float64) for a in row] for row in operands]
    exact, sizes = all_of(wide), all_of([[np.abs(a) for a in row] for row in wide])
    made = fdl.jit(all_of)([[fnp.asarray(a) for a in row] for row in operands])
    for row, right, size in zip(made, exact, sizes, strict=True):
        for one, wanted, terms in zip(row, right, size, strict=True):
            assert str(one.dtype) == dtype
            close(one, np.asarray(wanted), np.asarray(terms), dtype)


@kinds
def test_epilogues_threads_and_batches(dtype, way, monkeypatch):
    tune(monkeypatch, low_products=way)
    rng = np.random.default_rng(2)
    x, w, b = rounded(rng, (3, 2, 16, 16, 8), dtype), rounded(rng, (3, 3, 8, 16), dtype), rng.normal(size=16)

    def f(x, w, b):
        y = lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return fnp.maximum(y.astype("float32") + b, 0).astype(x.dtype), fnp.sum(y.astype("float32"), axis=(0, 1, 2))

    b = b.astype(np.float32)
    made = fdl.jit(fdl.vmap(f, (0, None, None)))(*map(fnp.asarray, (x, w, b)))
    exact = fdl.vmap(lambda x: f(x, w.astype(np.float64), b.astype(np.float64))[0])(x.astype(np.float64))
    # Rounded twice: the product, and what becomes of it.
    np.testing.assert_allclose(np.asarray(made[0], np.float64), exact, rtol=2.0**-7, atol=0.05)
    one = fdl.jit(f)(*map(fnp.asarray, (x[0], w, b)))
    np.testing.assert_array_equal(np.asarray(made[0][0]), np.asarray(one[0]))
    threads = fdl.get_num_threads()
    try:
        fdl.set_num_threads(3)
        np.testing.assert_array_equal(np.asarray(fdl.jit(f)(*map(fnp.asarray, (x[0], w, b)))[0]), np.asarray(one[0]))
    finally:
        fdl.set_num_threads(threads)


@kinds
def test_what_is_not_finite(dtype, way, monkeypatch):
    tune(monkeypatch, low_products=way)
    x, y = np.ones((16, 17), dtype), np.ones((17, 16), dtype)
    x[0, 0], x[1, 16], x[2, 3], x[2, 4], x[3] = np.nan, np.inf, np.inf, -np.inf, -0.0
    made = np.asarray(fdl.jit(fnp.matmul)(fnp.asarray(x), fnp.asarray(y)), np.float64)
    assert np.isnan(made[[0, 2]]).all()
    assert (made[1] == np.inf).all()
    assert (made[3] == 0).all()
    assert (made[4:] == 17).all()


integers = pytest.mark.parametrize("way", ["pairs", "blocks"])


@integers
def test_products_of_int8(way, monkeypatch):
    tune(monkeypatch, low_products=way)
    rng = np.random.default_rng(3)
    shapes = [
        (1, 8, 8, 8),
        (1, 17, 33, 65),
        (2, 64, 40, 7),
        (1, 100, 16, 130),
        (3, 9, 70, 64),
        (1, 1, 9, 9),
        (1, 40, 3, 9),
    ]
    for (batch, m, n, k), x_layout, y_layout in itertools.product(shapes, ["row", "column"], ["row", "column"]):
        x, y = (
            laid_out(rng, shape, np.int8, layout)
            for shape, layout in (((batch, m, k), x_layout), ((batch, k, n), y_layout))
        )
        x[:], y[:] = (rng.integers(-128, 128, a.shape, np.int8) for a in (x, y))
        x[0, 0], y[0, :, 0] = -128, -128
        found = fdl.jit(lambda x, y: fnp.matmul(x, y, preferred_element_type="int32"))(fnp.asarray(x), fnp.asarray(y))
        np.testing.assert_array_equal(np.asarray(found), x.astype(np.int64) @ y.astype(np.int64))


@integers
def test_convolutions_of_int8(way, monkeypatch):
    tune(monkeypatch, low_products=way)
    rng = np.random.default_rng(4)
    cases = [
        # x, window with channels, strides, padding, groups
        ((2, 9, 7, 20), (3, 3, 20, 35), (1, 1), ((1, 1), (1, 1)), 1),
        ((2, 9, 8, 5), (3, 2, 5, 16), (2, 1), ((1, 1), (0, 2)), 1),
        ((2, 8, 8, 16), (1, 1, 16, 24), (1, 1), ((0, 0), (0, 0)), 1),
        ((2, 8, 8, 16), (3, 3, 4, 24), (1, 1), ((1, 1), (1, 1)), 4),
        ((2, 8, 8, 12), (3, 3, 6, 24), (1, 1), ((1, 1), (1, 1)), 2),
    ]
    for x_shape, w_shape, strides, padding, groups in cases:
        x, w = (rng.integers(-128, 128, shape, np.int8) for shape in (x_shape, w_shape))

        def f(x, w, dtype=None, given=(strides, padding, groups)):
            return lax.conv_general_dilated(
                x, w, given[0], given[1], dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=given[2],
                preferred_element_type=dtype,
            )  # fmt: skip

        found = fdl.jit(lambda x, w, f=f: f(x, w, "int32"))(fnp.asarray(x), fnp.asarray(w))
        np.testing.assert_array_equal(np.asarray(found), np.asarray(f(x.astype(np.float64), w.astype(np.float64))))


def zen(bits=512):
    return Target("znver4", "", bits, True, True, tuning=target.TUNING)


@needs_x86
@pytest.mark.parametrize("bits", [256, 512])
def test_processors_with_the_instruction_use_it(bits):
    """In the innermost loop of products and convolutions, without converting anything there."""
    module = ir.Module()
    processor = zen(bits)
    assert processor.low_products == "pairs"
    square = Contraction(np.dtype(BF16), 1, 96, 96, 64, (0, 64, 1), (0, 96, 1), (0, 96, 1), paired=True)
    contraction.emit(module, processor, square)
    image = Convolution(
        np.dtype(BF16), 2, 32, 64, (14, 14), (3, 3), (14, 14), (1, 1), (1, 1), (1, 1), (1, 1), 1,
        (14 * 14 * 32, 14 * 32, 32, 1), (3 * 32 * 64, 32 * 64, 64, 1), (14 * 14 * 64, 14 * 64, 64, 1), paired=True,
    )  # fmt: skip
    convolution.emit(module, processor, image)
    text = assembly(module, processor)
    tiles = re.split(r'^"?(?:walk\.\d\.)?tile\.', text, flags=re.MULTILINE)[1:]
    assert len(tiles) >= 2
    register = "zmm" if bits == 512 else "ymm"
    for tile in tiles:
        body = tile.split("retq")[0]
        assert re.search(rf"vdpbf16ps.*%{register}", body)
        loops = re.findall(r"^(\.LBB\w+):((?:(?!^\.LBB).)*?\sj\w+\s+\1\s)", body, flags=re.MULTILINE | re.DOTALL)
        inner = [loop for _, loop in loops if "vdpbf16ps" in loop]
        assert inner
        for loop in inner:
            assert not re.search(r"vcvt|vpsll|vpand|vfmadd", loop)


@needs_x86
def test_who_has_the_instruction():
    assert zen().dot_bfloat16
    assert not Target("znver3", "+avx2", 256, True, True).dot_bfloat16
    assert Target("znver4", "+avx512bf16,+avx512vl", 512, True, True).dot_bfloat16
    assert not Target("znver4", "-avx512bf16,+avx512vl", 512, True, True).dot_bfloat16
    assert not Target("x86-64-v4", "-prefer-256-bit", 512, True, True).dot_bfloat16
    assert replace(zen(), cpu="sapphirerapids").low_products == "panels"
    assert replace(zen(), matrix_unit=True).low_products == "blocks"


def test_rounding_to_bfloat16():
    """Every kind of number, in vectors and alone: nearest, ties to even, NaN stays NaN, whatever its bits."""
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 2**32, 4099, dtype=np.uint32)
    bits[:9] = [0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x7FC00000, 0x7F800000, 0xFF800000, 0x80000000, 1, 0x7F7FFFFF]
    bits[9 : 9 + 1024] = (bits[9 : 9 + 1024] & 0xFFFF0000) | 0x8000
    x = bits.view(np.float32)

    def f(x):
        y = x.astype("bfloat16")
        return y, y + y, fnp.maximum(y, 0), -fnp.abs(y), fnp.where(y > 1, y, 1)

    with np.errstate(all="ignore"):
        y = x.astype(BF16)
        wide = y.astype(np.float32)
        wanted = [y, (wide + wide).astype(BF16), np.maximum(wide, 0), -np.abs(wide), np.where(wide > 1, wide, 1)]
    for made, exact in zip(fdl.jit(f)(x), wanted, strict=True):
        np.testing.assert_array_equal(np.asarray(made, np.float32), np.asarray(exact, np.float32))


def test_equal_programs_are_compiled_again_for_another_processor(monkeypatch):
    """Else the tests above would all run the code of the first of them."""
    program = fdl.make_program(lambda x: x @ x)(fnp.ones((16, 16), BF16))
    made = []
    for way in ("panels", "pairs", "blocks"):
        tune(monkeypatch, low_products=way)
        made.append(compile_program(program))
        assert compile_program(program) is made[-1]
    assert len({id(each) for each in made}) == 3
