"""Gathers whose index vectors lie along the last axis of the result: columns, tables, index arrays for each axis."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax

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
