"""Functions of JAX that take where their result lies, `out_sharding`: with one device, always there."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from fdl import tree
from fdl.sharding import PartitionSpec, Sharding


def placed(function: Callable[..., Any], module: str) -> Callable[..., Any]:
    """The same function with an argument `out_sharding`, which is checked and moves nothing.

    Args:
        function: returns arrays.
        module: where it is found, so that it can be pickled.

    Raises:
        TypeError: `out_sharding` is neither None, a sharding nor a PartitionSpec.
        ValueError: it has more axes than the result.

    >>> import fdl.numpy as fnp
    >>> placed(fnp.zeros, "jax.numpy")(2, out_sharding=PartitionSpec(None))
    Array([0., 0.], dtype=float32)
    """

    @functools.wraps(function)
    def wrapped(*args: Any, out_sharding: Any = None, **kwargs: Any) -> Any:
        found = function(*args, **kwargs)
        if out_sharding is not None:
            _check(function.__name__, out_sharding, found)
        return found

    wrapped.__module__ = module
    parameter = inspect.Parameter("out_sharding", inspect.Parameter.KEYWORD_ONLY, default=None)
    signature = inspect.signature(function)
    named = sorted([*signature.parameters.values(), parameter], key=lambda p: p.kind)
    wrapped.__signature__ = signature.replace(parameters=named)  # type: ignore[attr-defined]
    return wrapped


def auto_axes(f: Any = None, /, *, axes: Any = None, out_sharding: Any = None) -> Any:
    """`f` itself: with one device no axis needs to say how arrays lie.

    >>> auto_axes(out_sharding=PartitionSpec("data"))(abs)(-1)
    1
    """
    return (lambda function: function) if f is None else f


def _check(name: str, where: Any, found: Any) -> None:
    if not isinstance(where, (Sharding, PartitionSpec)):
        raise TypeError(f"{name}: out_sharding is a sharding or a PartitionSpec, not {where!r}")
    axes = len(where if isinstance(where, PartitionSpec) else where.spec)
    for array in tree.leaves(found):
        if axes > array.ndim:
            raise ValueError(f"{name}: out_sharding={where} is for at least {axes} axes; the result has {array.shape}")
