"""How arrays print, and show in notebooks."""

from typing import Any

import numpy as np

from fdl.array import as_array
from fdl.config import config
from fdl.core.markup import counted, heading, note, table
from fdl.dtypes import key

#: Rows and columns of a table; of longer ones it shows half of these at each end.
_ROWS, _COLUMNS = 8, 8

#: The range of more elements is not looked for: to show a value takes no time.
_RANGED = 1 << 24


def array_repr(
    arr: Any, max_line_width: int | None = None, precision: int | None = None, suppress_small: Any = None
) -> str:
    """Like ``Array([1., 2.], dtype=float32)``.

    >>> array_repr(array([1, 2]))
    'Array([1, 2], dtype=int32)'
    """
    arr = as_array(arr)
    if arr.is_deleted():
        return f"Array({arr.type}, donated)"
    data = arr.concrete()
    if data.dtype == key:
        words = np.stack([data["word0"], data["word1"]], -1)
        return f"Array({data.shape}, dtype=key) of words\n{words}"
    dtype = f"dtype={data.dtype}" + (", weak_type=True" if arr.weak and config.weak_arrays else "")
    if not data.size:
        return f"Array([], {f'shape={data.shape}, ' if data.ndim != 1 else ''}{dtype})"
    if data.size > np.get_printoptions()["threshold"]:  # as NumPy, where not all elements are shown
        dtype = f"shape={data.shape}, {dtype}"
    text = np.array2string(data, max_line_width, precision, suppress_small, separator=", ", prefix="Array(")
    last = text.rsplit("\n", 1)[-1]
    width = max_line_width or np.get_printoptions()["linewidth"]
    room = len(last) + (6 if "\n" not in text else 0) + len(dtype) + 3 <= width
    return f"Array({text}, {dtype})" if room else f"Array({text},\n      {dtype})"


def array_str(
    a: Any, max_line_width: int | None = None, precision: int | None = None, suppress_small: Any = None
) -> str:
    """The elements as text, without the dtype.

    >>> array_str(array([1, 2]))
    '[1 2]'
    """
    a = as_array(a)
    data = a.concrete()
    if data.dtype == key:
        return array_repr(a)
    return np.array_str(data, max_line_width, precision, suppress_small)


def array_html(a: Any) -> str:
    """The type, the range, and the corners of the first matrix, as HTML.

    >>> "int32[2, 2]" in array_html(array([[1, 2], [3, 4]]))
    True
    """
    if a.is_deleted():
        return heading("Array", str(a.type), "donated")
    data = a.concrete()
    shape, size = list(data.shape), data.nbytes
    unit = next(((f, u) for f, u in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")) if size >= f), None)
    memory = f"{size / unit[0]:.3g} {unit[1]}" if unit else counted(size, "byte")
    name = "key" if data.dtype == key else str(data.dtype)
    if not shape:
        return f"<div>{heading('Array', _cell(data[()]), name)}</div>"
    first = heading("Array", f"{name}{shape}", memory, *_range(data))
    if not data.size:
        return f"<div>{first}</div>"
    shown = data if data.ndim < 3 else data[(0,) * (data.ndim - 2)]
    which = "" if data.ndim < 3 else note(f"[{'0, ' * (data.ndim - 2)}:, :] of it")
    corner = shown[:, None] if data.dtype == key and shown.ndim == 1 else np.atleast_2d(shown)
    rows, columns = _ends(corner.shape[0], _ROWS), _ends(corner.shape[1], _COLUMNS)
    cells = [["…" if r is None or c is None else _cell(corner[r, c]) for c in columns] for r in rows]
    numbers = ["" if len(rows) == 1 and shown.ndim < 2 else "…" if r is None else str(r) for r in rows]
    head = ["", *("…" if c is None else str(c) for c in columns)]
    body = [[n, *row] for n, row in zip(numbers, cells, strict=True)]
    return f"<div>{first}{which}{table(head, body, range(len(columns) + 1))}</div>"


def _ends(extent: int, most: int) -> list[int | None]:
    """Indices that are shown, None for those between."""
    if extent <= most:
        return list(range(extent))
    return [*range(most // 2), None, *range(extent - most // 2, extent)]


def _range(data: np.ndarray) -> list[str]:
    """The smallest and the largest element, and how many are NaN, of real numbers."""
    if data.dtype == key or data.dtype.kind == "c" or data.dtype.kind == "b" or not 1 < data.size <= _RANGED:
        return []
    nans = int(np.isnan(data).sum()) if data.dtype.kind not in "iu" else 0
    if nans == data.size:
        return ["all NaN"]
    known = data[~np.isnan(data)] if nans else data
    return [f"range {_cell(np.min(known))} … {_cell(np.max(known))}", *([f"{nans:,} NaN"] if nans else [])]


def _cell(element: Any) -> str:
    if element.dtype == key:
        return f"{element['word0']:08x} {element['word1']:08x}"
    if element.dtype.kind in "iub":
        return str(element)
    return f"{complex(element) if element.dtype.kind == 'c' else float(element):.5g}"
