"""The directive ``public``: a module's docstring, a table of its public names, and the docstring of each."""

import importlib
import importlib.util
import inspect
import re
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

#: Kinds of names, and the role that links to each.
GROUPS = {"Functions": "func", "Classes": "class", "Constants": "data"}


#: Parts of fdl_spark that users import from, beside itself.
OF_SPARK = ("features", "history", "kafka", "metrics", "ml")
#: What only those need who write operations.
INSIDE = {"ops"}


def public_modules(package: str = "fdl") -> list[str]:
    """fdl, the modules that it and these offer, and those of fdl_spark, by name."""
    module = importlib.import_module(package)
    offered = {*getattr(module, "__all__", ("linalg",)), *getattr(module, "_LAZY", ())} - INSIDE
    found = {package}
    for name in offered:
        path = f"{package}.{name}"
        if name[0] == "_" or not hasattr(module, "__path__") or importlib.util.find_spec(path) is None:
            continue
        if inspect.ismodule(getattr(module, name)):
            found.update(public_modules(path))
    if package == "fdl":
        found |= {"fdl_spark", *(f"fdl_spark.{name}" for name in OF_SPARK)}
    return sorted(found)


def public_names(module: Any) -> list[str]:
    """What a module offers: `__all__`, or without it what it (a package: what fdl) defines, without underscores."""
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if name[0] != "_" and is_defined_in(value, module)
    ]
    return sorted({name for name in names if not inspect.ismodule(getattr(module, name))}, key=str.lower)


def is_defined_in(value: Any, module: Any) -> bool:
    if not callable(value):
        return not inspect.ismodule(value) and not str(type(value)).startswith("<class 'typing.")
    defined = getattr(value, "__module__", None) or type(value).__module__
    if hasattr(module, "__path__"):
        return defined.split(".")[0] in ("fdl", "fdl_spark", "numpy", "ml_dtypes")
    return defined == module.__name__ or (not inspect.isroutine(value) and not inspect.isclass(value))


@cache
def homes() -> dict[type, str]:
    """Where each class is documented: under the first of its names, by the order of the pages."""
    found: dict[type, str] = {}
    for module in map(importlib.import_module, public_modules()):
        for name in public_names(module):
            if inspect.isclass(value := getattr(module, name)):
                found.setdefault(value, f"{module.__name__}.{name}")
    return found


def group_of(value: Any) -> str:
    """Under which heading a name stands; what is another package's is a constant of ours."""
    if (getattr(value, "__module__", None) or "fdl").split(".")[0] not in ("fdl", "fdl_spark"):
        return "Constants"
    if inspect.isclass(value):
        return "Classes"
    return "Functions" if callable(value) else "Constants"


def first_sentence(value: Any) -> str:
    paragraph = " ".join(plain((inspect.getdoc(value) or "").split("\n\n")[0].splitlines()))
    sentence = re.split(r"(?<!\.)\. ", paragraph)[0]  # three dots, as in 0, 1, ..., end none
    return sentence if sentence.endswith("...") else sentence.rstrip(".:") + "." if paragraph else ""


def entry(module: str, name: str, value: Any) -> list[str]:
    """The lines of one name."""
    package = (getattr(value, "__module__", None) or type(value).__module__).split(".")[0]
    if callable(value) and package not in ("fdl", "fdl_spark"):
        return [f".. py:data:: {module}.{name}", "", f"   The same as ``{package}.{name}``.", ""]
    if inspect.isclass(value):
        if (home := homes()[value]) != f"{module}.{name}":
            return [f".. py:class:: {module}.{name}", "", f"   The same as :class:`{home}`.", ""]
        return [f".. autoclass:: {module}.{name}", "   :members:", "   :undoc-members:", ""]
    if inspect.isroutine(value):
        return [f".. autofunction:: {module}.{name}", ""]
    if callable(value):  # an instance that can be called, as an operation
        text = textwrap.indent("\n".join(plain((inspect.getdoc(value) or "").splitlines())), "   ")
        return [f".. py:function:: {module}.{name}(*operands)", "", *text.splitlines(), ""]
    shown = repr(value)
    shown = shown if len(shown) < 60 and " at 0x" not in shown else type(value).__name__
    return [f".. py:data:: {module}.{name}", "", f"   ``{shown}``", ""]


class Public(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        module = importlib.import_module(name)
        names = public_names(module)
        lines = [f".. py:currentmodule:: {name}", "", *plain((inspect.getdoc(module) or "").splitlines()), ""]
        for group, role in GROUPS.items():
            members = [member for member in names if group_of(getattr(module, member)) == group]
            if members:
                lines += [f".. rubric:: {group}", "", ".. list-table::", "   :widths: 30 70", ""]
            for member in members:
                said = "" if role == "data" else first_sentence(getattr(module, member))
                lines += [f"   * - :py:{role}:`{member} <{name}.{member}>`", f"     - {said}"]
            lines.append("")
        lines += [line for member in names for line in entry(name, member, getattr(module, member))]
        box = nodes.section()
        box.document = self.state.document
        self.state.nested_parse(StringList(lines, source=f"<{name}>"), self.content_offset, box, match_titles=1)
        return box.children


def plain(lines: list[str]) -> list[str]:
    """Lines whose stars and bars are characters, not markup, but for code, examples, and bullets.

    >>> plain(["* |x| * ``2 * n``", "", ">>> 2 * 3"])
    ['* \\|x\\| \\* ``2 * n``', '', '>>> 2 * 3']
    """
    result, example, literal = [], False, -1
    for line in lines:
        stripped = line.lstrip()
        indent = len(line) - len(stripped)
        example = bool(stripped) and (example or stripped.startswith(">>>"))
        if stripped and literal >= 0 and indent <= literal:
            literal = -1
        if stripped and not example and literal < 0:
            if stripped.endswith("::"):
                literal = indent
            head = "* " if stripped.startswith("* ") else ""
            pieces = re.split(r"(`+[^`]*`+)", stripped.removeprefix(head))
            pieces[::2] = [re.sub(r"(?<!\\)([*|])", r"\\\1", piece) for piece in pieces[::2]]
            pieces[2::2] = [re.sub(r"^(?=\w)", r"\\ ", piece) for piece in pieces[2::2]]  # `Array`s
            line = " " * indent + head + "".join(pieces)
        result.append(line)
    return result


def process(_app: Sphinx, _kind: str, _name: str, _value: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = plain(lines)


def write_pages(app: Sphinx) -> None:
    """A page of one line for each public module, in a folder that git ignores."""
    folder = Path(app.srcdir, "reference")
    folder.mkdir(exist_ok=True)
    pages = {f"{name}.rst": f"{name}\n{'=' * len(name)}\n\n.. public:: {name}\n" for name in public_modules()}
    for path in folder.iterdir():
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        (folder / name).write_text(text)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write_pages)
    app.add_directive("public", Public)
    app.connect("autodoc-process-docstring", process, priority=400)  # before napoleon
    return {"parallel_read_safe": True}
