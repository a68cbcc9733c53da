"""The schedule is a partition of the rows, whatever the numbers are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdl_spark.data.shards import Schedule, owned, permute


@given(size=st.integers(1, 500), key=st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 99)))
def test_permute_is_a_bijection(size, key):
    assert sorted(permute(np.arange(size), size, key)) == list(range(size))


def test_permute_depends_on_the_key_and_moves_rows():
    first, second = (permute(np.arange(1000), 1000, (seed,)) for seed in (0, 1))
    assert (first == second).mean() < 0.02
    assert (first == np.arange(1000)).mean() < 0.02


def test_permute_scatters_neighbours_evenly():
    """The first half of the domain lands in the first half about half of the time: 4 sigma."""
    size = 10_000
    low = (permute(np.arange(size // 2), size, (5,)) < size // 2).sum()
    assert abs(low - size / 4) < 4 * np.sqrt(size / 16)


schedules = st.builds(
    Schedule,
    rows=st.integers(1, 200),
    batch_size=st.integers(1, 230),
    shards=st.integers(1, 9),
    seed=st.integers(0, 3),
)


@given(schedule=schedules)
def test_every_row_once_per_epoch(schedule):
    for epoch in range(2):
        for shard in range(schedule.shards):
            steps = range(epoch * schedule.steps_per_epoch, (epoch + 1) * schedule.steps_per_epoch)
            slots = np.concatenate([schedule.slots(step, shard) for step in steps])
            assert sorted(slots) == list(range(schedule.shard_rows(shard)))


@given(schedule=schedules, window=st.integers(1, 40), steps=st.integers(1, 5))
def test_windows_do_not_change_the_order(schedule, window, steps):
    """Visits are worked out many at a time; which rows a step has is a function of the step and the seed alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fdl_spark.data.shards.WINDOW", window)
        patch.setattr("fdl_spark.data.shards.WINDOW_STEPS", steps)
        for step in range(2 * schedule.steps_per_epoch):
            epoch, place = divmod(step, schedule.steps_per_epoch)
            rows = range(place * schedule.batch_size, min((place + 1) * schedule.batch_size, schedule.rows))
            for shard in range(schedule.shards):
                visits = np.array([row // schedule.shards for row in rows if row % schedule.shards == shard], np.int64)
                key = schedule.seed, 1, epoch, shard
                expected = permute(visits, schedule.shard_rows(shard), key)
                np.testing.assert_array_equal(schedule.slots(step, shard), expected, strict=True)


@given(schedule=schedules)
def test_batches_are_full_and_even(schedule):
    for step in range(schedule.steps_per_epoch):
        counts = [schedule.slots(step, shard).size for shard in range(schedule.shards)]
        assert max(counts) - min(counts) <= 1
        assert sum(counts) == schedule.batch_rows(step)
        last = schedule.rows - step * schedule.batch_size
        assert schedule.batch_rows(step) == min(schedule.batch_size, last)


@given(schedule=schedules)
def test_dealing_fills_the_shards(schedule):
    shards, slots = schedule.deal(np.arange(schedule.rows))
    for shard in range(schedule.shards):
        assert sorted(slots[shards == shard]) == list(range(schedule.shard_rows(shard)))


def test_epochs_differ():
    schedule = Schedule(rows=100, batch_size=100, shards=2, seed=0)
    assert (schedule.slots(0, 0) != schedule.slots(1, 0)).any()


@pytest.mark.parametrize(("tasks", "shards"), [(1, 1), (2, 5), (3, 8), (4, 4)])
def test_tasks_own_contiguous_runs(tasks, shards):
    assert [shard for task in range(tasks) for shard in owned(task, tasks, shards)] == list(range(shards))
