"""Means of a loss and of metrics over a data set."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from fdl_spark.blocks import Dataset
from fdl_spark.dataset import load
from fdl_spark.failures import explained
from fdl_spark.history import means
from fdl_spark.program import Program
from fdl_spark.tree_sum import gather
from fdl_spark.wire import pack, raw_output, unpack
from fdl_spark.worker import Job, Part, Shared, measure


def evaluate(
    loss_or_metrics: Callable[..., Any] | Mapping[str, Callable[[Any, Any], Any]],
    params: Any,
    data: Any,
    *,
    batch_size: int = 1024,
    columns: Sequence[str] | None = None,
) -> dict[str, float]:
    """Means over all rows of a data set, weighted by row whatever the batches.

    Args:
      loss_or_metrics: a loss (params, batch) -> mean, or (mean, dict of metrics); or a dict of functions
        (params, batch) -> mean over the batch's rows.
      params: pytree of arrays.
      data: a DataFrame, an RDD, or a dict of arrays, as for `train`.
      batch_size: rows that are evaluated at once on each task.
      columns: the DataFrame's columns to use; None means all.

    Returns:
      The means by name; that of a loss is called "loss".

    Raises:
      ColumnError, MissingColumnError, DataError: the data does not become arrays, or lacks a column.

    >>> error = lambda w, batch: abs(w * batch["x"]).mean()
    >>> evaluate({"error": error}, np.float32(2), {"x": np.arange(5.0)})
    {'error': 4.0}
    """
    loss, metrics = (None, loss_or_metrics) if isinstance(loss_or_metrics, Mapping) else (loss_or_metrics, {})
    program = Program(loss, params, metrics=metrics)
    dataset = load(data, batch_size=batch_size, columns=columns)
    try:
        program.check(dataset.example())
        shared = Shared.of(program, dataset.context)
        found = evaluate_blocks(dataset, shared, program.flat(), batch_size)
        shared.content.destroy()
        return found
    finally:
        dataset.close()


def evaluate_blocks(dataset: Dataset, program: Shared, weights: np.ndarray, batch_size: int) -> dict[str, float]:
    """Means over a data set that is on the executors.

    Args:
      dataset: the data.
      program: the Program, on the executors.
      weights: the flat parameters.
      batch_size: rows that are evaluated at once.

    Returns:
      The means by name.
    """
    job = Job(program, dataset.context.broadcast(weights), dataset.schedule, dataset.template, dataset.tasks)
    with explained("evaluation"):
        payloads = raw_output(dataset.blocks, partial(_parts, job, batch_size)).collect()
    job.weights.destroy()
    parts = {}
    for payload in payloads:
        (node, part), _ = unpack(payload)
        parts[node] = part
    return means(gather(parts, dataset.schedule.shards, Part.add, Part()).sums)


def _parts(job: Job, rows: int, task: int, blocks: Any) -> Any:
    for node, part in measure(job, rows, task, blocks):
        yield pack((node, part), None)
