"""Memory of large results: when it is used again, and when it must not be."""

import gc
import os
import threading

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.array import LARGE
from fdl.compile.runtime import blocks as module
from fdl.compile.runtime.blocks import Block, BlockPool, blocks

FLOAT = np.dtype(np.float32)
SHAPE = (LARGE // 4,)


def address(array):
    return np.asarray(array).ctypes.data


def test_memory_comes_back_with_the_last_view():
    pool = BlockPool()
    array = pool.empty(SHAPE, FLOAT)
    place = address(array)
    view = array[3:].reshape(1, -1)[:, 5:]
    del array
    assert pool.free_bytes == 0 and address(pool.empty(SHAPE, FLOAT)) != place
    del view
    assert pool.free_bytes >= LARGE and address(pool.empty(SHAPE, FLOAT)) == place


@pytest.mark.parametrize("look", [memoryview, np.asarray, lambda a: a.T, lambda a: a.view(np.int32), np.from_dlpack])
def test_whoever_looks_at_an_array_keeps_its_memory(look):
    pool = BlockPool()
    array = pool.empty(SHAPE, FLOAT)
    seen = look(array)
    del array
    assert pool.free_bytes == 0
    del seen
    gc.collect()
    assert pool.free_bytes > 0


def test_a_block_that_is_held_is_not_used_again():
    pool = BlockPool()
    array = pool.empty(SHAPE, FLOAT)
    held = array.base
    del array
    assert pool.free_bytes == 0
    assert isinstance(held, module.Block)


def test_results_of_jitted_functions():
    f = fdl.jit(lambda x: x + 1)
    x = fnp.zeros(SHAPE)
    for _ in range(3):
        place = address(f(x))
    blocks.clear()
    kept = f(x)
    assert kept._data.ctypes.data % 64 == 0 and kept._data.flags.carray
    others = [f(kept) for _ in range(3)]
    assert len({address(a) for a in (kept, *others)}) == 4
    place = address(others[0])
    window = np.asarray(others.pop(0))[7:]
    assert address(f(x)) != place and window[0] == 2
    del window
    assert address(f(x)) == place


def test_many_results_are_on_blocks_if_they_are_large_together():
    f = fdl.jit(lambda xs: ([x + 1 for x in xs], xs[0][:3]))
    for extent, expected in ((LARGE // 16, True), (LARGE // 64, False)):
        xs = [np.full(extent, n, np.float32) for n in range(8)]
        for _ in range(3):  # the first call of a type is made by Python, the others by machine code
            large, small = f(xs)
            for x, y in zip(xs, large, strict=True):
                np.testing.assert_array_equal(y, x + 1)
                assert isinstance(y._data.base, Block) == expected
            assert small.shape == (3,) and not isinstance(small._data.base, Block)


def test_donated_blocks_are_overwritten():
    f = fdl.jit(lambda x: x + 1, donate_argnums=0)
    x = fdl.jit(lambda x: x * 2)(fnp.ones(SHAPE))
    place = x._data.ctypes.data
    for number in range(4):
        x = f(x)
        assert x._data.ctypes.data == place and float(x[5]) == 3 + number
    window = np.asarray(x)
    y = f(x)
    assert y._data.ctypes.data != place and window[0] == 6 and float(y[0]) == 7


def test_no_block_is_made_for_what_is_donated(monkeypatch):
    x = fnp.ones(SHAPE)
    made, new_block = [], module._new_block
    monkeypatch.setattr(module, "_new_block", lambda size: made.append(size) or new_block(size))
    blocks.clear()
    y = fdl.jit(lambda x: x + 1, donate_argnums=0)(x)
    assert float(y[3]) == 2 and not made


def test_calls_work_in_larger_blocks_of_others():
    pool = BlockPool()
    small, large = pool.take(LARGE), pool.take(4 * LARGE)
    for block in (small, large):
        pool.give(block)
    assert pool.take(2 * LARGE) is large and pool.take(LARGE // 2) is small
    assert len(pool.take(LARGE)) < 2 * LARGE
    assert pool.empty(SHAPE, FLOAT).nbytes <= 1.2 * LARGE


def test_new_blocks_take_the_room_of_old_ones():
    pool = BlockPool()
    for size in (2 * LARGE, 3 * LARGE):
        old = pool.take(size)
        pool.give(old)
    assert pool.take(3 * LARGE) is old and pool.free_bytes == 0


def test_calls_work_on_blocks(monkeypatch):
    made, new_block = [], module._new_block
    monkeypatch.setattr(module, "_new_block", lambda size: made.append(size) or new_block(size))
    blocks.clear()
    f = fdl.jit(lambda x, w: fnp.sum((x @ w) @ w, axis=1))
    x, w = fnp.ones((600, 600)), fnp.ones((600, 600))
    f(x, w)
    assert sum(made) >= 600 * 600 * 4 and blocks.free_bytes == sum(made)
    for _ in range(3):
        assert float(f(x, w)[7]) == 600.0**3
    assert blocks.free_bytes == sum(made) and len(made) == 1


def test_similar_sizes_share_blocks():
    pool = BlockPool()
    place = address(pool.empty((LARGE + 5000,), np.dtype(np.uint8)))
    assert address(pool.empty((LARGE + 4000,), np.dtype(np.uint8))) == place
    for size in (1, 4095, LARGE, LARGE + 1, 3 * LARGE + 17, 2**31 + 3):
        assert size <= module._rounded(size) <= max(1.126 * size, 4096)


def test_what_is_free_was_in_use_at_once():
    pool = BlockPool()
    sizes = [LARGE * n for n in range(1, 9)]
    for size in sizes:
        pool.empty((size,), np.dtype(np.uint8))
        assert pool.free_bytes <= 1.2 * size
    several = [pool.empty(SHAPE, FLOAT) for _ in range(8)]
    del several
    assert pool.free_bytes <= 8 * LARGE * 1.2


def test_what_is_not_used_goes_back_to_the_system():
    pool = BlockPool()
    several = [pool.empty(SHAPE, FLOAT) for _ in range(8)]
    del several
    most = pool.free_bytes
    for _ in range(3 * module._RECENT):
        pool.empty(SHAPE, FLOAT)
    assert LARGE <= pool.free_bytes <= most / 4
    pool.clear()
    assert pool.free_bytes == 0


def test_threads_never_share_a_block():
    pool, wrong = BlockPool(), []

    def work(number):
        for _ in range(200):
            array = pool.empty(SHAPE, FLOAT)
            array[::50_000] = number
            other = pool.empty(SHAPE, FLOAT)
            other[::50_000] = -number
            if not (array[::50_000] == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and pool._lent == {} and pool._lent_bytes == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_does_not_write_into_its_parent():
    array = blocks.empty(SHAPE, FLOAT)
    array[...] = 1
    with blocks._lock:
        child = os.fork()
        if child == 0:
            array[...] = 2
            other = blocks.empty(SHAPE, FLOAT)
            other[...] = 3
            os._exit(0 if array[0] == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (array == 1).all()
