"""Trains on a master of its own and prints the bits; with `--kill`, an executor is killed on the way.

python cluster_program.py MASTER [--kill]
"""

import os
import runpy
import signal
import sys
from pathlib import Path

import fdl_spark
from fdl import optim

HERE = runpy.run_path(str(Path(__file__).with_name("problem.py")))


def executor_pids(spark):
    """The processes of the executors, found among the children of this driver's."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        executor = any(word.endswith(b"CoarseGrainedExecutorBackend") for word in words)
        if executor and spark.sparkContext.applicationId.encode() in words:
            found.append(int(folder.name))
    return found


class KillExecutor(fdl_spark.Callback):
    def __init__(self, spark):
        self.spark = spark

    def step(self, run, record):
        if record["step"] == 2:
            pids = executor_pids(self.spark)
            print("executors", len(pids))
            os.kill(pids[0], signal.SIGKILL)


def main(master, kill):
    spark = fdl_spark.session(master, config={"spark.ui.enabled": "false"})
    problem = HERE["make_problem"]()
    run = fdl_spark.train(
        problem.loss,
        problem.params,
        problem.data,
        optimizer=optim.adam(0.02),
        batch_size=100,
        steps=7,
        seed=11,
        shards=4,
        callbacks=[KillExecutor(spark)] if kill else [],
    )
    print("java", spark.sparkContext._jvm.java.lang.System.getProperty("java.home"))
    print("events", run.history.events)
    print("digest", HERE["digest"](run.params))
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], "--kill" in sys.argv)
