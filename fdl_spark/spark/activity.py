"""How far Spark is with the jobs of a call, asked while the call waits for them."""

from typing import Any

from pyspark.sql import SparkSession

from fdl_spark.spark.classic import SparkContext


class Activity:
    """Tells in a few words how many tasks of the newest stages of a job group are done.

    Args:
      where: the SparkContext of a classic session; the session of Spark Connect is not asked, nor is None.
      group: the name of the jobs' group.
    """

    def __init__(self, where: SparkContext | SparkSession | None, group: str):
        self._where, self._group = where, group

    def __call__(self) -> str:
        """The words; none if Spark does not say."""
        if not isinstance(self._where, SparkContext):
            return ""
        try:
            return self._told(self._where)
        except Exception:  # the session may be stopped at any time
            return ""

    def _told(self, context: SparkContext) -> str:
        tracker = context.statusTracker()
        jobs = [job for number in tracker.getJobIdsForGroup(self._group) if (job := tracker.getJobInfo(number))]
        running = [job for job in jobs if job.status == "RUNNING"]
        done = tasks = rows = 0
        for job in running:
            for number in job.stageIds:
                stage: Any = tracker.getStageInfo(number)
                if stage is not None:
                    done, tasks = done + stage.numCompletedTasks, tasks + stage.numTasks
                    rows += _rows(context, number)
        if not tasks:
            return ""
        return f"{done} of {tasks} tasks" + (f", {rows:,} rows read" if rows else "")


def _rows(context: SparkContext, stage: int) -> int:
    """How many rows of files a stage has read until now, as its tasks report."""
    return int(context._jsc.sc().statusStore().lastStageAttempt(stage).inputRecords())
