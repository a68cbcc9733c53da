"""Hyper-parameter search: many small models, each trained whole in one task."""

import inspect
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import cloudpickle

from fdl_spark.arguments import check_choice, check_function, check_metrics, check_whole
from fdl_spark.credentials import masked
from fdl_spark.data.encoder import Encoder
from fdl_spark.data.held import Sent
from fdl_spark.data.load import load
from fdl_spark.data.sharded import Dataset
from fdl_spark.errors import ArgumentError, SearchError, UserFunctionError
from fdl_spark.searching.result import Search
from fdl_spark.searching.space import configurations, rungs
from fdl_spark.searching.store import Store
from fdl_spark.searching.trial import OWN, Files, Plan, Report, Trial, made_by
from fdl_spark.spark.cleanup import Cleanup
from fdl_spark.spark.failures import Lost, calling, explained, settled
from fdl_spark.training.train import train

log = logging.getLogger("fdl_spark")

WAVES = 16  # trials of a job for each task that runs at once: what they return comes to the driver together


def search(
    make: Callable[..., Mapping[str, Any]],
    space: Mapping[str, Any],
    data: Any,
    *,
    trials: int | None = None,
    metric: str = "loss",
    mode: Literal["min", "max"] = "min",
    halving: int | None = None,
    validation: Any = None,
    metrics: Mapping[str, Any] | None = None,
    batch_size: int,
    epochs: int = 1,
    steps: int | None = None,
    seed: int = 0,
    shards: int | None = None,
    partitions: int | None = None,
    columns: Sequence[str] | None = None,
    features: Encoder | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Search:
    """Train a model for each of many choices of hyper-parameters, and find the best.

    The data goes to each executor once. A trial is one task, which computes all shards of its batches: it has the bits
    that `train` has with the same arguments, `seed` and `shards`. A trial that raises, or whose metric is not finite,
    is recorded with its error and does not stop the others.

    Args:
      make: (**hyperparameters) -> dict with "loss", "params" and "optimizer", and whatever else `train` takes for this
        trial, such as "batch_size". It is called on the executors.
      space: by name, a list of values or a distribution (`fdl_spark.searching`: choice, uniform, log_uniform, integer).
      data: as of `train`; all of it must fit into the memory of the driver and the disk of each executor.
      trials: how many choices are drawn at random, with the seed; None for all combinations of the lists.
      metric: which metric counts: "loss", or a name of those that the loss returns or of `metrics`; of one that is a
        dict "name/key". It is that of the parameters that the trial ends with, on the validation if there is one: those
        of the last epoch, or of the best one with `stop=fdl_spark.EarlyStopping(...)`.
      mode: whether the best value is the lowest ("min") or the highest ("max").
      halving: begin with all trials and few epochs (or steps), and let the best one in so many go on, until the last
        ones have all of them (successive halving); 3 is usual. Trials go on from where they were.
      validation, metrics, batch_size, epochs, steps, seed, shards, partitions, columns, features: as of `train`, for
        all trials.
      checkpoint: folder or URI where the search keeps what is done; the same call goes on from there, and
        `train(checkpoint="folder/trial-00012")` goes on with trial 12.
      options: other arguments of `train`, for all trials.

    Returns:
      The Search: `best`, `trials`, `to_pandas()`.

    Raises:
      ArgumentError: an argument is not what it must be.
      ColumnError, MissingColumnError, DataError: the data does not become arrays.
      SearchError: all trials failed.
      ClusterError: Spark was stopped, or cannot run the jobs.
      CheckpointError: the folder cannot be used, or is of another search.

    >>> import fdl
    >>> import numpy as np
    >>> def make(rate):
    ...     loss = lambda w, batch: ((w * batch["x"] - batch["y"]) ** 2).mean()
    ...     return {"loss": loss, "params": np.float32(0), "optimizer": fdl.optim.sgd(rate)}
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32)
    >>> found = search(make, {"rate": [0.01, 0.5]}, {"x": x, "y": 3 * x}, batch_size=32, epochs=4)
    >>> found.best.hyperparameters, round(float(found.best.params), 1)
    ({'rate': 0.5}, 2.9)
    """
    check_function("make", make, "hyper-parameters by name")
    check_choice("mode", mode, ("min", "max"))
    check_metrics("metrics", metrics, ("loss", "rows"))
    for name, value, least in (
        *(("batch_size", batch_size, 1), ("epochs", epochs, 1), ("steps", steps, 1), ("halving", halving, 2)),
        *(("seed", seed, None), ("shards", shards, 1), ("partitions", partitions, 1)),
    ):
        check_whole(name, value, least)
    _check_options(options)
    chosen = [Trial(number, found) for number, found in enumerate(configurations(space, trials, seed))]
    resource = epochs if steps is None else steps
    unit = "epochs" if steps is None else "steps"
    found = Search(chosen, metric, mode)
    with Cleanup() as cleanup, settled("the search"):
        read = partial(load, batch_size=batch_size, seed=seed, tasks=partitions, columns=columns, features=features)
        dataset = read(data, shards=shards)
        cleanup.add("deleting the data's blocks", dataset.close)
        cleanup.enter("taking back the jobs' settings", dataset.own_jobs())
        schedule = dataset.schedule
        sent, held_out = Sent.of(dataset), None
        cleanup.add("freeing the data", sent.content.destroy)
        if validation is not None:
            other = read(validation, shards=schedule.shards, argument="validation")
            cleanup.add("deleting the validation's blocks", other.close)
            held_out = Sent.of(other)
            cleanup.add("freeing the validation", held_out.content.destroy)
        store = None
        if checkpoint is not None:
            arguments: dict[str, Any] = {
                "seed": seed,
                "shards": schedule.shards,
                "rows": schedule.rows,
                "batch_size": batch_size,
            }
            arguments |= {unit: resource, "metric": metric, "mode": mode, "halving": halving}
            arguments |= {"trials": len(chosen)} if halving is not None else {}
            store = Store(checkpoint, arguments)
            store.claim()
            cleanup.add("giving back the search's folder", store.release)
            store.load(chosen)
        options |= {"metrics": metrics, "batch_size": batch_size, "seed": seed}
        rounds = rungs(len(chosen), resource, halving)
        going_on, files = list(chosen), dict[int, Files]()
        for rung, (count, amount) in enumerate(rounds):
            going_on = promoted(found, going_on, rung, count)
            returns = store is not None or rung + 1 < len(rounds)
            plan = Plan(make, options | {unit: amount}, sent, held_out, metric, rung > 0 or returns, returns)
            todo = [trial for trial in going_on if trial.rung < rung and trial.error is None]
            wave = WAVES * dataset.tasks
            for start in range(0, len(todo), wave):
                now = todo[start : start + wave]
                dataset.describe(
                    f"fdl search: trials to {amount} {unit}, {start + 1} to {start + len(now)} of {len(todo)}"
                )
                reports = _reports(dataset, plan, [_input(trial, files, store) for trial in now])
                for trial, report in zip(now, reports, strict=True):
                    _note(trial, report, rung, amount)
                for trial in chosen:
                    trial.params = trial.params if trial is found.best else None
                told = zip(now, reports, strict=True)
                written = {trial.number: report.files for trial, report in told if report.files is not None}
                if store is None:
                    files |= written
                else:
                    store.save(chosen, written)
    if all(trial.value is None for trial in chosen):
        raise SearchError(f"all {len(chosen)} trials failed; trial 0: {chosen[0].error}")
    if found.best.params is None and store is not None:  # a search before this one has trained it
        found.best.params = store.params_of(found.best, made_by(make, found.best.hyperparameters)["params"])
    return found


def promoted(found: Search, trials: Sequence[Trial], rung: int, count: int) -> list[Trial]:
    """The trials that take part in a round: those that a search before this has chosen for it, and the best others."""
    chosen = [trial for trial in trials if trial.rung >= rung]
    others = [trial for trial in trials if trial.rung < rung and trial.error is None]
    chosen += Search(others, found.metric, found.mode).ranked()[: max(0, count - len(chosen))]
    return sorted(chosen, key=lambda trial: trial.number)


def _check_options(options: Mapping[str, Any]) -> None:
    known = set(inspect.signature(train).parameters) - {"loss", "params", "optimizer", *OWN}
    for name in options:
        if name in ("loss", "params", "optimizer"):
            raise ArgumentError(f"{name} is what make returns, for each trial")
        if name not in known:
            raise ArgumentError(f"search has no argument {name!r}, nor does it hand one of this name to train")
    with calling("sending the arguments of train to the executors"):
        cloudpickle.dumps(dict(options))


def _input(trial: Trial, files: Mapping[int, Files], store: Store | None) -> bytes:
    """What a task is told of its trial."""
    going_on = files.get(trial.number)
    if going_on is None and trial.rung >= 0 and store is not None:
        going_on = store.files_of(trial)
    return cloudpickle.dumps((trial.hyperparameters, going_on), protocol=5)


def _reports(dataset: Dataset, plan: Plan, inputs: list[bytes]) -> list[Report]:
    """What tasks say of their trials; if a job fails, its trials are run one by one, to find the one to blame."""
    try:
        with explained("the search"):
            return [cloudpickle.loads(found) for found in dataset.scatter(plan, inputs)]
    except (Lost, UserFunctionError) as error:
        if len(inputs) == 1:
            return [Report(None, masked(f"{type(error).__name__}: {error}"), 0.0)]
        log.warning("a job of a search failed, and its trials are run one by one: %s", masked(str(error))[:300])
    return [report for one in inputs for report in _reports(dataset, plan, [one])]


def _note(trial: Trial, report: Report, rung: int, amount: int) -> None:
    trial.value, trial.error, trial.rung = report.value, report.error, rung
    trial.seconds += report.seconds
    trial.params = report.params
    if report.error is None:
        trial.resource, trial.epochs, trial.step = amount, report.epochs, report.step
