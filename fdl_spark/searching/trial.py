"""One trial: a whole run of `train` in one task, to the bits that the same run has on the cluster."""

import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

import fdl
from fdl_spark.credentials import masked
from fdl_spark.data.held import Sent
from fdl_spark.errors import ArgumentError
from fdl_spark.history.history import History
from fdl_spark.history.outcome import flat_numbers
from fdl_spark.spark.cores import use_cores_of_task
from fdl_spark.spark.failures import calling
from fdl_spark.training.train import train
from fdl_spark.training.triggers import every

NEVER = 1 << 40
Files = dict[str, bytes]  # of a folder of checkpoints, by name


@dataclass
class Trial:
    """What became of some hyper-parameters.

    Attributes:
      number: of the trial, from 0.
      hyperparameters: by name.
      value: the metric's; None before the first round has ended, and if the trial failed.
      resource: how many epochs or steps it has had.
      rung: the round of successive halving that it ended with, from 0.
      seconds: of training and validation, of all rounds.
      error: what the trial raised, or why its metric is none; None if it ended well.
      epochs: the records of its epochs, as `History.epochs`.
      step: after how many steps its parameters, and its value, were the run's: the last one, or, with a `stop` that
        gives the best ones back, that of these.
      params: the parameters of the best trial; None of others, as there may be many.
    """

    number: int
    hyperparameters: dict[str, Any]
    value: float | None = None
    resource: int = 0
    rung: int = -1
    seconds: float = 0.0
    error: str | None = None
    epochs: list[dict[str, Any]] = field(default_factory=list)
    step: int | None = None
    params: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class Report:
    """What a task says of a trial.

    Attributes:
      value, error, seconds, epochs, step: as of the Trial.
      params: a pytree of arrays.
      files: those of its checkpoints, if it may go on.
    """

    value: float | None
    error: str | None
    seconds: float
    epochs: list[dict[str, Any]] = field(default_factory=list)
    step: int | None = None
    params: Any = None
    files: Files | None = None


@dataclass(frozen=True)
class Plan:
    """What all trials of a round have in common.

    Attributes:
      make: (**hyperparameters) -> dict of arguments of `train`.
      options: the other arguments of `train`.
      data, validation: their rows.
      metric: the name of the metric.
      saves: whether trials go on from checkpoints, or will.
      returns: whether these are wanted back.
    """

    make: Callable[..., Mapping[str, Any]]
    options: Mapping[str, Any]
    data: Sent
    validation: Sent | None
    metric: str
    saves: bool
    returns: bool

    def __call__(self, number: int, inputs: Iterator[bytes]) -> Iterator[bytes]:
        """The pickled Report of the trial whose hyper-parameters and files are the one input."""
        (content,) = inputs
        hyperparameters, files = cloudpickle.loads(content)
        use_cores_of_task()
        began, report = time.perf_counter(), None
        try:
            report = self._report(hyperparameters, files, began)
        except Exception as error:
            text = masked(f"{type(error).__name__}: {error}")
            logging.getLogger("fdl_spark").debug("a trial failed", exc_info=error)
            report = Report(None, text, time.perf_counter() - began)
        yield cloudpickle.dumps(report, protocol=5)

    def _report(self, hyperparameters: dict[str, Any], files: Files | None, began: float) -> Report:
        made = made_by(self.make, hyperparameters)
        options = {**self.options, **made, "sync": "driver"}
        loss, params = options.pop("loss"), options.pop("params")
        if self.validation is not None:
            options["validation"] = self.validation.here()
        with tempfile.TemporaryDirectory(prefix="fdl-trial-") as name:
            folder = Path(name)
            if self.saves:
                for file, content in (files or {}).items():
                    (folder / file).write_bytes(content)
                options |= {"checkpoint": name, "save": every(epochs=NEVER)}  # the end is saved anyway
            run = train(loss, params, self.data.here(), **options)
            files = {path.name: path.read_bytes() for path in folder.iterdir()} if self.returns else None
        epochs = run.history.epochs
        value = value_of(run.history, run.params_step, self.metric)
        seconds = time.perf_counter() - began
        if not math.isfinite(value):
            return Report(None, f"{self.metric} is {value}", seconds, epochs)
        params = fdl.tree.map(np.asarray, run.params)
        return Report(value, None, seconds, epochs, run.params_step, params, files)


# Arguments of `train` that a search decides for all of its trials.
OWN = (
    "data",
    "validation",
    "seed",
    "shards",
    "partitions",
    "columns",
    "features",
    "checkpoint",
    "checkpoint_steps",
    "save",
    "keep",
    "epochs",
    "steps",
    "sync",
)


def made_by(make: Callable[..., Mapping[str, Any]], hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """What a user's function gives for hyper-parameters.

    Raises:
      ArgumentError: it lacks something, or has what is the search's.
      UserFunctionError: it raised.
    """
    with calling(f"make(**{hyperparameters})"):
        made = make(**hyperparameters)
    if not isinstance(made, Mapping) or not {"loss", "params", "optimizer"} <= set(made):
        found = f"a dict with {sorted(map(str, made))}" if isinstance(made, Mapping) else type(made).__name__
        raise ArgumentError(f"make must return a dict with loss, params and optimizer; it returned {found}")
    if taken := sorted(set(made) & set(OWN)):
        raise ArgumentError(f"make must not return {', '.join(taken)}: these are arguments of search, for all trials")
    return dict(made)


def value_of(history: History, step: int, metric: str) -> float:
    """The metric of the parameters after a step: on the validation if there is one, else on the epoch of data before.

    Raises:
      ArgumentError: there is no such metric.
    """
    found = dict(history.validations()).get(step - 1)
    if found is None:
        records = [record for record in history.epochs if record["step"] == step - 1]
        found = flat_numbers({k: v for record in records for k, v in record.items() if k not in ("epoch", "step")})
    if metric not in found:
        raise ArgumentError(f"metric={metric!r} is none of those that were measured: {', '.join(found) or 'none'}")
    return float(found[metric])
