"""Functions as UDFs of Spark SQL."""

import numpy as np
import pytest
from pyspark.errors import PythonException
from pyspark.ml.linalg import Vectors
from pyspark.sql import functions as sql

import fdl_spark
from fdl_spark import ArgumentError


def linear(params, batch):
    return batch["x"] @ params + batch["y"]


def test_a_registered_udf_scores_columns_of_many_types(spark):
    score = fdl_spark.as_udf(linear, np.float32([1, 10]), "double", ["x", "y"], batch_size=3)
    spark.udf.register("score", score)
    query = "SELECT score({}, {}) AS s, score(x, 1) AS t FROM {{rows}} ORDER BY y"
    rows = spark.createDataFrame([([float(n), 1.0], Vectors.sparse(2, {0: n}), n) for n in range(5)], ["x", "v", "y"])
    for x, y in (("x", "y"), ("CAST(x AS array<decimal(5, 2)>)", "CAST(y AS decimal(5, 2))"), ("x", "y > 0")):
        found = spark.sql(query.format(x, y), rows=rows).collect()
        assert [row.s for row in found] == [n + 10 + (n if y != "y > 0" else n > 0) for n in range(5)]
        assert [row.t for row in found] == [n + 11 for n in range(5)]
    assert [row.s for row in spark.sql(query.format("v", "y"), rows=rows).collect()] == [2 * n for n in range(5)]
    kept = spark.sql("SELECT y FROM {rows} WHERE score(x, y) > 14", rows=rows)
    assert sorted(row.y for row in kept.collect()) == [3, 4]


def test_several_results_are_a_struct(spark):
    def both(params, batch):
        return {"double": batch["x"] * 2, "array": batch["x"][:, None] * params, "unused": batch["x"]}

    outputs = {"array": "array<float>", "double": "float"}
    score = fdl_spark.as_udf(both, np.float32([1, 2]), outputs, ["x"], invalid="null")
    frame = spark.range(3).select(score(sql.when(sql.col("id") != 1, sql.col("id"))).alias("s"))
    assert frame.dtypes == [("s", "struct<array:array<float>,double:float>")]
    assert [row.s and tuple(row.s) for row in frame.collect()] == [([0, 0], 0), None, ([2, 4], 4)]


@pytest.mark.parametrize(
    "options, text",
    [
        ({"output": None}, "output must be the type of the result"),
        ({"output": "text"}, "output.* must be"),
        ({"output": "vector"}, "output must be the type of the result"),
        ({"output": {"a": None}}, "output must be the type of the result"),
        ({"columns": None}, "columns must name what the arguments of the UDF are"),
        ({"columns": ["x", "x"]}, "x"),
        ({"invalid": "keep"}, "invalid must be one of"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_mistakes(spark, options, text):
    with pytest.raises((ArgumentError, fdl_spark.ColumnError), match=text):
        fdl_spark.as_udf(linear, np.float32([1, 2]), **{"output": "double", "columns": ["x", "y"], **options})


def test_a_call_with_too_few_columns_is_told(spark):
    score = fdl_spark.as_udf(linear, np.float32([1, 10]), "double", ["x", "y"])
    with pytest.raises(PythonException, match=r"the function takes 2 columns, \['x', 'y'\], and is called with 1"):
        spark.range(3).select(score("id")).collect()
    with pytest.raises(PythonException, match=r"column 'y': string is not numeric"):
        spark.range(3).select(score(sql.array("id", "id"), sql.lit("text"))).collect()
