"""Parameters that a run leaves as they are: `train(frozen=)`."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import wraps
from typing import Any

import numpy as np

import fdl
from fdl_spark.errors import ArgumentError
from fdl_spark.metrics.metric import Metric


class Frozen:
    """Parameters in two parts: what is trained, and what is a constant of the loss.

    Args:
      params: pytree of arrays.
      patterns: of the paths of the constants, such as "encoder/*"; `*` stands for any text, "/" included.
      state: whether the run has a model state: metrics are then given the pair of parameters and state.

    Attributes:
      trained: the parameters without the constants, in whose places is None, which has no leaves.
      constants: the others, by key path.

    Raises:
      ArgumentError: a pattern matches nothing, or all that there is.

    >>> frozen = Frozen({"body": {"w": np.ones(2)}, "head": np.zeros(1)}, ["body/*"])
    >>> frozen.trained, frozen.whole({"body": {"w": None}, "head": np.ones(1)})
    ({'body': {'w': None}, 'head': array([0.])}, {'body': {'w': array([1., 1.])}, 'head': array([1.])})
    """

    def __init__(self, params: Any, patterns: Sequence[str], state: bool = False):
        self._state = state
        pairs, self._structure = fdl.tree.flatten_with_path(params)
        names = [fdl.tree.keystr(path, simple=True, separator="/") for path, _ in pairs]
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ArgumentError(f"frozen: {pattern!r} matches none of the parameters {names}")
        constant = [any(fnmatchcase(name, pattern) for pattern in patterns) for name in names]
        if all(constant):
            raise ArgumentError("frozen: nothing is left to train")
        leaves = [np.asarray(leaf) for _, leaf in pairs]
        self._leaves = [leaf if c else None for leaf, c in zip(leaves, constant, strict=True)]
        trained = [None if c else leaf for leaf, c in zip(leaves, constant, strict=True)]
        self.trained = fdl.tree.unflatten(self._structure, trained)
        self.constants = {
            fdl.tree.keystr(path): leaf for (path, _), leaf in zip(pairs, self._leaves, strict=True) if leaf is not None
        }

    def whole(self, trained: Any) -> Any:
        """The parameters with the constants in their places."""
        rest = iter(fdl.tree.leaves(trained))
        return fdl.tree.unflatten(self._structure, [next(rest) if leaf is None else leaf for leaf in self._leaves])

    def _whole_pair(self, pair: Any) -> Any:
        trained, state = pair
        return self.whole(trained), state

    def bound(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of the parameters as one of what is trained."""
        if not self.constants:
            return function
        if isinstance(function, Metric):
            return _BoundMetric(function, self._whole_pair if self._state else self.whole)

        @wraps(function)
        def of_trained(trained: Any, *rest: Any, **named: Any) -> Any:
            return function(self.whole(trained), *rest, **named)

        return of_trained

    def bound_all(self, functions: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """The functions by name, each as `bound` makes it."""
        return None if functions is None else {name: self.bound(each) for name, each in functions.items()}


class _BoundMetric(Metric):
    """A metric of the parameters as one of what is trained."""

    def __init__(self, metric: Metric, whole: Callable[[Any], Any]):
        self.metric, self.whole = metric, whole

    def statistics(self, params: Any, batch: Any) -> Any:
        return self.metric.statistics(self.whole(params), batch)

    def gather(self, statistics: Any) -> Any:
        return self.metric.gather(statistics)

    def merge(self, first: Any, second: Any) -> Any:
        return self.metric.merge(first, second)

    def result(self, gathered: Any) -> Any:
        return self.metric.result(gathered)
