"""Data types as users write them: ``float32`` names a dtype and, called, makes an array of it."""

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from fdl import dtypes
from fdl.dtypes import dtype_of, result_type
from fdl.numpy.creation import asarray


class ScalarType:
    """A dtype that makes arrays when called; equal to the NumPy dtype it stands for.

    >>> float32(1), float32 == np.dtype("float32")
    (Array(1., dtype=float32), True)
    """

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype

    def __call__(self, x: Any) -> Any:
        """`x` as an array of this dtype."""
        return asarray(x, self.dtype)

    def __eq__(self, other: object) -> bool:
        if other is None:  # which NumPy reads as float64
            return False
        return self.dtype == (other.dtype if isinstance(other, ScalarType) else other)

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __repr__(self) -> str:
        return f"fdl.numpy.{self.dtype}"

    @property
    def __name__(self) -> str:
        return str(self.dtype)


bool_ = ScalarType(dtypes.bool_)
int8, int16, int32, int64 = (ScalarType(t) for t in dtypes.SIGNED)
uint8, uint16, uint32, uint64 = (ScalarType(t) for t in dtypes.UNSIGNED)
bfloat16, float16, float32, float64 = (ScalarType(t) for t in dtypes.FLOATING)
complex64, complex128 = (ScalarType(t) for t in dtypes.COMPLEX)
int_, uint, float_, complex_ = int32, uint32, float32, complex64
single, double, csingle, cdouble = float32, float64, complex64, complex128

dtype = np.dtype
generic, number, integer, inexact, flexible = np.generic, np.number, np.integer, np.inexact, np.flexible
signedinteger, unsignedinteger = np.signedinteger, np.unsignedinteger
floating, complexfloating, character, object_ = np.floating, np.complexfloating, np.character, np.object_

_BFLOAT16 = (dtypes.bfloat16.type, np.floating, np.inexact, np.number, np.generic)
_KINDS = {
    "bool": dtypes.BOOLEAN,
    "signed integer": dtypes.SIGNED,
    "unsigned integer": dtypes.UNSIGNED,
    "integral": dtypes.INTEGER,
    "real floating": dtypes.FLOATING,
    "complex floating": dtypes.COMPLEX,
    "numeric": dtypes.NUMERIC,
}


class FloatLimits:
    """What :func:`finfo` returns: the attributes of ``numpy.finfo``."""

    def __init__(self, dtype: np.dtype) -> None:
        self._limits = ml_dtypes.finfo(dtype)
        self.dtype: np.dtype = np.dtype(self._limits.dtype)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_limits":
            raise AttributeError(name)
        found = getattr(self._limits, name)
        return float(found) if isinstance(found, np.generic) and np.dtype(found.dtype) == self.dtype else found

    def __repr__(self) -> str:
        return f"finfo(min={self.min}, max={self.max}, eps={self.eps}, dtype={self.dtype})"


def finfo(dtype: Any) -> Any:
    """Limits of a floating dtype: eps, max, min, tiny, bits, ...

    Args:
        dtype: a floating or complex dtype, or an array or number of one.

    Raises:
        ValueError: it is another dtype.

    Returns:
        The limits; those that are numbers are Python's, which take the dtype of the arrays that they meet.

    >>> finfo(float32).eps, finfo(bfloat16).max
    (1.1920928955078125e-07, 3.3895313892515355e+38)
    """
    found = dtype_of(dtype)
    if found not in dtypes.INEXACT:
        raise ValueError(f"finfo is for floating and complex dtypes, got {found}; iinfo is for integers")
    return FloatLimits(found)


def iinfo(int_type: Any) -> Any:
    """Limits of an integer dtype: max, min, bits.

    Args:
        int_type: an integer dtype, or an array or number of one.

    Raises:
        ValueError: it is another dtype.

    >>> iinfo(int8).max
    127
    """
    found = dtype_of(int_type)
    if found not in dtypes.INTEGER:
        raise ValueError(f"iinfo is for integer dtypes, got {found}; finfo is for floating ones")
    return ml_dtypes.iinfo(found)


def issubdtype(arg1: Any, arg2: Any) -> bool:
    """Whether a dtype lies below another, or below an abstract one such as ``floating``; bfloat16 is floating.

    >>> issubdtype(bfloat16, floating), issubdtype(int32, floating)
    (True, False)
    """
    lower, upper = _scalar_class(arg1), _scalar_class(arg2)
    return upper in _BFLOAT16 if lower is _BFLOAT16[0] else issubclass(lower, upper)


def _scalar_class(x: Any) -> type:
    if isinstance(x, type) and issubclass(x, np.generic):
        return x
    if isinstance(x, type) and x in (bool, int, float, complex):
        return np.dtype(x).type
    # A question about a dtype of NumPy has an answer, whether fdl has arrays of it or not.
    found = x if isinstance(x, np.dtype) else dtype_of(x)
    return dtypes.prng_key if found == dtypes.key else found.type


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of a kind of the Array API standard, is another dtype, or is any of a tuple of these.

    >>> isdtype(float32, "real floating"), isdtype(float32, ("integral", float64))
    (True, False)
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, str) and kind in _KINDS:
        return dtype_of(dtype) in _KINDS[kind]
    return bool(dtype_of(dtype) == dtype_of(kind))


def promote_types(a: Any, b: Any) -> np.dtype:
    """The dtype in which two dtypes meet.

    >>> promote_types(float16, bfloat16), promote_types(int32, float16)
    (dtype('float32'), dtype('float16'))
    """
    return result_type(dtype_of(a), dtype_of(b))


def can_cast(from_: Any, to: Any, casting: Any = "safe") -> bool:
    """Whether NumPy's casting rule allows the conversion.

    >>> can_cast(int32, float32), can_cast(int8, int32)
    (False, True)
    """
    return bool(np.can_cast(dtype_of(from_), dtype_of(to), casting=casting))


def isscalar(element: Any) -> bool:
    """Whether `element` is a number or an array without axes.

    >>> isscalar(1.0), isscalar([1.0])
    (True, False)
    """
    shape = getattr(element, "shape", None)
    return shape == () if isinstance(shape, Sequence) else bool(np.isscalar(element))


def iscomplexobj(x: Any) -> bool:
    """Whether the dtype of `x` is complex.

    >>> iscomplexobj(1j)
    True
    """
    if isinstance(x, (list, tuple)):
        return any(iscomplexobj(item) for item in x)
    return bool((x.dtype if isinstance(getattr(x, "dtype", None), np.dtype) else np.asarray(x).dtype).kind == "c")


def isrealobj(x: Any) -> bool:
    """Whether the dtype of `x` is not complex.

    >>> isrealobj(1j)
    False
    """
    return not iscomplexobj(x)
