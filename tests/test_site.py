"""The documentation site, without building it: each error has a section, each module a page."""

import ast
import importlib
import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import fdl
import fdl.core.trace
import fdl_spark.errors

DOCS = Path(__file__).parent.parent / "docs"


def classes(module: ModuleType) -> list[type]:
    return [value for _, value in inspect.getmembers(module, inspect.isclass) if value.__module__ == module.__name__]


@pytest.mark.parametrize("module", [fdl.errors, fdl_spark.errors], ids=lambda module: module.__name__)
def test_each_error_has_a_section_and_links_to_it(module: ModuleType) -> None:
    page = DOCS.parent / module.DOCUMENTATION
    sections = re.findall(r"^## (\w+)$", page.read_text(), re.M)
    assert sorted(sections) == sorted({kind.__name__ for kind in classes(module)}), (
        f"a section for each, in {page.name}"
    )
    for kind in classes(module):
        assert (kind.__doc__ or "").rstrip().endswith(f"See {module.DOCUMENTATION}#{kind.__name__.lower()}")


def test_links_between_pages_lead_to_pages_of_the_site() -> None:
    """A page from elsewhere in the repository is one of ``ELSEWHERE`` in docs/conf.py; Sphinx warns of other links."""
    root, tree = DOCS.parent, ast.parse((DOCS / "conf.py").read_text())
    (table,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "ELSEWHERE"]
    elsewhere = {root / path for path in ast.literal_eval(table).values()}
    pages = [*(p for p in DOCS.rglob("*.md") if not p.is_relative_to(DOCS / "notebooks")), *elsewhere]
    assert len(pages) > 100
    lost = []
    for page in pages:
        for link in re.findall(r"\]\((?!https?:|/|#)([^)#\s]+\.md)(?:#[^)\s]*)?\)", page.read_text()):
            target = (page.parent / link).resolve()
            if target not in elsewhere and not target.is_relative_to(DOCS):
                lost.append(f"{page.relative_to(root)}: {link}")
    assert not lost


@pytest.fixture(scope="module")
def public_names() -> ModuleType:
    """The extension of Sphinx that makes the reference."""
    pytest.importorskip("sphinx")
    spec = importlib.util.spec_from_file_location("public_names", DOCS / "_extensions" / "public_names.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_has_all_public_modules(public_names: ModuleType) -> None:
    modules = public_names.public_modules()
    assert {"fdl", "fdl.numpy", "fdl.numpy.linalg", "fdl.scipy.special", "fdl.errors", "fdl_spark.ml"} <= set(modules)
    assert not [name for name in modules if name.split(".")[1:2] in (["api"], ["core"], ["compile"], ["config"])]


def test_the_reference_has_all_public_names(public_names: ModuleType) -> None:
    for name in ("fdl", "fdl.optim", "fdl.random", "fdl_spark"):
        module = importlib.import_module(name)
        expected = {n for n in module.__all__ if not inspect.ismodule(getattr(module, n))}
        assert set(public_names.public_names(module)) == expected
    assert {"sin", "add", "zeros", "float32", "pi"} <= set(public_names.public_names(fdl.numpy))


def test_markup_in_docstrings_is_characters(public_names: ModuleType) -> None:
    lines = ["|x| * ``2 * n``", "* a bullet", "", ">>> 2 * 3", "6 * 1", "", "as::", "", "    a * b", "", "c * d"]
    escaped = [r"\|x\| \* ``2 * n``", *lines[1:-1], r"c \* d"]
    assert public_names.plain(lines) == escaped


def test_names_of_public_modules_are_public(public_names: ModuleType) -> None:
    """What tab completion offers is what the module says that it offers."""
    for name in public_names.public_modules():
        module = importlib.import_module(name)
        if hasattr(module, "__all__"):
            others = {n for n in dir(module) if n[0] != "_"} - {
                *module.__all__,
                *getattr(module, "_LAZY", ()),
                *getattr(module, "SUBPACKAGES", ()),
            }
            assert not others, f"{name} also shows {sorted(others)}"


def test_each_public_method_has_a_docstring(public_names: ModuleType) -> None:
    missing = set()
    for name in public_names.public_modules():
        module = importlib.import_module(name)
        for public in public_names.public_names(module):
            value = getattr(module, public)
            if not inspect.isclass(value) or value.__module__.split(".")[0] not in ("fdl", "fdl_spark"):
                continue
            for base in [fdl.core.trace.Value] if value is fdl.Array else value.__mro__:
                if base.__module__.split(".")[0] in ("fdl", "fdl_spark"):
                    missing |= {
                        f"{base.__module__}.{base.__qualname__}.{attribute}"
                        for attribute, held in vars(base).items()
                        if attribute[0] != "_"
                        and (callable(held) or isinstance(held, property | staticmethod | classmethod))
                        and not (inspect.getdoc(getattr(value, attribute)) or "").strip()
                    }
    assert not missing, f"without a docstring: {sorted(missing)}"
