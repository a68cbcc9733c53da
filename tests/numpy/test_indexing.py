"""Indexing and indexed updates against NumPy, eagerly and compiled."""

from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.errors import ConcretizationError, IndexingError, RangeError, ShapeError

SHAPE = (3, 4, 5)
a, n = np.array, None
ALL = slice(None)
INDICES: list[Any] = [
    0, -1, (), ..., n, np.int64(2), (1, 2), (1, -2, 3), (ALL, 1), (..., 2), (0, ..., 1), (ALL, ALL, -1),
    slice(1, 3), slice(None, None, -1), slice(None, None, 2), slice(10, 1, -2), slice(3, 3), slice(-2, None),
    (ALL, slice(3, 0, -2), slice(1, 5, 3)), (n, 1, n, ALL, n), (ALL, n, 0), (slice(0, 2), ..., n, slice(4, None, -3)),
    a([2, 0]), a([[0, 1], [2, 0]]), a([], int), a(1), (a([0, 2]), a([1, 3])), (a([[0], [2]]), a([1, 3])),
    (ALL, a([3, 0, 0])), (ALL, ALL, a([[4, 1]])), (a([0, 1]), ALL, a([2, 3])), (1, ALL, a([2, 3])),
    (ALL, 1, a([2, 3])), (ALL, a([2, 3]), 1), (a([1]), n, a([2])), (n, a([1, 2]), n, ALL, a([0])),
    (a([1, 0]), slice(1, 4, 2)), (slice(2, None, -1), a([1, 0]), slice(0, 4, 3)), (..., a([0, 1]), a([1, 1])),
    (a([-1, -3]), a([-4, 0]), -1), (a([0, 2], np.uint8), a([1, 3], np.int8)),
    # Lists, and tuples within the index, are arrays.
    [2, 0], [[0, 1], [2, 0]], [], [[]], ([0, 1], [1, 2]), ((0, 1), (1, 2)), ([[0], [2]], [1, 3]), (ALL, [3, 0, 0]),
    ([0, 1], ALL, (2, 3)), (..., [0, 1]), ([1, 0], n, 1), (1, [2, 3]), (slice(1, None), [0], [1]), ([0, 2], a([1, 3])),
    ([np.int64(1), -1], 0), [a(1), 2], (ALL, [], 1), ([], ALL, []),
    # A scalar boolean is a mask of no axes.
    True, False, np.True_, (True, 1), (False, ALL, 1), (..., False), (ALL, True), (n, False), (a([0, 1]), ALL, True),
    (True, [0, 2], 1), (True, True), (True, False), ([1], False), (True, n, 0, ALL, [1]),
]  # fmt: skip
MASKS: list[Any] = [
    a([True, False, True]), (ALL, a([True, False, True, True])), a([False] * 3), (a([True, False, True]), a([1, 2])),
    (..., a([True, True, False, False, True])),
    [True, False, True], (ALL, [True, False, True, True]), ([True, False, True], [1, 2]), [False] * 3,
    (1, [True] * 4, True), a(True), a(False), (a(True), 0),
]  # fmt: skip


def given(index: Any) -> Any:
    """The index with its NumPy arrays as arrays of ours."""
    if isinstance(index, tuple):
        return tuple(given(i) for i in index)
    return fnp.asarray(index) if isinstance(index, np.ndarray) else index


def traced(index: Any, function: Any, x: np.ndarray) -> Any:
    """`function(x, index)` compiled, the integer arrays of the index being arguments."""
    parts = index if isinstance(index, tuple) else (index,)
    arrays = [p for p in parts if isinstance(p, np.ndarray)]

    @fdl.jit
    def run(x: Any, arrays: Any) -> Any:
        rest = iter(arrays)
        return function(x, tuple(next(rest) if isinstance(p, np.ndarray) else p for p in parts))

    return run(x, arrays)


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=SHAPE)


@pytest.mark.parametrize("index", INDICES + MASKS, ids=str)
def test_reading_agrees_with_numpy(index: Any, x: np.ndarray) -> None:
    np.testing.assert_array_equal(np.asarray(fnp.asarray(x)[given(index)]), x[index])


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_reading_agrees_with_numpy_when_indices_are_traced(index: Any, x: np.ndarray) -> None:
    np.testing.assert_array_equal(np.asarray(traced(index, lambda x, i: x[i], x)), x[index])


@pytest.mark.parametrize("kind", ["set", "add", "multiply", "min", "max"])
@pytest.mark.parametrize("index", INDICES + MASKS, ids=str)
def test_writing_agrees_with_numpy(index: Any, kind: str, x: np.ndarray, rng: np.random.Generator) -> None:
    values = rng.normal(size=x[index].shape)
    expected = x.copy()
    if kind == "set":
        # Of several values for one place any may stay: let them be equal.
        values = np.broadcast_to(7.0, values.shape)
        expected[index] = values
    else:
        ufunc = {"add": np.add, "multiply": np.multiply, "min": np.minimum, "max": np.maximum}[kind]
        ufunc.at(expected, index, values)
    actual = getattr(fnp.asarray(x).at[given(index)], kind)(values)
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=1e-14)


@pytest.mark.parametrize("index", INDICES[::2], ids=str)
def test_writing_agrees_with_numpy_when_indices_are_traced(index: Any, x: np.ndarray) -> None:
    expected = x.copy()
    np.add.at(expected, index, 2.0)
    actual = traced(index, lambda x, i: x.at[i].add(2.0), x)
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=1e-14)


@pytest.mark.parametrize("index", [i for i in INDICES + MASKS if isinstance(i, (list, bool))], ids=str)
def test_lists_and_booleans_under_transforms(index: Any, x: np.ndarray, rng: np.random.Generator) -> None:
    weights = rng.normal(size=x[index].shape)
    expected = np.zeros(SHAPE)
    np.add.at(expected, index, weights)
    np.testing.assert_allclose(np.asarray(fdl.jit(fdl.grad(lambda x: (x[index] * weights).sum()))(x)), expected)
    many = np.stack([x, -x])
    np.testing.assert_array_equal(np.asarray(fdl.vmap(lambda x: x[index])(many)), np.stack([x[index], -x[index]]))


def test_traced_numbers_in_a_list() -> None:
    x = np.arange(5.0)
    np.testing.assert_array_equal(np.asarray(fdl.jit(lambda x, i: x[[i, i + 1, 0]])(x, 2)), x[[2, 3, 0]])


EMPTY = np.zeros((0, 3))


@pytest.mark.parametrize(
    "index",
    [[], a([], int), (ALL, [0, 2]), a([], bool), np.zeros((0, 3), bool), ([], 1), (a([], bool), 1), (..., [1]), True],
    ids=str,
)
def test_arrays_without_elements(index: Any) -> None:
    """As NumPy: what selects nothing of nothing is no error, eagerly, compiled, and with traced indices."""
    for found in (
        fnp.asarray(EMPTY)[given(index)],
        fdl.jit(lambda x: x[given(index)])(EMPTY),
        fdl.vmap(lambda x: x[given(index)])(EMPTY[None])[0],
        traced(index, lambda x, i: x[i], EMPTY),
    ):
        assert found.shape == EMPTY[index].shape and found.dtype == np.float64
    for write in (lambda x: x.at[index].set(1.0), fdl.jit(lambda x: x.at[index].add(1.0))):
        assert write(fnp.asarray(EMPTY)).shape == EMPTY.shape


def test_an_empty_mask_selects_nothing_of_any_extent() -> None:
    # NumPy refuses this one; JAX, run beside, gives no elements.
    x = fnp.arange(3)
    assert x[a([], bool)].shape == (0,) and fdl.jit(lambda x: x[fnp.array([], bool)])(x).shape == (0,)
    assert x.at[a([], bool)].set(7).tolist() == [0, 1, 2]


def test_elements_of_an_empty_axis_are_an_error_that_names_it() -> None:
    for read in (
        lambda i: fnp.zeros((0, 3))[i], lambda i: fnp.zeros((0, 3)).at[i].get(mode="fill"),
        lambda i: fnp.take(fnp.zeros((0, 3)), i, 0, mode="clip"),
    ):  # fmt: skip
        for index in (1, fnp.array([0, 1])):
            with pytest.raises(IndexingError, match=r"axis 0 of an array of shape \(0, 3\) has no elements"):
                fdl.jit(read)(index)


def test_other_updates(x: np.ndarray) -> None:
    v = fnp.asarray(x)
    index = a([0, 2])
    for kind, new in (("divide", x[index] / 4), ("power", x[index] ** 2), ("subtract", x[index] - 3)):
        expected = x.copy()
        expected[index] = new
        argument = {"divide": 4, "power": 2, "subtract": 3}[kind]
        np.testing.assert_allclose(np.asarray(getattr(v.at[index], kind)(argument)), expected)
    np.testing.assert_allclose(np.asarray(v.at[1].apply(lambda y: -y)[1]), -x[1])
    assert fnp.zeros(3, int).at[0].set(2.7).dtype == fnp.int32


def test_slices_known_beforehand_need_no_gather(x: np.ndarray) -> None:
    program = str(fdl.make_program(lambda x: x[1, ::-1, 0:4:2])(x))
    assert "gather" not in program and "slice" in program and "reverse" in program
    program = str(fdl.make_program(lambda x, i: x[i, 1:3])(x, 1))
    assert "gather" not in program and "dynamic_slice" in program
    program = str(fdl.make_program(lambda x: x.at[1, 1:3].set(0.0))(x))
    assert "scatter" not in program and "dynamic_update_slice" in program


@pytest.mark.parametrize("index", [3, -4, a([0, 3]), (0, 4), (ALL, ALL, a([-6]))], ids=str)
def test_known_indices_out_of_bounds_are_errors(index: Any, x: np.ndarray) -> None:
    v = fnp.asarray(x)
    for action in (lambda: v[given(index)], lambda: v.at[given(index)].set(0.0)):
        with pytest.raises(IndexingError, match=r"index -?\d is out of bounds for axis \d of extent \d"):
            action()


def test_traced_indices_out_of_bounds_are_clipped_or_dropped() -> None:
    x = np.arange(3.0)
    read, write = fdl.jit(lambda x, i: x[i]), fdl.jit(lambda x, i: x.at[i].set(9.0))
    places = a([1, 5, -9])
    np.testing.assert_array_equal(np.asarray(read(x, places)), [1, 2, 0])
    np.testing.assert_array_equal(np.asarray(write(x, places)), [0, 9, 2])
    assert read(x, 10) == 2 and read(x, -1) == 2 and read(x, -9) == 0


def test_modes() -> None:
    x = fnp.arange(3.0)
    places = fnp.array([1, 5, -1, -9])
    np.testing.assert_array_equal(np.asarray(x.at[places].get(mode="fill")), [1, np.nan, 2, np.nan])
    np.testing.assert_array_equal(np.asarray(x.at[places].get(mode="fill", fill_value=7)), [1, 7, 2, 7])
    np.testing.assert_array_equal(np.asarray(x.at[places].get(mode="clip")), [1, 2, 2, 0])
    np.testing.assert_array_equal(np.asarray(x.at[places].add(1.0, mode="drop")), [0, 2, 3])
    np.testing.assert_array_equal(np.asarray(x.at[places].add(1.0, mode="clip")), [1, 2, 4])
    assert np.isnan(x.at[7].get(mode="fill"))
    with pytest.raises(ValueError, match="mode must be"):
        x.at[0].get(mode="nothing")


def test_a_traced_mask_can_be_written_but_not_read() -> None:
    x = np.arange(6.0).reshape(2, 3)
    written = fdl.jit(lambda x: x.at[x > 2].set(-1.0))(x)
    np.testing.assert_array_equal(np.asarray(written), np.where(x > 2, -1, x))
    rows = fdl.jit(lambda x, m: x.at[m].add(fnp.array([1.0, 2.0, 3.0])))(x, a([False, True]))
    np.testing.assert_array_equal(np.asarray(rows), x + a([[0], [1]]) * [1, 2, 3])
    with pytest.raises(ConcretizationError, match="boolean mask"):
        fdl.jit(lambda x: x[x > 2])(x)


def test_wrong_indices_have_clear_errors() -> None:
    x = fnp.zeros((2, 3))
    for index, message in (
        (1.0, "must be an integer"), ((0, 0, 0), "too many indices"), ("a", "got 'a' of type str"),
        ([0.5], "got float"), ([None, 0], r"the sequence \[None, 0\] cannot be an index"), (a([]), "got float64"),
        ([[0], [0, 1]], "cannot be an index.*not rectangular"), ([slice(1)], "cannot be an index"),
        (([0, 1], False), r"shapes \(2,\) and \(0,\) do not broadcast"), (object(), "of type object"),
        ((..., ...), "one ellipsis"), (a([True]), "does not fit"), ((a([0, 1]), a([0, 1, 2])), "do not broadcast"),
        (slice(1.5), "must be integers"),
    ):  # fmt: skip
        with pytest.raises(IndexingError, match=message):
            x[index]
    with pytest.raises(ShapeError, match=r"values of shape \(4,\) do not broadcast to \(2,\)"):
        x.at[:, 0].set(np.zeros(4))
    with pytest.raises(TypeError, match=r"x\.at\[index\]\.set"):
        x[0] = 1


def test_written_integers_keep_all_digits() -> None:
    """As in NumPy: what the dtype of the array holds is written, else it is an error."""
    x = fnp.zeros(2, "uint32")
    for write in (lambda x: x.at[0].set(2**32 - 1), fdl.jit(lambda x: x.at[0].add(2**32 - 1))):
        assert np.asarray(write(x)).tolist() == [2**32 - 1, 0]
    for write in (lambda x: x.at[0].set(-1), fdl.jit(lambda x: x.at[0].set(-1))):
        with pytest.raises(RangeError, match="the number -1 does not fit into uint32"):
            write(x)


def test_take_and_take_along_axis(x: np.ndarray, rng: np.random.Generator) -> None:
    for axis in (None, 0, 1, -1):
        places = rng.integers(-3, 3, (2, 2))
        np.testing.assert_array_equal(np.asarray(fnp.take(x, places, axis)), np.take(x, places, axis))
        for mode in ("wrap", "clip"):
            wild = rng.integers(-9, 9, 4)
            np.testing.assert_array_equal(
                np.asarray(fnp.take(x, wild, axis, mode=mode)), np.take(x, wild, axis, mode=mode)
            )
    for axis in (0, 1, 2):
        places = rng.integers(-2, 3, tuple(2 if i == axis else m for i, m in enumerate(SHAPE)))
        expected = np.take_along_axis(x, places, axis)
        np.testing.assert_array_equal(np.asarray(fnp.take_along_axis(x, places, axis)), expected)
        np.testing.assert_array_equal(
            np.asarray(fdl.jit(fnp.take_along_axis, static_argnums=2)(x, places, axis)), expected
        )
        new = x.copy()
        np.put_along_axis(new, places, 5.0, axis)
        np.testing.assert_array_equal(np.asarray(fnp.put_along_axis(x, places, 5.0, axis, inplace=False)), new)
    assert np.isnan(fdl.jit(fnp.take)(np.ones(3), 7))
    with pytest.raises(IndexingError, match="out of bounds"):
        fnp.take(np.ones(3), 7)
    with pytest.raises(IndexingError, match="out of bounds"):
        fnp.take_along_axis(np.ones(3), a([7]), 0)


def test_nonzero_and_where_with_a_size() -> None:
    x = np.array([[0, 2, 0], [3, 0, 4]])
    for mine, theirs in zip(fnp.nonzero(x), np.nonzero(x), strict=True):
        np.testing.assert_array_equal(np.asarray(mine), theirs)
    rows, columns = fdl.jit(lambda x: fnp.where(x != 0, size=5, fill_value=-1))(x)
    np.testing.assert_array_equal(np.asarray(rows), [0, 1, 1, -1, -1])
    np.testing.assert_array_equal(np.asarray(columns), [1, 0, 2, -1, -1])
    np.testing.assert_array_equal(np.asarray(fnp.nonzero(x, size=2)[1]), [1, 0])
    np.testing.assert_array_equal(np.asarray(fnp.argwhere(x)), np.argwhere(x))
    np.testing.assert_array_equal(np.asarray(fnp.flatnonzero(x)), np.flatnonzero(x))
    with pytest.raises(ConcretizationError, match="size="):
        fdl.jit(fnp.nonzero)(x)


def test_choosing(rng: np.random.Generator) -> None:
    c, x, y = rng.random((3, 4)) < 0.5, rng.normal(size=(3, 1)), rng.normal(size=4)
    np.testing.assert_array_equal(np.asarray(fnp.where(c, x, y)), np.where(c, x, y))
    conditions, choices = [y < -0.5, y < 0.5], [y, y**2]
    np.testing.assert_allclose(np.asarray(fnp.select(conditions, choices, 5)), np.select(conditions, choices, 5))
    which = rng.integers(0, 2, 4)
    np.testing.assert_array_equal(np.asarray(fnp.choose(which, [y, -y])), np.choose(which, [y, -y]))
    np.testing.assert_array_equal(
        np.asarray(fnp.choose(which + 2, [y, -y], mode="wrap")), np.choose(which + 2, [y, -y], mode="wrap")
    )
    np.testing.assert_array_equal(np.asarray(fnp.compress(c[0], c, 1)), np.compress(c[0], c, 1))
    np.testing.assert_array_equal(np.asarray(fnp.extract(c, c * 2)), np.extract(c, c * 2))
    pieces = [lambda v: -v, 3.0, lambda v: v * v]
    np.testing.assert_allclose(
        np.asarray(fnp.piecewise(y, [y < -1, y > 1], pieces)), np.piecewise(y, [y < -1, y > 1], pieces)
    )
    for shape in ((3, 4, 5), (7,)):
        places = rng.integers(0, np.prod(shape), 6)
        coordinates = fnp.unravel_index(places, shape)
        np.testing.assert_array_equal(np.stack([np.asarray(c) for c in coordinates]), np.unravel_index(places, shape))
        np.testing.assert_array_equal(np.asarray(fnp.ravel_multi_index(coordinates, shape)), places)
    target = np.zeros(5)
    np.put(target, [0, 3, 9], [1, 2], mode="clip")
    np.testing.assert_array_equal(
        np.asarray(fnp.put(np.zeros(5), a([0, 3, 9]), a([1, 2]), "clip", inplace=False)), target
    )
    target = np.zeros((3, 4))
    np.place(target, c, [1, 2])
    np.testing.assert_array_equal(np.asarray(fnp.place(np.zeros((3, 4)), c, a([1, 2]), inplace=False)), target)


def test_truth_values_are_added_and_multiplied_as_by_numpy():
    given, places, values = np.array([True, False, False]), np.array([1, 2, 1]), np.array([True, False, False])
    for name, ufunc in (("add", np.add), ("multiply", np.multiply)):
        expected = given.copy()
        ufunc.at(expected, places, values)
        for run in (lambda f: f, fdl.jit):
            found = run(lambda x, v, name=name: getattr(x.at[places], name)(v))(fnp.asarray(given), values)
            np.testing.assert_array_equal(found, expected)
