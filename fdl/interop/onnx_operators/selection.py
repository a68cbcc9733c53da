"""ONNX operators whose results have extents that depend on numbers: they need arrays whose numbers are known."""

from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl.api.vmap import vmap
from fdl.core.types import Array
from fdl.interop.onnx_operators.shapes import concrete, numbers, visible
from fdl.interop.tables import OperatorTable
from fdl.nn import boxes as detections

TABLE = OperatorTable()
define = TABLE.define


@define("Compress")
def compress(x: Any, condition: Any, axis: int | None = None) -> Array:
    places = np.flatnonzero(visible(condition, "Compress"))
    return fnp.take(fnp.reshape(x, (-1,)) if axis is None else x, fnp.asarray(places), axis=axis or 0)


@define("NonZero")
def non_zero(x: Any) -> np.ndarray:
    return np.stack(np.nonzero(visible(x, "NonZero"))).astype(np.int64)


@define("Unique")
def unique(x: Any, axis: int | None = None, sorted: int = 1) -> tuple[np.ndarray, ...]:
    """The elements (or slices), where each of them stands first, which one each element is, and counts."""
    x = visible(x, "Unique")
    along = 0 if axis is None else axis
    flat = x.reshape(-1) if axis is None else x
    wide = flat.astype(np.float32) if flat.dtype.kind == "V" else flat  # bfloat16 has no order for NumPy
    _, first, inverse, counts = np.unique(wide, True, True, True, axis=along)
    inverse = inverse.reshape(-1)
    if not sorted:
        order = np.argsort(first)
        rank = np.argsort(order)
        first, inverse, counts = first[order], rank[inverse], counts[order]
    places = (first, inverse, counts)
    return np.take(flat, first, axis=along), *[np.asarray(p, np.int64) for p in places]


def corners(boxes: Any, centred: bool) -> Any:
    """Boxes as two corners, of which the first is the smaller one."""
    if centred:
        middle, half = boxes[..., :2], boxes[..., 2:] / 2
        return fnp.concatenate([middle - half, middle + half], axis=-1)
    first, second = boxes[..., :2], boxes[..., 2:]
    return fnp.concatenate([fnp.minimum(first, second), fnp.maximum(first, second)], axis=-1)


@define("NonMaxSuppression")
def non_max_suppression(
    boxes: Any, scores: Any, count: Any = None, overlap: Any = None, least: Any = None, center_point_box: int = 0
) -> np.ndarray:
    """The kept ones as rows (example, class, box)."""
    most = 0 if count is None else numbers(count, "the number of boxes of NonMaxSuppression")[0]
    limit = min(most, boxes.shape[1])
    if limit <= 0:
        return np.zeros((0, 3), np.int64)
    share = 0.0 if overlap is None else concrete(overlap, "the overlap of NonMaxSuppression").item()
    score = -np.inf if least is None else concrete(least, "the least score of NonMaxSuppression").item()
    places = fnp.asarray(corners(boxes, bool(center_point_box)))

    def kept(own: Any, ranks: Any) -> Any:
        return detections.non_max_suppression(own, ranks, limit, overlap=share, score=score)

    found, there = vmap(lambda own, rows: vmap(lambda row: kept(own, row))(rows))(places, fnp.asarray(scores))
    chosen = visible(there, "NonMaxSuppression")
    example, label, rank = np.nonzero(chosen)
    return np.stack([example, label, np.asarray(found)[example, label, rank]], axis=1).astype(np.int64)
