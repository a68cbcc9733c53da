"""How many processor cores there are, and how many a task's computations use: those that Spark counts for it."""

import os

from pyspark import TaskContext

import fdl


def use_cores_of_task() -> None:
    """Let compiled functions run on as many threads as the task has cores (`spark.task.cpus`, 1 by default).

    Whoever sets ``FDL_NUM_THREADS`` in the executors' environment decides instead. Outside a task nothing changes.
    """
    context = TaskContext.get()
    if context is not None and "FDL_NUM_THREADS" not in os.environ:
        fdl.set_num_threads(max(1, int(context.cpus())))


def cores_of_host() -> int:
    """The processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
