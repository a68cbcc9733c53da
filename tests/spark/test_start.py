"""What starting a run costs, counted: Spark jobs, traces of the user's functions, compilations, daemons."""

import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import fdl_spark
from fdl import optim

X = np.linspace(-1, 1, 80, dtype=np.float32)


@pytest.fixture
def traced(tmp_path):
    """A loss and a metric that write down in which process they are traced."""
    record = tmp_path / "traces"
    record.touch()

    def note(name):
        with open(record, "a") as file:
            file.write(f"{name} {os.getpid()}\n")

    def loss(slope, batch):
        note("loss")
        return ((slope * batch["x"] - batch["y"]) ** 2).mean()

    def error(slope, batch):
        note("error")
        return abs(slope * batch["x"] - batch["y"]).mean()

    def in_workers():
        lines = [line.split() for line in record.read_text().splitlines()]
        record.write_text("")
        return [(name, int(pid)) for name, pid in lines if int(pid) != os.getpid()]

    return SimpleNamespace(
        loss=loss, error=error, in_workers=in_workers, by_workers=lambda: Counter(name for name, _ in in_workers())
    )


def train(loss, data, batch_size=40, **options):
    settings = {"optimizer": optim.adam(0.1), "batch_size": batch_size, "shards": 2, "partitions": 2, **options}
    return fdl_spark.train(loss, np.float32(0), data, **settings)


def compiled_by_workers(spark):
    """How many programs each worker has compiled so far, by its process."""

    def count(_):
        from fdl.compile import pipeline

        if not hasattr(pipeline, "counted"):
            build, pipeline.counted = pipeline.build_archive, 0

            def counting(*args, **options):
                pipeline.counted += 1
                return build(*args, **options)

            pipeline.build_archive = counting
        return [(os.getpid(), pipeline.counted)]

    return dict(spark.sparkContext.parallelize(range(8), 8).mapPartitions(count).collect())


def jobs(spark, since=0):
    """The descriptions of the jobs from number `since` on, and the number of the next one."""
    context = spark.sparkContext._jsc.sc()
    context.listenerBus().waitUntilEmpty()
    found = context.statusStore().jobsList(None)
    new = sorted(
        (job.jobId(), job.description()) for job in map(found.apply, range(found.length())) if job.jobId() >= since
    )
    return [text.get() if text.isDefined() else None for _, text in new], new[-1][0] + 1 if new else since


def test_workers_neither_trace_nor_compile_what_the_driver_has_compiled(spark, traced):
    factor = np.float32(np.random.default_rng().uniform(1, 2))  # a program that no disk cache knows

    def loss(slope, batch):
        return traced.loss(slope * factor, batch)

    before = compiled_by_workers(spark)
    data, held_out = {"x": X, "y": 3 * X}, {"x": X[:30], "y": 3 * X[:30]}
    run = train(loss, data, validation=held_out, metrics={"error": traced.error}, epochs=2)
    assert traced.by_workers() == {}
    after = compiled_by_workers(spark)
    assert all(count - before.get(pid, 0) <= 1 for pid, count in after.items())  # the update
    expected = abs((float(run.params) - 3) * X[:30]).mean()
    assert run.history.epochs[-1]["validation"]["error"] == pytest.approx(expected, rel=1e-5)


def test_another_run_of_the_same_program_traces_and_compiles_nothing_new(spark, traced):
    """Not in the same process, that is: which of the session's idle workers take part is up to Spark."""

    def data(scale):
        return {"x": X[:70], "y": scale * X[:70]}  # the last batch of 30 rows is not compiled ahead

    train(traced.loss, data(3), epochs=2)
    first, compiled = traced.in_workers(), compiled_by_workers(spark)
    assert 1 <= len(first) == len(set(first)) <= 2
    train(traced.loss, data(-2), epochs=2)
    second, now = traced.in_workers(), compiled_by_workers(spark)
    assert not set(first) & set(second)
    assert all(now[pid] == compiled[pid] for _, pid in first if pid in now)


def test_jobs_of_a_short_run(spark, traced):
    frame = spark.createDataFrame(pa.table({"x": X, "y": 3 * X}))
    _, since = jobs(spark)
    train(traced.loss, frame, steps=1, sync="driver")
    found, _ = jobs(spark, since)
    writing = 3 * ["fdl: write the shards"]  # the blocks are made, filled by those who read, and their checksums taken
    training = ["fdl train: step 1 of 1 (epoch 1)", "fdl: delete the data's blocks"]
    assert found == ["fdl: read the data", *writing, "fdl: delete the rows that were read", *training]
    _, since = jobs(spark)
    train(traced.loss, {"x": X, "y": 3 * X}, steps=1, sync="driver")
    assert jobs(spark, since)[0] == [*writing, *training]


def test_one_daemon_serves_all_of_training(spark):
    """Spark starts a daemon, which imports all anew, for each environment of workers: SQL's is another than RDDs'."""
    spark.sparkContext.parallelize([0], 1).map(abs).collect()
    before = daemons()
    frame = spark.createDataFrame(pa.table({"x": X, "y": 3 * X}))

    def loss(slope, batch):
        return ((slope * batch["x"] - batch["y"]) ** 2).mean()

    train(loss, frame, steps=1, validation=frame)
    assert daemons() == before


def daemons():
    """The processes that the JVM has started to fork workers."""
    parents, kinds = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            kinds[int(folder.name)] = (folder / "cmdline").read_bytes().split(b"\0")[0]
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
    jvms = {pid for pid, parent in parents.items() if parent == os.getpid() and kinds[pid].endswith(b"java")}
    return {pid for pid, parent in parents.items() if parent in jvms}


def test_code_of_another_processor_is_compiled_by_the_workers(spark, traced, monkeypatch):
    data = {"x": X, "y": 3 * X}
    expected = train(traced.loss, data, epochs=2)
    compile_ahead = fdl_spark.compute.program.Program._compile

    def elsewhere(program, *args):
        from fdl.compile import pipeline

        with monkeypatch.context() as patch:
            patch.setattr(pipeline, "host_target", lambda: SimpleNamespace(key="another processor"))
            compile_ahead(program, *args)

    monkeypatch.setattr(fdl_spark.compute.program.Program, "_compile", elsewhere)
    run = train(lambda slope, batch: traced.loss(slope, batch), data, epochs=2)
    assert np.asarray(run.params).tobytes() == np.asarray(expected.params).tobytes()
