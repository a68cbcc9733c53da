"""Text of indented lines, as notebooks and terminals show it."""

import html
import re
import sys
from collections.abc import Iterator

#: What is coloured: comments, types, names of results.
_TOKENS = re.compile(r"(?P<comment>[#;] .*)|(?P<type>\b(?:key|bool|[bcfiu]+\d+)(?:\[[\d,]*\])?)|(?P<result>%\d+(?= =))")
_COLOURS = {"comment": "90", "type": "36", "result": "33"}
#: Colours that can be read on a white page and on a black one.
_HTML = {"comment": "#767676", "type": "#00807d", "result": "#9a6b00"}

#: A longer text is folded at first.
_LONG = 30


class Listing(str):
    """Text that a notebook shows with parts to unfold, and a terminal in colours where it is shown but not printed."""

    def __repr__(self) -> str:
        if sys.stdout is None or not sys.stdout.isatty():
            return str(self)
        return _TOKENS.sub(lambda m: f"\033[{_COLOURS[str(m.lastgroup)]}m{m.group()}\033[0m", self)

    def _repr_html_(self) -> str:
        rows = self.splitlines()
        style = "font-family: monospace; white-space: pre; line-height: 1.3; overflow-x: auto"
        return f'<div style="{style}">{"".join(_html(rows, len(rows) <= _LONG))}</div>'


def _html(rows: list[str], opened: bool) -> Iterator[str]:
    """Lines, those with more indented ones below as summaries of these; the outermost may be open."""
    number = 0
    while number < len(rows):
        head, depth = rows[number], _depth(rows[number])
        end = number + 1
        while end < len(rows) and _depth(rows[end]) > depth:
            end += 1
        if end - number == 1:
            yield f"<div>{_marked(head)}</div>"
        else:
            inside = "".join(_html(rows[number + 1 : end], opened))
            state = " open" if opened and not depth else ""
            yield f"<details{state}><summary>{_marked(head)}</summary>{inside}</details>"
        number = end


def _depth(row: str) -> int:
    return len(row) - len(row.lstrip()) if row.strip() else 1


def _marked(row: str) -> str:
    parts, last = [], 0
    for match in _TOKENS.finditer(row):
        parts.append(html.escape(row[last : match.start()]))
        parts.append(f'<span style="color: {_HTML[str(match.lastgroup)]}">{html.escape(match.group())}</span>')
        last = match.end()
    return "".join(parts) + html.escape(row[last:])
