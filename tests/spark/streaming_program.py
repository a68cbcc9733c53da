"""A stream of predictions, to be killed: reads files from a folder, one a batch, and writes what it predicts.

python streaming_program.py FOLDER SECONDS
"""

import sys
import time
from pathlib import Path

import numpy as np

import fdl
import fdl_spark

SCHEMA = "id bigint, x array<float>"


def applied(seconds=0.0):
    """The dot product with the parameters, which takes so long on an executor."""

    def apply(params, batch):
        fdl.debug.callback(lambda: time.sleep(seconds))
        return batch["x"] @ params

    return apply


def started(spark, folder, seconds=0.0, **trigger):
    """The query, which goes on from its checkpoint if there is one."""
    rows = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).json(str(folder / "in"))
    scored = fdl_spark.predict(applied(seconds), np.float32([1, 100]), rows, "y", columns=["x"], batch_size=8)
    writer = scored.writeStream.format("parquet").option("checkpointLocation", str(folder / "checkpoint"))
    return writer.trigger(**(trigger or {"availableNow": True})).start(str(folder / "out"))


if __name__ == "__main__":
    spark = fdl_spark.session("local[2]", config={"spark.ui.enabled": "false"})
    started(spark, Path(sys.argv[1]), float(sys.argv[2])).awaitTermination()
