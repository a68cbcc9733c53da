"""Parameters as frozen dataclasses: checked when they are made, explained as Spark ML's are, and written as JSON.

A class of parameters has a function beside it, of the same name in lower case, which makes its objects: it has the
defaults, and says what each parameter means.
"""

import inspect
import math
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from fdl_spark.errors import ArgumentError, DataError

KINDS: dict[str, type["Params"]] = {}
WORDS = {str: "a string", bool: "True or False", int: "a whole number", float: "a finite number", NoneType: "None"}
SHORT = 80  # characters of a value in an explanation


@dataclass(frozen=True)
class Params:
    """Named values with types, of one kind.

    Attributes:
      kind: the name of the function that makes them, which stands in their JSON.
    """

    kind: ClassVar[str] = ""

    def __init_subclass__(cls, kind: str = "") -> None:
        if kind:
            cls.kind, KINDS[kind] = kind, cls

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            if get_origin(hint) is ClassVar:
                continue
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, typed(value, hint))
            except ValueError:
                raise ArgumentError(f"{self.kind}: {name} must be {described(hint)}, not {value!r:.200}") from None
        self.check()

    def check(self) -> None:
        """Raise ArgumentError if values of the right types are not what they must be."""

    def require(self, condition: bool, text: str) -> None:
        """Raise ArgumentError unless a condition holds."""
        if not condition:
            raise ArgumentError(f"{self.kind}: {text}")

    def explain(self) -> str:
        """What each parameter means, its default and its value."""
        maker = vars(sys.modules[type(self).__module__])[self.kind]
        meanings, parameters = documented(maker), inspect.signature(maker).parameters
        lines = []
        for field in fields(self):
            default = parameters[field.name].default
            known = "" if default is inspect.Parameter.empty else f"default: {default!r}, "
            current = shortened(getattr(self, field.name))
            lines.append(f"{field.name}: {meanings.get(field.name, '')} ({known}current: {current})")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The parameters as what JSON can hold."""
        return {"kind": self.kind} | {field.name: _to_json(getattr(self, field.name)) for field in fields(self)}

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # and nothing that was cached

    def __repr__(self) -> str:
        values = ", ".join(f"{field.name}={shortened(getattr(self, field.name))}" for field in fields(self))
        return f"{self.kind}({values})"


def from_json(value: Any, where: str) -> Params:
    """The parameters that were written as JSON.

    Args:
      value: what `to_json` gave.
      where: what is being read, for messages.

    Raises:
      DataError: it is not what `to_json` gives.
    """
    if not isinstance(value, Mapping) or value.get("kind") not in KINDS:
        raise DataError(f"{where}: {value!r:.100} has no kind that this version knows; it knows {sorted(KINDS)}")
    kind = KINDS[value["kind"]]
    where = f"{where}: {value['kind']}"
    names = [field.name for field in fields(kind)]
    if absent := [name for name in names if name not in value]:
        raise DataError(f"{where} lacks {', '.join(absent)}")
    if surplus := sorted(set(value) - set(names) - {"kind"}):
        raise DataError(f"{where} has {', '.join(surplus)}, which this version does not know")
    try:
        return kind(**{name: _from_json(value[name], where) for name in names})
    except ArgumentError as error:
        raise DataError(f"{where}: {error}") from None


def _to_json(value: Any) -> Any:
    if isinstance(value, Params):
        return value.to_json()
    return [_to_json(item) for item in value] if isinstance(value, tuple) else value


def _from_json(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return from_json(value, where)
    return tuple(_from_json(item, where) for item in value) if isinstance(value, list) else value


def typed(value: Any, hint: Any) -> Any:
    """The value as its type says it, so that equal parameters compare equal; ValueError if it is of another type."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        for arg in args:
            with suppress(ValueError):
                return typed(value, arg)
    elif origin is Literal:
        if isinstance(value, type | np.dtype):
            with suppress(TypeError):
                value = np.dtype(value).name
        if isinstance(value, str) and value in args:
            return value
    elif origin in (tuple, Sequence) and isinstance(value, tuple | list | np.ndarray):
        return tuple(typed(item, args[0]) for item in value)
    elif hint is bool and isinstance(value, bool | np.bool_):
        return bool(value)
    elif hint is int and isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    elif hint is float and isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    elif hint is str and isinstance(value, str) and not re.search("[\ud800-\udfff]", value):
        return str(value)  # half of a pair of surrogates is in no column of strings, and in no file
    elif isinstance(hint, type) and issubclass(hint, Params | NoneType) and isinstance(value, hint):
        return value
    raise ValueError


def described(hint: Any) -> str:
    """What a type asks for, in words."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(described(arg) for arg in args)
    if origin is Literal:
        return f"one of {', '.join(map(repr, args))}"
    if origin in (tuple, Sequence):
        return f"a list, each of {described(args[0])}"
    return WORDS.get(hint, f"what features.{hint.kind} makes" if getattr(hint, "kind", "") else "an encoder")


def documented(function: Any) -> dict[str, str]:
    """What a function's docstring says of its arguments.

    >>> sorted(documented(from_json))
    ['value', 'where']
    """
    section = re.search(r"Args:\n(.*?)(\n\n|$)", inspect.getdoc(function) or "", re.S)
    found = re.findall(r"^  \*?(\w+): (.*?)(?=^  \*?\w+: |\Z)", section[1] if section else "", re.M | re.S)
    return {name: " ".join(text.split()) for name, text in found}


def shortened(value: Any) -> str:
    """A value's repr, of which the middle may be left out."""
    text = repr(value)
    if len(text) <= SHORT:
        return text
    size = f" ({len(value)} in all)" if isinstance(value, tuple) else ""
    return f"{text[: SHORT - 20]}...{text[-10:]}{size}"
