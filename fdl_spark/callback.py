"""What can be hung into a run: objects that are told of every step and epoch, and may stop it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fdl_spark.run import Run


class Callback:
    """Base of callbacks; override what is needed. `step` and `epoch` stop the run by returning True.

    >>> class Patience(Callback):
    ...     def epoch(self, run, record):
    ...         return record["validation"]["loss"] > 2 * run.history.epochs[0]["validation"]["loss"]
    """

    def start(self, run: "Run") -> None:
        """Training begins, or goes on from a checkpoint: `run.step` of `run.steps` are done."""

    def step(self, run: "Run", record: dict[str, Any]) -> bool | None:
        """A step is done; the record is the one in `run.history.steps`."""

    def epoch(self, run: "Run", record: dict[str, Any]) -> bool | None:
        """An epoch is done; the record is the one in `run.history.epochs`."""

    def end(self, run: "Run") -> None:
        """Training ended, by whatever cause."""
