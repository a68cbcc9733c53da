"""Programs over fdl.lax that must work, with their values from NumPy, under every transform."""

from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.errors import DtypeError, RangeError, ShapeError, TreeError
from tests.programs import assert_returns, check_program

FOUR, ONE = np.array([0.5, 2.0, 3.0, 1.5]), np.array([2.0])
COLUMN, ROW = np.array([[0.5], [2.0], [3.0]]), np.array([[1.0, 4.0]])
BINARY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "max": np.maximum, "min": np.minimum,
    "pow": np.power, "atan2": np.arctan2, "rem": np.fmod, "eq": np.equal, "lt": np.less, "ge": np.greater_equal,
    "complex": lambda x, y: x + 1j * y,
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize(
    ("x", "y"),
    [(FOUR, ONE), (ONE, FOUR), (COLUMN, ROW), (FOUR, np.float64(2)), (COLUMN, np.ones((1, 1))), (FOUR[:0], ONE)],
)  # fmt: skip
def test_extents_of_one_are_repeated(name: str, x: Any, y: Any) -> None:
    if name in ("max", "min", "rem"):
        y = y + 0.1  # where they have one derivative
    check_program(getattr(lax, name), (x, y), BINARY[name](x, y))


@pytest.mark.parametrize("name", ["bitwise_and", "bitwise_xor", "shift_left"])
def test_extents_of_one_are_repeated_for_integers(name: str) -> None:
    x, y = np.arange(4), np.array([1])
    check_program(getattr(lax, name), (x, y), getattr(np, {"shift_left": "left_shift"}.get(name, name))(x, y))


# Collectives over several axes: the two-axis program is that of one axis over the flattened examples.

X = np.arange(2.0 * 3 * 6).reshape(2, 3, 6)
NAMES = [("i", "j"), ("j", "i"), ["i", "j"]]


def over_two(function: Any, names: Any, x: np.ndarray) -> Any:
    """`function(x, names)` for a grid of examples, "j" outside and "i" inside."""
    return fdl.jit(fdl.vmap(fdl.vmap(lambda x: function(x, names), axis_name="i"), axis_name="j"))(x)


def over_one(function: Any, names: Any, x: np.ndarray) -> Any:
    """The same with one axis, whose examples are in row-major order of `names`."""
    order = (1, 0) if tuple(names) == ("i", "j") else (0, 1)
    grid = np.moveaxis(x, (0, 1), order)
    flat = fdl.vmap(lambda x: function(x, "all"), axis_name="all")(grid.reshape(-1, *x.shape[2:]))
    return fdl.tree.map(lambda y: np.moveaxis(np.asarray(y).reshape(grid.shape[:2] + y.shape[1:]), order, (0, 1)), flat)


@pytest.mark.parametrize("names", NAMES, ids=str)
@pytest.mark.parametrize(
    "function",
    [
        lax.psum, lax.pmean, lax.pmax, lax.pmin, lax.all_gather, lax.psum_scatter,
        lambda x, n: lax.all_gather(x, n, axis=1), lambda x, n: lax.all_gather(x, n, axis=0, tiled=True),
        lambda x, n: lax.psum_scatter(x[None], n, scatter_dimension=1, tiled=True),
        lambda x, n: lax.axis_index(n) + 10 * lax.axis_size(n), lambda x, n: lax.psum(1, n) * x,
        lambda x, n: lax.pmax({"a": x, "b": (2 * x, 1.0)}, n), lambda x, n: lax.psum(x > 7, n),
        lambda x, n: lax.ppermute(x, n, [(0, 5), (1, 2), (4, 1), (5, 0)]), lambda x, n: lax.ppermute(x, n, []),
        lambda x, n: fdl.grad(lambda x: (lax.ppermute(x, n, [(0, 5), (1, 2), (4, 1)]) * x).sum())(x),
        lambda x, n: fdl.grad(lambda x: (lax.pmax(x, n) * lax.psum_scatter(x, n)).sum())(x),
    ],
)  # fmt: skip
def test_collectives_over_several_axes(function: Any, names: Any) -> None:
    assert_returns(over_two(function, names, X), over_one(function, names, X))


@pytest.mark.parametrize("function", [lax.psum, lax.pmean, lax.pmax, lax.pmin])
def test_collectives_over_no_axis(function: Any) -> None:
    assert_returns(fdl.vmap(lambda x: function(x, ()), axis_name="i")(X), X)
    assert fdl.vmap(lambda x: lax.axis_index(()), axis_name="i")(X).tolist() == [0, 0]


def test_one_name_in_a_tuple() -> None:
    for function in (lax.psum, lax.pmax, lambda x, n: lax.axis_index(n), lambda x, n: lax.ppermute(x, n, [(0, 1)])):
        found = [fdl.vmap(lambda x: function(x, n), axis_name="i")(X) for n in ("i", ("i",))]  # noqa: B023
        assert_returns(*found)
    flags = fdl.vmap(lambda x: lax.psum(x, "i"), axis_name="i")(fnp.array([True, False, True]))
    assert flags.dtype == fnp.int32 and flags.tolist() == [2, 2, 2]


# Loops


@pytest.mark.parametrize("unroll", [0, 1, 2, 100, True, False, np.int64(2)])
def test_unroll(unroll: Any) -> None:
    check_program(lambda x: lax.scan(lambda c, y: (c + y, c * y), 0.5, x, unroll=unroll), (FOUR,), _running(FOUR))
    found = lax.fori_loop(0, 4, lambda i, c: c + i, 0, unroll=unroll)
    assert found.dtype == fnp.int32 and int(found) == 6


def _running(x: np.ndarray) -> tuple[Any, Any]:
    carries = 0.5 + np.concatenate([[0], np.cumsum(x)])
    return carries[-1], carries[:-1] * x


@pytest.mark.parametrize("batch_size", [None, 0, 1, 3, 4, 9])
@pytest.mark.parametrize("x", [FOUR, FOUR[:0], FOUR[:1]], ids=len)
def test_batches_of_map(batch_size: Any, x: np.ndarray) -> None:
    check_program(lambda x: lax.map(lambda y: y * y, x, batch_size=batch_size), (x,), x * x)


@pytest.mark.parametrize(
    ("lower", "upper", "dtype"),
    [
        (0, 3, "int32"), (0, np.int8(3), "int8"), (fnp.int16(0), 3, "int16"), (np.int64(0), np.int64(3), "int64"),
        (fnp.uint8(0), fnp.uint8(3), "uint8"), (3, 0, "int32"), (-3, -1, "int32"), (2**40, 2**40 + 2, "int64"),
    ],
)  # fmt: skip
def test_the_index_of_a_counting_loop_has_the_dtype_of_its_bounds(lower: Any, upper: Any, dtype: str) -> None:
    def total(lower: Any, upper: Any) -> Any:
        return lax.fori_loop(lower, upper, lambda i, c: (c[0] + i, c[1] + 1), (fnp.zeros((), dtype), 0))

    expected = (np.asarray(sum(range(int(lower), int(upper))), dtype), len(range(int(lower), int(upper))))
    for found in (total(lower, upper), fdl.jit(total)(lower, upper)):
        assert_returns(found, expected)
        assert found[0].dtype == dtype


def test_prefixes_of_nothing() -> None:
    assert lax.associative_scan(fnp.add, ()) == ()
    for x in (FOUR[:0], FOUR[:1], FOUR):
        check_program(lambda x: lax.associative_scan(fnp.add, x), (x,), np.cumsum(x))
        check_program(lambda x: lax.associative_scan(fnp.add, x, reverse=True), (x,), np.cumsum(x[::-1])[::-1])


# Init values of reductions: Python numbers, and infinity for the farthest integer

SIX = np.array([3, 1, 4, 1, 5, 2])


@pytest.mark.parametrize("dtype", ["int32", "uint8", "int8", "float32", "float64", "int64"])
@pytest.mark.parametrize(
    ("computation", "init", "function"),
    [
        (lax.max, -np.inf, np.maximum), (lax.min, np.inf, np.minimum), (lax.add, 0, np.add), (lax.add, 0.0, np.add),
        (lax.add, 2.0, lambda a, b: a + b), (lax.mul, 1.0, np.multiply), (lax.max, 0, np.maximum),
    ],
)  # fmt: skip
def test_init_values_of_reductions(computation: Any, init: Any, function: Any, dtype: str) -> None:
    x = SIX.astype(dtype)
    start = 2 if init == 2 else 0
    pairs = (function(x[:-1], x[1:]) + start).astype(dtype)
    found = lax.reduce_window(fnp.asarray(x), init, computation, (2,), (1,), "VALID")
    assert found.dtype == dtype
    np.testing.assert_array_equal(np.asarray(found), pairs)
    windows = fdl.jit(lambda x: lax.reduce_window(x, init, computation, (2,), (1,), "VALID"))(x)
    np.testing.assert_array_equal(np.asarray(windows), pairs)
    whole = lax.reduce(fnp.asarray(x), init, computation, (0,))
    assert whole.dtype == dtype and int(whole) == int(function.reduce(x) if start == 0 else x.sum() + 2)


def test_windows_of_several_arrays() -> None:
    x = fnp.asarray(SIX.astype("float32"))

    def first_of_largest(a: Any, b: Any) -> Any:
        later = b["x"] > a["x"]
        return {"x": lax.select(later, b["x"], a["x"]), "at": lax.select(later, b["at"], a["at"])}

    operand, init = {"x": x, "at": fnp.arange(6)}, {"x": -np.inf, "at": -1}
    found = fdl.jit(lambda o: lax.reduce_window(o, init, first_of_largest, (3,), (1,), "VALID"))(operand)
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(x), 3)
    np.testing.assert_array_equal(found["x"], windows.max(1))
    np.testing.assert_array_equal(found["at"], windows.argmax(1) + np.arange(4))
    with pytest.raises(TreeError, match="init_value"):
        lax.reduce_window(operand, 0.0, first_of_largest, (3,), (1,), "VALID")
    with pytest.raises(ShapeError, match="one shape"):
        lax.reduce_window({"x": x, "at": x[:2]}, init, first_of_largest, (3,), (1,), "VALID")


def test_numbers_that_a_dtype_does_not_have() -> None:
    x = fnp.arange(4)
    for init, kind in ((0.5, DtypeError), (np.nan, DtypeError), (2**40, RangeError), (np.ones(2), ShapeError)):
        with pytest.raises(kind, match="lax.reduce_window|int32"):
            lax.reduce_window(x, init, lax.add, (2,), (1,), "VALID")
        with pytest.raises(kind, match="lax.pad|int32"):
            lax.pad(x, init, [(1, 1, 0)])
    assert lax.pad(x, 7.0, [(1, 0, 0)]).tolist() == [7, 0, 1, 2, 3]
    assert lax.reduce_window(x > 1, -np.inf, lax.bitwise_or, (2,), (2,), "VALID").tolist() == [False, True]
