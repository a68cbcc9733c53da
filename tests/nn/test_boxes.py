"""Boxes: overlaps, offsets, matches and suppression, beside loops over single boxes."""

from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import nn
from fdl.errors import ShapeError
from fdl.test_util import check_grads


def boxes_of(rng: np.random.Generator, count: int) -> np.ndarray:
    corners = np.sort(rng.random((count, 2, 2)), axis=1)
    return corners.reshape(count, 4).astype(np.float32)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    sides = [max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1)]
    common = sides[0] * sides[1]
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def test_overlaps_are_those_of_single_boxes() -> None:
    rng = np.random.default_rng(0)
    a, b = boxes_of(rng, 6), boxes_of(rng, 4)
    expected = [[overlap(x, y) for y in b] for x in a]
    np.testing.assert_allclose(np.asarray(nn.box_iou(a, b)), expected, atol=1e-6)
    assert nn.box_iou(np.zeros((1, 4)), np.zeros((1, 4))).item() == 0


def test_decoding_is_the_inverse_of_encoding() -> None:
    rng = np.random.default_rng(1)
    boxes, priors = boxes_of(rng, 5), boxes_of(rng, 5)
    again = nn.decode_boxes(nn.encode_boxes(boxes, priors), priors)
    np.testing.assert_allclose(np.asarray(again), boxes, atol=1e-5)


def test_suppression_keeps_what_a_loop_keeps() -> None:
    rng = np.random.default_rng(2)
    boxes, scores = boxes_of(rng, 30), rng.random(30).astype(np.float32)
    expected: list[int] = []
    for i in np.argsort(-scores).tolist():
        if scores[i] > 0.1 and all(overlap(boxes[i], boxes[j]) <= 0.3 for j in expected):
            expected.append(i)
    kept, there = fdl.jit(lambda b, s: nn.non_max_suppression(b, s, 20, overlap=0.3, score=0.1))(boxes, scores)
    assert np.asarray(kept)[np.asarray(there)].tolist() == expected[:20]


def test_each_true_box_has_its_best_prior_box() -> None:
    priors = np.array([[0, 0, 1, 1], [0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], np.float32)
    boxes = np.array([[0.6, 0.6, 0.7, 0.7], [0, 0, 1, 0.9], [0, 0, 1, 1]], np.float32)
    own, matched = nn.match_boxes(priors, boxes, np.array([True, True, False]))
    assert np.asarray(matched).tolist() == [True, False, True]
    assert np.asarray(own)[[0, 2]].tolist() == [1, 0]


def test_prior_boxes_are_those_of_the_paper() -> None:
    """Section 2.2: at the centre of a cell, of area scale ** 2, and of both ratios."""
    found = np.asarray(nn.prior_boxes([(2, 2), (1, 1)], [0.2, 0.45, 0.9], [[2], [3]], clip=False))
    assert found.shape == (4 * 4 + 4, 4)
    sides, centres = found[:, 2:] - found[:, :2], (found[:, 2:] + found[:, :2]) / 2
    np.testing.assert_allclose(centres[4:8], [[0.75, 0.25]] * 4, rtol=1e-6)
    np.testing.assert_allclose(np.prod(sides[:4], axis=1), [0.04, 0.09, 0.04, 0.04], rtol=1e-5)
    np.testing.assert_allclose(sides[-2:, 0] / sides[-2:, 1], [3, 1 / 3], rtol=1e-5)


def test_whole_pixels_are_numbers() -> None:
    a, b = np.array([[0, 0, 20, 20]], np.uint8), np.array([[0, 0, 20, 10], [200, 150, 250, 250]], np.uint8)
    np.testing.assert_allclose(np.asarray(nn.box_iou(a, b)), [[0.5, 0]])
    found = nn.encode_boxes(b[1], np.array([180, 150, 230, 250], np.uint8), (1, 1))
    np.testing.assert_allclose(np.asarray(found), [0.4, 0, 0, 0], atol=1e-6)


def test_no_boxes_and_boxes_without_an_area_match_nothing() -> None:
    priors = boxes_of(np.random.default_rng(3), 4)
    none = np.zeros((0, 4), np.float32)
    flat = np.array([[0.2, 0.1, 0.2, 0.9]], np.float32)
    for boxes in (none, flat):
        own, matched = nn.match_boxes(priors, boxes, np.ones(len(boxes), bool))
        assert own.shape == (4,) and not np.asarray(matched).any()
    kept, there = nn.non_max_suppression(none, none[:, 0], 3)
    assert kept.shape == (3,) and not np.asarray(there).any()


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match="box_iou needs boxes"):
        nn.box_iou(fnp.zeros((2, 3)), fnp.zeros((2, 4)))
    with pytest.raises(ShapeError, match="non_max_suppression needs boxes"):
        nn.non_max_suppression(fnp.zeros((2, 4)), fnp.zeros(3), 1)
    with pytest.raises(ShapeError, match="one scale more"):
        nn.prior_boxes([(1, 1)], [0.5], [[2]])


def at(image: np.ndarray, y: float, x: float) -> np.ndarray:
    """A point of an image, between its pixels' centres; beyond them what is at the edge."""
    y, x = (min(max(place, 0.0), size - 1.0) for place, size in zip((y, x), image.shape, strict=False))
    top, left = int(y), int(x)
    bottom, right = min(top + 1, image.shape[0] - 1), min(left + 1, image.shape[1] - 1)
    upper = image[top, left] * (1 - (x - left)) + image[top, right] * (x - left)
    lower = image[bottom, left] * (1 - (x - left)) + image[bottom, right] * (x - left)
    return upper * (1 - (y - top)) + lower * (y - top)


def test_crops_are_points_of_the_image() -> None:
    rng = np.random.default_rng(6)
    images, boxes = rng.integers(0, 256, (2, 5, 7, 3), np.uint8), boxes_of(rng, 6).reshape(2, 3, 4)
    boxes[1, 2] = -0.2, 0.3, 0.8, 1.4  # reaches out of the image
    found = np.asarray(fdl.jit(lambda *args: nn.crop_boxes(*args, (4, 2)))(images, boxes))
    assert found.shape == (2, 3, 4, 2, 3)
    for b, n, i, j in np.ndindex(2, 3, 4, 2):
        left, top, right, bottom = boxes[b, n].astype(np.float64)
        y, x = 5 * (top + (i + 0.5) / 4 * (bottom - top)) - 0.5, 7 * (left + (j + 0.5) / 2 * (right - left)) - 0.5
        np.testing.assert_allclose(found[b, n, i, j], at(images[b].astype(np.float64), y, x), atol=1e-3)
    with pytest.raises(ShapeError, match="equal axes in front"):
        nn.crop_boxes(images, boxes[0], (4, 2))


def test_the_crop_of_a_whole_image_is_the_image() -> None:
    image = np.random.default_rng(7).random((1, 6, 4, 2)).astype(np.float32)
    found = nn.crop_boxes(image, np.array([[[0.0, 0, 1, 1]]], np.float32), (6, 4))
    np.testing.assert_allclose(np.asarray(found)[:, 0], image, atol=1e-6)


def test_crops_have_gradients_by_images_and_boxes() -> None:
    """Against differences of the sums of points, in float64."""
    rng = np.random.default_rng(8)
    image, box, weights = rng.random((5, 6, 2)), np.array([0.21, 0.13, 0.83, 0.71]), rng.random((3, 4, 2))

    def value(image: Any, box: Any) -> Any:
        return fnp.sum(weights * nn.crop_boxes(image, box[None], (3, 4))[0])

    check_grads(value, (image, box), 1, modes=("rev",))
