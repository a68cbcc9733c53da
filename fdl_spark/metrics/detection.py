"""Mean average precision of detected boxes, as Pascal VOC and COCO count it.

Sources: Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010, section 4.2, and the rules of
its later years; Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and the metrics of its challenge.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

import fdl.numpy as fnp
from fdl_spark.arguments import check_choice
from fdl_spark.errors import ArgumentError
from fdl_spark.metrics.metric import Metric, Quantity, taken
from fdl_spark.metrics.rows import Rows, starts

Style = Literal["voc07", "voc10", "coco"]
STYLES = ("voc07", "voc10", "coco")
MOST = 100  # detections of a class in an image that COCO looks at
COCO = tuple((50 + 5 * n) / 100 for n in range(10))


class Boxes(NamedTuple):
    """The boxes of one class in one image: detections by falling score, and true ones."""

    detected: np.ndarray
    true: np.ndarray
    ignored: np.ndarray


class DetectionMap(Metric):
    def __init__(
        self,
        detect: Callable[[Any, Any], Any],
        boxes: Quantity,
        classes: Quantity,
        ignored: Quantity | None,
        style: Style,
        thresholds: tuple[float, ...],
        size: tuple[int, int] | None,
    ):
        self.detect, self.boxes, self.classes, self.ignored = detect, boxes, classes, ignored
        self.style, self.thresholds, self.size = style, thresholds, size

    def statistics(self, params: Any, batch: Any) -> Any:
        found = self.detect(params, batch)
        if isinstance(found, Mapping):
            found = found["boxes"], found["scores"], found["classes"]
        boxes, scores, classes = map(fnp.asarray, found)
        true, kinds = taken(self.boxes, params, batch), taken(self.classes, params, batch)
        ignored = kinds < 0 if self.ignored is None else taken(self.ignored, params, batch) != 0
        for what, corners, others in (("detected", boxes, (scores, classes)), ("true", true, (kinds, ignored))):
            shapes = [array.shape for array in (corners, *others)]
            if corners.ndim != 3 or shapes != [(*shapes[0][:2], 4), shapes[0][:2], shapes[0][:2]]:
                raise ArgumentError(
                    f"metrics.detection_map: {what} boxes must have the shape (rows, boxes, 4), and the others "
                    f"(rows, boxes); they have {', '.join(map(str, shapes))}"
                )
        if self.size is not None:
            sides = fnp.asarray([self.size[1], self.size[0]] * 2, fnp.float32)
            boxes, true = boxes * sides, true * sides
        return (boxes, scores, classes), (true, kinds, ignored)

    def gather(self, statistics: Any) -> tuple[Rows, dict[int, int]]:
        match = _match_coco if self.style == "coco" else _match_voc
        kinds, scores, hits, skipped = ([np.zeros(0, kind)] for kind in (np.int64, np.float64, np.int64, np.int64))
        counts: dict[int, int] = {}
        for detected, true in zip(*(zip(*group, strict=True) for group in statistics), strict=True):
            if self.size is None and self.style != "coco":
                _check_pixels(true)
            for kind, (boxes, score) in _by_class(detected, true).items():
                counts[kind] = counts.get(kind, 0) + int((~boxes.ignored).sum())
                matched = [match(boxes, threshold) for threshold in self.thresholds]
                kinds.append(np.full(len(score), kind))
                scores.append(score)
                for columns, which in ((hits, 0), (skipped, 1)):  # a bit for each threshold
                    bits = [pair[which].astype(np.int64) << n for n, pair in enumerate(matched)]
                    columns.append(np.sum(bits, axis=0, dtype=np.int64).reshape(-1))
        return Rows.of(*map(np.concatenate, (kinds, scores, hits, skipped))), counts

    def result(self, gathered: tuple[Rows, dict[int, int]]) -> dict[str, Any]:
        rows, counts = gathered
        kinds, scores, hits, skipped, times = rows.columns
        precisions = {}
        for kind in sorted(kind for kind, count in counts.items() if count):
            chosen = np.flatnonzero(kinds == kind)[::-1]  # the highest score first
            first = starts(scores[chosen])
            found = []
            for n in range(len(self.thresholds)):
                hit, skip = ((bits[chosen] >> n & 1).astype(bool) for bits in (hits, skipped))
                masses = (np.where(which, times[chosen], 0) for which in (hit & ~skip, ~hit & ~skip))
                right, wrong = (np.cumsum(_sums(mass, first)) for mass in masses)
                found.append(_area(self.style, right, wrong, counts[kind]))
            precisions[kind] = found
        table = np.array(list(precisions.values())).reshape(-1, len(self.thresholds))
        mean = float(table.mean()) if table.size else float("nan")
        result: dict[str, Any] = {"map": mean}
        for threshold in (0.5, 0.75) if self.style == "coco" else ():
            if threshold in self.thresholds and table.size:
                result[f"map_{round(threshold * 100)}"] = float(table[:, self.thresholds.index(threshold)].mean())
        return result | {"per_class": {str(kind): float(np.mean(values)) for kind, values in precisions.items()}}


def _by_class(detected: Any, true: Any) -> dict[int, tuple[Boxes, np.ndarray]]:
    """The boxes of each class of an image, and the scores of those detected, falling."""
    boxes, scores, kinds = (np.asarray(array) for array in detected)
    corners, classes, ignored = (np.asarray(array) for array in true)
    found = {}
    for kind in np.union1d(kinds[kinds >= 0], classes[classes >= 0]).tolist():
        mine, theirs = np.flatnonzero(kinds == kind), np.flatnonzero(classes == kind)
        order = mine[np.argsort(-scores[mine].astype(np.float64), kind="stable")]
        arrays = boxes[order].astype(np.float64), corners[theirs].astype(np.float64), ignored[theirs].astype(bool)
        found[int(kind)] = Boxes(*arrays), scores[order].astype(np.float64)
    return found


def _check_pixels(true: Any) -> None:
    """Raise ArgumentError if true boxes are shares of an image: a pixel more on each side would make all overlap."""
    corners = np.asarray(true[0])[np.asarray(true[1]) >= 0]
    if corners.size and corners.min() >= 0 and corners.max() <= 1 and (corners % 1 != 0).any():
        raise ArgumentError(
            f"metrics.detection_map: VOC's overlaps are those of pixels, and the true boxes, such as "
            f"{corners[0].tolist()}, are shares of the image: give size=(height, width)"
        )


def _overlaps(boxes: Boxes, pixel: float) -> tuple[np.ndarray, np.ndarray]:
    """Intersection over union, and over the detected box, of each detected and each true box."""
    first, second = boxes.detected[:, None], boxes.true[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2]) + pixel
    common = np.prod(np.maximum(sides, 0), axis=-1)
    areas = [np.prod(np.maximum(box[..., 2:] - box[..., :2] + pixel, 0), axis=-1) for box in (first, second)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return tuple(np.nan_to_num(common / whole) for whole in (areas[0] + areas[1] - common, areas[0]))


def _match_voc(boxes: Boxes, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Which detections find a true box, and which do not count: each looks at the box that it overlaps most, which
    only the first one finds."""
    hit, skipped = np.zeros((2, len(boxes.detected)), bool)
    overlaps, _ = _overlaps(boxes, 1.0)
    taken_boxes = np.zeros(len(boxes.true), bool)
    for n, overlap in enumerate(overlaps):
        best = int(np.argmax(overlap)) if overlap.size else -1
        if best < 0 or overlap[best] < threshold:
            continue
        skipped[n] = boxes.ignored[best]
        hit[n] = not skipped[n] and not taken_boxes[best]
        taken_boxes[best] |= hit[n]
    return hit, skipped


def _match_coco(boxes: Boxes, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """As `_match_voc`, but each takes the box that it overlaps most of those that are left; a crowd is always left, and
    its overlap is the share of the detected box that is inside."""
    hit, skipped = np.zeros((2, len(boxes.detected)), bool)
    skipped[MOST:] = True
    union, inside = _overlaps(boxes, 0.0)
    overlaps = np.where(boxes.ignored, inside, union)
    left = np.ones(len(boxes.true), bool)
    for n, overlap in enumerate(overlaps[:MOST]):
        for ignored in (False, True):
            fitting = np.where(left & (boxes.ignored == ignored), overlap, -1.0)
            if not fitting.size or fitting.max() < min(threshold, 1 - 1e-10):
                continue
            best = int(np.flatnonzero(fitting == fitting.max())[-1])
            hit[n], skipped[n] = True, ignored
            left[best] = ignored
            break
    return hit, skipped


def _sums(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    return np.add.reduceat(values, first) if first.size else values


def _area(style: Style, right: np.ndarray, wrong: np.ndarray, count: int) -> float:
    """The average precision, from how many detections above each score are right and wrong."""
    there = right + wrong > 0
    right, wrong = right[there], wrong[there]
    recall, precision = right / count, right / np.maximum(right + wrong, 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]  # the highest precision at this recall or a higher one
    if style == "voc10":
        return float(np.sum(np.diff(recall, prepend=0.0) * best))
    if style == "voc07":
        first = np.searchsorted(10 * right, np.arange(11) * count)  # of recalls that are tenths, without rounding
    else:
        first = np.searchsorted(recall, np.linspace(0, 1, 101))
    return float(np.append(best, 0.0)[first].mean())


def detection_map(
    detect: Callable[[Any, Any], Any],
    boxes: Quantity,
    classes: Quantity,
    *,
    ignored: Quantity | None = None,
    style: Style = "coco",
    threshold: float | None = None,
    size: tuple[int, int] | None = None,
) -> Metric:
    """The mean over classes of the average precision of detected boxes.

    Its result is a dict: "map", "per_class" by class, and of COCO also "map_50" and "map_75", at overlaps of 0.5 and
    0.75. Detections of equal scores enter the curve together. A class counts if it has a true box.

    Args:
      detect: (params, batch) -> (boxes, scores, classes) of what is detected in each row's image, or a dict of these:
        (rows, boxes, 4) of corners x1, y1, x2, y2; (rows, boxes); (rows, boxes), negative where there is no box.
      boxes: a column or function that gives the true boxes, (rows, boxes, 4).
      classes: a column or function that gives their classes, (rows, boxes), negative where there is no box.
      ignored: a column or function that says which true boxes need not be found: VOC's difficult ones, COCO's crowds.
      style: "voc07" averages the precision at 11 recalls, "voc10" is the area under the precision, both at an overlap
        of 0.5 of boxes whose corners are pixels; "coco" averages over 101 recalls and overlaps 0.50, 0.55, ..., 0.95,
        of at most 100 detections of a class in an image, of objects of any size.
      threshold: one overlap in place of the style's.
      size: height and width of the images, if boxes are shares of them, as those of `fdl.models.ssd` are.

    Raises:
      ArgumentError: while it is evaluated: shapes do not fit, or boxes for VOC are shares, and there is no size.

    >>> true = {"boxes": np.array([[[0.0, 0, 10, 10]]]), "classes": np.array([[3]])}
    >>> found = detection_map(lambda params, batch: params, "boxes", "classes")
    >>> found((np.array([[[0.0, 0, 10, 8]]]), np.array([[0.9]]), np.array([[3]])), true)["map"]
    0.7
    """
    check_choice("style", style, STYLES)
    thresholds = (float(threshold),) if threshold is not None else COCO if style == "coco" else (0.5,)
    if size is not None and (len(size) != 2 or not all(isinstance(n, int) and n >= 1 for n in size)):
        raise ArgumentError(f"size must be the height and width of the images, such as (300, 300), not {size!r}")
    return DetectionMap(detect, boxes, classes, ignored, style, thresholds, size)
