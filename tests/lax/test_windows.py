"""Convolutions and window reductions by their lax names, against loops in NumPy."""

import itertools

import numpy as np
import pytest

import fdl
from fdl import lax
from fdl.errors import ShapeError

RNG = np.random.default_rng(7)
IMAGE, KERNEL = RNG.normal(size=(2, 6, 5, 3)), RNG.normal(size=(3, 2, 3, 4))
LAYOUT = ("NHWC", "HWIO", "NHWC")


def correlate(x, w, strides, pads):
    """NHWC data by an HWIO kernel, one output position at a time."""
    x = np.pad(x, ((0, 0), *pads, (0, 0)))
    extents = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:3], w.shape[:2], strides, strict=True)]
    out = np.zeros((len(x), *extents, w.shape[-1]))
    for i, j in itertools.product(*map(range, extents)):
        patch = x[:, i * strides[0] : i * strides[0] + w.shape[0], j * strides[1] : j * strides[1] + w.shape[1]]
        out[:, i, j] = np.tensordot(patch, w, 3)
    return out


@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
@pytest.mark.parametrize("jitted", [False, True])
def test_convolution_sums_products_under_the_kernel(strides, jitted):
    def run(x, w):
        return lax.conv_general_dilated(x, w, strides, [(1, 0), (2, 1)], dimension_numbers=LAYOUT)

    found = (fdl.jit(run) if jitted else run)(IMAGE, KERNEL)
    np.testing.assert_allclose(found, correlate(IMAGE, KERNEL, strides, ((1, 0), (2, 1))), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (3, 1)])
def test_same_padding_keeps_the_extent_over_the_stride(strides):
    found = lax.conv_general_dilated(IMAGE, KERNEL, strides, "SAME", dimension_numbers=LAYOUT)
    assert found.shape == (2, -(-6 // strides[0]), -(-5 // strides[1]), 4)


@pytest.mark.parametrize("jitted", [False, True])
def test_a_convolution_without_space_is_a_product(jitted):
    def run(x, w):
        return lax.conv_general_dilated(x, w, (), [], dimension_numbers=("NC", "IO", "NC"))

    x, w = IMAGE[0, 0], KERNEL[0, 0]
    np.testing.assert_allclose((fdl.jit(run) if jitted else run)(x, w), x @ w, rtol=1e-13)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_transposed_convolution_with_a_transposed_kernel_is_the_gradient(padding, strides):
    def forward(x):
        return lax.conv_general_dilated(x, KERNEL, strides, padding, dimension_numbers=LAYOUT)

    small = RNG.normal(size=(2, 4, 4, 4))
    found = lax.conv_transpose(small, KERNEL, strides, padding, transpose_kernel=True)
    x = np.zeros((*found.shape[:3], 3))
    value, pull = fdl.vjp(forward, x)
    assert value.shape == small.shape
    np.testing.assert_allclose(found, pull(small)[0], rtol=1e-12, atol=1e-12)


def test_patches_are_what_lies_under_the_kernel():
    found = np.asarray(lax.conv_general_dilated_patches(IMAGE, (3, 2), (1, 1), "VALID", dimension_numbers=LAYOUT))
    for i, j in [(0, 0), (3, 2)]:
        patch = IMAGE[:, i : i + 3, j : j + 2].transpose(0, 3, 1, 2).reshape(2, -1)
        np.testing.assert_array_equal(found[:, i, j], patch)


@pytest.mark.parametrize(
    ("computation", "init", "combine"),
    [
        (lax.add, 0.0, np.sum),
        (lax.max, -np.inf, np.max),
        (lax.min, np.inf, np.min),
        (lax.mul, 1.0, np.prod),
        (lambda a, b: lax.add(lax.mul(a, 1.0), b), 0.0, np.sum),
    ],
    ids=["add", "max", "min", "mul", "own"],
)
def test_window_reductions_combine_what_lies_under_the_window(computation, init, combine):
    found = np.asarray(lax.reduce_window(IMAGE, init, computation, (1, 3, 2, 1), (1, 2, 1, 1), "VALID"))
    assert found.shape == (2, 2, 4, 3)
    for i, j in itertools.product(range(2), range(4)):
        window = IMAGE[:, 2 * i : 2 * i + 3, j : j + 2]
        np.testing.assert_allclose(found[:, i, j], combine(window, axis=(1, 2)), rtol=1e-12)
    whole = lax.reduce(IMAGE, np.asarray(init, float), computation, (1, 3))
    np.testing.assert_allclose(whole, combine(IMAGE, axis=(1, 3)), rtol=1e-11, atol=1e-12)


def test_layouts_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="each string needs a letter for every axis"):
        lax.conv_general_dilated(IMAGE, KERNEL, (1, 1), "SAME", dimension_numbers=("NHC", "HIO", "NHC"))
    with pytest.raises(ShapeError, match="has 2 spatial axes"):
        lax.conv_general_dilated(IMAGE, KERNEL, (1,), "SAME", dimension_numbers=LAYOUT)


@pytest.mark.parametrize("layouts", [None, ("NHWC", "HWIO", "NHWC")])
def test_local_convolutions_have_a_kernel_for_each_place(rng, layouts):
    x, kernels = rng.normal(size=(2, 3, 6, 5)), rng.normal(size=(4, 3 * 2 * 2, 5, 4))
    expected = np.empty((2, 4, 5, 4))
    for i in range(5):
        for j in range(4):
            patches = x[:, :, i : i + 2, j : j + 2].reshape(2, -1)
            expected[:, :, i, j] = patches @ kernels[:, :, i, j].T
    if layouts is not None:
        x, kernels, expected = x.transpose(0, 2, 3, 1), kernels.transpose(2, 3, 1, 0), expected.transpose(0, 2, 3, 1)
    found = lax.conv_general_dilated_local(x, kernels, (1, 1), "VALID", (2, 2), dimension_numbers=layouts)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    with pytest.raises(ShapeError, match="kernels of 12 numbers at each of the places"):
        lax.conv_general_dilated_local(x, kernels, (2, 2), "VALID", (2, 2), dimension_numbers=layouts)
