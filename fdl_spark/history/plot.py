"""The figure of a history."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fdl_spark.history.outcome import flat_numbers

Records = Sequence[Mapping[str, Any]]
WIDTH = 190  # characters of a line of small print
POINTS = 2000  # more are not to be told apart in a picture


def figure_of(steps: Records, epochs: Records, engines: Records, seconds: Mapping[str, np.ndarray]) -> Any:
    """Three panels: the loss of steps and epochs, the metrics of epochs, the milliseconds of each phase of each step
    stacked, as stairs; below them which engine took the steps, and why.

    Args:
      steps, epochs, engines: the records of a run, as History has them.
      seconds: of each phase, float array (steps,), in their order within a step.

    Returns:
      A matplotlib Figure that belongs to no window.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    losses, metrics, phases = figure.subplots(1, 3)
    numbers = np.array([record["step"] for record in steps], int)
    losses.plot(*_extremes(numbers, np.array([record["loss"] for record in steps], float)), linewidth=0.8, label="step")
    _epoch_lines(losses, epochs, ["loss"])
    last = epochs[-1] if epochs else {}
    names = {*last} - {"epoch", "step"} | {*flat_numbers(last.get("validation", {}))}
    _epoch_lines(metrics, epochs, sorted(names - {"loss", "validation"}))
    if seconds:
        starts = _starts(len(numbers), POINTS // 2)  # each is a stair, of two points
        counts = np.diff([*starts, len(numbers)])
        milliseconds = [np.add.reduceat(spent * 1e3, starts) / counts for spent in seconds.values()]
        stairs = [np.append(means, means[-1]) for means in milliseconds]
        ends = np.append(numbers[starts], numbers[-1] + 1)
        phases.stackplot(ends, stairs, labels=list(seconds), step="post", linewidth=0)
    chosen = [
        f"from step {choice['step'] + 1} by {choice['engine']}, slices: {choice.get('slices', 1)}; {choice['why']}"
        for choice in engines
    ]
    for choice in engines[1:]:
        phases.axvline(choice["step"], color="gray", linewidth=0.8, linestyle=":")
    if chosen:
        lines = [line for text in chosen[-2:] for line in textwrap.wrap(text, WIDTH)]
        figure.supxlabel("\n".join(lines), fontsize="x-small", x=0.01, ha="left")
    by = f" ({engines[-1]['engine']})" if engines else ""
    for panel, title in ((losses, "loss"), (metrics, "metrics"), (phases, f"milliseconds a step{by}")):
        panel.set_title(title)
        panel.set_xlabel("step")
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize="small")
    return figure


def _starts(count: int, most: int) -> np.ndarray:
    """Where to cut so many points into at most so many runs of about the same length."""
    return np.unique(np.linspace(0, count, min(count, most), endpoint=False).astype(int))


def _extremes(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points of a long line that its picture consists of: the lowest and the highest of each run."""
    if len(x) <= POINTS:
        return x, y
    kept = []
    starts = _starts(len(x), POINTS // 2)
    for start, run in zip(starts, np.split(y, starts[1:]), strict=True):
        lowest = np.where(np.isnan(run), np.inf, run).argmin()
        highest = np.where(np.isnan(run), -np.inf, run).argmax()
        kept += sorted((start + lowest, start + highest))
    return x[kept], y[kept]


def _epoch_lines(panel: Any, epochs: Records, names: list[str]) -> None:
    for name in names:
        for label, of in ((name, lambda r: r), (f"validation {name}", lambda r: flat_numbers(r.get("validation", {})))):
            points = np.array([(record["step"], of(record)[name]) for record in epochs if name in of(record)])
            if len(points):
                panel.plot(*_extremes(*points.T), marker="o", markersize=3, label=label)
