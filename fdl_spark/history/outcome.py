"""What one step gave, as an engine tells it and a history records it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What a step records besides its loss and the loss's own metrics, if rows have weights or the loss is scaled.
LOSS_WEIGHT = "loss_weight"  # what a row weighs
LOSS_SCALE, GOOD_STEPS = "loss_scale", "good_steps"
OVERFLOW = "overflow"  # the share of rows in shards whose scaled gradients have overflown


@dataclass(frozen=True)
class Timing:
    """How long one task worked, and where, how often it was tried before, and how long it waited for rows.

    Attributes:
      vectors: what its processor adds up at once, which decides the last bits of sums; "" if that is not known.
    """

    task: int
    host: str
    seconds: float
    attempt: int = 0
    waited: float = 0.0
    vectors: str = ""


@dataclass(frozen=True)
class Outcome:
    """What one step gave, apart from the parameters.

    Attributes:
      sums: sums over the batch's rows, by name, and "rows".
      bad: shards whose loss or gradient was not finite, and what it was; if any, nothing was updated.
      phases: seconds by name of the phase; they add up to the step.
      timings: of the forward-backward tasks.
    """

    sums: dict[str, float]
    bad: tuple[tuple[int, str], ...]
    phases: dict[str, float]
    timings: tuple[Timing, ...] = field(default_factory=tuple)


@dataclass(frozen=True)
class Choice:
    """Which engine takes the steps from one on.

    Attributes:
      step: the first of them.
      engine: the engine's name.
      why: what speaks for it.
      slices: into how many slices it cuts the parameters.
    """

    step: int
    engine: str
    why: str
    slices: int = 1


def means(sums: Mapping[str, float]) -> dict[str, float]:
    """Means over rows from sums over rows; that of the loss is weighted, if rows have weights.

    >>> means({"rows": 4.0, "loss": 6.0, "right": 2.0, "loss_weight": 3.0})
    {'loss': 2.0, 'right': 0.5, 'loss_weight': 0.75}
    """
    found = {name: value / sums["rows"] for name, value in sums.items() if name not in ("rows", GOOD_STEPS)}
    if LOSS_WEIGHT in found and "loss" in found:
        found["loss"] = found["loss"] / found[LOSS_WEIGHT] if found[LOSS_WEIGHT] else math.nan
    return found


def flat_numbers(results: Mapping[str, Any], before: str = "") -> dict[str, float]:
    """The numbers in results of metrics, of which some are dicts of others.

    >>> flat_numbers({"auc": 0.5, "f1": {"0": 0.25, "1": 1.0}, "confusion": {"labels": [0, 1]}})
    {'auc': 0.5, 'f1/0': 0.25, 'f1/1': 1.0}
    """
    found: dict[str, float] = {}
    for name, value in results.items():
        if isinstance(value, Mapping):
            found |= flat_numbers(value, f"{before}{name}/")
        elif isinstance(value, int | float):
            found[f"{before}{name}"] = value
    return found
