"""Arithmetic of complex64, which compiled code does by parts, against NumPy in complex128."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp


def numbers(rng, *shape):
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


@pytest.mark.parametrize("shape", [(), (1,), (37,), (4, 0), (3, 5, 130)])
def test_complex_arithmetic(rng, shape):
    x, y, r = numbers(rng, *shape), numbers(rng, *shape), rng.normal(size=shape).astype(np.float32)

    def compute(xp, x, y, r):
        z = x * y - x.conj() + 2 * y
        return z, -z, xp.abs(z), z.real, z.imag, (z * r).sum(), xp.swapaxes(z, 0, -1) * (1 - 2j) if shape else z

    found = fdl.jit(lambda *a: compute(fnp, *a))(x, y, r)
    expected = compute(np, x.astype(complex), y.astype(complex), r.astype(float))
    for left, right in zip(found, expected, strict=True):
        scale = np.abs(right).max(initial=1)
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5 * scale)


def test_parts_of_special_numbers():
    values = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-45, 3e38], np.float32)
    x, y = (a.reshape(-1) for a in np.meshgrid(values, values))

    def parts(x, y):
        z = fdl.lax.complex(x, y)
        return z, z.real, z.imag, z.conj(), z[::-1].imag

    z, real, imag, conj, turned = (np.asarray(a) for a in fdl.jit(parts)(x, y))
    for found, expected in ((z.real, x), (z.imag, y), (real, x), (imag, y), (conj.imag, -y), (turned, y[::-1])):
        np.testing.assert_array_equal(found, expected)
        known = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found[known]), np.signbit(expected[known]))


@pytest.mark.parametrize("shape", [(1,), (8,), (9,), (3, 30), (2, 6, 5)])
@pytest.mark.parametrize("function", ["rfft", "rfft2", "irfft"])
def test_gradients_of_powers_of_real_transforms(rng, shape, function):
    if function == "rfft2" and len(shape) < 2:
        shape = (2, *shape)
    x = rng.normal(size=shape)

    def power(xp, x):
        if function == "irfft":
            z = xp.fft.irfft(x + 1j * x[..., ::-1], 2 * shape[-1] - 1)
        else:
            z = getattr(xp.fft, function)(x)
        return (xp.abs(z) ** 2 * (1 + xp.arange(z.shape[-1]))).sum()

    found = fdl.jit(fdl.grad(lambda x: power(fnp, x)))(x.astype(np.float32))
    step, expected = 1e-3, np.zeros(shape)
    for place in np.ndindex(shape):
        moved = np.zeros(shape)
        moved[place] = step
        expected[place] = (power(np, x + moved) - power(np, x - moved)) / (2 * step)  # exact for squares
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_the_gradient_of_a_power_spectrum_is_native():
    def power(x):
        z = fnp.fft.rfft(x)
        return (z.real**2 + z.imag**2).sum()

    plan = fdl.jit(fdl.grad(power)).lower(fnp.ones((4, 64))).as_text("schedule")
    assert "Python" not in plan and plan.count("= fft") == 2
