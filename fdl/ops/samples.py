"""Random operands for the samples of primitives."""

import numpy as np


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Random numbers of any dtype; no two floats are equal."""
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        return rng.integers(0, 100, shape).astype(dtype)
    x = np.asarray(rng.normal(size=shape))
    return (x + 1j * rng.normal(size=shape) if dtype.kind == "c" else x).astype(dtype)
