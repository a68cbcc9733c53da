"""Predictions on streams: every row once, whatever ends a query; rows that come late are dropped as without them."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import functions as sql

import fdl_spark

PROGRAM = Path(__file__).with_name("streaming_program.py")
HERE = runpy.run_path(str(PROGRAM), run_name="streaming")
ROWS, FILES = 20, 6


@pytest.fixture
def folder(tmp_path):
    """Files of rows, of ages in their order."""
    (tmp_path / "in").mkdir()
    for number in range(FILES):
        rows = [{"id": n, "x": [n, 0.5]} for n in range(number * ROWS, (number + 1) * ROWS)]
        path = tmp_path / "in" / f"{number}.json"
        path.write_text("\n".join(map(json.dumps, rows)))
        os.utime(path, (1e9 + number, 1e9 + number))
    return tmp_path


def committed(folder):
    """The batches that the sink has."""
    return {int(path.name) for path in (folder / "out" / "_spark_metadata").glob("[0-9]*") if path.name.isdigit()}


def check(spark, folder):
    """Each row is there once."""
    found = sorted((row.id, row.y) for row in spark.read.parquet(str(folder / "out")).select("id", "y").collect())
    assert found == [(n, n + 50.0) for n in range(ROWS * FILES)]


def test_each_row_once_after_the_process_was_killed(spark, folder):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, str(PROGRAM), str(folder), "0.3"]
    with subprocess.Popen(words, env=env, stderr=subprocess.PIPE, start_new_session=True) as process:
        end = time.monotonic() + 300
        while len(committed(folder)) < 2 and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        errors = process.stderr.read()
    done = committed(folder)
    assert 2 <= len(done) < FILES, errors.decode()[-2000:]
    HERE["started"](spark, folder).awaitTermination()
    assert committed(folder) == set(range(FILES))
    check(spark, folder)


def test_each_row_once_after_the_query_was_stopped_in_a_batch(spark, folder):
    query = HERE["started"](spark, folder, 1.0)
    while query.isActive and not (folder / "checkpoint" / "offsets" / "1").exists():
        time.sleep(0.02)
    query.stop()  # in the second batch
    assert query.exception() is None
    assert len(committed(folder)) < FILES
    HERE["started"](spark, folder).awaitTermination()
    check(spark, folder)


def test_a_rate_source_has_no_rows_to_look_at(spark):
    rows = spark.readStream.format("rate-micro-batch").option("rowsPerBatch", 5).load()
    before = len(spark.sparkContext.statusTracker().getJobIdsForGroup(None))
    scored = fdl_spark.predict(
        lambda p, b: {"double": b["value"] * p}, np.int64(2), rows, {"double": "bigint"}, columns=["value"]
    )
    assert scored.isStreaming
    assert len(spark.sparkContext.statusTracker().getJobIdsForGroup(None)) == before
    query = scored.writeStream.format("memory").queryName("doubled").trigger(once=True).start()
    query.awaitTermination()
    found = spark.table("doubled").select("value", "double").collect()
    assert len(found) >= 5 and all(row.double == 2 * row.value for row in found)


def test_arrays_of_unknown_length_are_asked_for(spark, folder):
    rows = spark.readStream.schema(HERE["SCHEMA"]).json(str(folder / "in"))

    def apply(params, batch):
        return batch["x"].reshape(-1, 2, 1)[:, 0, 0] * params

    with pytest.raises(fdl_spark.DataError, match=r'pass shapes=\{"x": \(length,\)\}'):
        fdl_spark.predict(apply, np.float32(1), rows, columns=["x"])
    scored = fdl_spark.predict(apply, np.float32(1), rows, columns=["x"], shapes={"x": (2,)})
    assert scored.dtypes[-1] == ("prediction", "float")
    encoders = fdl_spark.features.Features((fdl_spark.features.numeric("x"),))
    with pytest.raises(fdl_spark.DataError, match=r'pass shapes=\{"x": \(length,\)\}'):
        fdl_spark.predict(apply, np.float32(1), rows, features=encoders)
    scored = fdl_spark.predict(apply, np.float32(2), rows, features=encoders, shapes={"x": (2,)})
    query = scored.writeStream.format("memory").queryName("encoded").trigger(availableNow=True).start()
    query.awaitTermination()
    found = spark.table("encoded").select("id", "prediction").collect()
    assert sorted(map(tuple, found)) == [(n, 2.0 * n) for n in range(ROWS * FILES)]


def test_the_watermark_stays_and_late_rows_are_dropped(spark, tmp_path):
    (tmp_path / "in").mkdir()
    times = [["00:00:10", "00:00:20", "00:10:00"], ["00:10:30"], ["00:00:15", "00:11:00"], ["00:30:00"]]
    for number, group in enumerate(times):
        path = tmp_path / "in" / f"{number}.json"
        path.write_text("\n".join(json.dumps({"time": f"2026-01-01T{time}", "x": 1.0}) for time in group))
        os.utime(path, (1e9 + number, 1e9 + number))
    rows = spark.readStream.schema("time timestamp, x float").option("maxFilesPerTrigger", 1).json(str(tmp_path / "in"))
    marked = rows.withWatermark("time", "1 minute")
    scored = fdl_spark.predict(lambda p, b: b["x"] * p, np.float32(3), marked, "y")
    assert scored.schema["time"] == marked.schema["time"]
    windows = scored.groupBy(sql.window("time", "1 minute")).agg(sql.sum("y").alias("sum"))
    written = windows.writeStream.format("memory").queryName("windows").outputMode("append")
    with_few = {"spark.sql.shuffle.partitions": "1"}
    before = {name: spark.conf.get(name) for name in with_few}
    for name, value in with_few.items():
        spark.conf.set(name, value)
    try:
        query = written.option("checkpointLocation", str(tmp_path / "checkpoint")).trigger(availableNow=True).start()
        query.awaitTermination()
    finally:
        for name, value in before.items():
            spark.conf.set(name, value)
    found = {row.window.start.strftime("%H:%M"): row.sum for row in spark.table("windows").collect()}
    assert found == {"00:00": 6.0, "00:10": 6.0, "00:11": 3.0}  # without the row of 00:00:15, which came too late
