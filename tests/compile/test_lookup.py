"""Gathers whose index vectors lie along the last axis of the result: columns, tables, index arrays for each axis."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.compile.kernels.columns import GatherByColumns, ScatterByColumns
from fdl.core.types import TensorType
from fdl.ops.indexing import Gather, Scatter

FORMS = {
    "columns": (lambda x, i, j: x[:, i], lambda x, i, j: x[:, i]),
    "columns of blocks": (lambda x, i, j: x[:, i[None, :5]], lambda x, i, j: x[:, i[None, :5]]),
    "two index arrays": (lambda x, i, j: x[j, i], lambda x, i, j: x[j, i]),
    "along 0": (lambda x, i, j: fnp.take_along_axis(x, j[:, None] + 0 * i[:1], 0),
                lambda x, i, j: np.take_along_axis(x, j[:, None] + 0 * i[:1], 0)),
    "along 1": (lambda x, i, j: fnp.take_along_axis(x, i[None], 1), lambda x, i, j: np.take_along_axis(x, i[None], 1)),
    "one axis": (lambda x, i, j: x.reshape(-1)[i], lambda x, i, j: x.reshape(-1)[i]),
    "of a transposed array": (lambda x, i, j: x.T[:, j], lambda x, i, j: x.T[:, j]),
    "by steps": (lambda x, i, j: x[::2][:, i[::3]], lambda x, i, j: x[::2][:, i[::3]]),
}  # fmt: skip
DTYPES = ["?", "u1", "i2", "f2", "i4", "f4", "f8", "i8", "c8"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [1, 2, 7, 8, 33, 400])
def test_as_numpy(form: str, count: int) -> None:
    rng = np.random.default_rng(count)
    ours, numpys = FORMS[form]
    for dtype in DTYPES:
        x = rng.integers(-9, 9, (37, 41)).astype(dtype)
        kind = rng.choice(["u1", "i4", "u4", "i8", "u8"])
        i, j = rng.integers(0, 41, count).astype(kind), rng.integers(0, 37, count).astype(kind)
        np.testing.assert_array_equal(fdl.jit(ours)(*map(fnp.asarray, (x, i, j))), numpys(x, i, j), (dtype, kind))


@pytest.mark.parametrize("dtype", ["i1", "i4", "i8"])
@pytest.mark.parametrize("mode", ["fill", "clip"])
def test_out_of_bounds(mode: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, i = rng.normal(size=(5, 30)).astype("f4"), rng.integers(-90, 90, 203).astype(dtype)
    found = fdl.jit(lambda x, i: fnp.take(x, i, axis=1, mode=mode))(fnp.asarray(x), fnp.asarray(i))
    if mode == "clip":
        np.testing.assert_array_equal(found, x[:, np.clip(i, 0, 29)])
        return
    wide = i.astype(np.int64)
    expected = np.where((wide >= -30) & (wide < 30), x[:, np.clip(wide, -30, 29)], np.nan)
    np.testing.assert_array_equal(found, expected)


def test_huge_indices_are_out_of_bounds() -> None:
    """Also those that are others in 32 bits."""
    x, numbers = fnp.arange(5.0), lax.GatherDimensionNumbers((), (0,), (0,))
    for i in (np.array([2**32 + 1, 2**63 - 1, -(2**40), 3]), np.array([2**32 + 1, 2**64 - 1, 2**63, 3], "u8")):
        found = fdl.jit(lambda x, i: lax.gather(x, i[:, None], numbers, (1,), mode="fill", fill_value=-1.0))(
            x, fnp.asarray(i)
        )
        np.testing.assert_array_equal(found, [-1, -1, -1, 3])


def test_threads_divide_it() -> None:
    rng = np.random.default_rng(0)
    x, i = rng.normal(size=(600, 500)).astype("f4"), rng.integers(0, 500, 700)
    before = fdl.get_num_threads()
    try:
        for threads in (1, 2, 3):
            fdl.set_num_threads(threads)
            np.testing.assert_array_equal(fdl.jit(lambda x, i: x[:, i])(fnp.asarray(x), fnp.asarray(i)), x[:, i])
    finally:
        fdl.set_num_threads(before)


COLUMNS = {
    "one": lambda x, i, j, k: x[k],
    "two": lambda x, i, j, k: x[i, j],
    "three of four, broadcast": lambda x, i, j, k: x.reshape(6, 5, 4, 7)[
        j[:, None] % 6, :, j[:, None] % 4, i[None, :3] % 7
    ],
    "crossed": lambda x, i, j, k: x[i[:, None], j[None]],
    "a number and an array": lambda x, i, j, k: x[-2, j],
    "a bound of every dtype": lambda x, i, j, k: x[i.astype("i1"), j.astype("u2")],
    "stacked twice": lambda x, i, j, k: x[i, j] + x[j, i],
}


@pytest.mark.parametrize("count", [0, 1, 5, 16, 99])
@pytest.mark.parametrize("form", COLUMNS)
def test_columns_are_read_as_the_user_gave_them(form: str, count: int) -> None:
    """Negative numbers, which count from the end, in every lane; and what is scattered to such places."""
    rng = np.random.default_rng(count)
    x = rng.normal(size=(30, 28)).astype("f4")
    x[rng.random(x.shape) < 0.1] = -0.0
    i, j, k = rng.integers(-28, 28, count), rng.integers(0, 28, count), rng.integers(-30, 30, (2, count))
    take = COLUMNS[form]
    lowered = fdl.jit(lambda x, i, j, k: take(x, i, j, k)).lower(x, i, j, k)
    assert "concatenate" not in lowered.as_text("schedule")
    found, expected = lowered.compile()(x, i, j, k), take(x, i, j, k)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
    weights = rng.integers(-4, 5, expected.shape).astype("f4")
    gradient = fdl.jit(fdl.grad(lambda x, i, j, k, w: (take(x, i, j, k) * w).sum()))
    numbered = np.arange(x.size).reshape(x.shape)
    wanted = np.zeros(x.size)
    places = [numbered[i, j], numbered[j, i]] if form == "stacked twice" else [take(numbered, i, j, k)]
    for place in places:
        np.add.at(wanted, place, weights)
    np.testing.assert_array_equal(gradient(x, i, j, k, weights), wanted.reshape(x.shape))


def test_columns_out_of_bounds_and_of_two_dtypes() -> None:
    x = np.arange(12.0).reshape(3, 4)
    i, j = np.array([-4, -3, 2, 3, -1], "i1"), np.array([0, -5, 3, 1, 2**40])
    found = fdl.jit(lambda x, i, j: x.at[i, j].get(mode="fill", fill_value=-9.0))(x, i, j)
    np.testing.assert_array_equal(found, [-9, -9, 11, -9, -9])
    added = fdl.jit(lambda x, i, j: x.at[i, j].add(100.0, mode="drop"))(x, i, j)
    expected = x.copy()
    expected[2, 3] += 100
    np.testing.assert_array_equal(added, expected)


def test_the_operations_on_columns_mean_those_on_index_vectors() -> None:
    rng = np.random.default_rng(1)
    x, columns = rng.normal(size=(5, 7, 3)), [rng.integers(-9, 9, (4, 2)), rng.integers(0, 9, (4, 2)).astype("u8")]
    vectors = np.stack([np.where(columns[0] < 0, columns[0] + 5, columns[0]), columns[1].astype("i8")], -1)
    gather = Gather(lax.GatherDimensionNumbers((2,), (0, 1), (0, 1)), (1, 1, 3))
    apart = GatherByColumns(gather, (5, 0))
    np.testing.assert_array_equal(apart.reference(x, *columns), gather.reference(x, vectors))
    scatter = Scatter("add", lax.ScatterDimensionNumbers((2,), (0, 1), (0, 1)))
    updates = rng.normal(size=(4, 2, 3))
    found = ScatterByColumns(scatter, (5, 0)).reference(x, updates, *columns)
    np.testing.assert_array_equal(found, scatter.reference(x, vectors, updates))
    assert apart.name == "gather" and apart.result(*map(core_type, (x, *columns))).shape == (4, 2, 3)


def core_type(x: np.ndarray) -> TensorType:
    return TensorType(x.shape, x.dtype)
