"""What hyper-parameters a search tries: all combinations of lists, or draws from distributions."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from fdl_spark.arguments import check_whole
from fdl_spark.errors import ArgumentError

Configuration = dict[str, Any]


class Distribution(ABC):
    """What a random search draws a hyper-parameter from."""

    @abstractmethod
    def draw(self, random: np.random.Generator) -> Any:
        """A value."""


@dataclass(frozen=True)
class Choice(Distribution):
    values: tuple[Any, ...]

    def draw(self, random: np.random.Generator) -> Any:
        return self.values[random.integers(len(self.values))]


@dataclass(frozen=True)
class Real(Distribution):
    low: float
    high: float
    logarithmic: bool = False

    def draw(self, random: np.random.Generator) -> float:
        if self.logarithmic:
            found = math.exp(random.uniform(math.log(self.low), math.log(self.high)))
            return min(max(found, self.low), self.high)
        return float(random.uniform(self.low, self.high))


@dataclass(frozen=True)
class Whole(Distribution):
    low: int
    high: int

    def draw(self, random: np.random.Generator) -> int:
        return int(random.integers(self.low, self.high, endpoint=True))


def choice(values: Sequence[Any]) -> Distribution:
    """One of some values, each as likely as the others; a list in the space means the same.

    >>> choice(["adam", "sgd"]).draw(np.random.default_rng(0))
    'sgd'
    """
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise ArgumentError(f"choice takes a list of values, not {values!r}")
    return Choice(tuple(values))


def uniform(low: float, high: float) -> Distribution:
    """A number between two, each as likely as the others.

    >>> 0.0 <= uniform(0, 0.5).draw(np.random.default_rng(0)) < 0.5
    True
    """
    return _checked("uniform", Real(low, high))


def log_uniform(low: float, high: float) -> Distribution:
    """A number between two positive ones whose logarithm is uniform, as for learning rates.

    >>> 1e-5 <= log_uniform(1e-5, 1e-1).draw(np.random.default_rng(0)) <= 1e-1
    True
    """
    if not low > 0:
        raise ArgumentError(f"log_uniform takes numbers above 0, not {low!r}")
    return _checked("log_uniform", Real(low, high, logarithmic=True))


def integer(low: int, high: int) -> Distribution:
    """A whole number from `low` to `high`, both of them included.

    >>> integer(3, 3).draw(np.random.default_rng(0))
    3
    """
    check_whole("integer: low", low)
    check_whole("integer: high", high)
    return _checked("integer", Whole(low, high))


def _checked(name: str, distribution: Any) -> Distribution:
    if not (math.isfinite(distribution.low) and distribution.low <= distribution.high < math.inf):
        raise ArgumentError(f"{name} takes two numbers, the lower first, not {distribution.low}, {distribution.high}")
    return distribution


def configurations(space: Any, trials: int | None, seed: int) -> list[Configuration]:
    """The hyper-parameters of each trial.

    Args:
      space: lists and distributions by name of the hyper-parameter.
      trials: how many are drawn; None for all combinations of the lists, the last name changing first.
      seed: of the draws; trial n draws the same whatever the number of trials is.

    Raises:
      ArgumentError: the space is not a dict of lists and distributions, or has distributions and no number of trials.
    """
    check_whole("trials", trials, 1)
    if not isinstance(space, Mapping) or not all(isinstance(name, str) for name in space):
        raise ArgumentError(f"space must be a dict of lists and distributions by name, not {space!r}")
    for name, values in space.items():
        if isinstance(values, Distribution):
            if trials is None:
                raise ArgumentError(
                    f"space[{name!r}] is a distribution: say how many trials= are drawn, or pass a list"
                )
        elif isinstance(values, str) or not isinstance(values, Sequence | np.ndarray) or not len(values):
            raise ArgumentError(f"space[{name!r}] must be a list of values or a distribution, not {values!r}")
    if trials is None:
        return [dict(zip(space, values, strict=True)) for values in product(*space.values())]
    drawn = {
        name: values if isinstance(values, Distribution) else Choice(tuple(values)) for name, values in space.items()
    }
    found = []
    for number in range(trials):
        random = np.random.default_rng([seed % 2**64, number])
        found.append({name: values.draw(random) for name, values in drawn.items()})
    return found


def rungs(trials: int, resource: int, factor: int | None) -> list[tuple[int, int]]:
    """How many trials get how much of the resource, altogether, in each round of successive halving.

    Each round keeps one in `factor` trials, and the last one has the whole resource. Source: Jamieson and Talwalkar,
    "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS 2016; the numbers are those of the
    first bracket of Hyperband (Li et al., JMLR 2018).

    >>> rungs(27, 9, 3), rungs(5, 100, None)
    ([(27, 1), (9, 3), (3, 9)], [(5, 100)])
    """
    if factor is None:
        return [(trials, resource)]
    last = 0
    while factor ** (last + 1) <= min(trials, resource):
        last += 1
    return [(trials // factor**n, resource // factor ** (last - n)) for n in range(last + 1)]
