"""Affine functions of loop indices: where an element is read or written."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod


@dataclass(frozen=True, slots=True)
class Affine:
    """``constant + sum of coefficients[j] * index[j]``, where index j runs over ``range(extents[j])``."""

    constant: int
    coefficients: tuple[int, ...]
    extents: tuple[int, ...]

    def __add__(self, other: "Affine | int") -> "Affine":
        if isinstance(other, int):
            return Affine(self.constant + other, self.coefficients, self.extents)
        added = tuple([a + b for a, b in zip(self.coefficients, other.coefficients, strict=True)])
        return Affine(self.constant + other.constant, added, self.extents)

    def __mul__(self, factor: int) -> "Affine":
        return Affine(self.constant * factor, tuple([c * factor for c in self.coefficients]), self.extents)

    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest value."""
        moves = [c * (n - 1) for c, n in zip(self.coefficients, self.extents, strict=True)]
        return self.constant + sum(m for m in moves if m < 0), self.constant + sum(m for m in moves if m > 0)

    def divmod(self, divisor: int) -> "tuple[Affine, Affine] | None":
        """Quotient and remainder by a positive number, if they are affine too."""
        whole, rest = [], []
        for coefficient in self.coefficients:
            whole.append(coefficient // divisor if coefficient % divisor == 0 else 0)
            rest.append(0 if coefficient % divisor == 0 else coefficient)
        quotient, constant = divmod(self.constant, divisor)
        remainder = Affine(constant, tuple(rest), self.extents)
        low, high = remainder.bounds()
        if low < 0 or high >= divisor:
            return None
        return Affine(quotient, tuple(whole), self.extents), remainder


Position = tuple[Affine, ...]


def strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides in elements."""
    found, step = [], 1
    for extent in reversed(shape):
        found.append(step)
        step *= extent
    return tuple(reversed(found))


def flatten(position: Position, shape: Sequence[int], extents: tuple[int, ...]) -> Affine:
    """The row-major number of the element at `position` of an array of that shape."""
    total = Affine(0, (0,) * len(extents), extents)
    for component, step in zip(position, strides(shape), strict=True):
        total = total + component * step
    return total


def unflatten(flat: Affine, shape: Sequence[int]) -> Position | None:
    """The inverse of `flatten`, if it is affine."""
    position: list[Affine] = []
    zero = flat * 0
    for extent in reversed(shape):
        if extent == 1:
            position.append(zero)
            continue
        parts = flat.divmod(extent)
        if parts is None:
            return None
        flat, rest = parts
        position.append(rest)
    return tuple(reversed(position))


def row_major(extents: tuple[int, ...]) -> Affine:
    """The number of the iteration."""
    return Affine(0, strides(extents), extents)


def common_refinement(*shapes: Sequence[int]) -> tuple[int, ...] | None:
    """The coarsest extents, none of them 1, into which all `shapes` (of one size) can be cut, if there are any."""
    size = prod(shapes[0])
    if size == 0:
        return (0,)
    cuts = {1, size}
    for shape in shapes:
        step = 1
        for extent in reversed(shape):
            step *= extent
            cuts.add(step)
    ordered = sorted(cuts)
    steps = list(pairwise(ordered))
    return None if any(high % low for low, high in steps) else tuple(high // low for low, high in reversed(steps))


def merged_strides(coefficients: Sequence[int], extents: Sequence[int], shape: Sequence[int]) -> tuple[int, ...] | None:
    """Strides along the axes of `shape`, which `extents` refine; None if an axis has not one stride."""
    found, rest = [], list(zip(coefficients, extents, strict=True))
    for size in reversed(shape):
        if size == 1:
            found.append(0)
            continue
        step, extent = rest.pop()
        found.append(step)
        while extent < size:
            coefficient, more = rest.pop()
            if coefficient != step * extent:
                return None
            extent *= more
    return tuple(reversed(found))
