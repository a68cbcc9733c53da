"""HTML and SVG as text that nothing of the user's can break: what is no markup is escaped."""

import html
from typing import Any


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, /, *content: Any, **attributes: Any) -> Markup:
    """An element of HTML or SVG.

    Args:
      name: of the element.
      content: Markup as it is, iterables of content one after the other, anything else as escaped text.
      attributes: their values; `class_` is "class", underscores are hyphens, None leaves one out.

    >>> element("p", "a < b", element("b", "c"), class_="x")
    '<p class="x">a &lt; b<b>c</b></p>'
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(map(_text, content))
    return Markup(f"<{name}{told}>" if name in VOID else f"<{name}{told}>{inside}</{name}>")


VOID = ("br", "meta")


def _text(content: Any) -> str:
    if isinstance(content, Markup):
        return content
    if isinstance(content, list | tuple):
        return "".join(map(_text, content))
    return html.escape("" if content is None else str(content))


def table(heads: list[str], rows: list[list[Any]], class_: str | None = None) -> Markup:
    """A table; numbers stand at the right of their cells.

    Args:
      heads: of the columns.
      rows: of content as `element` takes it; None is an empty cell. One that `number` or the like made is a number.
      class_: of the table.
    """
    numeric = [any(isinstance(row[n], Figure) for row in rows) for n in range(len(heads))]
    right = ["number" if is_number else None for is_number in numeric]
    head = element("tr", [element("th", text, class_=c) for text, c in zip(heads, right, strict=True)])
    lines = [element("tr", [element("td", cell, class_=c) for cell, c in zip(row, right, strict=True)]) for row in rows]
    whole = element("table", element("thead", head), element("tbody", lines), class_=class_)
    return element("div", whole, class_="scroll")


class Figure(str):
    """The text of a number."""

    __slots__ = ()


def number(value: float | None) -> Figure:
    """A number for people: whole ones with separators, others with four digits.

    >>> number(1234567), number(0.123456), number(1e-9), number(float("nan"))
    ('1,234,567', '0.1235', '1e-09', 'NaN')
    """
    if value is None:
        return Figure("")
    if value != value:
        return Figure("NaN")
    if value in (float("inf"), float("-inf")):
        return Figure("∞" if value > 0 else "−∞")
    if float(value).is_integer() and abs(value) < 1e15:
        return Figure(f"{int(value):,}")
    return Figure(f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}")


def duration(seconds: float | None) -> Figure:
    """Seconds for people.

    >>> duration(0.00123), duration(4.2), duration(75), duration(3725)
    ('1.23 ms', '4.2 s', '1 min 15 s', '1 h 02 min')
    """
    if seconds is None:
        return Figure("")
    if not seconds < float("inf"):
        return number(seconds)
    if seconds < 1:
        return Figure(f"{seconds * 1e3:.3g} ms")
    if seconds < 60:
        return Figure(f"{seconds:.3g} s")
    minutes, rest = divmod(round(seconds), 60)
    return Figure(f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60:02d} min")


def bytes_(count: float | None) -> Figure:
    """A number of bytes for people.

    >>> bytes_(999), bytes_(247_000), bytes_(31_800_000_000)
    ('999 B', '247 kB', '31.8 GB')
    """
    if count is None:
        return Figure("")
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return Figure(f"{count:.3g} {unit}")
        count /= 1000
    return Figure(f"{count:,.3g} TB")


def share(part: float, whole: float) -> Figure:
    """A part of a whole in percent.

    >>> share(1, 3), share(0, 0)
    ('33.3 %', '')
    """
    return Figure(f"{100 * part / whole:.1f} %" if whole else "")
