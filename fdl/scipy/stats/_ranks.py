"""Statistics of samples: the most common value, ranks, the error of a mean."""

from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import dtypes, lax
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.numpy._operands import axis_index
from fdl.scipy._operands import inexact

__all__ = ["ModeResult", "mode", "rankdata", "sem"]


class ModeResult(NamedTuple):
    """The most common values, and how often they occur."""

    mode: Array
    count: Array  # type: ignore[assignment]


def _propagates(name: str, nan_policy: str) -> None:
    if nan_policy != "propagate":
        raise NotImplementedError(f"{name} takes nan_policy 'propagate', got {nan_policy!r}")


def _runs(ordered: Array) -> tuple[Array, Array]:
    """Whether an element of sorted arrays [..., n] differs from the one before, and where its run of equals starts."""
    before, here = ordered[..., :-1], ordered[..., 1:]
    new = (here != before) & ~((here != here) & (before != before))  # NaNs are equal here
    new = fnp.concatenate([fnp.ones_like(ordered[..., :1], dtype=bool), new], axis=-1)
    places = fnp.arange(ordered.shape[-1], dtype=dtypes.int32)
    return new, lax.cummax(fnp.where(new, places, 0), axis=ordered.ndim - 1)


def mode(a: Any, axis: int | None = 0, nan_policy: str = "propagate", keepdims: bool = False) -> ModeResult:
    """The most common values along an axis; the smallest of several.

    Args:
        a: real array; NaNs count as one value.
        axis: to reduce; None takes all elements.
        nan_policy: "propagate".
        keepdims: whether the axis stays, with extent 1.

    Returns:
        The values, in the dtype of a, and their int32 counts; NaN and 0 of no elements.

    Raises:
        NotImplementedError: another `nan_policy`.

    >>> found = mode(fnp.array([2, 4, 1, 4, 2, 4]))
    >>> found.mode.item(), found.count.item()
    (4, 3)
    """
    _propagates("mode", nan_policy)
    a = fnp.atleast_1d(fnp.asarray(a))
    rest = a.reshape(-1) if axis is None else fnp.moveaxis(a, axis_index("mode", axis, a.ndim), -1)
    if rest.shape[-1]:
        ordered = fnp.sort(rest, axis=-1)
        counts = fnp.arange(1, ordered.shape[-1] + 1, dtype=dtypes.int32) - _runs(ordered)[1]
        place = fnp.argmax(counts, axis=-1)[..., None]
        found = [fnp.take_along_axis(v, place, axis=-1)[..., 0] for v in (ordered, counts)]
    else:
        found = [
            fnp.full(rest.shape[:-1], fnp.nan, a.dtype if a.dtype.kind in "fV" else dtypes.default_dtype(float)),
            fnp.zeros(rest.shape[:-1], dtypes.int32),
        ]
    if keepdims:
        shape = tuple(1 if axis is None or i == axis_index("mode", axis, a.ndim) else n for i, n in enumerate(a.shape))
        found = [v.reshape(shape) for v in found]
    return ModeResult(*found)


def rankdata(a: Any, method: str = "average", *, axis: int | None = None, nan_policy: str = "propagate") -> Array:
    """The places that elements have in ascending order, from one on.

    Args:
        a: real array.
        method: the rank of equal elements: "average" of their places, "min" or "max", "dense" (as "min", and the next
            element has the next rank), or "ordinal" (in the order in which they stand).
        axis: along which to rank; None takes all elements as one vector.
        nan_policy: "propagate": with a NaN among them all ranks are NaN.

    Returns:
        A floating array like a, or a vector.

    Raises:
        ValueError: `method` is none of these.
        NotImplementedError: another `nan_policy`.

    >>> rankdata(fnp.array([1, 3, 2, 3])).tolist()
    [1.0, 3.5, 2.0, 3.5]
    """
    _propagates("rankdata", nan_policy)
    if method not in ("average", "min", "max", "dense", "ordinal"):
        raise ValueError(f"rankdata takes method 'average', 'min', 'max', 'dense' or 'ordinal', got {method!r}")
    a = fnp.asarray(a)
    dtype = dtypes.float64 if a.dtype == dtypes.float64 else dtypes.default_dtype(float)
    a = a.reshape(-1) if axis is None else fnp.moveaxis(a, axis_index("rankdata", axis, a.ndim), -1)
    order = fnp.argsort(a, axis=-1, stable=True)
    back = fnp.argsort(order, axis=-1, stable=True)
    ordered = fnp.take_along_axis(a, order, axis=-1)
    new, start = _runs(ordered) if a.shape[-1] else (a, a)
    n = a.shape[-1]
    if method == "ordinal" or not n:
        ranks = fnp.broadcast_to(fnp.arange(1, n + 1), a.shape)
    elif method == "dense":
        ranks = fnp.cumsum(new.astype(dtypes.int32), axis=-1)
    else:
        last = fnp.concatenate([new[..., 1:], fnp.ones_like(new[..., :1])], axis=-1)
        end = lax.cummin(fnp.where(last, fnp.arange(1, n + 1), n), axis=a.ndim - 1, reverse=True)
        first = start + 1
        ranks = {"min": first, "max": end}[method] if method != "average" else (first.astype(dtype) + end) / 2
    ranks = fnp.take_along_axis(ranks.astype(dtype), back, axis=-1)
    if a.dtype.kind not in "biu":
        ranks = fnp.where(fnp.any(fnp.isnan(a), axis=-1, keepdims=True), fnp.nan, ranks)
    return ranks if axis is None else fnp.moveaxis(ranks, -1, axis)


def sem(a: Any, axis: int | None = 0, ddof: int = 1, nan_policy: str = "propagate", *, keepdims: bool = False) -> Array:
    """The standard error of the mean: the standard deviation by the root of the number of elements.

    Args:
        a: real array.
        axis: to reduce; None takes all elements.
        ddof: what the number of elements is lessened by in the variance.
        nan_policy: "propagate", or "omit" to leave NaNs out.
        keepdims: whether the axis stays, with extent 1.

    Returns:
        A floating array.

    Raises:
        ValueError: another `nan_policy`.

    >>> round(sem(fnp.array([1.0, 2.0, 3.0])).item(), 3)
    0.577
    """
    if nan_policy not in ("propagate", "omit"):
        raise ValueError(f"sem takes nan_policy 'propagate' or 'omit', got {nan_policy!r}")
    (a,) = inexact(a)
    if axis is not None and not a.ndim:
        raise ShapeError("sem needs an axis to reduce; give axis=None for a number")
    if nan_policy == "omit":
        count = fnp.sum(~fnp.isnan(a), axis=axis, keepdims=keepdims)
        return fnp.nanstd(a, axis=axis, ddof=ddof, keepdims=keepdims) / fnp.sqrt(count.astype(a.dtype))
    count = a.size if axis is None else a.shape[axis]
    return fnp.std(a, axis=axis, ddof=ddof, keepdims=keepdims) / fnp.sqrt(fnp.asarray(count, a.dtype))
