"""Python functions called from inside compiled ones."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fdl import tree
from fdl.api.arguments import flatten_values, require_function
from fdl.array import as_array
from fdl.control import callback as controls
from fdl.control.callback import Callback, Effect, IoCallback, copies
from fdl.control.custom import Rule
from fdl.core.trace import is_eager
from fdl.core.types import TensorType
from fdl.dtypes import WEAK, as_dtype
from fdl.errors import TreeError


def pure_callback(
    callback: Callable[..., Any],
    result_shape_dtypes: Any,
    *args: Any,
    sharding: Any = None,
    vmap_method: str | None = None,
    **kwargs: Any,
) -> Any:
    """The result of a pure Python function of NumPy arrays, also under jit.

    Args:
        callback: takes NumPy arrays in the structure of the arguments; it may be called any number of times.
        result_shape_dtypes: a pytree of ShapeDtypeStructs (or arrays) that say what it returns.
        *args, **kwargs: its arguments, pytrees of arrays.
        sharding: accepted for ports, and ignored.
        vmap_method: "sequential" (the default: once for each example), "expand_dims" or "broadcast_all" (the
            function takes a leading batch axis).

    Returns:
        A pytree of arrays in the structure of `result_shape_dtypes`.

    Raises:
        ShapeError: the function returns an array of another shape or dtype than declared; a number of Python may be
            of a smaller kind.
        TreeError: it returns another structure.
        DifferentiationError: the callback is differentiated.

    >>> import fdl, fdl.numpy as fnp, numpy as np
    >>> x = fnp.arange(3.0)
    >>> fdl.jit(lambda x: fdl.pure_callback(np.cumsum, x, x))(x)
    Array([0., 1., 3.], dtype=float32)
    """
    return _call_back(Callback, "pure_callback", callback, result_shape_dtypes, args, kwargs, vmap_method)


def io_callback(
    callback: Callable[..., Any],
    result_shape_dtypes: Any,
    *args: Any,
    sharding: Any = None,
    ordered: bool = False,
    **kwargs: Any,
) -> Any:
    """The result of a Python function of NumPy arrays that does something besides, also under jit.

    Args:
        callback: takes NumPy arrays in the structure of the arguments; it is called once for each call, and under vmap
            once for each example.
        result_shape_dtypes: a pytree of ShapeDtypeStructs (or arrays) that say what it returns; None for nothing.
        *args, **kwargs: its arguments, pytrees of arrays.
        sharding: accepted for ports, and ignored.
        ordered: accepted for ports; effects always happen in program order.

    Returns:
        A pytree of arrays in the structure of `result_shape_dtypes`.

    Raises:
        ShapeError: the function returns an array of another shape or dtype than declared; a number of Python may be
            of a smaller kind.
        TreeError: it returns another structure.
        DifferentiationError: the callback is differentiated.

    >>> import fdl, fdl.numpy as fnp
    >>> seen = []
    >>> def remember(x):
    ...     seen.append(float(x))
    ...     return x
    >>> fdl.jit(lambda x: fdl.lax.io_callback(remember, x, x) + 1)(fnp.float32(2)), seen
    (Array(3., dtype=float32), [2.0])
    """
    return _call_back(IoCallback, "io_callback", callback, result_shape_dtypes, args, kwargs, None)


def _call_back(
    kind: type[Callback], name: str, callback: Any, result_shape_dtypes: Any, args: Any, kwargs: Any, vmap_method: Any
) -> Any:
    require_function(name, "callback", callback)
    leaves, structure = flatten_values(callback, args, kwargs)
    expected, out_structure = tree.flatten(result_shape_dtypes)
    expected = [as_array(e) if type(e) in WEAK else e for e in expected]  # a number declares what it shows
    for e in expected:
        if not (hasattr(e, "shape") and hasattr(e, "dtype")):
            raise TypeError(f"{name}: result_shape_dtypes is a tree of things with shape and dtype, got {e!r}")
    types = tuple(TensorType(tuple(e.shape), as_dtype(e.dtype)) for e in expected)
    # A number takes the dtype of the arrays and results that it meets if these have all of its digits.
    met = {t.dtype for t in types} | {leaf.type.dtype for leaf in leaves if not leaf.weak}
    leaves = [leaf.held if leaf.held.type.dtype in met else leaf.strong() for leaf in leaves]

    def run(*arrays: np.ndarray) -> list[Any]:
        call_args, call_kwargs = tree.unflatten(structure, arrays)
        found, its_structure = tree.flatten(callback(*call_args, **call_kwargs))
        if its_structure != out_structure and (controls.same_structure or len(found) != len(expected)):
            raise TreeError(f"the callback returned structure {its_structure}, but {out_structure} was declared")
        return found

    run.__qualname__ = getattr(callback, "__qualname__", "callback")
    vectorized = vmap_method in ("expand_dims", "broadcast_all")
    return tree.unflatten(out_structure, kind(Rule(run), types, vectorized)(*leaves))


def debug_callback(callback: Callable[..., None], *args: Any, ordered: bool = False, **kwargs: Any) -> None:
    """Call a Python function for its effect, also under jit; under vmap once for each example.

    Args:
        callback: takes NumPy arrays in the structure of the arguments; what it returns is ignored.
        *args, **kwargs: its arguments, pytrees of arrays.
        ordered: accepted for ports; effects always happen in program order.

    >>> import fdl
    >>> fdl.jit(lambda x: fdl.debug.callback(lambda v: print("seen", v), x))(1.5)
    seen 1.5
    """
    leaves, structure = flatten_values(callback, args, kwargs)

    def run(*arrays: np.ndarray) -> None:
        call_args, call_kwargs = tree.unflatten(structure, arrays)
        callback(*call_args, **call_kwargs)

    if is_eager():
        run(*copies([leaf.concrete() for leaf in leaves]))
    else:
        Effect(Rule(run))(*leaves)
