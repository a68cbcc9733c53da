"""What a session holds, counted, and runs of every kind that should leave it as it was; `benchmarks/spark/leaks.py`
takes many of them. By hand, for one run of many steps, with what is held in its course:

python leaks.py MASTER ENGINE STEP ...
"""

import gc
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyspark.accumulators
from py4j.finalizer import ThreadSafeFinalizer

import fdl
import fdl_spark
from fdl import optim

X = np.linspace(-1, 1, 60, dtype=np.float32)
DATA = {"x": X, "y": 3 * X, "wide": np.zeros((60, 500), np.float32)}


def loss(slope, batch):
    return ((slope * batch["x"] - batch["y"]) ** 2).mean() + 0 * batch["wide"].mean()


def train(function=loss, data=None, **options):
    settings = {"optimizer": optim.adam(0.1), "batch_size": 20, "shards": 2, "partitions": 2, "steps": 2, **options}
    return fdl_spark.train(function, np.float32(0), DATA if data is None else data, **settings)


def on_executors(what):
    """A loss that does something else on the executors, whenever it is computed there."""

    def there():
        if "SPARK_LOCAL_DIRS" in os.environ:
            what()

    def function(slope, batch):
        fdl.debug.callback(there)
        return loss(slope, batch)

    return function


def raise_there():
    raise RuntimeError("on purpose")


def die_once(mark):
    def die():
        if not os.path.exists(mark):
            Path(mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    return die


class Raise(fdl_spark.Callback):
    def __init__(self, error):
        self.error = error

    def step(self, run, record):
        raise self.error


def interrupted(spark, folder):
    """As by Ctrl-C in the middle of a job."""
    # A timer's thread would leave a thread of the JVM behind if it spoke to it; this one only sends a signal.
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        train(on_executors(lambda: time.sleep(0.5)))
    finally:
        timer.cancel()


def frame(spark):
    return spark.createDataFrame(
        [(float(x), float(3 * x), [0.0] * 500) for x in X], "x float, y float, wide array<float>"
    )


def resumed(spark, folder):
    train(checkpoint=folder / "run", steps=1)
    train(checkpoint=folder / "run", steps=2)


def predicted(spark, folder):
    data = frame(spark)
    fdl_spark.predict(lambda slope, batch: slope * batch["x"], np.float32(3), data).collect()


def badly_predicted(spark, folder):
    data = spark.createDataFrame([(1.0,)] * 8 + [(None,)], "x double")  # no partition begins with the bad row
    fdl_spark.predict(lambda slope, batch: slope * batch["x"], np.float32(3), data).collect()


def searched(spark, folder):
    """Some trials fail, and others go on."""

    def make(rate, fails):
        chosen = on_executors(raise_there) if fails else loss
        return {"loss": chosen, "params": np.float32(2), "optimizer": optim.sgd(rate)}

    space = {"rate": [0.1, 0.01], "fails": [True, False]}
    fdl_spark.search(make, space, DATA, batch_size=8, epochs=2, halving=2, checkpoint=folder, validation=DATA)


def nan_at_one(slope, batch):
    return fdl.numpy.log(slope - 1)


RUNS = {
    "shuffle": lambda spark, folder: train(validation=DATA, metrics={"again": loss}),
    "blocks": lambda spark, folder: train(sync="blocks"),
    "driver": lambda spark, folder: train(sync="driver"),
    "whole tree": lambda spark, folder: train(optimizer=optim.chain(optim.clip_by_global_norm(1.0), optim.adam(0.1))),
    "frame": lambda spark, folder: train(data=frame(spark)),
    "rows": lambda spark, folder: train(data=spark.sparkContext.parallelize([{"x": 1.0, "y": 1.0, "wide": 1.0}] * 9)),
    "checkpoint and resume": resumed,
    "evaluate": lambda spark, folder: fdl_spark.evaluate(loss, np.float32(2), DATA),
    "search": searched,
    "predict": predicted,
    "arguments": lambda spark, folder: train(batch_size=0),
    "survey fails": lambda spark, folder: train(data=spark.sparkContext.parallelize([{"x": 1.0}, {"x": None}] * 999)),
    "query fails": lambda spark, folder: train(data=spark.sql("select 1 / (id - 3) x from range(9)")),
    "validation fails": lambda spark, folder: train(validation={"x": X}),
    "tracing fails": lambda spark, folder: train(lambda slope, batch: batch["z"]),
    "optimizer fails": lambda spark, folder: train(optimizer=SimpleNamespace(init=lambda p: p["z"], update=loss)),
    "step fails": lambda spark, folder: train(on_executors(raise_there)),
    "step fails with blocks": lambda spark, folder: train(on_executors(raise_there), sync="blocks"),
    "step fails through the driver": lambda spark, folder: train(on_executors(raise_there), sync="driver"),
    "evaluation fails": lambda spark, folder: fdl_spark.evaluate(on_executors(raise_there), np.float32(2), DATA),
    "prediction fails": badly_predicted,
    "not finite": lambda spark, folder: train(nan_at_one),
    "callback raises": lambda spark, folder: train(callbacks=[Raise(RuntimeError())]),
    "callback interrupts": lambda spark, folder: train(callbacks=[Raise(KeyboardInterrupt())]),
    "interrupted": interrupted,
    "a worker dies": lambda spark, folder: train(on_executors(die_once(str(folder / "died")))),
    # Behind those that end workers, and with these what they have left; more runs than had been at the first count.
    "resident": lambda spark, folder: [train(sync="resident", steps=2, group=1) for _ in range(4)],
    "local steps": lambda spark, folder: train(sync=fdl_spark.every(2), steps=4),
}


def workers(spark):
    """The Python processes of this application's executors: the daemons' children."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            found[int(folder.name)] = parent, words
    daemons = {pid for pid, (_, words) in found.items() if b"fdl_spark.daemon" in words and _mine(found, pid)}
    return [pid for pid in daemons if found[pid][0] in daemons]


def _mine(found, pid):
    while pid in found:
        if pid == os.getpid():
            return True
        pid = found[pid][0]
    return False


def held(spark):
    """What is held now: numbers of things that a run might leave behind."""
    context = spark.sparkContext
    directories = local_directories(context)
    gc.collect()
    context._jvm.java.lang.System.gc()
    time.sleep(0.3)  # Spark frees what the JVM has collected on a thread of its own
    counts = Counter()
    for pid in workers(spark):
        with suppress(OSError):
            maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
            counts["deleted maps of workers"] += sum(".block" in line and "(deleted)" in line for line in maps)
            counts["fds of workers"] += len(os.listdir(f"/proc/{pid}/fd"))
    counts["workers"] = len(workers(spark))
    counts["fds"] = len(os.listdir("/proc/self/fd"))
    counts["threads"] = threading.active_count()
    counts["persisted RDDs"] = context._jsc.getPersistentRDDs().size()
    counts["bytes of blocks"] = used(context)
    counts["listeners"] = context._jsc.sc().listenerBus().listeners().size()
    counts["accumulators"] = len(pyspark.accumulators._accumulatorRegistry)
    counts["temporary files of the driver"] = sum(1 for _ in Path(context._temp_dir).rglob("*"))
    files = [path.name for root in directories for path in root.rglob("*") if path.is_file()]
    counts["block files"] = sum(name.endswith(".block") for name in files)
    counts["other local files"] = len(files) - counts["block files"]
    counts["sockets"] = len(os.listdir(context.getConf().get("spark.python.unix.domain.socket.dir")))
    gc.collect()
    counts["objects of the JVM"] = len(ThreadSafeFinalizer.finalizers)
    return counts


def used(context):
    """Bytes that the executors keep in memory: broadcasts, persisted RDDs."""
    status = context._jsc.sc().getExecutorMemoryStatus().values().mkString(";")
    most, left = zip(*(map(int, pair.strip("()").split(",")) for pair in status.split(";")), strict=True)
    return sum(most) - sum(left)


@cache
def local_directories(context):
    """Asked once: what the executors hold for this job itself would be counted until Spark's cleaner has followed."""

    def ask(_):
        return os.environ["SPARK_LOCAL_DIRS"].split(",")

    return set(map(Path, context.parallelize(range(8), 8).flatMap(ask).collect()))


def memory(spark):
    """Megabytes of the driver's Python, of the JVM after a collection, and of the largest worker."""

    runtime = spark.sparkContext._jvm.java.lang.Runtime.getRuntime()
    heap = (runtime.totalMemory() - runtime.freeMemory()) / 2**20
    return {"driver": resident(os.getpid()), "heap": heap, "worker": max(map(resident, workers(spark)), default=0.0)}


def resident(pid):
    """Megabytes of a process."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
    return 0.0


def run(spark, function, folder):
    """One run; whatever it raises is what it is for."""
    folder.mkdir(parents=True)
    try:
        function(spark, folder)
    except (Exception, KeyboardInterrupt) as error:
        return type(error).__name__
    return "ran"


class Count(fdl_spark.Callback):
    """Counts, after some steps, what is held."""

    def __init__(self, spark, steps):
        self.spark, self.steps, self.counted = spark, steps, []

    def step(self, run, record):
        if run.step in self.steps:
            self.counted.append({**held(self.spark), **more(self.spark), **memory(self.spark)})
            print(f"step {run.step}: {self.counted[-1]}", file=sys.stderr, flush=True)


def more(spark):
    """What Spark keeps for broadcasts and connections."""
    context = spark.sparkContext
    beans = context._jvm.java.lang.management.ManagementFactory
    return {
        "threads of the JVM": beans.getThreadMXBean().getThreadCount(),
        "broadcasts known to Python": len(context._pickled_broadcast_vars._registry),
        **{f"threads: {kind}": count for kind, count in sorted(threads(context).items())},
    }


def threads(context):
    """How many threads of the JVM there are of each kind: names without their numbers."""
    said = context._jvm.java.lang.Thread.getAllStackTraces().keySet().toString()
    names = re.findall(r"Thread\[(?:#\d+,)?(.*?),\d+,", said)
    return Counter(re.sub(r"[0-9a-f]*\d[0-9a-f]*", "N", name) for name in names)


def over_steps(master, engine, steps):
    """Print what a run holds after some of its steps, rounded gradients and all."""
    # Spark's user interface remembers the last thousand jobs and stages: here only as many as the first steps make.
    few = {f"spark.ui.retained{what}": "100" for what in ("Jobs", "Stages", "Tasks")}
    spark = fdl_spark.session(master, config={"spark.ui.enabled": "false", **few})
    train(sync=engine, steps=1)
    count = Count(spark, steps)
    train(sync=engine, wire="bfloat16", steps=max(steps), callbacks=[count])
    print(f"| {engine}, after so many steps | {' | '.join(map(str, steps))} |\n|{'---|' * (len(steps) + 1)}")
    for name in dict.fromkeys(name for one in count.counted for name in one):
        print(f"| {name} | {' | '.join(f'{one.get(name, 0):.6g}' for one in count.counted)} |")
    spark.stop()


if __name__ == "__main__":
    over_steps(sys.argv[1], sys.argv[2], list(map(int, sys.argv[3:])))
