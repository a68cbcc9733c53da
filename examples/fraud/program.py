"""Fitting the pipelines, the AUPRC of each on the same payments, the threshold, and what is shown at the end."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

import fdl_spark
from examples.fraud.data import TEST, TRAIN, VALIDATION, payments, thinned
from examples.fraud.models import BATCH_SIZE, autoencoder, average_precision, features, of_spark, perceptron

KINDS = ("plain", "weighted", "focal", "thinned")
SHARE = 20  # negatives that one of the thinned ones stands for


class Result(NamedTuple):
    """What a run has found.

    Attributes:
      models: fitted pipelines by name.
      best: the name of the perceptron with the best AUPRC of the validation, whose threshold is set.
      validation, test: AUPRC by name; `chance` has those of a score that knows nothing.
      chance: the share of frauds in the validation and in the test.
      scores: of the test by name, and the labels as "label".
      threshold: of the probability of fraud, with the best F1 of the validation.
      chosen: precision, recall and F1 of the test at the threshold.
      frauds: of the training, the validation and the test.
      seconds: of each fit, by name.
    """

    models: dict[str, Any]
    best: str
    validation: dict[str, float]
    test: dict[str, float]
    chance: tuple[float, float]
    scores: dict[str, np.ndarray]
    threshold: float
    chosen: dict[str, float]
    frauds: tuple[int, int, int]
    seconds: dict[str, float]


def detect(
    spark: Any,
    table: pa.Table,
    *,
    by: str = "time",
    epochs: int = 10,
    batch_size: int = BATCH_SIZE,
    trees: int = 40,
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
    partitions: int | None = None,
    shards: int | None = None,
    progress: bool = False,
) -> Result:
    """Fit all pipelines on the same payments, and measure them on payments that are later, or others.

    Args:
      spark: the session.
      table: of `examples.data.payments.card_fraud`.
      by: as of `data.payments`.
      epochs, batch_size: of the networks.
      trees: how many boosted trees; 0: none are fitted.
      kinds: of perceptrons, see `models.perceptron`.
      seed: of the split, the parameters and the choice of negatives.
      partitions, shards: of `fdl_spark.train`.
      progress: whether bars are shown.
    """
    from pyspark.ml import Pipeline
    from pyspark.sql import functions as F

    every = payments(spark, table, by, seed)
    parts = every.withColumn("held_out", F.col("part") == VALIDATION).where(F.col("part") != TEST).cache()
    train = parts.where(F.col("part") == TRAIN)
    held = {number: every.where(F.col("part") == number).cache() for number in (VALIDATION, TEST)}
    where = {name: value for name, value in (("partitions", partitions), ("shards", shards)) if value is not None}
    models, seconds = {}, {}
    scaled = Pipeline(stages=features()).fit(train)

    def fitted(name: str, stage: Any, rows: Any) -> None:
        began = time.perf_counter()
        models[name] = Pipeline(stages=[*scaled.stages, stage]).fit(rows)
        seconds[name] = time.perf_counter() - began

    def bars(name: str) -> list[fdl_spark.Callback]:
        return [fdl_spark.Progress(desc=name)] if progress else []

    for kind in kinds:
        rows = thinned(parts, SHARE, seed).cache() if kind == "thinned" else parts
        fitted(f"perceptron, {kind}", perceptron(kind, epochs, batch_size, bars(kind), seed=seed, **where), rows)
    fitted("autoencoder", autoencoder(epochs, batch_size, bars("autoencoder"), seed=seed, **where), train)
    for name, stage in of_spark(trees).items():
        fitted(name, stage, train)
    found = {
        number: {name: measured(name, model, rows) for name, model in models.items()} for number, rows in held.items()
    }
    perceptrons = [f"perceptron, {kind}" for kind in kinds]
    best = max(perceptrons, key=lambda name: found[VALIDATION][name])
    threshold = best_threshold(*scored(best, models[best], held[VALIDATION]))
    models[best].stages[-1].setThresholds([1 - threshold, threshold])
    scores = {name: scored(name, model, held[TEST]) for name, model in models.items()}
    label = scores[best][1]
    chosen = at_threshold(models[best], held[TEST])
    frauds = tuple(rows.where("fraud = 'yes'").count() for rows in (train, *held.values()))
    counts = [rows.count() for rows in held.values()]
    return Result(
        models,
        best,
        found[VALIDATION],
        found[TEST],
        (frauds[1] / counts[0], frauds[2] / counts[1]),
        {name: score for name, (score, _) in scores.items()} | {"label": label},
        threshold,
        chosen,
        (frauds[0], frauds[1], frauds[2]),
        seconds,
    )


def column(name: str) -> str:
    """The column with a model's scores."""
    return "prediction" if name == "autoencoder" else "probability"


def measured(name: str, model: Any, rows: Any) -> float:
    """The AUPRC of a model on some rows, on Spark."""
    return float(average_precision(scoresCol=column(name)).evaluate(model.transform(rows)))


def scored(name: str, model: Any, rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of some rows, in the order of the rows."""
    from pyspark.ml.functions import vector_to_array
    from pyspark.sql import functions as F

    scores = F.col("prediction") if column(name) == "prediction" else vector_to_array(F.col("probability"))[1]
    found = model.transform(rows).select("row", scores.alias("score"), "label").toArrow().sort_by("row")
    return found["score"].to_numpy(), found["label"].to_numpy()


def curve(scores: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds from high to low, and precision and recall of what is at least as high.

    >>> thresholds, precision, recall = curve(np.array([0.1, 0.8, 0.4]), np.array([0, 1, 1]))
    >>> thresholds.tolist(), precision.round(2).tolist(), recall.tolist()
    ([0.8, 0.4, 0.1], [1.0, 1.0, 0.67], [0.5, 1.0, 1.0])
    """
    order = np.argsort(-scores, kind="stable")
    hits, taken = np.cumsum(label[order]), np.arange(1, len(label) + 1)
    last = np.append(np.diff(scores[order]) != 0, True)  # of rows with one score
    return scores[order][last], (hits / taken)[last], (hits / hits[-1])[last]


def best_threshold(scores: np.ndarray, label: np.ndarray) -> float:
    """The threshold of positive scores with the best F1, in the middle between the lowest one above it and the next.

    >>> best_threshold(np.array([0.1, 0.8, 0.4]), np.array([0, 1, 1]))
    0.25
    """
    thresholds, precision, recall = curve(scores, label)
    best = np.argmax(2 * precision * recall / np.maximum(precision + recall, 1e-12))
    return float(np.append(thresholds, 0.0)[best : best + 2].mean())


def at_threshold(model: Any, rows: Any) -> dict[str, float]:
    """Precision, recall and F1 of a pipeline's predictions, on Spark."""
    predicted = model.transform(rows).select("prediction", "label")
    measures = {name: getattr(fdl_spark.metrics, name)("prediction", "label") for name in ("precision", "recall", "f1")}
    return fdl_spark.evaluate(measures, {}, predicted)


def table(result: Result) -> str:
    """The AUPRC of all models as text, and what the threshold gives."""
    lines = [f"{'AUPRC':24}  validation   test  seconds of fitting"]
    for name in result.models:
        values = f"{result.validation[name]:10.3f}  {result.test[name]:5.3f}"
        lines.append(f"{name:24}  {values}  {result.seconds[name]:.0f}")
    lines.append(f"{'chance':24}  {result.chance[0]:10.4f}  {result.chance[1]:5.4f}")
    chosen = ", ".join(f"{name} {value:.3f}" for name, value in result.chosen.items())
    lines.append(
        f"{result.best} at {result.threshold:.3g}, which is best for F1 of the validation: {chosen} of the test"
    )
    return "\n".join(lines)


def plot(result: Result, path: str | Path) -> None:
    """Save a figure: precision by recall of the test, of all models."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    for name in result.models:
        _, precision, recall = curve(result.scores[name], result.scores["label"])
        own = name.startswith("perceptron")
        style = {"linewidth": 2.2 if name == result.best else 1.2, "linestyle": "-" if own else "--"}
        axes.step(recall, precision, where="pre", label=f"{name}: {result.test[name]:.3f}", **style)
    axes.plot(
        [result.chosen["recall"]], [result.chosen["precision"]], "ko", markersize=8, fillstyle="none",
        label=f"threshold of the validation: F1 {result.chosen['f1']:.3f}",
    )  # fmt: skip
    axes.axhline(result.chance[1], color="0.5", linestyle=":", label=f"chance: {result.chance[1]:.4f}")
    axes.set(xlabel="recall: share of the frauds that are found", ylabel="precision: share of alarms that are frauds")
    axes.set(
        xlim=(0, 1), ylim=(0, 1.02), title=f"{result.frauds[2]} frauds among {len(result.scores['label']):,} payments"
    )
    axes.grid(alpha=0.3)
    axes.legend(title="area under the curve", fontsize=8)
    figure.savefig(path, dpi=150)
