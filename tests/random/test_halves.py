"""Draws in JAX's older layout, `threefry_partitionable=False`: by its definition, and as JAX 0.10.2 drew them."""

import contextlib

import numpy as np
import pytest

import fdl
from fdl import random
from fdl.errors import ShapeError
from fdl.ops.random_bits import threefry2x32


@contextlib.contextmanager
def older():
    fdl.config.threefry_partitionable = False
    try:
        yield
    finally:
        fdl.config.threefry_partitionable = True


def words(key, count):
    """The sequence: counters in two halves, an odd number of them filled up with a zero."""
    counters = np.append(np.arange(count, dtype=np.uint32), np.zeros(count % 2, np.uint32))
    halves = threefry2x32(*(np.array([k], np.uint32) for k in key), *counters.reshape(2, -1))
    return np.concatenate(halves)[:count]


#: What JAX draws from PRNGKey(42).
DRAWN = {
    "bits of 8": (lambda k: random.bits(k, (5,), "uint8"), [45, 179, 215, 3, 244]),
    "bits of 16": (lambda k: random.bits(k, (2, 3), "uint16"), [[8426, 37627, 63599], [6563, 55571, 3896]]),
    "bits of 64": (
        lambda k: random.bits(k, (3,), "uint64"),
        [13462782411356743825, 16033796027023006562, 16091099645456652183],
    ),
    "one": (random.bits, 1832780943),
    "split": (
        lambda k: random.split(k, 3),
        [[3134548294, 3733159049], [3746501087, 894150801], [801545058, 2363201431]],
    ),
    "fold_in": (lambda k: random.fold_in(k, 7), [2547012911, 1371500959]),
    "uniform": (
        lambda k: random.uniform(k, (5,)),
        [0.7298188209533691, 0.8691937923431396, 0.19643795490264893, 0.20818567276000977, 0.1866241693496704],
    ),
    "normal": (
        lambda k: random.normal(k, (5,)),
        [0.6122652292251587, 1.1225882768630981, -0.8544133901596069, -0.8127325177192688, -0.890404999256134],
    ),
    "bfloat16": (
        lambda k: random.uniform(k, (5,), "bfloat16").astype("float32"),
        [0.171875, 0.6953125, 0.8359375, 0.0078125, 0.953125],
    ),
    "randint": (lambda k: random.randint(k, (5,), 0, 1000), [12, 243, 807, 929, 184]),
    "permutation": (lambda k: random.permutation(k, 11), [10, 4, 0, 2, 7, 5, 8, 3, 6, 9, 1]),
    "choice": (lambda k: random.choice(k, 11, (5,), replace=False), [10, 4, 0, 2, 7]),
}


def test_draws_are_those_of_jax():
    def draw(key):
        return [function(key) for function, _ in DRAWN.values()]

    key = random.PRNGKey(42)
    before = random.bits(key)
    with older():
        found = fdl.jit(draw)(key), draw(key)
    for drawn in found:
        for name, array, (_, expected) in zip(DRAWN, drawn, DRAWN.values(), strict=True):
            wanted = np.asarray(expected, np.asarray(array).dtype)
            if wanted.dtype.kind == "f":
                np.testing.assert_allclose(array, wanted, rtol=3e-7, err_msg=name)
            else:
                np.testing.assert_array_equal(array, wanted, err_msg=name)
    assert random.bits(key) == before != found[0][list(DRAWN).index("one")]


@pytest.mark.parametrize("count", [0, 1, 2, 7, 40_001])
def test_bits_are_words_of_the_sequence(count):
    key = (3, 2**31)
    keys = random.wrap_key_data(np.array([key, (1, 2)], np.uint32))
    with older():
        draws = fdl.jit(fdl.vmap(lambda k: [random.bits(k, (count,), f"uint{n}") for n in (8, 32)]))(keys)
        reference = random.bits(keys[0], (count,))
    assert np.array_equal(draws[1][0], words(key, count)) and np.array_equal(reference, words(key, count))
    assert np.array_equal(draws[1][1], words((1, 2), count))
    quarters = words(key, -(-count // 4)).astype("<u4").view("u1")
    assert np.array_equal(draws[0][0], quarters[:count])


def test_a_jitted_function_follows_the_setting():
    draw = fdl.jit(lambda k: random.bits(k, (3,)))
    key = random.key(0)
    today = np.asarray(draw(key))
    with older():
        assert np.array_equal(draw(key), words((0, 0), 3))
    assert np.array_equal(draw(key), today) and not np.array_equal(today, words((0, 0), 3))


def test_more_words_than_counters_are_refused():
    with older(), pytest.raises(ShapeError, match=r"draws 4294967296 words for one key, but .* 32 bits; draw fewer"):
        fdl.eval_shape(lambda k: random.bits(k, (2**32,)), random.key(0))
