"""Small charts as inline SVG: lines, stacked stairs, one stacked bar. Colours and text are those of the page."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fdl_spark.history.markup import Markup, element, number
from fdl_spark.history.thin import POINTS, extremes, starts_of_runs

WIDTH, NARROW, HEIGHT = 760, 400, 250
LEFT, RIGHT, TOP, BOTTOM = 62, 10, 10, 26  # of the frame, for the numbers at the axes
COLOURS = 8  # that the page has, as --c0 to --c7


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
      name: in the legend.
      x, y: arrays (n,); what is not finite is left out, and marked at the lower edge if `marks`.
      dots: whether its points are marked.
      faint: whether it stands behind the others.
      marks: whether to mark points that are not finite.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    dots: bool = False
    faint: bool = False
    marks: bool = False


def colour(index: int) -> str:
    """A colour of the page."""
    return f"var(--c{index % COLOURS})"


def line_chart(
    title: str,
    lines: Sequence[Line],
    borders: Iterable[float] = (),
    events: Iterable[tuple[float, str]] = (),
    width: int = WIDTH,
) -> Markup:
    """Lines over steps.

    Args:
      title: for readers that cannot see it.
      lines: what to draw.
      borders: steps at which an epoch ends.
      events: steps at which something happened, and what.
      width: of the picture, in the unit in which its text is 11 high.

    Returns:
      A figure with an SVG and a legend.
    """
    lines = [Line(line.name, *extremes(line.x, line.y), line.dots, line.faint, line.marks) for line in lines]
    finite = [line.y[np.isfinite(line.y)] for line in lines]
    numbers = np.concatenate([*finite, []])
    axes = Axes.around(np.concatenate([line.x for line in lines]), numbers, width)
    parts = [axes.grid()]
    shown = list(borders)
    if len(shown) <= 200:
        parts += [element("path", d=f"M{axes.x(x):.1f},{TOP}V{HEIGHT - BOTTOM}", class_="border") for x in shown]
    for n, line in enumerate(lines):
        parts += _drawn(line, colour(n), axes)
    for x, what in list(events)[:200]:
        mark = element("path", element("title", what), d=f"M{axes.x(x):.1f},{TOP}V{HEIGHT - BOTTOM}", class_="event")
        parts.append(mark)
    outside = int(((numbers < axes.low) | (numbers > axes.high)).sum())
    note = f"{outside} points lie outside of the axis" if outside else ""
    names = {line.name: colour(n) for n, line in enumerate(lines)}
    return _figure(title, parts, names if len(names) > 1 else {}, note, width)


def stairs_chart(title: str, x: np.ndarray, stacked: Mapping[str, np.ndarray]) -> Markup:
    """Amounts of each step, stacked; of long runs, means of neighbouring steps.

    Args:
      title: for readers that cannot see it.
      x: the numbers of the steps, int array (n,), n at least 1.
      stacked: float arrays (n,) by name, not negative.
    """
    starts = starts_of_runs(len(x), POINTS // 4)
    counts = np.diff([*starts, len(x)])
    means = {name: np.add.reduceat(values, starts) / counts for name, values in stacked.items()}
    tops = np.cumsum(list(means.values()), axis=0)
    ends = np.append(x[starts], x[-1] + 1)
    axes = Axes.around(ends, np.append(tops[-1], 0.0))
    parts, below = [axes.grid()], np.zeros(len(starts))
    for n, top in enumerate(tops):
        upper = [f"{axes.x(a):.1f},{axes.y(t):.1f} {axes.x(b):.1f},{axes.y(t):.1f}" for a, b, t in _runs(ends, top)]
        lower = [f"{axes.x(b):.1f},{axes.y(t):.1f} {axes.x(a):.1f},{axes.y(t):.1f}" for a, b, t in _runs(ends, below)]
        parts.append(element("polygon", points=" ".join(upper + lower[::-1]), fill=colour(n), class_="area"))
        below = top
    outside = int((tops[-1] > axes.high).sum())
    note = f"{outside} stairs are higher than the axis" if outside else ""
    return _figure(title, parts, {name: colour(n) for n, name in enumerate(means)}, note)


def bar(title: str, amounts: Mapping[str, float]) -> Markup:
    """One bar of parts side by side, as long as their shares."""
    whole, at, parts = sum(amounts.values()), 0.0, []
    for n, amount in enumerate(amounts.values()):
        length = WIDTH * amount / whole if whole else 0.0
        parts.append(element("rect", x=f"{at:.1f}", y=0, width=f"{length:.1f}", height=18, fill=colour(n)))
        at += length
    return _figure(title, parts, {name: colour(n) for n, name in enumerate(amounts)}, "", height=18)


@dataclass(frozen=True)
class Axes:
    """Where numbers are in a chart.

    Attributes:
      first, last: the ends of the horizontal axis.
      low, high: those of the vertical one.
      width: of the picture.
    """

    first: float
    last: float
    low: float
    high: float
    width: int = WIDTH

    @staticmethod
    def around(x: np.ndarray, y: np.ndarray, width: int = WIDTH) -> "Axes":
        """Axes that hold all points, but for few that lie so far away that the others would be one flat line."""
        first, last = (float(x.min()), float(x.max())) if len(x) else (0.0, 1.0)
        low, high = (float(y.min()), float(y.max())) if len(y) else (0.0, 1.0)
        if len(y) >= 20:
            under, over = (float(value) for value in np.quantile(y, [0.01, 0.99]))
            reach = 10 * (over - under)
            if reach > 0:
                low, high = max(low, under - reach), min(high, over + reach)
        if not high > low:
            room = abs(high) / 10 or 1.0
            low, high = low - room, high + room
        if not last > first:
            first, last = first - 0.5, last + 0.5
        return Axes(first, last, low, high, width)

    def x(self, value: float) -> float:
        """The horizontal place of a number."""
        return LEFT + (self.width - LEFT - RIGHT) * ((value - self.first) / (self.last - self.first))

    def y(self, value: float) -> float:
        """The vertical place of a number, at the edge if it lies outside."""
        part = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part

    def grid(self) -> Markup:
        """Lines and numbers."""
        parts = []
        for value in ticks(self.low, self.high, 5):
            y = f"{self.y(value):.1f}"
            parts.append(element("path", d=f"M{LEFT},{y}H{self.width - RIGHT}", class_="grid"))
            parts.append(element("text", number(value), x=LEFT - 6, y=y, dy="0.32em", text_anchor="end"))
        for value in ticks(self.first, self.last, self.width // 95):
            if value == int(value):
                x = f"{self.x(value):.1f}"
                parts.append(element("text", number(value), x=x, y=HEIGHT - 8, text_anchor="middle"))
        return element("g", parts, class_="axes")


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers between two others, about so many.

    >>> ticks(0, 10, 5), ticks(0.123, 0.131, 4)
    ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [0.124, 0.126, 0.128, 0.13])
    """
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return []
    rough = span / about
    unit = 10.0 ** math.floor(math.log10(rough))
    apart = next((unit * factor for factor in (1, 2, 5) if unit * factor >= rough * 0.99), 10 * unit)
    first, last = math.ceil(low / apart - 1e-9), math.floor(high / apart + 1e-9)
    digits = max(0, 1 - math.floor(math.log10(apart)))
    return [round(n * apart, digits) + 0.0 for n in range(first, last + 1)] if last - first < 100 else []


def _drawn(line: Line, ink: str, axes: Axes) -> list[Markup]:
    there = np.isfinite(line.y)
    points = [f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in zip(line.x[there], line.y[there], strict=True)]
    # A line breaks where numbers are missing.
    breaks = np.cumsum(~there)[there]
    pieces: dict[int, list[str]] = {}
    for piece, point in zip(breaks.tolist(), points, strict=True):
        pieces.setdefault(piece, []).append(point)
    path = "".join(f"M{' '.join(piece)}" for piece in pieces.values() if len(piece) > 1)
    parts = [element("path", d=path, stroke=ink, class_="faint line" if line.faint else "line")] if path else []
    alone = [piece[0] for piece in pieces.values() if len(piece) == 1]
    for point in points if line.dots and len(points) <= 100 else alone:
        x, y = point.split(",")
        parts.append(element("circle", cx=x, cy=y, r=2.5, fill=ink))
    if line.marks:
        for x in line.x[~there][:200]:
            left, top = axes.x(x) - 4, HEIGHT - BOTTOM - 8
            what = element("title", f"step {int(x) + 1}: not finite")
            parts.append(element("path", what, d=f"M{left:.1f},{top}l8,8m0,-8l-8,8", class_="mark"))
    return parts


def _runs(ends: np.ndarray, heights: np.ndarray) -> list[tuple[float, float, float]]:
    return list(zip(ends[:-1].tolist(), ends[1:].tolist(), heights.tolist(), strict=True))


def _figure(
    title: str, parts: list[Markup], names: Mapping[str, str], note: str, width: int = WIDTH, height: int = HEIGHT
) -> Markup:
    drawing = element(
        "svg", element("title", title), parts, viewBox=f"0 0 {width} {height}", role="img", aria_label=title
    )
    legend = [element("span", element("i", style=f"background:{ink}"), name) for name, ink in names.items()]
    below = [element("p", legend, class_="legend")] if legend else []
    return element("figure", drawing, below, element("p", note, class_="note") if note else [])
