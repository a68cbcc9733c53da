"""Arrays on the memory of NumPy arrays: tables on disk, read and updated in place."""

import gc

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import nn, optim
from fdl.errors import DonationError, DtypeError


def on_disk(path, mode="w+", shape=(1000, 8), dtype=np.float32):
    return np.memmap(path, dtype, mode, shape=shape)


def test_a_donated_table_on_disk_is_updated_in_place(tmp_path, rng):
    memory = on_disk(tmp_path / "table")
    memory[:] = rng.normal(size=memory.shape)
    expected, rows, values = np.array(memory), np.array([3, 999, 3]), rng.normal(size=(3, 8)).astype(np.float32)
    add = fdl.jit(lambda table, rows, values: table.at[rows].add(values), donate_argnums=0)
    table = fdl.from_numpy(memory)
    for _ in range(3):
        table = add(table, rows, values)
        np.add.at(expected, rows, values)
    assert np.shares_memory(np.asarray(table), memory)
    np.testing.assert_allclose(memory, expected, rtol=1e-6)
    memory.flush()
    del memory, table
    gc.collect()
    np.testing.assert_allclose(on_disk(tmp_path / "table", "r"), expected, rtol=1e-6)


def test_steps_of_optimizers_by_rows_write_to_the_file(tmp_path, rng):
    memory = on_disk(tmp_path / "table")
    memory[:] = start = rng.normal(size=memory.shape).astype(np.float32)
    ids = fnp.array([5, 7, 5])
    optimizer = optim.by_rows(optim.sgd(0.5))

    def step(params, state, ids):
        gradients = fdl.grad(lambda p: fnp.sum(nn.embedding(p, ids) ** 2), sparse=True)(params)
        updates, state = optimizer.update(gradients, state, params)
        return optim.apply_updates(params, updates), state

    table = {"w": fdl.from_numpy(memory)}
    state = optimizer.init(table)
    expected = {"w": fnp.asarray(start)}
    expected, _ = fdl.jit(step)(expected, optimizer.init(expected), ids)
    table, state = fdl.jit(step, donate_argnums=0)(table, state, ids)
    assert np.shares_memory(np.asarray(table["w"]), memory)
    np.testing.assert_array_equal(memory, expected["w"])
    assert set(np.flatnonzero((memory != start).any(axis=1))) == {5, 7}


def test_memory_that_may_not_be_written_to_is_left_as_it_is(tmp_path):
    on_disk(tmp_path / "table")[:] = 1
    for memory in (on_disk(tmp_path / "table", "r"), np.frombuffer(bytes(8), np.float32)):
        before = np.array(memory)
        given = fdl.from_numpy(memory)
        doubled = fdl.jit(lambda x: x + 2, donate_argnums=0)(given)
        assert np.array_equal(doubled, before + 2) and np.array_equal(memory, before)
        with pytest.raises(DonationError):
            given + 1


@pytest.mark.parametrize("dtype", ["float32", "int8", "bool", "complex64", "float64"])
@pytest.mark.parametrize("place", [np.s_[:], np.s_[::2, ::-1], np.s_[3], np.s_[:0], np.s_[1, 2]], ids=str)
def test_shapes_strides_and_dtypes_are_kept(rng, dtype, place):
    data = rng.integers(0, 2, (6, 5)).astype(dtype)[place]
    data = data if isinstance(data, np.ndarray) else np.asarray(data)
    found = fdl.from_numpy(data)
    assert (found.shape, found.dtype) == (data.shape, data.dtype)
    assert not data.size or np.shares_memory(np.asarray(found), data)
    assert np.array_equal(fdl.jit(lambda x: x + x)(found), data + data)


def test_what_is_no_memory_of_an_array_is_refused():
    with pytest.raises(TypeError, match=r"from_numpy takes a NumPy array, got list; use fdl\.numpy\.asarray"):
        fdl.from_numpy([1.0])
    for dtype in ("U3", "datetime64[s]", "float128", "O"):
        with pytest.raises(DtypeError, match=r"from_numpy shares memory of the dtypes that Arrays have, got"):
            fdl.from_numpy(np.zeros(2, dtype))
    with pytest.raises(DtypeError, match="float32, in the byte order of other machines"):
        fdl.from_numpy(np.zeros(2, np.dtype(np.float32).newbyteorder()))
