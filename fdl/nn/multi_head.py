"""Attention with several heads: grouped keys, rotary positions, and a cache for one token after the other."""

from typing import Any

import fdl.numpy as fnp
from fdl import lax, random
from fdl.core.types import Array
from fdl.dtypes import as_dtype, int32
from fdl.errors import ShapeError
from fdl.nn import initializers
from fdl.nn.attention import dot_product_attention
from fdl.nn.initializers import Initializer
from fdl.nn.layers import Params, dense, init_dense
from fdl.nn.positions import combine_masks, rotary_embedding


def init_multi_head_attention(
    key: Any,
    size: int,
    heads: int,
    *,
    kv_heads: int | None = None,
    bias: bool = True,
    w_init: Initializer = initializers.lecun_normal(),  # noqa: B008
    dtype: Any = None,
) -> Params:
    """Parameters of :func:`multi_head_attention`: dense layers query, key, value and out, each [size, size].

    Args:
        key: random key.
        size: number of features, a multiple of the heads.
        heads: number of heads.
        kv_heads: number of heads of keys and values, a divisor of the heads; None is all of them.
        bias: whether the layers have a b.
        w_init: initializer of their w.
        dtype: of the parameters; None is float32.

    Returns:
        The parameters.

    Raises:
        ShapeError: the heads do not divide the size, or the groups the heads.

    >>> sorted(init_multi_head_attention(random.key(0), 8, heads=2))
    ['key', 'out', 'query', 'value']
    """
    groups = heads if kv_heads is None else kv_heads
    if size % heads:
        raise ShapeError(f"multi_head_attention: {heads} heads do not divide the size {size}")
    if heads % groups:
        raise ShapeError(f"multi_head_attention: {groups} heads of keys do not divide {heads} heads")
    narrow = size // heads * groups
    widths = {"query": size, "key": narrow, "value": narrow, "out": size}
    keys = random.split(key, len(widths))
    return {
        name: init_dense(k, size, width, bias=bias, w_init=w_init, dtype=dtype)
        for k, (name, width) in zip(keys, widths.items(), strict=True)
    }


def attention_cache(
    batch: int, length: int, size: int, heads: int, *, kv_heads: int | None = None, dtype: Any = None
) -> Params:
    """An empty cache of :func:`multi_head_attention`: zeros key and value [batch, length, kv_heads, size / heads].

    Args:
        batch: number of sequences.
        length: most tokens that it will hold.
        size: number of features.
        heads: number of heads.
        kv_heads: number of heads of keys and values; None is all.
        dtype: of keys and values; None is float32.

    Returns:
        The cache, with the number of tokens in it as `index`, an int32.

    >>> attention_cache(1, 16, 8, heads=4, kv_heads=2)["key"].shape
    (1, 16, 2, 2)
    """
    zeros = fnp.zeros((batch, length, kv_heads or heads, size // heads), as_dtype(float if dtype is None else dtype))
    return {"key": zeros, "value": zeros, "index": fnp.zeros((), int32)}


def multi_head_attention(
    params: Params, x: Any, context: Any = None, *, heads: int, rotary: bool | float = False,
    cache: Params | None = None, mask: Any = None, **settings: Any,
) -> Any:  # fmt: skip
    """Attention of every position of x to every position of `context`. Source: Vaswani et al. (2017), section 3.2.2.

    With a cache, x are the next tokens: their keys and values are put into it, and they see all tokens up to their own.
    Calls with one token after the other give what one causal call with all of them gives.

    Args:
        params: from :func:`init_multi_head_attention`; groups of heads share keys if there are fewer of these.
        x: [batch, queries, size].
        context: [batch, keys, size]; None is x itself.
        heads: number of heads, a divisor of size.
        rotary: whether queries and keys are turned by their positions, see :func:`rotary_embedding`; a number is its
            base.
        cache: from :func:`attention_cache`; tokens beyond its length give NaN.
        mask: bool, broadcasts to [batch, heads, queries, keys]; false entries are left out.
        **settings: passed to :func:`dot_product_attention`, for example ``is_causal=True``.

    Returns:
        [batch, queries, size]; with a cache a pair of it and the new cache.

    Raises:
        ShapeError: the shapes do not fit.
        ValueError: there is a cache, and a context or a `local_window_size`.

    >>> params = init_multi_head_attention(random.key(0), 8, heads=2)
    >>> multi_head_attention(params, fnp.ones((1, 5, 8)), heads=2, is_causal=True).shape
    (1, 5, 8)
    """
    x = fnp.asarray(x)
    if x.ndim < 2 or params["query"]["w"].shape[1] % heads:
        raise ShapeError(
            f"multi_head_attention needs x [batch, queries, size], and heads that divide the size of w "
            f"{params['query']['w'].type}; got {x.type} and {heads} heads"
        )
    if cache is not None and context is not None:
        raise ValueError("multi_head_attention: a cache is for attention of x to itself; it takes no context")
    if cache is not None:
        settings.pop("is_causal", None)  # as every call with a cache is
        if settings.get("local_window_size") is not None:
            raise ValueError("multi_head_attention: with a cache give the window as a mask, not as local_window_size")
    context = x if context is None else fnp.asarray(context)
    width = params["query"]["w"].shape[1] // heads

    def split(name: str, value: Array) -> Array:
        return dense(params[name], value).reshape((*value.shape[:-1], params[name]["w"].shape[1] // width, width))

    query, key, value = split("query", x), split("key", context), split("value", context)
    start: Any = 0 if cache is None else cache["index"]
    if rotary is not False:
        base = 10_000.0 if rotary is True else float(rotary)
        query = rotary_embedding(query, start + fnp.arange(x.shape[-2]), base=base)
        key = rotary_embedding(key, start + fnp.arange(context.shape[-2]), base=base)
    if cache is not None:
        key, value = (
            lax.dynamic_update_slice_in_dim(cache[name], new.astype(cache[name].dtype), start, axis=1)
            for name, new in (("key", key), ("value", value))
        )
        cache = {"key": key, "value": value, "index": start + x.shape[-2]}
        places = start + fnp.arange(x.shape[-2])[:, None]
        mask = combine_masks(mask, (fnp.arange(key.shape[1])[None] <= places)[None, None])
        query = query.astype(key.dtype)
    out = dot_product_attention(query, key, value, mask=mask, **settings)
    y = dense(params["out"], out.reshape((*x.shape[:-1], heads * width)).astype(x.dtype))
    if cache is None:
        return y
    return fnp.where(cache["index"] <= key.shape[1], y, fnp.nan), cache
