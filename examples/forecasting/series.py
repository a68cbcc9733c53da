"""From minutes to steps, from steps to windows: on Spark, without a look at the future."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

import fdl_spark
from fdl_spark import features


@dataclass(frozen=True)
class Steps:
    """What a forecast is about.

    Attributes:
      seconds: of a step.
      past, future: steps of a window, and how many are forecast.
      seasons: the lengths in steps after which a series repeats, the shortest first, which divides `past`.
      measured: minutes that a step needs; with fewer it counts as missing.
    """

    seconds: int
    past: int
    future: int
    seasons: tuple[int, ...]
    measured: int

    def of(self, day: str) -> int:
        """The number of the step in which a day begins."""
        return int(np.datetime64(day, "s").astype(int)) // self.seconds


@dataclass(frozen=True)
class Split:
    """Days at which parts of a series end; windows that reach over one are in neither part.

    Attributes:
      train: the end of what is trained on.
      validation: the end of what the best epoch is chosen by; what follows is the test.
    """

    train: str = "2009-12-01"
    validation: str = "2010-06-01"


def steps(spark: Any, minutes: pa.Table, column: str, asked: Steps) -> Any:
    """Means of minutes: a DataFrame of step (its number since 1970), value, and measured, 1 or 0.

    A step of which too few minutes were measured has the value 0 and is not measured: nothing is made up here.

    Args:
      spark: the session.
      minutes: a table of time and the column.
      column: what is forecast.
      asked: the steps.
    """
    seconds = minutes["time"].cast(pa.timestamp("s")).cast(pa.int64())  # no zone is asked, nor daylight saving time
    frame = fdl_spark.dataframe({"second": seconds, "value": minutes[column]}, spark)
    step = F.floor(F.col("second") / asked.seconds).alias("step")
    means = frame.groupBy(step).agg(F.avg("value").alias("mean"), F.count("value").alias("minutes"))
    enough = F.col("minutes") >= asked.measured
    value = F.when(enough, F.col("mean")).otherwise(0.0).cast("float").alias("value")
    return means.select("step", value, enough.cast("float").alias("measured"))


def windows(series: Any, asked: Steps) -> Any:
    """Windows of a series, one at each step: step, value_past, measured_past, value_future, measured_future.

    Args:
      series: as `steps` gives it.
      asked: the steps.
    """
    cut = features.windows(series, "step", ["value", "measured"], past=asked.past, future=asked.future)
    return cut.withColumn("step", F.col("step").cast("int"))


def parts(cut: Any, asked: Steps, split: Split) -> list[Any]:
    """The windows to train on, to validate on and to test.

    The past of a window may be in the part before, as it is known by then; its future is in one part.

    Args:
      cut: as `windows` gives them.
      asked: the steps.
      split: the ends of the parts.
    """
    ends = [asked.of(split.train), asked.of(split.validation)]
    last = F.col("step") + asked.future
    return [
        cut.where(last <= ends[0]),
        cut.where((F.col("step") >= ends[0]) & (last <= ends[1])),
        cut.where(F.col("step") >= ends[1]),
    ]


def statistics(series: Any, asked: Steps, split: Split) -> dict[str, float]:
    """Mean and deviation of what is trained on, and its naive error: that of the value one season before.

    The naive error is what MASE divides by (Hyndman and Koehler, 2006).

    Args:
      series: as `steps` gives it.
      asked, split: as for `parts`.
    """
    known = series.where((F.col("step") < asked.of(split.train)) & (F.col("measured") == 1))
    before = known.select((F.col("step") + asked.seasons[0]).alias("step"), F.col("value").alias("before"))
    naive = known.join(before, "step").select(F.avg(F.abs(F.col("value") - F.col("before")))).first()[0]
    mean, deviation = known.select(F.avg("value"), F.stddev_pop("value")).first()
    return {"mean": mean, "deviation": deviation, "naive": naive}
