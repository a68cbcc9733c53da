"""How large the elements of an array are, counted, and the range of them that 8 bits are best spent on."""

from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax
from fdl.core.types import Array
from fdl.errors import NonFiniteError

#: Bins of a histogram: of all sizes of float32 by exponent and five bits behind the point, so that none is wider than
#: a 32nd of its beginning.
BINS = 8192
_SHIFT = 18  # bits of float32 that a bin does not see
_INFINITE = np.uint32(0x7F800000)  # the bits of infinity
LEVELS = 127  # the largest integer; -128 is not used, so that ranges are symmetric


def histogram(x: Any) -> Array:
    """How many elements of an array have which absolute value.

    Args:
        x: floating-point array of any shape.

    Returns:
        int32 [BINS]. Histograms of several arrays are added.

    >>> counts = histogram([0.0, -1.0, 1.0, 2.0])
    >>> [int(n) for n in counts[counts > 0]]
    [1, 2, 1]
    """
    bits = lax.bitcast_convert_type(fnp.abs(fnp.asarray(x, "float32")), "uint32")
    return fnp.bincount((bits >> _SHIFT).astype("int32").reshape(-1), length=BINS).astype("int32")


def largest(counts: Any) -> float:
    """The absolute value at which inputs are best cut off when they are rounded to 8 bits.

    It is the end of a bin, the one for which the sum of squared errors is least: elements below are rounded to
    multiples of a 127th of it, those above become it.

    Args:
        counts: [BINS], whole numbers, from `histogram`.

    Returns:
        The largest absolute value that is kept; 1 if all elements are 0.

    Raises:
        fdl.errors.NonFiniteError: an element was infinite or NaN.
        ValueError: these are no such counts, or there were no elements.

    >>> largest(histogram(np.linspace(-1, 1, 1001)))
    1.03125
    """
    counts = np.asarray(counts, np.int64)
    if counts.shape != (BINS,) or not counts.any():
        raise ValueError(f"a histogram has {BINS} counts of at least one element, not {counts.shape}")
    edges = np.arange(BINS + 1, dtype=np.uint32) << _SHIFT
    finite = edges[:-1] < _INFINITE
    if counts[~finite].any():
        raise NonFiniteError("an input of a product is infinite or NaN, and 8 bits hold neither")
    low, high = (np.minimum(e, _INFINITE - 1).view(np.float32).astype(np.float64) for e in (edges[:-1], edges[1:]))
    middle = (low + high) / 2
    used = np.nonzero(counts * (middle > high[0]))[0]  # elements of the first bin are 0, or as good as that
    if not used.size:
        return 1.0
    candidates = high[max(1, used[-1] - 8 * 32) : used[-1] + 1]  # down to a 256th of the largest
    step = candidates / LEVELS
    value, count = middle[used], counts[used]
    rounded = np.minimum(value**2, (step**2 / 12)[:, None])
    cut = np.maximum(value - candidates[:, None], 0) ** 2
    errors = (np.where(value > candidates[:, None], cut, rounded) * count).sum(1)
    return float(candidates[::-1][np.argmin(errors[::-1])])
