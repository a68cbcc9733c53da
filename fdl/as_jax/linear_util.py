"""Functions of flat values, as ``jax.extend.linear_util`` and ``jax.api_util`` make them for Flax and Haiku."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from fdl import tree


class WrappedFun:
    """A function to be called by :meth:`call_wrapped`."""

    def __init__(self, f: Callable[..., Any], params: dict[str, Any] | None = None) -> None:
        self.f, self.params = f, params or {}

    def call_wrapped(self, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        return self.f(*args, **self.params, **kwargs)

    @property
    def __name__(self) -> str:
        return getattr(self.f, "__name__", "function")


def wrap_init(f: Callable[..., Any], params: dict[str, Any] | None = None, *, debug_info: Any = None) -> WrappedFun:
    """`f` as a function of values.

    >>> wrap_init(max).call_wrapped(1, 2)
    2
    """
    return WrappedFun(f, params)


def debug_info(*_: Any, **__: Any) -> None:
    """Accepted for ports: errors name the user's function anyway."""


def flatten_fun(fun: WrappedFun, in_tree: Any) -> tuple[WrappedFun, Callable[[], Any]]:
    """A function of the leaves of (args, kwargs), and a function that tells the structure of the result afterwards.

    >>> flat, out_tree = flatten_fun(wrap_init(lambda x, y: {"sum": x + y}), tree.structure(((1, 2), {})))
    >>> flat.call_wrapped(3, 4), out_tree().unflatten([7])
    ([7], {'sum': 7})
    """
    return _flattened(fun, in_tree, keywords=True)


def flatten_fun_nokwargs(fun: WrappedFun, in_tree: Any) -> tuple[WrappedFun, Callable[[], Any]]:
    """As :func:`flatten_fun`, for the leaves of args.

    >>> flat, _ = flatten_fun_nokwargs(wrap_init(max), tree.structure((1, 2)))
    >>> flat.call_wrapped(3, 4)
    [4]
    """
    return _flattened(fun, in_tree, keywords=False)


def _flattened(fun: WrappedFun, in_tree: Any, keywords: bool) -> tuple[WrappedFun, Callable[[], Any]]:
    structures: list[Any] = []

    @functools.wraps(fun.f)
    def flat(*leaves: Any) -> Sequence[Any]:
        given = tree.unflatten(in_tree, leaves)
        args, kwargs = given if keywords else (given, {})
        outs, structure = tree.flatten(fun.call_wrapped(*args, **kwargs))
        structures[:] = [structure]
        return outs

    return WrappedFun(flat), lambda: structures[0]


def transformation(generator: Callable[..., Any]) -> Callable[..., WrappedFun]:
    """A wrapper of functions that is written as a generator: it yields arguments, is sent results, and yields results.

    >>> @transformation
    ... def twice(x):
    ...     y = yield (x,), {}
    ...     yield 2 * y
    >>> twice(wrap_init(abs)).call_wrapped(-3)
    6
    """

    def transformed(fun: WrappedFun, *static: Any) -> WrappedFun:
        def call(*args: Any, **kwargs: Any) -> Any:
            steps = generator(*static, *args, **kwargs)
            inner_args, inner_kwargs = next(steps)
            return steps.send(fun.call_wrapped(*inner_args, **inner_kwargs))

        return WrappedFun(call)

    return transformed
