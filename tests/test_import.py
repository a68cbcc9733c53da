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


def test_numba_is_imported_by_functions_of_numba_only(tmp_path) -> None:
    """Programs without them leave it for later, when they are compiled and when they come from the disk cache."""
    code = """
import sys, fdl, fdl.numpy as fnp
from fdl import random
f = fdl.jit(fdl.grad(lambda x: fnp.sum(fnp.sort(fnp.linalg.solve(x, fnp.fft.rfft(x).real[:, :1])) * fnp.log(x))))
f(random.uniform(random.key(0), (8, 8)))
print("numba" in sys.modules)
"""
    environment = {**os.environ, "FDL_CACHE_DIR": str(tmp_path)}
    run = [sys.executable, "-c", code]
    for _ in range(2):
        assert subprocess.run(run, capture_output=True, text=True, check=True, env=environment).stdout == "False\n"


def test_all_has_what_a_module_offers() -> None:
    """Type checkers hold that what a module only imports is its own; ``__all__`` says that it is the user's."""
    module = importlib.import_module("fdl.numpy")
    offered = {n for n, value in vars(module).items() if n[0] != "_" and not inspect.ismodule(value)}
    given = {n for n in module.__all__ if not inspect.ismodule(getattr(module, n))}
    assert len(module.__all__) == len(set(module.__all__))
    assert given == offered, f"__all__ of fdl.numpy lacks {offered - given}, and has no {given - offered}"


#: Imports each public module of fdl in a forked process of its own. Whichever is the first, Python imports the packages
#: that it is in before it: that is done once for all modules of a package.
EACH_ALONE = """
import importlib, os, pathlib, sys
import llvmlite.binding, llvmlite.ir, ml_dtypes, numpy, optree, scipy.special
import fdl

root = pathlib.Path(fdl.__file__).parent

def alone(paths):
    for path in paths:
        name = ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")
        child = os.fork()
        if not child:
            try:
                importlib.import_module(name)
                if name == "fdl.scipy":
                    alone(sorted(path.parent.glob("[!_]*.py")) + sorted(path.parent.glob("_[!_]*.py")))
            except BaseException as error:
                print(f"{name}: {error}", flush=True)
            os._exit(0)
        os.waitpid(child, 0)

alone(sorted([*root.glob("*.py"), *root.glob("*/__init__.py")]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_every_public_module_can_be_the_first_one_that_is_imported():
    done = subprocess.run([sys.executable, "-c", EACH_ALONE], capture_output=True, text=True, check=True)
    assert done.stdout == ""
