"""Elementwise comparisons, which give booleans."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from fdl.dtypes import ALL, ANY, FLOATING, bool_
from fdl.ops.elementwise import Binary, Unary


class Comparison(Binary, abstract=True):
    """One of the six comparisons; NaN is unequal to everything, complex numbers compare by real part first."""

    exact = True
    domain: ClassVar[tuple[np.dtype, ...]] = ALL
    result_dtype = bool_
    function: ClassVar[np.ufunc]

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return self.function(x, y)

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        return getattr(build, self.name)(x, y)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield from super().samples(rng)
        for dtype in (np.float64, np.float32, np.int8):
            yield self, *(rng.integers(0, 3, (4, 5)).astype(dtype) for _ in range(2))
        yield self, np.array([np.nan, np.nan, 0.0, np.inf]), np.array([np.nan, 1.0, -0.0, np.inf])


class Eq(Comparison):
    """x == y."""

    domain = ANY
    function = np.equal

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return x == y


class Ne(Comparison):
    """x != y."""

    domain = ANY
    function = np.not_equal

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return x != y


class Lt(Comparison):
    """x < y."""

    function = np.less


class Le(Comparison):
    """x <= y."""

    function = np.less_equal


class Gt(Comparison):
    """x > y."""

    function = np.greater


class Ge(Comparison):
    """x >= y."""

    function = np.greater_equal


class IsFinite(Unary):
    """Whether x is neither infinite nor NaN."""

    exact = True
    domain = FLOATING
    result_dtype = bool_

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.isfinite(x)

    def lower(self, build: Any, x: Any) -> Any:
        return build.is_finite(x)


eq, ne, lt, le, gt, ge = Eq(), Ne(), Lt(), Le(), Gt(), Ge()
is_finite = IsFinite()
