"""Spherical harmonics, under the name of ``scipy.special``."""

import math
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax
from fdl.core.types import Array
from fdl.dtypes import FLOATING, INTEGER
from fdl.numpy._operands import integer, number
from fdl.numpy.shapes import any_array
from fdl.scipy._operands import operands

__all__ = ["sph_harm_y"]


def sph_harm_y(n: Any, m: Any, theta: Any, phi: Any, diff_n: int | None = None, n_max: int | None = None) -> Array:
    """Spherical harmonics: orthonormal functions on the sphere, with the phase of Condon and Shortley.

    Args:
        n: degree, whole numbers; broadcasts.
        m: order, whole numbers from -n to n; broadcasts.
        theta: angle from the pole, in [0, pi]; broadcasts.
        phi: longitude; broadcasts.
        diff_n: accepted for ports, None or 0.
        n_max: largest degree, to which `n` is cut; None takes it from `n`, which must then be known when traced.

    Returns:
        A complex array of the common shape; 0 where n < 0 or abs(m) > n, NaN where they are not whole. Derivatives are
        those in theta and phi. Source: the recurrence of normalized associated Legendre functions in Holmes and
        Featherstone 2002, "A unified approach to the Clenshaw summation and the recursive computation of very high
        degree and order normalised associated Legendre functions", section 2.

    Raises:
        NotImplementedError: derivatives are asked for by `diff_n`.
        DtypeError: an operand is complex.

    >>> round(sph_harm_y(1, 0, 0.0, 0.0).real.item(), 4) == round((3 / (4 * fnp.pi)) ** 0.5, 4)
    True
    """
    if diff_n:
        raise NotImplementedError("sph_harm_y returns no derivatives; leave diff_n out and use fdl.grad or fdl.jvp")
    degree, order = (number("sph_harm_y", any_array("sph_harm_y", v), (*INTEGER, *FLOATING)) for v in (n, m))
    if n_max is None:
        known = degree.discrete("sph_harm_y: n_max, or else a known degree n,")
        n_max = int(np.max(np.where(np.isfinite(known), known, 0), initial=0))
    n_max = integer("sph_harm_y: n_max", n_max)
    theta, phi = (number("sph_harm_y", v, (*INTEGER, *FLOATING)) for v in operands("sph_harm_y", theta, phi))
    degree, order, theta, phi = fnp.broadcast_arrays(degree, order, theta, phi)
    dtype = theta.dtype if theta.dtype.itemsize >= 4 else fnp.float32
    theta, phi = theta.astype(dtype), phi.astype(dtype)
    last, absolute = fnp.minimum(degree, n_max).astype(dtype), fnp.abs(order).astype(dtype)
    cosine, sine = fnp.cos(theta), fnp.sin(theta)
    sine = fnp.where(sine < 0, -sine, sine)  # beyond [0, pi] they are functions of the cosine, as in SciPy

    def step(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], None]:
        """From degree k - 1 to k; the functions start at degree `absolute`, where they are powers of the sine."""
        before, now = carry
        inner = fnp.where(k > absolute, k * k - absolute * absolute, 1)
        previous = fnp.maximum((k - 1) ** 2 - absolute * absolute, 0) / fnp.maximum(4 * (k - 1) ** 2 - 1, 1)
        up = fnp.sqrt((4 * k * k - 1) / inner) * (cosine * now - fnp.sqrt(previous) * before)
        found = fnp.where(k <= absolute, -fnp.sqrt((2 * k + 1) / (2 * k)) * sine * now, up)
        kept = fnp.where(k <= absolute, 0, now)
        return (fnp.where(k <= last, kept, before), fnp.where(k <= last, found, now)), None

    start = fnp.zeros_like(theta), fnp.full_like(theta, math.sqrt(1 / (4 * math.pi)))
    (_, value), _ = lax.scan(step, start, fnp.arange(1, n_max + 1, dtype=dtype))
    value = fnp.where((order < 0) & (order % 2 != 0), -value, value)
    value = fnp.where((absolute > last) | (last < 0), 0, value)
    value = fnp.where((degree % 1 == 0) & (order % 1 == 0), value, math.nan)
    angle = order.astype(dtype) * phi
    return lax.complex(value * fnp.cos(angle), value * fnp.sin(angle))
