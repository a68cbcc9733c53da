"""Collectives: operations across an axis that an enclosing vmap names."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fdl.core.primitive import Primitive
from fdl.core.trace import current
from fdl.core.types import TensorType
from fdl.errors import AxisNameError
from fdl.ops.arithmetic import div, mul
from fdl.ops.compare import eq
from fdl.ops.convert import convert
from fdl.ops.reduce import reduce_max, reduce_min, sum_
from fdl.ops.shape import iota, move_axis, repeat, zeros_of
from fdl.ops.slicing import concatenate, slice_


class Collective(Primitive, abstract=True):
    """Every example of the named axis sees all of them.

    ``across(size, values, batched)`` is the meaning: results, with which of them are batched, for all examples at once.
    """

    axis_name: Any

    def reference(self, *arrays: np.ndarray) -> Any:
        raise AxisNameError(unbound(self.axis_name))

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return self(*args)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return self(*primals), self(*tangents)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        # A collective means something only under vmap with its axis name; tests of their own cover them.
        return iter(())


class Psum(Collective):
    """Sum over the named axis."""

    linear = True

    def result(self, *types: TensorType) -> TensorType:
        return types[0]

    def across(self, size: int, values: Sequence[Any], batched: Sequence[bool]) -> tuple[list[Any], list[bool]]:
        value = values[0] if batched[0] else repeat(values[0], size)
        return [sum_(value, (0,))], [False]

    def transpose(self, cotangent: Any, x: Any) -> Sequence[Any]:
        return (self(cotangent),)


class _Extreme(Collective, abstract=True):
    def result(self, *types: TensorType) -> TensorType:
        return types[0]

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        out = self(*primals)
        won = convert(eq(primals[0], out), out.type.dtype)
        total = Psum(self.axis_name)
        return out, div(total(mul(won, tangents[0])), total(won))


class Pmax(_Extreme):
    """Largest over the named axis."""

    def across(self, size: int, values: Sequence[Any], batched: Sequence[bool]) -> tuple[list[Any], list[bool]]:
        return [reduce_max(values[0], (0,)) if batched[0] else values[0]], [False]


class Pmin(_Extreme):
    """Smallest over the named axis."""

    def across(self, size: int, values: Sequence[Any], batched: Sequence[bool]) -> tuple[list[Any], list[bool]]:
        return [reduce_min(values[0], (0,)) if batched[0] else values[0]], [False]


class AxisIndex(Collective):
    """The number of the example along the named axis, int32."""

    def result(self, *types: TensorType) -> TensorType:
        return TensorType((), np.dtype(np.int32))

    def across(self, size: int, values: Sequence[Any], batched: Sequence[bool]) -> tuple[list[Any], list[bool]]:
        return [iota(np.dtype(np.int32), (size,), 0)], [True]


class AllGather(Collective):
    """All examples' values, along a new leading axis."""

    linear = True
    size: int

    def result(self, *types: TensorType) -> TensorType:
        return types[0].with_shape((self.size, *types[0].shape))

    def across(self, size: int, values: Sequence[Any], batched: Sequence[bool]) -> tuple[list[Any], list[bool]]:
        return [values[0] if batched[0] else repeat(values[0], size)], [False]

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return move_axis(self(*args), 1, 0)

    def transpose(self, cotangent: Any, x: Any) -> Sequence[Any]:
        return (PsumScatter(self.axis_name, self.size)(cotangent),)


class PsumScatter(Collective):
    """Sum over the named axis, of which example i keeps row i of the leading axis."""

    linear = True
    size: int

    def result(self, *types: TensorType) -> TensorType:
        return types[0].with_shape(types[0].shape[1:])

    def across(self, size: int, values: Sequence[Any], batched: Sequence[bool]) -> tuple[list[Any], list[bool]]:
        value = values[0] if batched[0] else repeat(values[0], size)
        return [sum_(value, (0,))], [True]

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return self(move_axis(args[0], 0, 1))

    def transpose(self, cotangent: Any, x: Any) -> Sequence[Any]:
        return (AllGather(self.axis_name, self.size)(cotangent),)


class Ppermute(Collective):
    """Values sent from example to example by (source, destination) pairs; those that get nothing have zeros."""

    linear = True
    pairs: tuple[tuple[int, int], ...]

    def result(self, *types: TensorType) -> TensorType:
        return types[0]

    def across(self, size: int, values: Sequence[Any], batched: Sequence[bool]) -> tuple[list[Any], list[bool]]:
        value = values[0] if batched[0] else repeat(values[0], size)
        source = {destination: origin for origin, destination in self.pairs}
        rows = [_row(value, source.get(destination)) for destination in range(size)]
        return [concatenate(rows, 0)], [True]

    def transpose(self, cotangent: Any, x: Any) -> Sequence[Any]:
        return (Ppermute(self.axis_name, tuple((d, s) for s, d in self.pairs))(cotangent),)


def _row(value: Any, number: int | None) -> Any:
    """Row `number` of `value`, or a row of zeros; the leading axis stays, with extent one."""
    shape = value.type.shape
    if number is None:
        return zeros_of(value.type.with_shape((1, *shape[1:])))
    starts = (number,) + (0,) * (len(shape) - 1)
    return slice_(value, starts, (number + 1, *shape[1:]), (1,) * len(shape))


def names_of(axis_name: Any) -> tuple[Any, ...]:
    """One name of an axis, or a tuple of names, as a tuple."""
    return tuple(axis_name) if isinstance(axis_name, (tuple, list)) else (axis_name,)


def axis_size(name: Any) -> int:
    """The size of the named axis of the enclosing vmap; of several axes the product.

    Args:
        name: of an axis, or a tuple of names.

    Returns:
        A Python integer.

    Raises:
        AxisNameError: no enclosing vmap binds it.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: x * fdl.lax.axis_size("i"), axis_name="i")(fnp.array([5, 6]))
    Array([10, 12], dtype=int32)
    """
    total = 1
    for one in names_of(name):
        size = current().axis_size(one)
        if size is None:
            raise AxisNameError(unbound(one))
        total *= size
    return total


def unbound(name: Any) -> str:
    """The message about an axis name that nothing binds."""
    return f"no enclosing vmap binds the axis name {name!r}; call it inside fdl.vmap(..., axis_name={name!r})"


def bound(make: Callable[[Any], Collective], name: Any) -> Collective:
    """The collective over one `name`, after a check that the axis exists."""
    axis_size(name)
    return make(name)
