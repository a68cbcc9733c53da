"""Exchanges between examples, and collectives over groups, against NumPy over the whole batch."""

import numpy as np
import pytest

import fdl
from fdl import lax
from fdl.errors import ShapeError
from tests.api.check import assert_close, check_derivatives

GROUPS = [[0, 2], [3, 1]]


def over(f, **options):
    return fdl.vmap(f, axis_name="i", **options)


@pytest.mark.parametrize(("split", "concat"), [(0, 0), (1, 0), (0, 2), (-1, 1)])
def test_all_to_all(rng, split, concat):
    x = rng.normal(size=(3, 3, 3, 3))
    found = fdl.jit(over(lambda v: lax.all_to_all(v, "i", split, concat)))(x)
    expected = [np.moveaxis(np.take(x, n, axis=1 + split % 3), 0, concat) for n in range(3)]
    assert_close(found, np.stack(expected))


@pytest.mark.parametrize(("split", "concat"), [(0, 1), (1, 1), (1, 0)])
def test_all_to_all_tiled(rng, split, concat):
    x = rng.normal(size=(2, 4, 6))
    found = over(lambda v: lax.all_to_all(v, "i", split, concat, tiled=True))(x)
    expected = [np.concatenate([np.split(row, 2, split)[n] for row in x], concat) for n in range(2)]
    assert_close(found, np.stack(expected))


def test_all_to_all_within_groups(rng):
    x = rng.normal(size=(4, 2, 3))
    found = over(lambda v: lax.all_to_all(v, "i", 0, 0, axis_index_groups=GROUPS))(x)
    for group in GROUPS:
        for place, example in enumerate(group):
            assert_close(found[example], x[group, place])


def test_all_to_all_has_derivatives(rng):
    check_derivatives(over(lambda v: lax.all_to_all(v, "i", 0, 1) ** 2), rng.normal(size=(2, 2, 3)))


def test_all_to_all_refuses_what_cannot_be_cut():
    with pytest.raises(ShapeError, match=r"distributes axis 0 of f32\[3\] over 2 examples"):
        over(lambda v: lax.all_to_all(v, "i", 0, 0))(np.ones((2, 3), np.float32))


def test_pswapaxes_pshuffle_pbroadcast(rng):
    x = rng.normal(size=(3, 2, 3))
    assert_close(over(lambda v: lax.pswapaxes({"a": v}, "i", 1)["a"])(x), x.transpose(2, 1, 0))
    assert_close(over(lambda v: lax.pshuffle(v, "i", [2, 0, 1]))(x), x[[2, 0, 1]])
    assert_close(over(lambda v: lax.pbroadcast(v, "i", 2))(x), np.stack([x[2]] * 3))
    with pytest.raises(ValueError, match="permutation of 3 examples"):
        over(lambda v: lax.pshuffle(v, "i", [0, 0, 1]))(x)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min"])
def test_groups_are_combined_by_themselves(rng, name):
    x = rng.normal(size=(4, 3))
    collective = getattr(lax, f"p{name}")
    found = fdl.jit(over(lambda v: collective({"a": v}, "i", axis_index_groups=GROUPS)["a"]))(x)
    expected = np.empty_like(x)
    for group in GROUPS:
        expected[group] = getattr(x[group], name)(0)
    assert_close(found, expected)


def test_groups_gather_by_themselves(rng):
    x = rng.normal(size=(4, 3))
    found = over(lambda v: lax.all_gather(v, "i", axis_index_groups=GROUPS, axis=1))(x)
    assert_close(found[3], x[[3, 1]].T)
    assert over(lambda v: lax.psum(1, "i", axis_index_groups=GROUPS))(x).tolist() == [2] * 4
    with pytest.raises(ValueError, match="4 examples in groups of one size"):
        over(lambda v: lax.psum(v, "i", axis_index_groups=[[0, 1, 2], [3]]))(x)
