"""Every kind of data gives the same batches; bad data gives one clear error."""

import numpy as np
import pytest
from pyspark.ml.linalg import Vectors
from pyspark.sql import Row

import fdl_spark
from fdl_spark.data.load import load
from fdl_spark.data.rdd_dataset import RddDataset
from fdl_spark.data.shards import Schedule
from fdl_spark.data.source import open_source
from fdl_spark.data.survey import Survey, survey
from fdl_spark.spark.failures import explained


def contents(dataset):
    """All rows of all shards in order, by column, for each shard."""
    schedule, template = dataset.schedule, dataset.template

    def read(block):
        return [(shard, block.batch(shard, slice(0, schedule.shard_rows(shard)), template)) for shard in block.shards]

    try:
        return [batch for _, batch in sorted(dataset.blocks.flatMap(read).collect(), key=lambda pair: pair[0])]
    finally:
        dataset.close()


@pytest.fixture(scope="module")
def arrays():
    random = np.random.default_rng(0)
    return {"x": random.standard_normal((37, 3)).astype(np.float32), "y": np.arange(37, dtype=np.int64)}


def rows_of(arrays):
    return [(row.tolist(), int(label)) for row, label in zip(arrays["x"], arrays["y"], strict=True)]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
            assert one[name].dtype == other[name].dtype


@pytest.fixture(scope="module")
def expected(spark, arrays):
    shards = contents(load(arrays, batch_size=8, shards=3, tasks=1))
    assert sorted(np.concatenate([shard["y"] for shard in shards])) == list(range(37))
    assert [len(shard["y"]) for shard in shards] == [13, 12, 12]
    for shard in shards:
        np.testing.assert_array_equal(shard["x"], arrays["x"][shard["y"]])
    return shards


@pytest.mark.parametrize("partitions", [1, 2, 5])
def test_shards_do_not_depend_on_the_partitions_of_a_frame(spark, arrays, expected, partitions):
    rdd = spark.sparkContext.parallelize(rows_of(arrays), partitions)
    frame = spark.createDataFrame(rdd, "x array<double>, y bigint")
    assert frame.rdd.getNumPartitions() == partitions
    assert_same(contents(load(frame, batch_size=8, shards=3, tasks=2)), expected)


def test_rdd_of_dicts(spark, arrays, expected):
    rdd = spark.sparkContext.parallelize([{"x": np.float32(x), "y": y} for x, y in rows_of(arrays)], 3)
    assert_same(contents(load(rdd, batch_size=8, shards=3, tasks=3)), expected)


def test_rdd_of_tuples_and_of_arrays(spark, arrays, expected):
    context = spark.sparkContext
    pairs = contents(load(context.parallelize(rows_of(arrays), 2), batch_size=8, shards=3))
    for (x, y), shard in zip(pairs, expected, strict=True):
        np.testing.assert_array_equal(x, shard["x"])
        np.testing.assert_array_equal(y, shard["y"])
    alone = contents(load(context.parallelize(list(arrays["x"]), 2), batch_size=8, shards=3))
    np.testing.assert_array_equal(alone[1], expected[1]["x"])


def test_a_tree_of_arrays_stays_a_tree(spark, arrays, expected):
    tree = ({"in": arrays["x"]}, arrays["y"])
    for (inner, y), shard in zip(contents(load(tree, batch_size=8, shards=3)), expected, strict=True):
        np.testing.assert_array_equal(inner["in"], shard["x"])
        np.testing.assert_array_equal(y, shard["y"])


def test_spark_types_become_arrays(spark):
    frame = spark.createDataFrame(
        [Row(v=Vectors.dense([1, 2]), s=Vectors.sparse(2, {1: 5.0}), f=True, m=[[1, 2], [3, 4]], **{"a.b": 0.5})] * 3
    )
    (shard,) = contents(load(frame, batch_size=8, shards=1))
    kinds = {name: (array.dtype.name, array.shape) for name, array in shard.items()}
    assert kinds == {
        "v": ("float32", (3, 2)),
        "s": ("float32", (3, 2)),
        "f": ("bool", (3,)),
        "m": ("int64", (3, 2, 2)),
        "a.b": ("float32", (3,)),
    }
    np.testing.assert_array_equal(shard["s"][0], [0, 5])
    np.testing.assert_array_equal(shard["m"][2], [[1, 2], [3, 4]])


BAD_FRAMES = {
    "null": ("y int", [(1,), (2,), (None,)], r"column 'y': null, first at row 2$"),
    "null inside": (
        "y array<float>",
        [([1.0, 2.0],), ([1.0, None],)],
        r"column 'y': null inside an array, first at row 1$",
    ),
    "null array": ("y array<float>", [([1.0],), (None,)], r"column 'y': null, first at row 1$"),
    "ragged": (
        "y array<float>",
        [([1.0, 2.0],)] * 3 + [([1.0],)],
        r"column 'y': arrays of unequal lengths: .*2.* before, .*1.* here.*, first at row 3$",
    ),
    "nan": ("y float", [(1.0,), (float("nan"),)], r"column 'y': NaN, first at row 1$"),
    "string": ("y string", [("a",)], r"column 'y': string is not numeric; .*columns="),
    "binary": ("y binary", [(b"a",)], r"column 'y': an encoded image or other binary is not numeric; .*columns="),
    "date": ("y date", [(None,)], r"column 'y': date is not numeric"),
}


@pytest.mark.parametrize("kind", BAD_FRAMES)
@pytest.mark.parametrize("partitions", [1, 2])
def test_bad_columns_of_a_frame(spark, kind, partitions):
    schema, rows, text = BAD_FRAMES[kind]
    frame = spark.createDataFrame(spark.sparkContext.parallelize(rows, partitions), schema)
    with pytest.raises(fdl_spark.ColumnError, match=text):
        load(frame, batch_size=2)


def test_bad_column_can_be_left_out(spark):
    frame = spark.createDataFrame([(1.0, "a")], "x double, name string")
    (shard,) = contents(load(frame, batch_size=2, shards=1, columns=["x"]))
    np.testing.assert_array_equal(shard["x"], [1])
    with pytest.raises(fdl_spark.MissingColumnError, match=r"columns= asked for column 'z'; .*\['name', 'x'\]"):
        load(frame, batch_size=2, columns=["z"])


BAD_ROWS = {
    "null": ([{"y": 1.0}, {"y": None}], r"column 'y': null, first at row 1$"),
    "ragged": (
        [{"y": np.zeros(2)}, {"y": np.zeros(3)}],
        r"column 'y': arrays of unequal .*2.* before, .*3.* here.*, first at row 1$",
    ),
    "missing": ([{"y": 1.0, "z": 1.0}, {"y": 1.0}], r"column 'z': in some rows but not in all, first at row 1$"),
    "string": ([{"y": 1.0}, {"y": "a"}], r"column 'y': str is not numeric; .*first at row 1$"),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
@pytest.mark.parametrize("partitions", [1, 2])
def test_bad_rows_of_an_rdd(spark, kind, partitions):
    rows, text = BAD_ROWS[kind]
    with pytest.raises(fdl_spark.ColumnError, match=text):
        load(spark.sparkContext.parallelize(rows, partitions), batch_size=2)


def test_bad_arrays(spark):
    with pytest.raises(fdl_spark.DataError, match=r"one row per example each; their lengths are \{'x': 2, 'y': 3\}"):
        load({"x": np.zeros(2), "y": np.zeros(3)}, batch_size=2)
    with pytest.raises(fdl_spark.ColumnError, match=r"column 'x': NaN, first at row 1$"):
        load({"x": np.array([0, np.nan])}, batch_size=2)
    with pytest.raises(fdl_spark.ColumnError, match=r"column 'x': an array of .* is not numeric"):
        load({"x": np.array(["a"])}, batch_size=2)
    with pytest.raises(fdl_spark.DataError, match="PATH_NOT_FOUND.*/nowhere.csv"):
        load("/nowhere.csv", batch_size=2)


def test_no_rows(spark):
    with pytest.raises(fdl_spark.DataError, match="no rows"):
        load(spark.createDataFrame([], "x double"), batch_size=2)
    with pytest.raises(fdl_spark.DataError, match="no rows"):
        load(spark.sparkContext.parallelize([]), batch_size=2)
    with pytest.raises(fdl_spark.DataError, match="no rows"):
        load({"x": np.zeros((0, 2))}, batch_size=2)


def test_rows_that_change_between_readings(spark):
    """The survey saw fewer rows than the writing does."""
    source = open_source({"x": np.zeros(5)}, spark.sparkContext, "name")
    seen = Survey(((0, (), 4),), survey(source.chunks).columns)
    with pytest.raises(fdl_spark.DataError, match="rows changed between two readings"), explained("writing"):
        RddDataset("name", source, seen, Schedule(4, 2, 1, 0), 1)


def test_blocks_are_deleted_and_made_again(spark, arrays):
    from pathlib import Path

    dataset = load(arrays, batch_size=8, shards=2, tasks=2)
    first = [Path(block.path) for block in dataset.blocks.collect()]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in first)
    dataset.rebuild()
    second = [Path(block.path) for block in dataset.blocks.collect()]
    assert not set(first) & set(second)
    dataset.close()
    assert not any(path.exists() for path in first + second)
