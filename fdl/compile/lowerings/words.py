"""Names and shapes as the cost report prints them."""

from collections.abc import Sequence

from fdl.core.operation import Operation
from fdl.core.types import TensorType

#: Names that people use.
_NAMES = {
    "integer_pow": "power", "logistic": "sigmoid", "reduce_max": "max", "reduce_min": "min", "prod": "product",
    "dot_general": "matmul", "convert": "cast", "iota": "arange",
}  # fmt: skip


def name_of(operation: Operation) -> str:
    """The name of an operation that people use."""
    return _NAMES.get(operation.name, operation.name)


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape without leading axes of one."""
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return "(" + ", ".join(map(str, shape)) + ")"


def largest_shape(types: Sequence[TensorType]) -> tuple[int, ...]:
    """The shape of the first type with most elements; that of a number if there are no types."""
    return max(types, key=lambda t: t.size).shape if types else ()
