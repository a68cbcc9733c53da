"""Training of both networks, the pipeline over gallery and queries, and what is measured of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import fdl.numpy as fnp
import fdl_spark
from examples.image_pipeline import baseline, pipeline, task
from examples.image_pipeline.scenes import SIZE, Material, write_scenes
from fdl import lax, optim, random
from fdl.models import ssd
from fdl_spark import metrics


@dataclass(frozen=True)
class Recipe:
    """Sizes and hyperparameters.

    Attributes:
      scenes: to train on; of these the first `gallery` are the gallery.
      gallery: scenes whose objects are the gallery.
      tests: scenes to detect in, whose objects are the queries.
      epochs: of the detector and of the encoder.
      batch: scenes, and crops, of a step.
      rate: the highest, of Adam; it falls along a cosine.
    """

    scenes: int = 4000
    gallery: int = 1500
    tests: int = 500
    epochs: tuple[int, int] = (6, 4)
    batch: tuple[int, int] = (16, 64)
    rate: tuple[float, float] = (1.5e-3, 2e-3)


class Result(NamedTuple):
    """What a run has found.

    Attributes:
      detector, encoder: runs of `fdl_spark.train`.
      folder: of the Parquet files: train, test, gallery, neighbours.
      quality: by name the value of the pipeline and that of the baseline.
      per_digit: average precision of each digit, of the detector.
      counts: of scenes, objects, crops.
      scenes_per_second: of the pipeline over the test scenes, from Parquet to Parquet.
      pictures: rows of some test scenes, of their objects and of the neighbours of these, for the plot.
    """

    detector: Any
    encoder: Any
    folder: str
    quality: dict[str, tuple[float, float]]
    per_digit: dict[str, float]
    counts: dict[str, int]
    scenes_per_second: float
    pictures: dict[str, list[Any]]


def build(
    spark: Any,
    training: Material,
    held_out: Material,
    recipe: Recipe,
    folder: str,
    *,
    seed: int = 0,
    partitions: int | None = None,
    shards: int | None = None,
    checkpoint: str | None = None,
    callbacks: Callable[[str], Sequence[fdl_spark.Callback]] = lambda name: (),
) -> Result:
    """Compose scenes, train both networks, run the pipeline, measure it.

    Args:
      spark: the session.
      training, held_out: what scenes are made of.
      recipe: sizes and hyperparameters.
      folder: for Parquet files, which all workers see.
      seed: of scenes, parameters and the order of training.
      partitions, shards: of `fdl_spark.train`.
      checkpoint: the folder that those of both runs are in, or None.
      callbacks: gives those of the run of a name.
    """
    tasks = partitions or spark.sparkContext.defaultParallelism
    train = write_scenes(spark, training, seed, 0, recipe.scenes, f"{folder}/train", 4 * tasks)
    test = write_scenes(spark, held_out, seed + 1, recipe.scenes, recipe.tests, f"{folder}/test", tasks)

    def fit(number: int, loss: Any, params: Any, data: Any, rows: int, columns: Any, features: Any) -> Any:
        name, batch, epochs = ("detector", "encoder")[number], recipe.batch[number], recipe.epochs[number]
        steps = max(2, -(-rows // batch) * epochs)
        rate = optim.warmup_cosine_decay_schedule(0.0, recipe.rate[number], max(1, steps // 20), steps)
        return fdl_spark.train(
            loss, params, data, columns=columns, features=features, optimizer=optim.adam(rate), batch_size=batch,
            epochs=epochs, seed=seed, partitions=partitions, shards=shards,
            checkpoint=checkpoint and f"{checkpoint}/{name}", callbacks=callbacks(name),
        )  # fmt: skip

    first, second = random.split(random.key(seed))
    start = ssd.init(first, task.DETECTOR)
    detector = fit(0, task.detector_loss, start, train, recipe.scenes, None, task.SCENES)
    crops = pipeline.training_crops(train, seed).cache()
    try:
        count = crops.count()
        encoder = fit(1, task.encoder_loss, task.init_encoder(second), crops, count, ["label"], task.CROPS)
    finally:
        crops.unpersist()

    scenes = train.where(f"scene < {recipe.gallery}")
    found = pipeline.find_objects(detector.params, scenes)
    pipeline.add_codes(encoder.params, found).write.mode("overwrite").parquet(f"{folder}/gallery")
    known = spark.read.parquet(f"{folder}/gallery")
    gallery = pipeline.as_gallery(known)
    began = time.perf_counter()
    made = pipeline.pipeline(detector.params, encoder.params, gallery, test)
    made.write.mode("overwrite").parquet(f"{folder}/neighbours")
    seconds = time.perf_counter() - began

    quality, per_digit = detection(detector.params, baseline.templates(training), test)
    queries = spark.read.parquet(f"{folder}/neighbours")
    quality |= retrieval(known, queries)
    counts = {"training scenes": recipe.scenes, "training crops": count, "test scenes": recipe.tests}
    counts |= {"objects of the gallery": known.count(), "objects found in test scenes": queries.count()}
    shown = pictures(test, known, queries)
    return Result(detector, encoder, folder, quality, per_digit, counts, recipe.tests / seconds, shown)


def detection(params: Any, patterns: Any, test: Any) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    """Mean average precisions of the detector and of the baseline; of the former by digit too."""
    found = {}
    for name, detect, given in (("ssd", task.detect, params), ("templates", baseline.match, patterns)):
        measured = {
            "voc": metrics.detection_map(detect, "boxes", "labels", style="voc10", size=(SIZE, SIZE)),
            "coco": metrics.detection_map(detect, "boxes", "labels", size=(SIZE, SIZE)),
        }
        found[name] = fdl_spark.evaluate(measured, given, test, features=task.SCENES, batch_size=32, shards=8)
    ours, theirs = found["ssd"], found["templates"]
    names = {"detection mAP, VOC (0.5)": "voc", "detection mAP, COCO (0.5 to 0.95)": "coco"}
    return {name: (ours[key]["map"], theirs[key]["map"]) for name, key in names.items()}, ours["voc"]["per_class"]


def with_truth(coded: Any) -> Any:
    """Objects with a column true: the digit that is there, -1 if there is none."""
    read = task.features.Features(task.SCENES.without("image").encoders)
    return fdl_spark.predict(task.truth, (), coded, {"true": "int"}, columns=["box"], features=read, batch_size=1024)


def retrieval(known: Any, queries: Any) -> dict[str, tuple[float, float]]:
    """How many of the nearest objects are the same digit, by codes and by pixels."""
    columns = ["code", "true"]
    rows = with_truth(known).orderBy("object").select("crop", *columns).toArrow()
    pixels = task.CROPS.encode(rows)["crop"]
    codes = {"code": rows["code"].to_numpy(), "true": rows["true"].to_numpy()}
    as_pixels = {"pixels": np.asarray(unit(pixels)), "true": codes["true"]}
    asked = with_truth(queries).select("crop", *columns)

    def by_codes(params: Any, batch: Any) -> Any:
        return -task.distances(params, batch).astype(fnp.float32)

    def by_pixels(params: Any, batch: Any) -> Any:
        return fnp.abs(unit(batch["crop"]) @ params["pixels"].T)

    def same(params: Any, batch: Any) -> Any:
        return ((batch["true"][:, None] == params["true"]) & (params["true"] >= 0)).astype(fnp.int32)

    def precision(likeness: Any, params: Any, batch: Any) -> Any:
        _, places = lax.top_k(likeness(params, batch), task.NEAREST)
        return fnp.mean(fnp.take_along_axis(same(params, batch), places, axis=1).astype(fnp.float32), axis=1)

    found = []
    for likeness, gallery in ((by_codes, codes), (by_pixels, as_pixels)):
        measured = {
            f"retrieval precision at {task.NEAREST}": metrics.mean(partial(precision, likeness)),
            "retrieval mAP": metrics.mean_average_precision(likeness, same),
        }
        options: dict[str, Any] = {"columns": columns, "features": task.CROPS, "batch_size": 128, "shards": 8}
        found.append(fdl_spark.evaluate(measured, gallery, asked, **options))
    return {name: (value, found[1][name]) for name, value in found[0].items()}


def unit(crops: Any) -> Any:
    """Grey crops of half the size as vectors of length one and mean zero."""
    grey = fnp.mean(fnp.asarray(crops).astype(fnp.float32), axis=-1)
    small = grey.reshape(-1, task.SIDE // 2, 2, task.SIDE // 2, 2).mean(axis=(2, 4)).reshape(-1, (task.SIDE // 2) ** 2)
    small = small - fnp.mean(small, axis=1, keepdims=True)
    return small / fnp.maximum(fnp.sqrt(fnp.sum(small * small, axis=1, keepdims=True)), 1e-6)


def pictures(test: Any, known: Any, queries: Any, count: int = 4) -> dict[str, list[Any]]:
    """Rows for the plot: the first scenes, their objects, the objects of the gallery that are nearest to these."""
    scenes = test.orderBy("scene").limit(count).collect()
    numbers = [row.scene for row in scenes]
    seen = queries.where(queries.scene.isin(numbers)).orderBy("object").collect()
    wanted = sorted({number for row in seen for number in row.neighbour})
    near = known.where(known.object.isin(wanted)).select("object", "crop", "digit").collect()
    return {"scenes": scenes, "objects": seen, "gallery": near}


def table(result: Result) -> str:
    """What was measured, as text."""
    lines = [", ".join(f"{count:,} {name}" for name, count in result.counts.items())]
    lines += [f"{'':36}  pipeline  baseline"]
    lines += [f"{name:36}  {ours:8.3f}  {theirs:8.3f}" for name, (ours, theirs) in result.quality.items()]
    digits = sorted(result.per_digit.items(), key=lambda pair: int(pair[0]))
    lines += ["average precision by digit (VOC): " + ", ".join(f"{digit} {value:.2f}" for digit, value in digits)]
    return "\n".join(lines)
