"""What a failed Spark job means: the user's function raised, the query failed, or something was lost."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import PicklingError

from pyspark.errors import AnalysisException, IllegalArgumentException, PySparkException

from fdl_spark.errors import ClusterError, DataError, SparkTrainingError, UserFunctionError
from fdl_spark.spark.classic import Py4JError, SparkContext
from fdl_spark.spark.connect.failures import ended, too_large
from fdl_spark.spark.quiet import no_query_log

TRACEBACK = "Traceback (most recent call last):"
CONDITION = re.compile(r"\[([A-Z]+(?:_[A-Z0-9]+)*(?:\.[A-Z0-9_]+)*)\] (.*?)(?:\s*SQLSTATE: (\w{5})|$)", re.DOTALL)
LOST_STATES = ("XX", "53", "56", "58", "82", "HY")  # SQLSTATEs: internal, resources, checkpoints, system, handles
FULL = re.compile(r"No space left on device|Disk quota exceeded")
# A local directory of a block manager, or the one beside it where an executor unpacks what is sent to Python.
LOCAL = r"\S*/(?:blockmgr|spark)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
GONE = re.compile(rf"(?:NoSuchFile|FileNotFound)Exception: ({LOCAL})(?:$|[/\s])", re.MULTILINE)
GONE_IN_PYTHON = re.compile(rf"FileNotFoundError: .*'({LOCAL})[/\\](?:\w+[/\\])?broadcast\w+'")
NO_BARRIER = re.compile(
    r"Barrier execution mode does not (?:allow run|support dynamic).*"
    r"|\[(?:NOT_SUPPORTED|UNSUPPORTED)[\w.]*\][^\n]*[Bb]arrier.*"
)
# What the JVM reads or writes at the socket of a Python worker that has died.
WORKER_GONE = re.compile(
    r"(Python worker exited unexpectedly[^.\n]*|Broken pipe|Connection reset(?: by peer)?)"
    r"(?=.*\tat org\.apache\.spark\.api\.python\.(?:BasePythonRunner|PythonWorkerFactory|PythonRunner))",
    re.DOTALL,
)
RESULTS = re.compile(r"Total size of serialized results .* is bigger than spark.driver.maxResultSize[^\n]*")
DIED = "Spark's driver process is gone ({}), perhaps for lack of memory (spark.driver.memory); make a new session"
LOGS = "Spark's logs say more (memory, disk, preemption)"


class Lost(Exception):
    """A job failed because of the cluster, not of the user: going back to a snapshot can help."""


class BlocksLost(Lost):
    """Blocks are not where their handles say, or not as they were written: they must be made again.

    Attributes:
      folder: the local directory of Spark that is gone, on the driver or an executor; None if the blocks only are.
    """

    folder: str | None = None

    @staticmethod
    def with_folder(folder: str) -> "BlocksLost":
        """All that was in a local directory is lost, and nothing can be put there."""
        lost = BlocksLost(f"a local directory of Spark is gone: {folder}")
        lost.folder = folder
        return lost


class NoRoom(Lost):
    """A local disk of Spark has no room now; it may have in a moment, as others' shuffle files come and go."""


class Apart(Lost):
    """Tasks cannot connect to each other or to the driver: one of them may just have died."""


class CannotStay(ClusterError):
    """Tasks cannot stay for several steps: use an engine whose tasks need not (`sync="shuffle"` or `"driver"`).

    Attributes:
      reason: why, without what to do about it.
    """

    def __init__(self, reason: str, remedy: str = ""):
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason = reason


class NoBarrier(CannotStay):
    """Spark cannot run all tasks of a stage at once: ask for fewer, free slots, or use an engine that needs no barrier
    (`sync="shuffle"` or `"driver"`)."""


class NoConnection(CannotStay):
    """Tasks can connect neither to each other nor to the driver, or one of the two: let the network allow it, or use an
    engine whose tasks need not (`sync="shuffle"` or `"driver"`)."""


# Exceptions of ours in tasks that say nothing about the user's functions.
LOST = {"BlockMissing": BlocksLost, "Unreachable": Apart, "PeerLost": Lost, "StateMissing": Lost}


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn what Spark raises inside into one clear error.

    Args:
      doing: what was going on, for the message.

    Raises:
      UserFunctionError: the user's function raised; the message carries its traceback.
      DataError: the query that makes the data fails, or the data cannot be read twice alike.
      ClusterError: the Python workers do not start, or Spark was stopped.
      Lost: executors, workers or blocks were lost more often than Spark tries again, or a disk was full.
    """
    try:
        with no_query_log():
            yield
    except (Py4JError, PySparkException) as error:
        try:
            meaning = _meaning(error, doing)
        except ConnectionError as gone:  # what the JVM has to say of an error is asked of it only now
            meaning = ClusterError(f"{doing}: {DIED.format(gone)}")
        raise meaning from None
    except ValueError as error:
        if (reason := ended(str(error))) is None:
            raise
        raise ClusterError(f"{doing}: {reason}") from error
    except PicklingError as error:
        raise UserFunctionError(f"{doing}: a function cannot be sent to the executors: {error}") from error
    except AttributeError as error:
        if SparkContext._active_spark_context is not None:
            raise
        raise ClusterError(f"{doing}: {STOPPED}") from error
    except ConnectionError as error:
        raise ClusterError(f"{doing}: {DIED.format(error)}") from error


@contextmanager
def settled(doing: str) -> Iterator[None]:
    """As `explained`, where nothing is left to go back to: what was lost is a ClusterError."""
    try:
        with explained(doing):
            yield
    except Lost as lost:
        raise ClusterError(f"{doing}: {lost}; {LOGS}") from None


@contextmanager
def about(argument: str) -> Iterator[None]:
    """Let errors inside name an argument."""
    try:
        yield
    except SparkTrainingError as error:
        error.argument = argument
        raise


@contextmanager
def calling(what: str) -> Iterator[None]:
    """Let what a function of the user raises inside name it.

    Args:
      what: the function, and what was done with it.

    Raises:
      UserFunctionError: from the function's own error.
    """
    try:
        yield
    except SparkTrainingError:
        raise
    except Exception as error:
        raise UserFunctionError(f"{what} raised {type(error).__name__}: {error}") from error


def _meaning(error: Exception, doing: str) -> Exception:
    text = str(error)
    if "fdl_spark.daemon's stdout" in text:
        return ClusterError(f"{doing}: the Python workers do not start; are fdl and fdl_spark installed there?\n{text}")
    if TRACEBACK not in text and (reason := ended(text)) is not None:
        return ClusterError(f"{doing}: {reason}")
    if TRACEBACK in text:
        return _in_python(text, doing)
    if (reason := too_large(text)) is not None:
        return ClusterError(f"{doing}: {reason}")
    if (results := RESULTS.search(text)) is not None:
        return ClusterError(
            f'{doing}: {results.group(0)[:300]}; raise it, or let the tasks keep the parameters (sync="resident")'
        )
    barrier = NO_BARRIER.search(text)
    if barrier:
        return NoBarrier(f"{doing}: Spark cannot run all tasks at once: {barrier.group(0)[:300]}")
    condition, said, state = _condition(text)
    if condition in ("SPARK_JOB_CANCELLED", "OPERATION_CANCELED") or "SparkContext was shut down" in text:
        return ClusterError(f"{doing}: Spark's job was cancelled ({said or 'the session was stopped'})")
    if re.search(r"stopped SparkContext|SparkPlan\.session\(\)\" is null", text):
        return ClusterError(f"{doing}: {STOPPED}")
    gone = GONE.search(text)
    if gone:
        return BlocksLost.with_folder(gone.group(1))
    if FULL.search(text):
        return NoRoom(f"a local disk of Spark is full: {_first_line(text)}")
    query = f"{doing}: Spark cannot run the query that the data comes from"
    if condition and not state.startswith(LOST_STATES):
        return DataError(f"{query}: [{condition}] {said}")
    if isinstance(error, AnalysisException | IllegalArgumentException) or "Input path does not exist" in text:
        return DataError(f"{query}: {_first_line(text)}")
    worker = WORKER_GONE.search(text)
    return Lost(f"a Python worker has gone ({worker.group(1)})" if worker else _first_line(text))


OTHER_VERSION = "fdl or fdl_spark are of another version on the executors than on the driver; install the same"
STOPPED = "the SparkSession of the data was stopped; make a new one, and the data from it"


def _in_python(text: str, doing: str) -> Exception:
    """What a traceback from a worker means."""
    report = text[text.rindex(TRACEBACK) :]
    report = re.split(r"\n+\s*at org\.apache|\n\nDriver stacktrace|\n\nJVM stacktrace", report)[0].strip()
    last = next(line for line in [*report.splitlines()[1:], ""] if not line.startswith(" "))
    kind = re.split(r"[:\s]", last)[0].rpartition(".")[2]
    gone = GONE_IN_PYTHON.match(last)
    if gone:
        return BlocksLost.with_folder(gone.group(1))
    if kind in LOST:
        return LOST[kind](last)
    if last.startswith(f"{DataError.__module__}.{DataError.__name__}: "):
        return DataError(last.split(": ", 1)[1])
    if kind == "OtherVersion" or re.search(r"Can't get attribute .* on <module 'fdl(_spark)?[.']", last):
        return ClusterError(f"{doing}: {OTHER_VERSION}: {last}")
    if kind == "DiskFull":
        return NoRoom(last.split(": ", 1)[1])
    if re.search(r"\[Errno (28|122)\]", last):
        return NoRoom(f"a disk of an executor is full: {last}")
    if kind == "MemoryError":
        return ClusterError(f"{doing}: an executor has no memory left: {last}; {LOGS}")
    if re.search(r"ModuleNotFoundError: No module named '(fdl|fdl_spark)['.]|PYTHON_VERSION_MISMATCH", last):
        return ClusterError(f"{doing}: the Python workers need fdl and fdl_spark, and the driver's Python: {last}")
    return UserFunctionError(f"{doing}: a function raised {last}\n{report}")


def _condition(text: str) -> tuple[str, str, str]:
    """The last error condition that Spark names, as "DIVIDE_BY_ZERO", what it says of it, and its SQLSTATE."""
    found = CONDITION.findall(text.split("\n\tat ")[0]) or CONDITION.findall(text)
    if not found:
        return "", "", ""
    condition, said, state = found[-1]
    return condition, " ".join(said.split())[:500], state


def _first_line(text: str) -> str:
    reasons = re.findall(r"(?:Exception|Error): (.+)", text)
    return (reasons[-1] if reasons else text)[:300]
