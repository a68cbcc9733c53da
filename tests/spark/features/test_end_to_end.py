"""A table with strings, nulls, dates, images and vectors trains, and the saved encoders do the same afterwards."""

import io
from datetime import date, timedelta

import numpy as np
import pytest
from PIL import Image
from pyspark.ml.linalg import Vectors

import fdl.numpy as fnp
import fdl_spark
from fdl import optim
from fdl_spark import features
from fdl_spark.data.selection import Selection
from fdl_spark.features import augment

ROWS = 61
WIDTH = 3 + 4 + 2 + 2 + 3


def photo(bright):
    file = io.BytesIO()
    Image.fromarray(np.full((9, 12, 3), 250 if bright else 5, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def frame(spark):
    random = np.random.default_rng(11)
    rows = []
    for n in range(ROWS):
        label = int(random.integers(0, 2))
        day = None if n == 7 else date(2024, 1, 1) + timedelta(days=int(random.integers(0, 366)))
        city = None if n == 5 else ["Köln", "Bonn"][label] if n % 3 else f"village {n}"
        picture = b"no image" if n == 9 else photo(label)
        vector = Vectors.sparse(2, [label], [1.0]) if n % 2 else Vectors.dense(float(random.normal()), 0.5)
        rows.append((n, city, day, picture, vector, None if n == 3 else float(random.normal(40, 9)), label))
    types = ["n", "home.city", "joined", "photo", "vector", "age", "label"]
    made = spark.createDataFrame(rows, types).coalesce(1).cache()
    yield made
    made.unpersist(blocking=True)


ENCODERS = [
    features.image("photo", height=1, width=1, on_error="zeros"),
    features.one_hot(features.vocabulary("home.city", size=3, missing=""), "city"),
    features.date_parts("joined", parts=["day_of_year"], missing="2024-07-01"),
    features.vector("vector"),
    features.standardise("age", missing="mean"),
    features.bucketize("age", "age bucket", buckets=3, missing="bucket"),
    features.numeric("label", dtype="int32"),
]


def scores(params, batch):
    photo = batch["photo"].reshape((-1, 3))
    numbers = [batch["age"], batch["age bucket"], batch["photo_mask"]]
    columns = [
        photo,
        batch["city"],
        batch["joined"],
        batch["vector"],
        *(x.astype(fnp.float32)[:, None] for x in numbers),
    ]
    return fnp.concatenate(columns, axis=1) @ params["w"] + params["b"]


def loss(params, batch):
    z, y = scores(params, batch), batch["label"].astype(fnp.float32)
    return fnp.mean(fnp.logaddexp(0, z) - y * z)


def accuracy(params, batch):
    return fnp.mean((scores(params, batch) > 0) == (batch["label"] == 1))


def train(frame, encoders, **options):
    params = {"w": np.zeros(WIDTH, np.float32), "b": np.zeros((), np.float32)}
    settings = {"optimizer": optim.adam(0.1), "batch_size": 16, "steps": 8, "shards": 4, "sync": "driver"}
    return fdl_spark.train(loss, params, frame, features=encoders, **settings | options)


def test_saved_encoders_train_evaluate_and_predict(frame, digest, tmp_path):
    fitted = features.fit(ENCODERS, frame)
    fitted.save(str(tmp_path / "features.json"))
    loaded = features.load(str(tmp_path / "features.json"))
    change = augment.chain(augment.flip("photo"), augment.noise("age", scale=0.01))
    run = train(frame, fitted, validation=frame, metrics={"accuracy": accuracy}, augment=change)
    assert run.history.steps[-1]["loss"] < 0.5 * run.history.steps[0]["loss"]
    again = train(frame.repartition(3).sort("n"), loaded, partitions=1, augment=change)
    assert digest(again.params) == digest(run.params)

    found = fdl_spark.evaluate({"loss": loss, "accuracy": accuracy}, run.params, frame, features=loaded)
    batch = fitted.encode(frame.toArrow())
    assert found["accuracy"] == pytest.approx(float(accuracy(run.params, batch))) and found["accuracy"] > 0.9
    assert found["loss"] == pytest.approx(float(loss(run.params, batch)), rel=1e-5)

    scored = fdl_spark.predict(scores, run.params, frame, output="score", features=loaded).toArrow()
    assert scored.column_names == [*frame.columns, "score"]
    np.testing.assert_allclose(scored["score"], np.asarray(scores(run.params, batch)), rtol=1e-5, atol=1e-6)


def test_negatives_are_drawn_anew_for_each_row_and_epoch(spark, digest):
    """Matrix factorisation from pairs of users and items, by their names."""
    rows = [(f"user {n % 5}", f"item {n % 7}", [n % 7, (n + 1) % 7]) for n in range(30)]
    frame = spark.createDataFrame(rows, "user string, item string, seen array<int>")
    users, items = features.vocabulary("user"), features.vocabulary("item")
    fitted = features.fit([users, items, features.pad("seen", length=2, dtype="int32")], frame)
    change = augment.negatives(8, user="user", item="item", count=3, seen="seen")

    def drawn(params, batch):
        z = fnp.sum(params["user"][batch["user"]] * params["item"][batch["item"]], axis=2)
        return fnp.mean(fnp.logaddexp(0, z) - batch["label"] * z), {"drawn": fnp.mean(batch["item"][:, 1:] ** 2.0)}

    params = {"user": np.full((6, 3), 0.1, np.float32), "item": np.full((8, 3), 0.1, np.float32)}
    settings = {"optimizer": optim.adam(0.1), "batch_size": 30, "epochs": 2, "shards": 2, "features": fitted}
    runs = [
        fdl_spark.train(drawn, params, frame, augment=change, sync="driver", partitions=partitions, **settings)
        for partitions in (1, 2)
    ]
    assert digest(runs[0].params) == digest(runs[1].params)
    first, second = (step["drawn"] for step in runs[0].history.steps)
    assert first != second  # the same rows, other items


def test_an_encoder_says_the_dtype(frame):
    doubles = features.Features(
        (features.seconds_since("joined", origin="2024-01-01", missing="2024-01-01", dtype="float64"),)
    )
    found = Selection.of(frame.columns, None, doubles).arrays(frame.select("joined").toArrow().to_batches()[0])
    assert found["joined"].dtype == np.float64


def test_a_bad_row_of_training_data_is_named(spark, frame):
    strict = features.fit([features.hashed("home.city", "city", buckets=3), features.numeric("label")], frame)
    with pytest.raises(fdl_spark.ColumnError, match="column 'home.city': null; missing= says what it becomes.*row 5"):
        fdl_spark.evaluate(lambda params, batch: batch["label"].mean(), np.float32(0), frame, features=strict)
