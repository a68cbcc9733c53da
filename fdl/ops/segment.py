"""Sums and other reductions of rows by a segment number."""

from typing import Any

import numpy as np

from fdl.array import as_array
from fdl.errors import DtypeError, ShapeError
from fdl.ops.indexing import scatter
from fdl.ops.reduce import identity
from fdl.ops.shape import full, reshape
from fdl.ops.windows import ScatterDimensionNumbers


def _segments(kind: str, name: str, identity_of: Any) -> Any:
    def run(
        data: Any,
        segment_ids: Any,
        num_segments: int | None = None,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        bucket_size: int | None = None,
        mode: Any = None,
    ) -> Any:
        data, ids = as_array(data, f"the data of {name}"), as_array(segment_ids, f"the segment_ids of {name}")
        if ids.dtype.kind not in "iu":
            raise DtypeError(f"{name} needs integer segment_ids, got {ids.type}")
        if ids.ndim != 1 or data.shape[:1] != ids.shape:
            raise ShapeError(
                f"{name} needs one segment id for each row of data: data is {data.type}, ids are {ids.type}"
            )
        if num_segments is None:
            found = ids.concrete(f"the largest segment id, since {name} was called without num_segments,")
            num_segments = int(np.max(found, initial=-1)) + 1
        start = full(identity_of(data.dtype), (num_segments, *data.shape[1:]), data.dtype)
        numbers = ScatterDimensionNumbers(tuple(range(1, data.ndim)), (0,), (0,))
        chosen = "clip" if str(getattr(mode, "value", mode)) == "clip" else "fill"
        columns = reshape(ids, (*ids.shape, 1))
        return scatter(kind, start, columns, data, numbers, chosen, unique_indices, indices_are_sorted)

    run.__name__ = run.__qualname__ = name
    run.__module__ = __name__
    run.__doc__ = f"""For each segment the {name.removeprefix("segment_")} of the rows that carry its number.

    Args:
        data: array (n, ...).
        segment_ids: integers (n,); rows with a number outside [0, num_segments) are dropped.
        num_segments: how many segments there are; by default one more than the largest number, which must be known.
        indices_are_sorted, unique_indices: promises about `segment_ids`.
        bucket_size: accepted for ports, and ignored.
        mode: "clip" moves numbers out of range to the nearest segment instead.

    Returns:
        Array (num_segments, ...); segments without rows hold the identity element.

    Raises:
        ShapeError, DtypeError: `segment_ids` does not fit `data`.
    """
    return run


def _one(dtype: np.dtype) -> Any:
    return 1


def _zero(dtype: np.dtype) -> Any:
    return 0


def _lowest(dtype: np.dtype) -> Any:
    return identity(dtype, True)


def _highest(dtype: np.dtype) -> Any:
    return identity(dtype, False)


segment_sum = _segments("add", "segment_sum", _zero)
segment_prod = _segments("mul", "segment_prod", _one)
segment_max = _segments("max", "segment_max", _lowest)
segment_min = _segments("min", "segment_min", _highest)

__all__ = ["segment_max", "segment_min", "segment_prod", "segment_sum"]
