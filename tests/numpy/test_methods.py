"""Operators, methods and attributes of arrays and tracers."""

import copy
import operator
import pickle
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import dtypes
from fdl.errors import ConcretizationError, DtypeError, ShapeError

X = np.array([[1.0, -2.0, 3.0], [4.0, 0.5, -6.0]])
I = np.array([[1, 2, 3], [4, 5, 6]], np.int32)  # noqa: E741


@pytest.mark.parametrize(
    "name", ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "eq", "ne", "lt", "le", "gt", "ge"]
)
def test_operators_and_their_reflections(name: str) -> None:
    function = getattr(operator, name)
    x, y = np.abs(X), np.abs(X[::-1]) + 1
    v, w = fnp.asarray(x), fnp.asarray(y)
    expected = function(x, y)
    for actual in (function(v, w), function(v, y), function(x, w), fdl.jit(function)(x, y)):
        assert isinstance(actual, fdl.Array)
        np.testing.assert_allclose(np.asarray(actual), expected, rtol=1e-13)
    np.testing.assert_allclose(np.asarray(function(v, 2)), function(x, 2), rtol=1e-13)
    np.testing.assert_allclose(np.asarray(function(2.5, v)), function(2.5, x), rtol=1e-13)
    np.testing.assert_allclose(np.asarray(function(np.asarray(2.0), v)), function(np.asarray(2.0), x), rtol=1e-13)


@pytest.mark.parametrize("name", ["and_", "or_", "xor", "lshift", "rshift"])
def test_operators_of_integers(name: str) -> None:
    function = getattr(operator, name)
    np.testing.assert_array_equal(np.asarray(function(fnp.asarray(I), I[::-1])), function(I, I[::-1]))
    np.testing.assert_array_equal(np.asarray(function(7, fnp.asarray(I))), function(7, I))


def test_unary_operators_and_matmul() -> None:
    v = fnp.asarray(X)
    for function in (operator.neg, operator.pos, operator.abs):
        np.testing.assert_array_equal(np.asarray(function(v)), function(X))
    np.testing.assert_array_equal(np.asarray(~fnp.asarray(I)), ~I)
    for product in (v @ v.T, X @ v.T, v @ X.T):
        np.testing.assert_allclose(np.asarray(product), X @ X.T)
    for mine, theirs in zip(divmod(v, 2), divmod(X, 2), strict=True):
        np.testing.assert_array_equal(np.asarray(mine), theirs)
    assert round(fnp.array(2.345), 1) == fnp.float32(2.3)


def test_foreign_operands_are_left_to_python() -> None:
    v = fnp.ones(2)
    assert (v == None) is False and (v != "text") is True  # noqa: E711
    for operand in ([1, 2], "text", None):
        with pytest.raises(TypeError, match="unsupported operand"):
            v + operand

    class Foreign:
        def __radd__(self, other: Any) -> str:
            return "taken"

    assert v + Foreign() == "taken"


ATTRIBUTES = ["shape", "dtype", "ndim", "size", "itemsize", "nbytes", "T", "mT", "real", "imag"]
METHODS: list[tuple[str, tuple[Any, ...]]] = [
    ("reshape", (3, 2)),
    ("reshape", ((6,),)),
    ("reshape", (-1,)),
    ("transpose", ()),
    ("transpose", (1, 0)),
    ("transpose", ((0, 1),)),
    ("flatten", ()),
    ("ravel", ()),
    ("squeeze", ()),
    ("swapaxes", (0, 1)),
    ("astype", (np.int32,)),
    ("clip", (-1, 2)),
    ("round", ()),
    ("sum", (0,)),
    ("mean", (1,)),
    ("max", ()),
    ("min", (0,)),
    ("prod", ()),
    ("std", ()),
    ("var", (0,)),
    ("any", ()),
    ("all", (1,)),
    ("argmax", (1,)),
    ("argmin", ()),
    ("cumsum", (1,)),
    ("cumprod", (0,)),
    ("dot", (X.T,)),
    ("trace", ()),
    ("diagonal", ()),
    ("repeat", (2, 1)),
    ("take", ([0, 2],)),
    ("argsort", (1,)),
    ("nonzero", ()),
    ("conj", ()),
    ("conjugate", ()),
    ("copy", ()),
    ("item", (3,)),
    ("tolist", ()),
]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes(name: str) -> None:
    np.testing.assert_array_equal(np.asarray(getattr(fnp.asarray(X), name)), np.asarray(getattr(X, name)))


@pytest.mark.parametrize(("name", "args"), METHODS, ids=str)
def test_methods(name: str, args: tuple[Any, ...]) -> None:
    args = tuple(np.array(a) if isinstance(a, list) else a for a in args)
    actual, expected = getattr(fnp.asarray(X), name)(*args), getattr(X, name)(*args)
    if name == "nonzero":
        actual, expected = np.stack([np.asarray(a) for a in actual]), np.stack(expected)
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=1e-14)
    assert np.shape(actual) == np.shape(expected)


def test_python_protocols() -> None:
    v = fnp.asarray(X)
    assert len(v) == 2 and [row.shape for row in v] == [(3,), (3,)] and 3.0 in v and 7.0 not in v
    assert (
        bool(fnp.array(1))
        and int(fnp.array(2.7)) == 2
        and float(fnp.array([1.5])) == 1.5
        and complex(fnp.array(1j)) == 1j
    )
    assert [10, 20][fnp.array(1)] == 20 and list(range(fnp.array(2))) == [0, 1]
    assert f"{fnp.array(1.5):.3f}" == "1.500" and f"{fnp.arange(2)}" == "[0 1]" and str(fnp.array(3)) == "3"
    assert v.block_until_ready() is v and v.at[0, 0].get() == 1.0
    for twin in (copy.copy(v), copy.deepcopy(v), pickle.loads(pickle.dumps(v))):
        np.testing.assert_array_equal(np.asarray(twin), X)
        assert not np.shares_memory(np.asarray(twin), np.asarray(v))
    with pytest.raises(TypeError, match="unhashable"):
        hash(v)
    for call in (lambda: bool(v), lambda: float(v)):
        with pytest.raises(ShapeError, match=r"one element, got shape \(2, 3\)"):
            call()
    for call in (lambda: len(fnp.array(1)), lambda: iter(fnp.array(1)), lambda: operator.index(fnp.array(1.0))):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(TypeError, match="one number"):
        format(v, ".2f")


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (fnp.array([1.0, 2.0]), "Array([1., 2.], dtype=float32)"),
        (fnp.array(3), "Array(3, dtype=int32)"),
        (fnp.array([]), "Array([], dtype=float32)"),
        (fnp.zeros((0, 3), "bfloat16"), "Array([], shape=(0, 3), dtype=bfloat16)"),
        (fnp.array([[True], [False]]), "Array([[ True],\n       [False]], dtype=bool)"),
    ],
)
def test_repr(array: Any, text: str) -> None:
    assert repr(array) == text


def test_tracers_are_arrays_whose_values_are_unknown() -> None:
    uses = {
        "bool": lambda x: x if x.sum() > 0 else -x,
        "int": lambda x: int(x[0]),
        "float": lambda x: float(x[0]),
        "an index": lambda x: [1, 2][x[0].astype(int)],
        "item": lambda x: x[0].item(),
        "tolist": lambda x: x.tolist(),
    }
    for what, use in uses.items():
        with pytest.raises(ConcretizationError, match=f"{what}.*traced .*(argument x|made by)"):
            fdl.jit(use)(np.ones(2))
    seen = []
    fdl.jit(
        lambda x: seen.append((isinstance(x, fdl.Array), isinstance(x, fnp.ndarray), x.shape, x.dtype.name, len(x)))
    )(np.ones(2))
    assert seen == [(True, True, (2,), "float64", 2)]
    assert not isinstance(np.ones(2), fdl.Array)
    a, b = fdl.jit(lambda x: tuple(x))(np.arange(2))
    assert (a, b) == (0, 1)


@pytest.fixture
def keys() -> Any:
    return fdl.random.split(fdl.random.key(0), 6)


def test_random_keys_can_be_moved_but_not_computed_with(keys: Any) -> None:
    assert keys.dtype == dtypes.key and keys.shape == (6,)
    data = np.asarray(fdl.random.key_data(keys))

    def words(k: Any) -> np.ndarray:
        return np.asarray(fdl.random.key_data(k))

    np.testing.assert_array_equal(words(keys.reshape(2, 3)[1]), data[3:])
    np.testing.assert_array_equal(words(keys[::-2]), data[::-2])
    np.testing.assert_array_equal(words(keys[np.array([4, 0])]), data[[4, 0]])
    np.testing.assert_array_equal(words(fnp.stack([keys[0], keys[5]])), data[[0, 5]])
    np.testing.assert_array_equal(words(fnp.concatenate([keys[:1], keys[3:]])), data[[0, 3, 4, 5]])
    np.testing.assert_array_equal(words(keys.at[0].set(keys[3])), data[[3, 1, 2, 3, 4, 5]])
    np.testing.assert_array_equal(words(fnp.where(np.arange(6) < 3, keys, keys[::-1])), data[[0, 1, 2, 2, 1, 0]])
    np.testing.assert_array_equal(words(fdl.jit(lambda k, i: k.reshape(3, 2).T[0, i])(keys, 2)), data[4])
    assert [k.shape for k in keys] == [()] * 6
    assert "dtype=key" in repr(keys) and (keys == keys).all() and keys[0] != keys[1]
    for call in (
        lambda: keys + 1,
        lambda: keys * keys,
        lambda: fnp.exp(keys),
        lambda: keys.sum(),
        lambda: -keys,
        lambda: keys.astype(int),
        lambda: fnp.sort(keys),
    ):
        with pytest.raises(DtypeError, match="random keys"):
            call()


def test_numpy_does_not_take_tracers() -> None:
    for transform in (fdl.grad, fdl.jit, fdl.vmap):
        with pytest.raises(ConcretizationError, match=r"NumPy was given a traced .*fdl\.numpy"):
            transform(lambda x: np.sin(x))(np.ones(1) if transform is fdl.vmap else 1.0)


def test_array_api() -> None:
    v = fnp.ones(2)
    assert v.__array_namespace__() is fnp and v.device in v.devices() and v.to_device(v.device) is v
    assert v.view("int32")[0] == np.float32(1).view(np.int32) and list(v.flat) == [1, 1]
