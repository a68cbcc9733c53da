"""Arguments that are part of what is compiled: which they are, and functions with them filled in."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from fdl import tree
from fdl.api.arguments import argument_numbers, name_of


class Partly:
    """`fun` with its static arguments filled in."""

    def __init__(self, fun: Callable[..., Any], static_arguments: dict[Any, Any]) -> None:
        self.fun = fun
        self.static_arguments = static_arguments
        self.names = {k: v for k, v in static_arguments.items() if isinstance(k, str)}
        self.__name__ = name_of(fun)
        if not static_arguments:
            self.__wrapped__ = fun

    @property
    def __signature__(self) -> inspect.Signature:
        """Of what is left, for messages."""
        left = inspect.signature(self.fun).parameters.values()
        places = [p.name for n, p in enumerate(left) if n not in self.static_arguments and p.name not in self.names]
        return inspect.Signature([inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in places])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.static_arguments:
            return self.fun(*args, **kwargs)
        rest = iter(args)
        count = len(args) + len(self.static_arguments) - len(self.names)
        full = [self.static_arguments[n] if n in self.static_arguments else next(rest) for n in range(count)]
        return self.fun(*full, **self.names, **kwargs)


def _names(what: str, names: Any) -> tuple[str, ...]:
    found = tuple(names) if isinstance(names, (list, tuple, set, frozenset)) else () if names is None else (names,)
    if not all(isinstance(n, str) for n in found):
        raise TypeError(f"{what} must be a name of a parameter, or several of them, got {names!r}")
    return found


class Static:
    """Arguments named by number and by name, for `static_*` and `donate_*`."""

    def __init__(self, fun: Callable[..., Any], numbers: Any, names: Any, what: str) -> None:
        self.numbers = argument_numbers(f"{what}_argnums", () if numbers is None else numbers)
        self.names = (names,) if isinstance(names, str) else _names(f"{what}_argnames", names)
        self.what = what
        if (self.numbers and not self.names) or (self.names and not self.numbers):
            self._infer(fun)

    def _infer(self, fun: Callable[..., Any]) -> None:
        """Complete numbers from names, and the other way round, by the signature."""
        try:
            parameters = inspect.signature(fun).parameters
        except (TypeError, ValueError):
            return
        by_place = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        flexible = {n for n, p in parameters.items() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        if not any(p.kind is p.VAR_POSITIONAL for p in parameters.values()):
            for number in self.numbers:
                if not -len(by_place) <= number < len(by_place):
                    raise ValueError(
                        f"{self.what}_argnums names argument {number}, but {name_of(fun)}({', '.join(parameters)}) has "
                        f"{len(by_place)} positional ones"
                    )
        for name in self.names:
            if name not in parameters and not takes_any:
                raise ValueError(
                    f"{self.what}_argnames names {name!r}, which is no parameter of "
                    f"{name_of(fun)}({', '.join(parameters)})"
                )
        if self.names:
            self.numbers = tuple(by_place.index(n) for n in self.names if n in by_place)
        else:
            self.names = tuple(
                by_place[n] for n in self.numbers if -len(by_place) <= n < len(by_place) and by_place[n] in flexible
            )

    def __bool__(self) -> bool:
        return bool(self.numbers or self.names)

    def __hash__(self) -> int:
        return hash((self.numbers, self.names))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Static) and (self.numbers, self.names) == (other.numbers, other.names)

    def places(self, count: int) -> set[int]:
        """The numbers among `count` positional arguments."""
        return {n % count for n in self.numbers if -count <= n < count}

    def split(
        self, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[Any, Any], dict[str, Any], Any]:
        """The dynamic positional arguments, the static ones, the dynamic keyword ones, and a key for the static."""
        places = self.places(len(args))
        static_arguments: dict[Any, Any] = {n: args[n] for n in sorted(places)}
        static_arguments.update((n, kwargs[n]) for n in self.names if n in kwargs)
        for place, value in static_arguments.items():
            try:
                hash(value)
            except TypeError:
                raise TypeError(
                    f"static argument {place!r} of a jitted function is {value!r} of type "
                    f"{type(value).__name__}, which cannot be "
                    "hashed; pass a tuple instead of a list, or an array as a dynamic argument"
                ) from None
        dynamic = tuple(a for n, a in enumerate(args) if n not in places)
        rest = {k: v for k, v in kwargs.items() if k not in static_arguments}
        return dynamic, static_arguments, rest, tuple((k, type(v), v) for k, v in static_arguments.items())

    def marks(self, args: Sequence[Any], kwargs: dict[str, Any], static_arguments: dict[Any, Any]) -> tuple[bool, ...]:
        """For every dynamic leaf, whether its argument is named; empty if none is."""
        if not self:
            return ()
        places = self.places(len(args))
        found: list[bool] = []
        for number, arg in enumerate(args):
            if number not in static_arguments:
                found += [number in places] * len(tree.leaves(arg))
        for name in sorted(k for k in kwargs if k not in static_arguments):
            found += [name in self.names] * len(tree.leaves(kwargs[name]))
        return tuple(found)
