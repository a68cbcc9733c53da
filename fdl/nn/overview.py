"""A table of the parameters of a model."""

import math
from typing import Any, NamedTuple

from fdl import tree
from fdl.array import as_array
from fdl.core.markup import counted, heading, table

#: How many leaves a table shows; the others are one line.
_SHOWN = 200


class Row(NamedTuple):
    """One leaf: its path, shape, dtype, number of elements, and bytes."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    elements: int
    bytes: int


class Summary:
    """The leaves of a tree of parameters, shown as a table: text, or HTML in notebooks.

    Attributes:
        rows: one for each leaf.
        count: number of elements in all.
        bytes: of all leaves.
    """

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.count, self.bytes = sum(row.elements for row in rows), sum(row.bytes for row in rows)

    def _cells(self) -> list[tuple[str, ...]]:
        cells = [("path", "shape", "dtype", "count", "bytes")]
        cells += [
            (row.path or "(root)", str(list(row.shape)), row.dtype, f"{row.elements:,}", f"{row.bytes:,}")
            for row in self.rows[:_SHOWN]
        ]
        if hidden := self.rows[_SHOWN:]:
            elements, size = sum(row.elements for row in hidden), sum(row.bytes for row in hidden)
            cells.append((f"{len(hidden):,} more", "", "", f"{elements:,}", f"{size:,}"))
        return [*cells, ("total", "", "", f"{self.count:,}", f"{self.bytes:,}")]

    def __repr__(self) -> str:
        cells = self._cells()
        widths = [max(len(row[i]) for row in cells) for i in range(5)]
        lines = [
            "  ".join(x.rjust(w) if i > 2 else x.ljust(w) for i, (x, w) in enumerate(zip(row, widths, strict=True)))
            for row in cells
        ]
        rule = "-" * len(lines[0])
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])

    def _repr_html_(self) -> str:
        head, *body = self._cells()
        facts = counted(len(self.rows), "leaf", "leaves"), counted(self.count, "element"), counted(self.bytes, "byte")
        return f"<div>{heading('tree', *facts)}{table(head, body[:-1], numbers=(3, 4))}</div>"


def summary(params: Any) -> Summary:
    """The paths, shapes, dtypes and sizes of parameters (or of any tree of arrays), as a table.

    Args:
        params: a tree of arrays, or of what has a shape and a dtype, such as :func:`fdl.eval_shape` gives.

    Returns:
        An object with `rows`, `count` and `bytes`, which prints as a table.

    >>> import fdl.numpy as fnp
    >>> summary({"dense": {"w": fnp.zeros((3, 4)), "b": fnp.zeros(4)}})
    path     shape   dtype    count  bytes
    --------------------------------------
    dense/b  [4]     float32      4     16
    dense/w  [3, 4]  float32     12     48
    --------------------------------------
    total                        16     64
    """
    rows = []
    for path, leaf in tree.leaves_with_path(params):
        known = leaf if hasattr(leaf, "shape") and hasattr(leaf, "dtype") else as_array(leaf)
        shape, count = tuple(known.shape), math.prod(known.shape)
        size = getattr(known.dtype, "itemsize", 0)
        rows.append(Row(tree.keystr(path, simple=True, separator="/"), shape, str(known.dtype), count, count * size))
    return Summary(rows)
