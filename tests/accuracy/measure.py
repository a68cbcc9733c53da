"""Errors in units in the last place against mpmath: the points, the exact numbers, and what is compared."""

import math
from collections.abc import Callable, Sequence
from copy import copy
from functools import cache
from typing import Any

import mpmath as mp
import numpy as np

import fdl
import fdl.numpy as fnp

#: Digits of the exact numbers, in bits: twice a double's, and what cancels in formulas as simple as possible.
BITS = 240


@cache
def grid(dtype: type) -> np.ndarray:
    """Numbers of every size and both signs, denser from 0.01 to 1000; zeros, infinities, NaN, and the format's ends."""
    info = np.finfo(dtype)
    rng = np.random.default_rng(0)
    exponents = np.arange(np.log10(float(info.smallest_subnormal)) + 0.5, np.log10(float(info.max)), 2.0)
    sizes = [10.0 ** (exponents + rng.uniform(-0.9, 0.9, exponents.size)), 10.0 ** rng.uniform(-6, 3, 40)]
    sizes += [rng.uniform(0, 12, 40), rng.uniform(12, 120, 25), rng.uniform(80, 110, 8), rng.uniform(350, 750, 12)]
    with np.errstate(over="ignore", under="ignore"):
        positive = np.concatenate(sizes).astype(dtype)
    ends = [info.smallest_subnormal, info.tiny, np.nextafter(info.tiny, dtype(0)), info.max, 1e-30, 1e30]
    marks = np.array([*ends, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 10], dtype)
    positive = np.unique(np.concatenate([positive[np.isfinite(positive)], marks]))
    return np.concatenate([-positive[::-1], np.array([-0.0, 0.0, -np.inf, np.inf, np.nan], dtype), positive])


def near(centres: Sequence[float], dtype: type) -> np.ndarray:
    """Points close to `centres` from both sides, from one unit in the last place to a tenth."""
    found = [np.zeros(0, dtype)]
    for centre in np.array(centres, dtype):
        steps = np.concatenate([[0, 1, 2, 5], 2.0 ** np.arange(4, -2 - int(np.log2(np.finfo(dtype).eps)), 3)])
        steps = steps * float(np.spacing(np.abs(centre)))
        found += [(centre + steps).astype(dtype), (centre - steps).astype(dtype)]
    return np.unique(np.concatenate(found))


class Exact:
    """Exact numbers, None where nothing is compared.

    Attributes:
        rounded: to float64.
        scale, high, low: the numbers as (high + low) / scale, by powers of two that keep the last places in range.
        compared: where.
    """

    def __init__(self, values: Sequence[Any]) -> None:
        self.compared = np.array([v is not None for v in values])
        values = [mp.nan if v is None else v for v in values]
        self.rounded = np.array([float(v) for v in values])
        self.scale = np.where(np.abs(self.rounded) > 1, 2.0**-64, 2.0**64)
        scaled = [v * s for v, s in zip(values, self.scale.tolist(), strict=True)]
        self.high = np.array([float(v) for v in scaled])
        self.low = np.array([float(v - h) if mp.isfinite(v) else 0.0 for v, h in zip(scaled, self.high, strict=True)])

    def only(self, where: np.ndarray) -> "Exact":
        """The same numbers, of which some are not compared."""
        found = copy(self)
        found.compared = self.compared & where
        return found


def evaluated(function: Callable[..., Any], rows: Sequence[tuple[float, ...]], at: dict[Any, Any]) -> Exact:
    """``function`` of mpmath at every row; `at` holds values where it has none or a limit is meant; NaN gives NaN."""
    found: list[Any] = []
    with mp.workprec(BITS):
        for row in rows:
            key = row[0] if len(row) == 1 else row
            if key in at:
                value = at[key]
            elif any(map(math.isnan, row)):
                value = mp.nan
            else:
                value = function(*map(mp.mpf, row))
            found.append(mp.nan if isinstance(value, mp.mpc) else None if value is None else mp.mpf(value))
        return Exact(found)


def ulps(got: Any, want: Exact, floor: Any = 0.0) -> np.ndarray:
    """Errors in units in the last place of the exact numbers (of `floor` if that is larger), which are never smaller
    than the smallest number there is."""
    got = np.asarray(got)
    info = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        rounded = want.rounded.astype(got.dtype)
        size = np.maximum(np.abs(rounded), np.asarray(floor).astype(got.dtype))
        unit = np.spacing(np.minimum(size, info.max)).astype(np.float64) * want.scale
        # Infinity counts as the number that would follow the largest one.
        found = np.where(np.isinf(got), np.copysign(1.0, got), got.astype(np.float64)) * want.scale
        found = np.where(np.isinf(got), np.copysign(2.0 ** (int(info.maxexp) - 64), got), found)
        error = np.abs((found - want.high) - want.low) / unit
    same = (np.isnan(got) & np.isnan(rounded)) | (np.isinf(got) & (got == rounded))
    error = np.where(same, 0.0, error)
    return np.where(np.isnan(error), np.inf, error)


def limits(bound: Any, columns: Sequence[np.ndarray]) -> np.ndarray:
    """A bound as numbers for all points."""
    with np.errstate(all="ignore"):
        found = bound(*(c.astype(np.float64) for c in columns)) if callable(bound) else bound
        return np.broadcast_to(found, columns[0].shape)


def check(what: str, got: Any, want: Exact, columns: Sequence[np.ndarray], bound: Any, floor: Any, tiny: float) -> None:
    """Fail with the worst points if errors exceed the bound; see `tests.accuracy.unary` for the words."""
    got = np.asarray(got)
    error = ulps(got, want, limits(floor, columns))
    allowed = np.fmax(limits(bound, columns), 0.5)
    small = np.abs(want.rounded) < tiny * np.finfo(got.dtype).tiny
    allowed = np.where(small, np.maximum(allowed, tiny), allowed)
    wrong = np.flatnonzero(want.compared & ~(error <= allowed))
    worst = wrong[np.argsort(-error[wrong])][:5]
    shown = [
        f"{', '.join(str(c[i]) for c in columns)}: {got[i]} for {want.rounded[i]}, {error[i]:.3g} ulp" for i in worst
    ]
    assert not wrong.size, f"{what}: {wrong.size} of {got.size} points are off: {'; '.join(shown)}"


def value_and_derivatives(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """The function of `count` arrays that returns the values and the partial derivatives."""

    def both(*xs: Any) -> Any:
        out, pull = fdl.vjp(function, *xs)
        return out, pull(fnp.ones_like(out))

    return both
