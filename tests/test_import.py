"""What ``import fdl`` leaves for later, so that it takes a third of a second at most."""

import importlib
import inspect
import subprocess
import sys

import pytest

LATER = ("fdl.compile", "fdl.ext", "fdl.nn", "fdl.random", "fdl.scipy", "llvmlite", "numba", "opt_einsum", "scipy")


def test_import_leaves_heavy_modules_for_later():
    code = "import sys, fdl; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.startswith(LATER)] == []


@pytest.mark.parametrize("module", ["fdl.scipy.special", "fdl.nn.losses"])
def test_a_module_may_be_the_first_that_is_imported(module: str) -> None:
    """Packages that need each other's modules are not found half imported."""
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, timeout=60)


def test_all_has_what_a_module_offers() -> None:
    """Type checkers hold that what a module only imports is its own; ``__all__`` says that it is the user's."""
    module = importlib.import_module("fdl.numpy")
    offered = {n for n, value in vars(module).items() if n[0] != "_" and not inspect.ismodule(value)}
    given = {n for n in module.__all__ if not inspect.ismodule(getattr(module, n))}
    assert len(module.__all__) == len(set(module.__all__))
    assert given == offered, f"__all__ of fdl.numpy lacks {offered - given}, and has no {given - offered}"
