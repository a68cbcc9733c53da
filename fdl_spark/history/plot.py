"""The figure of a history."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fdl_spark.history.outcome import flat_numbers
from fdl_spark.history.thin import POINTS, extremes, starts_of_runs

Records = Sequence[Mapping[str, Any]]
WIDTH = 190  # characters of a line of small print


def figure_of(steps: Records, epochs: Records, engines: Records, seconds: Mapping[str, np.ndarray]) -> Any:
    """Up to three panels: the loss of steps and epochs; the metrics of epochs, if there are any; the milliseconds of
    each phase of each step stacked, as stairs. Below them is which engine took the steps, and why.

    Args:
      steps, epochs, engines: the records of a run, as History has them.
      seconds: of each phase, float array (steps,), in their order within a step.

    Returns:
      A matplotlib Figure that belongs to no window.
    """
    from matplotlib.figure import Figure

    last = epochs[-1] if epochs else {}
    names = {*last} - {"epoch", "step", "validation"} | {*flat_numbers(last.get("validation", {}))}
    by = f" ({engines[-1]['engine']})" if engines else ""
    titles = {"loss": "loss", "metrics": "metrics", "phases": f"milliseconds a step{by}"}
    shown = ["loss", *["metrics"] * bool(names - {"loss"}), *["phases"] * bool(seconds)]
    figure = Figure(figsize=(4 * len(shown), 3.6), layout="constrained")
    panels = dict(zip(shown, figure.subplots(1, len(shown), squeeze=False)[0], strict=True))
    losses = panels["loss"]
    numbers = np.array([record["step"] for record in steps], int)
    losses.plot(*extremes(numbers, np.array([record["loss"] for record in steps], float)), linewidth=0.8, label="step")
    _epoch_lines(losses, epochs, ["loss"])
    if "metrics" in panels:
        _epoch_lines(panels["metrics"], epochs, sorted(names - {"loss"}))
    if seconds:
        phases = panels["phases"]
        starts = starts_of_runs(len(numbers), POINTS // 2)  # each is a stair, of two points
        counts = np.diff([*starts, len(numbers)])
        milliseconds = [np.add.reduceat(spent * 1e3, starts) / counts for spent in seconds.values()]
        stairs = [np.append(means, means[-1]) for means in milliseconds]
        ends = np.append(numbers[starts], numbers[-1] + 1)
        phases.stackplot(ends, stairs, labels=list(seconds), step="post", linewidth=0)
        for choice in engines[1:]:
            phases.axvline(choice["step"], color="gray", linewidth=0.8, linestyle=":")
    chosen = [
        f"from step {choice['step'] + 1} by {choice['engine']}, slices: {choice.get('slices', 1)}; {choice['why']}"
        for choice in engines
    ]
    if chosen:
        width = WIDTH * len(shown) // 3
        lines = [line for text in chosen[-2:] for line in textwrap.wrap(text, width)]
        figure.supxlabel("\n".join(lines), fontsize="x-small", x=0.01, ha="left")
    for kind, panel in panels.items():
        panel.set_title(titles[kind])
        panel.set_xlabel("step")
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize="small")
    return figure


def _epoch_lines(panel: Any, epochs: Records, names: list[str]) -> None:
    for name in names:
        for label, of in ((name, lambda r: r), (f"validation {name}", lambda r: flat_numbers(r.get("validation", {})))):
            points = np.array([(record["step"], of(record)[name]) for record in epochs if name in of(record)])
            if len(points):
                panel.plot(*extremes(*points.T), marker="o", markersize=3, label=label)
