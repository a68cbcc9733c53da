"""Data types: names, kinds and the promotion lattice.

The lattice is the one JAX documents with its 64-bit types enabled
(https://docs.jax.dev/en/latest/type_promotion.html). Python scalars are weakly typed: they take the
dtype of the array that they meet if it can hold their kind. So are NumPy's scalars of the types that NumPy itself makes
of Python's numbers (``numpy.sqrt(4)``); its other scalars, and all arrays, are never weakly typed.
"""

from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np

from fdl.config import config
from fdl.errors import DtypeError

bool_ = np.dtype(np.bool_)
int8, int16, int32, int64 = (np.dtype(f"int{bits}") for bits in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64))
float16, float32, float64 = (np.dtype(f"float{bits}") for bits in (16, 32, 64))
bfloat16 = np.dtype(ml_dtypes.bfloat16)
complex64, complex128 = np.dtype(np.complex64), np.dtype(np.complex128)

#: A typed random key: two 32-bit words that NumPy moves as one element.
key = np.dtype([("word0", "<u4"), ("word1", "<u4")])


class extended(np.generic):
    """The abstract type of dtypes that do not hold numbers, for ``issubdtype``."""


class prng_key(extended):
    """The abstract type of typed random keys: ``issubdtype(keys.dtype, prng_key)``."""


BOOLEAN = (bool_,)
SIGNED = (int8, int16, int32, int64)
UNSIGNED = (uint8, uint16, uint32, uint64)
INTEGER = SIGNED + UNSIGNED
FLOATING = (bfloat16, float16, float32, float64)
COMPLEX = (complex64, complex128)
INEXACT = FLOATING + COMPLEX
NUMERIC = INTEGER + INEXACT
REAL = INTEGER + FLOATING
ALL = BOOLEAN + NUMERIC
ANY = (*ALL, key)

_BY_NAME = {t.name: t for t in ALL}

_SHORT = {bool_: "bool", bfloat16: "bf16", key: "key"}
_SHORT |= {t: f"i{t.itemsize * 8}" for t in SIGNED} | {t: f"u{t.itemsize * 8}" for t in UNSIGNED}
_SHORT |= {t: f"f{t.itemsize * 8}" for t in (float16, float32, float64)} | {t: f"c{t.itemsize * 8}" for t in COMPLEX}

#: The types of numbers whose dtype yields to that of arrays, each with the type of Python's that it counts as.
WEAK: dict[type, type] = {kind: kind for kind in (bool, int, float, complex)} | {
    np.bool_: bool,
    np.int64: int,
    np.float64: float,
    np.complex128: complex,
}
_NUMPY_WEAK = {kind: of for kind, of in WEAK.items() if kind is not of} | {np.longlong: int}


def _choose_weak() -> None:
    """Under JAX's rules NumPy's scalars are not weak, but arrays are."""
    for kind, of in _NUMPY_WEAK.items():
        if config.weak_arrays:
            WEAK.pop(kind, None)
        else:
            WEAK[kind] = of


config.on_change(_choose_weak)

_WEAK = {bool: bool_, int: "int*", float: "float*", complex: "complex*"}
_EDGES: dict[Any, tuple[Any, ...]] = {
    bool_: ("int*",),
    "int*": (uint8, int8),
    uint8: (int16, uint16),
    uint16: (int32, uint32),
    uint32: (int64, uint64),
    uint64: ("float*",),
    int8: (int16,),
    int16: (int32,),
    int32: (int64,),
    int64: ("float*",),
    "float*": ("complex*", bfloat16, float16),
    bfloat16: (float32,),
    float16: (float32,),
    float32: (float64, complex64),
    float64: (complex128,),
    "complex*": (complex64,),
    complex64: (complex128,),
    complex128: (),
}


def _above(node: Any) -> frozenset[Any]:
    found = {node}
    for upper in _EDGES[node]:
        found |= _above(upper)
    return frozenset(found)


_ABOVE = {node: _above(node) for node in _EDGES}


@lru_cache(maxsize=4096)
def _join(nodes: frozenset[Any]) -> Any:
    unknown = [n for n in nodes if n not in _ABOVE]
    if unknown:
        raise DtypeError(f"{unknown[0]} is no dtype of numbers, so it meets no other")
    common = frozenset.intersection(*(_ABOVE[n] for n in nodes))
    return max(common, key=lambda n: len(_ABOVE[n]))


def short_name(dtype: np.dtype) -> str:
    """The short spelling used in printed programs and messages, e.g. ``f32``."""
    return _SHORT.get(dtype) or str(dtype)


def is_inexact(dtype: np.dtype) -> bool:
    """Whether `dtype` is floating point or complex, so that derivatives exist."""
    return dtype in INEXACT


def promote_integer(dtype: np.dtype) -> np.dtype:
    """The dtype in which booleans and integers are summed: at least as wide as the default integer."""
    default = np.dtype(config.default_int)
    if dtype in UNSIGNED:
        return max(dtype, np.dtype(f"uint{8 * default.itemsize}"), key=lambda t: t.itemsize)
    return _join(frozenset((dtype, default))) if dtype in BOOLEAN + SIGNED else dtype


def index_dtype(extent: int) -> np.dtype:
    """The dtype of positions on an axis and of counts up to `extent`: the default integer, or int64 if it is too small.

    >>> index_dtype(10), index_dtype(2**31)
    (dtype('int32'), dtype('int64'))
    """
    integer = default_dtype(int)
    return integer if extent <= np.iinfo(integer).max else int64


def default_dtype(kind: Any) -> np.dtype:
    """The dtype of a Python scalar type (bool, int, float, complex) that meets no array."""
    if kind is bool:
        return bool_
    if kind is int:
        return np.dtype(config.default_int)
    if kind is float:
        return np.dtype(config.default_float)
    return complex128 if np.dtype(config.default_float) == float64 else complex64


def python_number(value: Any) -> Any:
    """The number of Python that a scalar of NumPy's default types equals; every other value as it is.

    >>> python_number(np.sqrt(4)), python_number(np.float32(2))
    (2.0, np.float32(2.0))
    """
    return value.item() if type(value) in _NUMPY_WEAK else value


def _node(value: Any) -> Any:
    if type(value) in WEAK:
        return _WEAK[WEAK[type(value)]]
    if isinstance(value, type) and value in _WEAK:
        return default_dtype(value)
    if isinstance(value, np.dtype):
        return value
    dtype = getattr(value, "dtype", None)
    if getattr(value, "weak", False):
        return {"b": bool_, "i": "int*", "u": "int*", "f": "float*", "c": "complex*"}[value.type.dtype.kind]
    if isinstance(dtype, np.dtype) and not isinstance(value, type):
        return dtype
    return as_dtype(value)


#: The dtypes of 64 bits, each with that of 32 bits which takes its place where `config.enable_x64` is False.
_NARROW = {int64: int32, uint64: uint32, float64: float32, complex128: complex64}


def canonical(dtype: np.dtype) -> np.dtype:
    """`dtype`, or the one of 32 bits that takes its place where `config.enable_x64` is False."""
    return dtype if config.enable_x64 else _NARROW.get(dtype, dtype)


def as_dtype(value: Any) -> np.dtype:
    """`value` (a NumPy dtype, scalar type, name, or Python's bool/int/float/complex) as the dtype of arrays.

    >>> as_dtype(float), as_dtype("bfloat16")
    (dtype('float32'), dtype(bfloat16))
    """
    return canonical(_named_dtype(value))


def _named_dtype(value: Any) -> np.dtype:
    if isinstance(value, type) and value in _WEAK:
        return default_dtype(value)
    if type(value) is str and value in _BY_NAME:
        return _BY_NAME[value]
    try:
        if isinstance(value, (list, tuple, dict)):
            raise TypeError  # NumPy's structured dtypes
        dtype = np.dtype(value)
    except (TypeError, ValueError):
        raise DtypeError(f"{value!r} is no dtype; give one such as fdl.numpy.float32, 'int32' or float") from None
    dtype = dtype if dtype.isnative else dtype.newbyteorder("=")
    if dtype not in ANY:
        raise DtypeError(f"fdl has no arrays of {dtype}; give a dtype such as fdl.numpy.float32, 'int32' or float")
    return dtype


def dtype_of(x: Any) -> np.dtype:
    """The dtype of an array, of a Python number by itself, or that `x` names."""
    if type(x) in WEAK:
        return default_dtype(WEAK[type(x)])
    # The class np.float32 has an attribute `dtype` too, which belongs to its instances.
    dtype = None if isinstance(x, type) else getattr(x, "dtype", None)
    if isinstance(dtype, np.dtype):
        return dtype
    return _named_dtype(x)


def result_type(*values: Any) -> np.dtype:
    """The dtype to which `values` (arrays, dtypes, Python scalars) are promoted.

    >>> result_type(float32, 2.0), result_type(int64, float32), result_type(1, 2.5)
    (dtype('float32'), dtype('float32'), dtype('float32'))
    """
    nodes = frozenset(_node(v) for v in values)
    if not nodes:
        raise TypeError("result_type needs at least one array, dtype or number")
    if len(nodes) == 1:
        (node,) = nodes
    elif key in nodes:
        raise TypeError("random keys do not mix with other dtypes; use fdl.random functions on them")
    else:
        if config.numpy_dtype_promotion == "strict":
            _refuse_mixed(nodes)
        node = _join(nodes)
    if isinstance(node, str):
        return default_dtype({"int*": int, "float*": float, "complex*": complex}[node])
    return canonical(node)


def is_weak(*values: Any) -> bool:
    """Whether the common dtype of `values` is that of a weak one, though strong ones may be among them."""
    nodes = frozenset(_node(v) for v in values)
    return key not in nodes and isinstance(_join(nodes), str)


def _refuse_mixed(nodes: frozenset[Any]) -> None:
    """Raise if several dtypes meet that are not those of Python numbers, or one that does not hold such a number."""
    strong = {node for node in nodes if not isinstance(node, str)}
    if len(strong) > 1 or (strong and _join(nodes) not in strong):
        raise DtypeError(
            f"dtypes {', '.join(sorted(map(str, nodes)))} meet, but numpy_dtype_promotion is 'strict'; convert the "
            "operands first, for example with astype"
        )
