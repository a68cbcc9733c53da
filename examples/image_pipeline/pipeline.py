"""The pipeline: scenes -> objects -> codes -> neighbours, each step a DataFrame."""

from functools import partial
from typing import Any

import numpy as np

import fdl_spark
from examples.image_pipeline import task


def find_objects(
    params: Any, scenes: Any, objects: Any = task.objects, features: Any = task.IMAGES, batch_size: int = 32
) -> Any:
    """A row for each object that the detector sees.

    Args:
      params: of the detector.
      scenes: with columns scene, image, and others, which are kept.
      objects: the detector, (params, batch) -> what `task.objects` gives.
      features: what it reads.
      batch_size: scenes at once.

    Returns:
      The columns of scenes without the image; object (the number of the scene times COUNT, plus the place in it); box
      (four shares), score, digit; crop (bytes of SIDE x SIDE x 3).
    """
    seen = fdl_spark.predict(objects, params, scenes, task.OBJECTS, features=features, batch_size=batch_size)
    return _rows_of_objects(scenes, seen, list(task.OBJECTS))


def _rows_of_objects(scenes: Any, seen: Any, fields: list[str]) -> Any:
    """From a row for each scene, with arrays of these fields, to one for each object."""
    kept = [name for name in scenes.columns if name != "image"]
    rows = seen.selectExpr(*kept, f"posexplode(arrays_zip({', '.join(fields)})) AS (place, seen)")
    rows = rows.where("seen.digit >= 0")
    number = f"scene * {task.COUNT} + place AS object"
    return rows.selectExpr(*kept, number, *(f"seen.{name} AS {name}" for name in fields))


def add_codes(params: Any, objects: Any, batch_size: int = 128) -> Any:
    """The objects with a column code (bigint), in place of their crops unless these are still needed."""
    kind = {"code": "bigint"}
    return fdl_spark.predict(task.encode, params, objects, kind, features=task.CROPS, batch_size=batch_size)


def as_gallery(coded: Any) -> dict[str, np.ndarray]:
    """What neighbours are looked for in: the numbers and the codes of objects, 16 bytes each, ordered by number.

    Executors get it as they get parameters.
    """
    rows = coded.select("object", "code").orderBy("object").toArrow()
    return {name: rows[name].to_numpy() for name in ("object", "code")}


def add_neighbours(gallery: Any, coded: Any, batch_size: int = 128) -> Any:
    """The objects with columns neighbour (numbers of objects of the gallery, the nearest first) and distance (bits)."""
    kinds = {"neighbour": "array<bigint>", "distance": "array<int>"}
    return fdl_spark.predict(task.nearest, gallery, coded, kinds, columns=["code"], batch_size=batch_size)


def pipeline(
    detector: Any,
    encoder: Any,
    gallery: Any,
    scenes: Any,
    objects: Any = task.objects,
    features: Any = task.IMAGES,
    batch_size: int = 32,
) -> Any:
    """All of it: from scenes to objects with codes and neighbours.

    The rows are those of `find_objects`, `add_codes` and `add_neighbours` one after the other. As these apply functions
    of arrays, one function does the work of all three, and what is made of an image does not leave the process before
    its neighbours are known.
    """
    params = {"detector": detector, "encoder": encoder, "gallery": gallery}
    apply, outputs = partial(task.recognised, see=objects), task.RECOGNISED
    made = fdl_spark.predict(apply, params, scenes, outputs, features=features, batch_size=batch_size)
    return _rows_of_objects(scenes, made, list(outputs))


def training_crops(scenes: Any, seed: int) -> Any:
    """Crops of the true boxes of scenes, and their digits: what the encoder learns from."""
    kinds = {"crop": "array<binary>", "label": "array<int>"}
    made = fdl_spark.predict(
        task.examples, np.uint32(seed), scenes, kinds, columns=["scene"],
        features=task.SCENES, batch_size=64,
    )  # fmt: skip
    return made.selectExpr("inline(arrays_zip(crop, label))").where("label >= 0")
