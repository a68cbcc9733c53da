"""Training, the errors on what was held out, and what is shown at the end."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

import fdl
import fdl_spark
from examples.forecasting.methods import Sizes, forecasts, loss, methods
from examples.forecasting.series import Split, Steps, parts, statistics, steps, windows
from fdl import optim

SIZES = Sizes()


@dataclass(frozen=True)
class Recipe:
    """What is forecast, and hyperparameters.

    Attributes:
      asked: the steps.
      sizes: of the models.
      epochs: of each model; its best one by the validation counts.
      rate: of Adam, in the beginning.
      rows: of a batch.
    """

    asked: Steps
    sizes: Sizes = SIZES
    epochs: int = 4
    rate: float = 1e-3
    rows: int = 256


RECIPES = {
    "hourly": Recipe(Steps(seconds=3600, past=168, future=24, seasons=(24, 168), measured=30)),
    "daily": Recipe(Steps(86_400, past=56, future=7, seasons=(7,), measured=720), Sizes(4, 32, 12), 20, 5e-4, 64),
}
SPLIT = Split()


class Result(NamedTuple):
    """What a run has found.

    Attributes:
      asked: the steps.
      windows: how many were trained on, validated on, tested.
      statistics: of the series that was trained on.
      errors: by method "mae", "mase" and "smape" over the whole test, and "by_step", the MAE of each step ahead.
      months: by method the MAE of each month of the test, whose names are in "month".
      days: rows of the test to be drawn: step, value_future, measured_future, and a list for each method.
      seconds: of training, by method.
      runs: of `fdl_spark.train`, by method.
    """

    asked: Steps
    windows: tuple[int, int, int]
    statistics: dict[str, float]
    errors: dict[str, dict[str, Any]]
    months: dict[str, list[Any]]
    days: list[Any]
    seconds: dict[str, float]
    runs: dict[str, Any]


def forecast(
    spark: Any,
    minutes: pa.Table,
    recipe: Recipe,
    *,
    column: str = "global_active_power",
    split: Split = SPLIT,
    seed: int = 0,
    partitions: int | None = None,
    shards: int | None = None,
    checkpoint: str | None = None,
    callbacks: Sequence[fdl_spark.Callback] = (),
) -> Result:
    """Train the models on windows of a series, and measure all methods on those after the split.

    Args:
      spark: the session.
      minutes: a table of time and the column.
      recipe: steps, windows and hyperparameters.
      column: what is forecast.
      split: into training, validation and test.
      seed: of parameters and order.
      partitions, shards, callbacks: of `fdl_spark.train`.
      checkpoint: folder, in which each model has one.
    """
    asked, sizes, epochs, rows = recipe.asked, recipe.sizes, recipe.epochs, recipe.rows
    series = steps(spark, minutes, column, asked).cache()
    known = statistics(series, asked, split)
    cut = windows(series, asked).cache()
    trained, validated, tested = parts(cut, asked, split)
    counts = (trained.count(), validated.count(), tested.count())
    params, seconds, runs = {}, {}, {}
    try:
        for method in methods(asked, known, sizes):
            began = time.perf_counter()
            run = fdl_spark.train(
                partial(loss, method=method, asked=asked, statistics=known),
                method.init(fdl.random.key(seed)),
                trained,
                validation=validated,
                best="loss",
                optimizer=optim.adam(optim.cosine_decay_schedule(recipe.rate, epochs * -(-counts[0] // rows))),
                batch_size=rows,
                epochs=epochs,
                seed=seed,
                partitions=partitions,
                shards=shards,
                checkpoint=f"{checkpoint}/{method.name}" if checkpoint else None,
                callbacks=callbacks,
            )
            runs[method.name], seconds[method.name] = run, time.perf_counter() - began
            assert run.best is not None
            params[method.name] = run.best.params
        forecasting = partial(forecasts, asked=asked, statistics=known, sizes=sizes)
        made = fdl_spark.predict(forecasting, params, tested).cache()
        names = made.columns[len(tested.columns) :]
        errors, months = measured(made, names, asked, known["naive"])
        days = made.where(F.col("step") % (86_400 // min(asked.seconds, 86_400)) == 0).orderBy("step").collect()
        made.unpersist()
    finally:
        cut.unpersist()
        series.unpersist()
    return Result(asked, counts, known, errors, months, days, seconds, runs)


def measured(made: Any, names: Sequence[str], asked: Steps, scale: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """The errors of forecasts where the truth was measured, computed by Spark.

    Args:
      made: windows with a column of forecasts for each method.
      names: of these columns.
      asked: the steps.
      scale: the naive error of the training data.
    """
    ahead = F.posexplode(F.arrays_zip("value_future", "measured_future", *names)).alias("ahead", "of")
    month = F.date_format(F.timestamp_seconds(F.col("step") * asked.seconds), "yyyy-MM").alias("month")
    points = made.select(month, ahead).where("of.measured_future = 1").select("month", "ahead", "of.*")

    def error(name: str) -> Any:
        return F.abs(F.col(name) - F.col("value_future"))

    def smape(name: str) -> Any:
        return 200 * error(name) / (F.abs(F.col(name)) + F.abs(F.col("value_future")))

    means = [F.avg(error(name)).alias(name) for name in names]
    total = points.select(*means, *(F.avg(smape(name)).alias(f"smape_{name}") for name in names)).first()
    by_step = points.groupBy("ahead").agg(*means).orderBy("ahead").collect()
    by_month = points.groupBy("month").agg(*means).orderBy("month").collect()
    found = {
        name: {
            "mae": total[name],
            "mase": total[name] / scale,
            "smape": total[f"smape_{name}"],
            "by_step": [row[name] for row in by_step],
        }
        for name in names
    }
    return found, {name: [row[name] for row in by_month] for name in ("month", *names)}


#: What methods are called; the others are named by themselves.
TITLES = {
    "naive_24": "as yesterday",
    "naive_168": "as a week ago",
    "naive_7": "as a week ago",
    "mean_24": "mean of 7 days",
    "mean_7": "mean of 8 weeks",
    "expected": "halfway to the mean",
    "linear": "linear",
    "nbeats": "N-BEATS",
    "tcn": "TCN",
    "ensemble": "mean of the models",
}


def table(result: Result) -> str:
    """The errors as text."""
    lines = ["method                MAE (kW)    MASE   sMAPE (%)  training (s)"]
    for name, errors in result.errors.items():
        spent = f"{result.seconds[name]:12.1f}" if name in result.seconds else ""
        found = f"{errors['mae']:8.4f}  {errors['mase']:6.3f}  {errors['smape']:10.2f}"
        lines.append(f"{TITLES.get(name, name):20}  {found}  {spent}")
    return "\n".join(line.rstrip() for line in lines)


def plot(result: Result, path: str | Path) -> None:
    """Save a figure: a fortnight of forecasts made at midnight, and errors by step ahead and by month."""
    from matplotlib.figure import Figure

    asked, shown = result.asked, [name for name in result.errors if name != "mean_24"]
    figure = Figure(figsize=(12, 8), layout="constrained")
    grid = figure.add_gridspec(2, 2)
    above, left, right = figure.add_subplot(grid[0, :]), figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1])
    stride = max(1, asked.future * asked.seconds // 86_400)  # days between forecasts that do not overlap
    middle = len(result.days) * 3 // 4
    rows = result.days[middle : middle + 10 * stride : stride]
    models = [*result.seconds, "ensemble"]
    greys = dict(zip((name for name in shown if name not in models), ("0.7", "0.45", "0.2"), strict=False))
    colours = greys | {"linear": "tab:green", "nbeats": "tab:orange", "tcn": "tab:blue", "ensemble": "tab:red"}

    def drawn(name: str, **style: Any) -> None:
        times = np.concatenate([row["step"] + np.arange(asked.future) for row in rows]) * asked.seconds
        values = np.concatenate([np.array(row[name], np.float32) for row in rows])
        if name == "value_future":
            values[np.concatenate([row["measured_future"] for row in rows]) == 0] = np.nan
        above.plot(times.astype("datetime64[s]"), values, **style)

    drawn("value_future", color="black", linewidth=1.6, label="measured")
    for name in (f"naive_{asked.seasons[-1]}", "nbeats", "tcn", "ensemble"):
        drawn(name, color=colours[name], linewidth=1.2, label=TITLES.get(name, name))
    above.set(
        ylabel="kW", title=f"forecasts of {asked.future} steps, each made at midnight, on days that were held out"
    )
    above.legend(ncols=5, fontsize=8, loc="upper left")
    above.set_ylim(top=above.get_ylim()[1] * 1.1)
    above.margins(x=0)
    for name in shown:
        style: dict[str, Any] = {"color": colours[name], "label": TITLES.get(name, name)}
        style["linestyle"] = "-" if name in models else "--"
        left.plot(np.arange(1, asked.future + 1), result.errors[name]["by_step"], **style)
        right.plot(result.months["month"], result.months[name], marker="o", markersize=3, **style)
    left.set(xlabel="steps ahead", ylabel="mean absolute error (kW)", title="error by steps ahead")
    right.set(title="error by month of the test", ylabel="mean absolute error (kW)")
    for axes in (above, left, right):
        axes.grid(alpha=0.3)
    left.legend(fontsize=8)
    figure.savefig(path, dpi=150)
