"""How a call of `train` ended: found out here, kept in the history, and asked there by all that tell of it."""

from typing import Any, NamedTuple

from fdl_spark.credentials import masked


class Ending(NamedTuple):
    """How a session of a run ended.

    Attributes:
      ended: "finished": all steps were taken; "stopped": by the trigger `stop=` or by a callback, as somebody wanted;
        "interrupted": by Ctrl-C or an exit; "failed": by an error.
      outcome: the same in words, with the trigger, the callback or the error.
    """

    ended: str
    outcome: str

    @staticmethod
    def of(done: int, steps: int, stopped_by: Any = None, error: BaseException | None = None) -> "Ending":
        """How it ended.

        Args:
          done: how many steps are done.
          steps: of how many.
          stopped_by: what asked for an end, None for nothing.
          error: what was raised, None for nothing.

        >>> Ending.of(3, 8, "when(step=3)").outcome, Ending.of(3, 8, None, KeyboardInterrupt()).outcome
        ('stopped by when(step=3)', 'interrupted')
        """
        if isinstance(error, Exception):
            return Ending("failed", masked(f"{type(error).__name__}: {error}"))
        if error is not None:
            exit = f": {error!r}" if isinstance(error, SystemExit) else ""
            return Ending("interrupted", f"interrupted{exit}")
        if stopped_by is not None and done < steps:
            return Ending("stopped", f"stopped by {stopped_by}")
        return Ending("finished", "finished")


WELL = ("finished", "stopped")  # as it was meant to
