"""Array: an immutable n-d array in host memory, and the interpreter that computes at once."""

import reprlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from fdl.config import config
from fdl.core import trace
from fdl.core.interpret import evaluate, quiet
from fdl.core.nonfinite import check_results, has_results_of_effects, looking
from fdl.core.trace import Interpreter, Tracer, Value, source_line
from fdl.core.types import TensorType
from fdl.core.weak import narrowed, weak_classes
from fdl.dtypes import ALL, UNSIGNED, WEAK, bool_, canonical, complex128, default_dtype, float64, int64, key
from fdl.errors import ConcretizationError, DonationError, LeafError, RangeError


class _ArrayType(type):
    """Makes ``isinstance(x, Array)`` true for tracers too: user code should treat both alike.

    ``type(x) == type(y)`` does not ask whether an array is weak. Only ``==`` is so: sets and dicts, which compare
    hashes first, and ``is`` tell the classes apart.
    """

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Value)

    def __eq__(cls, other: object) -> bool:
        return cls is other or (isinstance(other, _ArrayType) and {cls, other} <= _ARRAY_CLASSES)

    __hash__ = type.__hash__


class Array(Value, metaclass=_ArrayType):
    """An immutable n-d array; made by `fdl.numpy.array` and by every operation.

    NumPy sees it without a copy, and read-only, through ``np.asarray`` and DLPack.

    >>> import fdl.numpy as fnp
    >>> np.asarray(fnp.ones(2)).flags.writeable
    False
    """

    __slots__ = ("_data", "_type")
    _type: TensorType
    #: How a notebook shows it; set by `fdl.numpy`.
    _repr_html_: Callable[["Array"], str]

    def __init__(self, data: np.ndarray) -> None:
        self._data: Any = data

    @property
    def type(self) -> TensorType:  # type: ignore[override]
        """Shape and dtype."""
        try:
            return self._type
        except AttributeError:
            self._type = TensorType(self._data.shape, self._data.dtype)
            return self._type

    def concrete(self, why: str = "") -> np.ndarray:
        if self._data is None:
            raise DonationError(
                f"this {self.type} was donated to a jitted call (donate_argnums) and can no longer be used; use the "
                "call's result instead"
            )
        return self._data

    def weakened(self, dtype: np.dtype) -> "Array":
        return Number(self, dtype)

    def is_deleted(self) -> bool:
        """Whether the memory was donated to a jitted call."""
        return self._data is None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        data = self.concrete().view()
        data.flags.writeable = False
        return np.array(data, dtype=dtype, copy=copy) if dtype is not None or copy else data

    def __dlpack__(  # type: ignore[override]
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        refuse_stream("__dlpack__", stream)
        if dl_device not in (None, self.__dlpack_device__()):
            raise BufferError(f"__dlpack__: the array is in the processor's memory, not on device {dl_device}")
        data = self.concrete().view()
        if max_version is None or max_version[0] < 1:
            # DLPack before 1.0 cannot say "read-only": its consumers get memory that they may write to.
            return (data if copy is False else data.copy()).__dlpack__()
        data.flags.writeable = False
        return data.__dlpack__(max_version=max_version, copy=copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.concrete().__dlpack_device__()

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (np.ascontiguousarray(self.concrete()).reshape(self._data.shape),)

    def __copy__(self) -> "Array":
        return copied(self)

    def __deepcopy__(self, memo: Any) -> "Array":
        return copied(self)


class Given(np.ndarray):
    """The base of memory that was given away by `given`: a call to which it is donated may write to it."""


def given(data: np.ndarray) -> Array:
    """An Array on the memory of `data`, that nobody else writes to any more."""
    # NumPy makes the array at the beginning of a chain of views the base of the last one, but for a change of class.
    return Array(data.view(Given).view(Given).view(np.ndarray))


def refuse_stream(name: str, stream: Any) -> None:
    """Raise a ValueError if there is a `stream`: those are queues of accelerators."""
    if stream is not None:
        raise ValueError(f"{name}: the processor has no streams, but stream={stream!r}; leave it out")


def _unpickled(data: np.ndarray) -> Array:
    """The Array of unpickled numbers; those that were pickled out of band lie in somebody else's memory."""
    return Array(data if data.flags.owndata else data.copy())


def copied(value: Any) -> Any:
    """A copy of a Value; tracers have no memory."""
    return Array(value.concrete().copy("C")) if type(value) is Array else value


def alias(value: Any) -> Any:
    """`value` under a handle of its own: memory is shared, but to donate one leaves the other as it is."""
    if type(value) is not Array:
        return value
    other = Array(value._data)
    if hasattr(value, "_type"):
        other._type = value._type
    return other


class Number(Array):
    """A weak array: its dtype yields to that of others (see `fdl.core.weak`)."""

    __slots__ = ("_held",)
    weak = True

    def __init__(self, held: Array, dtype: np.dtype) -> None:
        super().__init__(narrowed(held.concrete(), dtype))
        self._held = held

    @property
    def held(self) -> Array:
        return self._held

    def strong(self) -> Array:
        return Array(self.concrete())

    def weakened(self, dtype: np.dtype) -> Array:
        return Number(self._held, dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return Number, (self._held, self.type.dtype)

    def __copy__(self) -> Array:
        return self

    def __deepcopy__(self, memo: Any) -> Array:
        return self


weak_classes.add(Number)
_ARRAY_CLASSES = frozenset((Array, Number))


#: Elements of an array from which on eager calls run machine code, where NumPy takes longer.
MANY = 1024

#: Bytes of a result from which on it comes from the pool of blocks (`fdl.compile.runtime.blocks`).
LARGE = 1 << 20


class Eager(Interpreter):
    """Runs the NumPy reference of every operation; those with `compile_eagerly` go through the compiler."""

    run_compiled: Callable[[Any, Sequence[np.ndarray]], Sequence[np.ndarray]] | None = None
    #: Compiles a function made of operations that are `exact`; None where the processor's arithmetic differs.
    exactly: Callable[[Any], Callable[..., Any] | None] = staticmethod(lambda function: None)
    #: A Program (of arrays of so many elements, if a number is given) as a function of arrays to a tuple of Arrays, by
    #: machine code for all shapes; None where NumPy is as fast.
    compiled: Callable[..., Callable[..., tuple[Array, ...]] | None] = staticmethod(lambda program, *least: None)
    #: The same for one operation on operands of the given types.
    compiled_single: Callable[..., Callable[..., tuple[Array, ...]] | None] = staticmethod(
        lambda operation, *types: None
    )
    #: Looks at random keys before and after an operation; set by `fdl.control.key_reuse`.
    keys: Any

    def native(self, operation: Any, *types: TensorType) -> Callable[..., tuple[Array, ...]] | None:
        """An operation on arrays of these types as machine code; None where its reference is to run."""
        if operation.multiple or not types or types[0].size < MANY or not operation.prefers_native(*types):
            return None
        return self.compiled_single(operation, *types)

    def process(self, operation: Any, args: Sequence[Any]) -> Sequence[Any]:
        arrays = [a.concrete() if type(a) is Array else as_exact(a).concrete() for a in args]
        if operation.lowering_kind != "elementwise" or _mixed(arrays):
            types = [TensorType(a.shape, a.dtype) for a in arrays]
            try:
                _check_operands(operation, *types)
            except TypeError:  # that of the operation, or it holds what has no hash
                operation.result(*types)
        if config.checks:
            return [Array(o) for o in self.checked(operation, arrays)]
        if operation.compile_eagerly and self.run_compiled is not None:
            return [Array(o) for o in self.run_compiled(operation, arrays)]
        if arrays and arrays[0].size >= MANY:
            native = self.native(operation, *[TensorType(a.shape, a.dtype) for a in arrays])
            if native is not None:
                return native(*arrays)
        try:
            outs = [o if type(o) is np.ndarray else np.asarray(o) for o in evaluate(operation, arrays)]
        except (TypeError, ValueError):
            operation.result(*[TensorType(a.shape, a.dtype) for a in arrays])  # says what NumPy does not take
            raise
        return [Array(o) for o in outs]

    def checked(self, operation: Any, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """The results of an operation, while a setting has them, or random keys, looked at."""
        fresh = self.keys.before(operation, arrays) if config.debug_key_reuse else []
        try:
            if operation.compile_eagerly and has_results_of_effects(operation):
                with looking(effects=True):
                    outs = evaluate(operation, arrays)
            elif operation.compile_eagerly and self.run_compiled is not None:
                outs = self.run_compiled(operation, arrays)
            else:
                outs = evaluate(operation, arrays)
        except BaseException as error:
            self.keys.used.forget(fresh)
            if isinstance(error, (TypeError, ValueError)):
                operation.result(*[TensorType(a.shape, a.dtype) for a in arrays])  # says what NumPy does not take
            raise
        outs = [np.asarray(o) for o in outs]
        check_results(operation, arrays, outs, source_line)
        if config.debug_key_reuse:
            self.keys.after(operation, outs)
        return outs

    def call_custom(self, call: Any, args: Sequence[Any]) -> Sequence[Any]:
        return call.function(*args)

    def axis_size(self, name: Any) -> int | None:
        return None

    def axis_sizes(self) -> tuple[tuple[Any, int], ...]:
        return ()


@lru_cache(maxsize=1024)
def _check_operands(operation: Any, *types: TensorType) -> None:
    """Raise the error of an operation that does not take operands of these types."""
    operation.result(*types)


def _mixed(arrays: list[np.ndarray]) -> bool:
    first = arrays[0]
    for a in arrays[1:]:  # not any(...): a generator would double the time of a small operation's checks
        if a.shape != first.shape or a.dtype != first.dtype:
            return True
    return False


def as_array(value: Any, name: str = "an operand") -> Any:
    """`value` as a Value: tracers and arrays as they are, NumPy arrays and Python numbers as an Array.

    Raises:
        LeafError: it is none of these.
    """
    if isinstance(value, Value):
        if isinstance(value, Tracer) and trace.is_eager():
            trace.check_alive(value)
            raise ConcretizationError(f"{name} is a traced {value.type}, used outside the transform that made it")
        return value
    if type(value) in WEAK:
        try:
            found = Array(quiet.run(np.asarray, value, scalar_dtype(value)))
            return found.weakened(found.type.dtype) if config.weak_arrays and type(value) is not bool else found
        except OverflowError:
            raise RangeError(f"{name} is {value}, which no integer of 64 bits holds; make it a float") from None
    if isinstance(value, (np.ndarray, np.generic)):
        data = np.array(value, canonical(value.dtype))
        if data.dtype in ALL or data.dtype == key:
            return Array(data)
        raise LeafError(
            f"{name} is a NumPy array of dtype {data.dtype}, which fdl has no numbers for; convert it first"
        )
    if hasattr(value, "__fdl_array__"):
        return value.__fdl_array__()
    if hasattr(value, "__array__") and not isinstance(value, type):
        return as_array(np.asarray(value), name)
    made = "; fdl.numpy.asarray makes an array of it" if isinstance(value, (list, tuple)) else ""
    shown = f"{reprlib.repr(value)} of type {type(value).__name__}"
    raise LeafError(f"{name} is {shown}; an array or a number is needed{made}")


def as_weak(value: Any, name: str = "an operand") -> Any:
    """Like :func:`as_array`, for an argument of a transform: numbers of Python become weak."""
    if type(value) not in WEAK or (config.weak_arrays and type(value) is bool):
        return as_array(value, name)
    shown = as_array(value, name).type.dtype
    return Number(Array(np.asarray(value, wide_dtype(shown))), shown)


def as_exact(value: Any) -> Any:
    """Like :func:`as_array`, for an operand of a primitive, which promotes nothing: NumPy scalars keep their dtype."""
    if type(value) in WEAK and isinstance(value, np.generic):
        return Array(np.array(value, canonical(value.dtype)))
    return as_array(value)


def as_operand(value: Any, name: str = "an operand") -> Any:
    """Like :func:`as_array`, for a public function: an Array gets another handle.

    Where there is nothing to do, the function returns its operand; to donate that must leave the caller's own.
    """
    return alias(as_array(value, name))


def wide_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype of the numbers that a weak value holds, made of a number of Python, if it shows `dtype`."""
    return dtype if dtype in UNSIGNED else canonical(_WIDE[dtype.kind])


_WIDE = {"b": bool_, "i": int64, "f": float64, "c": complex128}


def scalar_dtype(value: Any) -> np.dtype:
    """The dtype of a weakly typed number that stands alone: the default of its kind, 64 bits if it does not fit."""
    kind = WEAK[type(value)]
    dtype = default_dtype(kind)
    if kind is int and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
        return canonical(np.dtype(np.int64 if value < 2**63 else np.uint64))
    return dtype


eager = Eager()
trace.set_base(eager, as_exact)
