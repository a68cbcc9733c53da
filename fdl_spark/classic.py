"""The names of classic Spark; stand-ins that nothing is made of where only the client of Spark Connect is installed."""

from typing import Any

try:
    from py4j.protocol import Py4JError
    from pyspark import RDD, Broadcast, SparkContext
except ImportError:

    class RDD:  # type: ignore[no-redef]
        """No data is one."""

    class Broadcast:  # type: ignore[no-redef]
        """No value is one."""

    class SparkContext:  # type: ignore[no-redef]
        """None is active."""

        _active_spark_context: Any = None

    class Py4JError(Exception):  # type: ignore[no-redef]
        """Never raised."""


__all__ = ["RDD", "Broadcast", "Py4JError", "SparkContext"]
