"""Tables of vectors, one per id, and bags of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.dtypes import int32
from fdl.errors import ShapeError
from fdl.nn import initializers
from fdl.nn.initializers import Initializer
from fdl.nn.layers import Params, weights
from fdl.numpy._operands import wide


def init_embedding(
    key: Any,
    count: int,
    size: int,
    *,
    w_init: Initializer = initializers.normal(1.0),  # noqa: B008
    dtype: Any = None,
) -> Params:
    """Parameters of :func:`embedding`: w [count, size].

    Args:
        key: random key.
        count: number of rows, one per id.
        size: length of a row.
        w_init: initializer of w.
        dtype: of the parameters; None is float32.

    Returns:
        The parameters.

    >>> from fdl import random
    >>> init_embedding(random.key(0), 10, 4)["w"].shape
    (10, 4)
    """
    return weights(key, (count, size), (), False, w_init, initializers.zeros, dtype)


def embedding(params: Params, ids: Any, *, padding_index: int | None = None) -> Array:
    """Rows of a table.

    Args:
        params: from :func:`init_embedding`.
        ids: integers of any shape, from 0 up to count - 1.
        padding_index: the id whose row counts as zeros, and gets no gradient; None for none.

    Returns:
        An array of shape ``(*ids.shape, size)``.

    >>> embedding({"w": fnp.eye(3)}, fnp.array([2])).tolist()
    [[0.0, 0.0, 1.0]]
    """
    ids = fnp.asarray(ids)
    rows = fnp.take(params["w"], ids, axis=0)
    return rows if padding_index is None else fnp.where((ids == padding_index)[..., None], 0.0, rows).astype(rows.dtype)


def embedding_bag(
    params: Params, ids: Any, *, mode: str = "mean", mask: Any = None, sample_weights: Any = None,
    padding_index: int | None = None,
) -> Array:  # fmt: skip
    """The mean, sum or maximum of the rows of several ids.

    Args:
        params: from :func:`init_embedding`.
        ids: integers [..., bag].
        mode: "mean", "sum" or "max"; a bag without ids is zeros.
        mask: bool, like `ids`: which count; None is all.
        sample_weights: factors of the rows, like `ids`; for "sum" and "mean", whose divisor stays the number of ids.
        padding_index: an id that does not count; None for none.

    Returns:
        An array [..., size].

    Raises:
        ShapeError: the shapes do not fit.
        ValueError: the mode is unknown.

    >>> embedding_bag({"w": fnp.eye(3)}, fnp.array([[0, 2], [1, 1]])).tolist()
    [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]
    """
    if mode not in ("mean", "sum", "max"):
        raise ValueError(f"embedding_bag takes mode 'mean', 'sum' or 'max', got {mode!r}")
    ids = fnp.asarray(ids)
    if ids.ndim == 0:
        raise ShapeError(f"embedding_bag needs ids [..., bag], got {ids.type}")
    counted = fnp.ones(ids.shape, bool) if mask is None else fnp.broadcast_to(fnp.asarray(mask), ids.shape)
    if padding_index is not None:
        counted = counted & (ids != padding_index)
    rows, there = fnp.take(params["w"], ids, axis=0), counted[..., None]
    if mode == "max":
        found = fnp.max(fnp.where(there, rows, -fnp.inf), axis=-2)
        return fnp.where(fnp.any(there, axis=-2), found, 0.0).astype(rows.dtype)
    if sample_weights is not None:
        rows = rows * fnp.asarray(sample_weights)[..., None].astype(rows.dtype)
    total = fnp.sum(fnp.where(there, wide(rows), 0.0), axis=-2)
    if mode == "sum":
        return total.astype(rows.dtype)
    return (total / fnp.maximum(fnp.sum(there, axis=-2), 1)).astype(rows.dtype)


def stacked_ids(ids: Any, sizes: Sequence[int]) -> Array:
    """Rows of one table that holds those of several columns, one column below the other.

    Looking up one large table is one operation, where a table for each column would be many.

    Args:
        ids: integers [..., columns], each from 0 up to the size of its column - 1.
        sizes: numbers of rows of the columns; the table has their sum.

    Returns:
        An array like `ids`, of int32 at least.

    Raises:
        ShapeError: there are not as many columns as sizes.

    >>> stacked_ids(fnp.array([[0, 0], [2, 1]]), (3, 2)).tolist()
    [[0, 3], [2, 4]]
    """
    ids = fnp.asarray(ids)
    if ids.dtype.itemsize < 4:  # in which the rows may have no room
        ids = ids.astype(int32)
    if ids.ndim == 0 or ids.shape[-1] != len(sizes):
        raise ShapeError(f"stacked_ids of {len(sizes)} columns needs ids [..., {len(sizes)}], got {ids.type}")
    return ids + fnp.asarray(np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(ids.dtype))


def attend(params: Params, x: Any) -> Array:
    """Scores of all ids: the product with the transposed table, for outputs that share it. Source: Press, Wolf (2017).

    Args:
        params: from :func:`init_embedding`.
        x: [..., size].

    Returns:
        [..., count].

    >>> attend({"w": fnp.eye(3)}, fnp.array([1.0, 2.0, 3.0])).tolist()
    [1.0, 2.0, 3.0]
    """
    return fnp.matmul(fnp.asarray(x), fnp.swapaxes(params["w"], 0, 1))
