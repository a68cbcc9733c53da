"""The schedule is a partition of the rows, whatever the numbers are."""

from dataclasses import replace

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


@given(schedule=schedules)
def test_the_number_of_a_row_is_found_again(schedule):
    """Of each slot of each shard, whatever their number is: the rows of an epoch are those of the data."""
    numbers = [schedule.row_numbers(s, np.arange(schedule.shard_rows(s))) for s in range(schedule.shards)]
    assert all(of_shard.shape[1:] == (1,) and of_shard.dtype == np.uint32 for of_shard in numbers)
    for shard, of_shard in enumerate(numbers):
        shards, slots = schedule.deal(of_shard[:, 0].astype(np.int64))
        assert (shards == shard).all()
        assert (slots == np.arange(slots.size)).all()


def test_numbers_of_more_than_32_bits():
    schedule = Schedule(rows=(1 << 33) + 5, batch_size=8, shards=3, seed=1)
    rows = np.array([0, 7, (1 << 32) - 1, 1 << 32, 1 << 33, (1 << 33) + 4])
    for row, shard, slot in zip(rows, *schedule.deal(rows), strict=True):
        ((high, low),) = schedule.row_numbers(shard, np.array([slot]))
        assert (int(high) << 32) + int(low) == row


@given(schedule=schedules)
def test_without_the_remainder_batches_are_equal(schedule):
    """What is left out are the rows of the last batch, others in each epoch."""
    dropping = replace(schedule, drop_remainder=True)
    assert dropping.steps_per_epoch == schedule.rows // schedule.batch_size
    for epoch in range(2):
        for place in range(dropping.steps_per_epoch):
            step, same = (one.steps_per_epoch * epoch + place for one in (dropping, schedule))
            assert dropping.batch_rows(step) == schedule.batch_size
            for shard in range(schedule.shards):
                np.testing.assert_array_equal(dropping.slots(step, shard), schedule.slots(same, shard))


def test_the_order_changes_with_the_epoch_and_the_seed():
    """Rows of the first batch: true epochs, each in an order of its own."""

    def first(seed, epoch):
        schedule = Schedule(rows=1000, batch_size=100, shards=3, seed=seed)
        step = epoch * schedule.steps_per_epoch
        return {int(row) for s in range(3) for row in schedule.row_numbers(s, schedule.slots(step, s))[:, 0]}

    batches = [first(seed, epoch) for seed in (0, 1) for epoch in (0, 1, 2)]
    assert all(len(batch) == 100 for batch in batches)
    for n, batch in enumerate(batches):
        # Two samples of 100 of 1000 have 10 rows in common, give or take 3.
        assert all(len(batch & other) < 25 for other in batches[:n])
