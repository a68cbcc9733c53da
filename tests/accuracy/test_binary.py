"""Functions of two numbers and their partial derivatives over the whole range, against mpmath."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from tests.accuracy.binary import BINARY, GAMMA, SHAPES
from tests.accuracy.measure import Exact, check, evaluated, value_and_derivatives


@cache
def pairs(dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of numbers of every size and both signs, and random ones of similar size."""
    info = np.finfo(dtype)
    sizes = [
        0,
        info.smallest_subnormal,
        info.tiny / 3,
        info.tiny,
        1e-30,
        1e-10,
        1e-3,
        0.5,
        1,
        1 + info.eps,
        1.5,
        2,
        3,
        10,
    ]
    sizes = np.array([*sizes, 33.3, 88, 1e4, 1e10, 1e30, info.max], dtype)
    values = np.concatenate([-sizes[::-1], sizes])
    rng = np.random.default_rng(1)
    x = np.concatenate([np.repeat(values, values.size), rng.normal(size=200) * 10.0 ** rng.integers(-3, 4, 200)])
    y = np.concatenate([np.tile(values, values.size), x[-200:] * rng.normal(1, 0.5, 200)])
    return x.astype(dtype), y.astype(dtype)


@cache
def gamma_pairs(dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Positive numbers of moderate size; the second ones are multiples of the first."""
    a = np.repeat(np.array(SHAPES, dtype), 9)
    return a, a * np.tile(np.array([1e-6, 0.02, 0.3, 0.8, 1.0, 1.1, 1.7, 4.0, 8.0], dtype), len(SHAPES))


@cache
def exact(name: str, dtype: type) -> tuple[np.ndarray, np.ndarray, Exact, list[Exact]]:
    row = (BINARY | GAMMA)[name]
    x, y = gamma_pairs(dtype) if name in GAMMA else pairs(dtype)
    inside = row.inside(x, y)
    x, y = x[inside], y[inside]
    rows = list(zip(x.tolist(), y.tolist(), strict=True))
    return x, y, evaluated(row.exact, rows, {}), [evaluated(partial, rows, {}) for partial in row.partials]


def check_row(name: str, dtype: type, transform: Callable[[Any], Any]) -> None:
    row = (BINARY | GAMMA)[name]
    if name in GAMMA and dtype == np.float32:
        row = replace(row, value=16, slopes=(8, 8))
    x, y, value, partials = exact(name, dtype)
    out, slopes = transform(value_and_derivatives(row.function, 2))(fnp.asarray(x), fnp.asarray(y))
    check(name, out, value, (x, y), row.value, row.floor, row.tiny)
    with np.errstate(over="ignore"):
        defined = np.isfinite(value.rounded.astype(dtype)) if name in GAMMA else ~np.isnan(value.rounded)
    for i in range(2):
        partial = partials[i].only(defined)
        what = f"the derivative of {name} by operand {i}"
        check(what, slopes[i], partial, (x, y), row.slopes[i], row.slope_floors[i], row.tiny)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [*BINARY, *GAMMA])
def test_eager(name: str, dtype: type) -> None:
    check_row(name, dtype, lambda f: f)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [*BINARY, *GAMMA])
def test_compiled(name: str, dtype: type) -> None:
    check_row(name, dtype, fdl.jit)
