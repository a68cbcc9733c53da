"""Means of a loss and of metrics over a data set."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from fdl_spark.arguments import check_features, check_function, check_metrics, check_names, check_whole
from fdl_spark.compute.job import Job, Shared
from fdl_spark.compute.measured import Measured
from fdl_spark.compute.program import Program
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

PATIENCE = 3  # how often blocks that the cluster lost are made again


def evaluate(
    loss_or_metrics: Callable[..., Any] | Mapping[str, Callable[[Any, Any], Any] | Metric],
    params: Any,
    data: Any,
    *,
    batch_size: int = 1024,
    columns: Sequence[str] | None = None,
    features: Encoder | None = None,
) -> dict[str, Any]:
    """Means and other metrics over all rows of a data set, weighted by row whatever the batches.

    Args:
      loss_or_metrics: a loss (params, batch) -> mean, or (mean, dict of metrics); or a dict of functions
        (params, batch) -> mean over the batch's rows, or of metrics of `fdl_spark.metrics`.
      params: pytree of arrays.
      data: a DataFrame, an RDD, paths, a table, or a dict of arrays, as for `train`.
      batch_size: rows that are evaluated at once on each task.
      columns: the columns to use as they are, of data whose columns have names; None means all, or none if there are
        `features`.
      features: fitted encoders of `fdl_spark.features`, as for `train`.

    Returns:
      The means by name; that of a loss is called "loss". A metric gives a number, or a dict of them.

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
    loss, metrics = (None, loss_or_metrics) if isinstance(loss_or_metrics, Mapping) else (loss_or_metrics, {})
    if loss is not None:
        check_function("loss_or_metrics", loss, "(params, batch), or a dict of such functions")
    check_metrics("loss_or_metrics", metrics, ("rows",))
    if loss is None and not metrics:
        raise ArgumentError("loss_or_metrics is empty; name at least one metric")
    check_whole("batch_size", batch_size, 1)
    check_names("columns", columns)
    check_features(features)
    with calling("making arrays of params"):
        program = Program(loss, params, metrics=metrics)
        weights = program.flat()
    with Cleanup() as cleanup, settled("evaluation"):
        dataset = load(data, batch_size=batch_size, columns=columns, features=features)
        cleanup.add("deleting the data's blocks", dataset.close)
        cleanup.enter("taking back the jobs' settings", dataset.own_jobs())
        program.check(dataset.example())
        shared = Shared.of(program, dataset)
        cleanup.add("freeing what the executors hold", shared.close)
        dataset.describe("fdl: evaluate")
        for _ in range(PATIENCE):
            with suppress(Lost), explained("evaluation"):
                return evaluate_blocks(dataset, shared, weights, batch_size, program.metrics)
            dataset.rebuild()
        return evaluate_blocks(dataset, shared, weights, batch_size, program.metrics)


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
