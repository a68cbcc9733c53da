"""A sum over shards has the same bits however the shards are grouped."""

import operator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fdl_spark.compute.tree_sum import add_up, cover, gather, root
from fdl_spark.data.shards import owned


def by_tasks(values, tasks):
    shards = len(values)

    def leaf(node):
        return values[node[1]] if node[0] == 0 else None

    parts = {}
    for task in range(tasks):
        for node in cover(owned(task, tasks, shards), shards):
            parts[node] = add_up(node, shards, leaf, operator.add)
    return gather(parts, shards, operator.add, None)


singles = st.floats(-1e6, 1e6, width=32).map(np.float32)


@given(values=st.lists(singles, min_size=1, max_size=20), tasks=st.integers(1, 20))
def test_same_bits_for_any_number_of_tasks(values, tasks):
    total, alone = by_tasks(values, min(tasks, len(values))), by_tasks(values, 1)
    assert total.tobytes() == alone.tobytes()
    np.testing.assert_allclose(total, np.sum(np.float64(values)), atol=1e-6 * np.abs(np.float64(values)).sum())


@given(shards=st.integers(1, 40), tasks=st.integers(1, 10))
def test_covers_are_disjoint_complete_and_short(shards, tasks):
    for task in range(tasks):
        run = owned(task, tasks, shards)
        nodes = list(cover(run, shards))
        covered = [s for level, i in nodes for s in range(i << level, min((i + 1) << level, shards))]
        assert covered == list(run)
        assert len(nodes) <= 2 * max(1, shards.bit_length())


def test_one_task_sends_one_node():
    for shards in range(1, 20):
        assert list(cover(range(shards), shards)) == [root(shards)]


def test_absent_shards_add_nothing():
    values = {(0, 2): 5.0}
    assert gather(values, 4, operator.add, 0.0) == 5.0
    assert gather({}, 4, operator.add, 0.0) == 0.0
