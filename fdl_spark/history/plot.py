"""The figure of a history."""

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fdl_spark.history.history import History

WIDTH = 190  # characters of a line of small print
POINTS = 2000  # more are not to be told apart in a picture


def history_figure(history: "History") -> Any:
    """Three panels: the loss of steps and epochs, the metrics of epochs, the seconds of each phase stacked; below them
    which engine took the steps, and why.

    Args:
      history: the record of a run.

    Returns:
      A matplotlib Figure that belongs to no window.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    losses, metrics, phases = figure.subplots(1, 3)
    steps = np.array([record["step"] for record in history.steps], int)
    losses.plot(*_extremes(steps, np.array(history.loss, float)), linewidth=0.8, label="step")
    _epoch_lines(losses, history, ["loss"])
    names = [name for name in (history.epochs[-1] if history.epochs else {}) if name not in ("epoch", "step", "loss")]
    measured = history.epochs[-1].get("validation", {}) if history.epochs else {}
    _epoch_lines(metrics, history, sorted({name for name in [*names, *measured] if name not in ("loss", "validation")}))
    names = history.phases()
    if names:
        starts = _starts(len(steps), POINTS)
        counts = np.diff([*starts, len(steps)])
        milliseconds = [np.add.reduceat(history.seconds(name) * 1e3, starts) / counts for name in names]
        phases.stackplot(steps[starts], milliseconds, labels=names)
    chosen = [
        f"from step {choice['step'] + 1} by {choice['engine']}, slices: {choice.get('slices', 1)}; {choice['why']}"
        for choice in history.engines
    ]
    for choice in history.engines[1:]:
        phases.axvline(choice["step"], color="gray", linewidth=0.8, linestyle=":")
    if chosen:
        lines = [line for text in chosen[-2:] for line in textwrap.wrap(text, WIDTH)]
        figure.supxlabel("\n".join(lines), fontsize="x-small", x=0.01, ha="left")
    by = f" ({history.engines[-1]['engine']})" if history.engines else ""
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


def _epoch_lines(panel: Any, history: "History", names: list[str]) -> None:
    for name in names:
        for label, of in ((name, lambda r: r), (f"validation {name}", lambda r: r.get("validation", {}))):
            points = np.array([(record["step"], of(record)[name]) for record in history.epochs if name in of(record)])
            if len(points):
                panel.plot(*_extremes(*points.T), marker="o", markersize=3, label=label)
