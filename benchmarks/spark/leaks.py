"""What a session holds after many runs, searches, predictions, fits and streams, and how much of it each of them adds.

    python -m benchmarks.spark.leaks [--rounds 100] [--kinds train predict ...] [--master local[2]]

A round is one call of every kind. Counted is after the first rounds, which start workers and fill caches that have a
bound, half-way, and at the end; what one round adds is that of the second half. Kinds are those below, and those of
`tests/spark/leaks.py`, failures among them, with `--kinds all`.
"""

import argparse
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import SparkSession

import fdl_spark
from benchmarks.report import table
from fdl import optim
from fdl_spark import features
from tests.spark import leaks

FIRST = 5  # rounds before the first count
LARGE = 300_000  # floats of the large parameters
#: Spark's own store of past jobs and queries has a bound, which the first rounds are to reach.
FEW = {
    **{f"spark.ui.retained{what}": "20" for what in ("Jobs", "Stages", "Tasks", "DeadExecutors")},
    "spark.sql.ui.retainedExecutions": "20",
    "spark.sql.streaming.numRecentProgressUpdates": "5",
    "spark.ui.enabled": "false",
}


def apply(params: Any, batch: Any) -> Any:
    """A linear function of three numbers."""
    return batch["x"] @ params[:3]


def loss(params: Any, batch: Any) -> Any:
    """Its squared error."""
    return ((apply(params, batch) - batch["y"]) ** 2).mean()


def rows(spark: SparkSession) -> Any:
    """A DataFrame of arrays, numbers and names."""
    x = "array(float(id), float(id % 7), 1f)"
    return spark.range(0, 200, 1, 2).selectExpr(f"{x} as x", "float(id % 7) as y", "concat('n', id % 5) as name")


def train(spark: SparkSession, sync: Any, **options: Any) -> None:
    chosen = {"optimizer": optim.adam(0.1), "batch_size": 64, "shards": 2, "columns": ["x", "y"], **options}
    fdl_spark.train(loss, np.zeros(LARGE, np.float32), rows(spark), epochs=1, sync=sync, **chosen)


def search(spark: SparkSession, folder: Path) -> None:
    def make(rate: float) -> dict[str, Any]:
        return {"loss": loss, "params": np.zeros(3, np.float32), "optimizer": optim.sgd(rate)}

    options: dict[str, Any] = {"batch_size": 64, "epochs": 2, "columns": ["x", "y"], "checkpoint": folder}
    fdl_spark.search(make, {"rate": [1e-4, 1e-5, 1e-6]}, rows(spark), halving=2, validation=rows(spark), **options)


def predict(spark: SparkSession, folder: Path) -> None:
    for size in (3, LARGE):  # what goes with the function, and what is broadcast
        params = np.random.default_rng().standard_normal(size).astype(np.float32)
        fdl_spark.predict(apply, params, rows(spark), columns=["x"]).collect()


def udf(spark: SparkSession, folder: Path) -> None:
    score = fdl_spark.as_udf(apply, np.ones(3, np.float32), "double", ["x"])
    spark.udf.register("score", score)
    spark.sql("SELECT sum(score(array(float(id), 1, 2))) FROM range(50)").collect()


def encode(spark: SparkSession, folder: Path) -> None:
    encoders = [features.standardise("x"), features.vocabulary("name", size=4), features.numeric("y")]
    fitted = features.fit(encoders, rows(spark))
    fdl_spark.predict(lambda params, batch: batch["y"] * params, np.float32(2), rows(spark), features=fitted).collect()


def estimate(spark: SparkSession, folder: Path) -> None:
    def linear(params: Any, x: Any) -> Any:
        return x @ params

    def zeros(key: Any, width: int) -> Any:
        return np.zeros(width, np.float32)

    data = rows(spark).withColumnsRenamed({"x": "features", "y": "label"})
    model = fdl_spark.Regressor(linear, zeros, optimizer="sgd", learningRate=1e-4, epochs=1, batchSize=64).fit(data)
    model.write().save(str(folder / "model"))
    fdl_spark.ml.load(str(folder / "model")).transform(data).collect()


def stream(spark: SparkSession, folder: Path) -> None:
    rows(spark).write.parquet(str(folder / "in"))
    read = spark.readStream.schema("x array<float>, y float, name string").parquet(str(folder / "in"))
    scored = fdl_spark.predict(apply, np.ones(3, np.float32), read, columns=["x"], shapes={"x": (3,)})
    writer = scored.writeStream.option("checkpointLocation", str(folder / "checkpoint")).trigger(availableNow=True)
    writer.format("parquet").start(str(folder / "out")).awaitTermination()


Kind = Callable[[SparkSession, Path], Any]
KINDS: dict[str, Kind] = {
    "train": lambda spark, folder: train(spark, "auto", checkpoint=folder),
    "shuffle": lambda spark, folder: train(spark, "shuffle", validation=rows(spark)),
    "blocks": lambda spark, folder: train(spark, "blocks"),
    "driver": lambda spark, folder: train(spark, "driver"),
    "resident": lambda spark, folder: train(spark, "resident", group=1),
    "evaluate": lambda spark, folder: fdl_spark.evaluate(
        loss, np.ones(LARGE, np.float32), rows(spark), columns=["x", "y"]
    ),
    "search": search,
    "predict": predict,
    "udf": udf,
    "encode": encode,
    "estimate": estimate,
    "stream": stream,
}


def counted(spark: SparkSession) -> dict[str, float]:
    """What is held now, megabytes among it."""
    time.sleep(3)  # tasks' threads and Spark's cleaner follow after a while
    context = spark.sparkContext
    context._jvm.java.lang.System.gc()
    jvm = context._gateway.proc.pid
    temporary = Path(tempfile.gettempdir())
    found = dict(leaks.held(spark), **leaks.more(spark))
    found |= {f"MB of {name}": size for name, size in leaks.memory(spark).items()}
    found |= {
        "MB of the JVM": leaks.resident(jvm),
        "descriptors of the JVM": len(os.listdir(f"/proc/{jvm}/fd")),
        "sockets of the JVM": sockets(jvm),
        "sockets of the driver": sockets(os.getpid()),
        "temporary folders": sum(1 for _ in temporary.glob("*")),
        "shared memory": sum(1 for _ in Path("/dev/shm").glob("*")),
        "views": len(spark.catalog.listTables()),
        "streams": len(spark.streams.active),
    }
    return found


def sockets(pid: int) -> int:
    """How many a process has open."""
    count = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            count += os.readlink(path).startswith("socket:")
    return count


def main() -> None:
    """Print what is held, and what a round adds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--master", default="local[2]")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    every: dict[str, Kind] = {**leaks.RUNS, **KINDS}
    kinds = list(every) if asked.kinds == ["all"] else asked.kinds
    spark = fdl_spark.session(asked.master, config=FEW)
    first = min(FIRST, asked.rounds // 3)
    marks = (first, (first + asked.rounds) // 2, asked.rounds)
    counts, began = [], time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(1, asked.rounds + 1):
            for place, kind in enumerate(kinds):
                ended = leaks.run(spark, every[kind], Path(temporary, f"{number}-{place}"))
                if number == 1:
                    print(f"{kind}: {ended}", flush=True)
            if number in marks:
                counts.append(counted(spark))
                print(f"round {number}, {time.perf_counter() - began:.0f} s", flush=True)
    header = ["", *(f"after {number} rounds" for number in marks), "a round adds"]
    cells = []
    for name in dict.fromkeys(name for one in counts for name in one):
        values = [one.get(name, 0) for one in counts]
        adds = (values[-1] - values[-2]) / max(1, marks[-1] - marks[-2])
        cells.append([re.sub("[|]", "/", name), *(f"{value:.6g}" for value in values), f"{adds:.3g}"])
    print(table(header, cells))
    spark.stop()


if __name__ == "__main__":
    main()
