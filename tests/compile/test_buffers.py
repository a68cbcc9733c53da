"""The buffer planner: who lives where, for how long, and how much memory that takes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fdl
from fdl import lax
from fdl import numpy as fnp
from fdl.compile.ir.plan import Plan, aligned, nbytes
from fdl.compile.passes.order import prepared
from fdl.compile.schedule.arena import Arena
from fdl.compile.schedule.planner import make_plan

SIDE = 64
BYTES = SIDE * SIDE * 4
MATRIX = np.linspace(-1, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)


def plan_of(function: Callable[..., Any], *arguments: Any, donate: tuple[bool, ...] = (), skip: tuple = ()) -> Plan:
    return make_plan(prepared(fdl.make_program(function)(*arguments)), donate, skip=frozenset(skip))


def first_fit(live: dict[int, int], size: int) -> int:
    """The lowest offset of so many free bytes, by trying the ends of all intervals."""
    ends = sorted([0, *(start + length for start, length in live.items())])
    return next(
        end for end in ends if all(end + size <= s or s + length <= end for s, length in live.items())
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_the_arena_is_first_fit(seed: int) -> None:
    rng, arena, live, peak = np.random.default_rng(seed), Arena(), dict[int, int](), 0
    for _ in range(300):
        if live and rng.random() < 0.45:
            gone = list(live)[rng.integers(len(live))]
            arena.free(gone)
            del live[gone]
            arena.free(gone)  # what has been given back is not given back again
            continue
        size = int(rng.choice([0, 1, 64, 65, 1000, 5000]))
        offset = arena.allocate(size)
        assert offset == first_fit(live, aligned(max(size, 1))) and offset % 64 == 0
        live[offset] = aligned(max(size, 1))
        peak = max(peak, offset + live[offset])
    assert arena.peak == peak
    for offset in list(live):
        arena.free(offset)
    assert arena.allocate(peak) == 0 and arena.peak == peak  # all gaps have become one


def test_an_arena_that_frees_nothing() -> None:
    arena = Arena(freed=False)
    for number in range(3):
        assert arena.allocate(100) == 128 * number
        arena.free(0)


def sorted_often(x: Any) -> Any:
    """Kernels in a row, each of which reads what the last one made."""
    for _ in range(8):
        x = fnp.cumsum(fnp.sort(x, axis=0), axis=1)
    return x


def test_values_that_are_read_once_take_turns() -> None:
    assert BYTES <= plan_of(sorted_often, MATRIX).arena_bytes <= 2 * BYTES
    assert plan_of(sorted_often, MATRIX, skip=("reuse",)).arena_bytes >= 15 * BYTES


@pytest.mark.parametrize("count", [2, 5, 9])
def test_values_that_are_needed_later_are_kept(count: int) -> None:
    """Results of kernels that the last one reads in the reverse order: all of them are there at the same time."""

    def function(x: Any) -> Any:
        kept = [fnp.sort(x * n, axis=0) for n in range(1, count + 1)]
        total = kept.pop()
        while kept:
            total = fnp.cumsum(total, axis=1) @ kept.pop()
        return total

    assert (count - 1) * BYTES <= plan_of(function, MATRIX).arena_bytes <= (count + 2) * BYTES


def test_a_donated_input_is_written_where_it_is() -> None:
    def update(x: Any, i: Any) -> Any:
        return lax.dynamic_update_slice(x, fnp.ones((1, SIDE)), (i, 0))

    row = np.int32(3)
    assert plan_of(update, MATRIX, row, donate=(True, False)).reused == {0: 0}
    assert plan_of(update, MATRIX, row).reused == {}
    assert plan_of(update, MATRIX, row, donate=(True, False), skip=("reuse",)).reused == {}


def test_a_donated_input_that_is_read_later_is_left_alone() -> None:
    """The product reads all of x in the same step in which its result is written."""

    def function(x: Any) -> Any:
        return x @ fnp.cumsum(x, axis=0)

    plan = plan_of(function, MATRIX, donate=(True,))
    assert plan.reused == {}
    run = fdl.jit(function, donate_argnums=0)
    given = fnp.asarray(MATRIX.copy())
    np.testing.assert_allclose(run(given), MATRIX @ MATRIX.cumsum(0), rtol=1e-4, atol=1e-4)


def test_results_need_no_memory_besides_their_own() -> None:
    plan = plan_of(lambda x: (fnp.sort(x, axis=0), x @ x, fnp.exp(x)), MATRIX)
    assert plan.arena_bytes == 0
    assert sorted(plan.slots[v].kind for v in plan.outputs) == ["output"] * 3
    assert all(nbytes(v.type) == BYTES for v in plan.outputs)
