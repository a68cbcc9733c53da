"""Convolutions by 3x3 windows with fewer multiplications: against direct sums in float64, alone and in batches.

On processors without registers of 256 bits and fused multiply-add there are direct sums only, of which the same holds.
"""

import dataclasses
from itertools import product

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, nn
from fdl.compile.kernels.conv import toom_cook, winograd
from fdl.compile.kernels.conv.spec import Convolution
from fdl.compile.llvm.target import TUNING, host_target

NHWC = ("NHWC", "HWIO", "NHWC")
#: Images and channels in and out, with the padding.
SHAPES = [
    ((2, 16, 16, 64), 32, "SAME"),
    ((3, 17, 18, 70), 37, "VALID"),
    ((1, 18, 17, 67), 70, ((2, 0), (0, 3))),
    ((3, 14, 14, 96), 64, "SAME"),
    ((2, 16, 13, 128), 16, "SAME"),
    ((1, 16, 21, 65), 129, ((-1, 2), (3, -2))),
]


def jitted(padding="SAME", precision=None, finish=lambda y: y):
    def convolution(x, w, *more):
        y = lax.conv_general_dilated(x, w, (1, 1), padding, dimension_numbers=NHWC, precision=precision)
        return finish(y, *more)

    return fdl.jit(convolution)


def drawn(kind, shape, outputs, seed=0):
    """An image and weights: normal numbers, rectified ones, or some that are as uneven as gradients."""
    rng = np.random.default_rng([seed, *shape, outputs])
    x = rng.standard_normal(shape)
    if kind == "rectified":
        x = np.maximum(x, 0)
    if kind == "uneven":
        x *= (rng.random(shape) < 0.5) * np.exp(rng.standard_normal((*shape[:3], 1))) * 1e-4
    w = rng.standard_normal((3, 3, shape[-1], outputs)) * np.sqrt(2 / 9 / shape[-1])
    return x.astype(np.float32), w.astype(np.float32)


def direct(x, w, padding="SAME"):
    """The convolution in float64, as sums over taps of products of matrices."""
    x, w = x.astype(np.float64), w.astype(np.float64)
    low = high = (1, 1)
    if padding == "VALID":
        low = high = (0, 0)
    elif padding != "SAME":
        low, high = zip(*padding, strict=True)
    x = np.pad(x, [(0, 0), *[(max(a, 0), max(b, 0)) for a, b in zip(low, high, strict=True)], (0, 0)])
    cut = [slice(max(-a, 0), n - max(-b, 0)) for a, b, n in zip(low, high, x.shape[1:3], strict=True)]
    x = x[:, cut[0], cut[1]]
    height, width = x.shape[1] - 2, x.shape[2] - 2
    return sum(x[:, i : i + height, j : j + width] @ w[i, j] for i, j in product(range(3), repeat=2))


def error(found, expected):
    return np.abs(np.asarray(found, np.float64) - expected).max()


def spec_of(shape, outputs, padding="SAME", **more):
    """What the kernel of a convolution of NHWC computes."""
    n, h, w, c = shape
    low = (1, 1) if padding == "SAME" else (0, 0)
    out = tuple(size + 2 * a - 2 for size, a in zip((h, w), low, strict=True))
    spec = Convolution(
        np.dtype(np.float32), n, c, outputs, (h, w), (3, 3), out, (1, 1), low, (1, 1), (1, 1), 1,
        (h * w * c, w * c, c, 1), (3 * c * outputs, c * outputs, outputs, 1),
        (out[0] * out[1] * outputs, out[1] * outputs, outputs, 1),
    )  # fmt: skip
    return dataclasses.replace(spec, **more)


def modern():
    target = host_target()
    return target.fma and target.vector_bits >= 256


def test_transforms_multiply_polynomials():
    """Four outputs of three taps from six products, in exact arithmetic but for the square roots."""

    class Exact:
        fma = staticmethod(lambda a, b, c: a * b + c)

    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(6), rng.standard_normal(3)
    values = [a * b for a, b in zip(toom_cook.of_data(Exact, x), toom_cook.of_window(Exact, w), strict=True)]
    np.testing.assert_allclose(toom_cook.to_results(Exact, values), np.correlate(x, w), rtol=1e-13)


@pytest.mark.parametrize("kind", ["normal", "rectified", "uneven"])
@pytest.mark.parametrize(("shape", "outputs", "padding"), SHAPES)
def test_errors_are_at_most_four_times_those_of_direct_sums(shape, outputs, padding, kind):
    fast, slow = jitted(padding), jitted(padding, "highest")
    for seed in range(2):
        x, w = drawn(kind, shape, outputs, seed)
        expected = direct(x, w, padding)
        assert error(fast(x, w), expected) <= 4 * error(slow(x, w), expected)


@pytest.mark.parametrize(("shape", "outputs", "padding"), SHAPES)
def test_gradients_are_those_of_direct_sums(shape, outputs, padding):
    x, w = drawn("normal", shape, outputs)

    def gradients(precision):
        f = jitted(padding, precision)
        return fdl.jit(fdl.grad(lambda x, w: fnp.sum(fnp.sin(f(x, w))), (0, 1)))

    exact = gradients("highest")(x.astype(np.float64), w.astype(np.float64))
    for found, expected in zip(gradients(None)(x, w), exact, strict=True):
        assert error(found, np.asarray(expected)) <= 2e-5 * np.abs(np.asarray(expected)).max()


@pytest.mark.parametrize(("shape", "outputs", "padding"), SHAPES)
def test_an_image_has_the_same_bits_alone_and_in_every_batch(shape, outputs, padding):
    x, w = drawn("normal", (7, *shape[1:]), outputs)
    convolution = jitted(padding)
    together = np.asarray(convolution(x, w))
    for n in range(7):
        np.testing.assert_array_equal(convolution(x[n : n + 1], w)[0], together[n])
    np.testing.assert_array_equal(convolution(x[2:5], w), together[2:5])
    assert convolution(x[:0], w).shape == (0, *together.shape[1:])


def test_two_threads_give_the_bits_of_one():
    x, w = drawn("normal", (9, 28, 28, 64), 64)
    before = fdl.get_num_threads()
    found = []
    for threads in (1, 2):
        fdl.set_num_threads(threads)
        try:
            found.append(np.asarray(jitted()(x, w)))
        finally:
            fdl.set_num_threads(before)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(("shape", "outputs", "padding"), SHAPES)
def test_what_follows_is_computed_on_the_results(shape, outputs, padding):
    x, w = drawn("normal", shape, outputs)
    plain = jitted(padding)(x, w)
    rng = np.random.default_rng(1)
    shift = rng.standard_normal(outputs).astype(np.float32)
    residual = rng.standard_normal(plain.shape).astype(np.float32)
    fused = jitted(padding, None, lambda y, shift, more: (nn.relu(y + shift) + more, fnp.sum(y)))
    found, total = fused(x, w, shift, residual)
    np.testing.assert_allclose(found, np.maximum(plain + shift, 0) + residual, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(total, np.asarray(plain, np.float64).sum(), rtol=1e-3, atol=1e-2)


def test_channels_of_any_layout():
    x, w = drawn("normal", (2, 15, 14, 68), 40)
    expected = direct(x, w)
    first = fdl.jit(lambda x, w: lax.conv_general_dilated(x, w, (1, 1), "SAME"))
    for copy in (np.ascontiguousarray, lambda a: a):
        found = first(copy(x.transpose(0, 3, 1, 2)), copy(w.transpose(3, 2, 0, 1)))
        np.testing.assert_allclose(np.asarray(found).transpose(0, 2, 3, 1), expected, rtol=1e-4, atol=2e-5)
    # A slice of an array, with the channels of more than the convolution reads between two positions.
    wide = np.concatenate([x, x], -1)
    sliced = fdl.jit(lambda x, w: lax.conv_general_dilated(x[:, 1:, :, 68:], w, (1, 1), "SAME", dimension_numbers=NHWC))
    np.testing.assert_allclose(sliced(wide, w), direct(x[:, 1:], w), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_the_tiles_that_read_it(value):
    x, w = drawn("normal", (2, 16, 16, 64), 32)
    clean = np.asarray(jitted()(x, w))
    x[0, 6, 9, 5] = value
    found, exact = np.asarray(jitted()(x, w)), np.asarray(jitted(precision="highest")(x, w))
    assert not np.isfinite(found[0, 5:8, 8:11]).any() and not np.isfinite(exact[0, 5:8, 8:11]).any()
    np.testing.assert_array_equal(found[1], clean[1])
    touched = np.zeros(found.shape, bool)
    touched[0, 4:8, 8:12] = True  # the tile whose 6x6 elements hold the value; its neighbours read 1 beyond their own
    assert np.isfinite(found[~touched]).all() and np.isfinite(exact[0, :5]).all()


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, 3.0])
def test_equal_numbers_and_zeros(value):
    x, w = np.full((1, 16, 14, 64), value, np.float32), np.ones((3, 3, 64, 32), np.float32)
    np.testing.assert_allclose(jitted()(x, w), direct(x, w), rtol=3e-6)


def test_layers_that_gain():
    target = host_target()
    for shape, outputs in (((1, 56, 56, 64), 192), ((16, 14, 14, 160), 320), ((4, 16, 16, 64), 256)):
        assert winograd.fits(spec_of(shape, outputs), target) == modern()
        found = {winograd.fits(spec_of((n, *shape[1:]), outputs), target) for n in (1, 2, 1000)}
        assert found == {modern()}  # whatever the number of images


@pytest.mark.parametrize(
    "spec",
    [
        spec_of((8, 16, 16, 64), 32, direct=True),
        spec_of((8, 16, 16, 32), 32),  # few channels: the transforms take as long as what they save
        spec_of((8, 16, 16, 64), 2),
        spec_of((8, 17, 5, 64), 32),  # much of the ten tiles would be outside
        spec_of((8, 8, 8, 64), 64),  # many weights to transform for four tiles
        spec_of((8, 16, 16, 64), 32, groups=2),
        spec_of((8, 16, 16, 64), 32, stride=(1, 2)),
        spec_of((8, 16, 16, 64), 32, rhs_dilation=(2, 1)),
        spec_of((8, 16, 16, 64), 32, lhs_dilation=(2, 1)),
        spec_of((8, 16, 16, 64), 32, window=(3, 2)),
        spec_of((8, 16, 16, 64), 32, dtype=np.dtype(np.float64)),
        spec_of((8, 16, 16, 64), 32, x=(16 * 16 * 64, 16, 1, 256)),
    ],
    ids=lambda spec: f"{spec.in_spatial} {spec.in_features} {spec.out_features}",
)
def test_layers_with_direct_sums(spec):
    assert not winograd.fits(spec, host_target())


def test_gradients_by_the_weights_are_direct_sums():
    """Whose window, the gradient of the output, may have 3x3 elements, and whose channels are images."""
    x, w = drawn("normal", (64, 5, 5, 64), 64)
    cotangent = np.random.default_rng(3).standard_normal((64, 3, 3, 64)).astype(np.float32)

    def pulled(precision):
        return fdl.jit(lambda x, w, c: fdl.vjp(lambda w: jitted("VALID", precision)(x, w), w)[1](c)[0])

    np.testing.assert_array_equal(pulled(None)(x, w, cotangent), pulled("highest")(x, w, cotangent))


def test_tuning_names_where_it_starts():
    off = dataclasses.replace(host_target(), tuning=dataclasses.replace(TUNING, winograd_channels=10**9))
    assert not winograd.fits(spec_of((8, 16, 16, 64), 64), off)
