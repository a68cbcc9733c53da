"""Imported by every Python process of the executors, whose PYTHONPATH leads here: arms the points of faults."""

import os

if "FDL_CHAOS" in os.environ:
    from tests.spark.chaos import points

    points.install("executor")
