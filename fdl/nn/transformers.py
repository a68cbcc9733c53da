"""Blocks of transformers: attention and a perceptron, each with a norm and a way around it."""

from collections.abc import Callable, Sequence
from typing import Any

import fdl.numpy as fnp
from fdl import random
from fdl.core.types import Array
from fdl.nn import initializers
from fdl.nn.activations import gelu
from fdl.nn.blocks import gated_mlp, init_gated_mlp, init_mlp, mlp
from fdl.nn.dropouts import dropout
from fdl.nn.initializers import Initializer
from fdl.nn.layers import Params
from fdl.nn.multi_head import attention_cache, init_multi_head_attention, multi_head_attention
from fdl.nn.normalization import init_layer_norm, init_rms_norm, layer_norm, rms_norm


def init_transformer_block(
    key: Any, size: int, heads: int, *, hidden: int | None = None, kv_heads: int | None = None, cross: bool = False,
    gated: bool = False, norm: str = "layer", bias: bool = True,
    w_init: Initializer = initializers.lecun_normal(), dtype: Any = None,  # noqa: B008
) -> Params:  # fmt: skip
    """Parameters of :func:`transformer_block`.

    Args:
        key: random key.
        size: number of features.
        heads: number of heads.
        hidden: features inside of the perceptron; None is four times the size.
        kv_heads: number of heads of keys and values; None is all.
        cross: whether the block attends to a context too: a block of a decoder.
        gated: whether the perceptron is a :func:`gated_mlp`.
        norm: "layer" or "rms".
        bias: whether the dense layers have a b.
        w_init: initializer of their w.
        dtype: of the parameters; None is float32.

    Returns:
        The parameters: norm1, attention, norm2, mlp, and for `cross` norm_cross and cross.

    Raises:
        ValueError: the norm is unknown.

    >>> sorted(init_transformer_block(random.key(0), 8, 2, cross=True))
    ['attention', 'cross', 'mlp', 'norm1', 'norm2', 'norm_cross']
    """
    if norm not in ("layer", "rms"):
        raise ValueError(f"init_transformer_block takes norm 'layer' or 'rms', got {norm!r}")
    first, second, third = random.split(key, 3)
    make = init_rms_norm if norm == "rms" else init_layer_norm
    inner = 4 * size if hidden is None else hidden
    settings: dict[str, Any] = {"bias": bias, "w_init": w_init, "dtype": dtype}
    params = {
        "norm1": make(size, dtype=dtype),
        "attention": init_multi_head_attention(first, size, heads, kv_heads=kv_heads, **settings),
        "norm2": make(size, dtype=dtype),
        "mlp": init_gated_mlp(second, size, inner, **settings)
        if gated
        else init_mlp(second, (size, inner, size), **settings),
    }
    if cross:
        params["norm_cross"] = make(size, dtype=dtype)
        params["cross"] = init_multi_head_attention(third, size, heads, kv_heads=kv_heads, **settings)
    return params


def transformer_block(
    params: Params, x: Any, context: Any = None, *, heads: int, mask: Any = None, context_mask: Any = None,
    is_causal: bool = False, rotary: bool | float = False, bias: Any = None, norm_first: bool = True,
    epsilon: float | None = None, activation: Callable[[Any], Array] | None = None, rate: Any = 0.0,
    attention_rate: Any = 0.0, key: Any = None, cache: Params | None = None,
) -> Any:  # fmt: skip
    """Attention of x to itself (and to a context), then a perceptron. Source: Vaswani et al. (2017), section 3.1.

    Args:
        params: from :func:`init_transformer_block`.
        x: [batch, tokens, size].
        context: [batch, keys, size], what a block with "cross" attends to.
        heads: number of heads.
        mask: bool, broadcasts to [batch, heads, tokens, tokens]; with a cache, its length instead of the last tokens.
        context_mask: bool, broadcasts to [batch, heads, tokens, keys].
        is_causal: whether a token sees only itself and those before; with a cache it does anyway.
        rotary: see :func:`multi_head_attention`.
        bias: added to the logits of the attention to itself, such as :func:`alibi_bias`.
        norm_first: whether norms come before attention and perceptron; otherwise after the sum. Source: Xiong (2020).
        epsilon: of the norms; None is their default.
        activation: of the perceptron; None is gelu, or silu for a gated one.
        rate: of the dropout of what is added.
        attention_rate: of the dropout of the attention's weights.
        key: random key, for dropout; None is no dropout.
        cache: from :func:`attention_cache`.

    Returns:
        [batch, tokens, size]; with a cache a pair of it and the new cache.

    Raises:
        ValueError: a context is missing, or there is one too many.

    >>> params = init_transformer_block(random.key(0), 8, 2)
    >>> transformer_block(params, fnp.ones((1, 5, 8)), heads=2, is_causal=True).shape
    (1, 5, 8)
    """
    x = fnp.asarray(x)
    if (context is None) == ("cross" in params):
        raise ValueError("transformer_block takes a context if, and only if, its parameters have 'cross'")
    keys = [None] * 5 if key is None else list(random.split(key, 5))
    norm_settings: dict[str, Any] = {} if epsilon is None else {"epsilon": epsilon}

    def normalized(name: str, y: Array) -> Array:
        norm = layer_norm if "b" in params[name] else rms_norm
        return norm(params[name], y, **norm_settings)

    def around(x: Array, name: str, function: Callable[[Array], Array], number: int) -> Array:
        y = function(normalized(name, x) if norm_first else x)
        y = x + (y if keys[number] is None else dropout(keys[number], rate, y))
        return y if norm_first else normalized(name, y)

    after = cache

    def attend(y: Array) -> Array:
        nonlocal after
        settings: dict[str, Any] = {"heads": heads, "rotary": rotary, "mask": mask, "bias": bias}
        settings |= {"dropout_rate": attention_rate, "dropout_key": keys[3]}
        if cache is None:
            return multi_head_attention(params["attention"], y, is_causal=is_causal, **settings)
        y, after = multi_head_attention(params["attention"], y, cache=cache, **settings)
        return y

    def perceptron(y: Array) -> Array:
        if isinstance(params["mlp"], dict):
            return gated_mlp(params["mlp"], y) if activation is None else gated_mlp(params["mlp"], y, activation)
        return mlp(params["mlp"], y, gelu if activation is None else activation)

    x = around(x, "norm1", attend, 0)
    if context is not None:
        x = around(
            x,
            "norm_cross",
            lambda y: multi_head_attention(
                params["cross"],
                y,
                context,
                heads=heads,
                mask=context_mask,
                dropout_rate=attention_rate,
                dropout_key=keys[4],
            ),
            1,
        )
    x = around(x, "norm2", perceptron, 2)
    return x if cache is None else (x, after)


def transformer(
    params: Sequence[Params], x: Any, context: Any = None, *, key: Any = None, caches: Sequence[Params] | None = None,
    **settings: Any,
) -> Any:  # fmt: skip
    """One :func:`transformer_block` after the other: an encoder, or with a context or ``is_causal=True`` a decoder.

    Args:
        params: of each block, the first one first.
        x: [batch, tokens, size].
        context: for blocks with "cross".
        key: random key, for dropout.
        caches: of each block, from :func:`transformer_caches`.
        **settings: of :func:`transformer_block`, the same for all.

    Returns:
        [batch, tokens, size]; with caches a pair of it and the new caches.

    >>> params = [init_transformer_block(k, 8, 2) for k in random.split(random.key(0), 3)]
    >>> transformer(params, fnp.ones((1, 5, 8)), heads=2).shape
    (1, 5, 8)
    """
    keys = [None] * len(params) if key is None else list(random.split(key, len(params)))
    after = []
    for number, block in enumerate(params):
        if caches is None:
            x = transformer_block(block, x, context, key=keys[number], **settings)
        else:
            x, cache = transformer_block(block, x, context, key=keys[number], cache=caches[number], **settings)
            after.append(cache)
    return x if caches is None else (x, after)


def transformer_caches(
    params: Sequence[Params], batch: int, length: int, *, heads: int, dtype: Any = None
) -> list[Params]:
    """An empty cache for each block of a :func:`transformer`.

    Args:
        params: of the blocks.
        batch: number of sequences.
        length: most tokens that a cache will hold.
        heads: number of heads.
        dtype: of keys and values; None is that of the parameters.

    Returns:
        A list of caches.

    >>> params = [init_transformer_block(random.key(0), 8, 2)]
    >>> transformer_caches(params, 1, 16, heads=2)[0]["key"].shape
    (1, 16, 2, 4)
    """
    caches = []
    for block in params:
        w = block["attention"]["key"]["w"]
        size = block["attention"]["query"]["w"].shape[1]
        groups = w.shape[1] * heads // size
        caches.append(attention_cache(batch, length, size, heads, kv_heads=groups, dtype=dtype or w.dtype))
    return caches
