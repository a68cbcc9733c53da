"""Arrays as bytes: what `predict` writes as "binary" is what `features.raw` reads."""

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import types as T

from fdl_spark import ArgumentError, DataError, features
from fdl_spark.applying.outputs import Output, arrow_column, spark_type
from fdl_spark.data.columns import BadColumn


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "bool"])
def test_bytes_become_what_they_were(dtype):
    array = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, (5, 2, 3)).astype(dtype)
    column = arrow_column(Output("crop", spark_type("binary", "")), array)
    assert column.to_pylist() == [row.tobytes() for row in array]
    encoder = features.raw("crop", shape=(2, 3), dtype=dtype)
    for part, rows in ((column, array), (column.slice(2, 2), array[2:4]), (column.slice(5), array[5:])):
        found = encoder.encode({"crop": part})["crop"]
        assert found.dtype == dtype and found.shape == rows.shape and (found == rows).all()


def test_lists_of_bytes():
    array = np.arange(12, dtype=np.uint8).reshape(2, 3, 2)
    kind = spark_type("array<binary>", "")
    assert kind == T.ArrayType(T.BinaryType())
    assert arrow_column(Output("crops", kind), array).to_pylist() == [[bytes(crop) for crop in row] for row in array]
    with pytest.raises(DataError, match="3 axes or more are needed.*gives 2"):
        arrow_column(Output("crops", kind), array[0])


def test_wrong_bytes_are_named():
    encoder = features.raw("crop", shape=(2,), dtype="int16")
    for column, text, row in (
        (pa.array([b"abcd", b"abc"]), "3 bytes, where int16 of shape \\(2,\\) has 4", 1),
        (pa.array([b"abcd", None]), "null", 1),
        (pa.array(["abcd"]), "does not hold the bytes", 0),
    ):
        with pytest.raises(BadColumn, match=text) as caught:
            encoder.encode({"crop": column})
        assert caught.value.problem.row == row
    with pytest.raises(ArgumentError, match="from 1 up"):
        features.raw("crop", shape=(0,))


def test_from_a_prediction_to_the_next(spark):
    """Two predictions with an explode between them: a row becomes as many as it says."""
    import fdl_spark

    frame = spark.createDataFrame([(1, 2), (2, 0), (3, 1)], "id int, n int")

    def cut(params, batch):
        places = params + batch["n"][:, None] * 0
        squares = (batch["n"][:, None, None] + places[..., None] * 10).astype("uint8")
        return {"crops": squares, "there": places < batch["n"][:, None]}

    kinds = {"crops": "array<binary>", "there": "array<boolean>"}
    found = fdl_spark.predict(cut, np.arange(3, dtype=np.int32), frame, kinds, columns=["n"])
    rows = found.selectExpr("id", "inline(arrays_zip(crops, there))").where("there")
    read = features.Features((features.raw("crops", shape=(1,)),))
    values = fdl_spark.predict(lambda params, batch: batch["crops"][:, 0].astype("int32"), (), rows, features=read)
    assert [tuple(row) for row in values.select("id", "prediction").orderBy("id", "prediction").collect()] == [
        (1, 2), (1, 12), (3, 1),
    ]  # fmt: skip
