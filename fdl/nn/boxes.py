"""Boxes of objects in images: overlaps, offsets from prior boxes, and which detections are kept.

A box is its corners (left, top, right, bottom) in the last axis.
"""

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax
from fdl.api.vmap import vmap
from fdl.core.types import Array
from fdl.dtypes import int32
from fdl.errors import ShapeError
from fdl.numpy._operands import floating


def box_iou(first: Any, second: Any) -> Array:
    """The overlap of each two boxes: the area that they share by the area that they cover.

    Args:
        first: [..., n, 4].
        second: [..., m, 4].

    Returns:
        [..., n, m], from 0 to 1; 0 where both are empty.

    Raises:
        ShapeError: the last axis is not 4.

    >>> box_iou(fnp.array([[0.0, 0, 2, 2]]), fnp.array([[0.0, 0, 2, 1], [3, 3, 4, 4]])).tolist()
    [[0.5, 0.0]]
    """
    a, b = _boxes("box_iou", first), _boxes("box_iou", second)
    a, b = a[..., :, None, :], b[..., None, :, :]
    sides = fnp.maximum(fnp.minimum(a[..., 2:], b[..., 2:]) - fnp.maximum(a[..., :2], b[..., :2]), 0)
    common = sides[..., 0] * sides[..., 1]
    whole = _area(a) + _area(b) - common
    return fnp.where(whole > 0, common / fnp.where(whole > 0, whole, 1), 0)


def crop_boxes(images: Any, boxes: Any, shape: tuple[int, int]) -> Array:
    """What is in boxes of images, brought to one size by linear interpolation.

    Pixels outside of an image are those at its edge. Each pixel of a crop is one point of the image, so that a box much
    larger than the crop loses detail. Source: He, Gkioxari, Dollar, Girshick, "Mask R-CNN" (2017), section 3: RoIAlign
    with one point a bin.

    Args:
        images: [..., height, width, channels], numbers of any dtype.
        boxes: [..., n, 4], as shares of the image.
        shape: height and width of the crops.

    Returns:
        [..., n, *shape, channels], floating; differentiable by images and by boxes.

    Raises:
        ShapeError: the axes before the last do not fit.

    >>> image = fnp.arange(16.0).reshape(4, 4, 1)
    >>> crop_boxes(image, fnp.array([[0.0, 0.5, 0.5, 1.0]]), (2, 2))[0, :, :, 0].tolist()
    [[8.0, 9.0], [12.0, 13.0]]
    """
    images, boxes = fnp.asarray(images), _boxes("crop_boxes", boxes)
    if images.ndim < 3 or boxes.ndim < 2 or images.shape[:-3] != boxes.shape[:-2]:
        raise ShapeError(
            f"crop_boxes needs images [..., height, width, channels] and boxes [..., n, 4] with equal axes in front, "
            f"got {images.type} and {boxes.type}"
        )
    *front, height, width, channels = images.shape
    count = boxes.shape[-2]

    def places(first: Array, last: Array, extent: int, size: int) -> tuple[Array, Array, Array]:
        """Of each point of a crop's axis the pixels before and behind it, and its share of the latter."""
        steps = ((fnp.arange(extent) + 0.5) / extent).astype(boxes.dtype)
        points = fnp.clip((first[..., None] + steps * (last - first)[..., None]) * size - 0.5, 0, size - 1)
        before = fnp.floor(points)
        left = before.astype(int32)
        return left, fnp.minimum(left + 1, size - 1), points - before

    def between(a: Array, b: Array, share: Array) -> Array:
        a, b = floating(a), floating(b)
        return a + share * (b - a)

    # Lines are as long as the image: whole rows of it are read and mixed, in its own dtype, then few of their pixels.
    def of_image(image: Array, boxes: Array) -> Array:
        lines = image.reshape(height, width * channels)
        above, below, share = places(boxes[:, 1], boxes[:, 3], shape[0], height)
        rows = between(lines[above], lines[below], share[..., None]).reshape(count, shape[0], width, channels)
        return vmap(of_box)(rows, boxes)

    def of_box(rows: Array, box: Array) -> Array:
        left, right, share = places(box[0], box[2], shape[1], width)
        return between(rows[:, left], rows[:, right], share[:, None])

    found = vmap(of_image)(images.reshape(-1, height, width, channels), boxes.reshape(-1, count, 4))
    return found.reshape(*front, count, *shape, channels)


def prior_boxes(
    shapes: Sequence[tuple[int, int]], scales: Sequence[float], ratios: Sequence[Sequence[float]], clip: bool = True
) -> Array:
    """The boxes that a single-shot detector starts from. Source: Liu et al., "SSD" (2016), section 2.2.

    At the centre of each cell of a grid are a square of its scale, one of the geometric mean of this scale and the
    next, and for each ratio r boxes of the ratios r and 1 / r.

    Args:
        shapes: (height, width) of each grid.
        scales: of each grid, as shares of the image, and one more.
        ratios: of each grid.
        clip: whether boxes end where the image does.

    Returns:
        [boxes, 4], as shares of the image: row by row, cell by cell, of each grid.

    Raises:
        ShapeError: the numbers of shapes, scales and ratios do not fit.

    >>> prior_boxes([(1, 1)], [0.5, 0.5], [[]]).tolist()
    [[0.25, 0.25, 0.75, 0.75], [0.25, 0.25, 0.75, 0.75]]
    """
    if len(scales) != len(shapes) + 1 or len(ratios) != len(shapes):
        raise ShapeError(
            f"prior_boxes needs one list of ratios a shape and one scale more, got {len(shapes)} shapes, "
            f"{len(ratios)} lists and {len(scales)} scales"
        )
    found = []
    for (height, width), scale, larger, wide in zip(shapes, scales[:-1], scales[1:], ratios, strict=True):
        sides = [(scale, scale), (sqrt(scale * larger),) * 2]
        for ratio in wide:
            root = sqrt(ratio)
            sides += [(scale * root, scale / root), (scale / root, scale * root)]
        x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
        centres = np.stack([x, y], axis=-1)[..., None, :]
        half = np.array(sides) / 2
        found.append(np.concatenate([centres - half, centres + half], axis=-1).reshape(-1, 4))
    boxes = np.concatenate(found).astype(np.float32)
    return fnp.asarray(np.clip(boxes, 0, 1) if clip else boxes)


def encode_boxes(boxes: Any, priors: Any, variances: tuple[float, float] = (0.1, 0.2)) -> Array:
    """Boxes as offsets from prior boxes: what a detector learns. Source: Girshick et al., "R-CNN" (2014), appendix C.

    Args:
        boxes: [..., 4].
        priors: [..., 4].
        variances: what offsets of centres, and of the logarithms of sides, are divided by.

    Returns:
        [..., 4].

    >>> encode_boxes(fnp.array([0.0, 0, 2, 2]), fnp.array([0.0, 0, 2, 2])).tolist()
    [0.0, 0.0, 0.0, 0.0]
    """
    (centre, sides), (from_centre, from_sides) = _centred(boxes), _centred(priors)
    first, second = variances
    offsets = (centre - from_centre) / from_sides / first
    return fnp.concatenate([offsets, fnp.log(sides / from_sides) / second], axis=-1)


def decode_boxes(offsets: Any, priors: Any, variances: tuple[float, float] = (0.1, 0.2)) -> Array:
    """The boxes of offsets from prior boxes: the inverse of :func:`encode_boxes`.

    Args:
        offsets: [..., 4].
        priors: [..., 4].
        variances: as there.

    Returns:
        [..., 4].

    >>> decode_boxes(fnp.zeros(4), fnp.array([0.0, 0, 2, 2])).tolist()
    [0.0, 0.0, 2.0, 2.0]
    """
    offsets = _boxes("decode_boxes", offsets)
    centre, sides = _centred(priors)
    first, second = variances
    centre = centre + offsets[..., :2] * first * sides
    half = sides * fnp.exp(offsets[..., 2:] * second) / 2
    return fnp.concatenate([centre - half, centre + half], axis=-1)


def match_boxes(priors: Any, boxes: Any, valid: Any, threshold: float = 0.5) -> tuple[Array, Array]:
    """Which true box each prior box has to find. Source: Liu et al., "SSD" (2016), section 2.2.

    A prior box has the true box that it overlaps most, if by at least the threshold; besides, each true box has the
    prior box that overlaps it most. A box that overlaps none, such as one without an area, has none.

    Args:
        priors: [priors, 4].
        boxes: the true boxes of an image, [boxes, 4]; there may be none.
        valid: bool [boxes]; what is false only fills up.
        threshold: of overlaps.

    Returns:
        Numbers of boxes int32 [priors], and whether there is one, bool [priors].

    >>> priors = fnp.array([[0.0, 0, 1, 1], [0, 0, 2, 2], [5, 5, 6, 6]])
    >>> [x.tolist() for x in match_boxes(priors, fnp.array([[0.0, 0, 2, 1.9]]), fnp.array([True]))]
    [[0, 0, 0], [False, True, False]]
    """
    valid = fnp.asarray(valid)
    if not valid.size:
        count = fnp.asarray(priors).shape[0]
        return fnp.zeros(count, int32), fnp.zeros(count, bool)
    overlaps = fnp.where(valid, box_iou(priors, boxes), -1.0)
    count = overlaps.shape[1]
    best = fnp.argmax(overlaps, axis=0)  # the prior box of each true one
    places = fnp.arange(overlaps.shape[0])[:, None]
    forced = (places == best) & (overlaps > 0)  # [priors, boxes]
    own = fnp.argmax(forced * (1 + fnp.arange(count)), axis=1)  # of several, the last
    is_forced = fnp.any(forced, axis=1)
    matched = is_forced | (fnp.max(overlaps, axis=1) >= threshold)
    return fnp.where(is_forced, own, fnp.argmax(overlaps, axis=1)).astype(int32), matched


def non_max_suppression(
    boxes: Any, scores: Any, count: int, *, overlap: float = 0.45, score: float = 0.0
) -> tuple[Array, Array]:
    """The detections that are kept: each time the one with the highest score, without those that overlap it.

    Args:
        boxes: [boxes, 4].
        scores: [boxes].
        count: how many are kept at most.
        overlap: those that overlap a kept one by more are left out.
        score: those with a score of this or less are left out.

    Returns:
        Numbers of boxes int32 [count], by falling scores, and which of them there are, bool [count].

    Raises:
        ShapeError: the shapes do not fit.

    >>> boxes = fnp.array([[0.0, 0, 2, 2], [0, 0, 2, 1.9], [4, 4, 5, 5]])
    >>> kept, there = non_max_suppression(boxes, fnp.array([0.9, 0.8, 0.7]), 3)
    >>> kept[there].tolist()
    [0, 2]
    """
    boxes, scores = _boxes("non_max_suppression", boxes), floating(fnp.asarray(scores))
    if boxes.ndim != 2 or scores.shape != boxes.shape[:1]:
        raise ShapeError(f"non_max_suppression needs boxes [n, 4] and scores [n], got {boxes.type} and {scores.type}")
    if not scores.size:
        return fnp.zeros(count, int32), fnp.zeros(count, bool)

    def step(left: Array, _: Any) -> tuple[Array, tuple[Array, Array]]:
        best = fnp.argmax(left)
        there = left[best] > score
        others = box_iou(boxes[best][None], boxes)[0] > overlap
        gone = others | (fnp.arange(left.shape[0]) == best)
        return fnp.where(gone, -fnp.inf, left), (best.astype(int32), there)

    left = fnp.where(scores > score, scores, -fnp.inf)
    _, kept = lax.scan(step, left, None, length=count)
    return kept


def _boxes(name: str, boxes: Any) -> Array:
    boxes = floating(fnp.asarray(boxes))  # whole numbers without a sign have no differences
    if boxes.ndim < 1 or boxes.shape[-1] != 4:
        raise ShapeError(f"{name} needs boxes [..., 4], got {boxes.type}")
    return boxes


def _area(boxes: Array) -> Array:
    return fnp.maximum(boxes[..., 2] - boxes[..., 0], 0) * fnp.maximum(boxes[..., 3] - boxes[..., 1], 0)


def _centred(boxes: Any) -> tuple[Array, Array]:
    """The centres and sides of boxes."""
    boxes = _boxes("encode_boxes and decode_boxes", boxes)
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
