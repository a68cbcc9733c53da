"""Functions of one number and their derivatives over the whole range, against mpmath."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from tests.accuracy.measure import Exact, check, evaluated, grid, near, value_and_derivatives
from tests.accuracy.unary import UNARY, Row


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


def check_row(name: str, dtype: type, transform: Callable[[Any], Any]) -> None:
    row: Row = UNARY[name]
    x, value, slope = exact(name, dtype)
    out, (derivative,) = transform(value_and_derivatives(row.function, 1))(fnp.asarray(x))
    check(f"{name}", out, value, (x,), row.value, row.floor, row.tiny)
    slope = slope.only(~np.isnan(value.rounded))
    check(f"the derivative of {name}", derivative, slope, (x,), row.slope, row.slope_floor, row.tiny)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", UNARY)
def test_eager(name: str, dtype: type) -> None:
    check_row(name, dtype, lambda f: f)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", UNARY)
def test_compiled(name: str, dtype: type) -> None:
    check_row(name, dtype, fdl.jit)
