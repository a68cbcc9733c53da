"""Indices are right whatever their dtype: those that are returned hold every place, those that are taken reach it."""

import tracemalloc

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, nn
from fdl.dtypes import INTEGER
from fdl.errors import DtypeError, IndexingError

LONG = 2**31 + 10
X = np.arange(300, dtype=np.int32) * 3
SETTINGS = [pytest.param(dtype, jitted, id=f"{dtype}-{'jit' if jitted else 'eager'}")
            for dtype in INTEGER for jitted in (False, True)]  # fmt: skip


def _types(f, *shapes, dtype=np.int8):
    """The dtypes of the results of f for arrays of these shapes, none of which is made."""
    out = fdl.eval_shape(f, *(fdl.ShapeDtypeStruct(s, dtype) for s in shapes))
    return [leaf.dtype for leaf in fdl.tree.leaves(out)]


@pytest.mark.parametrize(
    "f",
    [
        fnp.argmax, fnp.argmin, fnp.nanargmax, fnp.nanargmin, fnp.argsort, fnp.count_nonzero,
        lambda x: fnp.argmax(x, axis=0), lambda x: fnp.argsort(x, descending=True), lambda x: fnp.lexsort((x, x)),
        lambda x: fnp.argpartition(x, 3), lambda x: fnp.searchsorted(x, 3), lambda x: fnp.digitize(3, x),
        lambda x: fnp.nonzero(x, size=3), lambda x: fnp.argwhere(x, size=3), lambda x: fnp.flatnonzero(x, size=3),
        lambda x: fnp.where(x, size=3), lambda x: fnp.bincount(x, length=3), lambda x: lax.top_k(x, 2)[1],
        lambda x: fnp.unique(x, True, True, True, size=3)[1:], lambda x: fnp.unravel_index(fnp.argmax(x), x.shape),
    ],
)  # fmt: skip
def test_places_and_counts_of_long_arrays_are_int64(f):
    assert set(_types(f, (LONG,))) == {np.dtype(np.int64)}
    assert set(_types(f, (2**20,))) == {np.dtype(np.int32)}


def test_a_range_of_large_integers_does_not_wrap():
    found = fnp.arange(2**31 - 2, 2**31 + 2)
    assert found.dtype == np.int64 and found.tolist() == [2**31 - 2, 2**31 - 1, 2**31, 2**31 + 1]
    assert fnp.arange(-(2**31) - 2, -(2**31)).tolist() == [-(2**31) - 2, -(2**31) - 1]


def test_the_flattened_extent_decides_without_an_axis():
    assert _types(fnp.argmax, (2**16, 2**16)) == [np.int64]
    assert _types(lambda x: fnp.argmax(x, axis=1), (2**16, 2**16)) == [np.int32]


@pytest.mark.parametrize("find", [lax.argmax, lax.argmin])
def test_a_dtype_that_cannot_hold_the_places_is_refused(find):
    assert int(find(fnp.asarray(X[:128]), 0, np.int8)) in (0, 127)
    with pytest.raises(DtypeError, match="int8 cannot hold the places"):
        find(fnp.asarray(X[:129]), 0, np.int8)
    with pytest.raises(DtypeError, match="int8 cannot hold the places"):
        fnp.argsort(fnp.asarray(X[:129]), dtype=np.int8)


def _indices(dtype):
    """Some in bounds, all that a dtype holds near its ends, negative ones if it has them."""
    ends = np.iinfo(dtype)
    found = [0, 5, 127, min(ends.max, 200), ends.max, ends.max - 1] + ([-1, -3, -100, ends.min] if ends.min else [])
    return np.array(found, dtype)


def _run(f, jitted, *args):
    return np.asarray((fdl.jit(f) if jitted else f)(*args))


def _places(i):
    """The indices as Python integers, negative ones counted from the end of X."""
    return [int(v) + X.size * (int(v) < 0) for v in i]


@pytest.mark.parametrize("dtype, jitted", SETTINGS)
@pytest.mark.parametrize("mode", ["clip", "wrap", "fill"])
def test_take(dtype, jitted, mode):
    i = _indices(dtype)
    expected = {
        # As in NumPy: with "clip" negative indices are below the first.
        "clip": [X[max(0, min(int(v), X.size - 1))] for v in i],
        "wrap": [X[int(v) % X.size] for v in i],
        "fill": [X[p] if 0 <= p < X.size else -7 for p in _places(i)],
    }[mode]
    fill = {"fill_value": -7} if mode == "fill" else {}
    np.testing.assert_array_equal(_run(lambda x, i: fnp.take(x, i, mode=mode, **fill), jitted, X, i), expected)


@pytest.mark.parametrize("dtype, jitted", SETTINGS)
def test_get_and_take_along_axis(dtype, jitted):
    i = _indices(dtype)
    clipped = [X[max(0, min(p, X.size - 1))] for p in _places(i)]
    filled = [X[p] if 0 <= p < X.size else -7 for p in _places(i)]
    for read, expected in (
        (lambda x, i: fnp.asarray(x).at[i].get(mode="clip"), clipped),
        (lambda x, i: fnp.asarray(x).at[i].get(mode="fill", fill_value=-7), filled),
        (lambda x, i: fnp.take_along_axis(x, i, 0, mode="clip"), clipped),
        (lambda x, i: fnp.take_along_axis(x, i, 0, mode="fill", fill_value=-7), filled),
        (
            lambda x, i: fnp.stack([fnp.asarray(x).at[j].get(mode="fill", fill_value=-7) for j in i]),
            filled,
        ),
    ):
        np.testing.assert_array_equal(_run(read, jitted, X, i), expected)
    inside = np.array([p for p in i if -X.size <= int(p) < X.size], dtype)
    np.testing.assert_array_equal(_run(lambda x, i: fnp.asarray(x)[i], jitted, X, inside), X[inside])


@pytest.mark.parametrize("dtype, jitted", SETTINGS)
def test_writes(dtype, jitted):
    i = _indices(dtype)
    counts, clipped = np.zeros_like(X), np.zeros_like(X)
    for p in _places(i):
        if 0 <= p < X.size:
            counts[p] += 1
        clipped[max(0, min(p, X.size - 1))] += 1
    zeros = np.zeros_like(X)
    for write, expected in (
        (lambda x, i: fnp.asarray(x).at[i].add(1, mode="drop"), counts),
        (lambda x, i: fnp.asarray(x).at[i].set(1, mode="drop"), counts > 0),
        (lambda x, i: fnp.asarray(x).at[i].max(1, mode="clip"), clipped > 0),
        (lambda x, i: fnp.asarray(x).at[i].add(1, mode="clip"), clipped),
    ):
        np.testing.assert_array_equal(_run(write, jitted, zeros, i), expected)


@pytest.mark.parametrize("dtype, jitted", SETTINGS)
def test_dynamic_slices(dtype, jitted):
    for start in _indices(dtype):
        place = max(0, min(_places([start])[0], X.size - 2))
        read = _run(lambda x, s: lax.dynamic_slice(x, (s,), (2,)), jitted, X, start)
        np.testing.assert_array_equal(read, X[place : place + 2])
        written = _run(lambda x, s: lax.dynamic_update_slice(x, fnp.array([-1, -2], np.int32), (s,)), jitted, X, start)
        assert np.flatnonzero(written < 0).tolist() == [place, place + 1]


@pytest.mark.parametrize("dtype, jitted", SETTINGS)
def test_classes_segments_and_branches(dtype, jitted):
    i = _indices(dtype)
    hot = np.array([[int(v) == c for c in range(300)] for v in i])
    np.testing.assert_array_equal(_run(lambda i: nn.one_hot(i, 300), jitted, i), hot)
    sums = _run(lambda i: fdl.ops.segment_sum(fnp.ones(i.shape), i, 300), jitted, i)
    np.testing.assert_array_equal(sums, hot.sum(0))
    counts = _run(lambda i: fnp.bincount(i, length=300), jitted, i)
    np.testing.assert_array_equal(counts, [sum(max(int(v), 0) == c for v in i) for c in range(300)])
    branches = [lambda n=n: fnp.asarray(n, np.int32) for n in range(150)]
    for v in i[:5]:
        assert _run(lambda v: lax.switch(v, branches), jitted, v) == max(0, min(int(v), 149))


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize("dtype", INTEGER, ids=str)
def test_flat_places_of_grids_longer_than_the_dtype(dtype, jitted):
    rows, columns = np.array([0, 100, 99], dtype), np.array([1, 2, 9], dtype)
    flat = _run(lambda r, c: fnp.ravel_multi_index((r, c), (120, 10), mode="clip"), jitted, rows, columns)
    np.testing.assert_array_equal(flat, [1, 1002, 999])
    i = np.array([0, 100, 127], dtype)
    for got, expected in zip(fnp.unravel_index(i, (2, 300)), np.unravel_index(i, (2, 300)), strict=True):
        np.testing.assert_array_equal(got, expected)
    for shift in np.array([3, 127], dtype):
        np.testing.assert_array_equal(_run(lambda x, s: fnp.roll(x, s), jitted, X, shift), np.roll(X, int(shift)))


@pytest.mark.parametrize("index", [300, -301, 2**40, -(2**40), 2**64 - 1])
def test_known_indices_out_of_bounds_are_an_error(index):
    x = fnp.asarray(X)
    dtype = np.uint64 if index >= 2**63 else np.int64
    for read in (lambda: x[np.array([index], dtype)], lambda: fnp.take(x, np.array([index], dtype)), lambda: x[index]):
        with pytest.raises(IndexingError, match="out of bounds"):
            read()
    assert int(lax.dynamic_slice(x, (index,), (1,))[0]) == (X[-1] if index > 0 else X[0])


@pytest.mark.parametrize("dtype", ["bool", "int8", "int16", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ["sum", "prod", "mean", "max", "min", "cumsum", "cumprod", "count_nonzero"])
def test_an_eager_reduction_converts_block_by_block(name, dtype):
    x = fnp.ones((2048, 512), dtype)
    getattr(fnp, name)(x)  # what the first call imports, compiles and allocates does not count
    tracemalloc.start()
    out = getattr(fnp, name)(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A mask for count_nonzero, or an int8 copy for the extrema of booleans, is a byte an element.
    kept = out.nbytes if out.size > 1 else x.size if name in ("max", "min", "count_nonzero") else 0
    assert peak <= kept + 3 * 2**18, f"{peak} bytes for {x.nbytes}"


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "float16", "bfloat16"])
@pytest.mark.parametrize("axis", [None, 0, 1, (0, 2), 2])
def test_blocks_change_no_result(rng, dtype, axis):
    x = fnp.asarray(rng.integers(1, 4, (3, 70_001, 2))).astype(dtype)
    wide = np.asarray(x, np.float64)
    total = np.asarray(fnp.sum(x, axis), np.float64)
    rtol = {"float16": 1e-3, "bfloat16": 8e-3}.get(dtype, 0)
    limit = 65519 if dtype == "float16" else np.inf
    expected = wide.sum(axis)
    np.testing.assert_allclose(total, np.where(expected > limit, np.inf, expected), rtol)
    np.testing.assert_allclose(np.asarray(fnp.mean(x, axis), np.float64), wide.mean(axis), max(rtol, 1e-6))
    np.testing.assert_array_equal(np.asarray(fnp.max(x, axis), np.float64), wide.max(axis))
    if not isinstance(axis, tuple):
        running = np.asarray(fnp.cumsum(x, axis, dtype=np.int32 if rtol == 0 else None), np.float64)
        exact = wide.cumsum(axis)
        np.testing.assert_allclose(running, np.where(exact > limit, np.inf, exact), rtol)
