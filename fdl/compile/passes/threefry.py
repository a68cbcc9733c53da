"""Random bits as elementwise operations, so that they fuse with what uses them.

A key is carried in one 64-bit register, its first word in the low half.
"""

from dataclasses import dataclass

import numpy as np

from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value
from fdl.core.operation import Operation
from fdl.core.types import DType, NumPyArray, TensorType
from fdl.dtypes import key, uint32, uint64
from fdl.ops.random_bits import PARITY, ROTATIONS, as_keys, pair_counters, threefry2x32

#: Arrays of keys, and of halves of keys.
Keys = np.ndarray[tuple[int, ...], np.dtype[np.void]]
Words = np.ndarray[tuple[int, ...], np.dtype[np.uint32]]


@dataclass(frozen=True)
class _Words(Operation):
    """Base: elementwise on the words of keys; exists only inside the compiler."""

    lowering_kind = "elementwise"
    transports = True


@dataclass(frozen=True)
class Threefry(_Words):
    """The words of a key (first operand) at a counter (second), as `dtype`: a key, or bits in an unsigned integer."""

    dtype: DType

    def result(self, *types: TensorType) -> TensorType:
        """As many as there are keys."""
        return TensorType(types[0].shape, self.dtype)

    def reference(self, keys: Keys, counter: Words) -> NumPyArray:
        """By the function of the user's operations."""
        high, low = (counter.astype(np.uint64) >> shift & 0xFFFFFFFF for shift in (np.uint64(32), np.uint64(0)))
        first, second = threefry2x32(keys["word0"], keys["word1"], high.astype(uint32), low.astype(uint32))
        if self.dtype == key:
            return as_keys(first, second)
        if self.dtype == uint64:
            return first.astype(uint64) << uint64.type(32) | second
        return (first ^ second).astype(self.dtype)

    def lower(self, build: Build, keys: Value, counter: Value) -> Value:
        """The function of `fdl.ops.random_bits.threefry2x32` on registers."""
        if counter.dtype == uint64:
            low, high = _split(build, counter)
        else:
            low, high = build.convert(counter, uint32), build.constant(0, uint32, counter.lanes)
        x0, x1 = _threefry(build, keys, high, low)
        if self.dtype == key:
            return _join(build, x0, x1)
        return _join(build, x1, x0) if self.dtype == uint64 else build.convert(x0 ^ x1, self.dtype)


@dataclass(frozen=True)
class ThreefryHalves(_Words):
    """Parts of `words` words that keys (first operand) give in halves, by their numbers (second operand).

    Of less than 64 bits, they are parts of one word; else both words of a pair (`fdl.ops.random_bits.pair_counters`).
    """

    words: int
    width: int

    def result(self, *types: TensorType) -> TensorType:
        """A part for each number."""
        return TensorType(types[0].shape, np.dtype(f"uint{self.width}"))

    def reference(self, keys: Keys, number: Words) -> NumPyArray:
        """By the function of the user's operations."""
        pairs, parts = (self.words + 1) // 2, max(1, 32 // self.width)
        word = number // parts
        counter = pair_counters(pairs, self.words)[word % pairs]
        high, low = (counter >> np.uint64(32)).astype(uint32), counter.astype(uint32)
        first, second = threefry2x32(keys["word0"], keys["word1"], high, low)
        if self.width == 64:
            return first.astype(uint64) << uint64.type(32) | second
        drawn = np.where(word < pairs, first, second) >> (self.width * (number % parts)).astype(uint32)
        return np.asarray(drawn.astype(f"uint{self.width}"))

    def lower(self, build: Build, keys: Value, number: Value) -> Value:
        """All words of the pair, of which one is taken."""

        def constant(value: int) -> Value:
            return build.constant(value, uint32, number.lanes)

        pairs, parts = constant((self.words + 1) // 2), max(1, 32 // self.width)
        word = build.convert(build.shift_right_logical(number, parts.bit_length() - 1), uint32)
        is_first = build.lt(word, pairs)
        high = build.select(is_first, word, word - pairs)
        low = high + pairs
        low = build.select(build.lt(low, constant(self.words)), low, constant(0))
        first, second = _threefry(build, keys, high, low)
        if self.width == 64:
            return _join(build, second, first)
        shift = build.and_(build.convert(number, uint32), constant(parts - 1)) * constant(self.width)
        drawn = build.shift_right_logical(build.select(is_first, first, second), shift)
        return build.convert(drawn, np.dtype(f"uint{self.width}"))


@dataclass(frozen=True)
class JoinWords(_Words):
    """The key of two words."""

    def result(self, *types: TensorType) -> TensorType:
        """A key for each pair."""
        return TensorType(types[0].shape, key)

    def reference(self, first: Words, second: Words) -> NumPyArray:
        """The words side by side."""
        return as_keys(first, second)

    def lower(self, build: Build, first: Value, second: Value) -> Value:
        """One register of both."""
        return _join(build, first, second)


@dataclass(frozen=True)
class TakeWord(_Words):
    """Word 0 or 1 (second operand) of a key."""

    def result(self, *types: TensorType) -> TensorType:
        """A word for each key."""
        return TensorType(types[0].shape, uint32)

    def reference(self, keys: Keys, number: Words) -> NumPyArray:
        """A field of the key."""
        return np.where(number == 0, keys["word0"], keys["word1"])

    def lower(self, build: Build, keys: Value, number: Value) -> Value:
        """A half of the register."""
        low, high = _split(build, keys)
        return build.select(build.eq(number, 0), low, high)


def _threefry(build: Build, keys: Value, high: Value, low: Value) -> tuple[Value, Value]:
    """Both words of keys at counters."""
    first, second = _split(build, keys)
    words = first, second, first ^ second ^ build.constant(PARITY, uint32)
    x0, x1 = high + first, low + second
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = build.or_(build.shift_left(x1, rotation), build.shift_right_logical(x1, 32 - rotation)) ^ x0
        x0 = x0 + words[(group + 1) % 3]
        x1 = x1 + words[(group + 2) % 3] + (group + 1)
    return x0, x1


def _split(build: Build, number: Value) -> tuple[Value, Value]:
    """Low and high half of a 64-bit register."""
    high = build.convert(build.shift_right_logical(number, 32), uint32)
    return build.convert(number, uint32), high


def _join(build: Build, low: Value, high: Value) -> Value:
    return build.or_(build.convert(low, uint64), build.shift_left(build.convert(high, uint64), 32))
