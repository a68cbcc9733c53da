"""Fit the constants of `fdl_spark.cost` to measured steps, and say which of them the steps tell.

A predicted step is linear in the constants, so that few points would do if they were exact and told them apart. They
are neither: the same points are nearly as well explained by dear tasks as by dear jobs. So every constant has a prior,
steps are compared by their relative errors, a point that is far off counts little, and a constant that the points do
not tell is held at its prior.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares

from fdl_spark import cost
from fdl_spark.cost import PHASE_OF, SMALL, STATE, Cluster, Constants

HERE = Cluster(hosts=1, cores=2)
#: What is known or measured by itself, since no engine does it here without something else that is in proportion.
DIRECT = ("launch", "sum_byte", "update_byte")
FREE = [name for name in PHASE_OF if name not in DIRECT]
#: What the constants are without a measurement: of the order of what two quiet cores showed.
PRIOR = Constants(
    job=20e-3, stage=18e-3, task=1e-3, round=0.4e-3, block=0.3e-3, message=0.05e-3,
    driver_byte=1e-9, worker_byte=1e-9, exchange_byte=0.3e-9, sum_byte=0.1e-9, update_byte=0.25e-9,
)  # fmt: skip
NOISE = 0.1  # the relative error of a step that is to be expected
WIDTH = math.log(5.0)  # the standard deviation of a prior's logarithm
BOUND = 100.0  # times its prior, or that part of it, is where a constant is no result
UNCERTAIN = 0.7  # the standard error of a constant's logarithm from which on it may be held at its prior
WORSE = 4.0  # how much the sum of squared errors, in squares of NOISE, may grow by holding a constant at its prior
#: How far off a held-out step may be: half of them, and nine in ten.
LIMITS = {0.5: 0.25, 0.9: 0.6}


@dataclass(frozen=True)
class Point:
    """A measured step.

    Attributes:
      engine: its name.
      ranks: number of tasks.
      size: bytes of parameters.
      slices: into how many they were cut.
      group: steps of a group, if the engine takes groups.
      compute: seconds of a rank's forward-backward alone.
      update: seconds of the update of a slice alone.
      step: seconds of the step.
      held_out: whether it only checks.
    """

    engine: str
    ranks: int
    size: float
    slices: int
    group: int
    compute: float
    update: float
    step: float
    held_out: bool = False

    @property
    def stay(self) -> float:
        """Steps after which parameters and state are handed over: within a few seconds only if they are small."""
        return self.group if self.size * (1 + STATE) <= SMALL else math.inf

    def counts(self) -> dict[str, float]:
        """What the step does, by name of the constant."""
        how = {"cluster": HERE, "group": self.group, "stay": self.stay}
        found = cost.counts(self.engine, self.ranks, self.size, self.slices, **how)  # type: ignore[arg-type]
        return {name: found.get(name, 0.0) for name in PHASE_OF}

    def predicted(self, constants: Constants) -> float:
        """Seconds of the step."""
        how = {"cluster": HERE, "slices": self.slices, "group": self.group, "stay": self.stay}
        return sum(cost.predict(self.engine, self.ranks, self.size, self.compute, constants, **how).values())  # type: ignore[arg-type]

    def error(self, constants: Constants) -> float:
        """The predicted step over the measured one, less one."""
        return self.predicted(constants) / self.step - 1


@dataclass(frozen=True)
class Fit:
    """What came of fitting.

    Attributes:
      constants: all of them.
      errors: standard errors of the logarithms of those that were fitted.
      held: those that the points do not tell, which have their prior's value.
      bound: those at an end of what they may be.
    """

    constants: Constants
    errors: dict[str, float]
    held: tuple[str, ...]
    bound: tuple[str, ...]


def fit(points: Sequence[Point], sum_byte: float, prior: Constants = PRIOR) -> Fit:
    """The constants that come nearest to the measured steps.

    Args:
      points: the steps; those that are held out do not matter.
      sum_byte: seconds to add a byte of a gradient to another, measured by itself.
      prior: what the constants are thought to be.

    Returns:
      The Fit.
    """
    points = [point for point in points if not point.held_out]
    updates = [p.update / (p.size / p.ranks) for p in points if p.size >= 1e6]
    known = replace(prior, sum_byte=sum_byte, update_byte=float(np.median(updates)) if updates else prior.update_byte)
    # Seconds of what is known, and of each constant that is not at its prior, as shares of the step.
    steps = np.array([point.step for point in points])
    nothing = replace(known, **dict.fromkeys(FREE, 0.0))
    rest = np.array([point.predicted(nothing) for point in points]) / steps
    shares = np.array([[p.counts()[name] * getattr(prior, name) for name in FREE] for p in points]) / steps[:, None]

    def solve(free: list[int]) -> tuple[np.ndarray, float]:
        """Logarithms of the constants over their priors, and the sum of squares that is left."""
        held = np.ones(len(FREE))
        held[free] = 0.0

        def errors(logs: np.ndarray) -> np.ndarray:
            off = rest + shares @ held + shares[:, free] @ np.exp(logs) - 1
            return np.concatenate([off / NOISE, logs / WIDTH])

        if not free:
            return np.zeros(0), float(np.square(errors(np.zeros(0))).sum())
        found = least_squares(errors, np.zeros(len(free)), bounds=(-math.log(BOUND), math.log(BOUND)), loss="soft_l1")
        return found.x, 2 * float(found.cost)

    def uncertain(free: list[int], logs: np.ndarray) -> np.ndarray:
        """Standard errors: of the posterior, in its normal approximation, with the scatter that the points have."""
        slope = shares[:, free] * np.exp(logs)
        off = rest + shares.sum(1) - shares[:, free].sum(1) + slope.sum(1) - 1
        scatter = max(NOISE, 1.5 * float(np.median(np.abs(off))))
        precision = slope.T @ slope / scatter**2 + np.eye(len(free)) / WIDTH**2
        return np.sqrt(np.diag(np.linalg.inv(precision)))

    free = list(range(len(FREE)))
    logs, left = solve(free)
    errors = uncertain(free, logs)
    for n in [free[place] for place in np.argsort(-errors) if errors[place] > UNCERTAIN]:
        fewer = [other for other in free if other != n]
        found, worse = solve(fewer)
        if worse - left < WORSE:
            free, logs, left = fewer, found, worse
    errors = uncertain(free, logs)
    values = {FREE[n]: getattr(prior, FREE[n]) * float(np.exp(x)) for n, x in zip(free, logs, strict=True)}
    return Fit(
        replace(known, **values),
        dict(zip(values, errors.tolist(), strict=True)),
        tuple(name for name in FREE if name not in values),
        tuple(FREE[n] for n, x in zip(free, logs, strict=True) if abs(x) > 0.98 * math.log(BOUND)),
    )


def refusals(found: Fit, points: Sequence[Point]) -> list[str]:
    """Why the constants must not be written; nothing if they may."""
    reasons = [
        f"{name} is at an end of what it may be ({getattr(found.constants, name):.3g} s)" for name in found.bound
    ]
    checked = [abs(point.error(found.constants)) for point in points if point.held_out]
    if not checked:
        return [*reasons, "no point was held out"]
    for share, most in LIMITS.items():
        off = float(np.quantile(checked, share))
        if off > most:
            reasons.append(
                f"{100 * share:.0f} % of the held-out steps are off by up to {100 * off:.0f} %, the limit is "
                f"{100 * most:.0f} %"
            )
    return reasons
