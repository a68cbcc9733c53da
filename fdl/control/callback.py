"""Python functions called from inside a Program."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fdl.control.custom import Rule
from fdl.core.primitive import Primitive
from fdl.core.types import TensorType
from fdl.dtypes import WEAK, canonical, python_number, result_type
from fdl.errors import DifferentiationError, ShapeError
from fdl.ops.shape import all_batched


def copies(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What a user's function gets: it may keep arrays and write to them, where compiled code reuses the memory."""
    return [np.array(a) for a in arrays]


#: Whether a callback must return the structure that was declared, or only as many leaves, as JAX wants.
same_structure = True

#: What is raised for an error of a callback, if not the error itself; set where fdl has JAX's name.
translate_error: Callable[[Exception], Exception] | None = None


def _called(function: Rule, arrays: Sequence[np.ndarray]) -> Any:
    try:
        return function(*copies(arrays))
    except Exception as error:
        if translate_error is None:
            raise
        raise translate_error(error) from error


def _returned(out: Any, dtype: np.dtype) -> np.ndarray:
    """What a function returned, as an array: a number has the declared dtype if that has room for its kind."""
    number = python_number(out)
    if type(number) in WEAK and result_type(number, dtype) == dtype:
        return np.array(number, dtype)
    array = np.array(out)
    return array.astype(canonical(array.dtype))


class Callback(Primitive):
    """Results of a Python function of NumPy arrays, which must return arrays of the declared types.

    ``vectorized`` says whether the function takes a leading batch axis itself; else it is called once an example.
    """

    multiple = True
    function: Rule
    types: tuple[TensorType, ...]
    vectorized: bool = False

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        return self.types

    def reference(self, *arrays: np.ndarray) -> list[np.ndarray]:
        found = zip(_called(self.function, arrays), self.types, strict=True)
        outs = [_returned(out, type.dtype) for out, type in found]
        for out, type in zip(outs, self.types, strict=True):
            if out.shape != type.shape or out.dtype != type.dtype:
                raise ShapeError(
                    f"the callback {self.function.__qualname__.split('@')[0]} returned "
                    f"{out.dtype}{list(out.shape)} where its "
                    f"result was declared to be {type}"
                )
        return outs

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        raise DifferentiationError(
            "a pure_callback has no derivative, since fdl cannot see inside it. Wrap it in a function "
            "with custom_jvp or "
            "custom_vjp, or stop the gradient before it with fdl.lax.stop_gradient."
        )

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        types = tuple(t.with_shape((size, *t.shape)) for t in self.types)
        function = self.function if self.vectorized else Rule(_each(self.function, self.types))
        return type(self)(function, types, True)(*all_batched(size, args, batched)), (True,) * len(types)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        type = TensorType((3,), np.dtype(np.int32))
        yield self.__class__(Rule(_double), (type,)), np.arange(3, dtype=np.int32)


class IoCallback(Callback):
    """A callback that does something besides: it runs once for each call, whether its results are used or not."""

    effect = True


def _double(x: np.ndarray) -> list[np.ndarray]:
    return [x * np.int32(2)]


def _each(function: Any, types: Sequence[TensorType]) -> Any:
    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        rows = [function(*values) for values in zip(*arrays, strict=True)]
        if not rows:
            return [np.empty((0, *t.shape), t.dtype) for t in types]
        return [np.stack([np.asarray(r[i]) for r in rows]) for i in range(len(types))]

    return run


class Effect(Primitive):
    """A Python function called for what it does (printing, logging), with NumPy arrays; it returns nothing."""

    multiple = True
    effect = True
    function: Rule

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        return ()

    def reference(self, *arrays: np.ndarray) -> list[np.ndarray]:
        _called(self.function, arrays)
        return []

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return self(*primals), ()

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        def each(*arrays: np.ndarray) -> None:
            for index in range(size):
                self.function(*(a[index] if b else a for a, b in zip(arrays, batched, strict=True)))

        return Effect(Rule(each))(*args), ()

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield Effect(Rule(len)), np.arange(3, dtype=np.int32)
