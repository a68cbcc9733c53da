"""Looking at functions without running them: types of results, and Programs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fdl import tree
from fdl.api.arguments import FlatFunction, argument_path, check_leaf, name_of
from fdl.api.wrapping import wraps
from fdl.array import as_array, wide_dtype
from fdl.core.program import Program
from fdl.core.trace import trace_program
from fdl.core.types import TensorType
from fdl.dtypes import WEAK, as_dtype, key
from fdl.ops.shape import zeros_of
from fdl.tracebacks import boundary


@dataclass(frozen=True)
class ShapeDtypeStruct:
    """The shape and dtype of an array that need not exist; stands for arrays in :func:`eval_shape` and `lower`.

    >>> ShapeDtypeStruct((2, 3), "float32").size
    6
    """

    shape: tuple[int, ...]
    dtype: Any
    sharding: Any = field(default=None, kw_only=True, compare=False)
    weak_type: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "dtype", as_dtype(self.dtype))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a ShapeDtypeStruct without axes")
        return self.shape[0]

    def __bool__(self) -> bool:
        return True  # whatever its length

    @classmethod
    def like(cls, x: Any) -> "ShapeDtypeStruct":
        """The shape, dtype and weakness of an array or a number.

        >>> ShapeDtypeStruct.like(np.zeros((2, 3), "float32"))
        ShapeDtypeStruct(shape=(2, 3), dtype=float32)
        """
        found = x if hasattr(x, "shape") and hasattr(x, "dtype") else as_array(x)
        weak = bool(getattr(found, "weak_type", False))
        return cls(found.shape, found.dtype, sharding=getattr(found, "sharding", None), weak_type=weak)

    def update(self, **changes: Any) -> "ShapeDtypeStruct":
        """With another shape, dtype, sharding or weak_type.

        >>> ShapeDtypeStruct((2, 3), "float32").update(shape=(4,))
        ShapeDtypeStruct(shape=(4,), dtype=float32)
        """
        return replace(self, **changes)

    def weakened(self, dtype: Any) -> "ShapeDtypeStruct":
        """The type of a weak array, whose dtype yields to that of others."""
        return ShapeDtypeStruct(self.shape, dtype, weak_type=True)

    def __repr__(self) -> str:
        weak = ", weak_type=True" if self.weak_type else ""
        return f"ShapeDtypeStruct(shape={self.shape}, dtype={'key' if self.dtype == key else self.dtype}{weak})"


def held_leaves(
    fun: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[list[TensorType], list[np.dtype | None], Any]:
    """The types of a call's leaves, which may be arrays, numbers or anything with a shape and a dtype.

    Returns:
        Types of what the leaves hold; for each the dtype that it shows if it is weak, else None; their structure.
    """
    leaves, structure = tree.flatten((tuple(args), kwargs))
    types, weak = [], []
    for number, leaf in enumerate(leaves):
        shown = None
        if type(leaf) not in WEAK and hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
            types.append(TensorType(tuple(leaf.shape), as_dtype(leaf.dtype)))
            if getattr(leaf, "weak", False):
                shown, types[-1] = types[-1].dtype, leaf.held.type
            elif getattr(leaf, "weak_type", False):  # of a ShapeDtypeStruct
                shown, types[-1] = types[-1].dtype, TensorType(types[-1].shape, wide_dtype(types[-1].dtype))
        else:
            path = tree.leaves_with_path((tuple(args), kwargs))[number][0]
            value = check_leaf(leaf, f"{argument_path(fun, path)} of {name_of(fun)}")
            types.append(value.held.type)
            shown = value.type.dtype if value.weak else None
        weak.append(shown)
    return types, weak, structure


def abstract_leaves(
    fun: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[list[TensorType], Any]:
    """The types that the leaves of a call show, and their structure."""
    types, weak, structure = held_leaves(fun, args, kwargs)
    return [t.with_dtype(w) for t, w in zip(types, weak, strict=True)], structure


def trace_call(
    fun: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[Program, list[Any], FlatFunction]:
    """The Program of a call, the outer tracers it closes over, and the structure of its result."""
    held, weak, structure = held_leaves(fun, args, kwargs)
    types = [t.with_dtype(w) for t, w in zip(held, weak, strict=True)]  # as a Program is called: with arrays
    flat = FlatFunction(fun, structure, weak=weak)
    program, captured = trace_program(flat, types, name_of(fun))
    return program, captured, flat


@boundary
def eval_shape(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The shapes and dtypes that ``fun(*args, **kwargs)`` would return, without computing it.

    Args:
        fun: any function of arrays; it may return ShapeDtypeStructs too.
        *args, **kwargs: arrays, numbers or ShapeDtypeStructs.

    Returns:
        The result's structure with a ShapeDtypeStruct at each leaf.

    >>> import fdl.numpy as fnp
    >>> eval_shape(fnp.matmul, ShapeDtypeStruct((2, 3), "float32"), ShapeDtypeStruct((3, 4), "float32"))
    ShapeDtypeStruct(shape=(2, 4), dtype=float32)
    """

    def stood_for(*args: Any, **kwargs: Any) -> Any:
        return tree.map(_stand_in, fun(*args, **kwargs))

    stood_for.__name__ = name_of(fun)
    program, _, flat = trace_call(stood_for, args, kwargs)
    return flat.unflatten([ShapeDtypeStruct(t.shape, t.dtype) for t in program.output_types])


def _stand_in(leaf: Any) -> Any:
    return zeros_of(TensorType(leaf.shape, leaf.dtype)) if isinstance(leaf, ShapeDtypeStruct) else leaf


def make_program(
    fun: Callable[..., Any], static_argnums: int | Sequence[int] = (), return_shape: bool = False
) -> Callable[..., Any]:
    """A function that returns the Program of `fun` for given arguments instead of running it.

    Args:
        fun: any function of arrays.
        static_argnums: positional arguments to treat as constants.
        return_shape: return (Program, shapes of the result) instead.

    Returns:
        ``f(*args, **kwargs) -> Program``; print it to read types and source lines.

    >>> import fdl.numpy as fnp
    >>> print(make_program(lambda x: fnp.sin(x) * x)(1.0))  # doctest: +ELLIPSIS
    program(a:f32[]) {
      b:f32[] = sin a  # ...
      c:f32[] = mul b a  # ...
      return c
    }
    """
    fixed = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)

    @boundary
    @wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        static = {n % len(args): args[n] for n in fixed}
        dynamic = [a for n, a in enumerate(args) if n not in static]

        def partly(*rest: Any, **kwargs: Any) -> Any:
            left = iter(rest)
            return fun(*(static[n] if n in static else next(left) for n in range(len(args))), **kwargs)

        partly.__name__ = name_of(fun)
        program, _, flat = trace_call(partly, dynamic, kwargs)
        if not return_shape:
            return program
        return program, flat.unflatten([ShapeDtypeStruct(t.shape, t.dtype) for t in program.output_types])

    return wrapped
