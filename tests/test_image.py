"""Images resized, against the sums written out in float64, and SciPy where both agree."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

import fdl
import fdl.numpy as fnp
from fdl import image
from fdl.test_util import check_grads

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 7, 5)).astype(np.float32)


def _cubic(a):
    return lambda x: np.where(
        x < 1, (a + 2) * x**3 - (a + 3) * x**2 + 1, np.where(x < 2, a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a, 0)
    )


KERNELS = {
    "linear": lambda x: np.maximum(1 - x, 0),
    "cubic": _cubic(-0.5),
    "lanczos3": lambda x: np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0),
    "lanczos5": lambda x: np.where(x < 5, np.sinc(x) * np.sinc(x / 5), 0),
}


def _row(x, size, scale, shift, kernel, antialias):
    """One axis (the last), output pixel by output pixel."""
    found = np.zeros((*x.shape[:-1], size))
    for i in range(size):
        center = (i + 0.5 - shift) / scale - 0.5
        if not -0.5 <= center <= x.shape[-1] - 0.5:
            continue
        weights = kernel(np.abs(np.arange(x.shape[-1]) - center) / (max(1 / scale, 1) if antialias else 1))
        found[..., i] = x @ weights / weights.sum()
    return found


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("method", KERNELS)
@pytest.mark.parametrize("size", [3, 9])
def test_kernels(method, antialias, size):
    expected = _row(X.astype(np.float64), size, size / 5, 0.0, KERNELS[method], antialias)
    found = image.resize(X, (2, 7, size), method, antialias)
    assert found.dtype == np.float32
    assert_allclose(found, expected, atol=2e-6)
    moved = image.scale_and_translate(X, (2, 7, size), (2,), np.float32([0.7]), np.float32([1.3]), method, antialias)
    assert_allclose(moved, _row(X.astype(np.float64), size, 0.7, 1.3, KERNELS[method], antialias), atol=5e-6)


def test_several_axes_are_resized_one_after_the_other():
    x = X.astype(np.float64)
    down = _row(x.swapaxes(1, 2), 4, 4 / 7, 0.0, KERNELS["cubic"], True).swapaxes(1, 2)
    expected = _row(down, 10, 2.0, 0.0, KERNELS["cubic"], True)
    for resize in (image.resize, fdl.jit(image.resize, static_argnums=(1, 2))):
        assert_allclose(resize(x, (2, 4, 10), "bicubic"), expected, atol=1e-12)
    assert_allclose(fdl.vmap(lambda x: image.resize(x, (4, 10), image.ResizeMethod.CUBIC))(x), expected, atol=1e-12)


def test_where_scipy_agrees():
    x = X[0].astype(np.float64)
    zoomed = ndimage.zoom(x, (2, 3), order=1, mode="nearest", grid_mode=True)
    assert_allclose(image.resize(x, (14, 15), "linear"), zoomed, atol=1e-12)
    assert_allclose(image.resize(x, (14, 15), "nearest"), np.kron(x, np.ones((2, 3))), atol=0)
    assert_allclose(image.resize(x[:6, :4], (3, 2), "area"), x[:6, :4].reshape(3, 2, 2, 2).mean((1, 3)), atol=1e-12)


def test_cubic_of_pytorch_repeats_the_edges():
    x = X[0, 0].astype(np.float64)
    padded, kernel = np.pad(x, 3, "edge"), _cubic(-0.75)
    centers = (np.arange(8) + 0.5) * 5 / 8 - 0.5
    expected = [padded @ kernel(np.abs(np.arange(-3, 8) - c)) for c in centers]
    assert_allclose(image.resize(x, (8,), "cubic-pytorch", antialias=False), expected, atol=1e-12)
    assert_allclose(image.resize(x, (3,), "bicubic-pytorch"), image.resize(x, (3,), "cubic"), atol=0)


def test_dtypes_and_extents():
    assert image.resize(np.arange(6, dtype=np.uint8), (3,), "nearest").tolist() == [1, 3, 5]
    assert image.resize(np.arange(6, dtype=np.uint8), (3,), "linear").dtype == np.float32
    assert image.resize(fnp.ones((4, 4), fnp.bfloat16), (3, 6), "lanczos3").dtype == fnp.bfloat16
    assert_allclose(image.resize(np.complex64([1j, 3j]), (1,), "linear"), [2j])
    assert image.resize(X, (2, 0, 5), "linear").shape == (2, 0, 5)
    assert_array_equal(image.resize(X, X.shape, "linear"), X)


def test_derivatives_by_image_scale_and_translation():
    def f(x, s, t):
        return image.scale_and_translate(x, (6, 4), (0, 1), s, t, "cubic")

    check_grads(f, (X[0].astype(np.float64), np.array([0.83, 1.1]), np.array([0.21, -0.37])), 1, atol=1e-5, rtol=1e-5)


def test_what_is_refused():
    with pytest.raises(fdl.errors.ShapeError, match="extent for each axis"):
        image.resize(X, (3, 3), "linear")
    with pytest.raises(ValueError, match="bilinear"):
        image.resize(X, X.shape, "box")
    with pytest.raises(ValueError, match="nearest"):
        image.scale_and_translate(X, X.shape, (1,), np.ones(1), np.zeros(1), "nearest")
    with pytest.raises(fdl.errors.ShapeError, match="twice"):
        image.scale_and_translate(X, X.shape, (1, 1), np.ones(2), np.zeros(2), "linear")
    with pytest.raises(fdl.errors.ShapeError, match="no pixels"):
        image.resize(np.ones((0, 2)), (2, 2), "linear")
