"""Training, with an evaluation after each epoch, and what is shown at the end."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

import fdl
import fdl_spark
from examples.recommendation.negatives import Seen, with_negatives
from examples.recommendation.published import PUBLISHED
from examples.recommendation.split import Split, candidates, leave_one_out
from examples.recommendation.task import AMONG, BEST, Recipe, loss, measured, popularity, scores
from fdl import optim
from fdl.models import neumf


class Result(NamedTuple):
    """What a run has found.

    Attributes:
      run: of `fdl_spark.train`; its history has the metrics by epoch.
      split: what was trained on.
      baseline: the metrics of the order by popularity.
      samples_per_second: positives and negatives, in the steps of the whole run.
      seconds: of the whole call of `fdl_spark.train`.
    """

    run: Any
    split: Split
    baseline: dict[str, float]
    samples_per_second: float
    seconds: float


def recommend(
    spark: Any,
    ratings: pa.Table,
    recipe: Recipe,
    *,
    seed: int = 0,
    partitions: int | None = None,
    shards: int | None = None,
    checkpoint: str | None = None,
    callbacks: Sequence[fdl_spark.Callback] = (),
) -> Result:
    """Train NeuMF on ratings, and rank everybody's last film after each epoch.

    Args:
      spark: the session.
      ratings: a table of user, item and timestamp.
      recipe: hyperparameters.
      seed: of parameters, order, negatives and lists.
      partitions, shards, checkpoint, callbacks: of `fdl_spark.train`.
    """
    split = leave_one_out(ratings)
    user, item = (split.train[name].to_numpy() for name in ("user", "item"))
    config = neumf.Config(split.users, split.items, recipe.factors, recipe.layers)
    held_out = candidates(spark, split, max(AMONG) - 1, seed).cache()
    try:
        counts = np.bincount(item, minlength=split.items).astype(np.float32)
        baseline = fdl_spark.evaluate(measured(popularity), counts, held_out)
        began = time.perf_counter()
        run = fdl_spark.train(
            partial(loss, config=config),
            neumf.init(fdl.random.key(seed), config),
            split.train,
            augment=with_negatives(Seen.of(user, item, split.users, split.items), recipe.negatives),
            validation=held_out,
            metrics=measured(partial(scores, config=config)),
            optimizer=optim.adam(recipe.rate, sparse=neumf.TABLES),
            batch_size=recipe.rows,
            epochs=recipe.epochs,
            seed=seed,
            partitions=partitions,
            shards=shards,
            checkpoint=checkpoint,
            callbacks=callbacks,
        )
        seconds = time.perf_counter() - began
    finally:
        held_out.unpersist()
    steps = run.history.steps
    rows, spent = sum(step["rows"] for step in steps), sum(step["seconds"] for step in steps)
    return Result(run, split, baseline, (1 + recipe.negatives) * rows / spent, seconds)


def best(result: Result, metric: str) -> tuple[float, int]:
    """The best value of a metric, and its epoch (from 1)."""
    values = [(record["validation"][metric], number) for number, record in enumerate(result.run.history.epochs, 1)]
    return max(values, key=lambda found: (found[0], -found[1]))


def table(result: Result, data: str) -> str:
    """The metrics as text: of the last epoch, the best, of popularity, and what was published."""
    lines = ["metric              last epoch  best (epoch)   popularity  published"]
    for name, baseline in result.baseline.items():
        last = result.run.history.epochs[-1]["validation"][name]
        highest, epoch = best(result, name)
        known = [f"{one.value:g} ({one.source})" for one in PUBLISHED if (one.data, one.metric) == (data, name)]
        lines.append(f"{name:18}  {last:10.4f}  {highest:.4f} ({epoch:2d})    {baseline:10.4f}  {'; '.join(known)}")
    return "\n".join(line.rstrip() for line in lines)


def plot(result: Result, data: str, path: str | Path) -> None:
    """Save a figure of the metrics by epoch, beside popularity and what was published."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, metric in zip(figure.subplots(1, 2), (f"HR@{BEST}", f"NDCG@{BEST}"), strict=True):
        for among, colour in zip(sorted(AMONG), ("tab:blue", "tab:orange"), strict=True):
            name = f"{metric} of {among}"
            values = [record["validation"][name] for record in result.run.history.epochs]
            axes.plot(range(1, len(values) + 1), values, "o-", color=colour, markersize=3, label=f"among {among}")
            axes.axhline(result.baseline[name], color=colour, linestyle=":", label=f"popularity, among {among}")
            for one in PUBLISHED:
                if (one.data, one.metric) == (data, name):
                    if one.epoch is None:
                        axes.axhline(one.value, color=colour, linestyle="--", label=one.source)
                    else:
                        axes.plot([one.epoch], [one.value], "*", color=colour, markersize=10, label=one.source)
        axes.set(xlabel="epoch", title=f"{metric}, {data}")
        axes.grid(alpha=0.3)
        handles, labels = axes.get_legend_handles_labels()
        once = dict(zip(labels, handles, strict=True))
        axes.legend(once.values(), once.keys(), fontsize=7)
    figure.savefig(path, dpi=150)
