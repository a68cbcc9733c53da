"""Initial parameters and data as NumPy arrays, the same for every framework."""

from typing import Any

import numpy as np


def he(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Normal weights of variance 2 / fan-in, outputs last (He et al., 2015)."""
    return (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))).astype(np.float32)


def normal(rng: np.random.Generator, scale: float, *shape: int) -> np.ndarray:
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def layer(rng: np.random.Generator, *shape: int) -> dict[str, np.ndarray]:
    """Weights and zero biases of a dense layer (in, out) or a convolution (height, width, in, out)."""
    return {"w": he(rng, *shape), "b": np.zeros(shape[-1], np.float32)}


def norm(size: int) -> dict[str, np.ndarray]:
    """Scale and shift of a normalisation."""
    return {"scale": np.ones(size, np.float32), "shift": np.zeros(size, np.float32)}


def labels(rng: np.random.Generator, classes: int, *shape: int) -> np.ndarray:
    return rng.integers(0, classes, shape).astype(np.int32)


def flat(tree: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """The leaves of nested dictionaries and lists by their path, as in ``blocks.0.dense.w``."""
    if isinstance(tree, np.ndarray):
        return {prefix: tree}
    found: dict[str, np.ndarray] = {}
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        found |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found
