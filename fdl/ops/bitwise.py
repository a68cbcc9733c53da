"""Logic and bits of booleans and integers."""

from typing import Any

import numpy as np

from fdl.dtypes import BOOLEAN, INTEGER
from fdl.ops.elementwise import Binary, Unary

_BITS = BOOLEAN + INTEGER


def _unsigned(x: np.ndarray) -> np.ndarray:
    """The same bits as an unsigned integer."""
    return x.view(f"u{x.dtype.itemsize}")


class And(Binary):
    """Bitwise and; logical for booleans."""

    exact = True
    domain = _BITS

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.bitwise_and(x, y)

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        return build.and_(x, y)


class Or(Binary):
    """Bitwise or; logical for booleans."""

    exact = True
    domain = _BITS

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.bitwise_or(x, y)

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        return build.or_(x, y)


class Xor(Binary):
    """Bitwise exclusive or; logical for booleans."""

    exact = True
    domain = _BITS

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.bitwise_xor(x, y)

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        return build.xor(x, y)


class Not(Unary):
    """Bitwise not; logical for booleans."""

    exact = True
    domain = _BITS

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.invert(x)

    def lower(self, build: Any, x: Any) -> Any:
        return build.not_(x)


class Shift(Binary, abstract=True):
    """Moves the bits of x by y places; y counts as unsigned, and y beyond the width moves all of them out."""

    exact = True
    domain = INTEGER

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return rng.integers(-3 if np.dtype(dtype).kind == "i" else 0, 40, shape).astype(dtype)


class ShiftLeft(Shift):
    """x * 2**y, the upper bits dropped."""

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.left_shift(_unsigned(x), _unsigned(y)).view(x.dtype)

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        return build.shift_left(x, y)


class ShiftRightLogical(Shift):
    """x shifted right, zeros coming in from the left."""

    weak_operands = None  # the width counts

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.right_shift(_unsigned(x), _unsigned(y)).view(x.dtype)

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        return build.shift_right_logical(x, y)


class ShiftRightArithmetic(Shift):
    """x shifted right, copies of the sign coming in from the left."""

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if x.dtype.kind == "u":
            signed = x.view(f"i{x.dtype.itemsize}")
            return self.reference(signed, y.view(signed.dtype)).view(x.dtype)
        count = np.minimum(_unsigned(y), x.dtype.itemsize * 8 - 1)
        return np.right_shift(x, count.astype(x.dtype))

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        return build.shift_right_arithmetic(x, y)


class PopulationCount(Unary):
    """How many bits of x are one."""

    weak_operands = None  # the width counts

    domain = INTEGER

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.bitwise_count(_unsigned(x)).astype(x.dtype)

    def lower(self, build: Any, x: Any) -> Any:
        return build.popcount(x)


class Clz(Unary):
    """How many of the leading bits of x are zero."""

    weak_operands = None  # the width counts

    domain = INTEGER

    def reference(self, x: np.ndarray) -> np.ndarray:
        ones, width = _unsigned(x), x.dtype.itemsize * 8
        for shift in (1, 2, 4, 8, 16, 32):
            if shift < width:
                ones = ones | ones >> shift
        return (width - np.bitwise_count(ones)).astype(x.dtype)

    def lower(self, build: Any, x: Any) -> Any:
        return build.clz(x)


and_, or_, xor, not_ = And(), Or(), Xor(), Not()
shift_left, shift_right_logical, shift_right_arithmetic = ShiftLeft(), ShiftRightLogical(), ShiftRightArithmetic()
population_count, clz = PopulationCount(), Clz()
