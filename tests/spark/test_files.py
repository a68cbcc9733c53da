"""Which files of ours are on disk when: blocks, shuffles of loading, broadcasts on the driver."""

import os
import runpy
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import fdl_spark
from fdl_spark.data import load as module
from fdl_spark.data import rdd_dataset
from fdl_spark.data.load import load
from fdl_spark.errors import ColumnError
from fdl_spark.spark.executors import everywhere

LEAKS = runpy.run_path(str(Path(__file__).with_name("leaks.py")), run_name="leaks")
DATA = {"x": np.arange(4000, dtype=np.float32).reshape(1000, 4)}
PATIENCE = 300.0  # seconds: Spark deletes shuffles on threads of its own


def files(spark):
    context = spark.sparkContext
    local = {str(path) for root in LEAKS["local_directories"](context) for path in root.rglob("*") if path.is_file()}
    return local | {str(path) for path in Path(context._temp_dir).rglob("*")}


def assert_gone(spark, before):
    end = time.monotonic() + PATIENCE
    while (more := files(spark) - before) and time.monotonic() < end:
        time.sleep(0.1)
    assert not more


@pytest.fixture(params=["scatter_rows", "write_rows"])
def way(request, monkeypatch):
    """What writes blocks: from files that all tasks see, or from a shuffle."""
    monkeypatch.setattr(module, "is_near", lambda context: request.param == "scatter_rows")
    return request.param


def test_every_executor_gets_a_task(spark):
    assert everywhere(spark.sparkContext).map(lambda _: os.environ["SPARK_LOCAL_DIRS"]).collect() == [
        ",".join(map(str, LEAKS["local_directories"](spark.sparkContext)))
    ]


def test_a_closed_data_set_leaves_no_file(spark, way):
    before = files(spark)
    dataset = load(DATA, batch_size=8, shards=4, tasks=2)
    made = {Path(path).suffix for path in files(spark) - before}
    assert {".block"} | ({".data", ".index"} if way == "write_rows" else set()) <= made
    assert ".staged" not in made
    for _ in range(2):
        dataset.rebuild()
        assert not any(path.endswith(".block") for path in files(spark) - before)
        assert dataset.map(lambda task, blocks: [b"%d" % sum(block.rows for block in blocks)]) == [b"500", b"500"]
    dataset.close()
    assert_gone(spark, before)


def test_a_failed_load_leaves_no_file(spark, way, monkeypatch):
    before = files(spark)
    with pytest.raises(ColumnError):
        load(spark.sparkContext.parallelize([{"x": 1.0}] * 50 + [{"x": None}], 2), batch_size=8)
    monkeypatch.setattr(rdd_dataset, way, lambda *_: iter([1 / 0]))
    with pytest.raises(fdl_spark.UserFunctionError, match="ZeroDivisionError"):
        load(DATA, batch_size=8)  # when the shuffle, or the staging, has written its files
    assert_gone(spark, before)


def test_an_interrupted_load_leaves_no_file(spark, way, tmp_path, monkeypatch):
    write, mark = getattr(rdd_dataset, way), tmp_path / "written"

    def slow(*arguments):
        made = list(write(*arguments))
        mark.touch()
        time.sleep(30)
        yield from made

    def interrupt():
        end = time.monotonic() + 300
        while not mark.exists() and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    before = files(spark)
    monkeypatch.setattr(rdd_dataset, way, slow)
    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        load(DATA, batch_size=8)
    interrupter.join()
    assert_gone(spark, before)


def test_shuffles_of_the_user_stay(spark):
    """Those that the data came through serve the user's next job too."""
    rdd = spark.sparkContext.parallelize([(n % 5, float(n)) for n in range(50)], 2).groupByKey().mapValues(sum)
    before = files(spark)
    assert rdd.count() == 5
    theirs = files(spark) - before
    assert theirs
    load(rdd.map(lambda pair: {"x": pair[1]}), batch_size=2).close()
    assert_gone(spark, before | theirs)
    assert theirs <= files(spark)
