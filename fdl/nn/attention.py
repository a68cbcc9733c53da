"""Attention."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl import dtypes
from fdl.core.types import Array
from fdl.errors import DtypeError, ShapeError
from fdl.nn.dropouts import dropout
from fdl.nn.softmax import logsumexp, softmax
from fdl.ops.arithmetic import stop_gradient

#: Queries of a band at least, and bands at most: what the last query of a band does not see is left out for all of it.
_BAND, _BANDS = 128, 8


def dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    mask: Any = None,
    *,
    scale: float | None = None,
    is_causal: bool = False,
    query_seq_lengths: Any = None,
    key_value_seq_lengths: Any = None,
    local_window_size: int | tuple[int, int] | None = None,
    implementation: str | None = None,
    return_residual: bool = False,
    dropout_rate: Any = 0.0,
    dropout_key: Any = None,
) -> Any:
    """Softmax attention with several heads. Source: Vaswani et al. (2017); grouped heads: Ainslie et al. (2023).

    Args:
        query: [batch, queries, heads, size], or without the batch.
        key: [batch, keys, groups, size], where the number of heads is a multiple of the groups.
        value: like `key`.
        bias: added to the logits; broadcasts to [batch, heads, queries, keys].
        mask: bool, like `bias`; false entries are left out.
        scale: of the logits; None is 1 / sqrt(size).
        is_causal: whether a query sees only keys at its own position and before. Of long sequences, blocks of keys that
            no query of a block sees are neither multiplied nor stored.
        query_seq_lengths: int32[batch], the queries that count; results of the others are zero.
        key_value_seq_lengths: int32[batch], the keys that count.
        local_window_size: how many keys before and after its own position a query sees.
        implementation: None or "xla"; accepted for compatibility.
        return_residual: whether to return the logsumexp of the logits, [batch, queries, heads], too.
        dropout_rate: of the dropout of the weights, after the softmax.
        dropout_key: random key, for that dropout; None is no dropout.

    Returns:
        An array like `query`, or a pair.

    Raises:
        ShapeError: the shapes do not fit.
        DtypeError: the dtypes differ, or the mask is not boolean.
        ValueError: the implementation is unknown.

    >>> x = fnp.ones((2, 5, 4, 8))
    >>> dot_product_attention(x, x, x, is_causal=True).shape
    (2, 5, 4, 8)
    """
    if implementation not in (None, "xla"):
        raise ValueError(f"dot_product_attention has one implementation, got {implementation!r}")
    shape = fnp.shape(query)
    query, key, value = (_four_axes(x) for x in (query, key, value))
    _check(query, key, value, mask)
    queries, keys = query.shape[1], key.shape[1]
    plain = bias is None and mask is None and query_seq_lengths is None and key_value_seq_lengths is None
    bands = _bands(queries, keys, is_causal, local_window_size) if plain and dropout_key is None else None
    parts = []
    for rows, columns in bands or [((0, queries), (0, keys))]:
        seen = _visible(rows, columns, mask, is_causal, query_seq_lengths, key_value_seq_lengths, local_window_size)
        q, (k, v) = query[:, slice(*rows)], (x[:, slice(*columns)] for x in (key, value))
        parts.append(_attend(q, k, v, bias, seen, scale, dropout_rate, dropout_key))
    out = fnp.concatenate([out for out, _ in parts], axis=1)
    if query_seq_lengths is not None:
        counted = fnp.arange(queries) < fnp.asarray(query_seq_lengths)[:, None]
        out = out * counted[:, :, None, None].astype(out.dtype)
    out = out.reshape(shape)
    if not return_residual:
        return out
    residual = fnp.concatenate([logsumexp(logits, axis=-1) for _, logits in parts], axis=-1)
    residual = fnp.swapaxes(residual, 1, 2).astype(key.dtype)
    return out, stop_gradient(residual.reshape(shape[:-1]))


def _attend(
    query: Array, key: Array, value: Array, bias: Any, seen: Any, scale: Any, dropout_rate: Any, dropout_key: Any
) -> tuple[Array, Array]:
    """(result, logits) of queries that see some of the keys; None is all."""
    (batch, queries, heads, size), (_, keys, groups, _) = query.shape, key.shape
    wide = fnp.promote_types(query.dtype, dtypes.float32)
    grouped = query.reshape((batch, queries, groups, heads // groups, size)).astype(wide)
    logits = fnp.einsum("btkgh,bskh->bkgts", grouped, key.astype(wide)).reshape((batch, heads, queries, keys))
    logits = logits * (1 / math.sqrt(size) if scale is None else scale)
    if bias is not None:
        logits = (logits + _four_axes(bias)).astype(wide)
    if seen is not None:
        logits = fnp.where(seen, logits, -0.7 * float(fnp.finfo(dtypes.float32).max))
    weights = softmax(logits)
    if dropout_key is not None:
        weights = dropout(dropout_key, dropout_rate, weights)
    weights = weights.astype(key.dtype).reshape((batch, groups, heads // groups, queries, keys))
    out = fnp.einsum("bkgts,bskh->btkgh", weights, value).reshape((batch, queries, heads, size))
    return out, logits


def _window(window: Any) -> tuple[int, int]:
    """How many keys before and after its own position a query sees."""
    return (window, window) if isinstance(window, int) else window


def _bands(
    queries: int, keys: int, is_causal: bool, window: Any
) -> list[tuple[tuple[int, int], tuple[int, int]]] | None:
    """Parts of the queries with the keys that they may see, from and to, if that leaves out many of the others.

    Every query has to see a key: those that see none have equal weights for all keys.
    """
    before, after = (keys, keys) if window is None else _window(window)
    after = min(after, 0) if is_causal else after
    if min(before, after) < 0 or queries < 4 * _BAND or keys < queries:
        return None
    step = -(-queries // min(queries // _BAND, _BANDS))
    rows = [(start, min(start + step, queries)) for start in range(0, queries, step)]
    found = [((start, stop), (max(start - before, 0), min(stop + after, keys))) for start, stop in rows]
    seen = sum((stop - start) * (last - first) for (start, stop), (first, last) in found)
    return found if seen <= 0.75 * queries * keys else None


def _four_axes(x: Any) -> Array:
    x = fnp.asarray(x)
    return x.reshape((1,) * (4 - x.ndim) + x.shape) if x.ndim < 4 else x


def _check(query: Array, key: Array, value: Array, mask: Any) -> None:
    fits = key.shape == value.shape and query.shape[0] == key.shape[0] and query.shape[3] == key.shape[3]
    if not fits or query.ndim != 4 or key.shape[2] == 0 or query.shape[2] % key.shape[2]:
        raise ShapeError(
            "dot_product_attention needs query [batch, queries, heads, size], key, value [batch, keys, groups, size] "
            f"with heads a multiple of groups; got {query.type}, {key.type}, {value.type}"
        )
    if not query.dtype == key.dtype == value.dtype:
        raise DtypeError(f"dot_product_attention needs one dtype, got {query.type}, {key.type}, {value.type}")
    if mask is not None and fnp.asarray(mask).dtype != dtypes.bool_:
        raise DtypeError(
            f"the mask of dot_product_attention is boolean, got {fnp.asarray(mask).type}; use bias for numbers"
        )


def _visible(
    rows: tuple[int, int], columns: tuple[int, int], mask: Any, is_causal: bool, query_lengths: Any, key_lengths: Any,
    window: Any,
) -> Array | None:  # fmt: skip
    """Which keys each query sees, to be broadcast to [batch, heads, queries, keys]; None if all."""
    q, k = fnp.arange(*rows)[:, None], fnp.arange(*columns)[None, :]
    parts = [] if mask is None else [_four_axes(mask)]
    if is_causal:
        parts.append((q >= k)[None, None])
    if window is not None:
        before, after = _window(window)
        parts.append(((q <= k + before) & (q >= k - after))[None, None])
    if query_lengths is not None:
        parts.append((q[None] < fnp.asarray(query_lengths)[:, None, None])[:, None])
    if key_lengths is not None:
        parts.append((k[None] < fnp.asarray(key_lengths)[:, None, None])[:, None])
    seen = None
    for part in parts:
        seen = part if seen is None else seen & part
    return seen
