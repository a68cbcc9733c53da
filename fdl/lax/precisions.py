"""The precisions that products can be asked for, and what they mean to convolutions."""

import enum
from typing import Any

from fdl.config import config

__all__ = ["DotAlgorithmPreset", "Precision"]

#: Names that JAX has for precisions, and whether products may be rounded more than by direct sums in float32.
_NAMES = {"default": True, "fastest": True, "bfloat16": True} | dict.fromkeys(
    ("high", "highest", "bfloat16_3x", "tensorfloat32", "float32"), False
)


class Precision(enum.Enum):
    """How products are rounded: those of matrices in the precision of the operands, whatever is asked for.

    Under DEFAULT, convolutions of float32 by 3x3 windows of stride 1, and their gradients by the images, are computed
    with fewer multiplications (Winograd's algorithm) where that gains: images of 16 tiles of 4x4 results and more, with
    64 channels and more, on processors with AVX2. The error is one to three times that of direct sums. The results of
    a tile are made of the same sums, so that a NaN or an infinity among the 6x6 elements that they read makes all of
    them NaN. HIGH and HIGHEST sum all products directly.

    Source: A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2016.

    >>> import fdl
    >>> fdl.lax.Precision.HIGHEST.name
    'HIGHEST'
    """

    DEFAULT = 0
    HIGH = 1
    HIGHEST = 2


class DotAlgorithmPreset(enum.Enum):
    """Accepted for ports, as :class:`Precision` is: products are rounded at least as well as each of them asks for.

    >>> import fdl
    >>> fdl.lax.DotAlgorithmPreset.DEFAULT.name
    'DEFAULT'
    """

    DEFAULT = 0
    ANY_F8_ANY_F8_F32 = enum.auto()
    ANY_F8_ANY_F8_F32_FAST_ACCUM = enum.auto()
    ANY_F8_ANY_F8_ANY = enum.auto()
    ANY_F8_ANY_F8_ANY_FAST_ACCUM = enum.auto()
    F16_F16_F16 = enum.auto()
    F16_F16_F32 = enum.auto()
    BF16_BF16_BF16 = enum.auto()
    BF16_BF16_F32 = enum.auto()
    BF16_BF16_F32_X3 = enum.auto()
    BF16_BF16_F32_X6 = enum.auto()
    BF16_BF16_F32_X9 = enum.auto()
    TF32_TF32_F32 = enum.auto()
    TF32_TF32_F32_X3 = enum.auto()
    F32_F32_F32 = enum.auto()
    F64_F64_F64 = enum.auto()


def summation(precision: Any) -> str | None:
    """The parameter of a convolution for a precision as JAX takes it: None, a name, a Precision, or two of them.

    Raises:
        ValueError: it is a text that names none.
    """
    if isinstance(precision, tuple | list):
        return next(filter(None, map(summation, precision)), None)
    if precision is None:
        precision = config.default_matmul_precision
    if precision in (Precision.DEFAULT, DotAlgorithmPreset.DEFAULT):
        return None
    if not isinstance(precision, str):
        return "highest"
    name = precision.lower()
    if name in _NAMES:
        return None if _NAMES[name] else "highest"
    if precision in DotAlgorithmPreset.__members__:
        return "highest"
    raise ValueError(f"a precision is one of {', '.join(_NAMES)}, or a Precision, got {precision!r:.80}")
