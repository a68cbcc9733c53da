"""Predictions are a column among the others; evaluations weigh every row alike."""

import os

import numpy as np
import pytest
from pyspark.sql import Row

import fdl.numpy as fnp
import fdl_spark
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
