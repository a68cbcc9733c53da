"""Encoders fitted on Spark: the same on any partitioning, and what Spark ML learns where it is exact."""

import numpy as np
import pyarrow as pa
import pytest
from pyspark.ml.feature import Bucketizer, HashingTF, QuantileDiscretizer, StandardScaler, StringIndexer
from pyspark.ml.functions import vector_to_array
from pyspark.ml.linalg import Vectors
from pyspark.sql import functions as F

import fdl_spark
from fdl_spark import features

ROWS = 211
WORDS = ["red", "", "grün", "\U0001f600", "blue", "red "]


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(5)
    numbers = random.normal(1e5, 1e-2, ROWS)
    words = [WORDS[n] for n in random.integers(0, 6, ROWS) % random.integers(1, 7, ROWS)]
    vectors = [
        Vectors.dense(*random.normal(size=3)) if n % 2 else Vectors.sparse(3, [n % 3], [float(n)]) for n in range(ROWS)
    ]
    whole = [None if n % 7 == 3 else n % 13 for n in range(ROWS)]
    return list(zip(numbers.tolist(), words, vectors, whole, strict=True))


@pytest.fixture(scope="module")
def frame(spark, rows):
    made = spark.createDataFrame(rows, ["x", "a.word", "v", "n"]).coalesce(1).cache()
    yield made
    made.unpersist(blocking=True)


ENCODERS = [
    features.standardise("x"),
    features.standardise("v"),
    features.impute("n", strategy="median"),
    features.bucketize("x", "bucket", buckets=7),
    features.vocabulary("a.word", "word", size=4),
    features.one_hot(features.vocabulary("a.word", min_count=3), "hot"),
    features.tokenise("a.word", "tokens", length=2),
    features.vector("v", "vector"),
    features.hashed("a.word", "hash", buckets=50),
]


@pytest.fixture(scope="module")
def fitted(frame):
    return features.fit(ENCODERS, frame)


@pytest.mark.parametrize("partitions", [2, 5])
def test_what_is_learned_does_not_depend_on_partitions(spark, rows, fitted, partitions):
    backwards = spark.createDataFrame(rows[::-1], ["x", "a.word", "v", "n"]).repartition(partitions)
    assert features.fit(ENCODERS, backwards).to_json() == fitted.to_json()


def test_spark_and_arrow_learn_the_same(frame, fitted):
    table = frame.toArrow()
    assert features.fit(ENCODERS, table).to_json() == fitted.to_json()


def test_all_is_learned_in_one_query(spark, frame):
    frame.count()  # which caches it
    tracker, group = spark.sparkContext.statusTracker(), "fit"
    spark.sparkContext.setJobGroup(group, "")
    try:
        features.fit(ENCODERS, frame)
        # A query with a shuffle is two jobs where Spark adapts it: the stage before, and all of it.
        jobs = len(tracker.getJobIdsForGroup(group))
        assert 1 <= jobs <= 2
        features.fit([features.hashed("a.word", buckets=3)], frame)
        assert len(tracker.getJobIdsForGroup(group)) == jobs
    finally:
        spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)
        spark.sparkContext.setLocalProperty("spark.job.description", None)


def test_standardise_as_standard_scaler(frame, fitted):
    model = StandardScaler(inputCol="v", outputCol="y", withMean=True).fit(frame)
    expected = np.array([row[0] for row in model.transform(frame).select(vector_to_array("y")).collect()])
    table = frame.toArrow()
    np.testing.assert_allclose(fitted.encode(table)["v"], expected, rtol=1e-5, atol=1e-6)
    assert fitted.encoders[1].mean[0] == pytest.approx(model.mean.toArray(), rel=1e-12)
    x = np.array(table["x"])
    exact = (x - 1e5).std(ddof=1)
    assert fitted.encoders[0].scale[0][0] == pytest.approx(exact, rel=1e-9)


def test_vocabulary_as_string_indexer(frame):
    plain = frame.withColumnRenamed("a.word", "word")
    model = StringIndexer(inputCol="word", outputCol="y", stringOrderType="frequencyDesc").fit(plain)
    fitted = features.fit([features.vocabulary("word")], plain)
    assert list(fitted.encoders[0].values) == list(model.labels)
    expected = [row["y"] + 1 for row in model.transform(plain).select("y").collect()]
    np.testing.assert_array_equal(fitted.encode(plain.select("word").toArrow())["word"], expected)


def test_bucketize_as_quantile_discretizer_and_bucketizer(frame, fitted):
    discretizer = QuantileDiscretizer(inputCol="x", outputCol="y", numBuckets=7, relativeError=0.0)
    splits = discretizer.fit(frame).getSplits()
    assert list(fitted.encoders[3].splits) == splits[1:-1]
    expected = Bucketizer(inputCol="x", outputCol="y", splits=splits).transform(frame)
    np.testing.assert_array_equal(
        fitted.encode(frame.toArrow())["bucket"], [row["y"] for row in expected.select("y").collect()]
    )


def test_hashed_as_hashing_tf(frame):
    plain = frame.select(F.col("`a.word`").alias("word"))
    counted = HashingTF(inputCol="words", outputCol="y", numFeatures=97).transform(
        plain.select("word", F.array("word").alias("words"))
    )
    found = features.hashed("word", buckets=97).encode({"word": plain.toArrow()["word"].combine_chunks()})["word"]
    assert [row["y"].indices.tolist() for row in counted.select("y").collect()] == [[n] for n in found]


def test_impute_as_numpy(frame, fitted):
    present = [n for n in frame.toArrow()["n"].to_pylist() if n is not None]
    assert fitted.encoders[2].value == (float(np.median(present)),)


def test_a_bad_row_has_its_number_among_all(spark):
    rows = [(float(n), "a") for n in range(40)]
    rows[17], rows[31] = (float("nan"), "a"), (None, None)
    frame = spark.createDataFrame(spark.sparkContext.parallelize(rows, 4), "x double, word string")
    with pytest.raises(fdl_spark.ColumnError, match="column 'x': NaN.*first at row 17$"):
        features.fit([features.vocabulary("word", missing=""), features.standardise("x")], frame)
    with pytest.raises(fdl_spark.ColumnError, match="column 'word': null.*first at row 31$"):
        features.fit([features.vocabulary("word"), features.standardise("x", missing=0.0)], frame)


def test_mistakes_are_told_by_name(spark, frame):
    with pytest.raises(fdl_spark.MissingColumnError, match="the encoders asked for column 'y'"):
        features.fit([features.hashed("y", buckets=2)], frame)
    with pytest.raises(fdl_spark.ColumnError, match="2 columns have this name"):
        features.fit([features.numeric("n")], frame.select("n", "n"))
    with pytest.raises(fdl_spark.DataError, match="streaming"):
        features.fit([features.standardise("value")], spark.readStream.format("rate").load())
    with pytest.raises(fdl_spark.ColumnError, match="'x': standardise has nothing to learn from"):
        features.fit([features.standardise("x")], frame.limit(0))
    with pytest.raises(fdl_spark.ColumnError, match="'a.word': string is no number"):
        features.fit([features.standardise("a.word")], frame)
    with pytest.raises(fdl_spark.DataError, match="DIVIDE_BY_ZERO"):
        features.fit([features.standardise("z")], spark.range(3).selectExpr("id / (id - id) as z"))


def test_types_of_spark(spark):
    frame = spark.sql(
        """select cast(id as decimal(20, 3)) as decimal, id % 2 = 0 as flag,
        date_add(date'2024-02-28', cast(id as int)) as day,
        timestamp'2024-03-01 00:00:00' + make_dt_interval(0, cast(id as int)) as instant,
        cast(timestamp_ntz'2024-03-01 05:00:00' as timestamp_ntz) as local, array(cast(id as float), 1f) as pair,
        cast(id as tinyint) as tiny from range(4)"""
    )
    fitted = features.fit(
        [
            features.standardise("decimal", "flag", "pair", "tiny"),
            features.date_parts("day", parts=["month", "day"], cyclic=False),
            features.vocabulary("day", "known"),
            features.seconds_since("instant", origin="2024-03-01", unit="hours"),
            features.seconds_since("local", origin="2024-03-01", unit="hours"),
        ],
        frame,
    )
    found = fitted.encode(frame.toArrow())
    expected = (np.arange(4) - 1.5) / np.arange(4).std(ddof=1)
    np.testing.assert_allclose(found["decimal"], expected, rtol=1e-6)
    np.testing.assert_allclose(found["pair"], np.stack([expected, np.zeros(4)], axis=1), rtol=1e-6)
    np.testing.assert_array_equal(found["day"], [[2, 28], [2, 29], [3, 1], [3, 2]])
    np.testing.assert_array_equal(found["known"], [1, 2, 3, 4])
    np.testing.assert_array_equal(np.diff(found["instant"]), 1)
    np.testing.assert_array_equal(found["local"], 5)
    assert pa.types.is_decimal(frame.toArrow()["decimal"].type)
