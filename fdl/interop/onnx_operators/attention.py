"""ONNX's attention, with caches of keys and values, masks and windows."""

from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import nn
from fdl.core.types import Array
from fdl.interop.onnx_graph import dtype_of
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define


def heads_first(x: Any, heads: int | None) -> Array:
    """Rows [batch, length, heads * size] as [batch, heads, length, size]; what has four axes stays."""
    if x.ndim == 4:
        return x
    batch, length, width = x.shape
    return fnp.swapaxes(x.reshape(batch, length, heads, width // heads), 1, 2)


def allowed(queries: int, keys: int, first: Any, causal: int, left: int, right: int) -> Any:
    """Which keys a query may read, by their places; that of the first query is one for all, or one an example."""
    first = fnp.reshape(first, (-1, 1, 1, 1)) if np.ndim(first) else first
    ahead = fnp.arange(keys) - (fnp.arange(queries)[:, None] + first)  # of the key before the query
    masks = [ahead <= 0] if causal else []
    masks += [ahead >= -left] if left >= 0 else []
    masks += [ahead <= right] if right >= 0 else []
    result = None
    for mask in masks:
        result = mask if result is None else result & mask
    return result


@define("Attention")
def attention(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    past_key: Any = None,
    past_value: Any = None,
    lengths: Any = None,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    left_window_size: int = -1,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    right_window_size: int = -1,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
) -> tuple[Array, Array, Array, Array]:
    dtype, flat = q.dtype, q.ndim == 3
    q, k, v = heads_first(q, q_num_heads), heads_first(k, kv_num_heads), heads_first(v, kv_num_heads)
    first: Any = 0
    if past_key is not None:
        first = past_key.shape[2]
        k, v = fnp.concatenate([past_key, k], axis=2), fnp.concatenate([past_value, v], axis=2)
    elif lengths is not None:
        first = fnp.reshape(lengths, (-1,)) - q.shape[2]
    present = k, v
    queries, keys, groups = q.shape[2], k.shape[2], q.shape[1] // k.shape[1]
    if groups > 1:
        k, v = fnp.repeat(k, groups, axis=1), fnp.repeat(v, groups, axis=1)
    none, minus = fnp.zeros((), dtype), fnp.full((), -np.inf, dtype)
    bias = fnp.zeros((queries, keys), dtype)
    if mask is not None:
        around = [(0, 0)] * (mask.ndim - 1) + [(0, keys - mask.shape[-1])]
        binary = mask.dtype == np.bool_
        mask = fnp.pad(mask, around, constant_values=False if binary else -np.inf)
        bias = bias + (fnp.where(mask, none, minus) if binary else mask.astype(dtype))
    places = allowed(queries, keys, first, is_causal, left_window_size, right_window_size)
    if places is not None:
        bias = bias + fnp.where(places, none, minus)
    if lengths is not None:
        bias = bias + fnp.where(fnp.arange(keys) < fnp.reshape(lengths, (-1, 1, 1, 1)), none, minus)
    root = fnp.asarray(np.sqrt(q.shape[-1] ** -0.5 if scale is None else scale), dtype)
    scores = fnp.matmul(q * root, fnp.swapaxes(k, -1, -2) * root)
    if softcap:
        scores = fnp.tanh(scores / softcap) * softcap
    biased = scores + bias
    wide = biased if softmax_precision is None else biased.astype(dtype_of(softmax_precision))
    # A query that may read no key at all reads zeros.
    readable = (bias > -np.inf).any(axis=-1, keepdims=True)
    weights = fnp.where(readable, nn.softmax(fnp.where(readable, wide, fnp.zeros((), wide.dtype))), 0).astype(dtype)
    result = fnp.matmul(weights, v)
    if flat:
        result = fnp.swapaxes(result, 1, 2).reshape(result.shape[0], queries, -1)
    shown = {2: biased, 3: weights}.get(qk_matmul_output_mode, scores)
    return result, *present, shown.astype(dtype)
