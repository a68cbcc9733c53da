"""What experiment trackers have in common: the settings of a run as flat names, and numbers gathered into batches."""

import re
from collections.abc import Mapping
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
      after: the last step that the tracker has already.
    """

    def __init__(self, every: int, after: int = -1):
        self.every, self.last, self._validated = every, after, after
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def of_step(self, run: Run, record: Mapping[str, Any]) -> dict[str, float] | None:
        """The point that ends with a step, None if none does."""
        step = record["step"]
        if step <= self.last:  # taken again after a failure or from a checkpoint, to the same bits
            return None
        for name, value in step_scalars(record).items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
            self._counts[name] = self._counts.get(name, 0) + 1
        if (step + 1) % self.every and step + 1 != run.steps:
            return None
        self.last, means = step, {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means

    def of_validation(self, record: Mapping[str, Any]) -> dict[str, float]:
        """The validation in a step's or an epoch's record, unless it was there already."""
        if "validation" not in record or record["step"] <= self._validated:
            return {}
        self._validated = record["step"]
        return validation_scalars(record)
