"""What a run is doing now: told to its callbacks and to the log, and timed."""

import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from fdl_spark.history.ending import Ending
from fdl_spark.history.history import now
from fdl_spark.history.run import Run
from fdl_spark.logs import carrying
from fdl_spark.training.callback import Callback

log = logging.getLogger("fdl_spark")

PHASES = {
    "load": "loading data",
    "compile": "compiling",
    "train": "training",
    "validate": "validating",
    "save": "saving a checkpoint",
    "end": "ended",
}


class Phases:
    """The phases of one call of `train`, which begins and ends with the context.

    Args:
      callbacks: those that have a method `phase` are told of each phase.

    Attributes:
      session: the call's record in the history.
    """

    def __init__(self, callbacks: Sequence[Callback]):
        self._callbacks = [callback for callback in callbacks if hasattr(callback, "phase")]
        self.session: dict[str, Any] = {"step": 0, "run": uuid.uuid4().hex[:12], "started": now(), "seconds": 0.0}
        self.session |= {"ended": None, "outcome": None, "phases": {}}
        self._phase, self._began, self._contexts = "", time.perf_counter(), ExitStack()
        self._run: Run | None = None

    @property
    def name(self) -> str:
        """A name of this call's own, by which Spark groups its jobs."""
        return f"fdl-train-{self.session['run']}"

    def __enter__(self) -> "Phases":
        self._contexts.enter_context(carrying(self._carried))
        log.info("run %s begins", self.session["run"], extra={"event": "start"})
        return self

    def __call__(self, phase: str, progress: Callable[[], str] = str) -> None:
        """The run now is in this phase.

        Args:
          phase: one of PHASES.
          progress: tells at any time, in a few words, how far it is.
        """
        self._book()
        changed, self._phase = phase != self._phase, phase
        if changed:
            log.debug("%s", PHASES[phase], extra={"event": "phase", "phase": phase})
        for callback in self._callbacks:
            callback.phase(phase, progress)

    def record(self, run: Run, described: Mapping[str, Any]) -> None:
        """Enter the call into the history of its run.

        Args:
          run: the run, after it has gone on from a checkpoint.
          described: what else there is to say of the call, JSON values by name.
        """
        self._run = run
        self.session |= {"step": run.step, **described}
        run.history.sessions.append(self.session)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._book()
        with self._contexts:
            if error is not None:  # also before training began, and while it was cleaned up
                self.session |= Ending.of(0, 0, error=error)._asdict()
            told = {name: self.session[name] for name in ("ended", "outcome", "seconds")}
            log.info("run %s: %s", self.session["run"], told["outcome"], extra={"event": "end", **told})
            self("end")

    def _book(self) -> None:
        """Book the time since the last phase began."""
        now = time.perf_counter()
        if self._phase:
            spent = self.session["phases"]
            spent[self._phase] = spent.get(self._phase, 0.0) + now - self._began
            self.session["seconds"] = sum(spent.values())
        self._began = now

    def _carried(self) -> Mapping[str, Any]:
        """What each record of the log carries during the run."""
        if self._run is None:
            return {"run": self.session["run"]}
        engines = self._run.history.engines
        engine = engines[-1]["engine"] if engines else None
        return {"run": self.session["run"], "step": self._run.step, "engine": engine}
