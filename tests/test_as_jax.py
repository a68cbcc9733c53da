"""fdl under the name of JAX. What changes the process is checked in one of its own, by as_jax_checks.py."""

import ast
import importlib
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.as_jax import install
from fdl.as_jax.config import JaxConfig
from fdl.as_jax.names import MODULES
from fdl.config import config

PROGRAM = Path(__file__).with_name("as_jax_checks.py")
CHECKS = [
    node.name
    for program in (PROGRAM, PROGRAM.with_name("as_jax_library_checks.py"))
    for node in ast.parse(program.read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
]


@pytest.fixture(scope="module")
def results() -> dict[str, str]:
    """What each check raised."""
    run = [sys.executable, "-W", "error", "-m", "fdl.as_jax", str(PROGRAM)]
    done = subprocess.run(run, capture_output=True, text=True, cwd=PROGRAM.parent.parent)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("check", CHECKS)
def test_as_jax(check: str, results: dict[str, str]) -> None:
    assert results[check] == ""


CHILD = """
import concurrent.futures
import multiprocessing

import jax
import numpy as np


def doubles():
    return jax.vmap(lambda x: 2 * x)(np.array([1.0, 2.0])).tolist(), jax.numpy.ones(1, "float64").dtype.name


if __name__ == "__main__":
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        print(pool.submit(doubles).result())
    c = jax.config
    print(c.jax_enable_x64, c.jax_debug_nans, c.jax_log_compiles, c.jax_numpy_rank_promotion, jax.numpy.ones(1).dtype)
"""

#: Flags by their environment variables.
VARIABLES = {
    "JAX_ENABLE_X64": "1",
    "JAX_DEBUG_NANS": "true",
    "JAX_LOG_COMPILES": "on",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_PLATFORMS": "cpu",
    "JAX_OF_NO_MEANING": "yes",
}


def test_children_run_on_fdl_with_the_flags_of_the_environment(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(CHILD)
    run = [sys.executable, "-m", "fdl.as_jax", str(program)]
    done = subprocess.run(
        run, capture_output=True, text=True, cwd=PROGRAM.parent.parent, env=os.environ | VARIABLES, check=False
    )
    assert done.stdout == "([2.0, 4.0], 'float64')\nTrue True True raise float64\n", done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_tables_name_what_exists(module: str) -> None:
    table = MODULES[module]
    assert module.rpartition(".")[0] in ("", *MODULES)
    for source in table.whole:
        importlib.import_module(source)
    for place in table.names.values():
        source, _, attribute = place.partition(":")
        assert hasattr(importlib.import_module(source), attribute), place


def test_install_refuses_when_jax_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(sys.meta_path), config.enable_x64, config.sort_keys
    monkeypatch.setitem(sys.modules, "jaxlib", types.ModuleType("jaxlib"))
    with pytest.raises(RuntimeError, match=r"jaxlib is imported already, from .*; call fdl.install_as_jax\(\) before"):
        install()
    assert (list(sys.meta_path), config.enable_x64, config.sort_keys) == before


def test_nothing_changes_by_itself() -> None:
    assert "jax" not in sys.modules
    assert config.enable_x64
    assert fnp.asarray(np.arange(3)).dtype == np.int64
    assert list(fdl.tree.map(lambda x: x, {"b": 1, "a": 2})) == ["b", "a"]


def test_flags_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = JaxConfig()
    monkeypatch.setattr(config, "debug_nans", config.debug_nans)
    flags.update("jax_debug_nans", True)
    assert config.debug_nans and flags.jax_debug_nans and flags.debug_nans
    with pytest.raises(ValueError, match="fdl cannot do jax_default_prng_impl='rbg'"):
        flags.update("jax_default_prng_impl", "rbg")
    with pytest.raises(AttributeError, match="no jax.config flag 'jax_colour'"):
        flags.jax_colour  # noqa: B018
