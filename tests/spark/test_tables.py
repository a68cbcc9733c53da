"""Tables whose gradients are rows and values: the bits of every engine, and what crosses the network."""

import os
import signal

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
import fdl_spark
from fdl import optim
from fdl_spark.compute.part import Part
from fdl_spark.compute.program import Program
from fdl_spark.compute.table_gradient import TableGradient, TableLayout, added
from fdl_spark.compute.update import Update
from fdl_spark.engines.rows import RowsSwap
from fdl_spark.errors import ArgumentError, NonFiniteError

KINDS = {"users": True, "items": True, "tied": True, "w": False}
USERS, ITEMS = 300, 40


def made(rows=230, seed=0):
    rng = np.random.default_rng(seed)
    params = {
        "users": rng.normal(size=(USERS, 8)).astype(np.float32),
        "items": np.asarray(fnp.array(rng.normal(size=(ITEMS, 8)).astype(np.float32)).astype(fnp.bfloat16)),
        "tied": rng.normal(size=(12, 8)).astype(np.float32),
        "w": rng.normal(size=8).astype(np.float32),
    }
    data = {
        "user": (USERS * rng.random(rows) ** 4).astype(np.int32),
        "items": rng.integers(0, ITEMS + 2, (rows, 3)).astype(np.int32),  # some are out of bounds
        "kind": rng.integers(0, 12, rows).astype(np.int32),
        "y": rng.normal(size=rows).astype(np.float32),
    }
    return params, data


def loss(params, batch):
    """Repeated lookups, a table of 16 bits, and one that is also multiplied as a whole."""
    x = params["users"][batch["user"]] * params["items"][batch["items"]].astype(np.float32).sum(1)
    scores = (params["tied"][batch["kind"]] + x) @ params["tied"].T
    return ((scores.mean(1) + x @ params["w"] - batch["y"]) ** 2).mean(), {"norm": (params["users"] ** 2).mean()}


@pytest.fixture(scope="module")
def train(spark):
    params, data = made()

    def run(optimizer=None, **changes):
        optimizer = optimizer or optim.adam(0.02, sparse=KINDS)
        settings = {"batch_size": 50, "shards": 4, "seed": 3, "epochs": 4, "partitions": 2, **changes}
        return fdl_spark.train(settings.pop("loss", loss), params, data, optimizer=optimizer, **settings)

    return run


@pytest.fixture(scope="module")
def expected(train):
    return train(sync="driver", partitions=1)


def same(run, expected, digest):
    assert digest(run.params) == digest(expected.params)
    assert run.history.loss == expected.history.loss
    assert run.optimizer_state.keys() == expected.optimizer_state.keys()
    for name, leaf in expected.optimizer_state.items():
        np.testing.assert_array_equal(run.optimizer_state[name], leaf, err_msg=name)


@pytest.mark.parametrize(
    ("sync", "partitions", "group"),
    [("driver", 2, "auto"), ("shuffle", 2, "auto"), ("resident", 1, 3), ("resident", 2, "auto")],
)
def test_same_bits(train, expected, digest, sync, partitions, group):
    run = train(sync=sync, partitions=partitions, group=group)
    same(run, expected, digest)
    norms = [record["norm"] for record in run.history.steps]
    assert norms == [record["norm"] for record in expected.history.steps]


def test_rows_are_those_of_a_dense_optimizer(train, expected):
    """Adam that knows nothing of tables: its compiled program may round otherwise, and nothing else."""
    run = train(optimizer=optim.adam(0.02), sync="driver")
    for name in KINDS:
        one, other = (np.asarray(r.params[name]).astype(np.float32) for r in (run, expected))
        np.testing.assert_allclose(one, other, 2e-2 if name == "items" else 1e-4, 1e-5)


def test_batches_smaller_than_the_number_of_shards(train, digest):
    settings = {"batch_size": 3, "steps": 12, "epochs": 1}
    same(train(**settings, sync="resident"), train(**settings, sync="driver"), digest)


def test_a_lazy_optimizer_has_the_same_bits_where_it_is_told_the_rows(train, expected, digest):
    lazy = {"optimizer": optim.adam(0.02, sparse=KINDS, lazy=True)}
    run = train(**lazy, sync="resident")
    same(run, train(**lazy, sync="driver", partitions=1), digest)
    params, data = made()
    never = np.setdiff1d(np.arange(USERS), data["user"])
    np.testing.assert_array_equal(np.asarray(run.params["users"])[never], params["users"][never])
    assert digest(run.params) != digest(expected.params)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sync": "shuffle"}, 'pass sync="resident"'),
        ({"sync": fdl_spark.every(2)}, "sync=fdl_spark.every"),
        ({"sync": "resident", "wire": "bfloat16", "like": np.float32}, 'wire="bfloat16"'),
        ({"optimizer": optim.chain(optim.clip_by_global_norm(1.0), optim.adam(0.1, sparse=KINDS, lazy=True))}, "chain"),
    ],
)
def test_a_lazy_optimizer_that_would_not_be_told_is_refused(spark, changes, named):
    params, data = made()
    if dtype := changes.pop("like", None):
        params = {name: np.asarray(leaf).astype(dtype) for name, leaf in params.items()}
    settings = {"optimizer": optim.adam(0.1, sparse=KINDS, lazy=True), "batch_size": 50, **changes}
    with pytest.raises(ArgumentError, match="lazy by_rows") as raised:
        fdl_spark.train(loss, params, data, **settings)
    assert named in str(raised.value)


def test_exact_tables_with_whole_gradients(train, digest):
    """Clipping by a norm looks at whole gradients: they stay whole, and the bits the same."""
    clipped = {"optimizer": optim.chain(optim.clip_by_global_norm(0.5), optim.adam(0.02, sparse=KINDS)), "epochs": 1}
    same(train(**clipped, sync="resident"), train(**clipped, sync="driver"), digest)


def test_a_checkpoint_of_one_engine_resumes_under_another(train, expected, digest, tmp_path):
    train(sync="resident", epochs=2, checkpoint=tmp_path)
    same(train(sync="driver", checkpoint=tmp_path, partitions=1), expected, digest)


def test_a_process_that_dies_with_its_tables(train, expected, digest, tmp_path):
    """In the third group, so that what the processes hold is not what the driver sent."""
    mark = tmp_path / "died"

    def dying(params, batch):
        if "SPARK_LOCAL_DIRS" in os.environ and batch["y"].shape[0] < 12 and not mark.exists():
            mark.touch()  # traced for the smaller last batch of an epoch
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(params, batch)

    run = train(loss=dying, sync="resident", group=2)
    same(run, expected, digest)
    assert mark.exists() and len(run.history.events) == 1


def test_a_gradient_that_is_not_finite_names_table_and_shard(train):
    def bad(params, batch):
        x = params["users"][batch["user"]]
        return fnp.sqrt((x - x) ** 2).mean()

    with pytest.raises(NonFiniteError, match=r"shard 0: the gradient of params\['users'\] is not finite"):
        train(loss=bad, sync="resident")


# Without Spark


def program_of(table, width=64):
    params = {"table": np.ones((table, width), np.float32), "w": np.ones(width, np.float32)}
    optimizer = optim.adam(0.1, sparse={"table": True, "w": False})
    program = Program(lambda p, b: ((p["table"][b["ids"]] @ p["w"]) ** 2).mean(), params)
    program.update = Update(optimizer, params, False)
    program.find_tables({"ids": fdl.ShapeDtypeStruct((64,), np.int32)})
    return program


def test_what_is_sent_and_what_a_step_allocates_are_those_of_the_rows():
    program = program_of(100_000)
    tables, table = program.tables, 100_000 * 64 * 4
    state = program.update.optimizer.init(program.params)
    leaves, state = tables.copied(program.flat(), fdl.tree.leaves(state))
    rng = np.random.default_rng(0)
    for step in range(3):
        batch = {"ids": rng.integers(0, 100_000, 64).astype(np.int32)}
        leaves, state = tables.catch_up(leaves, state, batch, step, 0)
        _, gradient, finite = program.loss_and_gradient(leaves, batch, step, 0)
        swap = RowsSwap(tables.layout, [[(0, 0)]], [Part({}, gradient)], 0, 1, {})
        assert finite and sum(buffer.nbytes for buffer in swap.buffers()) <= 64 * 65 * 4 < table / 1000
        before = [np.asarray(leaf).ctypes.data for leaf in (*leaves, *state)]
        leaves, state = tables.update(leaves, state, gradient.dense, tables.joined(gradient.tables))
        large = [n for n, leaf in enumerate((*leaves, *state)) if leaf.nbytes >= table]
        after = [np.asarray(leaf).ctypes.data for leaf in (*leaves, *state)]
        assert len(large) == 3 and [after[n] for n in large] == [before[n] for n in large]  # in place


def sum_at(one, other, rows):
    """Rows of the first table of the sum of whole gradients."""
    return (one.whole() + other.whole())[:18].reshape(9, 2)[rows]


def test_sums_of_rows_are_those_of_whole_gradients():
    rng = np.random.default_rng(1)
    layout = TableLayout(((9, 2), (3,), (4, 1)), (np.dtype(np.float32),) * 3, (0, 2), np.dtype(np.float32))
    for _ in range(50):
        found = []
        for _ in range(2):
            pairs = [
                (rng.integers(0, 12, 5).astype(np.int32), rng.normal(size=(5, 2)).astype(np.float32)),
                (np.zeros(0, np.int32), np.zeros((0, 1), np.float32)),
            ]
            pairs[0] = tuple(array[np.unique(pairs[0][0], return_index=True)[1]] for array in pairs[0])
            found.append(TableGradient.of(layout, rng.normal(size=3).astype(np.float32), pairs))
        one, other = found
        np.testing.assert_array_equal((one + other).whole(), one.whole() + other.whole())
        for extent in (9, 9000):  # found through an array, and by search
            rows = added(one.tables[0], other.tables[0], extent)[0]
            assert sorted(rows.tolist()) == sorted({*one.tables[0][0].tolist(), *other.tables[0][0].tolist()})
            np.testing.assert_array_equal(added(one.tables[0], other.tables[0], extent)[1], sum_at(one, other, rows))


def test_rows_that_are_received_take_memory_once():
    layout = TableLayout(((9, 2),), (np.dtype(np.float32),), (0,), np.dtype(np.float32))
    memory, found = {}, []
    for count in (5, 3, 4):
        swap = RowsSwap(layout, [[(0, 0)], [(0, 1)]], [Part()], 0, 2, memory)
        sent = np.arange(count, dtype=np.int32)[::-1].copy(), np.full((count, 2), count, np.float32)
        for buffer, array in zip(swap.receive(1, [[count]], ValueError), sent, strict=True):
            buffer[:] = array.tobytes()
        ((pair,),) = swap.total()
        for array, expected in zip(pair, sent, strict=True):
            np.testing.assert_array_equal(array, expected)
        found.append([array.ctypes.data for array in pair])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("counts", "content"),
    [
        (None, b""),
        ([[2]], b""),
        ([[2, 0], [1, 0]], b""),
        ([[10, 0]], b""),
        ([[-1, 0]], b""),
        ([[True, 0]], b""),
        ([[2, 0]], np.array([3, 3], np.int32).tobytes()),
        ([[2, 0]], np.array([3, 9], np.int32).tobytes()),
        ([[2, 0]], np.array([-1, 3], np.int32).tobytes()),
    ],
)
def test_rows_that_a_rank_cannot_mean_are_refused(counts, content):
    layout = TableLayout(((9, 2), (4, 1)), (np.dtype(np.float32),) * 2, (0, 1), np.dtype(np.float32))
    swap = RowsSwap(layout, [[(0, 0)], [(0, 1)]], [Part()], 0, 2, {})
    receiving = swap.receive(1, counts, lambda what: ValueError(what))
    with pytest.raises(ValueError, match="sent"):
        for buffer in receiving:
            buffer[:] = content
