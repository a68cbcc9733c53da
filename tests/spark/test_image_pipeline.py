"""`examples.image_pipeline` on strokes that stand for digits, and its parts against loops over single objects."""

import io

import numpy as np
import pytest

import fdl
import fdl_spark
from examples.image_pipeline import baseline, pipeline, scenes, task
from examples.image_pipeline.plot import plot
from examples.image_pipeline.program import Result, pictures, retrieval, table
from examples.image_pipeline.scenes import MOST, SIZE, Material, compose
from fdl import optim

pytest.importorskip("PIL", reason="needs the extra images")


def material(seed: int = 0) -> Material:
    """Ten kinds of bars and rings on noise."""
    rng = np.random.default_rng(seed)
    digits, labels = [], []
    for number in range(40):
        digit = np.zeros((20, 6 + number % 10), np.uint8)
        digit[:, [0, -1]] = 255
        digit[2 * (number % 10)] = 255
        digits.append(scenes.cut(digit))
        labels.append(number % 10)
    noise = tuple(rng.integers(60, 120, (SIZE + 10, SIZE + 30, 3), np.uint8) for _ in range(2))
    return Material(tuple(digits), np.array(labels, np.int32), noise)


@pytest.fixture(scope="module")
def composed(spark, tmp_path_factory):
    """24 scenes as Parquet."""
    path = tmp_path_factory.mktemp("scenes").as_uri()
    return scenes.write_scenes(spark, material(), 3, 100, 24, path, 2)


def test_scenes_are_functions_of_seed_and_number(composed) -> None:
    from PIL import Image

    rows = composed.orderBy("scene").collect()
    assert [row.scene for row in rows] == list(range(100, 124))
    for row in rows[:4]:
        pixels, boxes, labels = compose(material(), 3, row.scene)
        assert row.boxes == boxes.tolist() and row.labels == labels.tolist() and 1 <= len(labels) <= MOST
        decoded = np.asarray(Image.open(io.BytesIO(row.image)), np.float32)
        assert np.abs(decoded - pixels).mean() < 12  # of a JPEG, whose colours have half the pixels
    assert compose(material(), 4, 100)[0].tobytes() != compose(material(), 3, 100)[0].tobytes()


def test_boxes_are_those_of_the_ink() -> None:
    """Backgrounds without noise tell by themselves where something was drawn."""
    flat = Material(material().digits, material().labels, (np.full((SIZE, SIZE, 3), 100, np.uint8),))
    for number in range(10):
        pixels, boxes, labels = compose(flat, 0, number)
        drawn = (pixels != 100).any(axis=2)
        for left, top, right, bottom in np.rint(boxes * SIZE).astype(int):
            part = drawn[top:bottom, left:right]
            assert all(part[edge].any() for edge in (0, -1)) and all(part[:, edge].any() for edge in (0, -1))
            drawn[top:bottom, left:right] = False
        assert not drawn.any() and len(boxes) == len(labels)


def test_objects_are_rows_with_their_crops(composed) -> None:
    """A detector that sees each scene's left half, as digit 7, and nothing else."""

    def left_half(params, batch):
        rows = batch["image"].shape[0]
        boxes = fdl.numpy.tile(params, (rows, task.COUNT, 1))
        there = fdl.numpy.arange(task.COUNT) == 2
        digits = fdl.numpy.tile(fdl.numpy.where(there, 7, -1).astype("int32"), (rows, 1))
        scores = fdl.numpy.ones((rows, task.COUNT), "float32")
        return {"box": boxes, "score": scores, "digit": digits, "crop": task.crops_of(batch["image"], boxes)}

    box = np.float32([0.05, 0.1, 0.45, 0.9])
    found = pipeline.find_objects(box, composed, objects=left_half, batch_size=8).orderBy("scene").collect()
    assert [row.object for row in found] == [task.COUNT * scene + 2 for scene in range(100, 124)]
    image = {row.scene: row.image for row in composed.collect()}
    for row in found[:3]:
        assert row.digit == 7 and np.float32(row.box).tolist() == box.tolist() and len(row.labels) == len(row.boxes)
        pixels = task.IMAGES.encode({"image": [image[row.scene]]})["image"][0].astype(np.float64)
        crop = np.frombuffer(row.crop, np.uint8).reshape(task.SIDE, task.SIDE, 3)
        x, y = 128 * (0.05 - 0.04 + 0.48 * 10.5 / 32) - 0.5, 128 * (0.1 - 0.08 + 0.96 * 20.5 / 32) - 0.5
        near = pixels[int(y) : int(y) + 2, int(x) : int(x) + 2].reshape(4, 3)
        assert (crop[20, 10] >= near.min(axis=0) - 1).all() and (crop[20, 10] <= near.max(axis=0) + 1).all()


def test_neighbours_are_the_nearest_codes(spark) -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 1 << task.BITS, 60)
    gallery = {"object": 1000 + np.arange(40), "code": codes[:40]}
    asked = spark.createDataFrame([(int(code),) for code in codes[40:]], "code bigint")
    for row in pipeline.add_neighbours(gallery, asked, batch_size=16).collect():
        distances = [(row.code ^ int(code)).bit_count() for code in codes[:40]]
        nearest = sorted(range(40), key=lambda place: (distances[place], place))[: task.NEAREST]
        assert row.neighbour == [1000 + place for place in nearest]
        assert row.distance == [distances[place] for place in nearest]


def test_the_truth_of_an_object_is_the_box_that_it_overlaps() -> None:
    batch = {
        "boxes": np.float32([[[0, 0, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9]]] * 3),
        "labels": np.int32([[4, 6]] * 3),
        "box": np.float32([[0.52, 0.5, 0.9, 0.9], [0, 0.1, 0.4, 0.4], [0.3, 0.3, 0.6, 0.6]]),
    }
    assert np.asarray(task.truth((), batch)).tolist() == [6, 4, -1]


def test_templates_are_found_where_they_are(composed) -> None:
    params = baseline.templates(material())
    for one in params:
        side = one["pattern"].shape[0]
        np.testing.assert_allclose(one["pattern"].sum(axis=(0, 1)), 0, atol=1e-5)
        scene = np.full((SIZE // 2, SIZE // 2), 100.0)
        scene[10 : 10 + side, 20 : 20 + side] -= 300 * one["pattern"][:, :, 0, 3]
        assert one["half"].shape == (task.DIGITS, 2) and side in baseline.SIDES
    image = np.repeat(np.repeat(scene, 2, 0), 2, 1)[None, :, :, None].repeat(3, 3).round().astype(np.uint8)
    boxes, scores, classes = (np.asarray(x)[0] for x in baseline.match(params[-1:], {"image": image}, 5))
    centre = [(boxes[0, 0] + boxes[0, 2]) / 2, (boxes[0, 1] + boxes[0, 3]) / 2]
    assert classes[0] == 3 and scores[0] > 0.95
    np.testing.assert_allclose(centre, [(40 + side) / SIZE, (20 + side) / SIZE], atol=1e-6)


def true_objects(params, batch):
    """A detector that sees what is there."""
    more = [(0, 0), (0, task.COUNT - MOST)]
    boxes = fdl.numpy.pad(batch["boxes"], [*more, (0, 0)])
    digits = fdl.numpy.pad(batch["labels"], more, constant_values=-1)
    crops = task.crops_of(batch["image"], boxes)
    return {"box": boxes, "score": fdl.numpy.ones(digits.shape, "float32"), "digit": digits, "crop": crops}


def test_codes_are_learnt_and_find_their_like(spark, composed, tmp_path) -> None:
    run = fdl_spark.train(
        task.encoder_loss, task.init_encoder(fdl.random.key(0)), pipeline.training_crops(composed, 0),
        columns=["label"], features=task.CROPS, optimizer=optim.adam(3e-3), batch_size=48, epochs=8, shards=2,
        partitions=1,
    )  # fmt: skip
    found = pipeline.find_objects((), composed, true_objects, task.SCENES)
    pipeline.add_codes(run.params, found).write.parquet(f"{tmp_path}/gallery")
    known = spark.read.parquet(f"{tmp_path}/gallery")
    assert known.count() == sum(len(row.labels) for row in composed.collect())
    gallery = pipeline.as_gallery(known)
    made = pipeline.pipeline((), run.params, gallery, composed, true_objects, task.SCENES, batch_size=16)
    made.write.parquet(f"{tmp_path}/neighbours")
    queries = spark.read.parquet(f"{tmp_path}/neighbours")
    one, three = (frame.orderBy("object").collect() for frame in (queries, pipeline.add_neighbours(gallery, known)))
    assert [row.asDict() for row in one] == [row.asDict() for row in three]
    quality = retrieval(known, queries)
    ours, pixels = quality["retrieval mAP"]
    assert min(ours, pixels) > 0.4  # by chance it is 0.1
    counts, shown = {"objects": known.count()}, pictures(composed, known, queries)
    result = Result(run, run, "", quality, {"3": 0.5}, counts, 1.0, shown)
    assert f"{ours:.3f}" in table(result)
    plot(result, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 50_000
