"""One image of x as the tiles read it: in place, or copied with its padding, channels next to each other."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.conv.geometry import Geometry
from fdl.compile.kernels.kernel import pieces
from fdl.compile.kernels.pairs import copy_pairs
from fdl.compile.kernels.panel import Panel
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value


@dataclass(frozen=True)
class Image:
    """How one image is read.

    Attributes:
        geometry: which positions are read.
        dtype: of the elements that tiles read.
        source: of those of x.
        channels: elements at a position.
        spatial: strides of x along the spatial axes.
        channel: stride of x along the channels.
        block: if not 0, the copy is cut into blocks of so many channels, one behind the other.
        slot: elements that a position takes in a block, at least `block`.
        paired: if not 0, x has so many elements at a position, and `channels` words are made of them.
        word: elements of such a word.
        inside: whether no position outside x is read.
    """

    geometry: Geometry
    dtype: np.dtype
    source: np.dtype
    channels: int
    spatial: tuple[int, ...]
    channel: int
    block: int = 0
    slot: int = 0
    paired: int = 0
    word: int = 2
    inside: bool = False

    @property
    def in_place(self) -> bool:
        """Whether x itself can be read."""
        return (
            not self.block
            and (self._words if self.paired else self.dtype == self.source)
            and (self.inside or not self.geometry.padded)
            and (self.channel == 1 or self.channels == 1)
        )

    @property
    def _words(self) -> bool:
        """Whether pairs of channels are words in x itself."""
        even = not any(n % self.word for n in (self.paired, *self.spatial, self.geometry.spec.x[0]))
        return even and self.channel == 1 and self.word * self.source.itemsize == self.dtype.itemsize

    @property
    def sizes(self) -> list[int]:
        """Positions of the copy along each axis."""
        return [last - first + 1 for first, last in self.geometry.read]

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides along the spatial axes as the tiles see them; channels are next to each other."""
        if self.in_place:
            return tuple(s // self.word for s in self.spatial) if self.paired else self.spatial
        sizes, position = self.sizes, self.slot or self.channels
        return tuple(position * math.prod(sizes[i + 1 :]) for i in range(len(sizes)))

    @property
    def block_stride(self) -> int:
        """Distance of two blocks."""
        return self.slot * math.prod(self.sizes)

    @property
    def elements(self) -> int:
        """Elements of scratch memory, whole cache lines."""
        if self.in_place:
            return 0
        size = (
            -(-self.channels // self.block) * self.block_stride if self.block else math.prod(self.sizes) * self.channels
        )
        return -(-size // 16) * 16

    def clear(self, b: Build, scratch: ir.Value) -> None:
        """Write the padding, which stays while images come and go."""
        if self.in_place or not self.geometry.padded:
            return
        b.clear(scratch, self.elements * self.dtype.itemsize)

    def place(self, b: Build, source: ir.Value, scratch: ir.Value, part: tuple[Value, Value] | None = None) -> Any:
        """Copy the image at `source` if needed; returns the pointer to where position (0, ..., 0) is or would be.

        Of an image with several axes only the positions [start, stop) of the first can be asked for.
        """
        if self.in_place:
            return source
        origin = sum(-first * stride for (first, _), stride in zip(self.geometry.read, self.strides, strict=True))
        target = b.at(scratch, origin, self.dtype)
        self._copy(b, source, target, 0, b.index(0), b.index(0), part)
        return target

    def _copy(
        self, b: Build, source: ir.Value, target: ir.Value, axis: int, read: Value, write: Value,
        part: tuple[Value, Value] | None = None,
    ) -> None:  # fmt: skip
        first, last = self.geometry.read[axis]
        size = self.geometry.spec.in_spatial[axis]
        start, stop = max(first, 0), min(last + 1, size)
        if stop <= start:
            return
        if axis == len(self.spatial) - 1 and self.block:
            self._copy_blocks(b, source, target, read, write, start, stop)
            return
        last_axis, held = axis == len(self.spatial) - 1, self.paired or self.channels
        if last_axis and self.channel == 1 and self.spatial[axis] == held and not self.paired % self.word:
            read, write = read + start * held, write + start * self.channels
            self._copy_run(b, source, read, target, write, (stop - start) * held)
            return
        with b.loop(*((b.max(part[0], start), b.min(part[1], stop)) if part else (start, stop))) as i:
            below_read, below_write = read + i * self.spatial[axis], write + i * self.strides[axis]
            if last_axis:
                self._copy_run(b, source, below_read, target, below_write, held)
            else:
                self._copy(b, source, target, axis + 1, below_read, below_write)

    def _copy_run(self, b: Build, source: ir.Value, read: Value, target: ir.Value, write: Value, count: int) -> None:
        """Copy `count` elements of x that are as far apart as its channels."""
        if self.paired:
            copy_pairs(b, self.source, source, read, self.channel, target, write, count, self.word)
        else:
            copy(b, (self.source, self.dtype), source, read, self.channel, target, write, count)

    def _copy_blocks(
        self, b: Build, source: ir.Value, target: ir.Value, read: Value, write: Value, start: int, stop: int
    ) -> None:
        """Copy the positions [start, stop) of a line to every block."""
        with pieces(b, 0, self.channels, self.block, self.channels) as piece:
            for channel, count in piece():
                panel = Panel(self.source, count, self.slot, self.spatial[-1], self.channel, self.dtype)
                line = b.at(source, read + channel * self.channel + start * self.spatial[-1], self.source)
                block = b.quotient(channel, self.block) * self.block_stride
                panel.call(b, line, b.at(target, write + block + start * self.strides[-1], self.dtype), stop - start)


def copy(
    b: Build, dtypes: tuple[np.dtype, np.dtype], source: ir.Value, read: Value, stride: int, target: ir.Value,
    write: Value, count: int,
) -> None:  # fmt: skip
    """Copy `count` elements of the first dtype, `stride` apart, to a contiguous place of the second."""
    dtype, into = dtypes
    lanes = b.target.lanes(into)
    whole = count // lanes * lanes
    if whole:
        with b.loop(0, whole, lanes) as i:
            b.store(b.convert(b.load(source, dtype, read + i * stride, lanes, stride), into), target, write + i)
    if count > whole:
        with b.loop(whole, count) as i:
            b.store(b.convert(b.load(source, dtype, read + i * stride), into), target, write + i)
