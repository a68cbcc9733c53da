"""The figure of a history."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fdl_spark.history import History


def history_figure(history: "History") -> Any:
    """Three panels: the loss of steps and epochs, the metrics of epochs, the seconds of each phase stacked.

    Args:
      history: the record of a run.

    Returns:
      A matplotlib Figure that belongs to no window.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    losses, metrics, phases = figure.subplots(1, 3)
    steps = [record["step"] for record in history.steps]
    losses.plot(steps, history.loss, linewidth=0.8, label="step")
    _epoch_lines(losses, history, ["loss"])
    names = [name for name in (history.epochs[-1] if history.epochs else {}) if name not in ("epoch", "step", "loss")]
    measured = history.epochs[-1].get("validation", {}) if history.epochs else {}
    _epoch_lines(metrics, history, sorted({name for name in [*names, *measured] if name not in ("loss", "validation")}))
    names = history.phases()
    milliseconds = [[record["phases"].get(name, 0.0) * 1e3 for record in history.steps] for name in names]
    if names:
        phases.stackplot(steps, milliseconds, labels=names)
    for panel, title in ((losses, "loss"), (metrics, "metrics"), (phases, "milliseconds a step")):
        panel.set_title(title)
        panel.set_xlabel("step")
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize="small")
    return figure


def _epoch_lines(panel: Any, history: "History", names: list[str]) -> None:
    for name in names:
        for label, of in ((name, lambda r: r), (f"validation {name}", lambda r: r.get("validation", {}))):
            points = [(record["step"], of(record)[name]) for record in history.epochs if name in of(record)]
            if points:
                panel.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
