"""Docstrings that share what several functions say: of an argument, of a result, of an error.

A function's own docstring holds what concerns it alone: the summary, and entries that differ. The rest is written once,
in a table of the module, and `fill_docstring` puts both together, so that ``help()`` shows all of it.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_TITLES = ("Args:", "Returns:", "Raises:")


def fill_docstring(
    arguments: Mapping[str, str], returns: str = "", raises: Mapping[str, str] | None = None, example: str = ""
) -> Callable[[F], F]:
    """A decorator that adds to a docstring what it leaves out; what it says itself stays.

    Args:
        arguments: what each argument is, by name.
        returns: what the function returns.
        raises: when it raises an error, by the class.
        example: for the end of the docstring.

    Returns:
        The decorator, which returns the function that it was given.

    Raises:
        KeyError: nobody says what an argument is.

    >>> @fill_docstring({"x": "a number.", "y": "another one."}, "Their sum.")
    ... def add(x, y):
    ...     '''Add.'''
    >>> print(add.__doc__)
    Add.
    <BLANKLINE>
    Args:
        x: a number.
        y: another one.
    <BLANKLINE>
    Returns:
        Their sum.
    """

    def fill(function: F) -> F:
        if function.__doc__ is not None:  # python -OO
            function.__doc__ = _filled(function, arguments, returns, raises or {}, example)
        return function

    return fill


def _filled(
    function: Callable[..., Any], arguments: Mapping[str, str], returns: str, raises: Mapping[str, str], example: str
) -> str:
    head, sections, examples = _parts(inspect.cleandoc(function.__doc__ or ""))
    names = [("*" * _stars(p) + name, name) for name, p in inspect.signature(function).parameters.items()]
    own, errors = _entries(sections["Args:"]), {e: f"    {e}: {text}" for e, text in raises.items()}
    errors |= _entries(sections["Raises:"])
    bodies = {
        "Args:": [own[shown] if shown in own else f"    {shown}: {arguments[name]}" for shown, name in names],
        "Returns:": sections["Returns:"] or ([f"    {returns}"] if returns else []),
        "Raises:": list(errors.values()),
    }
    blocks = [head, *("\n".join([title, *body]) for title, body in bodies.items() if body), examples or example]
    return "\n\n".join(block for block in blocks if block)


def _stars(parameter: inspect.Parameter) -> int:
    return 2 if parameter.kind is parameter.VAR_KEYWORD else int(parameter.kind is parameter.VAR_POSITIONAL)


def _parts(text: str) -> tuple[str, dict[str, list[str]], str]:
    """The summary, the lines of each section, and the examples."""
    head, sections, examples = list[str](), {title: list[str]() for title in _TITLES}, list[str]()
    lines = head
    for line in text.splitlines():
        if line in sections:
            lines = sections[line]
            continue
        if line.startswith(">>>"):
            lines = examples
        if line or lines is head or lines is examples:
            lines.append(line)
    return "\n".join(head).strip(), sections, "\n".join(examples).strip()


def _entries(lines: list[str]) -> dict[str, str]:
    """The entries of a section, each with the lines that continue it, by what stands before the colon."""
    found: dict[str, str] = {}
    name = ""
    for line in lines:
        if line.startswith("     "):
            found[name] += f"\n{line}"
        else:
            name = line.split(":")[0].strip()
            found[name] = line
    return found
