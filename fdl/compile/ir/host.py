"""Operations that run outside of the native code of a program: in Python, or in machine code of another compiler."""

from dataclasses import dataclass

from fdl.core.operation import Operation
from fdl.core.types import TensorType


@dataclass(frozen=True)
class HostOperation:
    """A call of Python, or of another compiler's code, from native code.

    Attributes:
        operation: what to compute.
        operands: types of the operands.
        strides: where their elements are, counted in elements.
        results: types of the results, which are in row-major order.
    """

    operation: Operation
    operands: tuple[TensorType, ...]
    strides: tuple[tuple[int, ...], ...]
    results: tuple[TensorType, ...]
