"""Normalization by statistics of the input: layers, groups, instances, batches, neighbours."""

from collections.abc import Sequence
from typing import Any

import fdl.numpy as fnp
from fdl import lax
from fdl.composite import composite
from fdl.core.types import Array
from fdl.dtypes import as_dtype, float32
from fdl.errors import ShapeError
from fdl.nn.layers import Params, shifted
from fdl.numpy._operands import floating, wide
from fdl.ops.arithmetic import stop_gradient


def init_layer_norm(size: int, *, bias: bool = True, dtype: Any = None) -> Params:
    """Parameters of :func:`layer_norm`, :func:`rms_norm` and :func:`group_norm`: ones w [size] and zeros b [size].

    Args:
        size: number of channels.
        bias: whether there is a b.
        dtype: of the parameters; None is float32.

    Returns:
        The parameters.

    >>> params = init_layer_norm(2)
    >>> params["w"].tolist(), params["b"].tolist()
    ([1.0, 1.0], [0.0, 0.0])
    """
    dtype = as_dtype(float if dtype is None else dtype)
    params = {"w": fnp.ones((size,), dtype)}
    return params | {"b": fnp.zeros((size,), dtype)} if bias else params


init_group_norm = init_instance_norm = init_layer_norm


def init_rms_norm(size: int, *, dtype: Any = None) -> Params:
    """Parameters of :func:`rms_norm`: ones w [size].

    Args:
        size: number of channels.
        dtype: of the parameters; None is float32.

    Returns:
        The parameters.

    >>> init_rms_norm(2)["w"].tolist()
    [1.0, 1.0]
    """
    return init_layer_norm(size, bias=False, dtype=dtype)


@composite
def layer_norm(params: Params, x: Any, *, epsilon: float = 1e-5) -> Array:
    """Standardize every vector along the last axis, then scale and shift. Source: Ba, Kiros, Hinton (2016).

    Args:
        params: from :func:`init_layer_norm`.
        x: [..., channels].
        epsilon: added under the root.

    Returns:
        An array like x.

    >>> y = layer_norm(init_layer_norm(2), fnp.array([1.0, 3.0]))
    >>> [round(v, 2) for v in y.tolist()]
    [-1.0, 1.0]
    """
    x = floating(x)
    return shifted(params, _standardized(x, (-1,), epsilon) * params["w"])


@composite
def rms_norm(params: Params, x: Any, *, epsilon: float = 1e-6) -> Array:
    """Divide every vector along the last axis by its root mean square, then scale. Source: Zhang, Sennrich (2019).

    Args:
        params: from :func:`init_rms_norm`.
        x: [..., channels].
        epsilon: added under the root.

    Returns:
        An array like x.

    >>> y = rms_norm(init_rms_norm(2), fnp.array([3.0, -3.0]))
    >>> [round(v, 2) for v in y.tolist()]
    [1.0, -1.0]
    """
    x = floating(x)
    numbers = wide(x)
    unit = numbers / fnp.sqrt(fnp.mean(numbers * numbers, axis=-1, keepdims=True) + epsilon)
    return shifted(params, unit.astype(x.dtype) * params["w"])


@composite
def group_norm(params: Params, x: Any, groups: int, *, epsilon: float = 1e-5) -> Array:
    """Standardize groups of channels over space, then scale and shift. Source: Wu, He (2018).

    Args:
        params: from :func:`init_group_norm`.
        x: [batch, *space, channels].
        groups: a divisor of the number of channels.
        epsilon: added to the variance.

    Returns:
        An array like x.

    Raises:
        ShapeError: the groups do not divide the channels.

    >>> x = fnp.array([[[1.0, 3.0, 5.0, 9.0]]])
    >>> y = group_norm(init_group_norm(4), x, 2)
    >>> [round(v, 2) for v in y.ravel().tolist()]
    [-1.0, 1.0, -1.0, 1.0]
    """
    x = floating(x)
    if x.shape[-1] % groups:
        raise ShapeError(f"group_norm: {groups} groups do not divide the channels of {x.type}")
    split = x.reshape((*x.shape[:-1], groups, x.shape[-1] // groups))
    axes = (*range(1, x.ndim - 1), -1)
    return shifted(params, _standardized(split, axes, epsilon).reshape(x.shape) * params["w"])


@composite
def instance_norm(params: Params, x: Any, *, epsilon: float = 1e-5) -> Array:
    """Standardize every channel of every example over space, then scale and shift. Source: Ulyanov et al. (2016).

    Args:
        params: from :func:`init_instance_norm`; {} neither scales nor shifts.
        x: [batch, *space, channels].
        epsilon: added to the variance.

    Returns:
        An array like x.

    Raises:
        ShapeError: x has no space axes.

    >>> y = instance_norm(init_instance_norm(1), fnp.array([[[1.0], [3.0]]]))
    >>> [round(v, 2) for v in y.ravel().tolist()]
    [-1.0, 1.0]
    """
    x = floating(x)
    if x.ndim < 3:
        raise ShapeError(f"instance_norm needs x [batch, *space, channels], got {x.type}")
    y = _standardized(x, tuple(range(1, x.ndim - 1)), epsilon)
    return shifted(params, y * params["w"] if "w" in params else y)


def local_response_norm(x: Any, size: int = 5, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Array:
    """Divide by a power of the mean square of neighbouring channels. Source: Krizhevsky et al., "AlexNet" (2012).

    Args:
        x: [..., channels].
        size: how many channels are neighbours: ``size // 2`` before, the others from the channel itself on.
        alpha: factor of the mean square.
        beta: the power.
        k: added before it.

    Returns:
        An array like x.

    >>> round(local_response_norm(fnp.array([2.0, 0.0]), 2, alpha=1.0, beta=1.0).tolist()[0], 3)
    0.667
    """
    x = floating(x)
    numbers = wide(x)
    before = size // 2
    sums = lax.reduce_window(
        numbers * numbers,
        fnp.asarray(0.0, numbers.dtype),
        lax.add,
        (*(1,) * (x.ndim - 1), size),
        (1,) * x.ndim,
        (*((0, 0),) * (x.ndim - 1), (before, size - 1 - before)),
    )
    return (numbers / (k + alpha / size * sums) ** beta).astype(x.dtype)


def init_batch_norm(size: int, *, dtype: Any = None) -> tuple[Params, Params]:
    """Parameters w, b and running statistics mean, var of :func:`batch_norm`, all [size].

    Args:
        size: number of channels.
        dtype: of the parameters; None is float32. Statistics have 32 bits at least.

    Returns:
        The parameters, and the running statistics.

    >>> params, stats = init_batch_norm(2)
    >>> stats["mean"].tolist(), stats["var"].tolist()
    ([0.0, 0.0], [1.0, 1.0])
    """
    dtype = as_dtype(float if dtype is None else dtype)
    kept = fnp.promote_types(dtype, float32)  # in 16 bits small changes of a mean would be lost
    stats = {"mean": fnp.zeros((size,), kept), "var": fnp.ones((size,), kept)}
    return init_layer_norm(size, dtype=dtype), stats


def batch_norm(
    params: Params, stats: Params, x: Any, *, training: bool, momentum: float = 0.9, epsilon: float = 1e-5
) -> tuple[Array, Params]:
    """Standardize channels over everything else, then scale and shift. Source: Ioffe, Szegedy (2015).

    Args:
        params: w and b.
        stats: running mean and variance.
        x: [..., channels].
        training: whether to use (and record) the statistics of x; otherwise the running ones are used.
        momentum: weight of the old running statistics.
        epsilon: added to the variance.

    Returns:
        The output, and the new running statistics. No gradient flows into them.

    >>> params, stats = init_batch_norm(1)
    >>> y, stats = batch_norm(params, stats, fnp.array([[0.0], [2.0]]), training=True)
    >>> [round(v, 2) for v in y.ravel().tolist()], round(stats["mean"].item(), 2)
    ([-1.0, 1.0], 0.1)
    """
    x = floating(x)
    dtype, x = x.dtype, wide(x)
    if training:
        axes = tuple(range(x.ndim - 1))
        mean = fnp.mean(x, axis=axes)
        var = fnp.mean(fnp.square(x - mean), axis=axes)
        seen = {"mean": mean, "var": var}
        stats = {
            name: momentum * old + (1 - momentum) * stop_gradient(seen[name]).astype(old.dtype)
            for name, old in stats.items()
        }
    else:
        mean, var = stats["mean"], stats["var"]
    unit = (x - mean) / fnp.sqrt(wide(fnp.asarray(var)) + epsilon)
    return shifted(params, unit.astype(dtype) * params["w"]), stats


def _standardized(x: Array, axes: Sequence[int], epsilon: float) -> Array:
    numbers = wide(x)
    centered = numbers - fnp.mean(numbers, axis=tuple(axes), keepdims=True)
    deviation = fnp.sqrt(fnp.mean(centered * centered, axis=tuple(axes), keepdims=True) + epsilon)
    return (centered / deviation).astype(x.dtype)
