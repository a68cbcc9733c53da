"""Classify the recordings of a Kafka topic until somebody ends it: what would run for years.

    python -m examples.speech.listen speech.safetensors --servers HOST:PORT --topic recordings --output words

A record's key is its id, its value a WAV file. The output is a folder of Parquet files of which `_spark_metadata` says
which count: Spark reads each record once from there, whatever ended the query, if the same command is given again.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fdl
import fdl_spark
from examples.speech.task import SOUND, classify
from fdl_spark import features, kafka

BATCH = 32  # rows that a task computes at once; micro-batches are padded to it


def words(records: Any, model: Any) -> Any:
    """A DataFrame of Kafka's records becomes one of id, word, probability, timestamp, partition and offset.

    A record that is no WAV file of this rate has no word: it does not end the query.
    """
    rows = records.selectExpr("cast(key as string) AS id", "value AS sound", "timestamp", "partition", "offset")
    encoders = features.Features((SOUND,))
    heard = fdl_spark.predict(classify, model, rows, features=encoders, batch_size=BATCH, invalid="null")
    return heard.drop("sound")


def started(spark: Any, model: Any, servers: str, topic: str, output: str, **trigger: Any) -> Any:
    """The query from a topic to a folder, which goes on where it was if the folder is there.

    Args:
      spark: the session.
      model: parameters and statistics.
      servers, topic: of Kafka.
      output: a folder or URI.
      **trigger: of the query; none takes what there is as soon as the last micro-batch is done.
    """
    reader = spark.readStream.format(kafka.source(spark)).option("kafka.bootstrap.servers", servers)
    records = reader.option("subscribe", topic).option("startingOffsets", "earliest").load()
    writer = words(records, model).writeStream.format("parquet").option("checkpointLocation", f"{output}/_checkpoint")
    return (writer.trigger(**trigger) if trigger else writer).start(output)


def processes(_: Any) -> tuple[int, int]:
    """The parent of a Python worker, and the Java process that started it: the executor, or the driver if local."""
    parent = os.getppid()
    fields = Path(f"/proc/{parent}/stat").read_text().rsplit(")", 1)[1].split()
    return parent, int(fields[1])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = argparse.ArgumentParser(prog="python -m examples.speech.listen", description=__doc__)
    options.add_argument("model", help="file that examples.speech has saved")
    options.add_argument("--servers", required=True, help="of Kafka, HOST:PORT")
    options.add_argument("--topic", default="recordings")
    options.add_argument("--output", required=True, help="folder or URI")
    options.add_argument("--master", help="Spark's")
    options.add_argument("--processes", help="file for the ids of processes, so that they can be killed; Linux")
    given = options.parse_args(arguments)
    spark = fdl_spark.session(given.master, "speech")
    if given.processes:
        tasks = spark.sparkContext.defaultParallelism
        found = spark.sparkContext.parallelize(range(tasks), tasks).map(processes).collect()
        Path(given.processes).write_text(json.dumps(sorted(set(found))))
    model = fdl.load(given.model)
    started(spark, model, given.servers, given.topic, given.output).awaitTermination()


if __name__ == "__main__":
    main()
