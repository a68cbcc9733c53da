"""Fourier transforms against NumPy's, their derivatives, and vmap."""

import numpy as np
import pytest

import fdl
from fdl import fft
from fdl.errors import DtypeError, ShapeError

REAL_INPUT = {"rfft", "rfft2", "rfftn", "ihfft"}


def sample(rng, name, shape):
    x = rng.normal(size=shape)
    return x if name in REAL_INPUT else x + 1j * rng.normal(size=shape)


@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
@pytest.mark.parametrize("n", [None, 4, 9])
@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"])
def test_one_axis(rng, name, n, norm):
    x = sample(rng, name, (3, 6, 2))
    expected = getattr(np.fft, name)(x, n, 1, norm)
    np.testing.assert_allclose(getattr(fft, name)(x, n, 1, norm), expected, atol=1e-12)
    single = getattr(fft, name)(x.astype(np.float32 if x.dtype.kind == "f" else np.complex64), n, 1, norm)
    assert single.dtype == (np.complex64 if expected.dtype.kind == "c" else np.float32)


@pytest.mark.parametrize(("s", "axes"), [(None, (0, 2)), ((4, 5), (1, 2)), ((3, 8), (2, 0))])
@pytest.mark.parametrize("name", ["fftn", "ifftn", "rfftn", "irfftn", "fft2", "irfft2", "rfft2", "ifft2"])
def test_several_axes(rng, name, s, axes):
    x = sample(rng, name, (4, 5, 6))
    np.testing.assert_allclose(getattr(fft, name)(x, s, axes), getattr(np.fft, name)(x, s, axes), atol=1e-12)


@pytest.mark.parametrize("name", ["fftn", "rfftn", "irfftn"])
def test_all_axes_by_default(rng, name):
    x = sample(rng, name, (4, 6))
    np.testing.assert_allclose(getattr(fft, name)(x), getattr(np.fft, name)(x), atol=1e-12)


def test_frequencies_and_shifts(rng):
    for n in (6, 7):
        np.testing.assert_allclose(fft.fftfreq(n, 0.5), np.fft.fftfreq(n, 0.5), rtol=1e-6)
        np.testing.assert_allclose(fft.rfftfreq(n, 0.5), np.fft.rfftfreq(n, 0.5), rtol=1e-6)
        x = rng.normal(size=(n, 4))
        np.testing.assert_array_equal(fft.fftshift(x), np.fft.fftshift(x))
        np.testing.assert_array_equal(fft.ifftshift(x, 0), np.fft.ifftshift(x, 0))
    for function in (fft.fftfreq, fft.rfftfreq):
        with pytest.raises(TypeError, match="fftfreq: n must be an integer"):
            function([1, 2])
        with pytest.raises(fdl.errors.ShapeError, match="fftfreq: d, the distance"):
            function(3, np.ones(2))
    assert fft.fft(np.zeros((2, 0), np.complex64)).shape == (2, 0)


def test_gradient_of_energy_is_parseval(rng):
    # sum |fft(x)|^2 = n sum x^2, so its gradient is 2 n x.
    x = rng.normal(size=(5,))
    np.testing.assert_allclose(fdl.grad(lambda x: (abs(fft.fft(x)) ** 2).sum())(x), 2 * 5 * x, rtol=1e-10)
    np.testing.assert_allclose(fdl.grad(lambda x: (fft.irfft(fft.rfft(x), 5) ** 2).sum())(x), 2 * x, rtol=1e-10)


def test_vmap_and_jit(rng):
    x = rng.normal(size=(3, 4, 5))
    np.testing.assert_allclose(fdl.vmap(fft.rfft2)(x), np.fft.rfft2(x), atol=1e-12)
    np.testing.assert_allclose(fdl.jit(lambda x: fft.irfft(fft.rfft(x), 5))(x), x, atol=1e-12)


def test_bad_arguments():
    with pytest.raises(DtypeError, match=r"x\.real"):
        fft.rfft(np.ones(3, np.complex64))
    with pytest.raises(ShapeError, match="axes"):
        fft.fft(np.ones(3), axis=1)
    with pytest.raises(ValueError, match="'ortho'"):
        fft.fft(np.ones(3), norm="unit")
    with pytest.raises(ShapeError, match="positive length"):
        fft.fft(np.ones(3), 0)
