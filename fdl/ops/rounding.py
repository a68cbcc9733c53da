"""Rounding floats to integers, still as floats."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fdl.dtypes import FLOATING
from fdl.ops.elementwise import Unary
from fdl.ops.precision import in_float32


class Floor(Unary):
    """The largest integer that is not above x."""

    domain = FLOATING

    def reference(self, x: np.ndarray) -> np.ndarray:
        return in_float32(np.floor, x)

    def lower(self, build: Any, x: Any) -> Any:
        return build.floor(x)


class Ceil(Unary):
    """The smallest integer that is not below x."""

    domain = FLOATING

    def reference(self, x: np.ndarray) -> np.ndarray:
        return in_float32(np.ceil, x)

    def lower(self, build: Any, x: Any) -> Any:
        return build.ceil(x)


class Round(Unary):
    """The nearest integer; a half goes to the even neighbour, or away from zero."""

    mode: str = "even"
    domain = FLOATING

    def reference(self, x: np.ndarray) -> np.ndarray:
        return in_float32(np.rint if self.mode == "even" else _round_away, x)

    def lower(self, build: Any, x: Any) -> Any:
        return build.round_half_even(x) if self.mode == "even" else build.round_half_away(x)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for mode in ("even", "away"):
            yield from Unary.samples(Round(mode), rng)
            yield Round(mode), np.array([-2.5, -1.5, -0.5, -0.0, 0.49999997, 0.5, 1.5, 2.5, np.inf], np.float32)


def _round_away(x: np.ndarray) -> np.ndarray:
    whole = np.trunc(x)
    return np.copysign(np.abs(whole) + (np.abs(x - whole) >= 0.5), x)


floor, ceil = Floor(), Ceil()


def round_(x: Any, mode: str = "even") -> Any:
    """`x` rounded to the nearest integer; `mode` says where a half goes: "even" or "away" (from zero)."""
    return Round(mode)(x)
