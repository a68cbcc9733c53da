"""What ``import fdl`` leaves for later, so that it takes a third of a second at most."""

import importlib
import inspect
import os
import subprocess
import sys

import pytest

LATER = ("fdl.compile", "fdl.ext", "fdl.nn", "fdl.random", "fdl.scipy", "llvmlite", "numba", "opt_einsum", "scipy")


def test_import_leaves_heavy_modules_for_later():
    code = "import sys, fdl; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.startswith(LATER)] == []


def test_all_has_what_a_module_offers() -> None:
    """Type checkers hold that what a module only imports is its own; ``__all__`` says that it is the user's."""
    module = importlib.import_module("fdl.numpy")
    offered = {n for n, value in vars(module).items() if n[0] != "_" and not inspect.ismodule(value)}
    given = {n for n in module.__all__ if not inspect.ismodule(getattr(module, n))}
    assert len(module.__all__) == len(set(module.__all__))
    assert given == offered, f"__all__ of fdl.numpy lacks {offered - given}, and has no {given - offered}"


#: Imports each public module of fdl in a forked process of its own.
EACH_ALONE = """
import importlib, os, pathlib, sys
import llvmlite.binding, llvmlite.ir, ml_dtypes, numpy, optree, scipy.special
import fdl.errors

root = pathlib.Path(sys.modules["fdl"].__file__).parent
for name in [n for n in sys.modules if n.split(".")[0] == "fdl"]:
    del sys.modules[name]
for path in sorted([*root.glob("*.py"), *root.glob("*/__init__.py"), *root.glob("scipy/*.py")]):
    name = ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")
    child = os.fork()
    if not child:
        try:
            importlib.import_module(name)
        except BaseException as error:
            print(f"{name}: {error}", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_every_public_module_can_be_the_first_one_that_is_imported():
    done = subprocess.run([sys.executable, "-c", EACH_ALONE], capture_output=True, text=True, check=True)
    assert done.stdout == ""
