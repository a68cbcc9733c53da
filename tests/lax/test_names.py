"""Names of lax that are made of others, against NumPy, SciPy and what they stand for."""

import ml_dtypes
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.errors import DtypeError, ShapeError

RNG = np.random.default_rng(11)


def test_layouts():
    x = RNG.normal(size=(2, 3)).astype(np.float32)
    assert_array_equal(lax.tile(x, (2, 3)), np.tile(x, (2, 3)))
    assert lax.tile(x, (0, 1)).shape == (0, 3)
    assert_array_equal(lax.stack([x, 2 * x], -1), np.stack([x, 2 * x], -1))
    assert_array_equal(lax.stack(n * x for n in range(2)), np.stack([0 * x, x]))
    assert_array_equal(
        lax.reduce_window(x, 0.0, lax.add, (1, 1), (1, 1), zip((1, 0), (0, 2), strict=True)),
        np.pad(np.asarray(x), ((1, 0), (0, 2))),
    )
    assert_array_equal(lax.stack(lax.unstack(x, 1), 1), x)
    assert lax.broadcast_to_rank(x, 4).shape == (1, 1, 2, 3) and lax.empty((2, 0), np.int8).dtype == np.int8
    assert_array_equal(lax.broadcast_like(x[:1], x), np.broadcast_to(x[:1], (2, 3)))
    assert lax.dtype(x) == lax.dtype(1.0) == np.float32 and lax.shape_as_value(x.shape).tolist() == [2, 3]
    for bad in ((2,), (1, -1)):
        with pytest.raises(ShapeError, match="tile"):
            lax.tile(x, bad)
    assert_allclose(fdl.grad(lambda x: (lax.tile(x, (2, 1)) ** 2).sum())(x), 4 * x, rtol=1e-6)


def test_search_is_exact():
    x = RNG.normal(size=(4, 50)).astype(np.float32)
    for found, expected in ((lax.approx_max_k(x, 5), np.argsort(-x)), (lax.approx_min_k(x, 5), np.argsort(x))):
        assert_array_equal(found[1], expected[:, :5])
        assert_array_equal(found[0], np.take_along_axis(x, expected[:, :5], 1))
    assert lax.approx_max_k(x, 2, reduction_dimension=0)[0].shape == (2, 50)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_functions(dtype):
    a, x = (RNG.uniform(1.5, 5, 20).astype(dtype) for _ in range(2))
    eps = np.finfo(dtype).eps
    assert_allclose(lax.zeta(a, x), special.zeta(a.astype(float), x.astype(float)), rtol=50 * eps)
    assert_allclose(lax.polygamma(np.full(20, 2, dtype), x), special.polygamma(2, x.astype(float)), rtol=50 * eps)
    h = 1e-5
    a, x = a.astype(float), x.astype(float)
    slope = (special.gammainc(a + h, x) - special.gammainc(a - h, x)) / (2 * h)
    assert_allclose(lax.igamma_grad_a(a, x), slope, rtol=1e-6)
    p = special.gammainc(a, x)
    moved = (special.gammaincinv(a + h, p) - special.gammaincinv(a - h, p)) / (2 * h)
    assert_allclose(lax.random_gamma_grad(a, x), moved, rtol=1e-6)
    assert lax.zeta(fnp.full(2, 2, fnp.bfloat16), fnp.ones(2, fnp.bfloat16)).dtype == fnp.bfloat16


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize(
    "bits, narrow", [((8, 7), ml_dtypes.bfloat16), ((5, 10), np.float16), ((4, 3), ml_dtypes.float8_e4m3)]
)
def test_numbers_are_rounded_to_formats_of_fewer_bits(bits, narrow, jitted):
    special = [0, -0.0, np.inf, -np.inf, np.nan, 3.4e38]
    x = np.concatenate([RNG.normal(size=100), 10.0 ** RNG.uniform(-40, 38, 100), special])
    x = x.astype(np.float32)
    reduce = fdl.jit(lax.reduce_precision, static_argnums=(1, 2)) if jitted else lax.reduce_precision
    with np.errstate(all="ignore"):
        expected = x.astype(narrow).astype(np.float32)
    if bits[0] < 8:  # no subnormal numbers
        normal = float(ml_dtypes.finfo(narrow).smallest_normal)
        expected = np.where(np.abs(expected) < normal, np.copysign(0, x), expected)
    found = np.asarray(reduce(x, *bits))
    assert_array_equal(found, expected)
    assert_array_equal(np.signbit(found[~np.isnan(x)]), np.signbit(x[~np.isnan(x)]))
    slope = np.float32(np.float32(3.3).astype(narrow))
    assert fdl.grad(lambda x: reduce(x, *bits) * 3.3)(0.7) == slope  # tangents are rounded, too
    assert fdl.jvp(lambda x: reduce(x, *bits), (0.7,), (3.3,))[1] == slope


@pytest.mark.parametrize("dtype", "int8 uint8 int32 uint32 int64 uint64".split())
def test_high_halves_of_products(dtype):
    info = np.iinfo(dtype)
    x, y = (RNG.integers(info.min, info.max, 50, dtype, endpoint=True) for _ in range(2))
    x[:3], y[:3] = info.min, (info.min, info.max, 0)
    expected = [int(a) * int(b) >> info.bits for a, b in zip(x, y, strict=True)]
    assert lax.mulhi(x, y).tolist() == expected == fdl.jit(lax.mulhi)(x, y).tolist()
    with pytest.raises(DtypeError, match="mulhi"):
        lax.mulhi(1.0, 2.0)


def test_fourier_transforms():
    x = RNG.normal(size=(3, 4, 6))
    assert_allclose(lax.fft(x, "fft", (4, 6)), np.fft.fft2(x), atol=1e-12)
    assert_allclose(lax.fft(x, lax.FftType.RFFT, (6,)), np.fft.rfft(x), atol=1e-12)
    assert_allclose(lax.fft(np.fft.rfftn(x), "IRFFT", x.shape), x, atol=1e-12)
    assert_allclose(lax.fft(lax.fft(x, "FFT", (6,)), "IFFT", (6,)).real, x, atol=1e-12)
    with pytest.raises(ShapeError, match="fft"):
        lax.fft(x, "FFT", (5,))


@pytest.mark.parametrize("jitted", [False, True])
def test_ragged_products(jitted):
    x, w = RNG.normal(size=(7, 3)), RNG.normal(size=(4, 3, 2))
    sizes = np.array([2, 0, 3, 1])
    expected = np.zeros((7, 2))
    for row, group in enumerate(np.repeat(np.arange(4), sizes)):
        expected[row] = x[row] @ w[group]
    ragged = fdl.jit(lax.ragged_dot) if jitted else lax.ragged_dot
    assert_allclose(ragged(x, w, sizes), expected, atol=1e-12)
    dx, dw = fdl.grad(lambda x, w: (ragged(x, w, sizes) ** 2).sum(), (0, 1))(x, w)
    assert_allclose(dw[2], x[2:5].T @ (2 * expected[2:5]), atol=1e-12)
    assert_allclose(dx[0], w[0] @ (2 * expected[0]), atol=1e-12)
    with pytest.raises(ShapeError, match="group_sizes"):
        lax.ragged_dot(x, w, sizes[:2])


def test_shapes_of_convolutions():
    x, kernel = fnp.ones((2, 9, 7, 3)), fnp.ones((3, 2, 3, 4))
    layout = ("NHWC", "HWIO", "NHWC")
    for padding in ("SAME", "VALID", [(1, 2), (0, 1)]):
        found = lax.conv_general_dilated(x, kernel, (2, 3), padding, dimension_numbers=layout)
        assert lax.conv_general_shape_tuple(x.shape, kernel.shape, (2, 3), padding, layout) == found.shape
        window = lax.reduce_window(x, 0.0, lax.add, (1, 3, 2, 1), (1, 2, 3, 1), padding if isinstance(padding, str)
                                   else [(0, 0), *padding, (0, 0)])  # fmt: skip
        pads = padding if isinstance(padding, str) else [(0, 0), *padding, (0, 0)]
        assert lax.reduce_window_shape_tuple(x.shape, (1, 3, 2, 1), (1, 2, 3, 1), pads) == window.shape
    y = fnp.ones((2, 5, 4, 3))
    for padding in ("SAME", "VALID"):
        back = lax.conv_transpose(y, kernel, (2, 3), padding, dimension_numbers=layout)
        assert lax.conv_transpose_shape_tuple(y.shape, kernel.shape, (2, 3), padding, layout) == back.shape
    assert lax.conv_shape_tuple((8, 3, 10), (4, 3, 3), (2,), [(1, 1)]) == (8, 4, 5)


def test_orders_and_types():
    tree = {"a": np.ones(2), "b": (1.0,)}
    assert fdl.tree.structure(lax.optimization_barrier(tree)) == fdl.tree.structure(tree)
    assert fdl.grad(lambda x: lax.optimization_barrier(x) ** 2)(3.0) == 6
    assert lax.composite(lambda x: 2 * x, "double")(2) == 4 and lax.stage(1.5) == 1.5
    assert lax.after_all(lax.create_token()) == () and lax.dce_sink(1.0) is None
    assert lax.Tolerance(rtol=1e-3).atol == 0 and lax.AccuracyMode.DEFAULT.name == "DEFAULT"
