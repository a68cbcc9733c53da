"""One program in every way it can run: by references, compiled for several processors, on several threads."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np

import fdl
from fdl import tree
from fdl.compile import pipeline
from fdl.compile.schedule import cost
from fdl.core.interpret import interpret
from tests.compile.small_groups import small_groups
from tests.fuzz.programs import Built, Recipe, build

#: Processors that programs are compiled for besides this one: vectors of 128 bits without fused products, 256, 512.
#: "small" is this one, with groups of more steps in smaller blocks.
PROCESSORS = ("x86-64", "native:256", "small", "native:512", "native:128")


class Mismatch(Exception):
    """Two ways to run a program that differ."""


@contextmanager
def compiled_for(processor: str) -> Iterator[None]:
    """Compile for another processor, and forget what was compiled before and within."""

    def forget() -> None:
        fdl.clear_caches()
        pipeline._compile.cache_clear()
        pipeline._single.cache_clear()

    forget()
    with (
        mock.patch.dict(os.environ, {} if processor == "small" else {"FDL_CPU": processor}),
        small_groups() if processor == "small" else nullcontext(),
        mock.patch.object(pipeline, "default_cache", lambda: mock.Mock(get=lambda key: None)),
        # Threads divide also what is too small to be worth it.
        mock.patch.object(cost, "worth_threads", lambda plan: True),
    ):
        yield
    forget()


def flat(values: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in tree.leaves(values)]


def oracle(built: Built, arguments: tuple[Any, ...]) -> list[np.ndarray]:
    """The results by references alone."""
    program = fdl.make_program(built.function)(*arguments)
    return interpret(program, flat(arguments))


def check(recipe: Recipe, processors: Sequence[str] = ("native",)) -> int:
    """Compare every way to run a program.

    Returns:
        How many comparisons were made.

    Raises:
        Mismatch: two of them differ; any other exception is a failure to compile or to run.
    """
    built = build(recipe)
    expected = oracle(built, built.arguments)
    compared = 0
    for processor in processors:
        with compiled_for(processor):
            found = _on_threads(built, built.arguments)
        compared += 3
        where = _first_difference(found, expected, recipe)
        if where is not None:
            _confirm(recipe, processor, where)
    return compared


def _on_threads(built: Built, arguments: tuple[Any, ...]) -> list[np.ndarray]:
    """The results of the compiled function, which must be the same bits on any number of threads."""
    function, before, results = fdl.jit(built.function), fdl.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            fdl.set_num_threads(threads)
            results.append(flat(function(*arguments)))
    finally:
        fdl.set_num_threads(before)
    for other in results[1:]:
        for n, (a, b) in enumerate(zip(results[0], other, strict=True)):
            if a.tobytes() != b.tobytes():
                raise Mismatch(f"result {n} has other bits on more threads: {_apart(a, b)}")
    return results[0]


def _apart(a: np.ndarray, b: np.ndarray) -> str:
    where = np.flatnonzero(~((a == b) | ((a != a) & (b != b))))
    return (
        f"{a.dtype}{a.shape}, {where.size} elements, first {where[:3]}: {a.ravel()[where[:3]]} {b.ravel()[where[:3]]}"
    )


def _confirm(recipe: Recipe, processor: str, where: str) -> None:
    """Raise Mismatch if the difference is more than what rounding does to this program, for other data too.

    Programs may choose (sort, compare, branch), and a rounding error chooses otherwise. Such a difference needs
    unlikely data, and a change of the input by a rounding error makes one of the same size.
    """
    reasons = []
    for seed in (recipe.seed, recipe.seed + 1_000_003, recipe.seed + 2_000_003):
        other = replace(recipe, seed=seed)
        built = build(other)
        expected = oracle(built, built.arguments)
        with compiled_for(processor):
            found = _on_threads(built, built.arguments)
        moved = [oracle(built, _perturbed(built.arguments, n)) for n in range(3)]
        reason = _first_difference(found, expected, other, moved)
        if reason is not None:
            reasons.append(reason)
    if len(reasons) > 1:
        raise Mismatch(f"on {processor}: {'; '.join(reasons)}")


def _perturbed(arguments: Any, seed: int) -> Any:
    """Arguments whose floats have other last bits."""
    rng = np.random.default_rng(seed)

    def move(leaf: Any) -> Any:
        values = np.asarray(leaf)
        if values.dtype.kind not in "fV" or values.dtype.names:
            return leaf
        step = float(fdl.numpy.finfo(values.dtype).eps)
        return (values.astype(np.float64) * (1 + step * rng.choice([-1, 1], values.shape))).astype(values.dtype)

    return tree.map(move, arguments)


def _first_difference(
    found: list[np.ndarray], expected: list[np.ndarray], recipe: Recipe, moved: Sequence[list[np.ndarray]] = ()
) -> str | None:
    """What is wrong, beyond 30 times what the perturbations moved; None if nothing is."""
    # A program whose parameters have 16 bits may compute some of its results in wider ones.
    narrow = float(fdl.numpy.finfo(np.dtype(recipe.dtype)).eps)
    # Gradients that are zero but for rounding errors are as good as what they were computed from.
    everywhere = min(1.0, max((_size(b) for b in expected), default=0.0))
    for n, (a, b) in enumerate(zip(found, expected, strict=True)):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            return f"result {n} is {a.dtype}{a.shape}, not {b.dtype}{b.shape}"
        if a.dtype.names or (a.dtype.kind not in "fcV" and not moved):
            if a.tobytes() != b.tobytes():
                return f"result {n}: {_apart(a, b) if not a.dtype.names else 'other keys'}"
            continue
        kind = np.complex128 if a.dtype.kind == "c" else np.float64
        got, wanted = a.astype(kind), b.astype(kind)
        others = [m[n].astype(kind) for m in moved]
        steady = np.isfinite(wanted)
        if not moved and (np.isnan(got) != np.isnan(wanted)).any():
            return f"result {n}: NaN in other places: {_apart(a, b)}"
        with np.errstate(all="ignore"):
            if moved:
                strange = (np.isfinite(got) != steady) & np.all([np.isfinite(o) == steady for o in others], 0)
            else:
                strange = ~steady & ~((got == wanted) | np.isnan(wanted))
            if strange.any():
                return f"result {n}: not finite in other places: {_apart(a, b)}"
            size = max(_size(b), everywhere)
            allowed = 1000 * narrow * size + np.finfo(np.float64).tiny
            for other in others:
                allowed += 30 * np.nan_to_num(np.abs(other - wanted)[steady], nan=np.inf).max(initial=0.0)
            wrong = ~(np.abs(got - wanted)[steady] <= allowed)
        if wrong.any():
            worst = np.abs(got - wanted)[steady].max()
            return f"result {n} ({a.dtype}{a.shape}): off by {worst:.3g}, allowed {allowed:.3g}, largest {size:.3g}"
    return None


def _size(values: np.ndarray) -> float:
    """The largest absolute value of those that are finite; 0 of integers."""
    if values.dtype.kind not in "fcV" or values.dtype.names:
        return 0.0
    finite = np.abs(values.astype(np.complex128 if values.dtype.kind == "c" else np.float64))
    return float(finite[np.isfinite(finite)].max(initial=0.0))
