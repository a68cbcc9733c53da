"""Making arrays: from data, of constants, ranges, grids."""

from array import array as array_of_c
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fdl import array as arrays
from fdl.array import as_array
from fdl.composite import composite
from fdl.config import config
from fdl.core.trace import Tracer, Value, is_eager, use
from fdl.core.weak import narrowed
from fdl.dtypes import INTEGER, WEAK, as_dtype, bfloat16, default_dtype, index_dtype, key, python_number, result_type
from fdl.errors import LeafError, ShapeError
from fdl.numpy._operands import (
    SCALARS,
    Array,
    ArrayLike,
    DTypeLike,
    broadcast_shapes,
    cast,
    check_device,
    converted,
    expand_to,
    number,
    refuse_keys,
    shape_tuple,
    value,
)
from fdl.ops import compare
from fdl.ops.bitwise import not_
from fdl.ops.convert import convert
from fdl.ops.select import select
from fdl.ops.shape import full as repeated
from fdl.ops.shape import full_like as full_like_operand
from fdl.ops.shape import iota, reshape
from fdl.ops.slicing import concatenate


def array(
    object: Any,
    dtype: DTypeLike | None = None,
    copy: bool = True,
    order: str | None = "K",
    ndmin: int = 0,
    *,
    device: Any = None,
) -> Array:
    """An array from data.

    Args:
        object: number, array, or nested sequence of these, traced ones included.
        dtype: of the result; None keeps an array's dtype, and gives float32, int32, bool or complex64 to Python data.
        copy: False lets the result share the memory of an Array; data that could change later is always copied.
        order: "K", "C" or None; arrays have no memory order that could be seen.
        ndmin: least number of axes; missing ones are put in front.
        device: where the array is: None, the one device of :func:`fdl.devices`, a sharding over it, or "cpu".

    Returns:
        The array.

    Raises:
        LeafError: `object` holds something that is not a number.
        ShapeError: a nested sequence is not rectangular.

    >>> array([1, 2]), array([[1.0], [2.0]]).shape
    (Array([1, 2], dtype=int32), (2, 1))
    """
    check_device("array", device)
    result = _from_data(object, None if dtype is None else as_dtype(dtype))
    if dtype is not None and (result.weak or result.type.dtype != as_dtype(dtype)):
        refuse_keys("array", result.type.dtype)
        result = convert(result, as_dtype(dtype))
    if result is object:
        result = arrays.copied(result) if copy else arrays.alias(result)
    missing = ndmin - result.type.ndim
    return reshape(result, (1,) * missing + result.type.shape) if missing > 0 else result


def asarray(
    a: Any, dtype: DTypeLike | None = None, order: str | None = None, *, copy: bool | None = None, device: Any = None
) -> Array:
    """`a` as an array, which shares the memory of an Array of the right dtype.

    Args:
        a: number, array, or nested sequence of these.
        dtype: of the result; None keeps it.
        order: accepted for compatibility.
        copy: True for memory of its own; False to share it or raise; None copies what could change later.
        device: where the array is: None, the one device of :func:`fdl.devices`, a sharding over it, or "cpu".

    Returns:
        The array.

    Raises:
        ValueError: `copy` is False, and `a` is no Array of that dtype.

    >>> asarray(2.5)
    Array(2.5, dtype=float32)
    """
    check_device("asarray", device)
    if copy is False:
        _refuse_copy("asarray", a, None if dtype is None else as_dtype(dtype))
    return array(a, dtype, bool(copy))


def _refuse_copy(name: str, a: Any, dtype: np.dtype | None) -> None:
    """Raise unless `a` is an Array of that dtype, whose memory can be shared."""
    if not isinstance(a, Value) or dtype not in (None, a.type.dtype):
        kind = str(a.type) if isinstance(a, Value) else f"a {type(a).__name__}"
        raise ValueError(
            f"{name} with copy=False cannot make an array {'' if dtype is None else f'of dtype {dtype} '}of {kind} "
            "without a copy: arrays are immutable, so they share memory with other Arrays of their dtype only. Leave "
            "copy out, or pass copy=None"
        )


def _from_data(data: Any, dtype: np.dtype | None) -> Array:
    if isinstance(data, Value):
        return as_array(data, "array: the operand")
    if type(data) in WEAK:
        return as_array(data) if dtype is None else cast(data, dtype)
    if isinstance(data, (list, tuple)):
        return _from_sequence(data, dtype)
    if isinstance(data, (bytearray, memoryview, array_of_c)):
        data = np.asarray(data)
    if hasattr(data, "__fdl_array__"):
        return _from_data(data.__fdl_array__(), dtype)
    return as_array(data, "array: the operand")


def _from_sequence(data: Sequence[Any], dtype: np.dtype | None) -> Array:
    plain = {type(leaf) for leaf in _leaves(data)}
    if plain <= WEAK.keys():
        if not plain.issubset(SCALARS):
            data, plain = _of_python(data), {WEAK[kind] for kind in plain}
        wide = np.complex128 if complex in plain else np.float64 if float in plain or not plain else None
        try:
            found = np.array(data, wide)
        except ValueError as error:
            raise ShapeError(f"array: the nested sequence is not rectangular: {error}") from None
        return arrays.Array(narrowed(found, dtype or _default_of(found, plain)))
    common = dtype or dtype_together(data)
    items = [_from_data(item, common if isinstance(item, (list, tuple)) else dtype) for item in data]
    shapes = {item.type.shape for item in items}
    if len(shapes) > 1:
        raise ShapeError(f"array: the items of a sequence have different shapes: {sorted(shapes)}")
    # A Python number among arrays stays weak.
    weak = [raw if type(raw) in WEAK else item for raw, item in zip(data, items, strict=True)]
    if not any(isinstance(item, Tracer) for item in items):
        with use(arrays.eager):  # what is known stays known while a function is traced
            return arrays.Array(np.stack([cast(item, common).concrete() for item in weak]))
    rows = [reshape(cast(w, common), (1, *i.type.shape)) for w, i in zip(weak, items, strict=True)]
    joined: Array = concatenate(rows, 0).strong()  # as an array of known numbers is
    return joined


def dtype_together(data: Sequence[Any]) -> np.dtype:
    """The common dtype of arrays and nested sequences, whose Python numbers take the dtype of arrays."""
    leaves = [leaf if type(leaf) in WEAK else _from_data(leaf, None) for leaf in _leaves(data)]
    return result_type(*leaves)


def _of_python(data: Sequence[Any]) -> list[Any]:
    return [_of_python(item) if isinstance(item, (list, tuple)) else python_number(item) for item in data]


def _default_of(found: np.ndarray, kinds: set[type]) -> np.dtype:
    """The dtype of Python numbers: the default of their kind, 64 bits for integers that need them."""
    if not kinds or kinds & {float, complex}:
        return default_dtype(complex if complex in kinds else float)
    if kinds == {bool}:
        return default_dtype(bool)
    if found.dtype == object:
        raise LeafError("array: an integer does not fit into 64 bits")
    default = default_dtype(int)
    fits = not found.size or (found.min() >= np.iinfo(default).min and found.max() <= np.iinfo(default).max)
    return default if fits else found.dtype


def _leaves(data: Any) -> Any:
    for item in data:
        if isinstance(item, (list, tuple)):
            yield from _leaves(item)
        else:
            yield item


def copy(a: ArrayLike, order: str | None = None) -> Array:
    """An array like `a`, with memory of its own.

    >>> copy(1.0)
    Array(1., dtype=float32)
    """
    return array(a)


def astype(x: ArrayLike, dtype: DTypeLike | None, /, *, copy: bool = False, device: Any = None) -> Array:
    """`x` converted to another dtype.

    Args:
        x: array or number; the real part is taken of complex numbers made real.
        dtype: the dtype wanted; None is the default float.
        copy: whether the result has memory of its own even if the dtype is the same.
        device: where the array is: None, the one device of :func:`fdl.devices`, a sharding over it, or "cpu".

    >>> astype(2.7, int)
    Array(2, dtype=int32)
    """
    check_device("astype", device)
    target = default_dtype(float) if dtype is None else as_dtype(dtype)
    if type(x) is not arrays.Array or x.type.dtype in (target, key):
        x = value("astype", x)
        if not x.weak and x.type.dtype == target:
            return arrays.copied(x) if copy else x
    return converted(x, target)


def zeros(shape: Any, dtype: DTypeLike | None = None, *, device: Any = None) -> Array:
    """An array of zeros.

    Args:
        shape: int or sequence of ints.
        dtype: default float32.
        device: where the array is: None, the one device of :func:`fdl.devices`, a sharding over it, or "cpu".

    >>> zeros(3)
    Array([0., 0., 0.], dtype=float32)
    """
    check_device("zeros", device)
    return filled(0, shape_tuple("zeros", shape), as_dtype(float if dtype is None else dtype))


def ones(shape: Any, dtype: DTypeLike | None = None, *, device: Any = None) -> Array:
    """An array of ones.

    Args:
        shape: int or sequence of ints.
        dtype: default float32.
        device: where the array is: None, the one device of :func:`fdl.devices`, a sharding over it, or "cpu".

    >>> ones((1, 2), int)
    Array([[1, 1]], dtype=int32)
    """
    check_device("ones", device)
    return filled(1, shape_tuple("ones", shape), as_dtype(float if dtype is None else dtype))


def empty(shape: Any, dtype: DTypeLike | None = None, *, device: Any = None) -> Array:
    """An array of zeros: memory that is not set would differ from run to run.

    >>> empty(2)
    Array([0., 0.], dtype=float32)
    """
    check_device("empty", device)
    return zeros(shape, dtype)


def full(shape: Any, fill_value: ArrayLike, dtype: DTypeLike | None = None, *, device: Any = None) -> Array:
    """An array of one value, or of an array broadcast to `shape`.

    Args:
        shape: int or sequence of ints.
        fill_value: number or array.
        dtype: default that of `fill_value`.
        device: where the array is: None, the one device of :func:`fdl.devices`, a sharding over it, or "cpu".

    >>> full(2, 7)
    Array([7, 7], dtype=int32)
    """
    check_device("full", device)
    x = asarray(fill_value if dtype is None else _held(fill_value, as_dtype(dtype)), dtype)
    shape = shape_tuple("full", shape)
    if broadcast_shapes(x.type.shape, shape, name="full: fill_value and shape") != shape:
        raise ShapeError(f"full: a fill_value of shape {x.type.shape} does not broadcast to {shape}")
    return expand_to(x, shape)


def _held(fill_value: Any, dtype: np.dtype) -> Any:
    """A filling; an integer of Python that the dtype does not hold wraps around under JAX's name, as in JAX."""
    if type(fill_value) is not int or dtype not in INTEGER or fill_value in (0, 1):
        return fill_value
    if config.weak_arrays and -(2**63) <= fill_value < 2**64:
        return int(np.asarray(fill_value).astype(dtype))
    cast(fill_value, dtype)  # which raises a RangeError
    return fill_value


def filled(number: int, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """An array of one number, with memory of its own in eager mode."""
    return arrays.Array(np.full(shape, number, dtype)) if is_eager() else repeated(number, shape, dtype)


def filled_like(fill_value: Any, a: Any, dtype: DTypeLike | None, shape: Any) -> Array:
    """A new array like `a`, which may be anything with a shape and a dtype; as JAX's arrays it is weak if `a` is."""
    if not (hasattr(a, "shape") and hasattr(a, "dtype")):
        a = asarray(a)
    shape = tuple(a.shape) if shape is None else shape_tuple("shape", shape)
    target = as_dtype(a.dtype if dtype is None else dtype)
    fill_value = _held(fill_value, target)
    found = filled(fill_value, shape, target) if type(fill_value) is int else full(shape, fill_value, target)
    weak = config.weak_arrays and dtype is None and not np.ndim(fill_value)
    return found.weakened(target) if weak and getattr(a, "weak", False) else found


def zeros_like(a: Any, dtype: DTypeLike | None = None, shape: Any = None, *, device: Any = None) -> Array:
    """Zeros in the shape and dtype of `a`.

    Args:
        a: array, or anything with shape and dtype.
        dtype: instead of that of `a`.
        shape: instead of that of `a`.
        device: where the array is: None, the one device of :func:`fdl.devices`, a sharding over it, or "cpu".

    >>> zeros_like(array([1, 2]))
    Array([0, 0], dtype=int32)
    """
    check_device("zeros_like", device)
    return filled_like(0, a, dtype, shape)


def ones_like(a: Any, dtype: DTypeLike | None = None, shape: Any = None, *, device: Any = None) -> Array:
    """Ones in the shape and dtype of `a`.

    >>> ones_like(array([2.0, 3.0]))
    Array([1., 1.], dtype=float32)
    """
    check_device("ones_like", device)
    return filled_like(1, a, dtype, shape)


def empty_like(prototype: Any, dtype: DTypeLike | None = None, shape: Any = None, *, device: Any = None) -> Array:
    """Zeros in the shape and dtype of `prototype`.

    >>> empty_like(array([2.0, 3.0]))
    Array([0., 0.], dtype=float32)
    """
    check_device("empty_like", device)
    return zeros_like(prototype, dtype, shape)


def full_like(
    a: Any, fill_value: ArrayLike, dtype: DTypeLike | None = None, shape: Any = None, *, device: Any = None
) -> Array:
    """One value in the shape and dtype of `a`.

    Raises:
        RangeError: the dtype does not hold an integer (which wraps around under JAX's name).

    >>> full_like(array([1, 2]), 5)
    Array([5, 5], dtype=int32)
    """
    check_device("full_like", device)
    return filled_like(fill_value, a, dtype, shape)


@composite
def eye(
    N: int, M: int | None = None, k: int | ArrayLike = 0, dtype: DTypeLike | None = None, *, device: Any = None
) -> Array:
    """A matrix with ones on a diagonal.

    Args:
        N: rows.
        M: columns; None is N.
        k: which diagonal: 0 is the main one, positive ones lie above.
        dtype: default float32.
        device: where the array is: None, the one device of :func:`fdl.devices`, a sharding over it, or "cpu".

    >>> eye(2)
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    check_device("eye", device)
    shape = shape_tuple("eye", (N, N if M is None else M))
    return cast(_diagonals(compare.eq, shape, k), as_dtype(float if dtype is None else dtype))


def identity(n: int, dtype: DTypeLike | None = None) -> Array:
    """The identity matrix.

    >>> identity(1)
    Array([[1.]], dtype=float32)
    """
    return eye(n, dtype=dtype)


@composite
def tri(N: int, M: int | None = None, k: int = 0, dtype: DTypeLike | None = None) -> Array:
    """A matrix with ones on and below a diagonal.

    >>> tri(2)
    Array([[1., 0.],
           [1., 1.]], dtype=float32)
    """
    return cast(_below(shape_tuple("tri", (N, N if M is None else M)), k), as_dtype(float if dtype is None else dtype))


def _below(shape: tuple[int, ...], k: Any) -> Array:
    """Where a matrix of this shape is on or below diagonal k."""
    return _diagonals(compare.ge, shape, k)


def _diagonals(comparison: Any, shape: tuple[int, ...], k: Any) -> Array:
    """How the number of the row plus k compares to that of the column."""
    rows, columns = (iota(index_dtype(sum(shape)), shape, a) for a in (0, 1))
    if isinstance(k, (int, np.integer)):
        k = max(-shape[0], min(int(k), shape[1]))  # beyond the corners nothing changes
    return comparison(rows + k, columns)


@composite
def tril(m: ArrayLike, k: int = 0) -> Array:
    """The lower triangle of matrices, zeros above diagonal k.

    Args:
        m: array of shape (..., rows, columns).
        k: the last diagonal kept.

    >>> tril(ones((2, 2)))
    Array([[1., 0.],
           [1., 1.]], dtype=float32)
    """
    return _triangle("tril", m, lambda shape: _below(shape, k))


@composite
def triu(m: ArrayLike, k: int = 0) -> Array:
    """The upper triangle of matrices, zeros below diagonal k.

    >>> triu(ones((2, 2)))
    Array([[1., 1.],
           [0., 1.]], dtype=float32)
    """
    return _triangle("triu", m, lambda shape: not_(_below(shape, k - 1)))


def _triangle(name: str, m: ArrayLike, mask: Callable[[tuple[int, ...]], Array]) -> Array:
    x = number(name, m)
    if x.type.ndim < 2:
        raise ShapeError(f"{name} needs an array of at least 2 axes, got shape {x.type.shape}")
    return select(expand_to(mask(x.type.shape[-2:]), x.type.shape), x, full_like_operand(x, 0))


def fromfunction(function: Callable[..., Any], shape: Any, *, dtype: DTypeLike = float, **kwargs: Any) -> Array:
    """`function` of the coordinates of every element.

    Args:
        function: takes one scalar per axis.
        shape: of the result.
        dtype: of the coordinates.
        **kwargs: passed on to `function`.

    >>> fromfunction(lambda i, j: 2 * i + j, (2, 2), dtype=int)
    Array([[0, 1],
           [2, 3]], dtype=int32)
    """
    shape = shape_tuple("fromfunction", shape)
    grid = [iota(as_dtype(dtype), shape, a) for a in range(len(shape))]
    return asarray(function(*grid, **kwargs))


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Array:
    """An array from an object that exports DLPack.

    Args:
        x: the object.
        device: where the array is: None, the one device of :func:`fdl.devices`, a sharding over it, or "cpu".
        copy: True for memory of its own; False to share it or raise; None copies what could change later.

    Returns:
        The array.

    Raises:
        ValueError: `copy` is False, and `x` is no Array.

    >>> from_dlpack(np.arange(2.0))
    Array([0., 1.], dtype=float64)
    """
    check_device("from_dlpack", device)
    if copy is False:
        _refuse_copy("from_dlpack", x, None)
    return array(x, copy=bool(copy)) if isinstance(x, Value) else as_array(np.from_dlpack(x))


def frombuffer(buffer: Any, dtype: DTypeLike = float, count: int = -1, offset: int = 0) -> Array:
    """An array from the bytes of a buffer.

    >>> frombuffer(bytes(4), int)
    Array([0], dtype=int32)
    """
    return as_array(np.frombuffer(buffer, as_dtype(dtype), count, offset))


def fromiter(iter: Any, dtype: DTypeLike, count: int = -1) -> Array:
    """An array from the numbers of an iterable.

    >>> fromiter(range(3), int)
    Array([0, 1, 2], dtype=int32)
    """
    return as_array(np.fromiter(iter, as_dtype(dtype), count))


def fromstring(string: str, dtype: DTypeLike = float, count: int = -1, *, sep: str) -> Array:
    """An array from numbers in text.

    >>> fromstring("1 2", int, sep=" ")
    Array([1, 2], dtype=int32)
    """
    return as_array(np.fromstring(string, as_dtype(dtype), count, sep=sep))


def fromfile(file: Any, dtype: DTypeLike = float, count: int = -1, sep: str = "", offset: int = 0) -> Array:
    """An array from the bytes, or with `sep` the text, of a file.

    Args:
        file: path or open binary file.
        dtype: of the numbers.
        count: how many; -1 for all.
        sep: what parts numbers in text.
        offset: in bytes, where to start.

    Returns:
        A vector of that dtype.

    >>> import tempfile
    >>> file = tempfile.TemporaryFile()
    >>> size, start = file.write(bytes([1, 2, 3])), file.seek(0)
    >>> fromfile(file, "uint8", count=2)
    Array([1, 2], dtype=uint8)
    >>> file.close()
    """
    return as_array(np.fromfile(file, as_dtype(dtype), count, sep, offset=offset))


def load(file: Any, *, allow_pickle: bool = False) -> Any:
    """An array from a .npy file, or a dict of the arrays of a .npz file; pickled objects are refused.

    Args:
        file: path or open binary file.
        allow_pickle: accepted for ports; arrays of numbers are not pickled.

    Returns:
        An array of the shape and dtype in the file, or one for each name.

    Raises:
        ValueError: the file holds pickled objects.

    >>> import io
    >>> file = io.BytesIO()
    >>> save(file, asarray([1, 2]))
    >>> load(io.BytesIO(file.getvalue()))
    Array([1, 2], dtype=int32)
    """
    found = np.load(file, allow_pickle=False)
    if isinstance(found, np.ndarray):
        return _loaded(found)
    with found:
        return {name: _loaded(found[name]) for name in found.files}


def _loaded(found: np.ndarray) -> Array:
    """The array: NumPy writes dtypes that it does not know as bytes, of which fdl has one of two bytes."""
    return as_array(found.view(bfloat16) if found.dtype == np.dtype("V2") else found)


def savez(file: Any, *args: ArrayLike, **kwds: ArrayLike) -> None:
    """Write several arrays to a .npz file, named arr_0, arr_1, ... or by keyword.

    Args:
        file: path or open binary file.
        *args: arrays.
        **kwds: arrays by name.

    >>> import io
    >>> file = io.BytesIO()
    >>> savez(file, ones(2), weights=zeros(3))
    >>> np.load(io.BytesIO(file.getvalue())).files
    ['weights', 'arr_0']
    """
    named = {k: np.asarray(number("savez", v)) for k, v in kwds.items()}
    np.savez(file, *(np.asarray(number("savez", a)) for a in args), **named)  # type: ignore[arg-type]


def save(file: Any, arr: ArrayLike) -> None:
    """Write an array to a .npy file.

    Args:
        file: path or open binary file.
        arr: the array; random keys are refused.

    >>> import io
    >>> file = io.BytesIO()
    >>> save(file, asarray([1, 2]))
    >>> np.load(io.BytesIO(file.getvalue())).tolist()
    [1, 2]
    """
    np.save(file, np.asarray(number("save", arr)), allow_pickle=False)
