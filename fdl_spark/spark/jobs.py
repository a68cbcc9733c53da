"""Spark's jobs as ours: described in its UI, and cancelled when the user interrupts the call that waits for them."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pyspark.sql import SparkSession

from fdl_spark.spark.classic import SparkContext
from fdl_spark.spark.interrupts import Interrupts

DESCRIPTION, GROUP = "spark.job.description", "spark.jobGroup.id"
PATIENCE = 5.0  # seconds for the tasks of cancelled jobs to end, after which their files can be deleted


@contextmanager
def own_jobs(context: SparkContext) -> Iterator[None]:
    """Leave the description of the user's jobs as it was, and none of ours running.

    On Ctrl-C PySpark tries to cancel all jobs, but cannot while a call to the JVM waits, which is when one interrupts:
    the jobs would go on, their tasks would write files after these were deleted, and each would leave a socket behind.
    """
    _own_properties(context)
    before, tag = context.getLocalProperty(DESCRIPTION), f"fdl-{uuid.uuid4().hex}"
    context.addJobTag(tag)
    try:
        with Interrupts():
            yield
    except Exception:
        raise
    except BaseException:
        with suppress(Exception):
            _cancel(context, tag)
        raise
    finally:
        with suppress(Exception):  # a session that was stopped has no jobs
            context.removeJobTag(tag)
            context.setLocalProperty(DESCRIPTION, before)


@contextmanager
def job_group(where: SparkContext | SparkSession | None, name: str) -> Iterator[None]:
    """Let the jobs inside be of one group, which Spark's UI shows and `SparkContext.cancelJobGroup` cancels.

    A group that the user has set stays; Spark Connect has none, nor has a task.
    """
    if not isinstance(where, SparkContext) or where.getLocalProperty(GROUP) is not None:
        yield
        return
    _own_properties(where)
    where.setLocalProperty(GROUP, name)
    try:
        yield
    finally:
        with suppress(Exception):  # a session that was stopped has no jobs
            where.setLocalProperty(GROUP, None)


def _own_properties(context: SparkContext) -> None:
    """Give this thread local properties of its own.

    Threads of a pool, such as those of Spark's CrossValidator, share one object of them if PySpark has handed it on,
    and what one of them tells its jobs reaches the jobs of the others.
    """
    scala = context._jsc.sc()
    scala.setLocalProperties(scala.getLocalProperties().clone())


def _cancel(context: SparkContext, tag: str) -> None:
    context.cancelJobsWithTag(tag)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and _running(context):
        time.sleep(0.05)


def _running(context: SparkContext) -> int:
    return sum(info.numRunningTasks() for info in context._jsc.sc().statusTracker().getExecutorInfos())
