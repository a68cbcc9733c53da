"""Operators, properties and methods of values: each is a function of this package."""

import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from fdl.api.environment import devices
from fdl.array import Array, alias, refuse_stream
from fdl.config import config
from fdl.core.trace import Tracer, Value, computes_plainly
from fdl.dtypes import as_dtype, default_dtype, key
from fdl.errors import ConcretizationError, DtypeError, ShapeError
from fdl.numpy import (
    _printing,
    arithmetic,
    creation,
    diagonals,
    indexing,
    linear,
    logic,
    rearrange,
    reductions,
    selection,
    shapes,
    sorting,
    statistics,
)
from fdl.numpy._operands import cast, check_device
from fdl.ops.complex import complex_
from fdl.ops.convert import bitcast
from fdl.sharding import WHOLE

# What operators take; all else is left to the other operand's class.
_OPERANDS = (Value, bool, int, float, complex, np.ndarray, np.generic)

# What extents are made of.
_INTEGERS = frozenset([int])


def _forward(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        return function(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    return method


def _reflected(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        return function(other, self) if isinstance(other, _OPERANDS) else NotImplemented

    return method


_BINARY = {
    "add": arithmetic.add,
    "sub": arithmetic.subtract,
    "mul": arithmetic.multiply,
    "truediv": arithmetic.divide,
    "floordiv": arithmetic.floor_divide,
    "mod": arithmetic.remainder,
    "divmod": arithmetic.divmod,
    "pow": arithmetic.power,
    "matmul": linear.matmul,
    "and": logic.bitwise_and,
    "or": logic.bitwise_or,
    "xor": logic.bitwise_xor,
    "lshift": logic.left_shift,
    "rshift": logic.right_shift,
}
_COMPARISONS = {
    "eq": logic.equal,
    "ne": logic.not_equal,
    "lt": logic.less,
    "le": logic.less_equal,
    "gt": logic.greater,
    "ge": logic.greater_equal,
}
_UNARY = {
    "neg": arithmetic.negative,
    "pos": arithmetic.positive,
    "abs": arithmetic.absolute,
    "invert": logic.invert,
}


def _number(kind: type, name: str) -> Callable[[Any], Any]:
    def convert(self: Any) -> Any:
        # An int or a bool is constant but for its steps; a float or a complex must not leave a derivative behind.
        data = (self.discrete if kind in (int, bool) else self.concrete)(f"{name}()")
        if data.size != 1:
            raise ShapeError(f"{name}() needs an array of one element, got shape {data.shape}; use any, all or item")
        return kind(data.item())

    return convert


def _index(self: Any) -> int:
    data = self.concrete("an index")
    if data.dtype.kind not in "iu" or data.ndim:
        raise TypeError(f"only integer scalars can be an index, got {self.type}")
    return int(data)


def _len(self: Any) -> int:
    if not self.type.ndim:
        raise TypeError("len() of an array without axes")
    return self.type.shape[0]


def _iter(self: Any) -> Iterator[Any]:
    if not self.type.ndim:
        raise TypeError("iteration over an array without axes")
    if type(self) is Array:
        return iter([Array(np.asarray(row)) for row in self.concrete()])
    return iter(shapes.unstack(self))


def _format(self: Any, spec: str) -> str:
    if isinstance(self, Tracer):
        if not re.fullmatch("(.?[<>^])?[0-9]*s?", spec):
            raise ConcretizationError(
                f"the format {spec!r} needs a number, but a traced {self.type}{self.origin()} has none yet or is being "
                'differentiated; use fdl.debug.print("{...}", x), or a format without a type, which shows the tracer'
            )
        return format(repr(self), spec)
    if not self.type.ndim and self.type.dtype != key:
        return format(self.concrete().item(), spec)
    if spec:
        raise TypeError(f"the format {spec!r} is for one number; this array has shape {self.type.shape}")
    return str(self)


def _contains(self: Any, element: Any) -> bool:
    return bool(reductions.any(logic.equal(self, element)))


def _round(self: Any, ndigits: int | None = None) -> Any:
    found = arithmetic.round(self, ndigits or 0)
    return cast(found, default_dtype(int)) if ndigits is None and config.weak_arrays else found  # as JAX has it


def _set_item(self: Any, index: Any, value: Any) -> None:
    raise TypeError("arrays are immutable; write x = x.at[index].set(value) instead of x[index] = value")


def _reshape(self: Any, *args: Any, order: str = "C") -> Any:
    """In another shape, of which one extent may be -1: ``x.reshape(2, -1)``, ``x.reshape((2, -1))``."""
    if type(self) is Array and order == "C" and self._data is not None and computes_plainly():
        shape = args[0] if len(args) == 1 and type(args[0]) is tuple else args
        if _INTEGERS.issuperset(map(type, shape)) and min(shape, default=0) >= -1:
            try:
                return Array(self._data.reshape(shape))
            except ValueError:
                pass  # the ordinary way says so
    return shapes.reshape(self, args[0] if len(args) == 1 else args, order)


def _transpose(self: Any, *args: Any) -> Any:
    """With its axes in another order: reversed, or as told by numbers or one tuple."""
    axes = args[0] if len(args) == 1 and not isinstance(args[0], int) else args
    return shapes.transpose(self, axes or None)


def _reversed_axes(self: Any) -> Any:
    """With its axes in reverse order."""
    if type(self) is Array and self._data is not None and computes_plainly():
        return Array(self._data.T)
    return shapes.transpose(self)


def _flatten(self: Any, order: str = "C") -> Any:
    """All elements along one axis."""
    return shapes.ravel(self, order)


def _clip(self: Any, min: Any = None, max: Any = None) -> Any:
    """Each element, or the nearest bound where it lies outside of them; see :func:`fdl.numpy.clip`."""
    return arithmetic.clip(self, min, max)


def _astype(self: Any, dtype: Any, copy: bool = False, device: Any = None) -> Any:
    """Converted to another dtype; see :func:`fdl.numpy.astype`."""
    return creation.astype(self, dtype, copy=copy, device=device)


def _to_device(self: Any, device: Any, /, *, stream: Any = None) -> Any:
    """The array itself: there is one device."""
    check_device("to_device", device)
    refuse_stream("to_device", stream)
    return self


def _item(self: Any, *args: int) -> Any:
    """The one element, or that of the given index, as a number of Python.

    Raises:
        ConcretizationError: it is traced, so that it has no numbers.
    """
    return self.concrete("item()").item(*args)


def _to_list(self: Any) -> Any:
    """The elements as nested lists of numbers of Python.

    Raises:
        ConcretizationError: it is traced, so that it has no numbers.
    """
    return self.concrete("tolist()").tolist()


def _device(self: Any) -> Any:
    """Where it lies: the processor."""
    return devices()[0]


def _view(self: Any, dtype: Any = None) -> Any:
    """The bytes read as another dtype; the last axis has as many of its elements as fit."""
    if dtype is None:
        return alias(self)
    new, shape = as_dtype(dtype), self.type.shape
    old, size = self.type.dtype.itemsize, new.itemsize
    if new != self.type.dtype and key in (new, self.type.dtype):
        raise DtypeError(f"view: {self.type} is not read as {new}; use random.key_data and random.wrap_key_data")
    if old == size:
        return bitcast(self, new)
    if not shape:
        raise ShapeError(f"view: {self.type} has no last axis whose elements could be read as {new}; use x[None]")
    if (shape[-1] * old) % size:
        raise ShapeError(f"view: the last axis of {self.type} has no whole number of elements of {new}")
    fitted = (*shape[:-1], shape[-1] * old // size)
    parts = self if old > size else shapes.reshape(self, (*fitted, size // old))
    return shapes.reshape(bitcast(parts, new), fitted)


def _swap_bytes(self: Any, inplace: bool = False) -> Any:
    """The bytes of each number in reverse order."""
    if inplace:
        raise ValueError("byteswap: arrays are immutable; use the result")
    if self.type.dtype.kind == "c":
        return complex_(_swap_bytes(arithmetic.real(self)), _swap_bytes(arithmetic.imag(self)))
    if self.type.dtype.itemsize == 1:
        return alias(self)
    return bitcast(rearrange.flip(bitcast(self, np.dtype(np.uint8)), -1), self.type.dtype)


def _to_bytes(self: Any, order: str = "C") -> bytes:
    """The memory of the elements."""
    return np.asarray(self.concrete("tobytes()")).tobytes(order)  # type: ignore[arg-type]


def _block_until_ready(self: Any) -> Any:
    """The array itself: results are computed before they are returned."""
    return self


def _byte_size(self: Any) -> int:
    """Bytes of all elements."""
    return self.type.size * self.type.dtype.itemsize


def _matrix_transposed(self: Any) -> Any:
    """With its last two axes exchanged."""
    return shapes.matrix_transpose(self)


def _devices(self: Any) -> Any:
    """The one device, in a set."""
    return {_device(self)}


def _compress(self: Any, condition: Any, axis: int | None = None) -> Any:
    """The slices along `axis` for which `condition` is true; see :func:`fdl.numpy.compress`."""
    return selection.compress(condition, self, axis)


#: Of properties whose getter is an expression.
_TEXTS = {
    "shape": "Extents of its axes.",
    "dtype": "The dtype of its elements.",
    "ndim": "Number of axes.",
    "size": "Number of elements.",
    "itemsize": "Bytes of one element.",
    "sharding": "How it lies on devices: whole, on the one that there is.",
    "weak_type": "Whether its dtype yields to that of others, as that of a number of Python does.",
    "aval": "Shape and dtype, under JAX's name.",
    "flat": "An iterator over its elements.",
}

_PROPERTIES: dict[str, Callable[[Any], Any]] = {
    "shape": lambda self: self.type.shape,
    "dtype": lambda self: self.type.dtype,
    "ndim": lambda self: self.type.ndim,
    "size": lambda self: self.type.size,
    "itemsize": lambda self: self.type.dtype.itemsize,
    "nbytes": _byte_size,
    "T": _reversed_axes,
    "mT": _matrix_transposed,
    "real": arithmetic.real,
    "imag": arithmetic.imag,
    "device": _device,
    "sharding": lambda self: WHOLE,
    "weak_type": lambda self: self.weak,
    "aval": lambda self: self.type,
    "flat": lambda self: iter(shapes.ravel(self)),
    "at": indexing.IndexUpdate,
}
_METHODS: dict[str, Callable[..., Any]] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "flatten": _flatten,
    "clip": _clip,
    "astype": _astype,
    "item": _item,
    "view": _view,
    "devices": _devices,
    "to_device": _to_device,
    "tolist": _to_list,
    "tobytes": _to_bytes,
    "byteswap": _swap_bytes,
    "block_until_ready": _block_until_ready,
    "copy": creation.copy,
    "conj": arithmetic.conj,
    "conjugate": arithmetic.conj,
    "round": arithmetic.round,
    "dot": linear.dot,
    "trace": linear.trace,
    "ravel": shapes.ravel,
    "squeeze": shapes.squeeze,
    "swapaxes": shapes.swapaxes,
    "diagonal": diagonals.diagonal,
    "repeat": rearrange.repeat,
    "take": selection.take,
    "nonzero": selection.nonzero,
    "choose": selection.choose,
    "compress": _compress,
    "sort": sorting.sort,
    "argsort": sorting.argsort,
    "searchsorted": sorting.searchsorted,
    "argpartition": sorting.argpartition,
    "mean": statistics.mean,
    "std": statistics.std,
    "var": statistics.var,
    "sum": reductions.sum,
    "prod": reductions.prod,
    "max": reductions.max,
    "min": reductions.min,
    "ptp": reductions.ptp,
    "any": reductions.any,
    "all": reductions.all,
    "argmax": reductions.argmax,
    "argmin": reductions.argmin,
    "cumsum": reductions.cumsum,
    "cumprod": reductions.cumprod,
}
_PROTOCOLS: dict[str, Callable[..., Any]] = {
    "bool": _number(bool, "bool"),
    "int": _number(int, "int"),
    "float": _number(float, "float"),
    "complex": _number(complex, "complex"),
    "index": _index,
    "len": _len,
    "iter": _iter,
    "contains": _contains,
    "format": _format,
    "round": _round,
    "getitem": indexing.read,
    "setitem": _set_item,
}


def install(namespace: ModuleType) -> None:
    """Give `Value` its operators, properties and methods, and `namespace` as that of its functions."""
    for name, function in _BINARY.items():
        setattr(Value, f"__{name}__", _forward(function))
        setattr(Value, f"__r{name}__", _reflected(function))
    for name, function in _COMPARISONS.items():
        setattr(Value, f"__{name}__", _forward(function))
    for name, unary in _UNARY.items():
        setattr(Value, f"__{name}__", lambda self, unary=unary: unary(self))
    for name, getter in _PROPERTIES.items():
        # The sentence, not the example: doctest would run it again among the names of another module.
        text = _TEXTS.get(name) or (getter.__doc__ or "").split("\n")[0]
        setattr(Value, name, property(getter, doc=text))
    for name, method in _METHODS.items():
        setattr(Value, name, method)
    for name, method in _PROTOCOLS.items():
        setattr(Value, f"__{name}__", method)
    Value.__array_namespace__ = lambda self, *, api_version=None: namespace  # type: ignore[method-assign]
    # What is compared elementwise has no hash.
    Value.__hash__ = None  # type: ignore[assignment]
    Array.__repr__ = _printing.array_repr  # type: ignore[method-assign]
    Array.__str__ = _printing.array_str  # type: ignore[method-assign]
    Array._repr_html_ = _printing.array_html
