"""A run of training, as callbacks and the caller see it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fdl_spark.history.history import History


@dataclass
class Run:
    """A run of training, during it (for callbacks) and after it.

    Attributes:
      steps: number of steps of the whole run.
      step: steps done so far.
      history: the record of them.

    >>> run = Run(steps=10)
    >>> run.step, run.history
    (0, History(no steps))
    """

    steps: int
    step: int = 0
    history: History = field(default_factory=History)
    _params: Callable[[], Any] = field(default=lambda: None, repr=False)
    _state: Callable[[], dict[str, np.ndarray]] = field(default=dict, repr=False)

    @property
    def params(self) -> Any:
        """The parameters after `step` steps, as the user's pytree."""
        return self._params()

    @property
    def optimizer_state(self) -> dict[str, np.ndarray]:
        """The optimizer's state by key path; of the flat vector of parameters where the optimizer is element-wise."""
        return self._state()
