"""What experiment trackers have in common: the settings of a run as flat names, and numbers gathered into batches."""

import re
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

from fdl_spark.history.records import step_scalars, validation_scalars
from fdl_spark.history.run import Run


def settings_of(run: Run) -> dict[str, Any]:
    """The arguments of `train` and the data's sizes by dotted names, of the newest session."""
    session = run.history.sessions[-1] if run.history.sessions else {}
    return _flat({**session.get("settings", {}), "data": session.get("data", {})})


def tags_of(run: Run) -> dict[str, str]:
    """The engine, the versions and the cluster."""
    session = run.history.sessions[-1] if run.history.sessions else {}
    found = {f"fdl.version.{name}": text for name, text in session.get("versions", {}).items()}
    found |= {f"fdl.cluster.{name}": str(value) for name, value in session.get("cluster", {}).items()}
    if run.history.engines:
        found["fdl.engine"] = run.history.engines[-1]["engine"]
    if session.get("settings", {}).get("checkpoint"):
        found["fdl.checkpoint"] = str(session["settings"]["checkpoint"])
    return found


def name_of(run: Run) -> str:
    """The name that a run keeps over all its sessions."""
    return run.history.sessions[0]["run"] if run.history.sessions else ""


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        inside = _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
        found |= inside
    return found


def safe(name: str) -> str:
    """A name with the characters that trackers take: letters, digits, and "/ . - _" and spaces.

    >>> safe("validation/<b>recall@5</b>")
    'validation/_b_recall_5_/b_'
    """
    return re.sub(r"/+", "/", re.sub(r"[^\w/. -]", "_", name)).strip("/") or "_"


class Points:
    """The numbers of steps and epochs on their way to a tracker: of `every` steps the means, none of a step twice.

    Args:
      every: how many steps make one point.
      last: the last step whose point the tracker has already.
      validated: the last step whose validation it has; None means `last`.
    """

    def __init__(self, every: int, last: int = -1, validated: int | None = None):
        self.every, self.last = every, last
        self._validated = last if validated is None else validated
        self._waiting: dict[int, dict[str, float]] = {}  # by step, in their order

    def behind(self, run: Run) -> Iterator[tuple[int, dict[str, float]]]:
        """What the tracker lacks of the steps before, if the run goes on from a checkpoint, by step."""
        epochs = {record["step"]: record for record in run.history.epochs if "validation" in record}
        for record in run.history.steps:
            values = self.of_step(run, record) | self.of_validation(record)
            yield record["step"], values | self.of_validation(epochs.get(record["step"], {}))

    def of_step(self, run: Run, record: Mapping[str, Any]) -> dict[str, float]:
        """The point that ends with a step, empty if none does."""
        step = record["step"]
        if step <= self.last:  # taken again after a failure or from a checkpoint, to the same bits
            return {}
        while self._waiting and next(reversed(self._waiting)) >= step:
            self._waiting.popitem()
        self._waiting[step] = step_scalars(record)
        return self.rest() if not (step + 1) % self.every or step + 1 == run.steps else {}

    def rest(self) -> dict[str, float]:
        """The point of the steps since the last one, empty if there are none: at the end of a run."""
        if not self._waiting:
            return {}
        self.last, steps = next(reversed(self._waiting)), list(self._waiting.values())
        self._waiting = {}
        names = dict.fromkeys(name for values in steps for name in values)
        return {name: fmean(values[name] for values in steps if name in values) for name in names}

    def of_validation(self, record: Mapping[str, Any]) -> dict[str, float]:
        """The validation in a step's or an epoch's record, unless it was there already."""
        if "validation" not in record or record["step"] <= self._validated:
            return {}
        self._validated = record["step"]
        return validation_scalars(record)
