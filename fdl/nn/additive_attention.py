"""Attention whose scores are those of a small perceptron."""

from typing import Any

import fdl.numpy as fnp
from fdl import random
from fdl.core.types import Array
from fdl.dtypes import bool_
from fdl.errors import DtypeError, ShapeError
from fdl.nn.layers import Params, dense, init_dense
from fdl.nn.softmax import softmax


def init_additive_attention(key: Any, query: int, memory: int, hidden: int, *, dtype: Any = None) -> Params:
    """Parameters of :func:`additive_attention`: dense layers query, memory and score.

    Args:
        key: random key.
        query: number of features of the query.
        memory: number of features of what it attends to.
        hidden: number of features of the perceptron.
        dtype: of the parameters; None is float32.

    Returns:
        The parameters.

    >>> sorted(init_additive_attention(random.key(0), 4, 6, 8))
    ['memory', 'query', 'score']
    """
    first, second, third = random.split(key, 3)
    return {
        "query": init_dense(first, query, hidden, dtype=dtype),
        "memory": init_dense(second, memory, hidden, bias=False, dtype=dtype),
        "score": init_dense(third, hidden, 1, bias=False, dtype=dtype),
    }


def additive_attention(
    params: Params, query: Any, memory: Any, mask: Any = None, *, projected: Any = None
) -> tuple[Array, Array]:
    """Mean of a memory, weighted by softmax(v' tanh(W query + U memory)). Source: Bahdanau et al. (2015), A.1.2.

    Args:
        params: from :func:`init_additive_attention`.
        query: [..., query].
        memory: [..., keys, memory], with the same leading axes.
        mask: bool [..., keys]; false entries are left out. At least one of each query is true.
        projected: ``dense(params["memory"], memory)``, for a memory that many queries attend to; None computes it.

    Returns:
        The mean [..., memory], and the weights [..., keys].

    Raises:
        ShapeError: the shapes do not fit.
        DtypeError: the mask is not boolean.

    >>> params = init_additive_attention(random.key(0), 4, 6, 8)
    >>> mean, weights = additive_attention(params, fnp.ones((2, 4)), fnp.ones((2, 5, 6)))
    >>> mean.shape, weights.shape
    ((2, 6), (2, 5))
    """
    query, memory = fnp.asarray(query), fnp.asarray(memory)
    if memory.ndim != query.ndim + 1 or memory.shape[:-2] != query.shape[:-1]:
        raise ShapeError(
            f"additive_attention needs a query [..., features] and a memory [..., keys, features] with the same "
            f"leading axes, got {query.type} and {memory.type}"
        )
    projected = dense(params["memory"], memory) if projected is None else fnp.asarray(projected)
    hidden = fnp.tanh(dense(params["query"], query)[..., None, :] + projected)
    scores = dense(params["score"], hidden)[..., 0]
    if mask is not None:
        mask = fnp.asarray(mask)
        if mask.dtype != bool_:
            raise DtypeError(f"the mask of additive_attention is boolean, got {mask.type}")
        scores = fnp.where(mask, scores, -0.7 * float(fnp.finfo(scores.dtype).max))
    weights = softmax(scores)
    return fnp.einsum("...k,...km->...m", weights, memory), weights
