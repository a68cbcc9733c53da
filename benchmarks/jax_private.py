"""Private functions that JAX's test files call, written anew for fdl; see jax_test_util.py.

`NAMES` maps a private module of JAX to those of its names that are here. What it does not hold raises when it is used.
"""

import enum
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

import fdl
import fdl.numpy as fnp
from fdl import dtypes, random, tree
from fdl.array import as_array
from fdl.as_jax.core import ShapedArray
from fdl.as_jax.placement import make_single_device_sharding
from fdl.as_jax.util import safe_map, safe_zip, unzip2
from fdl.ops.random_bits import threefry2x32


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
    is_class = isinstance(x, type) and x in (bool, int, float, complex)
    found: np.dtype = fnp.result_type(x) if is_class else np.dtype(getattr(x, "dtype", x))
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


def safe_to_cast(given: Any, wanted: Any) -> bool:
    """Whether promotion of a dtype, or of a class of numbers, with the other gives the other."""
    weak = wanted in _WEAK
    return given in (bool, wanted) if weak else bool(dtypes.result_type(given, wanted) == dtypes.as_dtype(wanted))


def jax_type(dtype: Any, weak_type: bool) -> Any:
    """The dtype, or Python's class of numbers for a weak one."""
    if not weak_type or dtype == np.dtype(bool):
        return dtype
    return {"i": int, "u": int, "c": complex}.get(np.dtype(dtype).kind, float)


def dtype_and_weakness(value: Any) -> tuple[Any, bool]:
    return dtype_of(value), any(value is known for known in _WEAK) or is_weakly_typed(value)


def broadcast_shapes(name: str, shape: Any, *shapes: Any) -> Any:
    return np.broadcast_shapes(*shapes) if shape is None else shape


def threefry_2x32(keypair: Any, count: Any) -> Any:
    """Bits of a key at counters, of which the first half are high words."""
    words, counts = np.asarray(keypair), np.asarray(count).ravel()
    low = np.resize(counts[(counts.size + 1) // 2 :], (counts.size + 1) // 2)
    found = threefry2x32(words[..., 0], words[..., 1], counts[: low.size], low)
    return fnp.asarray(np.concatenate(found)[: counts.size].reshape(np.shape(count)))


class _Keys(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return getattr(instance, "dtype", None) == dtypes.key


class PRNGKeyArray(metaclass=_Keys):
    """The class of typed keys."""


class PRNGImpl(NamedTuple):
    """The one random generator."""

    key_shape: tuple[int, ...] = (2,)
    name: str = "threefry2x32"
    tag: str = "fry"


THREEFRY = PRNGImpl()


def prefix_errors(prefix: Any, full: Any, is_leaf: Any = None) -> list[Any]:
    """Functions that make an error for each place where a tree does not begin with the other."""
    try:
        tree.broadcast(prefix, full, is_leaf)
    except ValueError as error:
        found = error
        return [lambda name: found]
    return []


def broadcast_flattened_prefix(leaves: Any, treedef: Any, full: Any) -> list[Any]:
    copied: list[Any] = tree.leaves(tree.broadcast(treedef.unflatten(leaves), full.unflatten(range(full.num_leaves))))
    return copied


def check_key_reuse(fun: Callable[..., Any], /, *args: Any) -> None:
    """Run a function once, compiled, and look at its keys."""
    import jax

    with jax.debug_key_reuse(True):
        jax.jit(fun)(*args)


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
        "unzip2": unzip2, "unzip3": lambda triples: tuple(map(tuple, zip(*triples, strict=True))),
        "prod": math.prod, "split_list": split_list, "partition_list": partition_list, "merge_lists": merge_lists,
    },
    "dtypes": {
        "is_weakly_typed": is_weakly_typed, "_weak_types": _WEAK, "to_numeric_dtype": to_numeric_dtype,
        "to_inexact_dtype": to_inexact_dtype, "canonicalize_value": canonicalize_value, "dtype": dtype_of,
        "python_scalar_types_to_dtypes": _DTYPES,
        "safe_to_cast": safe_to_cast, "_jax_type": jax_type, "_dtype_and_weaktype": dtype_and_weakness,
        "default_types": {
            "b": lambda: np.dtype(bool), "i": _default(int), "f": _default(float), "c": _default(complex),
            "u": lambda: dtypes.as_dtype(np.uint64),
        },
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
    "random.prng": {
        "prngs": {"threefry2x32": THREEFRY}, "PRNGKeyArray": PRNGKeyArray, "KeyTy": type(dtypes.key),
        "random_wrap": lambda words, *, impl=None: random.wrap_key_data(words), "random_unwrap": random.key_data,
        "random_seed": lambda seeds, *, impl=None: random.key(seeds),
        "random_bits": lambda keys, *, bit_width, shape: random.bits(keys, shape, f"uint{bit_width}"),
    },
    "random": {"default_prng_impl": lambda: THREEFRY},
    "random.core": {"_check_broadcast_shapes": broadcast_shapes},
    "random.threefry2x32": {"threefry_2x32": threefry_2x32},
    "jax.experimental.key_reuse._core": {"check_key_reuse": check_key_reuse},
    "tree_util": {
        "treedef_is_strict_leaf": lambda treedef: treedef == tree.structure(0),
        "prefix_errors": prefix_errors, "broadcast_flattened_prefix_with_treedef": broadcast_flattened_prefix,
    },
    "lib": {"cuda_versions": None},
    "traceback_util": {"UnfilteredStackTrace": type("UnfilteredStackTrace", (Exception,), {})},
}  # fmt: skip
