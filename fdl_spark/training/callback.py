"""What can be hung into a run: objects that are told of every step and epoch, and may stop it."""

from collections.abc import Callable
from typing import Any

from fdl_spark.history.run import Run
from fdl_spark.training.triggers import Trigger


class Callback:
    """Base of callbacks; override what is needed. `step` and `epoch` stop the run by returning True.

    `step` is told of each step as soon as it is done, while a group of steps goes on. If it reads `run.params` or stops
    the run in the middle of a group, the group ends and its steps up to this one are taken again, to the same bits.

    Attributes:
      passive: whether it neither reads parameters nor stops the run; groups of steps then need not end for it.
      interval: if it does so after every so many steps only, or when a trigger that counts steps fires; groups then end
        with these steps, and none is taken twice.

    >>> class Patience(Callback):
    ...     def epoch(self, run, record):
    ...         return record["validation"]["loss"] > 2 * run.history.epochs[0]["validation"]["loss"]
    """

    passive: bool = False
    interval: int | Trigger | None = None

    def phase(self, phase: str, progress: Callable[[], str]) -> None:
        """The run now does something else: "load" data, "compile", "train", "validate", "save" a checkpoint, "end".

        The first call comes before the data is read, and thus before `start`; "end" comes last of all, also if `train`
        fails before training begins. `progress` tells at any time, in a few words, how far the phase is; it may be
        called by another thread.
        """

    def start(self, run: Run) -> None:
        """Training begins, or goes on from a checkpoint: `run.step` of `run.steps` are done."""

    def step(self, run: Run, record: dict[str, Any]) -> bool | None:
        """A step is done; the record is the one in `run.history.steps`."""

    def epoch(self, run: Run, record: dict[str, Any]) -> bool | None:
        """An epoch is done; the record is the one in `run.history.epochs`."""

    def end(self, run: Run) -> None:
        """Training ended, by whatever cause."""
