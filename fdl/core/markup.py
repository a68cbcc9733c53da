"""HTML of values as notebooks show it: whole by itself, escaped, and in the colours of the page, light or dark."""

import html
from collections.abc import Sequence

_TABLE = "font-family: monospace; border-collapse: collapse; width: auto; margin: 0.3em 0; box-shadow: none"
_CELL = "padding: 0.1em 0.6em; border: none; white-space: nowrap"


def counted(count: int, one: str, many: str = "") -> str:
    """A number of things.

    >>> counted(1, "leaf", "leaves"), counted(2000, "byte")
    ('1 leaf', '2,000 bytes')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def heading(name: str, *facts: str) -> str:
    """A name in bold, and what is said of it."""
    said = "".join(f" · {html.escape(fact)}" for fact in facts if fact)
    return f'<div style="font-family: monospace"><b>{html.escape(name)}</b>{said}</div>'


def note(text: str) -> str:
    """A line below a heading."""
    return f'<div style="font-family: monospace; opacity: 0.75">{html.escape(text)}</div>'


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = (), bars: Sequence[float] = ()
) -> str:
    """Cells of text as a table.

    Args:
        head: names of the columns; without any, the table has no head.
        rows: the cells of each row.
        numbers: columns that stand at the right.
        bars: for each row how long a bar at its end is, from 0 to 1.
    """

    def row(tag: str, cells: Sequence[str], end: str = "") -> str:
        sides = ["right" if n in numbers else "left" for n in range(len(cells))]
        inner = "".join(
            f'<{tag} style="text-align: {side}; {_CELL}">{html.escape(cell)}</{tag}>'
            for side, cell in zip(sides, cells, strict=True)
        )
        return f"<tr>{inner}{end}</tr>"

    ends = [f'<td style="min-width: 8em">{_bar(share)}</td>' for share in bars] or [""] * len(rows)
    body = "".join(row("td", cells, end) for cells, end in zip(rows, ends, strict=True))
    names = f"<thead>{row('th', head, '<th></th>' if bars else '')}</thead>" if head else ""
    return f'<div style="overflow-x: auto"><table style="{_TABLE}">{names}<tbody>{body}</tbody></table></div>'


def _bar(share: float) -> str:
    width = 100 * min(max(share, 0.0), 1.0)
    return f'<div style="height: 0.8em; background: currentColor; opacity: 0.45; width: {width:.1f}%"></div>'
