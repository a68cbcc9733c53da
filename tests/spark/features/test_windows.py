"""`features.windows`: against loops over lists, on tables and on Spark, whatever the order of rows and the blocks."""

import numpy as np
import pyarrow as pa
import pytest

from fdl_spark import ArgumentError, ColumnError, MissingColumnError, features

GAPS = {"a": (5, 6, 31), "b": (0, 70)}  # steps that lack


def steps(seed: int = 0) -> pa.Table:
    """Two series with gaps, whose rows are shuffled; numbers from -10 on."""
    rng = np.random.default_rng(seed)
    rows = [(name, n, float(n) ** 2, [n, -n]) for name in "ab" for n in range(-10, 80) if n not in GAPS[name]]
    name, n, x, y = zip(*(rows[i] for i in rng.permutation(len(rows))), strict=True)
    return pa.table({"site": name, "n": pa.array(n, pa.int32()), "x": x, "y": pa.array(y, pa.list_(pa.int64()))})


def expected(past: int, future: int, stride: int) -> list[dict]:
    found = []
    for name in "ab":
        there = {n for n in range(-10, 80) if n not in GAPS[name]}
        for now in range(-10, 81):
            before, after = list(range(now - past, now)), list(range(now, now + future))
            if now % stride == 0 and there.issuperset(before + after):
                row = {"site": name, "n": now, "x_past": [float(n) ** 2 for n in before]}
                if future:
                    row["x_future"] = [float(n) ** 2 for n in after]
                row["y_past"] = [[n, -n] for n in before]
                if future:
                    row["y_future"] = [[n, -n] for n in after]
                found.append(row)
    return found


@pytest.mark.parametrize(("past", "future", "stride"), [(4, 3, 1), (1, 0, 1), (6, 2, 5), (200, 1, 1)])
def test_windows_of_a_table(past: int, future: int, stride: int) -> None:
    found = features.windows(steps(), "n", ["x", "y"], past=past, future=future, stride=stride, by=["site"])
    assert found.to_pylist() == expected(past, future, stride)


@pytest.mark.parametrize(("future", "stride", "block"), [(3, 1, 7), (0, 2, 1000)])
def test_windows_on_spark_are_those_of_the_table_in_its_order(spark, future: int, stride: int, block: int) -> None:
    given = {"past": 4, "future": future, "stride": stride, "by": ["site"]}
    frame = spark.createDataFrame(steps(1).to_pylist(), "site string, n int, x double, y array<bigint>").repartition(3)
    found = features.windows(frame, "n", ["x", "y"], block=block, **given)
    rows = [row.asDict() for row in found.collect()]
    assert rows == expected(4, future, stride)


def test_nulls_in_columns_stay() -> None:
    found = features.windows({"n": [3, 1, 2], "x": [None, 1.0, 2.0]}, "n", ["x"], past=2, future=1)
    assert found.to_pylist() == [{"n": 3, "x_past": [1.0, 2.0], "x_future": [None]}]


@pytest.mark.parametrize(
    ("data", "changes", "error", "message"),
    [
        ({"n": [1, 2], "x": [1, 2]}, {"past": 0}, ArgumentError, "windows: past must be at least 1, not 0"),
        ({"n": [1, 2], "x": [1, 2]}, {"columns": "x"}, ArgumentError, "windows: columns must be a list of names"),
        ({"n": [1, 2], "x": [1, 2]}, {"columns": ["n"]}, ArgumentError, "must name different columns"),
        ({"n": [1, 2], "x": [1, 2]}, {"columns": ["z"]}, MissingColumnError, "z"),
        ({"n": [1, 1], "x": [1, 2]}, {}, ColumnError, "two rows of one series have the number 1"),
        ({"n": [1, None], "x": [1, 2]}, {}, ColumnError, "null; windows need the number of each step"),
        ({"n": [1.0, 2.0], "x": [1, 2]}, {}, ColumnError, "whole numbers that count steps, not double"),
    ],
)
def test_mistakes(data: dict, changes: dict, error: type[Exception], message: str) -> None:
    arguments = {"order": "n", "columns": ["x"], "past": 1, **changes}
    with pytest.raises(error, match=message):
        features.windows(data, **arguments)


def test_mistakes_on_spark(spark) -> None:
    frame = spark.sql("SELECT 1.5d AS n, 2 AS x")
    with pytest.raises(ColumnError, match="whole numbers that count steps, not double"):
        features.windows(frame, "n", ["x"], past=1)
    with pytest.raises(MissingColumnError, match="z"):
        features.windows(frame, "z", ["x"], past=1)
    twice = spark.sql("SELECT 1 AS n, explode(array(1, 2)) AS x")
    with pytest.raises(Exception, match="two rows of one series have the number 1"):
        features.windows(twice, "n", ["x"], past=1).collect()
