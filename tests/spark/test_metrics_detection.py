"""mAP of boxes, against the definitions written out one detection at a time, and small cases worked out by hand."""

import numpy as np
import pytest

import fdl_spark
from fdl_spark import metrics

IMAGES, DETECTED, TRUE, CLASSES = 30, 6, 4, 3


def overlap(a, b, pixel, crowd=False):
    a, b = a.tolist(), b.tolist()
    width = min(a[2], b[2]) - max(a[0], b[0]) + pixel
    height = min(a[3], b[3]) - max(a[1], b[1]) + pixel
    common = max(width, 0) * max(height, 0)
    first, second = ((box[2] - box[0] + pixel) * (box[3] - box[1] + pixel) for box in (a, b))
    return common / (first if crowd else first + second - common)


def boxes(random, shape):
    corner, size = random.integers(0, 12, (*shape, 2)), random.integers(4, 14, (*shape, 2))
    return np.concatenate([corner, corner + size], axis=-1).astype(np.float32)


@pytest.fixture(scope="module")
def found():
    random = np.random.default_rng(11)
    true = boxes(random, (IMAGES, TRUE))
    kinds = random.integers(-1, CLASSES, (IMAGES, TRUE)).astype(np.int32)
    of = random.integers(0, TRUE, DETECTED)
    near = true[:, of] + random.integers(-1, 2, (IMAGES, DETECTED, 4))
    return {
        "boxes": np.where(random.random((IMAGES, DETECTED, 1)) < 0.7, near, boxes(random, (IMAGES, DETECTED))),
        "scores": random.permutation(IMAGES * DETECTED).reshape(IMAGES, DETECTED).astype(np.float32),
        "classes": np.where(random.random((IMAGES, DETECTED)) < 0.8, kinds[:, of], 1),
        "true": true,
        "kinds": kinds,
        "hard": random.random((IMAGES, TRUE)) < 0.3,
    }


def detect(params, batch):
    return batch["boxes"], batch["scores"], batch["classes"]


def slow(found, kind, threshold, coco, hard):
    """Whether each detection of a class is right, wrong or ignored (1, 0, None), by falling score; and how many true
    boxes there are to find."""
    mine = [(found["scores"][i, d], i, d) for i, d in zip(*np.nonzero(found["classes"] == kind), strict=True)]
    taken, verdicts = set(), []
    for _, i, d in sorted(mine, reverse=True):
        box = found["boxes"][i, d]
        theirs = [t for t in range(TRUE) if found["kinds"][i, t] == kind]
        if coco:
            of = {t: overlap(box, found["true"][i, t], 0, hard[i, t]) for t in theirs}
            fitting = [t for t in theirs if of[t] >= threshold and ((i, t) not in taken or hard[i, t])]
            fitting = [t for t in fitting if not hard[i, t]] or fitting
            best = max(fitting, key=lambda t: (of[t], t), default=None)
        else:
            of = {t: overlap(box, found["true"][i, t], 1) for t in theirs}
            best = max(theirs, key=of.get, default=None)
            best = best if best is not None and of[best] >= threshold else None
        if best is None:
            verdicts.append(0)
        elif hard[i, best]:
            verdicts.append(None)
        else:
            verdicts.append(int((i, best) not in taken))
            taken.add((i, best))
    return verdicts, int(((found["kinds"] == kind) & ~hard).sum())


def slow_area(style, verdicts, count):
    points, right, wrong = [], 0, 0
    for verdict in verdicts:
        if verdict is not None:
            right, wrong = right + verdict, wrong + 1 - verdict
            points.append((right / count, right / (right + wrong)))
    if style == "voc10":
        recalls = [0.0, *(recall for recall, _ in points)]
        best = [max(precision for _, precision in points[n:]) for n in range(len(points))]
        return sum((b - a) * p for a, b, p in zip(recalls, recalls[1:], best, strict=False))
    grid = np.linspace(0, 1, 11 if style == "voc07" else 101)
    return np.mean([max((p for r, p in points if r >= at - 1e-12), default=0) for at in grid])


@pytest.mark.parametrize("ignored", [None, "hard"])
@pytest.mark.parametrize("style", ["voc07", "voc10", "coco"])
def test_it_is_the_definition_written_out(found, style, ignored):
    thresholds = np.arange(50, 100, 5) / 100 if style == "coco" else [0.5]
    hard = found["hard"] if ignored else np.zeros_like(found["hard"])
    expected = {}
    for kind in range(CLASSES):
        slowly = [slow(found, kind, threshold, style == "coco", hard) for threshold in thresholds]
        expected[kind] = [slow_area(style, *pair) for pair in slowly]
    result = metrics.detection_map(detect, "true", "kinds", style=style, ignored=ignored)(None, found)
    assert result["map"] == pytest.approx(np.mean(list(expected.values())), rel=1e-12)
    assert result["map"] > 0.1
    for kind, values in expected.items():
        assert result["per_class"][str(kind)] == pytest.approx(np.mean(values), rel=1e-12)
    if style == "coco":
        assert result["map_75"] == pytest.approx(np.mean([values[5] for values in expected.values()]), rel=1e-12)


def curve(verdicts, count):
    """Detections with these verdicts, best first, of one class in one image a detection."""
    images = max(len(verdicts), count)
    boxes = np.zeros((images, 1, 4), np.float32)
    boxes[:, :, 2:] = 9
    far = boxes + 100
    right = np.array([*verdicts, *[0] * (images - len(verdicts))], bool)[:, None, None]
    kinds = np.full((images, 1), -1)
    kinds[right[:, 0, 0]] = 0
    missing = count - int(right.sum())
    kinds[np.flatnonzero(kinds[:, 0] < 0)[::-1][:missing]] = 0
    there = np.arange(images)[:, None] < len(verdicts)
    return {
        "boxes": np.where(right, boxes, far),
        "scores": -np.arange(images, dtype=np.float32)[:, None],
        "classes": np.where(there, 0, -1),
        "true": boxes,
        "kinds": kinds,
    }


def test_the_eleven_points_and_the_area_of_a_known_curve():
    """Right, wrong, right, wrong, right of 4 true boxes: precisions 1, 2/3, 3/5 from recalls 1/4, 1/2, 3/4 on."""
    found = curve([1, 0, 1, 0, 1], 4)
    assert metrics.detection_map(detect, "true", "kinds", style="voc10")(None, found)["map"] == pytest.approx(
        (1 + 2 / 3 + 3 / 5) / 4, rel=1e-15
    )
    assert metrics.detection_map(detect, "true", "kinds", style="voc07")(None, found)["map"] == pytest.approx(
        (3 * 1 + 3 * 2 / 3 + 2 * 3 / 5) / 11, rel=1e-15
    )
    assert metrics.detection_map(detect, "true", "kinds", threshold=0.5)(None, found)["map"] == pytest.approx(
        (26 * 1 + 25 * 2 / 3 + 25 * 3 / 5) / 101, rel=1e-15
    )


def test_a_tenth_of_recall_is_reached_exactly():
    found = curve([1, 1, 1], 10)  # recall 3/10, which is below 0.3000000000000000444
    assert metrics.detection_map(detect, "true", "kinds", style="voc07")(None, found)["map"] == 4 / 11


def test_the_second_detection_of_a_box_is_wrong():
    box = np.float32([[0, 0, 9, 9]])
    found = {"boxes": box[None].repeat(2, axis=1), "scores": np.float32([[1, 2]]), "classes": np.zeros((1, 2), int)}
    found |= {"true": box[None], "kinds": np.zeros((1, 1), int)}
    for style in ("voc07", "voc10", "coco"):
        assert metrics.detection_map(detect, "true", "kinds", style=style)(None, found)["map"] == 1
    two = found | {"true": np.float32([[[0, 0, 9, 9], [0, 0, 9, 8]]]), "kinds": np.zeros((1, 2), int)}
    # VOC's detections both look at the first box; COCO's second one takes the other, up to an overlap of 8/9.
    assert metrics.detection_map(detect, "true", "kinds", style="voc10")(None, two)["map"] == 0.5
    coco = metrics.detection_map(detect, "true", "kinds")(None, two)
    assert coco["map_75"] == 1
    assert coco["map"] == pytest.approx((8 + 2 * 51 / 101) / 10, rel=1e-15)


def test_no_boxes_at_all():
    nothing = {"boxes": np.zeros((2, 0, 4)), "scores": np.zeros((2, 0)), "classes": np.zeros((2, 0), int)}
    nothing |= {"true": np.zeros((2, 1, 4)), "kinds": np.full((2, 1), -1)}
    found = metrics.detection_map(detect, "true", "kinds")(None, nothing)
    assert np.isnan(found["map"]) and found["per_class"] == {}
    missed = nothing | {"kinds": np.array([[2], [-1]])}
    assert metrics.detection_map(detect, "true", "kinds")(None, missed)["per_class"] == {"2": 0.0}
    wrong = nothing | {"scores": np.zeros((2, 1))}
    with pytest.raises(fdl_spark.ArgumentError, match="detected boxes must have the shape"):
        metrics.detection_map(detect, "true", "kinds")(None, wrong)


def test_on_spark_it_is_the_same_on_any_partitions(spark, found):
    metric = metrics.detection_map(detect, "true", "kinds", ignored="hard", style="coco")
    ties = found | {"scores": np.round(found["scores"] / 20).astype(np.float32)}
    expected = metric(None, ties)
    for batch_size in (3, 100):
        assert fdl_spark.evaluate({"map": metric}, np.float32(0), ties, batch_size=batch_size)["map"] == expected


def test_boxes_that_are_shares_of_the_image(found):
    """VOC counts a pixel more on each side: of shares all boxes would overlap."""
    size = np.float32([40, 20, 40, 20])
    shares = found | {"boxes": found["boxes"] / size, "true": found["true"] / size}
    expected = metrics.detection_map(detect, "true", "kinds", style="voc10")(None, found)
    assert metrics.detection_map(detect, "true", "kinds", style="voc10", size=(20, 40))(None, shares) == expected
    with pytest.raises(fdl_spark.ArgumentError, match="shares of the image: give size="):
        metrics.detection_map(detect, "true", "kinds", style="voc10")(None, shares)
    with pytest.raises(fdl_spark.ArgumentError, match="height and width"):
        metrics.detection_map(detect, "true", "kinds", size=(20,))
