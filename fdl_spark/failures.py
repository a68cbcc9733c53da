"""What a failed Spark job means: the user's function raised, or something was lost that can be made again."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from fdl_spark.errors import ClusterError, DataError, UserFunctionError

TRACEBACK = "Traceback (most recent call last):"


class Lost(Exception):
    """A job failed because of the cluster, not of the user: going back to a snapshot can help."""


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn what Spark raises inside into one clear error.

    Args:
      doing: what was going on, for the message.

    Raises:
      UserFunctionError: the user's function raised; the message carries its traceback.
      DataError: the data cannot be read twice alike.
      ClusterError: the Python workers do not start.
      Lost: executors, workers or blocks were lost more often than Spark tries again.
    """
    try:
        yield
    except (Py4JJavaError, PySparkException) as error:
        raise _meaning(str(error), doing) from None


def _meaning(text: str, doing: str) -> Exception:
    if "fdl_spark.daemon's stdout" in text:
        return ClusterError(f"{doing}: the Python workers do not start; are fdl and fdl_spark installed there?\n{text}")
    if TRACEBACK not in text:
        return Lost(_first_line(text))
    report = text[text.rindex(TRACEBACK) :]
    report = re.split(r"\n+\s*at org\.apache|\n\nDriver stacktrace|\n\nJVM stacktrace", report)[0].strip()
    last = next(line for line in [*report.splitlines()[1:], ""] if not line.startswith(" "))
    if "BlockMissing" in last:
        return Lost(last)
    if last.startswith(f"{DataError.__module__}.{DataError.__name__}: "):
        return DataError(last.split(": ", 1)[1])
    return UserFunctionError(f"{doing}: a function raised {last}\n{report}")


def _first_line(text: str) -> str:
    reasons = re.findall(r"(?:Exception|Error): (.+)", text)
    return (reasons[-1] if reasons else text)[:300]
