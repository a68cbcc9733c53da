"""Tables in the driver's memory as DataFrames."""

import numpy as np
import pyarrow as pa
import pytest

import fdl_spark


def test_a_dataframe_has_the_rows_in_order_whatever_the_chunks(spark):
    columns = {"number": np.arange(1001), "text": [None if n % 7 == 0 else str(n) for n in range(1001)]}
    table = pa.table(columns)
    chunked = pa.concat_tables([table.slice(start, 13) for start in range(0, 1001, 13)])
    for data in (table, chunked, table.to_pandas(), columns):
        frame = fdl_spark.dataframe(data, spark)
        assert frame.rdd.getNumPartitions() == 2, type(data)  # 77 by createDataFrame of what has 77 chunks
        assert [row.asDict() for row in frame.collect()] == table.to_pylist(), type(data)


@pytest.mark.parametrize("rows, partitions, sizes", [(10, 3, [4, 4, 2]), (2, 5, [1, 1]), (6, 1, [6])])
def test_partitions_of_a_dataframe(spark, rows, partitions, sizes):
    frame = fdl_spark.dataframe({"x": np.arange(rows)}, spark, partitions=partitions)
    assert frame.rdd.glom().map(len).collect() == sizes


def test_large_tables_stay_bytes_of_arrow_and_small_ones_have_a_size(spark):
    """Spark would hold them as rows, and send these as objects of Java."""
    kinds = [fdl_spark.dataframe({"x": np.zeros(rows)}, spark) for rows in (1000, 200_000)]
    plans = [frame._jdf.queryExecution().optimizedPlan().nodeName() for frame in kinds]
    assert plans == ["LocalRelation", "LogicalRDD"]
    assert kinds[1].count() == 200_000


def test_settings_of_the_session_stay(spark):
    names = ["spark.sql.execution.arrow.localRelationThreshold", "spark.sql.execution.arrow.maxRecordsPerBatch"]
    before = [spark.conf.get(name) for name in names]
    fdl_spark.dataframe({"x": [1, 2, 3]}, spark)
    with pytest.raises(fdl_spark.DataError, match="does not become an Arrow table"):
        fdl_spark.dataframe({"x": [1, "a"]}, spark)
    assert [spark.conf.get(name) for name in names] == before


def test_a_table_without_rows(spark):
    frame = fdl_spark.dataframe(pa.table({"x": pa.array([], "int64")}), spark)
    assert (frame.count(), frame.dtypes) == (0, [("x", "bigint")])


def test_partitions_of_none_are_named(spark):
    with pytest.raises(fdl_spark.ArgumentError, match="partitions must be at least 1, got 0"):
        fdl_spark.dataframe({"x": [1]}, spark, partitions=0)
