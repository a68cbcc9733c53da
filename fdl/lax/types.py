"""Settings and layouts as JAX types them; results do not depend on the first four, which are accepted for ports."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from fdl.ops.conv import ConvDimensionNumbers

__all__ = [
    "AccuracyMode",
    "ConvGeneralDilatedDimensionNumbers",
    "DotAlgorithm",
    "DotDimensionNumbers",
    "PrecisionLike",
    "RandomAlgorithm",
    "RoundingMethod",
    "Tolerance",
]


class AccuracyMode(enum.Enum):
    """How exact an elementwise function is wanted to be.

    >>> AccuracyMode.HIGHEST.value
    1
    """

    DEFAULT = 0
    HIGHEST = 1


@dataclass(frozen=True)
class Tolerance:
    """Errors that an elementwise function may have.

    >>> Tolerance(ulps=2).ulps
    2
    """

    atol: float = 0.0
    rtol: float = 0.0
    ulps: int = 0


class DotAlgorithm(NamedTuple):
    """How products of matrices are computed.

    >>> DotAlgorithm("float32", "float32", "float32").lhs_component_count
    1
    """

    lhs_precision_type: Any
    rhs_precision_type: Any
    accumulation_type: Any
    lhs_component_count: int = 1
    rhs_component_count: int = 1
    num_primitive_operations: int = 1
    allow_imprecise_accumulation: bool = False


class RandomAlgorithm(enum.IntEnum):
    """Generators of bits.

    >>> RandomAlgorithm.RNG_THREE_FRY.value
    1
    """

    RNG_DEFAULT = 0
    RNG_THREE_FRY = 1
    RNG_PHILOX = 2


class RoundingMethod(enum.IntEnum):
    """Where :func:`round` puts halves.

    >>> RoundingMethod.TO_NEAREST_EVEN.value
    1
    """

    AWAY_FROM_ZERO = 0
    TO_NEAREST_EVEN = 1


#: What `precision=` takes.
PrecisionLike: TypeAlias = Any
#: Axes that are contracted and axes of a batch, each of both operands.
DotDimensionNumbers: TypeAlias = tuple[
    tuple[Sequence[int], Sequence[int]],
    tuple[Sequence[int], Sequence[int]],
]
#: What `dimension_numbers=` of convolutions takes.
ConvGeneralDilatedDimensionNumbers: TypeAlias = tuple[str, str, str] | ConvDimensionNumbers | None
