"""The driver of a cluster under test: trains once for each request on its standard input, and says what came of it.

python -m tests.spark.chaos.driver < requests     (started by harness.py)
"""

import gc
import hashlib
import json
import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from tests.spark.chaos import points, processes

if processes.MARK in os.environ:
    points.install("driver")

import numpy as np
from pyspark.sql import SparkSession

import fdl
import fdl.numpy as fnp
import fdl_spark
from fdl import optim
from fdl_spark.data.connect_dataset import parallelism
from fdl_spark.spark.classic import is_connect
from tests.spark.chaos.actions import FILLER

FOLDER = Path(os.environ.get(processes.MARK, "."))
ROWS, FEATURES, HIDDEN, OUT = 384, 300, 800, 500  # 2.6 MB of parameters: two slices of every engine


def problem():
    random = np.random.default_rng(5)
    x = random.standard_normal((ROWS, FEATURES)).astype(np.float32)
    y = np.tanh(x @ random.standard_normal((FEATURES, OUT)).astype(np.float32) / 20)
    params = {
        "first": (random.standard_normal((FEATURES, HIDDEN)) / 20).astype(np.float32),
        "second": (random.standard_normal((HIDDEN, OUT)) / 30).astype(np.float32),
    }
    return params, {"x": x, "y": y}


def loss(params, batch):
    return fnp.mean((fnp.tanh(batch["x"] @ params["first"]) @ params["second"] - batch["y"]) ** 2)


def digest(run):
    """The bits of parameters, optimizer state and losses."""
    content = hashlib.sha256()
    for leaf in fdl.tree.leaves(run.params):
        content.update(np.asarray(leaf).tobytes())
    for name, leaf in sorted(run.optimizer_state.items()):
        content.update(name.encode() + np.asarray(leaf).tobytes())
    content.update(np.array(run.history.loss, np.float64).tobytes())
    return content.hexdigest()


class Watch(fdl_spark.Callback):
    """Says how far the run is, and is the point between steps."""

    def __init__(self, stop):
        self.stop, self.times = stop, []

    def step(self, run, record):
        self.times.append((time.time(), record["step"]))
        with open(FOLDER / "progress", "a") as file:
            file.write(f"{time.time()} {record['step']}\n")
        points.reached("step", step=record["step"])
        if record["step"] == self.stop:
            self.stopped = time.time()
            return True
        return None


class Kept(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def files():
    """What lies in the folders of the cluster's executors, and in shared memory: blocks, shuffle files, temporary ones.

    What executors had that were killed goes with the session at the latest, which runner.py looks at.
    """
    managers = living()
    places = [path for path in FOLDER.glob("local*/**/*") if path.is_file() and not dead(path, managers)]
    found = {str(path.relative_to(FOLDER)) for path in places}
    return found | {f"/dev/shm/{name}" for name in os.listdir("/dev/shm") if name.startswith(("fdl", "psm_"))}


def blocks_of_dead():
    """How many block files lie on, where executors were killed and nobody else came to delete them."""
    managers = living()
    return sum(dead(path, managers) for path in FOLDER.glob("local*/**/*.block"))


def living():
    """The folders of the block managers of the executors that there are, as far as they have run tasks."""
    going = {path.name for path in FOLDER.glob("leaving-*")}  # they take no more tasks
    running = [pid for pid in processes.executors(FOLDER) if processes.status(pid)[0] != "T"]
    daemons = [daemon for pid in running if f"leaving-{pid}" not in going for daemon in processes.daemons(pid)]
    places = [processes.environment(daemon).get("SPARK_LOCAL_DIRS", "").split(",") for daemon in daemons]
    return {Path(place) for found in places for place in found if place}


def dead(path, managers):
    return any(part.startswith("executor-") for part in path.parts) and managers.isdisjoint(path.parents)


def held():
    gc.collect()
    return {"descriptors": len(os.listdir("/proc/self/fd")), "threads": threading.active_count()}


def train(request, **changed):
    params, data = problem()
    validation = {name: array[:100] for name, array in data.items()} if request.get("validation") else None
    options = {
        "optimizer": optim.adam(1e-3),
        "batch_size": 64,
        "steps": 12,
        "seed": 11,
        "shards": 4,
        "sync": request["engine"],
        "group": 4,
        "validation": validation,
        "checkpoint": FOLDER / "checkpoints" / request["checkpoint"] if request.get("checkpoint") else None,
        **request.get("options", {}),
        **changed,
    }
    return fdl_spark.train(loss, params, data, **options)


def answer(spark, request, log):
    before, log.lines[:] = files(), []
    (FOLDER / "progress").unlink(missing_ok=True)
    watch = Watch(request.get("stop"))
    result = {"id": request["id"], "started": time.time()}
    fault = FOLDER / "fault.json"
    if request["fault"]:
        fault.with_suffix(".new").write_text(json.dumps(request["fault"]))
        fault.with_suffix(".new").rename(fault)
    try:
        run = train(request, callbacks=[watch])
        result["error"] = None
    except (fdl_spark.SparkTrainingError, KeyboardInterrupt) as error:
        run = getattr(error, "run", None)
        result["error"] = f"{type(error).__name__}: {error}"
    except BaseException as error:
        import traceback

        run, result["error"] = None, "".join(traceback.format_exception(error))
    result["ended"] = time.time()
    fault.unlink(missing_ok=True)
    (FOLDER / FILLER).unlink(missing_ok=True)
    result |= {"times": watch.times, "stopped": getattr(watch, "stopped", None), "log": list(log.lines)}
    if run is not None:
        result |= {"step": run.step, "digest": digest(run), "events": [event["event"] for event in run.history.events]}
        if run.step < 12 and request.get("again"):
            result["again"] = digest(train(request, steps=run.step, checkpoint=None))
    time.sleep(0.3)  # Spark deletes files on a thread of its own
    left = files() - before
    if is_connect(spark):  # a server keeps shuffle files until its JVM collects what they belong to
        left = {name for name in left if "fdl" in name}
    result |= {"left": sorted(left), "dead": blocks_of_dead(), **held()}
    result["persisted"] = 0 if is_connect(spark) else spark.sparkContext._jsc.getPersistentRDDs().size()
    return result


def ready(spark, executors):
    """Wait for the executors that there should be."""

    def there():
        if is_connect(spark):
            return len(processes.executors(FOLDER)) >= executors and parallelism(spark) >= executors
        context = spark.sparkContext._jsc.sc()
        if spark.conf.get("spark.dynamicAllocation.enabled", "false") == "true":  # none is taken back before a job
            return context.getExecutorMemoryStatus().size() > executors
        return context.maxNumConcurrentTasks(context.resourceProfileManager().defaultResourceProfile()) >= executors

    with suppress(TimeoutError):
        processes.wait_until(there, 60, "executors")


def session(master, config):
    if master.startswith("sc://"):
        return SparkSession.builder.remote(master).getOrCreate()
    return fdl_spark.session(master, config=config)


def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    setup = json.loads(sys.stdin.readline())
    log = Kept()
    logging.getLogger("fdl_spark").addHandler(log)
    spark = session(setup["master"], setup["config"])
    print(json.dumps({"ready": spark.version}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        ready(spark, request.get("executors", 2))
        print(json.dumps(answer(spark, request, log)), flush=True)
    spark.stop()
    print(json.dumps({"stopped": True}), flush=True)


def alone():
    """The digest of the undisturbed run on one thread."""
    spark = fdl_spark.session("local[1]", config={"spark.ui.enabled": "false"})
    print(json.dumps({"digest": digest(train({"engine": "driver"}, partitions=1))}))
    spark.stop()


if __name__ == "__main__":
    alone() if "reference" in sys.argv else main()
