"""Functions of one number and their derivatives over the whole range, against mpmath."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from tests.accuracy.measure import Exact, evaluated, grid, near, ulps, value_and_derivatives
from tests.accuracy.unary import UNARY, Row


def limits(bound: Any, x: np.ndarray) -> np.ndarray:
    """A bound as numbers for all points."""
    with np.errstate(all="ignore"):
        return np.broadcast_to(bound(x.astype(np.float64)) if callable(bound) else bound, x.shape)


@cache
def exact(name: str, dtype: type) -> tuple[np.ndarray, Exact, Exact]:
    row = UNARY[name]
    x = np.concatenate([grid(dtype), near(row.points, dtype)])
    low, high = row.domain
    x = x[((x >= low) & (x <= high)) | np.isinf(x) | np.isnan(x)]
    rows = [(v,) for v in x.tolist()]
    outside = {v: np.nan for v in (-np.inf, np.inf) if not low <= v <= high}
    value = evaluated(row.exact, rows, outside | row.at)
    slope = evaluated(row.derivative, rows, outside | row.slope_at)
    return x, value, slope


def check(what: str, got: Any, want: Exact, x: np.ndarray, bound: Any, floor: Any, tiny: float) -> None:
    got = np.asarray(got)
    error = ulps(got, want, limits(floor, x))
    allowed = np.maximum(limits(bound, x), 0.5)
    small = np.abs(want.rounded) < tiny * np.finfo(got.dtype).tiny
    allowed = np.where(small, np.maximum(allowed, tiny), allowed)
    wrong = np.flatnonzero(want.compared & ~(error <= allowed))
    worst = wrong[np.argsort(-error[wrong])][:5]
    shown = "; ".join(f"at {x[i]!r} {got[i]!r} for {want.rounded[i]!r}, {error[i]:.3g} ulp" for i in worst)
    assert not wrong.size, f"{what}: {wrong.size} of {x.size} points are off: {shown}"


def check_row(name: str, dtype: type, transform: Callable[[Any], Any]) -> None:
    row: Row = UNARY[name]
    x, value, slope = exact(name, dtype)
    out, (derivative,) = transform(value_and_derivatives(row.function, 1))(fnp.asarray(x))
    check(f"{name}", out, value, x, row.value, row.floor, row.tiny)
    check(
        f"the derivative of {name}",
        derivative,
        slope.only(~np.isnan(value.rounded)),
        x,
        row.slope,
        row.slope_floor,
        row.tiny,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", UNARY)
def test_eager(name: str, dtype: type) -> None:
    check_row(name, dtype, lambda f: f)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", UNARY)
def test_compiled(name: str, dtype: type) -> None:
    check_row(name, dtype, fdl.jit)
