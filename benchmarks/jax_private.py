"""Private functions that JAX's test files call, written anew for fdl; see jax_test_util.py.

`NAMES` maps a private module of JAX to those of its names that are here. What it does not hold raises when it is used.
"""

import enum
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

import fdl
import fdl.numpy as fnp
from fdl import dtypes
from fdl.array import as_array
from fdl.as_jax.core import ShapedArray
from fdl.as_jax.placement import make_single_device_sharding
from fdl.as_jax.util import safe_map, safe_zip, unzip2


def subvals(values: Sequence[Any], replacements: Iterable[tuple[int, Any]]) -> tuple[Any, ...]:
    """The values, some of them replaced."""
    new = dict(replacements)
    return tuple(new.get(place, value) for place, value in enumerate(values))


def tuple_update(values: Sequence[Any], place: int, value: Any) -> tuple[Any, ...]:
    return subvals(values, [(place, value)])


def split_list(values: Sequence[Any], sizes: Sequence[int]) -> list[list[Any]]:
    """Parts of these lengths, and the rest."""
    ends = list(itertools.accumulate(sizes, initial=0))
    return [list(values[low:high]) for low, high in zip(ends, [*ends[1:], len(values)], strict=True)]


def partition_list(flags: Sequence[bool], values: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Those whose flag is False, and the others."""
    pairs = list(zip(flags, values, strict=True))
    return [v for flag, v in pairs if not flag], [v for flag, v in pairs if flag]


def merge_lists(flags: Sequence[bool], without: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    first, second = iter(without), iter(others)
    return [next(second if flag else first) for flag in flags]


def is_weakly_typed(x: Any) -> bool:
    return type(x) in (int, float, complex) or bool(getattr(x, "weak", False))


def convert_element_type(x: Any, dtype: Any = None, weak_type: bool = False, sharding: Any = None) -> Any:
    found: Any = as_array(x) if dtype is None else fnp.asarray(x).astype(dtype)
    if weak_type and found.dtype != bool:
        return found if is_weakly_typed(found) else found.weakened(found.dtype)
    return found.strong() if is_weakly_typed(found) else found


def to_numeric_dtype(dtype: Any) -> np.dtype:
    known = np.dtype(dtype)
    return dtypes.as_dtype(int) if known.kind == "b" else known


def to_inexact_dtype(dtype: Any) -> np.dtype:
    known = np.dtype(dtype)
    if dtypes.is_inexact(known):
        return known
    return np.dtype(np.float64 if known.itemsize == 8 else np.float32)


def canonicalize_value(x: Any) -> Any:
    return x.astype(dtypes.as_dtype(x.dtype)) if hasattr(x, "dtype") else x


def dtype_of(x: Any, **_: Any) -> np.dtype:
    found: np.dtype = fnp.result_type(x) if x in (bool, int, float, complex) else np.dtype(getattr(x, "dtype", x))
    return found


def promote_dtypes_inexact(*args: Any) -> list[Any]:
    dtype = fnp.result_type(*args)
    return [fnp.asarray(a, dtype if dtypes.is_inexact(dtype) else dtypes.as_dtype(float)) for a in args]


def promote_dtypes_complex(*args: Any) -> list[Any]:
    from fdl.as_jax.dtypes import to_complex_dtype

    return [fnp.asarray(a, to_complex_dtype(fnp.result_type(*args))) for a in args]


def fft_norm(lengths: Any, name: str, norm: str) -> Any:
    """By what a Fourier transform of these lengths is multiplied."""
    count = math.prod(np.asarray(lengths, np.float64).tolist())
    factor = {"backward": 1.0, "ortho": count**-0.5, "forward": 1 / count}[norm]
    return fnp.asarray(1 / factor if name.startswith("i") else factor, promote_dtypes_inexact(lengths)[0].dtype)


class IndexingStrategy(enum.Enum):
    """How an index is read; fdl chooses."""

    AUTO = 1
    STATIC_SLICE = 2
    DYNAMIC_SLICE = 3
    GATHER = 4


def rewriting_take(x: Any, idx: Any, *, mode: Any = None, normalize_indices: bool = True, **_: Any) -> Any:
    return fnp.asarray(x).at[idx].get(mode=mode, wrap_negative_indices=normalize_indices)


def itemsize_bits(dtype: Any) -> int:
    return 4 if str(np.dtype(dtype)) in ("int4", "uint4") else 8 * np.dtype(dtype).itemsize


class ExplicitX64Mode(enum.Enum):
    """What happens where 64 bits are asked for."""

    WARN = "warn"
    ERROR = "error"
    ALLOW = "allow"


def _default(kind: type) -> Callable[[], np.dtype]:
    return lambda: dtypes.as_dtype(kind)


_DTYPES = {bool: np.dtype("?"), int: np.dtype("i8"), float: np.dtype("f8"), complex: np.dtype("c16")}
_WEAK: Any = [int, float, complex]
NAMES: dict[str, dict[str, Any]] = {
    "util": {
        "subvals": subvals, "tuple_update": tuple_update, "safe_zip": safe_zip, "safe_map": safe_map,
        "unzip2": unzip2, "prod": math.prod, "split_list": split_list, "partition_list": partition_list,
        "merge_lists": merge_lists,
    },
    "dtypes": {
        "is_weakly_typed": is_weakly_typed, "_weak_types": _WEAK, "to_numeric_dtype": to_numeric_dtype,
        "to_inexact_dtype": to_inexact_dtype, "canonicalize_value": canonicalize_value, "dtype": dtype_of,
        "python_scalar_types_to_dtypes": _DTYPES,
        "itemsize_bits": itemsize_bits, "default_int_dtype": _default(int), "default_float_dtype": _default(float),
        "default_uint_dtype": lambda: dtypes.as_dtype(np.uint64), "float0": fdl.float0,
    },
    "lax.lax": {"_convert_element_type": convert_element_type},
    "numpy.util": {
        "promote_dtypes_inexact": promote_dtypes_inexact, "promote_dtypes_complex": promote_dtypes_complex,
    },
    "numpy.fft": {"_fft_norm": fft_norm},
    "numpy.indexing": {"rewriting_take": rewriting_take, "IndexingStrategy": IndexingStrategy},
    "core": {"ShapedArray": ShapedArray, "ConcretizationTypeError": fdl.errors.ConcretizationError},
    "array": {"ArrayImpl": fdl.Array},
    "sharding_impls": {"make_single_device_sharding": make_single_device_sharding},
    "config": {"ExplicitX64Mode": ExplicitX64Mode},
    "lib": {"cuda_versions": None},
}  # fmt: skip
