"""Training, scores, alarms, and what is shown at the end."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

import fdl
import fdl_spark
from examples.anomaly.events import Found, curve, detect, threshold
from examples.anomaly.published import NAB
from examples.anomaly.scores import DAY, MODEL, WEEK, Split, forecast, loss, scaled, seasonal
from fdl import optim
from fdl.models import anomaly_lstm
from fdl_spark import features

SPLIT = Split()
BATCH = 64
RISK = 1e-5  # of an alarm at a half-hour without an event: one in six years
LSTM, BASELINE = "anomaly LSTM", "seasonal z-score"


class Result(NamedTuple):
    """What a run has found.

    Attributes:
      run: of `fdl_spark.train`.
      times: (n,) of the half-hours.
      counts: (n,) what was counted.
      forecasts: (n,) the LSTM's, NaN where there is no whole past.
      scores: (n,) by method.
      thresholds: by method, of the scores before the search.
      found: by method: what alarms above the threshold meet.
      curves: by method: false alarms with 1, 2, ... events found.
      events: the first and last time of each, by name.
      split: what was trained on.
      windows: how many were trained on.
      seconds: of training.
    """

    run: Any
    times: np.ndarray
    counts: np.ndarray
    forecasts: np.ndarray
    scores: dict[str, np.ndarray]
    thresholds: dict[str, float]
    found: dict[str, Found]
    curves: dict[str, list[int]]
    events: Mapping[str, tuple[str, str]]
    split: Split
    windows: int
    seconds: float


def anomalies(
    spark: Any,
    table: pa.Table,
    events: Mapping[str, tuple[str, str]],
    *,
    split: Split = SPLIT,
    epochs: int = 20,
    rate: float = 5e-3,
    seed: int = 0,
    partitions: int | None = None,
    shards: int | None = None,
    checkpoint: str | None = None,
    callbacks: Sequence[fdl_spark.Callback] = (),
) -> Result:
    """Train the LSTM on the beginning of a series, and search what follows for events.

    Args:
      spark: the session.
      table: half-hours without gaps: time and count.
      events: the first and last time of each, by name.
      split: into training, calm weeks and the search.
      epochs: how many.
      rate: of Adam, in the beginning.
      seed, partitions, shards, checkpoint, callbacks: of `fdl_spark.train`.
    """
    times, counts = table["time"].to_numpy().astype("datetime64[s]"), table["count"].to_numpy().astype(np.float64)
    steps = times.astype(np.int64) // 1800
    train, calm = times < np.datetime64(split.train), times < np.datetime64(split.calm)
    mean, deviation = counts[train].mean(), counts[train].std()
    values = ((counts - mean) / deviation).astype(np.float32)
    series = fdl_spark.dataframe({"step": steps.astype(np.int32), "value": values}, spark)
    cut = features.windows(series, "step", ["value"], past=MODEL.length, future=1)
    cut = cut.withColumn("step", cut["step"].cast("int")).cache()
    known = cut.where(cut["step"] <= int(steps[train][-1]))
    windows = known.count()
    began = time.perf_counter()
    try:
        run = fdl_spark.train(
            loss,
            anomaly_lstm.init(fdl.random.key(seed), MODEL),
            known,
            optimizer=optim.adam(optim.cosine_decay_schedule(rate, epochs * -(-windows // BATCH))),
            batch_size=BATCH,
            epochs=epochs,
            seed=seed,
            partitions=partitions,
            shards=shards,
            checkpoint=checkpoint,
            callbacks=callbacks,
        )
        seconds = time.perf_counter() - began
        made = fdl_spark.predict(forecast, run.params, cut, "forecast").select("step", "forecast").toArrow()
    finally:
        cut.unpersist()
    forecasts = np.full(len(steps), np.nan)
    forecasts[np.searchsorted(steps, made["step"].to_numpy())] = made["forecast"].to_numpy()
    slots, whole = steps % WEEK, ~np.isnan(forecasts)
    scores = {
        LSTM: scaled(np.where(whole, values - forecasts, 0), slots % DAY, train & whole),
        BASELINE: seasonal(counts, slots, train),
    }
    inside = [(times >= np.datetime64(a)) & (times <= np.datetime64(b)) for a, b in events.values()]
    searched = {name: np.where(calm, 0, score) for name, score in scores.items()}
    thresholds = {name: threshold(score[calm & whole], RISK) for name, score in scores.items()}
    return Result(
        run,
        times,
        counts,
        forecasts * deviation + mean,
        scores,
        thresholds,
        {name: detect(score, thresholds[name], inside) for name, score in searched.items()},
        {name: curve(score, inside) for name, score in searched.items()},
        events,
        split,
        windows,
        seconds,
    )


def table(result: Result) -> str:
    """What was found, as text, and what detectors of NAB find."""
    rows: dict[str, tuple[int, int, int | None]] = {
        name: (sum(found.events), len(found.false), result.curves[name][-1]) for name, found in result.found.items()
    }
    every = len(result.events)
    lines = [f"{'':24}events found  false alarms  precision  recall  false alarms with all {every} found"]
    for name, (hits, false, least) in {**rows, **NAB}.items():
        precision = hits / (hits + false) if hits or false else 1.0
        rates = f"{precision:9.2f}  {hits / every:6.2f}"
        lines.append(f"{name:24}{hits:12}  {false:12}  {rates}  {'-' if least is None else least:>12}")
    return "\n".join(lines)


def plot(result: Result, path: str | Path) -> None:
    """Save a figure: the counts with their forecasts, and the scores with thresholds, events and alarms."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 8), layout="constrained")
    axes = figure.subplots(1 + len(result.scores), 1, sharex=True)
    shown = slice(int(np.searchsorted(result.times, np.datetime64(result.split.train))), None)
    times = result.times[shown].astype("datetime64[s]").astype(object)
    axes[0].plot(times, result.counts[shown], color="black", linewidth=0.6, label="counted")
    axes[0].plot(times, result.forecasts[shown], color="tab:orange", linewidth=0.6, label="forecast by the LSTM")
    axes[0].set(ylabel="passengers in half an hour", title="taxis in New York, and events that are known")
    axes[0].legend(loc="lower left", fontsize=8)
    for axis, (name, score) in zip(axes[1:], result.scores.items(), strict=True):
        axis.plot(times, score[shown], color="tab:blue", linewidth=0.6)
        axis.axhline(result.thresholds[name], color="tab:red", linewidth=0.8, linestyle="--", label="threshold")
        false = result.found[name].false
        axis.plot(result.times[false].astype(object), score[false], "x", color="tab:red", label="false alarms")
        found = sum(result.found[name].events)
        axis.set(ylabel="score", title=f"{name}: {found} of {len(result.events)} events, {len(false)} false alarms")
        axis.legend(loc="upper left", fontsize=8)
    for number, (name, ends) in enumerate(result.events.items()):
        first, last = (np.datetime64(end, "s").astype(object) for end in ends)
        for place, axis in enumerate(axes):
            hit = place == 0 or list(result.found.values())[place - 1].events[number]
            axis.axvspan(first, last, color="tab:green" if hit else "tab:red", alpha=0.15)
        low, high = axes[0].get_ylim()
        axes[0].text(first, high - number % 2 * 0.1 * (high - low), name, fontsize=8, va="top")  # names may be close
    axes[0].margins(x=0)
    figure.savefig(path, dpi=150)
