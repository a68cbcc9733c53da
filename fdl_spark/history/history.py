"""What happened during training: numbers of every step and epoch, where the time went, and a plot of it."""

import io
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from fdl_spark.history.outcome import Choice, Outcome, means
from fdl_spark.history.plot import figure_of


@dataclass
class History:
    """The record of a run; a resumed run continues it.

    Attributes:
      steps: per step: "step", "loss", the metrics that the loss reports, "rows", "seconds", the seconds of each phase
        under "phases", and under "tasks" the shortest, median and longest forward-backward with the straggler.
        The phases add up to the step: "schedule" is all that Spark does around and between the others.
      epochs: per epoch: "epoch", "step", the mean "loss" and metrics of its steps, and "validation" with its own.
      events: what went wrong and was survived: "step" and "event".
      engines: which engine took the steps from "step" on: "engine", the number of "slices", and "why".

    >>> history = History(steps=[{"step": 0, "loss": 2.0}, {"step": 1, "loss": 1.5}])
    >>> history.loss, history
    ([2.0, 1.5], History(2 steps, 0 epochs, last loss 1.5))
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    engines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def loss(self) -> list[float]:
        """The loss of every step."""
        return [record["loss"] for record in self.steps]

    def add_step(self, step: int, outcome: Outcome) -> dict[str, Any]:
        """Record a step."""
        record: dict[str, Any] = {"step": step, **means(outcome.sums), "rows": int(outcome.sums["rows"])}
        record |= {"seconds": sum(outcome.phases.values()), "phases": dict(outcome.phases)}
        seconds = sorted((timing.seconds, timing.task, timing.host) for timing in outcome.timings)
        if seconds:
            longest = seconds[-1]
            record["tasks"] = {
                "min": seconds[0][0],
                "median": median(s for s, _, _ in seconds),
                "max": longest[0],
                "straggler": f"task {longest[1]} on {longest[2]}",
            }
        self.steps.append(record)
        return record

    def add_epoch(self, epoch: int, step: int, validation: Mapping[str, Any] | None) -> dict[str, Any]:
        """Record the end of an epoch (or of the run), averaging the steps since the last one."""
        since = self.epochs[-1]["step"] if self.epochs else -1
        steps = self.steps[_first_from(self.steps, since + 1) : _first_from(self.steps, step + 1)]
        rows = sum(record["rows"] for record in steps)
        names = [name for name, value in steps[-1].items() if _is_metric(name, value)] if steps else []
        record: dict[str, Any] = {"epoch": epoch, "step": step}
        record |= {name: sum(s[name] * s["rows"] for s in steps if name in s) / rows for name in names}
        if validation is not None:
            record["validation"] = dict(validation)
        self.epochs.append(record)
        return record

    def add_event(self, step: int, event: str) -> None:
        """Record what went wrong and was survived."""
        self.events.append({"step": step, "event": event})

    def add_choices(self, choices: Sequence[Choice]) -> None:
        """Record which engines were chosen, those that are new."""
        self.engines += [record for record in map(asdict, choices) if record not in self.engines]

    def back_to(self, step: int) -> None:
        """Forget what came from this step on; it will be done again."""
        for records in (self.steps, self.epochs):
            del records[_first_from(records, step) :]

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
        return {"steps": self.steps, "epochs": self.epochs, "events": self.events, "engines": self.engines}

    def to_json(self) -> dict[str, Any]:
        """The history as JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "History":
        """The history that `to_json` or `records` gave."""
        return History(**{name: list(values.get(name, ())) for name in ("steps", "epochs", "events", "engines")})

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

    def _repr_png_(self) -> bytes:
        image = io.BytesIO()
        self.plot().savefig(image, format="png")
        return image.getvalue()

    def __repr__(self) -> str:
        if not self.steps:
            return "History(no steps)"
        return f"History({len(self.steps)} steps, {len(self.epochs)} epochs, last loss {self.steps[-1]['loss']:.4g})"


def _first_from(records: list[dict[str, Any]], step: int) -> int:
    """The place of the first record of this step or a later one."""
    return bisect_left(records, step, key=lambda record: record["step"])


def _is_metric(name: str, value: Any) -> bool:
    """Whether an entry of a step's record is a mean over its rows; callbacks may have added anything."""
    return name not in NOT_METRICS and isinstance(value, int | float)


NOT_METRICS = ("step", "rows", "seconds", "phases", "tasks")
