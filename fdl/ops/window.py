"""Pooling: reductions over sliding windows, and the derivatives of those that choose an element."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from fdl.core.primitive import Primitive
from fdl.core.types import TensorType
from fdl.dtypes import BOOLEAN, FLOATING, NUMERIC, REAL
from fdl.errors import DtypeError, ShapeError
from fdl.ops.precision import accumulator, widened
from fdl.ops.reduce import identity
from fdl.ops.samples import draw
from fdl.ops.shape import all_batched
from fdl.ops.slicing import Pad, Slice
from fdl.ops.strided import Pairs, gradient_padding, out_extents, sliding

_FUNCTIONS: dict[str, Any] = {"sum": np.sum, "max": np.max, "min": np.min}


class Windowed(Primitive, abstract=True):
    """A window that slides over all axes.

    Attributes:
        kind: how the elements of a window are combined: "sum", "max" or "min".
        window: its extents.
        strides: its steps.
        padding: identity elements before and after each axis; negative ones cut off.
        base_dilation: distance of the operand's elements.
        window_dilation: distance of the window's elements.
    """

    lowering_kind = "kernel"
    compile_eagerly = True
    kind: str
    window: tuple[int, ...]
    strides: tuple[int, ...]
    padding: Pairs
    base_dilation: tuple[int, ...]
    window_dilation: tuple[int, ...]

    def places(self, x: TensorType) -> TensorType:
        """The type of what has one element for each place of the window over `x`."""
        geometry = (self.window, self.strides, self.padding, self.base_dilation, self.window_dilation)
        if any(len(g) != x.ndim for g in geometry):
            raise ShapeError(f"{self.name} over {x} needs an entry for each of its {x.ndim} axes: {self}")
        if min((*self.window, *self.strides, *self.base_dilation, *self.window_dilation), default=1) < 1:
            raise ShapeError(f"{self.name} over {x} needs positive extents, strides and dilations: {self}")
        if self.kind not in _FUNCTIONS:
            raise ValueError(f"{self.name} has the kinds {', '.join(_FUNCTIONS)}, got {self.kind!r}")
        return x.with_shape(out_extents(x.shape, *geometry))

    @property
    def pad(self) -> Pad:
        """Brings the operand to the shape over which the window slides without padding or dilation."""
        low, high = (tuple(p[side] for p in self.padding) for side in (0, 1))
        return Pad(low, high, tuple(d - 1 for d in self.base_dilation))

    def windows(self, padded: np.ndarray) -> np.ndarray:
        """A view with the elements of each window."""
        return sliding(padded, self.window, self.strides, self.window_dilation)

    def of(self, cls: type["Windowed"]) -> "Windowed":
        """An operation of another class with the same windows."""
        return cls(self.kind, self.window, self.strides, self.padding, self.base_dilation, self.window_dilation)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        one_more = type(self)(
            self.kind, (1, *self.window), (1, *self.strides), ((0, 0), *self.padding), (1, *self.base_dilation),
            (1, *self.window_dilation),
        )  # fmt: skip
        return one_more(*all_batched(size, args, batched))

    def chosen(self, x: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
        """For each window the flat place, in the padded operand, of its first extreme element; the padded shape."""
        of_max = self.kind == "max"
        padded = self.pad.reference(
            widened(x), np.asarray(identity(accumulator(x.dtype), of_max), accumulator(x.dtype))
        )
        windows = self.windows(padded)
        flat = windows.reshape(*windows.shape[: x.ndim], prod(self.window))
        first = (np.argmax if of_max else np.argmin)(flat, -1) if flat.size else np.zeros(flat.shape[:-1], np.int64)
        places = self.windows(np.arange(padded.size).reshape(padded.shape)).reshape(flat.shape)
        return np.take_along_axis(places, first[..., None], -1)[..., 0], padded.shape

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for geometry, shape in _CASES:
            for kind in ("max", "min"):
                operation = type(self)(kind, *geometry)
                places = operation.places(TensorType(shape, np.dtype(float))).shape
                yield operation, *self.operands(rng, shape, places, np.dtype(np.float64))
        geometry, shape = _CASES[0]
        for dtype in FLOATING:
            operation = type(self)("max", *geometry)
            yield operation, *self.operands(rng, shape, operation.places(TensorType(shape, dtype)).shape, dtype)

    def operands(
        self, rng: np.random.Generator, shape: tuple[int, ...], places: tuple[int, ...], dtype: np.dtype
    ) -> Any:
        """Random operands, given the shape of what the window slides over and that of the places of the window."""
        raise NotImplementedError


class ReduceWindow(Windowed):
    """The sum, maximum or minimum of the elements in each window; of equal ones the first has the derivative."""

    linear = True

    def result(self, *types: TensorType) -> TensorType:
        (x,) = types
        if x.dtype not in (NUMERIC if self.kind == "sum" else BOOLEAN + REAL):
            raise DtypeError(f"reduce_window of kind {self.kind} is not defined for {x}")
        return self.places(x)

    def reference(self, x: np.ndarray) -> np.ndarray:
        dtype = accumulator(x.dtype)
        element = 0 if self.kind == "sum" else identity(dtype, self.kind == "max")
        windows = self.windows(self.pad.reference(widened(x), np.asarray(element, dtype)))
        axes = tuple(range(x.ndim, 2 * x.ndim))
        keywords = {"dtype": dtype} if self.kind == "sum" else {}
        return np.asarray(_FUNCTIONS[self.kind](windows, axes, **keywords)).astype(x.dtype)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        (x,), (dx,) = primals, tangents
        return self(x), self(dx) if self.kind == "sum" else self.of(SelectAndGather)(dx, x)

    def linear_groups(self, types: Sequence[TensorType]) -> Sequence[Sequence[int]]:
        return ((0,),) if self.kind == "sum" else ()

    def transpose(self, cotangent: Any, x: Any) -> Sequence[Any]:
        padding = gradient_padding(
            x.type.shape, self.window, self.strides, self.padding, self.base_dilation, self.window_dilation
        )
        back = ReduceWindow("sum", self.window, self.base_dilation, padding, self.strides, self.window_dilation)
        return (back(cotangent),)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield from super().samples(rng)
        for geometry, shape in _CASES:
            yield ReduceWindow("sum", *geometry), rng.normal(size=shape)
        geometry, shape = _CASES[0]
        for dtype in NUMERIC:
            yield ReduceWindow("sum", *geometry), draw(rng, shape, dtype)
        for dtype in BOOLEAN + REAL:
            yield ReduceWindow("max", *geometry), draw(rng, shape, dtype)

    def operands(
        self, rng: np.random.Generator, shape: tuple[int, ...], places: tuple[int, ...], dtype: np.dtype
    ) -> Any:
        return (draw(rng, shape, dtype),)


class Selecting(Windowed, abstract=True):
    """Moves numbers between the places of a window and the first extreme element of x in it; linear in the numbers."""

    linear = ((0,),)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        numbers, x = primals
        # Which element is chosen does not change when x moves a little.
        return self(numbers, x), None if tangents[0] is None else self(tangents[0], x)


class SelectAndGather(Selecting):
    """Operands (numbers like x, x): for each window the number at the first extreme element of x; 0 in the padding."""

    def result(self, *types: TensorType) -> TensorType:
        numbers, x = types
        if numbers != x:
            raise ShapeError(f"select_and_gather needs two operands of one type, got {numbers} and {x}")
        return self.places(x)

    def reference(self, numbers: np.ndarray, x: np.ndarray) -> np.ndarray:
        places, _ = self.chosen(x)
        return self.pad.reference(numbers, np.zeros((), x.dtype)).reshape(-1)[places]

    def transpose(self, cotangent: Any, numbers: Any, x: Any) -> Sequence[Any]:
        return self.of(SelectAndScatterAdd)(cotangent, x), None

    def operands(
        self, rng: np.random.Generator, shape: tuple[int, ...], places: tuple[int, ...], dtype: np.dtype
    ) -> Any:
        return draw(rng, shape, dtype), draw(rng, shape, dtype)


class SelectAndScatterAdd(Selecting):
    """Operands (a number for each window, x): each number is added at the first extreme element of x in its window."""

    def result(self, *types: TensorType) -> TensorType:
        numbers, x = types
        if numbers != self.places(x):
            raise ShapeError(f"select_and_scatter_add over {x} needs numbers of type {self.places(x)}, got {numbers}")
        return x

    def reference(self, numbers: np.ndarray, x: np.ndarray) -> np.ndarray:
        places, shape = self.chosen(x)
        total = np.zeros(prod(shape), accumulator(x.dtype))
        np.add.at(total, places.reshape(-1), widened(numbers).reshape(-1))
        back = self.pad
        low, high = (tuple(-n for n in side) for side in (back.low, back.high))
        spread = Pad(low, high, (0,) * x.ndim).reference(total.reshape(shape), np.zeros((), total.dtype))
        return Slice((0,) * x.ndim, spread.shape, self.base_dilation).reference(spread).astype(x.dtype)

    def transpose(self, cotangent: Any, numbers: Any, x: Any) -> Sequence[Any]:
        return self.of(SelectAndGather)(cotangent, x), None

    def operands(
        self, rng: np.random.Generator, shape: tuple[int, ...], places: tuple[int, ...], dtype: np.dtype
    ) -> Any:
        return draw(rng, places, dtype), draw(rng, shape, dtype)


#: (window, strides, padding, base dilation, window dilation), shape of the operand.
_CASES: list[tuple[tuple[Any, ...], tuple[int, ...]]] = [
    (((1, 2, 2, 1), (1, 2, 2, 1), ((0, 0),) * 4, (1,) * 4, (1,) * 4), (2, 4, 6, 3)),
    (((1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (0, 1), (0, 0)), (1,) * 4, (1,) * 4), (2, 5, 6, 2)),
    (((3, 2), (1, 2), ((2, 1), (1, 0)), (1, 1), (1, 2)), (5, 6)),
    (((2, 2), (2, 1), ((1, 1), (0, 2)), (2, 1), (1, 1)), (4, 5)),
    (((2,), (1,), ((-1, 2),), (1,), (1,)), (5,)),
    (((2,), (3,), ((0, 0),), (1,), (1,)), (6,)),
    (((2, 3), (1, 1), ((0, 0), (1, 1)), (1, 1), (1, 1)), (0, 3)),
    (((4,), (1,), ((0, 0),), (1,), (1,)), (3,)),
    (((), (), (), (), ()), ()),
]


def reduce_window(
    kind: str,
    x: Any,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
) -> Any:
    """The "sum", "max" or "min" over sliding windows of `x`; see :class:`Windowed` for the arguments."""
    ones = (1,) * len(window)
    return ReduceWindow(
        kind, tuple(window), tuple(strides), tuple((int(a), int(b)) for a, b in padding), tuple(base_dilation or ones),
        tuple(window_dilation or ones),
    )(x)  # fmt: skip
