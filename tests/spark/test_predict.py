"""Predictions are a column among the others; evaluations weigh every row alike."""

import gc
import os
import time
from pathlib import Path

import numpy as np
import pytest
from pyspark.errors import PythonException
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.linalg import Vectors
from pyspark.sql import Row
from pyspark.sql import functions as sql

import fdl
import fdl.numpy as fnp
import fdl_spark
from fdl_spark import features
from fdl_spark.applying import sharing
from fdl_spark.data.columns import BadColumn
from fdl_spark.spark.quiet import no_pandas_warning


@pytest.fixture(scope="module")
def frame(spark):
    rows = [Row(x=[float(i), 1.0], y=i % 2, **{"a.name": f"row {i}"}) for i in range(23)]
    return spark.createDataFrame(spark.sparkContext.parallelize(rows, 3)).cache()


def test_order_and_other_columns_are_kept(frame):
    def apply(params, batch):
        return batch["x"] @ params

    scored = fdl_spark.predict(apply, np.float32([2, 1]), frame, "score", batch_size=4)
    assert scored.columns == ["x", "y", "a.name", "score"]
    assert [(row["a.name"], row.y, row.score) for row in scored.collect()] == [
        (f"row {i}", i % 2, 2.0 * i + 1) for i in range(23)
    ]


def test_outputs_of_more_axes_and_other_types(frame):
    def outer(params, batch):
        return batch["x"][:, :, None] * params

    scored = fdl_spark.predict(outer, np.float32([1, 10, 100]), frame.limit(2))
    assert [row.prediction for row in scored.collect()] == [
        [[0, 0, 0], [1, 10, 100]],
        [[1, 10, 100], [1, 10, 100]],
    ]
    above = fdl_spark.predict(lambda params, batch: batch["y"] > params, np.int64(0), frame.select("y").limit(3))
    assert [row.prediction for row in above.collect()] == [False, True, False]
    assert above.schema["prediction"].dataType.simpleString() == "boolean"


def test_predict_is_lazy_and_composes(frame):
    scored = fdl_spark.predict(lambda params, batch: batch["x"] @ params, np.float32([1, 0]), frame)
    assert scored.where("prediction > 20").count() == 2
    assert fdl_spark.predict(lambda p, b: b["x"] @ p, np.float32([1, 0]), frame.where("y > 5")).count() == 0


def test_predict_errors(frame):
    with pytest.raises(fdl_spark.MissingColumnError, match=r"asked for column 'z'; the data .* \['x', 'y'\]"):
        fdl_spark.predict(lambda params, batch: batch["z"], np.float32(0), frame)
    with pytest.raises(fdl_spark.ColumnError, match=r"column 'a.name': string is not numeric"):
        fdl_spark.predict(lambda params, batch: batch["a.name"], np.float32(0), frame, columns=["a.name"])
    with pytest.raises(fdl_spark.DataError, match="one row of output per row of the batch"):
        fdl_spark.predict(lambda params, batch: fnp.mean(batch["x"]), np.float32(0), frame)


def test_evaluate_weighs_rows(frame):
    def loss(params, batch):
        return fnp.mean(batch["x"][:, 0] * params), {"ones": fnp.mean(batch["x"][:, 1])}

    found = fdl_spark.evaluate(loss, np.float32(2), frame.select("x"), batch_size=4)
    assert found.keys() == {"loss", "ones"}
    np.testing.assert_allclose([found["loss"], found["ones"]], [22, 1], rtol=1e-6)
    metrics = {"odd": lambda params, batch: fnp.mean(batch["y"].astype(fnp.float32))}
    found = fdl_spark.evaluate(metrics, np.float32(2), frame, batch_size=7, columns=["y"])
    np.testing.assert_allclose(found["odd"], 11 / 23, rtol=1e-6)


def test_evaluate_has_the_same_bits_on_any_cluster_and_in_validation(spark, monkeypatch):
    random = np.random.default_rng(1)
    data = {"x": random.normal(size=(1003, 3)).astype(np.float32), "w": random.random(1003).astype(np.float32)}
    rows = [(x.tolist(), float(w)) for x, w in zip(data["x"], data["w"], strict=True)]
    frame = spark.createDataFrame(rows, "x array<float>, w float").coalesce(3)

    def loss(params, batch):
        return (batch["x"] @ params) ** 2

    def mean(params, batch):
        return fnp.mean(batch["x"] @ params)

    metrics = {"mean": mean, "mse": fdl_spark.metrics.mse(lambda p, b: b["x"] @ p, "w")}
    params, found = np.float32([1, 2, 3]), []
    for cores, source in ((1, frame), (5, data)):
        monkeypatch.setattr(type(spark.sparkContext), "defaultParallelism", cores)
        found.append(fdl_spark.evaluate(loss, params, source, metrics=metrics, weights="w"))
    assert found[0] == found[1]
    assert list(found[0]) == ["loss", "loss_weight", "mean", "mse"]
    exact = (data["x"].astype(float) @ params) ** 2
    np.testing.assert_allclose(found[0]["loss"], np.average(exact, weights=data["w"]), rtol=1e-6)

    options = {"metrics": metrics, "batch_size": 100, "seed": 5, "shards": 7, "weights": "w"}
    fit = {"optimizer": fdl.optim.sgd(1e-3), "steps": 1, "sync": "driver"}
    run = fdl_spark.train(loss, params, frame, validation=data, **fit, **options)
    assert fdl_spark.evaluate(loss, run.params, frame, **options) == run.history.epochs[-1]["validation"]
    data = {"x": data["x"][:2], "w": np.float32([1, -1])}
    with pytest.raises(fdl_spark.DataError, match=r"weights='w': a weight must not be negative; one is -1\.0"):
        fdl_spark.evaluate(loss, params, data, weights="w")
    with pytest.raises(fdl_spark.MissingColumnError, match="weights= asked for column 'v'"):
        fdl_spark.evaluate(loss, params, data, weights="v")
    with pytest.raises(fdl_spark.ArgumentError, match="pass one dict of all"):
        fdl_spark.evaluate(metrics, params, data, metrics=metrics)
    with pytest.raises(fdl_spark.ArgumentError, match="give those of fdl_spark.metrics a weight="):
        fdl_spark.evaluate(metrics, params, data, weights="w")


def test_evaluate_errors(frame):
    with pytest.raises(fdl_spark.LossError, match="metric 'm' must return one number"):
        fdl_spark.evaluate({"m": lambda params, batch: batch["y"]}, np.float32(0), frame, columns=["y"])
    with pytest.raises(fdl_spark.MissingColumnError, match="metric 'm' asked for column 'z'"):
        fdl_spark.evaluate({"m": lambda params, batch: batch["z"]}, np.float32(0), frame, columns=["y"])


def test_predictions_run_in_the_workers_of_training(spark):
    """One parent, with what it has imported and compiled, serves RDDs and queries."""
    import pyarrow as pa

    def parent(batches):
        for _ in batches:
            pass
        yield pa.RecordBatch.from_pydict({"pid": [os.getppid()]})

    with no_pandas_warning():
        (row,) = spark.range(0, 1, 1, 1).mapInArrow(parent, "pid long").collect()
    assert spark.sparkContext.parallelize([0], 1).map(lambda _: os.getppid()).collect() == [row.pid]


def jobs(spark):
    return len(spark.sparkContext.statusTracker().getJobIdsForGroup(None))


def test_several_outputs_of_the_types_that_evaluators_want(spark, frame):
    def classify(params, batch):
        z = batch["x"] @ params
        return {"scores": z, "class": fnp.argmax(z, axis=1), "unused": z.sum(axis=1)}

    params = np.float32([[1, 0, 2], [0, 5, 0]])
    output = {"scores": "vector", "class": "double"}
    before = jobs(spark)
    scored = fdl_spark.predict(classify, params, frame, output, columns=["x"])
    assert jobs(spark) == before  # the lengths of the parameters say how long the arrays are
    assert scored.dtypes[-2:] == [("scores", "vector"), ("class", "double")]
    x = np.array([[i, 1.0] for i in range(23)])
    rows = scored.collect()
    np.testing.assert_array_equal([row.scores.toArray() for row in rows], x @ params)
    np.testing.assert_array_equal([row["class"] for row in rows], np.argmax(x @ params, axis=1))
    found = MulticlassClassificationEvaluator(labelCol="label", predictionCol="class", metricName="accuracy").evaluate(
        scored.withColumn("label", sql.col("class"))
    )
    assert found == 1.0
    by_key = fdl_spark.predict(classify, params, frame, columns=["x"])
    assert by_key.dtypes[-3:] == [("scores", "array<float>"), ("class", "int"), ("unused", "float")]
    by_place = fdl_spark.predict(lambda p, b: (b["y"], b["y"] * p), np.float32(3), frame.select("y"), ["u", "v"])
    assert [(row.u, row.v) for row in by_place.collect()] == [(i % 2, 3.0 * (i % 2)) for i in range(23)]


def test_lengths_that_the_schema_tells(spark):
    def apply(params, batch):
        return batch["v"].reshape(-1, 2, 2).sum(axis=2) * params  # only rows of four numbers can be reshaped

    frame = spark.createDataFrame([(Vectors.dense([1, 2, 3, 4]),), (Vectors.sparse(4, {1: 5.0}),)], ["v"])
    told = frame.select(sql.col("v").alias("v", metadata={"ml_attr": {"num_attrs": 4}}))
    before = jobs(spark)
    for data, options in ((told, {}), (frame, {"shapes": {"v": (4,)}}), (frame, {"output": {"prediction": "vector"}})):
        scored = fdl_spark.predict(apply, np.float32(1), data, **options)
        assert jobs(spark) == before
        assert [list(row.prediction) for row in scored.collect()] == [[3, 7], [5, 0]]
        before = jobs(spark)
    assert scored.schema["prediction"].metadata == {}
    width = fdl_spark.predict(apply, np.float32(1), told, {"p": "vector"}).schema["p"].metadata
    assert width == {"ml_attr": {"num_attrs": 2}}
    looked = fdl_spark.predict(apply, np.float32(1), frame)
    assert jobs(spark) > before and looked.dtypes[-1] == ("prediction", "array<float>")
    with pytest.raises(fdl_spark.DataError, match=r"the arrays of \['v'\] are is not known: pass shapes="):
        fdl_spark.predict(apply, np.float32(1), frame.where("false"))
    wrong = fdl_spark.predict(lambda p, b: b["v"] * p, np.float32(1), frame, shapes={"v": (8,)})
    with pytest.raises(PythonException, match=r"column 'v': rows of shape \(4,\), where \(8,\) was expected"):
        wrong.collect()


def test_columns_are_replaced_in_their_places(frame):
    def both(params, batch):
        return {"Y": batch["y"] + params, "z": batch["y"] * params}

    scored = fdl_spark.predict(both, np.int64(10), frame.select("y", "`a.name`"), replace=True, columns=["y"])
    assert scored.columns == ["Y", "a.name", "z"]
    assert [tuple(row) for row in scored.limit(3).collect()] == [(10 + i % 2, f"row {i}", i % 2 * 10) for i in range(3)]


def test_columns_of_any_type_stay_as_they_are(spark):
    query = (
        "SELECT id, INTERVAL '2' YEAR AS time, map('a', id) AS m, named_struct('b', id) AS s, NULL AS n FROM range(3)"
    )
    frame = spark.sql(query)
    scored = fdl_spark.predict(lambda p, b: b["id"] * p, np.int64(2), frame)
    assert scored.schema.fields[:-1] == frame.schema.fields
    readable = sql.col("time").cast("string")  # PySpark has no type for the interval
    rows, expected = (data.withColumn("time", readable).collect() for data in (scored, frame))
    assert [tuple(row) for row in rows] == [(*row, 2 * row.id) for row in expected]


class Lengths:
    """Encodes strings by their lengths."""

    inputs, outputs = ("name", "vector"), ("length", "two")

    def encode(self, batch):
        names, vectors = batch.column(0).to_pylist(), batch.column(1).to_pylist()
        for row, name in enumerate(names):
            if not name:
                raise BadColumn("name", "nothing to encode", row)
        two = np.array(vectors, np.float32).reshape(-1, 2)
        return {"length": np.array([len(name) for name in names], np.float32), "two": two}


def test_features_are_encoded_by_the_executors(spark):
    def apply(params, batch):
        return params * batch["length"] + batch["two"][:, 1] + batch["id"]

    rows = [(n, "é" * n, Vectors.dense([n, 0.5])) for n in range(1, 9)]
    frame = spark.createDataFrame(spark.sparkContext.parallelize(rows, 3), ["id", "name", "vector"])
    options = {"features": Lengths(), "columns": ["id"], "batch_size": 2}
    before = jobs(spark)
    scored = fdl_spark.predict(apply, np.float32(100), frame, **options)
    assert jobs(spark) == before
    assert [row.prediction for row in scored.collect()] == [101.0 * n + 0.5 for n in range(1, 9)]
    bad = frame.withColumn("name", sql.when(sql.col("id") % 4 != 0, sql.col("name")))
    kept = fdl_spark.predict(apply, np.float32(100), bad, invalid="null", **options)
    expected = [101.0 * n + 0.5 if n % 4 else None for n in range(1, 9)]
    assert [row.prediction for row in kept.collect()] == expected
    with pytest.raises(PythonException, match=r"column 'name': nothing to encode .* first at row 1"):
        fdl_spark.predict(
            apply, np.float32(100), bad.repartition(1).sortWithinPartitions("id").where("id > 2"), **options
        ).collect()


LISTS = features.Features(
    (features.numeric("x", missing=0), features.numeric("v", "n", output="vn"), features.numeric("nest", missing=-1))
)


def of_lists(params, batch):
    return batch["x"] @ params["x"] + batch["vn"] @ params["vn"] + batch["nest"].sum(axis=(1, 2))


def test_lists_whose_encoders_learn_no_width(spark):
    rows = [([n, 0.5] if n % 8 < 4 else None, Vectors.dense([n, 1, 2]), n, [[n]] * 2) for n in np.arange(20.0).tolist()]
    frame = spark.createDataFrame(rows, ["x", "v", "n", "nest"]).coalesce(1)
    n, known = np.arange(20.0), np.arange(20) % 8 < 4
    expected = 10 * n * known + 0.5 * known + (n + 20 + 300 + 1000 * n) + 2 * n
    params = {"x": np.float32([10, 1]), "vn": np.float32([1, 20, 150, 1000])}
    before = jobs(spark)
    scored = fdl_spark.predict(of_lists, params, frame, features=LISTS, batch_size=4)
    assert jobs(spark) == before
    assert [row.prediction for row in scored.collect()] == expected.tolist()
    # Where no list tells how long it would be, `shapes` does.
    shapes = {"x": (2,), "vn": (4,), "nest": (2, 1)}
    nulls = frame.where("x IS NULL")
    scored = fdl_spark.predict(of_lists, params, nulls, features=LISTS, shapes=shapes)
    assert [row.prediction for row in scored.collect()] == expected[~known].tolist()
    udf = fdl_spark.as_udf(of_lists, params, "double", features=LISTS, batch_size=4)
    assert [row[0] for row in frame.select(udf("x", "v", "n", "nest")).collect()] == expected.tolist()
    with pytest.raises(
        PythonException, match=r"column 'x': null in all rows so far, .* features.vector\(width=\) does"
    ):
        nulls.select(udf("x", "v", "n", "nest")).collect()
    strict = features.Features((features.numeric("x"),))
    with pytest.raises(PythonException, match="column 'x': null; missing= says what it becomes .* first at row 4"):
        fdl_spark.predict(lambda p, b: b["x"] @ p, params["x"], frame, features=strict, batch_size=4).collect()


def test_the_first_row_with_lists_tells_their_lengths(spark):
    """Whatever else is wrong with it."""
    frame = spark.createDataFrame(
        [(None, 1), ([1.0, float("nan"), 2.0, None], None), ([1.0, 2.0, 3.0, 4.0], 5)], "x array<double>, n int"
    )

    def apply(params, batch):
        return batch["x"].reshape(-1, 2, 2)[:, 1, 1] * params + batch["n"]

    scored = fdl_spark.predict(apply, np.float32(2), frame, invalid="null")
    assert [row.prediction for row in scored.collect()] == [None, None, 13.0]


def test_frames_without_rows_that_could_be_applied(spark):
    empty = spark.createDataFrame(spark.sparkContext.emptyRDD(), "x array<float>, n int")
    assert empty.rdd.getNumPartitions() == 0
    nulls = spark.createDataFrame([(None, None)] * 3, empty.schema)
    for frame, options, rows in (
        (empty, {}, 0), (nulls.where("n > 0"), {}, 0), (nulls, {"invalid": "null"}, 3), (empty.repartition(3), {}, 0)
    ):  # fmt: skip
        scored = fdl_spark.predict(lambda p, b: b["x"] @ p * b["n"], np.float32([1, 2]), frame, **options)
        assert scored.dtypes[-1] == ("prediction", "float")
        assert [row.prediction for row in scored.collect()] == [None] * rows


def test_rows_with_nulls_and_nan_give_nulls_or_fail(spark):
    rows = [([1.0, 2.0], 3), (None, 3), ([1.0, None], 3), ([float("nan"), 1.0], 3), ([5.0, 6.0], None), ([7.0, 8.0], 9)]
    frame = spark.createDataFrame(rows, "x array<double>, n int").coalesce(1)

    def apply(params, batch):
        return {"dot": batch["x"] @ params, "both": batch["x"] + batch["n"][:, None]}

    kept = fdl_spark.predict(apply, np.float32([1, 10]), frame, {"dot": None, "both": "vector"}, invalid="null")
    assert [(row.dot, row.both and row.both.toArray().tolist()) for row in kept.collect()] == [
        (21.0, [4, 5]), *[(None, None)] * 4, (87.0, [16, 17])
    ]  # fmt: skip
    with pytest.raises(PythonException, match=r"column 'x': null \(rows counted in this partition\), first at row 1"):
        fdl_spark.predict(apply, np.float32([1, 10]), frame).collect()
    nothing = fdl_spark.predict(apply, np.float32([1, 10]), frame.where("x IS NULL"), invalid="null")
    assert [(row.dot, row.both) for row in nothing.collect()] == [(None, None)]


def test_what_raises_on_an_executor_is_told_with_the_rows_and_the_users_traceback(frame):
    def apply(params, batch):
        if "SPARK_LOCAL_DIRS" in os.environ:
            batch["x"].reshape(3, 5)
        return batch["x"] @ params

    with pytest.raises(PythonException) as raised:
        fdl_spark.predict(apply, np.float32([1, 0]), frame, batch_size=5, columns=["x"]).collect()
    text = str(raised.value)
    assert "the function, on rows 0 to 4 of a partition, a batch of {'x': 'float32[5, 2]'}, raised" in text
    assert "in apply" in text and "UserFunctionError" in text


def test_a_prediction_is_computed_once_where_it_is_used_twice(spark, frame):
    counted = spark.sparkContext.accumulator(0)

    class Counting:
        inputs, outputs = ("y",), ("y",)

        def encode(self, batch):
            counted.add(batch.num_rows)
            return {"y": batch.column(0).to_numpy(zero_copy_only=False)}

    scored = fdl_spark.predict(lambda p, b: b["y"] * p, np.int64(5), frame, features=Counting())
    used = scored.where("prediction > 1").withColumn("again", sql.col("prediction") + 1)
    assert [row.again for row in used.collect()] == [6] * 11
    assert counted.value == 23


def test_rows_are_applied_in_batches_of_one_size(frame):
    def sizes(params, batch):
        return fnp.full((batch["y"].shape[0],), batch["y"].shape[0]) * params

    scored = fdl_spark.predict(sizes, np.int32(1), frame.select("y").coalesce(1), batch_size=7)
    assert {row.prediction for row in scored.collect()} == {7}


def files(spark):
    """The driver's files of broadcasts."""
    return {path for path in Path(spark.sparkContext._temp_dir).iterdir() if path.is_file()}


def test_parameters_are_sent_once_and_freed_when_nothing_uses_them(spark, frame, monkeypatch):
    monkeypatch.setattr(sharing, "COLLECT", 3 << 20)

    def apply(params, batch):
        return batch["x"] @ params[:2]

    def scored(n, count=2**18):
        return fdl_spark.predict(apply, np.full(count, n, np.float32), frame)

    before = files(spark)
    kept, *others = [scored(1) for _ in range(8)]
    assert len(files(spark) - before) == 1
    first = files(spark) - before
    (one,) = first
    derived = kept.where("prediction > 3").select("prediction")
    for n in range(2, 10):  # 1 MB each
        others.append(scored(n))
        others[-1].count()
        others.clear()
    del kept
    end = time.monotonic() + 60
    while sum(path.stat().st_size for path in files(spark) - before) > (5 << 20) + 9999 and time.monotonic() < end:
        time.sleep(0.5)  # Py4J tells the JVM from a thread of its own
        sharing._collect(spark.sparkContext, sharing.COLLECT)
        sharing.free_unused()
    assert sum(path.stat().st_size for path in files(spark) - before) <= (5 << 20) + 9999
    assert one in files(spark)  # as what was made of it has it
    assert [row.prediction for row in derived.collect()] == [i + 1.0 for i in range(3, 23)]
    del derived
    end = time.monotonic() + 60
    while one in files(spark) and time.monotonic() < end:
        gc.collect()
        time.sleep(0.5)  # Py4J tells the JVM from a thread of its own
        spark.sparkContext._jvm.java.lang.System.gc()
        assert scored(1, 10).first().prediction == 1  # small parameters, which are no broadcast
    assert one not in files(spark)


def test_the_function_is_loaded_and_compiled_once_by_a_worker(frame):
    def apply(params, batch):
        if "SPARK_LOCAL_DIRS" in os.environ:
            Path(os.environ["SPARK_LOCAL_DIRS"].split(",")[0], f"traced-{os.getpid()}-{time.time_ns()}").touch()
        return batch["y"] * params

    def where(params, batch):
        traced = Path(os.environ.get("SPARK_LOCAL_DIRS", "/nowhere").split(",")[0]).glob("traced-*")
        names = [path.name.split("-")[1] for path in traced]
        return batch["y"] * 0 + max([names.count(name) for name in names], default=0)

    scored = fdl_spark.predict(apply, np.int64(1), frame.select("y"), batch_size=4)
    for _ in range(3):
        assert len(scored.collect()) == 23
    assert {row.prediction for row in fdl_spark.predict(where, 0, frame.select("y")).collect()} == {1}
