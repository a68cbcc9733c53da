"""Names are the field's: words of our own that identifiers and prose do not use, each with the standard term."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for package in ("fdl", "fdl_spark") for path in (ROOT / package).rglob("*.py"))


class Word(NamedTuple):
    """A word that no identifier has as a part (``lower``), or that no class has as its name (``Capitalized``).

    Attributes:
        word: the word.
        standard: the field's term for what it meant.
        where: in which folder it is not used; elsewhere it may mean something else.
    """

    word: str
    standard: str
    where: str = "fdl"


WORDS = [
    Word("slope", "partial derivative"),
    Word("family", "lowering kind"),
    Word("heavy", "compile eagerly"),
    Word("carrier", "transport dtype"),
    Word("neutral", "identity element"),
    Word("virtual", "inlined", "fdl/compile"),
    Word("home", "defining step", "fdl/compile"),
    Word("Single", "KernelStep"),
    Word("Nest", "LoopNest"),
    Word("Tail", "Epilogue"),
    Word("Halves", "the split of a partial evaluation"),
    Word("halves", "the split of a partial evaluation", "fdl/control"),
    Word("Forward", "JVP interpreter"),
    Word("Partial", "partial evaluation", "fdl/transforms"),
    Word("account", "cost report"),
    Word("accounts", "cost reports"),
    Word("widen", "join rows", "fdl/compile"),
    Word("widened", "join rows", "fdl/compile"),
    Word("totals", "accumulators", "fdl/compile"),
    Word("panels", "prepacking", "fdl/compile/passes"),
    Word("free", "may_overwrite", "fdl/api"),
    Word("passed", "forwarded_from", "fdl/api"),
    Word("kinds", "abstract values", "fdl/api"),
    Word("fixed", "static arguments", "fdl/api"),
    Word("cut", "row tile", "fdl/compile/schedule"),
]

#: Identifiers that have such a word and mean something else by it.
ALLOWED = {
    "slope_rtol": "the name that optax gives the argument of line searches",
    "negative_slope": "the name that JAX gives the argument of leaky_relu",
}

#: Names that several classes of fdl have, one in the vocabulary of users and one inside, or each in its own stage.
TWICE = {
    "Config": "of each model",
    "Body": "of a loop nest, and of control flow",
    "Emission": "of the code generator, and what lowerings see of it",
    "Emitter": "of registers, and of lowerings",
    "Kernel": "a row of a profile, and one of the library of kernels",
    "Layout": "JAX's name for the order of axes, and of records that are sorted",
    "Plan": "of a Program, and of a convolution",
    "StepEmitter": "of kernel steps, and of the steps of a tape",
    "Value": "of a trace, and of LLVM",
    "While": "the operation, and a loop of LLVM's blocks",
}

#: Phrases that the sources do not use.
PHRASES = {
    r"\b[Ww]hat would hide\b": "what an operation would read or do wrongly",
    r"general way": "slow path",
}


def parts(name: str) -> list[str]:
    """The words of an identifier, in lower case.

    >>> parts("_tailStrides_of2HTTPServers")
    ['tail', 'strides', 'of', '2', 'http', 'servers']
    """
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def identifiers(path: Path) -> Iterator[tuple[int, str]]:
    """(line, name) of what a file defines: the module, classes, functions, arguments, attributes."""
    yield from ((1, name) for name in path.relative_to(ROOT).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ClassDef(name=name, body=body):
                yield node.lineno, name
                for statement in body:
                    match statement:
                        case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                            yield statement.lineno, name
            case ast.FunctionDef(name=name) | ast.arg(arg=name) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name


@cache
def names() -> dict[str, list[str]]:
    """Where each identifier is defined."""
    found: dict[str, list[str]] = {}
    for path in SOURCES:
        for line, name in identifiers(path):
            found.setdefault(name, []).append(f"{path.relative_to(ROOT)}:{line}")
    return found


def uses(word: Word) -> list[str]:
    """Where a word is used as part of an identifier."""
    whole = word.word[0].isupper()
    return [
        f"{place} {name}"
        for name, places in names().items()
        if name not in ALLOWED and (name == word.word if whole else word.word in parts(name))
        for place in places
        if place.startswith(f"{word.where}/")
    ]


@pytest.mark.parametrize("word", WORDS, ids=lambda word: f"{word.word}-{word.where}")
def test_identifiers_are_standard_terms(word: Word) -> None:
    found = uses(word)
    assert not found, f"{word.word}: say {word.standard}\n" + "\n".join(found)


@pytest.mark.parametrize("phrase", PHRASES)
def test_prose_is_plain(phrase: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(phrase, line)
    ]
    assert not found, f"{phrase}: say {PHRASES[phrase]}\n" + "\n".join(found)


def test_a_name_has_one_sense() -> None:
    """No two public classes of fdl have one name."""
    places: dict[str, list[str]] = {}
    for path in SOURCES:
        if path.is_relative_to(ROOT / "fdl"):
            for name in re.findall(r"^class ([A-Za-z]\w*)", path.read_text(), re.M):
                places.setdefault(name, []).append(str(path.relative_to(ROOT)))
    several = {name: paths for name, paths in places.items() if len(paths) > 1}
    assert set(several) == set(TWICE), several


def test_what_is_allowed_is_there() -> None:
    assert set(ALLOWED) <= set(names())


def test_words_are_found() -> None:
    assert parts("_tail_stridesOfHTTPServers2") == ["tail", "strides", "of", "http", "servers", "2"]
    here = {name for _, name in identifiers(Path(__file__))}
    assert {"Word", "standard", "where", "word", "path", "identifiers", "test_words"} <= here
