"""The importer that makes modules called ``jax`` of fdl's, as the tables of names say."""

import importlib
import sys
import threading
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from fdl.as_jax.names import MODULES, ROOTS
from fdl.as_jax.placed import placed
from fdl.config import config

_lock = threading.RLock()
#: On the path of modules, which processes started by `multiprocessing` inherit, unlike importers.
_SPAWNED = str(Path(__file__).with_name("spawned"))


def install() -> None:
    """From now on ``import jax``, and what lies below it, gives fdl under JAX's names.

    Arrays follow JAX's rules then: inputs of 64 bits become 32 unless ``jax.config.update("jax_enable_x64", True)``,
    and the dicts that transforms and ``jax.tree.map`` return have sorted keys. Calling it again changes nothing. It
    holds for the whole process, for libraries that are imported afterwards, and for processes that `multiprocessing`
    starts; nothing does it by itself.

    Raises:
        RuntimeError: JAX itself is imported already, which fdl cannot take the place of.
    """
    with _lock:
        if any(isinstance(finder, _Finder) for finder in sys.meta_path):
            return
        taken = [name for name in ROOTS if name in sys.modules]
        if taken:
            raise RuntimeError(
                f"install_as_jax: {taken[0]} is imported already, from "
                f"{getattr(sys.modules[taken[0]], '__file__', 'an unknown place')}; call fdl.install_as_jax() before "
                "anything imports it, or run the program by python -m fdl.as_jax script.py"
            )
        sys.meta_path.insert(0, _Finder())
        if _SPAWNED not in sys.path:
            sys.path.insert(1, _SPAWNED)  # after the folder of the program, which others replace as the first
        for part in ("attributes", "callbacks"):  # of what `import fdl` need not import
            importlib.import_module(f"fdl.as_jax.{part}").install()
        config.enable_x64 = config.default_float == "float64"
        config.sort_keys = config.weak_arrays = True
        config.check_indices = False
        importlib.import_module("fdl.as_jax.config").read_environment()


class _Finder(MetaPathFinder):
    """Finds modules named in the tables, and refuses others below them with a hint."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in ROOTS:
            return None
        if fullname in MODULES:
            return ModuleSpec(fullname, _Loader(), origin="fdl", is_package=True)
        if sys._getframe(2).f_code.co_name == "find_spec":
            return None  # asked by importlib.util.find_spec
        # Without `name`, so that `from jax import x` says this instead of "cannot import name 'x'".
        raise _AbsentModule(fullname)


class _Absent:
    """An exception whose text, which takes a search, is made when it is read: most are caught by ``hasattr``."""

    def __str__(self) -> str:
        return _hint(self.args[0])  # type: ignore[attr-defined]


class _AbsentName(_Absent, AttributeError):
    """There is no such name."""


class _AbsentModule(_Absent, ModuleNotFoundError):
    """There is no such module."""


class _Loader(Loader):
    """Fills a module with the names of fdl that its table lists."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _JaxModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        names = vars(module)
        for name, value in _public(module.__name__):
            names.setdefault(name, value)
        for name in MODULES[module.__name__].placed.split():
            names[name] = placed(names[name], module.__name__)
        names["__all__"] = sorted(name for name in (*names, *_submodules(module.__name__)) if not name.startswith("_"))
        names["__doc__"] = f"fdl under the names of {module.__name__}."


class _JaxModule(ModuleType):
    """A module whose submodules are imported when they are asked for."""

    def __getattr__(self, name: str) -> Any:
        whole = f"{self.__name__}.{name}"
        if whole in MODULES:
            return importlib.import_module(whole)
        raise _AbsentName(whole)

    def __dir__(self) -> list[str]:
        return sorted(set(self.__all__))


def _public(module: str) -> Iterator[tuple[str, Any]]:
    """Names and values of a module, first those of its own table, then those of the modules that it takes whole."""
    table = MODULES[module]
    for name, place in table.names.items():
        yield name, _lookup(place)
    for source in table.whole:
        found = importlib.import_module(source)
        for name in getattr(found, "__all__", None) or dir(found):
            value = getattr(found, name)
            if not name.startswith("_") and not isinstance(value, ModuleType):
                yield name, value


def _lookup(place: str) -> Any:
    """What a row of a table names: ``module:attribute``, or ``module``."""
    module, _, attribute = place.partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


def _submodules(module: str) -> list[str]:
    return [name.rpartition(".")[2] for name in MODULES if name.rpartition(".")[0] == module]


def _hint(name: str) -> str:
    """That there is no such name, and what comes nearest to it."""
    module, _, last = name.rpartition(".")
    everywhere = {f"{m}.{n}" for m in MODULES for n in (*vars(sys.modules.get(m, object)), *_submodules(m))}
    same = sorted(found for found in everywhere if found.rpartition(".")[2] == last)
    beside = {found.rpartition(".")[2]: found for found in everywhere if found.rpartition(".")[0] == module}
    near = same or [beside[close] for close in get_close_matches(last, beside, 3, 0.7)]
    return f"fdl has no {name}" + (f"; nearest: {', '.join(near)}" if near else "")
