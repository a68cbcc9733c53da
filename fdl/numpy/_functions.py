"""How an elementwise primitive becomes a function of this package: promotion, broadcasting, name and docstring."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from fdl.array import LARGE, MANY
from fdl.array import Array as ConcreteArray
from fdl.composite import composite
from fdl.config import config
from fdl.core.interpret import quiet
from fdl.core.trace import Value, computes_plainly
from fdl.core.types import TensorType
from fdl.dtypes import ANY, INEXACT, WEAK, bool_, key
from fdl.errors import DtypeError
from fdl.numpy._operands import Array, broadcast, number, promote
from fdl.ops.shape import full

#: The types of numbers that need no promotion beside an array of floats.
_AT_ONCE = (int, float, np.float64)


def _repeated(number: int | float, like: np.ndarray | None, domain: frozenset[Any]) -> np.ndarray | None:
    """A number in the shape and dtype of an array, without memory of its own; None if it needs promotion, or the array
    is large."""
    if like is None or like.dtype not in domain or like.nbytes >= LARGE:
        return None
    if type(number) is np.float64 and config.weak_arrays:
        return None
    kind = like.dtype.kind
    if kind == "f" or (kind in "iu" and type(number) is int):
        try:
            # Zeros of both signs are equal, but not the same.
            return (_filled if number else _filled.__wrapped__)(number, like.shape, like.dtype)
        except OverflowError:
            return None  # the slow path says so
    return None


@lru_cache(maxsize=256, typed=True)
def _filled(number: int | float, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """One number again and again, without memory for each."""
    return np.ndarray(shape, dtype, quiet.run(np.asarray, number, dtype), 0, (0,) * len(shape))


def _decided(compare: Callable[..., Any], x: Any, y: Any) -> Array | None:
    """What integers give that are compared with a number which their dtype does not hold; None if it does."""
    for known, array in ((x, y), (y, x)):
        if WEAK.get(type(known)) is int and isinstance(array, (Value, np.ndarray)) and array.dtype.kind in "iu":
            span = np.iinfo(array.held.dtype if isinstance(array, Value) else array.dtype)
            if not span.min <= known <= span.max:
                ints = [0 if a is array else int(a) for a in (x, y)]
                return full(compare(*ints), array.shape, bool_)
    return None


def _at_once(reference: Callable[..., Any], *operands: np.ndarray) -> Array:
    """The result of an operation outside all transforms, for operands that are known to fit."""
    made = quiet.run(reference, *operands)
    return ConcreteArray(made if type(made) is np.ndarray else np.asarray(made))


def _quick_in_numpy(operation: Any, dtypes: frozenset[Any], arity: int) -> frozenset[Any]:
    """The dtypes among some for whose arrays of many elements NumPy is as quick as machine code."""
    return frozenset([d for d in dtypes if not operation.prefers_native(*[TensorType((MANY,), d)] * arity)])


def _documented(function: Callable[..., Any], name: str, text: str, args: str, example: str) -> Callable[..., Any]:
    """The function under its public name, with its docstring; `example` is "arguments -> inside of Array(...)"."""
    given, shown = example.split(" -> ")
    function.__module__ = "fdl.numpy"
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""{text}

    Args:
{args}
    Returns:
        An array of the operands' common shape.

    >>> {name}({given})
    Array({shown})
    """
    return function


def unary(
    name: str, operation: Any, text: str, example: str, to_inexact: bool = True, integers: str = ""
) -> Callable[[Any], Array]:
    """The function that applies a primitive of one operand.

    Args:
        name: of the function.
        operation: the primitive.
        text: the first line of the docstring.
        example: "arguments -> inside of Array(...)", for the docstring.
        to_inexact: whether integers are converted to the default float first.
        integers: "unchanged" if integers and booleans are returned as they are.
    """

    domain = frozenset(operation.domain)
    fast = domain & frozenset(INEXACT) if to_inexact or integers == "unchanged" else domain - {key}
    references = {dtype: operation.reference_for(TensorType((), dtype)) for dtype in fast}
    quick = {dtype: references[dtype] for dtype in _quick_in_numpy(operation, fast, 1)}

    def function(x: Any, /) -> Array:
        if type(x) is ConcreteArray and x._data is not None and computes_plainly():
            data = x._data
            reference = (references if data.size < MANY else quick).get(data.dtype)
            if reference is not None and data.nbytes < LARGE:
                return _at_once(reference, data)
        return prepared(x)

    @composite
    def prepared(x: Any) -> Array:
        x = number(name, x)
        if to_inexact and x.type.dtype not in INEXACT:
            (x,) = promote(name, x, to_inexact=True)
        elif integers == "unchanged" and x.type.dtype.kind in "iub":
            return x
        if x.type.dtype not in operation.domain:
            raise DtypeError(f"{name} is not defined for {x.type}; convert it first, for example with astype")
        return operation(x)

    kinds = "any number; integers become the default float" if to_inexact else "any number"
    return _documented(function, name, text, f"        x: array or Python scalar of {kinds}.\n", example)


def binary(
    name: str,
    operation: Any,
    text: str,
    example: str,
    to_inexact: bool = False,
    boolean: Any = None,
    decided: bool = False,
) -> Callable[[Any, Any], Array]:
    """The function that applies a primitive of two operands after promotion and broadcasting.

    Args:
        name: of the function.
        operation: the primitive.
        text: the first line of the docstring.
        example: "arguments -> inside of Array(...)", for the docstring.
        to_inexact: whether integers are converted to the default float first.
        boolean: the primitive for two booleans, if it is another one.
        decided: whether a number that the other operand's dtype does not hold decides the result.
    """
    domain = frozenset(operation.domain)
    unchanged = frozenset(INEXACT) if to_inexact else frozenset(ANY) - {bool_ if boolean is not None else None}
    fast = domain & unchanged
    reference, quick = operation.reference, _quick_in_numpy(operation, fast, 2)

    def function(x: Any, y: Any, /) -> Array:
        # Two arrays of one type need no preparation, and this is where eager code spends its time.
        if type(x) is ConcreteArray and type(y) is ConcreteArray:
            a, b = x._data, y._data
            known = a is not None and b is not None and a.dtype is b.dtype and a.shape == b.shape and a.dtype in fast
            if known and (a.size < MANY or (a.dtype in quick and a.nbytes < LARGE)):
                return _at_once(reference, a, b) if computes_plainly() else operation(x, y)
        elif computes_plainly():
            if type(x) is ConcreteArray and type(y) in _AT_ONCE:
                other = _repeated(y, x._data, fast if x._data is None or x._data.size < MANY else quick)
                if other is not None:
                    return _at_once(reference, x._data, other)
            elif type(y) is ConcreteArray and type(x) in _AT_ONCE:
                other = _repeated(x, y._data, fast if y._data is None or y._data.size < MANY else quick)
                if other is not None:
                    return _at_once(reference, other, y._data)
        return prepared(x, y)

    @composite
    def prepared(x: Any, y: Any) -> Array:
        known = _decided(reference, x, y) if decided else None
        if known is not None:
            return known
        x, y = broadcast(name, *promote(name, x, y, to_inexact=to_inexact, keys=key in domain))
        dtype: np.dtype = x.type.dtype
        if dtype == bool_ and boolean is not None:
            return boolean(x, y)
        if dtype not in domain:
            raise DtypeError(f"{name} is not defined for {x.type} and {y.type}; convert an operand first with astype")
        return operation(x, y)

    args = "        x: array or Python scalar.\n        y: array or Python scalar; shapes broadcast, dtypes promote.\n"
    return _documented(function, name, text, args, example)
