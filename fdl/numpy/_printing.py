"""How arrays print."""

from typing import Any

import numpy as np

from fdl.array import as_array
from fdl.config import config
from fdl.dtypes import key


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
