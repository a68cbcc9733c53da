"""Initializers: functions ``init(key, shape, dtype)`` to arrays, under the names of ``jax.nn.initializers``."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import random
from fdl.core.types import Array
from fdl.dtypes import as_dtype
from fdl.errors import ShapeError
from fdl.random.keys import split
from fdl.scalars import Scalar, checked

__all__ = [
    "Initializer",
    "constant",
    "delta_orthogonal",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

Axes = int | Sequence[int]
Initializer = Callable[..., Array]

_REAL, _NOT_NEGATIVE = Scalar(), Scalar(0.0)
_MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
_DISTRIBUTIONS = ("truncated_normal", "normal", "uniform")


def zeros(key: Any, shape: Sequence[int], dtype: Any = None) -> Array:
    """Zeros; the key is not used.

    Args:
        key: not used.
        shape: of the result.
        dtype: of the result; None is float32.

    Returns:
        An array.

    >>> zeros(None, (2,)).tolist()
    [0.0, 0.0]
    """
    return fnp.zeros(shape, as_dtype(dtype or float))


def ones(key: Any, shape: Sequence[int], dtype: Any = None) -> Array:
    """Ones; the key is not used.

    Args:
        key: not used.
        shape: of the result.
        dtype: of the result; None is float32.

    Returns:
        An array.

    >>> ones(None, (2,)).tolist()
    [1.0, 1.0]
    """
    return fnp.ones(shape, as_dtype(dtype or float))


def constant(value: Any, dtype: Any = None) -> Initializer:
    """An initializer that repeats `value`.

    Args:
        value: a number, or an array that broadcasts to the shape.
        dtype: default dtype of the initializer; None is float32.

    Returns:
        A function (key, shape, dtype) to an array.

    Raises:
        LeafError: it is neither.

    >>> constant(3.0)(random.key(0), (2,)).tolist()
    [3.0, 3.0]
    """
    if not isinstance(value, (int, float, complex)):
        fnp.asarray(value)
    return _initializer(dtype, lambda key, shape, dtype: fnp.full(shape, value, dtype))


@checked(scale=_REAL)
def uniform(scale: Any = 1e-2, dtype: Any = None) -> Initializer:
    """An initializer with uniform numbers in [0, scale).

    Args:
        scale: upper end.
        dtype: default dtype of the initializer; None is float32.

    Returns:
        A function (key, shape, dtype) to an array.

    >>> uniform(0.5)(random.key(0), (3, 4)).shape
    (3, 4)
    """
    return _initializer(dtype, lambda key, shape, dtype: random.uniform(key, shape, dtype) * fnp.asarray(scale, dtype))


@checked(stddev=_NOT_NEGATIVE)
def normal(stddev: Any = 1e-2, dtype: Any = None) -> Initializer:
    """An initializer with normal numbers.

    Args:
        stddev: standard deviation.
        dtype: default dtype of the initializer; None is float32.

    Returns:
        A function (key, shape, dtype) to an array.

    >>> normal(0.5)(random.key(0), (3, 4)).shape
    (3, 4)
    """
    return _initializer(dtype, lambda key, shape, dtype: random.normal(key, shape, dtype) * fnp.asarray(stddev, dtype))


@checked(stddev=_NOT_NEGATIVE, lower=_REAL, upper=_REAL)
def truncated_normal(stddev: Any = 1e-2, dtype: Any = None, lower: Any = -2.0, upper: Any = 2.0) -> Initializer:
    """An initializer with normal numbers between `lower` and `upper` standard deviations.

    Args:
        stddev: standard deviation before the cut.
        dtype: default dtype of the initializer; None is float32.
        lower: lower end, in standard deviations.
        upper: upper end, in standard deviations.

    Returns:
        A function (key, shape, dtype) to an array.

    >>> bool(fnp.all(fnp.abs(truncated_normal(1.0)(random.key(0), (100,))) <= 2))
    True
    """

    def draw(key: Any, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        return random.truncated_normal(key, lower, upper, shape, dtype) * fnp.asarray(stddev, dtype)

    return _initializer(dtype, draw)


@checked(scale=_NOT_NEGATIVE)
def variance_scaling(
    scale: Any,
    mode: str,
    distribution: str,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: Any = None,
) -> Initializer:
    """An initializer whose variance is `scale` over the number of inputs, outputs, or their mean.

    Args:
        scale: numerator of the variance.
        mode: "fan_in", "fan_out", "fan_avg" or "fan_geo_avg".
        distribution: "truncated_normal", "normal" or "uniform".
        in_axis: axis or axes of the inputs.
        out_axis: axis or axes of the outputs.
        batch_axis: axes that are neither, nor part of the window.
        dtype: default dtype of the initializer.

    Returns:
        A function (key, shape, dtype) to an array.

    Raises:
        ValueError: the mode or the distribution is unknown.
        ShapeError: the shape has no such axes.

    >>> variance_scaling(1.0, "fan_in", "normal")(random.key(0), (3, 4)).shape
    (3, 4)
    """
    if mode not in _MODES:
        raise ValueError(f"variance_scaling takes the modes {', '.join(_MODES)}, got {mode!r}")
    if distribution not in _DISTRIBUTIONS:
        raise ValueError(f"variance_scaling takes 'truncated_normal', 'normal' or 'uniform', got {distribution!r}")

    def draw(key: Any, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        deviation = math.sqrt(scale / _denominator(mode, *_fans(shape, in_axis, out_axis, batch_axis)))
        return _unit_draw(distribution, key, shape, dtype) * fnp.asarray(deviation, dtype)

    return _initializer(dtype, draw)


def _unit_draw(distribution: str, key: Any, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """Numbers of variance one."""
    if distribution == "normal":
        return random.normal(key, shape, dtype)
    if dtype.kind == "c":
        return _complex_draw(distribution, key, shape, dtype)
    if distribution == "uniform":
        return random.uniform(key, shape, dtype, -1.0, 1.0) * fnp.asarray(math.sqrt(3), dtype)
    # The standard deviation of a normal number under the condition that it lies within two of them.
    return random.truncated_normal(key, -2.0, 2.0, shape, dtype) / fnp.asarray(0.87962566103423978, dtype)


def _complex_draw(distribution: str, key: Any, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """Complex numbers of variance one, uniform in a disk or normal within a radius of two."""
    part = np.empty(0, dtype).real.dtype
    radius, angle = (random.uniform(k, shape, part) for k in split(key))
    if distribution == "uniform":
        radius = fnp.sqrt(2 * radius)
    else:
        radius = fnp.sqrt(-fnp.log1p(-radius * (1 - math.exp(-4)))) / 0.95311164380491208
    angle = 2 * math.pi * angle
    return (radius * fnp.cos(angle) + 1j * (radius * fnp.sin(angle))).astype(dtype)


def _fans(shape: tuple[int, ...], in_axis: Axes, out_axis: Axes, batch_axis: Axes) -> tuple[float, float]:
    if in_axis == -2 and len(shape) < 2:
        raise ShapeError(
            f"the numbers of inputs and outputs of shape {shape} are unclear; give it two axes, or in_axis"
        )

    def size(axes: Axes) -> int:
        return math.prod(shape[a] for a in ([axes] if isinstance(axes, int) else axes))

    rest = math.prod(shape) / max(1, size(in_axis) * size(out_axis) * size(batch_axis))
    return size(in_axis) * rest, size(out_axis) * rest


def _denominator(mode: str, fan_in: float, fan_out: float) -> float:
    choices = (fan_in, fan_out, (fan_in + fan_out) / 2, math.sqrt(fan_in * fan_out))
    return max(dict(zip(_MODES, choices, strict=True))[mode], 1e-300)


def _initializer(default: Any, draw: Callable[[Any, tuple[int, ...], np.dtype], Array]) -> Initializer:
    def init(key: Any, shape: Sequence[int], dtype: Any = default) -> Array:
        return draw(key, tuple(shape), as_dtype(float if dtype is None else dtype))

    return init


def _scaled(name: str, scale: float, mode: str, distribution: str, source: str) -> Callable[..., Initializer]:
    def make(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Initializer:
        return variance_scaling(scale, mode, distribution, in_axis, out_axis, batch_axis, dtype)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"""``variance_scaling({scale}, "{mode}", "{distribution}")``. Source: {source}.

    Args:
        in_axis: axis or axes of the inputs.
        out_axis: axis or axes of the outputs.
        batch_axis: axes that are neither, nor part of the window.
        dtype: default dtype of the initializer; None is float32.

    Returns:
        A function (key, shape, dtype) to an array.

    >>> {name}()(random.key(0), (3, 4)).shape
    (3, 4)
    """
    return make


glorot_uniform = _scaled("glorot_uniform", 1.0, "fan_avg", "uniform", "Glorot, Bengio (2010)")
glorot_normal = _scaled("glorot_normal", 1.0, "fan_avg", "truncated_normal", "Glorot, Bengio (2010)")
lecun_uniform = _scaled("lecun_uniform", 1.0, "fan_in", "uniform", "LeCun et al. (1998)")
lecun_normal = _scaled("lecun_normal", 1.0, "fan_in", "truncated_normal", "LeCun et al. (1998)")
he_uniform = _scaled("he_uniform", 2.0, "fan_in", "uniform", "He et al. (2015)")
he_normal = _scaled("he_normal", 2.0, "fan_in", "truncated_normal", "He et al. (2015)")
xavier_uniform, xavier_normal = glorot_uniform, glorot_normal
kaiming_uniform, kaiming_normal = he_uniform, he_normal


@checked(scale=_REAL)
def orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = None) -> Initializer:
    """An initializer with orthonormal rows or columns. Source: Saxe, McClelland, Ganguli (2014).

    Args:
        scale: factor.
        column_axis: the axis of the columns; the others together are the rows.
        dtype: default dtype of the initializer.

    Returns:
        A function (key, shape, dtype) to an array.

    Raises:
        ShapeError: the shape has fewer than two axes.

    >>> w = orthogonal()(random.key(0), (4, 2))
    >>> bool(fnp.allclose(w.T @ w, fnp.eye(2), atol=1e-5))
    True
    """

    def draw(key: Any, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        if len(shape) < 2:
            raise ShapeError(f"the orthogonal initializer needs two axes or more, got shape {shape}")
        if 0 in shape:
            return fnp.zeros(shape, dtype)
        columns = shape[column_axis]
        q = random.orthogonal(key, math.prod(shape) // columns, (), dtype, columns)
        rest = tuple(np.delete(shape, column_axis).tolist())
        return fnp.asarray(scale, dtype) * fnp.moveaxis(q.reshape((*rest, columns)), -1, column_axis)

    return _initializer(dtype, draw)


@checked(scale=_REAL)
def delta_orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = None) -> Initializer:
    """An initializer of convolutions: an orthogonal matrix in the middle, zeros around. Source: Xiao et al. (2018).

    Args:
        scale: factor.
        column_axis: the axis of the columns of the matrix.
        dtype: default dtype of the initializer; None is float32.

    Returns:
        A function (key, shape, dtype) to an array.

    Raises:
        ShapeError: the shape is not (*window, inputs, outputs) with at least as many outputs as inputs.

    >>> w = delta_orthogonal()(random.key(0), (3, 2, 2))
    >>> bool(fnp.all(w[0] == 0)), bool(fnp.allclose(w[1].T @ w[1], fnp.eye(2), atol=1e-5))
    (True, True)
    """

    def draw(key: Any, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        if len(shape) not in (3, 4, 5) or shape[-1] < shape[-2]:
            raise ShapeError(
                f"delta_orthogonal needs a shape (*window, inputs, outputs), outputs >= inputs, got {shape}"
            )
        middle = orthogonal(scale, column_axis)(key, shape[-2:], dtype)
        config = [((n - 1) // 2, n - 1 - (n - 1) // 2) for n in shape[:-2]] + [(0, 0), (0, 0)]
        return fnp.pad(middle.reshape((1,) * (len(shape) - 2) + shape[-2:]), config)

    return _initializer(dtype, draw)


def __dir__() -> list[str]:
    return __all__
