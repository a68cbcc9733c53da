"""A run of training, as callbacks and the caller see it."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fdl_spark.history.files import write_text
from fdl_spark.history.history import History
from fdl_spark.history.report import page


@dataclass(frozen=True)
class BestParams:
    """The best parameters of a run, by `train(best=)`.

    Attributes:
      step: after how many steps they were the run's.
      value: the metric's value there.
      params: the parameters, as the user's pytree.
      state: the model's state with them; None if it has none.
    """

    step: int
    value: float
    params: Any = field(repr=False)
    state: Any = field(default=None, repr=False)


@dataclass
class Run:
    """A run of training, during it (for callbacks) and after it.

    Attributes:
      steps: number of steps of the whole run.
      step: steps done so far.
      history: the record of them.
      epoch_steps: steps of an epoch.

    >>> run = Run(steps=10)
    >>> run.step, run.history
    (0, History(no steps))
    """

    steps: int
    step: int = 0
    history: History = field(default_factory=History)
    _params: Callable[[], Any] = field(default=lambda: None, repr=False)
    _state: Callable[[], dict[str, np.ndarray]] = field(default=dict, repr=False)
    _model_state: Callable[[], Any] = field(default=lambda: None, repr=False)
    _listing: Callable[[], str] = field(default=str, repr=False)
    _best: Callable[[], BestParams | None] = field(default=lambda: None, repr=False)
    _ema: Callable[[], Any] = field(default=lambda: None, repr=False)
    _params_step: int | None = field(default=None, repr=False)
    epoch_steps: int = field(default=0, repr=False)

    @property
    def params(self) -> Any:
        """The parameters after `params_step` steps, as the user's pytree."""
        return self._params()

    @property
    def params_step(self) -> int:
        """`step`; or that of `best`, if the run has ended with the best parameters."""
        return self.step if self._params_step is None else self._params_step

    @property
    def state(self) -> Any:
        """The model's state after `params_step` steps, as the pytree that `state=` was; None if the run has none."""
        return self._model_state()

    @property
    def optimizer_state(self) -> dict[str, np.ndarray]:
        """The optimizer's state by key path; of the flat vector of parameters where the optimizer is element-wise."""
        return self._state()

    @property
    def best(self) -> BestParams | None:
        """The best parameters until now, with their step and the metric's value; None without `train(best=)`."""
        return self._best()

    @property
    def ema(self) -> Any:
        """The moving average of the parameters by `fdl.optim.params_ema`, like `params`; None without it."""
        return self._ema()

    @property
    def listing(self) -> str:
        """The Program that was traced of the loss, in text."""
        return self._listing()

    def report(self, path: str | os.PathLike[str] = "report.html") -> Path:
        """Write the run on one page: loss, metrics, where the time went, slow tasks, failures, bytes, settings.

        The page is one file of HTML that needs no network and runs no script. It may be written in the course of a run,
        by a callback, and of a run that failed: an error that `train` raised has it as `error.run`.

        Args:
          path: the file; one that is there is replaced at once, when the new one is whole.

        Returns:
          The file's path.

        Raises:
          OSError: it cannot be written.

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Run(steps=10).report(f"{folder}/report.html").read_text()[:15]
        '<!DOCTYPE html>'
        """
        return write_text(path, [self._page()])

    def _page(self) -> str:
        return page(History.from_json(self.history.records), self.step, self.steps)

    def _repr_html_(self) -> str:
        return self.history._repr_html_()
