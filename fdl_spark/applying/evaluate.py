"""Means of a loss and of metrics over a data set."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from fdl_spark.arguments import check_features, check_function, check_metrics, check_names, check_whole
from fdl_spark.compute.job import Job, Shared
from fdl_spark.compute.measured import Measured
from fdl_spark.compute.program import PLAIN, Program
from fdl_spark.compute.recipe import Recipe
from fdl_spark.compute.weighting import Weighting
from fdl_spark.compute.worker import measure
from fdl_spark.data.block import Block
from fdl_spark.data.encoder import Encoder
from fdl_spark.data.load import load
from fdl_spark.data.sharded import Dataset
from fdl_spark.errors import ArgumentError
from fdl_spark.metrics.metric import Metric
from fdl_spark.spark.cleanup import Cleanup
from fdl_spark.spark.failures import Lost, calling, explained, settled
from fdl_spark.spark.wire import pack, unpack

SHARDS = 64  # which no property of the cluster decides, or the last bits of results would depend on it
PATIENCE = 3  # how often blocks that the cluster lost are made again


def evaluate(
    loss_or_metrics: Callable[..., Any] | Mapping[str, Callable[[Any, Any], Any] | Metric],
    params: Any,
    data: Any,
    *,
    metrics: Mapping[str, Callable[[Any, Any], Any] | Metric] | None = None,
    weights: str | None = None,
    batch_size: int = 1024,
    columns: Sequence[str] | None = None,
    features: Encoder | None = None,
    shards: int = SHARDS,
    seed: int = 0,
) -> dict[str, Any]:
    """Means and other metrics over all rows of a data set, weighted by row whatever the batches.

    The results are the same bits for any number of partitions and executors, if `batch_size`, `shards` and `seed` are
    the same and the rows of the data come in a stable order. With the loss, metrics, weights, columns, batch size,
    shards and seed of a run of `train` they are the bits of its validation.

    Args:
      loss_or_metrics: a loss (params, batch) -> mean, or (mean, dict of metrics); or a dict of functions
        (params, batch) -> mean over the batch's rows, or of metrics of `fdl_spark.metrics`.
      params: pytree of arrays.
      data: a DataFrame, an RDD, paths, a table, or a dict of arrays, as for `train`.
      metrics: further functions or metrics beside a loss, by name, as for `train`.
      weights: the column that says what each row weighs, not negative, as for `train`. The loss returns the loss of
        each row, of shape (rows,), and its mean is sum(weight * loss) / sum(weight). Metrics have their own weight=.
      batch_size: rows that are evaluated at once on each task.
      columns: the columns to use as they are, of data whose columns have names; None means all, or none if there are
        `features`.
      features: fitted encoders of `fdl_spark.features`, as for `train`.
      shards: number of logical shards, along whose tree the results are put together. No more tasks than these run.
      seed: decides the shards of rows.

    Returns:
      The means by name; that of a loss is called "loss". A metric gives a number, or a dict of them. With `weights`
      "loss_weight" is what a row weighs.

    Raises:
      ArgumentError: an argument is not what it must be.
      ColumnError, MissingColumnError, DataError: the data does not become arrays, or lacks a column.
      LossError: a metric is no number.
      UserFunctionError: a function raised.
      ClusterError: Spark lost what it needs, again and again.

    >>> error = lambda w, batch: abs(w * batch["x"]).mean()
    >>> evaluate({"error": error}, np.float32(2), {"x": np.arange(5.0)})
    {'error': 4.0}
    """
    loss = None
    if isinstance(loss_or_metrics, Mapping):
        check_metrics("loss_or_metrics", loss_or_metrics, ("rows",))
        if not loss_or_metrics:
            raise ArgumentError("loss_or_metrics is empty; name at least one metric")
        if metrics is not None:
            raise ArgumentError("metrics= is for a loss, and loss_or_metrics has metrics: pass one dict of all")
        metrics = loss_or_metrics
    else:
        loss = loss_or_metrics
        check_function("loss_or_metrics", loss, "(params, batch), or a dict of such functions")
        check_metrics("metrics", metrics, ("loss", "rows"))
    if weights is not None and not isinstance(weights, str):
        raise ArgumentError(f"weights must be the name of a column, not {weights!r:.100}")
    if weights is not None and loss is None:
        raise ArgumentError(
            "weights= is for a loss, and loss_or_metrics has metrics: give those of fdl_spark.metrics a weight="
        )
    check_whole("batch_size", batch_size, 1)
    check_whole("shards", shards, 1)
    check_whole("seed", seed)
    check_names("columns", columns)
    check_features(features)
    recipe = PLAIN if weights is None else Recipe(Weighting(weights))
    with calling("making arrays of params"):
        program = Program(loss, params, metrics=metrics, recipe=recipe)
        flat = program.flat()
    with Cleanup() as cleanup, settled("evaluation"):
        dataset = load(data, batch_size=batch_size, seed=seed, shards=shards, columns=columns, features=features)
        cleanup.add("deleting the data's blocks", dataset.close)
        cleanup.enter("taking back the jobs' settings", dataset.own_jobs())
        if recipe.weighting is not None:
            recipe.weighting.check(dataset)
        program.check(dataset.example())
        shared = Shared.of(program, dataset)
        cleanup.add("freeing what the executors hold", shared.close)
        dataset.describe("fdl: evaluate")
        for _ in range(PATIENCE):
            with suppress(Lost), explained("evaluation"):
                return evaluate_blocks(dataset, shared, flat, batch_size, program.metrics)
            dataset.rebuild()
        return evaluate_blocks(dataset, shared, flat, batch_size, program.metrics)


def evaluate_blocks(
    dataset: Dataset, program: Shared, weights: np.ndarray, batch_size: int, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """Means and metrics over a data set that is on the executors.

    Args:
      dataset: the data.
      program: the Program, on the executors.
      weights: the flat parameters.
      batch_size: rows that are evaluated at once.
      metrics: those of the Program.

    Returns:
      The results by name.
    """
    with Job.of(program, weights, dataset) as job:
        payloads = dataset.map(partial(_parts, job, batch_size))
    return Measured.results(dict(unpack(payload)[0] for payload in payloads), dataset.schedule.shards, metrics)


def _parts(job: Job, rows: int, task: int, blocks: Iterable[Block]) -> Iterator[bytes]:
    for node_and_measured in measure(job, rows, task, blocks):
        yield pack(node_and_measured, None)
