"""Keys and bits: the published vectors of the generator, and what splitting promises."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import random
from fdl.errors import DtypeError, ShapeError
from fdl.ops.random_bits import threefry2x32

# From the file kat_vectors of Random123 (Salmon et al.): counter, key, result of threefry2x32 with 20 rounds.
VECTORS = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


def test_published_vectors():
    counters, keys, results = (np.array(part, np.uint32) for part in zip(*VECTORS, strict=True))
    assert np.array_equal(np.stack(threefry2x32(*keys.T, *counters.T), axis=1), results)


@pytest.mark.parametrize("make", [random.key, random.PRNGKey])
def test_clones_of_several_keys_are_the_same_keys(make):
    keys = random.split(make(0), (2, 3))
    clones = random.clone(keys)
    assert clones.type == keys.type and fnp.array_equal(random.key_data(clones), random.key_data(keys))


def test_first_element_is_the_vector_at_counter_zero():
    zero = random.wrap_key_data(np.zeros(2, np.uint32))
    high, low = VECTORS[0][2]
    assert random.bits(zero, (3,))[0].item() == high ^ low
    assert random.bits(zero, (3,), "uint64")[0].item() == high << 32 | low
    assert random.bits(zero, (3,), "uint8")[0].item() == (high ^ low) & 0xFF
    assert random.key_data(random.split(zero))[0].tolist() == [high, low]
    assert random.key_data(random.fold_in(zero, 0)).tolist() == [high, low]


def test_seeds_are_the_words_of_the_key():
    assert random.key_data(random.key(7)).tolist() == [0, 7]
    assert random.key_data(random.key(-1)).tolist() == [0, 2**32 - 1]
    assert random.key_data(random.key(2**40 + 3)).tolist() == [2**8, 3]
    assert random.key_data(random.key(np.int32(-1))).tolist() == [0, 2**32 - 1]
    assert random.key_data(random.key(np.uint64(2**63))).tolist() == [2**31, 0]
    assert random.PRNGKey(7).tolist() == [0, 7]


def test_elements_depend_on_key_and_position_only():
    key = random.key(3)
    long = np.asarray(random.bits(key, (40_000,)))
    assert np.array_equal(random.bits(key, (100,)), long[:100])
    assert np.array_equal(random.bits(key, (50, 2)).ravel(), long[:100])
    assert np.array_equal(random.key_data(random.split(key, 9))[:4], random.key_data(random.split(key, 4)))
    assert np.array_equal(random.key_data(random.fold_in(key, 6)), random.key_data(random.split(key, 9)[6]))


def test_old_and_typed_keys_draw_the_same():
    old, new = random.PRNGKey(5), random.key(5)
    assert old.dtype == np.uint32 and random.split(old, 3).shape == (3, 2)
    assert np.array_equal(random.split(old, 3), random.key_data(random.split(new, 3)))
    assert np.array_equal(random.fold_in(old, 4), random.key_data(random.fold_in(new, 4)))
    assert np.array_equal(random.normal(old, (5,)), random.normal(new, (5,)))
    assert np.array_equal(random.normal(np.asarray(old), (5,)), random.normal(new, (5,)))


def test_vmap_and_jit_draw_what_a_loop_draws():
    keys = random.split(random.key(1), 4)
    mapped = fdl.vmap(lambda k: random.uniform(k, (3,)))(keys)
    assert np.array_equal(mapped, np.stack([random.uniform(k, (3,)) for k in keys]))
    assert np.array_equal(fdl.jit(lambda k: random.bits(k, (3, 2)))(keys[0]), random.bits(keys[0], (3, 2)))
    folded = fdl.vmap(random.fold_in, in_axes=(None, 0))(keys[0], fnp.arange(3))
    assert np.array_equal(random.key_data(folded), random.key_data(random.split(keys[0], 3)))
    jitted = fdl.jit(lambda seed: random.key_data(random.split(random.key(seed))))
    assert np.array_equal(jitted(np.int32(8)), random.key_data(random.split(random.key(8))))


def test_keys_are_compared():
    keys = random.split(random.key(0))
    assert fnp.array_equal(keys, keys, equal_nan=True) and not fnp.array_equal(keys, keys[::-1], equal_nan=True)


def test_keys_are_chosen_elementwise():
    first, second = random.split(random.key(0)), random.split(random.key(1))
    mask = np.array([True, False])
    expected = np.where(mask[:, None], random.key_data(first), random.key_data(second))
    for choose in (fdl.lax.select, lambda m, a, b: fdl.lax.select_n(m, b, a), fnp.where):
        for f in (choose, fdl.jit(choose), fdl.vmap(choose)):
            np.testing.assert_array_equal(np.asarray(random.key_data(f(mask, first, second))), expected)


def test_bad_keys_are_refused():
    with pytest.raises(DtypeError, match=r"fdl.random.key\(0\)"):
        random.normal(0, (3,))
    with pytest.raises(DtypeError, match=r"f32\[2\]"):
        random.normal(fnp.ones(2), (3,))
    with pytest.raises(ShapeError, match="vmap"):
        random.normal(random.split(random.key(0)), (3,))
    with pytest.raises(DtypeError, match="integer scalar"):
        random.key(1.5)
    with pytest.raises(ValueError, match="threefry2x32"):
        random.key(0, impl="rbg")


def test_few_and_many_elements_are_computed_alike():
    keys = random.split(random.key(9), 50)
    many = np.asarray(random.bits(keys[7], (100,), "uint64"))
    assert np.array_equal(random.bits(keys[7], (8,), "uint64"), many[:8])
    by_key = np.asarray(random.key_data(fdl.vmap(random.split)(keys)))
    assert np.array_equal(random.key_data(random.split(keys[7])), by_key[7])


def test_the_generator_of_a_key_is_told_by_its_dtype_too():
    kind = random.key_dtype("threefry2x32")
    for same in (kind, "threefry2x32", random.key(1).dtype):
        assert random.key_data(random.key(7, dtype=same)).tolist() == [0, 7]
        assert random.wrap_key_data(np.zeros(2, np.uint32), dtype=same).dtype == kind
    for wrong in ({"dtype": "rbg"}, {"dtype": np.dtype("float32")}, {"impl": "threefry2x32", "dtype": kind}):
        with pytest.raises(ValueError, match="generator"):
            random.key(7, **wrong)
