"""Arguments for namesakes: shapes with zeros, all dtypes, special values, axes."""

from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
import numpy as np

from fdl.dtypes import bfloat16, complex64

BOOL = ("bool",)
INTS = ("int32", "int8", "uint8", "int16", "int64", "uint32", "uint64", "uint16")
FLOATS = ("float32", "float64", "float16", bfloat16)
COMPLEX = ("complex64", "complex128")
REALS = FLOATS + INTS + BOOL
ALL = REALS + COMPLEX
#: Few dtypes, where the others cannot differ.
FEW = ("float32", "int32", "bool", "int8", "float64")

SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, 1e-40, -1e-40, 1e30, -1e30, 2.5, 1.5, 1e-3)


class Draw:
    """Draws from hypothesis: structure one by one, elements by a seed."""

    def __init__(self, data: Any, salt: int) -> None:
        self._data, self._salt = data, salt
        self._rng: np.random.Generator | None = None

    @property
    def rng(self) -> np.random.Generator:
        """A generator with a drawn seed."""
        if self._rng is None:
            self._rng = np.random.default_rng((self._salt, self._data.draw(st.integers(0, 2**20))))
        return self._rng

    def pick(self, *options: Any) -> Any:
        """One of them."""
        return self._data.draw(st.sampled_from(options))

    def flag(self) -> bool:
        """True or false."""
        return self._data.draw(st.booleans())

    def integer(self, low: int, high: int) -> int:
        """An integer, both ends included."""
        return self._data.draw(st.integers(low, high))

    def some(self, **options: Any) -> dict[str, Any]:
        """Some of these keywords; values that are functions are called."""
        return {k: v() if callable(v) and not isinstance(v, type) else v for k, v in options.items() if self.flag()}

    def shape(self, least: int = 0, most: int = 3, empty: bool = True) -> tuple[int, ...]:
        """A shape of so many axes."""
        ndim = self.integer(least, most)
        sides = (3, 1, 2, 5, 4, 0) if empty else (3, 1, 2, 5, 4)
        return tuple(self.pick(*sides) for _ in range(ndim))

    def array(
        self,
        dtypes: Sequence[Any] = REALS,
        shape: tuple[int, ...] | None = None,
        special: bool | None = None,
        low: float | None = None,
        high: float | None = None,
        most: int = 3,
        least: int = 0,
        empty: bool = True,
    ) -> np.ndarray:
        """An array; with special values among its elements unless bounds are given."""
        dtype = np.dtype(self.pick(*dtypes))
        shape = self.shape(least, most, empty) if shape is None else shape
        if special is None:
            special = low is None and self.flag()
        return self.elements(dtype, shape, special, low, high)

    def elements(
        self, dtype: Any, shape: tuple[int, ...], special: bool, low: float | None = None, high: float | None = None
    ) -> np.ndarray:
        """Elements of a dtype, a third of them special if wanted."""
        dtype, rng = np.dtype(dtype), self.rng
        if dtype.kind == "b":
            return np.asarray(rng.random(shape) < 0.5)
        if dtype.kind == "c":
            part = np.float32 if dtype == complex64 else np.float64
            pair = [self.elements(part, shape, special, low, high) for _ in range(2)]
            out = np.empty(shape, dtype)
            out.real, out.imag = pair
            return out
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            first, last = (
                max(info.min, -9 if low is None else int(low)),
                min(info.max, 9 if high is None else int(high)),
            )
            x = rng.integers(first, last + 1, shape).astype(dtype)
            choice = np.array([info.min, info.max, info.max - 1, 0, 1, 2], dtype)
        else:
            if low is None and high is None:
                x = rng.normal(size=shape) * 10 ** rng.uniform(-2, 1, shape)
                x = np.where(rng.random(shape) < 0.3, np.round(x), x)
            else:
                x = rng.uniform(-9 if low is None else low, 9 if high is None else high, shape)
            with np.errstate(all="ignore"):
                x, choice = np.asarray(x).astype(dtype), np.array(SPECIAL).astype(dtype)
        x = np.asarray(x)
        if not special:
            return x
        chosen = choice[rng.integers(0, len(choice), shape)]
        return np.asarray(np.where(rng.random(shape) < 0.4, chosen, x)).astype(dtype)

    def operands(self, dtypes: Sequence[Any] = REALS, count: int = 2, **settings: Any) -> list[Any]:
        """Arrays that broadcast, some of them Python numbers, of dtypes of their own or a common one."""
        shape, same = self.shape(), self.flag()
        dtype = self.pick(*dtypes)
        found: list[Any] = []
        for i in range(count):
            kind = np.dtype(dtype if same else self.pick(*dtypes))
            if i and self.integer(0, 4) == 0:
                number = self.elements(kind, (), False, **settings)
                if kind.kind in "biufc" and kind != bfloat16:
                    found.append(abs(int(number)) if kind.kind in "iu" else number.item())  # of any dtype
                    continue
            own = tuple(n if self.integer(0, 3) else 1 for n in shape)[self.pick(0, 0, 0, 1) :]
            found.append(self.array((kind,), own, **settings))
        return found

    def axis(self, x: np.ndarray, none: bool = True, several: bool = False) -> Any:
        """An axis of x (if it has one), None, or several axes."""
        options: list[Any] = [None] if none else []
        options += list(range(-x.ndim, x.ndim))
        if several and x.ndim > 1:
            options += [(0, 1), (-1, 0), (0,), ()]
        return self.pick(*options) if options else 0
