"""The table and the figure at the end."""

from pathlib import Path

import numpy as np

from examples.speech import sink
from examples.speech.program import Result
from examples.speech.survive import Survival
from examples.speech.words import NAMES


def share(right: float, of: int) -> str:
    """A share with its standard error, as recordings were independent draws, which those of one speaker are not."""
    return f"{right:.3f} ± {np.sqrt(right * (1 - right) / of):.3f}"


def table(result: Result) -> str:
    """The accuracies as text."""
    lines = ["held out                recordings  speakers  network          nearest template  chance"]
    for name, (rows, speakers) in result.tested.items():
        accuracy, nearest = result.found[name]["accuracy"], result.baseline[name]
        lines.append(
            f"{name:22}  {rows:10,}  {speakers:8}  {share(accuracy, rows):15}  {nearest:16.3f}  {1 / len(NAMES):6.3f}"
        )
    return "\n".join(lines)


def survived(found: Survival) -> str:
    """What came of the stream, as text."""
    (p50, p99), (all50, all99) = sink.quantiles(found.steady), sink.quantiles(found.late)
    return "\n".join(
        [
            f"{found.sent:,} records; killed: {', '.join(found.killed) or 'nothing'}; "
            f"{found.starts} starts of the driver",
            f"in the sink once: {found.once:,}, more often: {found.twice}, missing: {found.missing}; "
            f"other words than without Spark: {found.other}, recordings with unlike probabilities: {found.unlike}",
            f"producer to commit: p50 {p50:.2f} s, p99 {p99:.2f} s ({len(found.steady):,} records while nothing was "
            f"down); with what waited for a restart p50 {all50:.2f} s, p99 {all99:.2f} s",
        ]
    )


def matrix(confusion: dict) -> np.ndarray:
    """A confusion as counts [true, taken for] of all classes."""
    counts = np.zeros((len(NAMES), len(NAMES)), int)
    labels = np.array(confusion["labels"], int)
    counts[np.ix_(labels, labels)] = confusion["matrix"]
    return counts


def plot(result: Result, found: Survival | None, path: str | Path) -> None:
    """Save a figure: what is taken for what, in parts of a row, and how late words were."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 6.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.05])
    counts = np.sum([matrix(one["confusion"]) for one in result.found.values()], axis=0)
    parts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    left.imshow(parts, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts > 0):
        dark = parts[row, column] > 0.5
        left.text(
            column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=8, color="w" if dark else "k"
        )
    places = range(len(NAMES))
    left.set(xticks=places, xticklabels=NAMES, yticks=places, yticklabels=NAMES, xlabel="taken for", ylabel="spoken")
    shares = ", ".join(f"{name}: {result.found[name]['accuracy']:.1%}" for name in result.found)
    left.set_title(f"Humans who were not trained on\n{shares}", fontsize=9)
    if found is None:
        right.axis("off")
        right.text(0.5, 0.5, "no stream was run", ha="center")
    else:
        p50, p99 = sink.quantiles(found.steady)
        ends = np.geomspace(max(found.late.min(), 0.01) * 0.9, found.late.max() * 1.1, 60)
        right.hist(found.late, ends, color="lightgrey", label="all, with what waited for a restart")
        right.hist(found.steady, ends, color="tab:blue", label="while nothing was down")
        for value, style, text in ((p50, "-", "p50"), (p99, "--", "p99")):
            right.axvline(value, color="tab:red", linestyle=style, label=f"{text} {value:.2f} s")
        right.set(xscale="log", xlabel="seconds from the producer's timestamp to the commit", ylabel="records")
        killed = " and ".join(found.killed) or "nothing"
        right.set_title(
            f"{found.sent:,} records, {killed} killed: "
            f"{found.once:,} once, {found.twice} twice, {found.missing} missing",
            fontsize=9,
        )
        right.legend(fontsize=8)
        right.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=130)
