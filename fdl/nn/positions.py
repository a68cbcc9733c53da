"""Where a token stands: sinusoidal and rotary positions, and biases by distance."""

import math
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.dtypes import as_dtype, float32
from fdl.errors import ShapeError
from fdl.numpy._operands import floating


def sinusoidal_positions(length: int, size: int, *, base: float = 10_000.0, dtype: Any = None) -> Array:
    """Sines and cosines of positions, to be added to embeddings. Source: Vaswani et al. (2017), section 3.5.

    Args:
        length: number of positions.
        size: number of features, even.
        base: the longest wavelength over 2 pi.
        dtype: of the result; None is float32.

    Returns:
        [length, size]; sines at even, cosines at odd features.

    Raises:
        ShapeError: the size is odd.

    >>> sinusoidal_positions(2, 2)[0].tolist()
    [0.0, 1.0]
    """
    if size % 2:
        raise ShapeError(f"sinusoidal_positions needs an even size, got {size}")
    angles = np.arange(length)[:, None] * base ** (-np.arange(0, size, 2) / size)
    table = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, size)
    return fnp.asarray(table.astype(np.float32 if dtype is None else as_dtype(dtype)))


def rotary_embedding(
    x: Any, positions: Any = None, *, base: float = 10_000.0, interleaved: bool = False, fraction: float = 1.0
) -> Array:
    """Turn pairs of features by angles that grow with the position, before attention. Source: Su et al. (2021).

    Inner products of two turned vectors depend on the difference of their positions only.

    Args:
        x: queries or keys [batch, tokens, heads, size], or without the batch.
        positions: integers [tokens] or [batch, tokens]; None is 0, 1, ...
        base: the longest wavelength over 2 pi.
        interleaved: whether neighbours are pairs; otherwise feature i and i + half are.
        fraction: how much of the features is turned.

    Returns:
        An array like x.

    Raises:
        ShapeError: the features are no pairs, or the positions do not fit.

    >>> x = fnp.ones((1, 3, 1, 2))
    >>> [round(v, 3) for v in rotary_embedding(x)[0, 1, 0].tolist()]
    [-0.301, 1.382]
    """
    x = floating(x)
    size = int(x.shape[-1] * fraction) if x.ndim else 0
    if x.ndim < 3 or size % 2:
        raise ShapeError(f"rotary_embedding needs x [batch, tokens, heads, even size], got {x.type}")
    positions = fnp.arange(x.shape[-3]) if positions is None else fnp.asarray(positions)
    if positions.shape[-1:] != x.shape[-3:-2] or positions.ndim > x.ndim - 2:
        raise ShapeError(f"rotary_embedding: positions {positions.type} do not fit the tokens of {x.type}")
    angles = positions[..., None, None].astype(float32) * fnp.asarray(
        (base ** (-np.arange(0, size, 2) / size)).astype(np.float32)
    )
    dtype = fnp.promote_types(x.dtype, float32)
    cosine, sine = fnp.cos(angles).astype(dtype), fnp.sin(angles).astype(dtype)
    turned, rest = x[..., :size].astype(dtype), x[..., size:]
    if interleaved:
        first, second = turned[..., 0::2], turned[..., 1::2]
    else:
        first, second = turned[..., : size // 2], turned[..., size // 2 :]
    parts = (first * cosine - second * sine, second * cosine + first * sine)
    made = fnp.stack(parts, axis=-1).reshape(turned.shape) if interleaved else fnp.concatenate(parts, axis=-1)
    return fnp.concatenate([made.astype(x.dtype), rest], axis=-1) if rest.shape[-1] else made.astype(x.dtype)


def alibi_bias(heads: int, queries: int, keys: int | None = None, *, offset: Any = 0, dtype: Any = None) -> Array:
    """A bias of attention that falls with the distance, each head at its own rate. Source: Press et al. (2022).

    Args:
        heads: number of heads.
        queries: number of queries.
        keys: number of keys; None is the queries.
        offset: position of the first query.
        dtype: of the result; None is float32.

    Returns:
        [1, heads, queries, keys], to be passed to attention as `bias`.

    >>> alibi_bias(2, 2)[0, 0].tolist()
    [[-0.0, -0.0625], [-0.0625, -0.0]]
    """
    power = 2 ** math.floor(math.log2(heads))
    rates = [2.0 ** (-8 * (i + 1) / power) for i in range(power)]
    rates += [2.0 ** (-4 * (2 * i + 1) / power) for i in range(heads - power)]
    away = fnp.abs(fnp.arange(queries)[:, None] + offset - fnp.arange(queries if keys is None else keys)[None])
    kind = float32 if dtype is None else as_dtype(dtype)
    return -fnp.asarray(np.array(rates, np.float32), kind)[None, :, None, None] * away.astype(kind)


def causal_mask(queries: int, keys: int | None = None, *, offset: Any = 0) -> Array:
    """Which keys a query may see: those up to its own position.

    Args:
        queries: number of queries.
        keys: number of keys; None is the queries.
        offset: position of the first query.

    Returns:
        bool [1, 1, queries, keys], as attention takes it.

    >>> causal_mask(2)[0, 0].tolist()
    [[True, False], [True, True]]
    """
    there = fnp.arange(queries if keys is None else keys)
    return (there[None] <= fnp.arange(queries)[:, None] + offset)[None, None]


def padding_mask(lengths: Any, size: int) -> Array:
    """Which positions hold tokens, from lengths.

    Args:
        lengths: integers [...].
        size: number of positions.

    Returns:
        bool [..., size]. For attention: ``padding_mask(lengths, keys)[:, None, None]``.

    >>> padding_mask(fnp.array([1, 3]), 3).tolist()
    [[True, False, False], [True, True, True]]
    """
    return fnp.arange(size) < fnp.asarray(lengths)[..., None]


def combine_masks(*masks: Any) -> Array | None:
    """Where all masks are true; those that are None do not count.

    Args:
        *masks: bool, broadcast to each other.

    Returns:
        bool; None if all are None.

    >>> combine_masks(causal_mask(2), None, fnp.array([False, True]))[0, 0].tolist()
    [[False, False], [False, True]]
    """
    found = None
    for mask in masks:
        if mask is not None:
            found = fnp.asarray(mask) if found is None else found & fnp.asarray(mask)
    return found
