"""Creation, shapes, joins, splits and rearrangements against NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.errors import ConcretizationError, LeafError, ShapeError

X = np.arange(24.0).reshape(2, 3, 4)
V = np.array([3.0, 1.0, 2.0])
Case = Callable[[Any], Any]


def agree(case: Case) -> None:
    """`case(fnp)` and `case(np)` give the same, in values and shapes."""
    mine, theirs = case(fnp), case(np)
    if not isinstance(theirs, (list, tuple)):
        mine, theirs = [mine], [theirs]
    assert len(mine) == len(theirs)
    for m, t in zip(mine, theirs, strict=True):
        assert np.shape(m) == np.shape(t)
        np.testing.assert_allclose(np.asarray(m), t, rtol=1e-6, atol=1e-7)


SHAPES: list[Case] = [
    lambda n: n.reshape(X, (4, -1)),
    lambda n: n.reshape(X, -1, order="F"),
    lambda n: n.reshape(X, (6, 4), order="F"),
    lambda n: n.ravel(X),
    lambda n: n.ravel(X, order="F"),
    lambda n: n.transpose(X),
    lambda n: n.transpose(X, (1, 2, 0)),
    lambda n: n.swapaxes(X, 0, -1),
    lambda n: n.moveaxis(X, 0, -1),
    lambda n: n.moveaxis(X, (0, 2), (1, 0)),
    lambda n: n.rollaxis(X, 2),
    lambda n: n.rollaxis(X, 0, 3),
    lambda n: n.expand_dims(X, (0, -1)),
    lambda n: n.squeeze(X[:1]),
    lambda n: n.squeeze(X[:, :1], 1),
    lambda n: n.matrix_transpose(X),
    lambda n: n.permute_dims(X, (2, 0, 1)),
    lambda n: n.broadcast_to(V, (2, 3)),
    lambda n: n.broadcast_arrays(V, X[0, :, :1]),
    lambda n: n.atleast_1d(2.0),
    lambda n: n.atleast_2d(V),
    lambda n: n.atleast_3d(V),
    lambda n: n.atleast_3d(X[0]),
    lambda n: n.concatenate([X, X], 1),
    lambda n: n.concatenate([X, V], None),
    lambda n: n.concatenate(X, 0),
    lambda n: n.concat([V, V], axis=0),
    lambda n: n.stack([V, V], -1),
    lambda n: n.vstack([V, V]),
    lambda n: n.hstack([V, V]),
    lambda n: n.hstack([X, X]),
    lambda n: n.dstack([V, V]),
    lambda n: n.column_stack([V, V]),
    lambda n: n.unstack(X, axis=1),
    lambda n: n.append(X, V),
    lambda n: n.append(X, X, 2),
    lambda n: n.block([[X[0], X[0]], [X[1], X[1]]]),
    lambda n: n.block([V, 1.0]),
    lambda n: n.split(X, 2, 2),
    lambda n: n.split(X, [1, 3], 2),
    lambda n: n.split(V, [1, 5]),
    lambda n: n.array_split(V, 2),
    lambda n: n.hsplit(X, 3),
    lambda n: n.vsplit(X, 2),
    lambda n: n.dsplit(X, [1]),
    lambda n: [n.shape(X), n.ndim(X), n.size(X, 1)],
]
REARRANGED: list[Case] = [
    lambda n: n.flip(X),
    lambda n: n.flip(X, (0, 2)),
    lambda n: n.flipud(V),
    lambda n: n.fliplr(X),
    lambda n: n.rot90(X),
    lambda n: n.rot90(X, 2, (1, 2)),
    lambda n: n.rot90(X, 3),
    lambda n: n.rot90(X, -4),
    lambda n: n.roll(X, 5),
    lambda n: n.roll(X, -2, 1),
    lambda n: n.roll(X, (1, 2), (0, 2)),
    lambda n: n.roll(X, 3, (0, 1)),
    lambda n: n.tile(V, 2),
    lambda n: n.tile(X, (2, 1)),
    lambda n: n.tile(X, (2, 1, 3, 1)),
    lambda n: n.repeat(X, 2),
    lambda n: n.repeat(X, 3, 1),
    lambda n: n.repeat(V, np.array([0, 2, 1])),
    lambda n: n.resize(V, (2, 4)),
    lambda n: n.resize(V, 2),
    lambda n: n.delete(V, 1),
    lambda n: n.delete(X, slice(0, 2), 1),
    lambda n: n.delete(X, np.array([0, -1]), 2),
    lambda n: n.insert(V, 1, 5.0),
    lambda n: n.insert(V, np.array([0, 2]), np.array([7.0, 8.0])),
    lambda n: n.insert(X, 1, 9.0, 2),
    lambda n: n.insert(X[0], 2, V, 1),
    lambda n: n.insert(X[0], np.array([1, 3]), 0.0, axis=1),
    lambda n: n.trim_zeros(np.array([0, 0, 1, 0, 2, 0])),
    lambda n: n.meshgrid(V, V[:2]),
    lambda n: n.meshgrid(V, V[:2], indexing="ij"),
    lambda n: n.meshgrid(V, V[:2], sparse=True),
    lambda n: n.indices((2, 3)),
    lambda n: n.indices((2, 3), sparse=True),
    lambda n: (
        X[n.ix_(np.array([0, 1]), np.array([2, 0]))]
        if n is np
        else fnp.asarray(X)[n.ix_(np.array([0, 1]), np.array([2, 0]))]
    ),
    lambda n: n.mgrid[0:3, 1:2:3j],
    lambda n: n.ogrid[0:3, 1:2:3j],
    lambda n: n.mgrid[1:3],
    lambda n: n.r_[1, V, 3:6],
    lambda n: n.r_[0:1:5j],
    lambda n: n.c_[V, V],
    lambda n: n.r_["0,2", V, V],
    lambda n: n.r_["1,2,0", V, V],
    lambda n: X[n.s_[0, ::2]],
    lambda n: n.diagonal(X, 1, 1, 2),
    lambda n: n.diagonal(X, -1),
    lambda n: n.diagonal(X, 3, 0, 2),
    lambda n: n.diagonal(X, 9),
    lambda n: n.diag(V),
    lambda n: n.diag(V, -2),
    lambda n: n.diag(X[0], 1),
    lambda n: n.diagflat(X[0, :2, :1], 1),
    lambda n: n.tril(X),
    lambda n: n.triu(X, 1),
    lambda n: n.tri(3, 4, -1),
    lambda n: n.tril_indices(3, 1, 4),
    lambda n: n.triu_indices(3, -1),
    lambda n: n.diag_indices(3),
    lambda n: n.tril_indices_from(X[0], -1),
    lambda n: n.mask_indices(3, n.triu, 1),
    lambda n: n.apply_over_axes(n.sum, X, [0, 2]),
    lambda n: n.apply_along_axis(lambda v: v[::2] * 2, 1, X),
    lambda n: n.apply_along_axis(lambda v: v.sum(), 2, X),
    lambda n: n.vectorize(lambda a, b: a + b)(X[0], V[:, None]),
    lambda n: n.vectorize(lambda m, v: m @ v, signature="(i,j),(j)->(i)")(X, np.ones((3, 1, 4))),
]
CREATED: list[Case] = [
    lambda n: n.zeros((2, 3)),
    lambda n: n.ones(4, int),
    lambda n: n.full((2, 3), V),
    lambda n: n.zeros_like(X, int),
    lambda n: n.ones_like(X, shape=(2,)),
    lambda n: n.full_like(V, 7),
    lambda n: n.arange(5),
    lambda n: n.arange(2, 9, 3),
    lambda n: n.arange(3.5),
    lambda n: n.arange(1.0, 2.0, 0.25),
    lambda n: n.arange(5, 0, -2),
    lambda n: n.arange(0),
    lambda n: n.linspace(0, 1, 7),
    lambda n: n.linspace(2, 3, 5, endpoint=False),
    lambda n: n.linspace(V, 2 * V, 4, axis=1),
    lambda n: n.linspace(0, 1, 1),
    lambda n: n.linspace(0, 10, 5, dtype=int),
    lambda n: n.linspace(0, 1, 5, retstep=True),
    lambda n: n.logspace(0, 2, 5),
    lambda n: n.logspace(0, 3, 4, base=2.0),
    lambda n: n.geomspace(1, 1000, 4),
    lambda n: n.geomspace(-1, -8, 4),
    lambda n: n.eye(3),
    lambda n: n.eye(2, 4, 1),
    lambda n: n.eye(3, k=-1, dtype=int),
    lambda n: n.identity(2),
    lambda n: n.vander(V),
    lambda n: n.vander(V, 2, increasing=True),
    lambda n: n.array([[1, 2], [3, 4]]),
    lambda n: n.array([[[1.0]]]),
    lambda n: n.array([]),
    lambda n: n.array(V, ndmin=3),
    lambda n: n.array([V, V]),
    lambda n: n.fromfunction(lambda i, j: i * j, (2, 3)),
    lambda n: n.array([True, False]),
    lambda n: n.array([1, 2.5, 3j]),
    lambda n: n.bartlett(5),
    lambda n: n.kaiser(4, 3.0),
    lambda n: n.hanning(6),
]


@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_shapes(number: int) -> None:
    agree(SHAPES[number])


@pytest.mark.parametrize("number", range(len(REARRANGED)))
def test_rearrangements(number: int) -> None:
    agree(REARRANGED[number])


@pytest.mark.parametrize("number", range(len(CREATED)))
def test_creation(number: int) -> None:
    agree(CREATED[number])


PADS: list[tuple[Any, dict[str, Any]]] = [
    (1, {}),
    ((1, 2), {"constant_values": 5}),
    (((0, 1), (2, 0), (1, 1)), {"constant_values": ((1, 2), (3, 4), (5, 6))}),
    (2, {"mode": "edge"}),
    ((5, 6), {"mode": "wrap"}),
    (((2, 1), (5, 4), (3, 9)), {"mode": "reflect"}),
    (3, {"mode": "symmetric"}),
    (4, {"mode": "reflect", "reflect_type": "odd"}),
    (5, {"mode": "symmetric", "reflect_type": "odd"}),
    (2, {"mode": "linear_ramp", "end_values": (3, -2)}),
    (1, {"mode": "maximum"}),
    (1, {"mode": "mean", "stat_length": 2}),
    (2, {"mode": "minimum", "stat_length": ((1, 1), (2, 2), (1, 3))}),
    (1, {"mode": "median"}),
    ({0: 1, -1: (2, 3)}, {}),
]


@pytest.mark.parametrize(("width", "options"), PADS, ids=str)
def test_pad(width: Any, options: dict[str, Any]) -> None:
    if isinstance(width, dict):
        np.testing.assert_array_equal(np.asarray(fnp.pad(X, width)), np.pad(X, ((1, 1), (0, 0), (2, 3))))
    else:
        agree(lambda n: n.pad(X, width, **options))


def test_pad_by_a_function() -> None:
    def border(row: Any, pad: tuple[int, int], axis: int, options: Any) -> Any:
        return row.at[: pad[0]].set(options["value"])

    padded = fnp.pad(fnp.ones((2, 2)), 1, border, value=7.0)
    assert padded.shape == (4, 4) and padded[0, 0] == 7 and padded[1, 1] == 1 and padded[3, 3] == 0


def test_traced_shifts_repeats_and_limits() -> None:
    for shift in (-7, 0, 2):
        np.testing.assert_array_equal(
            np.asarray(fdl.jit(lambda x, s: fnp.roll(x, s, 1))(X, shift)), np.roll(X, shift, 1)
        )
    counts = np.array([2, 0, 1])
    repeated = fdl.jit(lambda x, n: fnp.repeat(x, n, total_repeat_length=5))(V, counts)
    np.testing.assert_array_equal(np.asarray(repeated), [3, 3, 2, 2, 2])
    line = fdl.jit(lambda a, b: fnp.linspace(a, b, 5))(1.0, 2.0)
    np.testing.assert_allclose(np.asarray(line), np.linspace(1, 2, 5), rtol=1e-6)
    with pytest.raises(ConcretizationError, match="total_repeat_length"):
        fdl.jit(fnp.repeat)(V, counts)
    with pytest.raises(ConcretizationError, match="arange"):
        fdl.jit(fnp.arange)(3)


def test_arrays_of_traced_and_nested_data() -> None:
    x = fdl.jit(lambda a: fnp.array([[a, 1.0], [2, a]]))(3.0)
    np.testing.assert_array_equal(np.asarray(x), [[3, 1], [2, 3]])
    assert fnp.array([np.float64(1), 2]).dtype == np.float32
    assert fnp.asarray(memoryview(b"ab")).dtype == np.uint8
    assert fnp.from_dlpack(np.arange(3)).shape == (3,)
    source = np.zeros(3)
    made = fnp.asarray(source)
    source[0] = 1
    assert made[0] == 0


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: fnp.reshape(X, (5, 5)), ShapeError, r"reshape: an array of shape \(2, 3, 4\) has 24 elements.*\(5, 5\)"),
    (lambda: fnp.concatenate([X, X[:, :1]], 0), ShapeError, r"concatenate: shapes \(2, 3, 4\) and \(2, 1, 4\).*axis 0"),
    (lambda: fnp.stack([X, V]), ShapeError, r"stack: .*\(2, 3, 4\) and \(3,\)"),
    (lambda: fnp.add(X, V), ShapeError, r"add: shapes \(2, 3, 4\) and \(3,\) do not broadcast"),
    (lambda: fnp.broadcast_to(V, (2, 4)), ShapeError, r"broadcast_to: shape \(3,\).*\(2, 4\)"),
    (lambda: fnp.sum(X, 3), ShapeError, "sum: axis 3 is out of bounds for an array with 3 axes"),
    (lambda: fnp.transpose(X, (0, 0, 1)), ShapeError, "axis is given twice"),
    (lambda: fnp.squeeze(X, 0), ShapeError, "squeeze: axis=0"),
    (lambda: fnp.split(V, 2), ShapeError, "split: axis 0 with extent 3 cannot be split into 2"),
    (lambda: fnp.array([[1, 2], [3]]), ShapeError, "not rectangular"),
    (lambda: fnp.array([V, X]), ShapeError, "different shapes"),
    (lambda: fnp.array(["a"]), LeafError, "dtype <U1|'a'"),
    (lambda: fnp.asarray(None), LeafError, "None"),
    (lambda: fnp.sum([1, 2]), LeafError, r"an operand of sum is \[1, 2\] of type list"),
    (lambda: fnp.zeros((2, -1)), ShapeError, "negative extent"),
    (lambda: fnp.pad(X, ((1, 1), (2, 2))), ShapeError, "pad_width"),
    (lambda: fnp.diag(X), ShapeError, "diag needs a vector or a matrix"),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS, ids=lambda v: v if isinstance(v, str) else "")
def test_errors_name_function_and_shapes(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_outputs_cannot_be_given() -> None:
    with pytest.raises(NotImplementedError, match="immutable"):
        fnp.sum(X, out=X)
