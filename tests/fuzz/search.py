"""Look for programs that fail, and make them smaller."""

import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.fuzz.compare import PROCESSORS, check
from tests.fuzz.programs import Recipe, build, random_recipe, smaller


@dataclass
class Failure:
    """A program that fails, made as small as it could be.

    Attributes:
        seed: of the program that was found.
        recipe: the smallest program that fails in the same way.
        reason: the exception of that one.
        trace: where it was raised.
    """

    seed: int
    recipe: Recipe
    reason: str
    trace: str

    def __str__(self) -> str:
        layers = ", ".join(f"({name!r}, {seed})" for name, seed in self.recipe.layers)
        return f"seed {self.seed}: {self.reason}\n  {self.recipe!r}\n  layers: [{layers}]\n{self.trace}"


def attempt(recipe: Recipe, processors: Sequence[str]) -> tuple[int, Exception | None]:
    """How many comparisons were made, and why the program fails."""
    try:
        return check(recipe, processors), None
    except Exception as error:
        return 0, error


def shrink(recipe: Recipe, error: Exception, processors: Sequence[str], tries: int) -> tuple[Recipe, Exception]:
    """The smallest recipe found within `tries` that fails with an exception of the same class."""
    try:
        recipe = Recipe(**{**vars(recipe), "layers": build(recipe).layers})
    except Exception:
        return recipe, error
    left, candidates = tries, smaller(recipe)
    while candidates and left:
        left -= 1
        candidate = candidates.pop(0)
        _, found = attempt(candidate, processors)
        if type(found) is type(error):
            recipe, error, candidates = candidate, found, smaller(candidate)
    return recipe, error


def search(seed: int, processors: Sequence[str], tries: int = 60) -> tuple[int, Failure | None]:
    """Check the program of a seed.

    Returns:
        How many comparisons were made, and the failure, made smaller within `tries`.
    """
    recipe = random_recipe(seed)
    compared, error = attempt(recipe, processors)
    if error is None:
        return compared, None
    recipe, error = shrink(recipe, error, processors, tries)
    trace = "".join(traceback.format_exception(error)[-8:])
    return compared, Failure(seed, recipe, f"{type(error).__name__}: {error}", trace)


def work(following: Any, own: Any, end: int, stop: float, every: bool, compared: Any, done: Any, failed: Any) -> None:
    """Check one seed after the other, of those that several processes share."""
    warnings.simplefilter("error")
    while time.time() < stop:
        with following.get_lock():
            seed = following.value
            following.value += 1
        if seed >= end:
            return
        own.value = seed
        others = PROCESSORS if every else (PROCESSORS[seed % len(PROCESSORS)],)
        count, failure = search(seed, ("native", *others))
        with compared.get_lock(), done.get_lock():
            compared.value += count
            done.value += 1
        if failure is not None:
            print(failure, flush=True)
            failed.put(seed)
