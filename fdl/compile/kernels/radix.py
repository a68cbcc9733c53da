"""Sorting of records: integer keys, with the place each came from, by the digits of the keys.

A record is a word of unsigned integers. Keys of up to 32 bits share a 64-bit word with the place, which is below them;
keys of 64 bits have their places in an array beside them; without places a record is the key alone. Long arrays are
sorted digit by digit, the lowest first, skipping digits that all keys share (D. Knuth, "The Art of Computer
Programming", volume 3, 5.2.5); short ones by insertion. Both keep the order of equal keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.target import host_target
from fdl.compile.llvm.values import HALVES, I1, I64, POINTER, Value, is_float, is_signed
from fdl.dtypes import bool_, float32, int64, uint8, uint32, uint64

#: Bits of a digit. There are fewer passes over long arrays if digits are wide; counting those of short ones costs more.
_DIGIT_BITS, _WIDE_DIGIT_BITS = 8, 11


@dataclass(frozen=True)
class Layout:
    """How records lie in memory.

    Attributes:
        bits: of a key.
        places: whether records know where they came from.
        digit: bits of a digit.
    """

    bits: int
    places: bool
    digit: int = _DIGIT_BITS

    @property
    def packed(self) -> bool:
        """Whether key and place share a word."""
        return self.places and self.bits <= 32

    @property
    def arrays(self) -> tuple[np.dtype, ...]:
        """The dtypes of the arrays that together hold the records."""
        if self.packed:
            return (uint64,)
        return (uint64 if self.bits > 32 else uint32, *([uint32] if self.places else []))

    @property
    def low(self) -> int:
        """The lowest bit of the key in its word."""
        return 32 if self.packed else 0

    @property
    def digits(self) -> int:
        """How many digits a key has."""
        return -(-self.bits // self.digit)

    @property
    def few(self) -> int:
        """So many records are sorted by insertion: a pass over their digits would cost more."""
        return 12 * self.digits

    def bytes_for(self, count: int) -> tuple[int, ...]:
        """Bytes of each array for `count` records, in whole cache lines."""
        return tuple(-(-count * d.itemsize // 64) * 64 for d in self.arrays)

    def scratch_bytes(self, count: int) -> int:
        """Memory to sort `count` records in."""
        return 2 * sum(self.bytes_for(count)) + (4 << self.digit) * self.digits

    def make(self, build: Build, key: Value, place: Value | None) -> tuple[Value, ...]:
        """The words of a record."""
        key = build.convert(key, self.arrays[0])
        if not self.places:
            return (key,)
        assert place is not None
        if not self.packed:
            return key, build.convert(place, uint32)
        return (build.or_(build.shift_left(key, 32), build.convert(place, uint64)),)

    def key(self, build: Build, word: Value) -> Value:
        """The key in the first word of a record."""
        return build.shift_right_logical(word, self.low) if self.low else word

    def place(self, build: Build, words: Sequence[Value]) -> Value:
        """Where a record came from."""
        return build.convert(build.convert(words[-1], uint32), int64)


def layout_of(dtype: np.dtype, places: bool, count: int = 0) -> Layout | None:
    """The layout of records whose keys are numbers of `dtype`, in arrays of `count`; None if these have no key."""
    if dtype in HALVES:
        dtype = float32
    bits = 8 * dtype.itemsize
    wide = bits > _WIDE_DIGIT_BITS and count >= host_target().tuning.long_sort
    digit = _WIDE_DIGIT_BITS if wide else _DIGIT_BITS
    return Layout(bits, places, digit) if is_float(dtype) or dtype.kind in "iub" else None


def _unsigned(dtype: np.dtype) -> np.dtype:
    return np.dtype(f"uint{8 * dtype.itemsize}")


def key_of(build: Build, x: Value) -> Value:
    """The unsigned integer that stands where `x` stands among numbers; zeros have one key, and NaN the largest."""
    if x.dtype == bool_:
        return build.convert(x, uint8)
    if not is_float(x.dtype):
        sign = 1 << (8 * x.dtype.itemsize - 1)
        bits = build.bitcast(x, _unsigned(x.dtype))
        return build.xor(bits, sign) if is_signed(x.dtype) else bits
    x = build.convert(x, float32) if x.dtype in HALVES else x
    unsigned = _unsigned(x.dtype)
    sign, ones = 1 << (8 * x.dtype.itemsize - 1), (1 << 8 * x.dtype.itemsize) - 1
    bits = build.bitcast(x, unsigned)
    rising = build.select(x < 0.0, build.xor(bits, ones), build.or_(bits, sign))
    return build.select(build.ne(x, x), build.constant(ones, unsigned, x.lanes), rising)


def number_of(build: Build, key: Value, dtype: np.dtype) -> Value:
    """The number with this key: for zeros and NaN one of them."""
    if dtype == bool_:
        return build.convert(key, bool_)
    if not is_float(dtype):
        key = build.convert(key, _unsigned(dtype))
        return build.bitcast(build.xor(key, 1 << (8 * dtype.itemsize - 1)) if is_signed(dtype) else key, dtype)
    wide = float32 if dtype in HALVES else dtype
    sign, ones = 1 << (8 * wide.itemsize - 1), (1 << 8 * wide.itemsize) - 1
    falling = build.lt(key, sign)
    bits = build.select(falling, build.xor(key, ones), build.xor(key, sign))
    return build.convert(build.bitcast(bits, wide), dtype)


def sorter(build: Build, layout: Layout) -> ir.Function:
    """The function ``i1 sort(records..., room..., counters, count)``: whether it left the sorted records in `room`."""
    name = f"sort.{layout.bits}.{layout.places}.{layout.digit}"
    known = build.module.globals.get(name)
    if known is not None:
        return known
    width = len(layout.arrays)
    function = new_function(build.module, name, [POINTER] * (2 * width + 1) + [I64], I1)
    function.attributes.add("noinline")
    inner = Build(build.module, build.target, function)
    pointers, count = function.args[: 2 * width], inner.argument(2 * width + 1, int64)
    with inner.if_(count <= layout.few):
        _insertion(inner, layout, pointers[:width], count)
        inner.ret(inner.constant(False, bool_))
    inner.ret(_by_digits(inner, layout, pointers[:width], pointers[width:], inner.argument(2 * width), count))
    return function


def _insertion(build: Build, layout: Layout, records: Sequence[ir.Value], count: Value) -> None:
    def read(index: Value) -> list[Value]:
        return [build.load(p, d, index) for p, d in zip(records, layout.arrays, strict=True)]

    def write(index: Value, words: Sequence[Value]) -> None:
        for pointer, word in zip(records, words, strict=True):
            build.store(word, pointer, index)

    with build.loop(1, count) as i:
        words = read(i)
        key, hole = layout.key(build, words[0]), build.variable(i)
        with build.while_() as loop:
            before = hole.get() - 1
            inside = before >= 0
            others = read(build.select(inside, before, build.index(0)))
            loop.proceed_if(inside & (layout.key(build, others[0]) > key))
            write(hole.get(), others)
            hole.set(before)
        write(hole.get(), words)


def _by_digits(
    build: Build,
    layout: Layout,
    records: Sequence[ir.Value],
    room: Sequence[ir.Value],
    counters: ir.Value,
    count: Value,
) -> Value:
    word = layout.arrays[0]
    shifts = [layout.low + layout.digit * n for n in range(layout.digits)]
    digits = 1 << layout.digit

    def digit(value: Value, shift: int) -> Value:
        return build.convert(build.and_(build.shift_right_logical(value, shift), digits - 1), int64)

    build.clear(counters, 4 * digits * layout.digits)
    with build.loop(0, count) as i:
        value = build.load(records[0], word, i)
        for n, shift in enumerate(shifts):
            place = digit(value, shift) + n * digits
            build.store(build.load(counters, uint32, place) + 1, counters, place)
    swapped = build.variable(build.constant(False, bool_))
    first = build.load(records[0], word)
    for n, shift in enumerate(shifts):
        own = build.at(counters, n * digits, uint32)
        total = build.convert(build.load(own, uint32, digit(first, shift)), int64)
        with build.if_(build.ne(total, count)):
            now = swapped.get()
            pairs = list(zip(records, room, strict=True))
            sources = [build.ir.select(now.ir, b, a) for a, b in pairs]
            targets = [build.ir.select(now.ir, a, b) for a, b in pairs]
            _distribute(build, layout, sources, targets, own, shift, count)
            swapped.set(build.not_(now))
    return swapped.get()


def _distribute(
    build: Build, layout: Layout, sources: Sequence[ir.Value], targets: Sequence[ir.Value], counters: ir.Value,
    shift: int, count: Value,
) -> None:  # fmt: skip
    """Move every record behind those with a smaller digit."""
    sum_ = build.variable(build.constant(0, uint32))
    with build.loop(0, 1 << layout.digit) as i:
        here, before = build.load(counters, uint32, i), sum_.get()
        build.store(before, counters, i)
        sum_.set(before + here)
    with build.loop(0, count) as i:
        words = [build.load(p, d, i) for p, d in zip(sources, layout.arrays, strict=True)]
        digit = build.convert(build.and_(build.shift_right_logical(words[0], shift), (1 << layout.digit) - 1), int64)
        place = build.load(counters, uint32, digit)
        build.store(place + 1, counters, digit)
        for pointer, word in zip(targets, words, strict=True):
            build.store(word, pointer, build.convert(place, int64))
