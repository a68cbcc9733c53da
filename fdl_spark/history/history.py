"""What happened during training: numbers of every step and epoch, where the time went, and a plot of it."""

import io
import logging
import math
import os
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np

from fdl_spark.credentials import masked
from fdl_spark.history.ending import Ending
from fdl_spark.history.files import write_text
from fdl_spark.history.markup import Markup, element, number, table
from fdl_spark.history.outcome import LOSS_WEIGHT, Choice, Outcome, flat_numbers, means
from fdl_spark.history.plot import figure_of
from fdl_spark.history.records import COUNTS, columns_of
from fdl_spark.history.svg import Line, line_chart
from fdl_spark.history.tasks import TaskTimes
from fdl_spark.logs import as_json

log = logging.getLogger("fdl_spark")

KINDS = ("steps", "epochs", "events", "engines", "sessions")


@dataclass
class History:
    """The record of a run; a resumed run continues it.

    Attributes:
      steps: per step: "step", "loss", the metrics that the loss reports, "rows", "seconds", the seconds of each phase
        under "phases", and under "tasks" the shortest, median and longest forward-backward with the straggler, and the
        longest wait for rows.
        The phases add up to the step: "schedule" is all that Spark does around and between the others. A validation
        that a trigger began after the step is under "validation".
      epochs: per epoch: "epoch", "step", the mean "loss" and metrics of its steps, and "validation" with its own.
      events: what went wrong and was survived: "step", "event", and the "time" (UTC).
      engines: which engine took the steps from "step" on: "engine", the number of "slices", and "why".
      sessions: one for each call of `train` that took part: "step", the first of its steps; "run", a name of its own;
        "started" (UTC), "seconds"; how it "ended" ("finished", "stopped", "interrupted", "failed"; None while it goes
        on, and if its process was killed), the "outcome" in words, and "params_step", after how many steps its
        parameters were the run's; the "settings", its arguments as JSON values; "versions", "host", "cluster", "data",
        "parameters", "bytes"; the seconds of each of its "phases"; and under "tasks" how long each task computed, and
        how often it was the slowest. What is recorded of URIs is without credentials.

    >>> history = History(steps=[{"step": 0, "loss": 2.0}, {"step": 1, "loss": 1.5}])
    >>> history.loss, history
    ([2.0, 1.5], History(2 steps, 0 epochs, last loss 1.5))
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    engines: list[dict[str, Any]] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    _tasks: TaskTimes = field(default_factory=TaskTimes, repr=False, compare=False)

    @property
    def loss(self) -> list[float]:
        """The loss of every step."""
        return [record["loss"] for record in self.steps]

    def add_step(self, step: int, outcome: Outcome) -> dict[str, Any]:
        """Record a step."""
        record: dict[str, Any] = {"step": step, **means(outcome.sums), "rows": int(outcome.sums["rows"])}
        record |= {"seconds": sum(outcome.phases.values()), "phases": dict(outcome.phases)}
        timings = sorted(outcome.timings, key=lambda timing: (timing.seconds, timing.task))
        if timings:
            longest = timings[-1]
            record["tasks"] = {
                "min": timings[0].seconds,
                "median": median(timing.seconds for timing in timings),
                "max": longest.seconds,
                "straggler": f"task {longest.task} on {longest.host}",
                "rows": max(timing.waited for timing in timings),
            }
            self._tasks.add(timings)
        self.steps.append(record)
        return record

    def add_epoch(self, epoch: int, step: int, validation: Mapping[str, Any] | None) -> dict[str, Any]:
        """Record the end of an epoch (or of the run), averaging the steps since the last one."""
        since = self.epochs[-1]["step"] if self.epochs else -1
        record: dict[str, Any] = {"epoch": epoch, "step": step, **self.means(since + 1, step + 1)}
        if validation is not None:
            record["validation"] = dict(validation)
        self.epochs.append(record)
        log.info("epoch %d: %s", epoch, told_of(record), extra={"event": "epoch", "metrics": dict(record)})
        return record

    def means(self, first: int, stop: int) -> dict[str, float]:
        """The means of the loss and the metrics over the rows of the steps from `first` to before `stop`."""
        steps = self.steps[_first_from(self.steps, first) : _first_from(self.steps, stop)]
        names = [name for name, value in steps[-1].items() if _is_metric(name, value)] if steps else []
        return {name: _mean_of_steps(name, steps) for name in names}

    def add_event(self, step: int, event: str) -> None:
        """Record what went wrong and was survived."""
        event = masked(event)
        self.events.append({"step": step, "event": event, "time": now()})
        log.info("step %d: %s", step, event, extra={"event": "survived", "step": step, "what": event})

    def add_choices(self, choices: Sequence[Choice]) -> None:
        """Record which engines were chosen, those that are new."""
        for record in map(asdict, choices):
            if record not in self.engines:
                self.engines.append(record)
                log.info("from step %(step)d by %(engine)s: %(why)s", record, extra={"event": "engine", **record})

    def end_session(self, ending: Ending, params_step: int) -> None:
        """Record how the newest session has ended.

        Args:
          ending: how.
          params_step: after how many steps the parameters that it gives were the run's.
        """
        if self.sessions:
            self.sessions[-1] |= {**ending._asdict(), "params_step": params_step}

    @property
    def ended(self) -> str | None:
        """How the newest session has ended; None while it goes on."""
        return self.sessions[-1].get("ended") if self.sessions else None

    def back_to(self, step: int) -> None:
        """Forget what came from this step on; it will be done again."""
        for records in (self.steps, self.epochs):
            del records[_first_from(records, step) :]

    def validations(self) -> list[tuple[int, dict[str, float]]]:
        """The step of each validation, and the numbers in it; those after an epoch and those that triggers began."""
        found = {
            r["step"]: r["validation"] for records in (self.steps, self.epochs) for r in records if "validation" in r
        }
        return [(step, flat_numbers(found[step])) for step in sorted(found)]

    def timings(self) -> dict[str, float]:
        """The median seconds of each phase of a step."""
        return {phase: float(np.median(self.seconds(phase))) for phase in self.phases()}

    def seconds(self, phase: str) -> np.ndarray:
        """The seconds of a phase, of every step; 0 where an engine has no such phase."""
        return np.fromiter((record["phases"].get(phase, 0.0) for record in self.steps), float, len(self.steps))

    def phases(self) -> list[str]:
        """The names of the phases, in their order within a step; engines have different ones."""
        return list(
            dict.fromkeys(name for names in dict.fromkeys(tuple(s["phases"]) for s in self.steps) for name in names)
        )

    @property
    def records(self) -> dict[str, list[dict[str, Any]]]:
        """The lists of records by kind, as they are, without a copy."""
        if self.sessions and (tasks := self._tasks.summary()):
            self.sessions[-1]["tasks"] = tasks
        return {kind: getattr(self, kind) for kind in KINDS}

    def to_json(self) -> dict[str, Any]:
        """The history as JSON values."""
        return deepcopy(self.records)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "History":
        """The history that `to_json` or `records` gave."""
        history = History()
        for kind in KINDS:
            getattr(history, kind).extend(values.get(kind, ()))
        return history

    def to_pandas(self, kind: Literal["steps", "epochs", "events", "engines", "sessions"] = "steps") -> Any:
        """The records of one kind as a DataFrame of pandas.

        Args:
          kind: which records.

        Returns:
          A row for each record; what is in a dict inside of a record is a column of its own, such as "phases.update".

        Raises:
          ValueError: there is no such kind.

        >>> history = History(steps=[{"step": 0, "loss": 2.0, "phases": {"update": 0.5}}])
        >>> history.to_pandas("steps")
           step  loss  phases.update
        0     0   2.0            0.5
        """
        import pandas

        if kind not in KINDS:
            raise ValueError(f"kind must be one of {list(KINDS)}, not {kind!r}")
        return pandas.DataFrame(columns_of(self.records[kind]))

    def to_json_lines(self, path: str | os.PathLike[str]) -> None:
        """Write the records to a file, one a line as a JSON object with its "kind", as log collectors take them.

        NaN and infinities, for which JSON has no numbers, are the strings "NaN", "Infinity" and "-Infinity".

        Args:
          path: the file; one that is there is replaced at once, when the new one is whole.
        """
        everything = ((kind, record) for kind, records in self.records.items() for record in records)
        write_text(path, (as_json({"kind": kind, **record}) + "\n" for kind, record in everything))

    def plot(self, path: str | Path | None = None) -> Any:
        """Plot the losses, the metrics, and where the time goes.

        Args:
          path: where to save the image (its ending names the format), None to only return the figure.

        Returns:
          The matplotlib figure.
        """
        seconds = {phase: self.seconds(phase) for phase in self.phases()}
        figure = figure_of(self.steps, self.epochs, self.engines, seconds)
        if path is not None:
            figure.savefig(path)
        return figure

    def _repr_html_(self) -> str:
        """In a notebook: one line, and the loss; `plot` and `Run.report` show more."""
        parts: list[Markup] = [element("p", repr(self))]
        if self.steps:
            x, y = np.array([(record["step"] + 1, record["loss"]) for record in self.steps], float).T
            parts.append(line_chart("loss by step", [Line("loss", x, y, marks=True)]))
        if self.epochs:
            parts.append(self._epoch_table())
        style = element("style", Markup(NOTEBOOK))
        return element("div", style, parts, class_="fdl-history")

    def _epoch_table(self) -> Markup:
        """The last epochs: their numbers, and those of the validation."""
        shown = [
            {k: v for k, v in record.items() if k in ("epoch", "step") or _is_metric(k, v)}
            | {f"validation {k}": v for k, v in flat_numbers(record.get("validation", {})).items()}
            for record in self.epochs[-EPOCHS:]
        ]
        heads = list(dict.fromkeys(name for record in shown for name in record))
        return table(heads, [[number(record.get(name)) for name in heads] for record in shown])

    def _repr_png_(self) -> bytes | None:
        if find_spec("matplotlib") is None:
            return None
        image = io.BytesIO()
        self.plot().savefig(image, format="png")
        return image.getvalue()

    def __repr__(self) -> str:
        if not self.steps:
            return "History(no steps)"
        return f"History({len(self.steps)} steps, {len(self.epochs)} epochs, last loss {self.steps[-1]['loss']:.4g})"


def now() -> str:
    """The time, as ISO 8601 says it, of UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def told_of(record: Mapping[str, Any]) -> str:
    """The metrics of an epoch's record in one line."""
    told = {name: value for name, value in record.items() if name != "epoch" and _is_metric(name, value)}
    told |= {f"validation {name}": value for name, value in flat_numbers(record.get("validation", {})).items()}
    return ", ".join(f"{name} {value:.4g}" for name, value in told.items())


def _first_from(records: list[dict[str, Any]], step: int) -> int:
    """The place of the first record of this step or a later one."""
    return bisect_left(records, step, key=lambda record: record["step"])


def _mean_of_steps(name: str, steps: list[dict[str, Any]]) -> float:
    """The mean of an entry over the rows of steps; the loss's is weighted, if rows have weights."""
    weights = [s["rows"] * (s.get(LOSS_WEIGHT, 1) if name == "loss" else 1) for s in steps]
    total = sum(weights)
    # A step whose rows all weigh 0 has no loss.
    found = sum(s[name] * weight for s, weight in zip(steps, weights, strict=True) if name in s and weight)
    return found / total if total else math.nan


def _is_metric(name: str, value: Any) -> bool:
    """Whether an entry of a step's record is a mean over its rows; callbacks may have added anything."""
    return name not in COUNTS and isinstance(value, int | float)


#: How many a notebook shows.
EPOCHS = 10

NOTEBOOK = """
.fdl-history { --c0: #2f86d1; max-width: 760px; } .fdl-history svg { width: 100%; height: auto; }
.fdl-history .line { fill: none; stroke-width: 1.4; } .fdl-history text { font: 11px sans-serif; fill: currentColor; }
.fdl-history td, .fdl-history th { padding: 0.1em 0.6em; text-align: right; }
.fdl-history .grid { stroke: currentColor; opacity: 0.2; } .fdl-history .mark { stroke: #b3261e; fill: none; }
"""
