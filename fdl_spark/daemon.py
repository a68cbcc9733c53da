"""The parent of Spark's Python workers (`spark.python.daemon.module`): imports once, freezes the collector, forks.

pyspark's own daemon runs `gc.collect()` after every task, which costs 16 ms with a worker's modules loaded and about
nothing once they are frozen; and what is imported here is shared by all workers instead of being imported by each.
"""

import gc
import importlib

import pyspark.daemon

from fdl_spark.quiet import ignore_pandas_warning

PRELOAD = ("pyspark.worker", "numpy", "fdl", "fdl_spark.worker")

if __name__ == "__main__":
    ignore_pandas_warning()
    for name in PRELOAD:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    pyspark.daemon.manager()
