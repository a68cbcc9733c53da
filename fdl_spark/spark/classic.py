"""The names of classic Spark; stand-ins that nothing is made of where only the client of Spark Connect is installed."""

from typing import Any

try:
    from py4j.protocol import Py4JError, Py4JNetworkError
    from pyspark import RDD, Broadcast, SparkConf, SparkContext
except ImportError:

    class RDD:  # type: ignore[no-redef]
        """No data is one."""

    class Broadcast:  # type: ignore[no-redef]
        """No value is one."""

    class SparkConf:  # type: ignore[no-redef]
        """Nobody submitted one."""

    class SparkContext:  # type: ignore[no-redef]
        """None is active."""

        _active_spark_context: Any = None

    class Py4JError(Exception):  # type: ignore[no-redef]
        """Never raised."""

    class Py4JNetworkError(Py4JError):  # type: ignore[no-redef]
        """Never raised."""


__all__ = ["RDD", "Broadcast", "Py4JError", "Py4JNetworkError", "SparkConf", "SparkContext", "is_connect", "package_of"]


def package_of(of: Any) -> str:
    """The package of a DataFrame or session, which has functions of its kind: "pyspark.sql", "pyspark.sql.connect"."""
    connect = any(kind.__module__.startswith("pyspark.sql.connect.") for kind in type(of).__mro__)
    return "pyspark.sql.connect" if connect else "pyspark.sql"


def is_connect(of: Any) -> bool:
    """Whether a DataFrame or session is one of Spark Connect."""
    return package_of(of) == "pyspark.sql.connect"
