"""The best pipeline saved, loaded again, and applied to a stream of payments."""

from typing import Any

import pyarrow as pa

from examples.fraud.data import TEST, payments
from examples.fraud.program import Result

FILES = 8  # that the stream reads


def through_a_stream(
    spark: Any, result: Result, table: pa.Table, by: str, seed: int, folder: str, work: str
) -> tuple[int, int]:
    """Save the pipeline, write the test as files, and let a stream through the pipeline that was loaded again.

    Args:
      spark: the session.
      result: of `detect`.
      table, by, seed: what it was given.
      folder: of the pipeline.
      work: a folder for the files of the stream.

    Returns:
      How many alarms there were, and how many of them were frauds.
    """
    from pyspark.ml import PipelineModel

    result.models[result.best].write().overwrite().save(folder)
    pipeline = PipelineModel.load(folder)
    test = payments(spark, table, by, seed).where(f"part = {TEST}")
    test.repartition(FILES).write.parquet(f"{work}/payments")
    stream = spark.readStream.schema(test.schema).option("maxFilesPerTrigger", 2).parquet(f"{work}/payments")
    alarms = pipeline.transform(stream).where("prediction = 1").select("row", "amount", "fraud")
    query = (
        alarms.writeStream.format("parquet")
        .option("checkpointLocation", f"{work}/checkpoint")
        .trigger(availableNow=True)
        .start(f"{work}/alarms")
    )
    query.awaitTermination()
    found = spark.read.parquet(f"{work}/alarms")
    return found.count(), found.where("fraud = 'yes'").count()
