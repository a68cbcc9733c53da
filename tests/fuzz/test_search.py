"""A few random programs, and that a wrong compiler would be noticed."""

from typing import Any

import pytest

from fdl.compile.llvm.arithmetic import Arithmetic
from tests.fuzz.compare import PROCESSORS, check
from tests.fuzz.programs import Recipe, random_recipe
from tests.fuzz.search import search

RECIPE = Recipe(3, "float64", (33, 7), (("dense", 1), ("activation", 2), ("norm", 3)), "squares", "gradient")


@pytest.mark.parametrize("seed", range(2 * len(PROCESSORS)))  # each twice; `python -m tests.fuzz` goes on
def test_random_programs(seed: int) -> None:
    compared, failure = search(seed, ("native", PROCESSORS[seed % len(PROCESSORS)]), tries=20)
    assert failure is None, str(failure)
    assert compared == 6


def test_recipes_are_values() -> None:
    assert random_recipe(5) == random_recipe(5) != random_recipe(6)


def test_a_wrong_instruction_is_noticed(monkeypatch: Any) -> None:
    assert check(RECIPE) == 3
    right = Arithmetic.sub
    monkeypatch.setattr(Arithmetic, "sub", lambda self, x, y: right(self, x, y) + 1e-6)
    with pytest.raises(Exception, match="off by|NaN"):
        check(RECIPE)
