"""Sounds: at another time, faster or slower, louder or softer, with white noise."""

from dataclasses import dataclass
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax, random
from fdl_spark.features.augment.row import Ranged, RowAugmentation


def shift(column: str, *, earlier: int, later: int) -> "Shift":
    """A sound that begins earlier or later by a random number of samples; what has no samples becomes silence.

    Args:
      column: a sound [samples, ...].
      earlier: the largest number of samples that are cut off at its beginning.
      later: the largest number of samples of silence before it.

    >>> shift("x", earlier=0, later=2)(random.key(0), {"x": fnp.ones(4)})["x"].sum() >= 2
    Array(True, dtype=bool)
    """
    return Shift(column, earlier, later)


@dataclass(frozen=True, repr=False)
class Shift(RowAugmentation, kind="shift"):
    earlier: int
    later: int

    def check(self) -> None:
        self.require(min(self.earlier, self.later) >= 0, f"earlier and later must be at least 0, not {self}")

    def changed(self, key: Any, x: Any) -> Any:
        self.require(x.ndim >= 1, f"{self.column!r} must be a sound [samples, ...]; its shape is {x.shape}")
        wide = fnp.pad(x, [(self.later, self.earlier)] + [(0, 0)] * (x.ndim - 1))
        start = random.randint(key, (), 0, self.earlier + self.later + 1)
        return lax.dynamic_slice_in_dim(wide, start, x.shape[0], 0)


def speed(column: str, *, low: float, high: float) -> "Speed":
    """A sound that is played faster or slower, which makes it higher or lower; its end is cut off or silent.

    Samples in between are interpolated linearly.

    Args:
      column: a sound [samples] of floating-point numbers.
      low: the least factor, less than 1 for slower.
      high: the largest.

    >>> speed("x", low=2.0, high=2.0)(random.key(0), {"x": fnp.array([0.0, 1.0, 2.0, 3.0])})["x"]
    Array([0., 2., 0., 0.], dtype=float32)
    """
    return Speed(column, low, high)


@dataclass(frozen=True, repr=False)
class Speed(RowAugmentation, kind="speed"):
    low: float
    high: float

    def check(self) -> None:
        self.require(0 < self.low <= self.high, f"0 < low <= high must hold; they are {self.low} and {self.high}")

    def changed(self, key: Any, x: Any) -> Any:
        self.floating(x)
        self.require(x.ndim == 1, f"{self.column!r} must be a sound [samples]; its shape is {x.shape}")
        factor = random.uniform(key, (), np.float32, self.low, self.high)
        place = fnp.arange(len(x), dtype=np.float32) * factor  # exact to a hundredth for a minute of speech
        before = fnp.floor(place).astype(np.int32)
        ends = fnp.concatenate([x, fnp.zeros(2, x.dtype)])
        part = (place - before).astype(x.dtype)
        left, right = (ends[fnp.minimum(before + next_, len(x) + next_)] for next_ in (0, 1))
        return left + part * (right - left)


def volume(column: str, *, low: float, high: float) -> "Volume":
    """A sound that is louder or softer by a random number of decibels.

    Args:
      column: floating-point numbers of any shape.
      low: the least number of decibels, less than 0 for softer.
      high: the largest.

    >>> volume("x", low=20.0, high=20.0)(random.key(0), {"x": fnp.array([0.5])})["x"]
    Array([5.], dtype=float32)
    """
    return Volume(column, low, high)


@dataclass(frozen=True, repr=False)
class Volume(Ranged, kind="volume"):
    def changed(self, key: Any, x: Any) -> Any:
        return x * fnp.power(10.0, self.drawn(key, x) / 20).astype(x.dtype)


def white_noise(column: str, *, low: float, high: float) -> "WhiteNoise":
    """A sound with white noise, whose power is random beside that of the sound.

    Args:
      column: floating-point numbers of any shape.
      low: the least ratio of the mean power of the sound to that of the noise, in decibels.
      high: the largest.

    >>> changed = white_noise("x", low=20.0, high=20.0)(random.key(0), {"x": fnp.ones(10_000)})["x"]
    >>> bool(abs((changed - 1).std() - 0.1) < 0.01)
    True
    """
    return WhiteNoise(column, low, high)


@dataclass(frozen=True, repr=False)
class WhiteNoise(Ranged, kind="white_noise"):
    def changed(self, key: Any, x: Any) -> Any:
        of_ratio, of_noise = random.split(key)
        ratio = self.drawn(of_ratio, x)
        scale = fnp.sqrt(fnp.mean(x * x)) * fnp.power(10.0, -ratio / 20).astype(x.dtype)
        return x + scale * random.normal(of_noise, x.shape, x.dtype)
