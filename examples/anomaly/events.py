"""From scores to alarms, and how these meet the events that are known."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.98  # quantile above which scores are the tail
GAP = 48  # steps without an alarm that end one; alarms within a day are one


class Found(NamedTuple):
    """How alarms meet events.

    Attributes:
      events: for each event whether an alarm is in it.
      false: the first step of each alarm outside of all events.
    """

    events: list[bool]
    false: list[int]

    @property
    def recall(self) -> float:
        """Events found, of all."""
        return float(np.mean(self.events))

    @property
    def precision(self) -> float:
        """Events found, of these and false alarms; 1 without any alarm."""
        hits = sum(self.events)
        return hits / (hits + len(self.false)) if hits or self.false else 1.0


def threshold(known: np.ndarray, risk: float) -> float:
    """The score that one step in 1 / risk exceeds if nothing unusual happens: peaks over a threshold.

    The tail of the known scores follows a generalised Pareto distribution (Siffer et al., "Anomaly detection in streams
    with extreme value theory", KDD 2017), which tells what is beyond the largest of them.

    Args:
      known: (n,) scores of steps without an event.
      risk: the probability of an alarm at a step, less than 1 - LEVEL.
    """
    from scipy.stats import genpareto

    level = np.quantile(known, LEVEL)
    shape, _, scale = genpareto.fit(known[known > level] - level, floc=0)
    return float(level + genpareto.isf(risk / (1 - LEVEL), shape, scale=scale))


def detect(scores: np.ndarray, threshold: float, events: Sequence[np.ndarray]) -> Found:
    """The events that scores above a threshold find.

    Args:
      scores: (n,).
      threshold: what an alarm is above.
      events: for each event a bool array (n,), where it is. They do not overlap.
    """
    above = scores > threshold
    outside = np.flatnonzero(above & ~np.any(events, axis=0))
    first = np.diff(outside, prepend=-GAP - 1) > GAP
    return Found([bool(np.any(above & event)) for event in events], outside[first].tolist())


def curve(scores: np.ndarray, events: Sequence[np.ndarray]) -> list[int]:
    """How many false alarms come with the threshold that just finds 1, 2, ... events.

    Args:
      scores, events: as for `detect`.
    """
    highest = sorted((scores[event].max() for event in events), reverse=True)
    return [len(detect(scores, np.nextafter(peak, -np.inf), events).false) for peak in highest]
