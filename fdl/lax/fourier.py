"""Fourier transforms over the last axes, by their lax name."""

import enum
from collections.abc import Sequence
from typing import Any

import numpy as np

from fdl.array import as_operand as as_array
from fdl.errors import ShapeError
from fdl.numpy._operands import cast, inexact, integers
from fdl.ops.fft import fft as transform

__all__ = ["FftType", "fft"]


class FftType(enum.Enum):
    """Which transform.

    >>> FftType.RFFT.value
    2
    """

    FFT = 0
    IFFT = 1
    RFFT = 2
    IRFFT = 3


def fft(x: Any, fft_type: FftType | str, fft_lengths: Sequence[int]) -> Any:
    """A discrete Fourier transform over as many last axes as there are lengths.

    Args:
        x: array; real numbers for "RFFT", else complex.
        fft_type: a :class:`FftType`, or its name.
        fft_lengths: extents of these axes in the time domain, at most three.

    Returns:
        The transform; inverse ones are divided by the number of points.

    Raises:
        ShapeError: the extents do not fit.
        ValueError: there is no such transform.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.fft(fnp.ones(4, complex), "FFT", (4,)).real.tolist()
    [4.0, 0.0, 0.0, 0.0]
    """
    kind = (fft_type.name if isinstance(fft_type, FftType) else str(fft_type)).lower()
    if kind.upper() not in FftType.__members__:
        names = ", ".join(FftType.__members__)
        raise ValueError(f"fft: fft_type must be one of {names}, or its member of FftType, got {fft_type!r:.80}")
    operand, lengths = as_array(x, "the operand of fft"), integers("fft: fft_lengths", fft_lengths)
    if len(lengths) > min(3, operand.ndim):
        raise ShapeError(f"fft: at most three axes of {operand.type} are transformed, got fft_lengths={lengths}")
    if not lengths:
        return operand
    dtype = inexact(operand.dtype)
    return transform(cast(operand, dtype if kind == "rfft" else np.result_type(dtype, np.complex64)), kind, lengths)
