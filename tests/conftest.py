"""What every test shares: seeds, an empty compile cache, and a compiler whose passes must not fail."""

import gc
import os
import tempfile
from typing import Any

import hypothesis
import numpy as np
import pytest

# No deadline (a first call compiles), no example database, the same examples on every run.
hypothesis.settings.register_profile("fdl", deadline=None, database=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("fdl")

# Set before fdl is imported, and inherited by Spark's workers: a test never meets machine code of an earlier run.
_cache = tempfile.TemporaryDirectory(prefix="fdl-tests-")
os.environ["FDL_CACHE_DIR"] = _cache.name
# A pass of the compiler that fails, or makes what the verifiers refuse, is an error here, in Spark's workers too.
os.environ["FDL_DEBUG_COMPILER"] = "1"


# The random generators of each test module, and the state each was in after the import.
_states: dict[object, list[tuple[np.random.Generator, Any]]] = {}


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that starts the same in every test, whatever ran before it."""
    return np.random.default_rng(0)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Whatever ran before a test, the generators of its module start where the import left them."""
    module = getattr(item, "module", None)  # doctests have none
    if module not in _states:
        found = [g for g in getattr(module, "__dict__", {}).values() if isinstance(g, np.random.Generator)]
        _states[module] = [(generator, generator.bit_generator.state) for generator in found]
    for generator, state in _states[module]:
        generator.bit_generator.state = state


def pytest_collection_finish() -> None:
    """What was collected stays until the end: no search for garbage looks at it again."""
    gc.collect()
    gc.freeze()


def pytest_configure() -> None:
    if os.environ.get("FDL_TEST_GUARD"):
        from tests import guard

        guard.install()
