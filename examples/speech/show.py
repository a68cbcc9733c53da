"""The table and the figure at the end."""

from pathlib import Path
from typing import Any

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


def people(result: Result) -> str:
    """The accuracies by person as text."""
    lines = ["left out    recordings  trained on voices  and on the other people  nearest template"]
    for name, one in result.people.items():
        lines.append(f"{name:10}  {one.rows:10,}  {one.voices:17.3f}  {one.humans:23.3f}  {one.nearest:16.3f}")
    voices, humans, nearest = (of_people(result, kind) for kind in ("voices", "humans", "nearest"))
    rows = sum(one.rows for one in result.people.values())
    return "\n".join([*lines, f"{'all':10}  {rows:10,}  {voices:17.3f}  {humans:23.3f}  {nearest:16.3f}"])


def of_people(result: Result, kind: str) -> float:
    """The share of all people's recordings that a field of `Person` gives for each."""
    rows = [one.rows for one in result.people.values()]
    return float(np.average([getattr(one, kind) for one in result.people.values()], weights=rows))


def matrix(confusion: dict) -> np.ndarray:
    """A confusion as counts [true, taken for] of all classes."""
    counts = np.zeros((len(NAMES), len(NAMES)), int)
    labels = np.array(confusion["labels"], int)
    counts[np.ix_(labels, labels)] = confusion["matrix"]
    return counts


def plot(result: Result, found: Survival | None, path: str | Path) -> None:
    """Save a figure: what is taken for what, whom the network understands, and how late words were."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 11), layout="constrained")
    (first, second), (third, fourth) = figure.subplots(2, 2)
    counts = np.sum([matrix(one["confusion"]) for one in result.found.values()], axis=0)
    _confused(first, counts, "Trained on synthesized voices, tested on people")
    if result.people:
        counts = np.sum([matrix(one.confusion) for one in result.people.values()], axis=0)
        _confused(second, counts, "Trained on all other people as well, tested on the one who was left out")
    else:
        _empty(second, "nobody was left out")
    _accuracies(third, result)
    if found is None:
        _empty(fourth, "no stream was run")
    else:
        _latencies(fourth, found)
    figure.savefig(path, dpi=120)


def _empty(axes: Any, reason: str) -> None:
    axes.axis("off")
    axes.text(0.5, 0.5, reason, ha="center")


def _confused(axes: Any, counts: np.ndarray, title: str) -> None:
    spoken = np.flatnonzero(counts.sum(axis=1))
    parts = counts[spoken] / counts[spoken].sum(axis=1, keepdims=True)
    axes.imshow(parts, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(parts >= 0.005):
        color = "w" if parts[row, column] > 0.5 else "k"
        axes.text(column, row, f"{parts[row, column]:.0%}", ha="center", va="center", fontsize=8, color=color)
    axes.set(xticks=range(len(NAMES)), xticklabels=NAMES, xlabel="taken for")
    axes.set(yticks=range(len(spoken)), yticklabels=[NAMES[place] for place in spoken], ylabel="spoken")
    right = counts.trace() / counts.sum()
    axes.set_title(f"{title}\n{right:.1%} of {counts.sum():,} recordings are right", fontsize=10)


def _accuracies(axes: Any, result: Result) -> None:
    """Bars of each person, or of each set if nobody was left out."""
    if result.people:
        names = [f"{name}\n{one.rows:,}" for name, one in result.people.items()]
        bars = {
            "nearest template": ("lightgrey", [one.nearest for one in result.people.values()]),
            "trained on voices": ("tab:blue", [one.voices for one in result.people.values()]),
            "and on the other people": ("tab:green", [one.humans for one in result.people.values()]),
        }
    else:
        names = [f"{name}\n{rows:,}" for name, (rows, _) in result.tested.items()]
        bars = {
            "nearest template": ("lightgrey", list(result.baseline.values())),
            "trained on voices": ("tab:blue", [one["accuracy"] for one in result.found.values()]),
        }
    width = 0.8 / len(bars)
    for number, (label, (color, heights)) in enumerate(bars.items()):
        places = np.arange(len(names)) + (number - (len(bars) - 1) / 2) * width
        drawn = axes.bar(places, heights, width, color=color, label=label)
        axes.bar_label(drawn, [f"{height:.2f}" for height in heights], fontsize=7)
    axes.axhline(1 / len(NAMES), color="tab:red", linestyle=":", label="chance")
    axes.set(xticks=range(len(names)), xticklabels=names, ylim=(0, 1.18), ylabel="accuracy")
    axes.set_title("Who is understood: people who were not trained on, and how many recordings", fontsize=10)
    axes.legend(fontsize=8, ncols=2, loc="upper right")
    axes.grid(axis="y", alpha=0.3)


def _latencies(axes: Any, found: Survival) -> None:
    p50, p99 = sink.quantiles(found.steady)
    ends = np.geomspace(max(found.late.min(), 0.01) * 0.9, found.late.max() * 1.1, 60)
    axes.hist(found.late, ends, color="lightgrey", label="all, with what waited for a restart")
    axes.hist(found.steady, ends, color="tab:blue", label="while nothing was down")
    for value, style, text in ((p50, "-", "p50"), (p99, "--", "p99")):
        axes.axvline(value, color="tab:red", linestyle=style, label=f"{text} {value:.2f} s")
    axes.set(xscale="log", xlabel="seconds from the producer's timestamp to the commit", ylabel="records")
    axes.xaxis.set_major_formatter("{x:g}")
    killed = " and ".join(found.killed) or "nothing"
    axes.set_title(
        f"The stream: {found.sent:,} records, {killed} killed\n"
        f"{found.once:,} once in the sink, {found.twice} twice, {found.missing} missing",
        fontsize=10,
    )
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3, which="both")
