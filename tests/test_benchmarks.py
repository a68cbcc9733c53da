"""The benchmarked models learn in fdl; their agreement with other frameworks is checked by the benchmark itself."""

from importlib import import_module

import numpy as np
import pytest

import fdl
from benchmarks.run import MODELS
from benchmarks.worker import functional_step


@pytest.mark.parametrize("name", MODELS)
def test_steps_lower_the_loss(name: str) -> None:
    step = functional_step(import_module(f"benchmarks.{name}"), fdl)
    losses = [float(step()) for _ in range(4)]  # type: ignore[arg-type]
    assert all(np.diff(losses) < 0), losses
