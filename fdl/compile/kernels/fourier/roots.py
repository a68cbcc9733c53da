"""Roots of unity."""

import numpy as np


def roots(n: int, exponents: np.ndarray) -> np.ndarray:
    """exp(-2 pi i e / n) for integers e, each part rounded about once."""
    # Angles below an eighth of a turn have the smallest error; the others follow by symmetry.
    octant, rest = np.divmod(8 * (np.asarray(exponents) % n), n)
    odd = octant % 2 == 1
    angle = np.where(odd, n - rest, rest) * (2 * np.pi / (8 * n))
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y = np.where(odd, sine, cosine), np.where(odd, cosine, sine)
    real, imaginary = (np.choose(octant // 2, way) for way in ([x, -y, -x, y], [y, x, -y, -x]))
    return real - 1j * imaginary
