"""Slices, padding, gather and scatter against loops that follow their definitions."""

from itertools import product

import numpy as np
import pytest

from fdl.array import as_array
from fdl.core.interpret import evaluate
from fdl.core.primitive import Linear
from fdl.dtypes import bfloat16, key
from fdl.errors import DtypeError, ShapeError
from fdl.ops.indexing import Gather, GatherDimensionNumbers, Scatter, ScatterDimensionNumbers, take_along
from fdl.ops.slicing import DynamicSlice, DynamicUpdateSlice, Pad, Slice, dynamic_slice
from fdl.transforms.linearize import linearize_values
from fdl.transforms.transpose import backward


def run(operation, *arrays):
    return np.asarray(evaluate(operation, arrays)[0])


def starts_of(x_shape, sizes, index_map, batching, indices_batching, indices, mode):
    """(place, start in the operand, whether the window lies inside) for each index vector, one by one."""
    for place in np.ndindex(indices.shape[:-1]):
        start = [0] * len(x_shape)
        for axis, value in zip(index_map, indices[place], strict=True):
            start[axis] = int(value)
        for axis, other in zip(batching, indices_batching, strict=True):
            start[axis] = place[other]
        inside = all(0 <= s <= n - size for s, n, size in zip(start, x_shape, sizes, strict=True))
        moved = [min(max(s, 0), n - size) for s, n, size in zip(start, x_shape, sizes, strict=True)]
        yield place, moved, inside or mode != "fill"


def spread(place, window, offset, ndim):
    """Where the element `window` of the window at `place` is found in the result of a gather."""
    places, within = iter(place), iter(window)
    return tuple(next(within) if a in offset else next(places) for a in range(ndim))


def naive_gather(n, sizes, mode, x, indices, fill):
    dropped = n.collapsed_slice_dims + n.operand_batching_dims
    kept = [a for a in range(x.ndim) if a not in dropped]
    ndim = indices.ndim - 1 + len(kept)
    shape = spread(indices.shape[:-1], [sizes[a] for a in kept], n.offset_dims, ndim)
    out = np.zeros(shape, x.dtype)
    arguments = (n.start_index_map, n.operand_batching_dims, n.start_indices_batching_dims, indices, mode)
    for place, start, inside in starts_of(x.shape, sizes, *arguments):
        for window in np.ndindex(*sizes):
            target = spread(place, [window[a] for a in kept], n.offset_dims, ndim)
            out[target] = x[tuple(s + w for s, w in zip(start, window, strict=True))] if inside else fill
    return out


def naive_scatter(function, n, sizes, mode, x, indices, updates):
    dropped = n.inserted_window_dims + n.operand_batching_dims
    kept = [a for a in range(x.ndim) if a not in dropped]
    out = x.copy()
    arguments = (
        n.scatter_dims_to_operand_dims,
        n.operand_batching_dims,
        n.scatter_indices_batching_dims,
        indices,
        mode,
    )
    for place, start, inside in starts_of(x.shape, sizes, *arguments):
        for window in np.ndindex(*sizes):
            source = spread(place, [window[a] for a in kept], n.update_window_dims, updates.ndim)
            target = tuple(s + w for s, w in zip(start, window, strict=True))
            if inside:
                out[target] = function(out[target], updates[source])
    return out


def random_numbers(rng):
    """Dimension numbers, window and shapes of a random gather of an operand with four axes."""
    shape = tuple(int(n) for n in rng.integers(1, 5, 4))
    kinds = rng.choice(["window", "collapsed", "batching"], 4, p=[0.5, 0.35, 0.15])
    collapsed = tuple(a for a in range(4) if kinds[a] == "collapsed")
    batching = tuple(a for a in range(4) if kinds[a] == "batching")
    windows = [a for a in range(4) if kinds[a] == "window"]
    sizes = tuple(int(rng.integers(1, shape[a] + 1)) if a in windows else 1 for a in range(4))
    index_map = tuple(int(a) for a in rng.permutation([a for a in range(4) if a not in batching])[: rng.integers(0, 3)])
    places = [int(n) for n in rng.integers(1, 4, rng.integers(0, 3))]
    indices_batching = []
    for axis in batching:
        where = int(rng.integers(0, len(places) + 1))
        places.insert(where, shape[axis])
        indices_batching = [b + (b >= where) for b in indices_batching] + [where]
    ndim = len(places) + len(windows)
    offset = tuple(sorted(int(a) for a in rng.permutation(ndim)[: len(windows)]))
    numbers = GatherDimensionNumbers(offset, collapsed, index_map, batching, tuple(indices_batching))
    return numbers, sizes, shape, (*places, len(index_map))


@pytest.mark.parametrize("seed", range(40))
def test_gather_and_scatter_of_random_dimension_numbers(seed):
    rng = np.random.default_rng(seed)
    g, sizes, shape, places = random_numbers(rng)
    x, indices = rng.normal(size=shape), rng.integers(-2, 5, places)
    s = ScatterDimensionNumbers(
        g.offset_dims,
        g.collapsed_slice_dims,
        g.start_index_map,
        g.operand_batching_dims,
        g.start_indices_batching_dims,
    )
    for mode in ("fill", "clip"):
        found = run(Gather(g, sizes, mode), x, indices)
        np.testing.assert_array_equal(found, naive_gather(g, sizes, mode, x, indices, np.nan))
        updates = rng.normal(size=found.shape)
        for kind, function in (("set", lambda _, y: y), ("add", np.add), ("mul", np.multiply), ("max", np.maximum)):
            expected = naive_scatter(function, s, sizes, mode, x, indices, updates)
            np.testing.assert_allclose(run(Scatter(kind, s, mode), x, indices, updates), expected, 1e-12, 1e-12)


ROWS = GatherDimensionNumbers((), (0,), (0,))
ROWS_BACK = ScatterDimensionNumbers((), (0,), (0,))


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [(np.float32, np.nan), (bfloat16, np.nan), (np.int16, -(2**15)), (np.uint8, 255), (np.bool_, True)],
    ids=str,
)
def test_what_lies_out_of_bounds(dtype, fill):
    x = np.array([0, 1, 0]).astype(dtype)
    indices = np.array([[1], [3], [-1]])
    np.testing.assert_array_equal(run(Gather(ROWS, (1,)), x, indices).astype(float), [1, fill, fill])
    np.testing.assert_array_equal(run(Gather(ROWS, (1,), "clip"), x, indices).astype(float), [1, 0, 0])
    np.testing.assert_array_equal(run(Gather(ROWS, (1,), "fill", 0), x, indices).astype(float), [1, 0, 0])


def test_huge_unsigned_indices_are_out_of_bounds_too():
    x, far = np.arange(3.0), np.array([[2**64 - 1]], np.uint64)
    assert np.isnan(run(Gather(ROWS, (1,)), x, far)) and run(Gather(ROWS, (1,), "clip"), x, far) == 2
    np.testing.assert_array_equal(run(Scatter("add", ROWS_BACK), x, far, np.ones(1)), x)


def test_the_last_of_several_updates_stays_and_gets_the_derivative():
    x, indices = np.zeros(3), np.array([[1], [1], [2], [9]])
    operation = Scatter("set", ROWS_BACK)
    np.testing.assert_array_equal(run(operation, x, indices, np.array([5.0, 6, 7, 8])), [0, 6, 7])
    _, program, residuals, _ = linearize_values(
        lambda a, u: [operation(a, indices, u)], [as_array(x), as_array(np.ones(4))], [True, True]
    )
    args = [*residuals, *(Linear(v.type) for v in program.inputs[len(residuals) :])]
    of_x, of_updates = backward(program, args, [as_array(np.array([10.0, 20.0, 30.0]))])[len(residuals) :]
    np.testing.assert_array_equal(of_x, [10, 0, 0])
    np.testing.assert_array_equal(of_updates, [0, 20, 30, 0])


def test_half_scatters_add_in_float32():
    x = np.ones(1, bfloat16)
    updates = np.full(512, 2.0**-10, bfloat16)
    assert run(Scatter("add", ROWS_BACK), x, np.zeros((512, 1), np.int32), updates) == 1.5


def test_keys_move_unchanged():
    keys = np.arange(12, dtype=np.uint32).view(key)
    np.testing.assert_array_equal(run(Gather(ROWS, (1,)), keys, np.array([[4], [0]])), keys[[4, 0]])
    np.testing.assert_array_equal(run(Slice((1,), (5,), (2,)), keys), keys[1:5:2])
    np.testing.assert_array_equal(run(Scatter("set", ROWS_BACK), keys, np.array([[5]]), keys[:1])[5], keys[0])


def test_take_along_an_axis(rng):
    x, indices = rng.normal(size=(3, 4, 2)), rng.integers(0, 4, (3, 5, 2))
    np.testing.assert_array_equal(take_along(as_array(x), as_array(indices), 1), np.take_along_axis(x, indices, 1))


def test_mistakes_are_named():
    x = np.zeros((3, 2))
    with pytest.raises(DtypeError, match="indices must be integers"):
        Gather(ROWS, (1, 1))(x, np.zeros((1, 1)))
    with pytest.raises(ShapeError, match="does not fit into shape"):
        Gather(GatherDimensionNumbers((0,), (0,), (0,)), (1, 3))(x, np.zeros((1, 1), int))
    with pytest.raises(ValueError, match="mode must be one of fill, clip"):
        Gather(GatherDimensionNumbers((1,), (0,), (0,)), (1, 2), "drop")(x, np.zeros((1, 1), int))
    with pytest.raises(ShapeError, match="does not lie within"):
        Slice((0, 0), (4, 2), (1, 1))(x)


def naive_pad(x, value, low, high, interior):
    for axis in range(x.ndim):
        rows = list(np.moveaxis(x, axis, 0))
        filler = np.full(np.moveaxis(x, axis, 0).shape[1:], value)
        spaced = [v for i, row in enumerate(rows) for v in ([filler] * interior[axis] if i else []) + [row]]
        spaced = [filler] * low[axis] + spaced if low[axis] >= 0 else spaced[-low[axis] :]
        spaced = spaced + [filler] * high[axis] if high[axis] >= 0 else spaced[: len(spaced) + high[axis]]
        x = np.moveaxis(np.array(spaced), 0, axis)
    return x


@pytest.mark.parametrize(("low", "high", "interior"), list(product((-2, 0, 3), (-1, 0, 2), (0, 1, 3))))
def test_padding_with_gaps_and_cuts(low, high, interior, rng):
    x = rng.normal(size=(4, 3))
    operation = Pad((low, 1), (high, 0), (interior, 1))
    np.testing.assert_array_equal(run(operation, x, np.float64(7)), naive_pad(x, 7, (low, 1), (high, 0), (interior, 1)))


def test_dynamic_slices_move_inside():
    x = np.arange(5)
    for start, expected in ((-100, [0, 1, 2]), (0, [0, 1, 2]), (2, [2, 3, 4]), (4, [2, 3, 4]), (2**31 - 1, [2, 3, 4])):
        np.testing.assert_array_equal(run(DynamicSlice((3,)), x, np.int32(start)), expected)
    changed = run(DynamicUpdateSlice(), x, np.array([7, 8]), np.int8(-3))
    np.testing.assert_array_equal(changed, [7, 8, 2, 3, 4])
    with pytest.raises(DtypeError, match="integer starts"):
        dynamic_slice(as_array(x), [np.float32(0)], (3,))
    with pytest.raises(ShapeError, match="does not fit"):
        dynamic_slice(as_array(x), [np.int32(0)], (6,))
