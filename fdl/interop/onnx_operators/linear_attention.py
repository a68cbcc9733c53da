"""ONNX's LinearAttention: attention as a recurrence over a matrix, with decay and the delta rule."""

from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax
from fdl.core.types import Array
from fdl.errors import InteropError
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define


def steps_first(x: Any, heads: int) -> Array:
    """Rows [batch, length, heads * size] as [length, batch, heads, size], of 32 bits."""
    return fnp.moveaxis(x.reshape(*x.shape[:2], heads, -1), 1, 0).astype(np.float32)


@define("LinearAttention")
def linear_attention(
    q: Any,
    k: Any,
    v: Any,
    past: Any = None,
    decay: Any = None,
    beta: Any = None,
    chunk_size: int = 64,
    kv_num_heads: int = 0,
    q_num_heads: int = 0,
    scale: float = 0.0,
    update_rule: str = "gated_delta",
) -> tuple[Array, Array]:
    """Katharopoulos et al. (2020); gates of Yang et al. (2024), the delta rule of Schlag et al. (2021)."""
    gated, delta = update_rule.startswith("gated"), update_rule.endswith("delta")
    if gated != (decay is not None) or delta != (beta is not None):
        raise InteropError(f"from_onnx: LinearAttention by the rule {update_rule} has other operands")
    batch, size, groups = q.shape[0], q.shape[2] // q_num_heads, q_num_heads // kv_num_heads
    queries, keys, values = steps_first(q, q_num_heads), steps_first(k, kv_num_heads), steps_first(v, kv_num_heads)
    width = values.shape[-1]
    start = fnp.zeros((batch, kv_num_heads, size, width), np.float32) if past is None else past.astype(np.float32)
    # A decay is one number a head, or one a place of the key; a beta one a head, or one for all.
    decays = None if decay is None else steps_first(decay, kv_num_heads)
    betas = None if beta is None else steps_first(beta, beta.shape[-1])

    def step(state: Any, now: Any) -> tuple[Any, Any]:
        query, key, value, fading, strength = now
        if fading is not None:
            state = state * fnp.exp(fading)[..., None]
        if strength is not None:
            value = strength * (value - fnp.einsum("bhdm,bhd->bhm", state, key))
        state = state + key[..., :, None] * value[..., None, :]
        read = fnp.repeat(state, groups, axis=1) if groups > 1 else state
        return state, fnp.einsum("bhd,bhdm->bhm", query, read)

    state, out = lax.scan(step, start, (queries, keys, values, decays, betas))
    out = fnp.moveaxis(out, 0, 1).reshape(batch, q.shape[1], q_num_heads * width) * (scale or size**-0.5)
    return out.astype(q.dtype), state.astype(q.dtype if past is None else past.dtype)
