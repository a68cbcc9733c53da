"""The name and documentation of a user's function on what a transform makes of it."""

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

Wrapper = TypeVar("Wrapper", bound=Callable[..., Any])


def update_wrapper(wrapper: Wrapper, fun: Callable[..., Any], **options: Any) -> Wrapper:
    """As `functools.update_wrapper`, also for objects that are called, whose ``__name__`` may be no text.

    >>> class Module:
    ...     __name__ = None
    ...     def __call__(self, x): return x
    >>> update_wrapper(lambda x: x, Module()).__name__
    '<lambda>'
    """
    if type(fun) is FunctionType:
        return functools.update_wrapper(wrapper, fun, **options)  # type: ignore[return-value]
    names = [name for name in functools.WRAPPER_ASSIGNMENTS if _fits(name, fun)]
    functools.update_wrapper(wrapper, fun, assigned=names, **options)
    return wrapper


def wraps(fun: Callable[..., Any]) -> Callable[[Wrapper], Wrapper]:
    """A decorator that gives a function the name and documentation of another one."""
    return lambda wrapper: update_wrapper(wrapper, fun)


def _fits(name: str, fun: Any) -> bool:
    kind = {"__name__": str, "__qualname__": str, "__annotations__": dict, "__type_params__": tuple}.get(name, object)
    return isinstance(getattr(fun, name, None), kind)
