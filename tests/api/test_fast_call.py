"""Calls of jitted functions from the second on, which go through code written for their kind of arguments."""

import collections
import gc
import sys
import threading
from dataclasses import dataclass

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import tree
from fdl.compile.runtime.native import call as native_call
from fdl.errors import LeafError
from tests import python_calls
from tests.api.check import assert_close

Point = collections.namedtuple("Point", "x y")

pytestmark = pytest.mark.skipif(not native_call.is_supported(), reason="needs native calls")


@tree.register_dataclass
@dataclass
class Pair:
    """A node that generated code leaves to the tree library."""

    first: object
    second: object


def ready(jitted, *args, **kwargs):
    """`jitted` after two calls, and how many general calls it makes is counted from now on."""
    jitted(*args, **kwargs), jitted(*args, **kwargs)
    return Counted(jitted)


class Counted:
    """Counts the general calls."""

    def __init__(self, jitted):
        self.jitted, self.general, original = jitted, 0, jitted.call

        def call(args, kwargs):
            self.general += 1
            return original(args, kwargs)

        jitted.call = call

    def __call__(self, *args, **kwargs):
        return self.jitted(*args, **kwargs)


TREES = [
    lambda x: x,
    lambda x: {"b": x, "a": [x + 1, None, (x * 2,)], "0": {}},
    lambda x: Point(x, (Point(x, ()), [])),
    lambda x: Pair(x, {"z": x, "a": 2 * x}),
    lambda x: collections.OrderedDict([("q", x), ("a", {"c": x})]),
    lambda x: [[[[[[[[[[x]]]]]]]]]],
]


@pytest.mark.parametrize("make", TREES)
def test_trees_in_and_out(make, rng):
    f = ready(fdl.jit(lambda t: tree.map(lambda v: v + 1, t)), make(fnp.zeros(3)))
    given = make(fnp.asarray(rng.normal(size=3), dtype="float32"))
    found = f(given)
    assert f.general == 0
    assert tree.structure(found) == tree.structure(given)
    assert_close(found, tree.map(lambda v: np.asarray(v) + 1, given), 1e-6)
    if isinstance(given, dict):
        assert list(found) == list(f.jitted.fun(given))


def test_fifty_leaves_take_few_python_calls():
    params = {f"layer{n}": {"w": fnp.ones((3, 3)), "b": fnp.zeros(3)} for n in range(25)}
    f = fdl.jit(lambda p: tree.map(lambda v: 2 * v, p))
    f(params), f(params)
    assert python_calls(lambda: f(params)) <= 5


@pytest.mark.parametrize(
    "other",
    [
        {"a": fnp.zeros(4), "b": 1.0},
        {"a": fnp.zeros((3, 1)), "b": 1.0},
        {"a": fnp.zeros(3, "float16"), "b": 1.0},
        {"a": fnp.zeros(3), "b": 1},
        {"a": fnp.zeros(3), "b": fnp.float32(1)},
        {"a": fnp.zeros(3), "c": 1.0},
        {"a": fnp.zeros(3), "b": 1.0, "c": None},
        {"a": fnp.zeros(3), "b": (1.0,)},
        collections.OrderedDict(a=fnp.zeros(3), b=1.0),
    ],
)
def test_other_kinds_of_arguments_are_told_apart(other):
    f = ready(fdl.jit(lambda t: tree.map(lambda v: v * 2, t)), {"a": fnp.zeros(3), "b": 1.0})
    found, expected = f(other), tree.map(lambda v: v * 2, other)
    assert f.general == 1
    assert tree.structure(found) == tree.structure(expected)
    assert [(np.shape(v), fnp.asarray(v).dtype) for v in tree.leaves(found)] == [
        (np.shape(v), fnp.asarray(v).dtype) for v in tree.leaves(expected)
    ]


def test_numbers_keep_their_range():
    f = ready(fdl.jit(lambda x: x + fnp.zeros(2, "int64")), 1)
    assert_close(f(5), np.array([5, 5]))
    assert f.general == 0
    assert_close(f(2**40), np.array([2**40] * 2))
    assert f.general == 1
    assert_close(f(True), np.array([1, 1]))
    assert_close(f(7), np.array([7, 7]))


def test_numpy_arrays_and_scalars(rng):
    f = ready(fdl.jit(lambda x, s: x * s), np.ones(3), np.float32(2))
    x = rng.normal(size=3)
    assert_close(f(x, np.float32(3)), x * 3, 1e-12)
    assert_close(f(fnp.asarray(x), np.float32(3)), x * 3, 1e-12)
    assert f.general == 0
    assert_close(f(np.repeat(x, 2)[::2], np.float32(3)), x * 3, 1e-12)
    assert f.general == 1


def test_a_view_gets_memory_of_its_own_once(rng):
    f = ready(fdl.jit(lambda x: x * 2), fnp.ones((4, 3)))
    x = fnp.asarray(rng.normal(size=(3, 4)), dtype="float32").T
    first, second = f(x), f(x)
    assert f.general == 1
    assert_close((first, second), (np.asarray(x) * 2,) * 2)


def test_static_arguments():
    f = ready(
        fdl.jit(lambda x, n, *, mode: x * n if mode == "times" else x + n, static_argnums=1, static_argnames="mode"),
        fnp.ones(2),
        3,
        mode="times",
    )
    assert_close(f(fnp.ones(2), 3, mode="times"), np.array([3.0, 3.0]))
    assert f.general == 0
    assert_close(f(fnp.ones(2), 3, mode="plus"), np.array([4.0, 4.0]))
    assert f(fnp.ones(2, "int32"), 3.0, mode="times").dtype == np.float32
    with pytest.raises(TypeError, match="hashed"):
        f(fnp.ones(2), [3], mode="times")


def test_errors_are_those_of_the_first_call():
    f = ready(fdl.jit(lambda p: p["w"] * 2), {"w": fnp.ones(2)})
    with pytest.raises(LeafError, match=r"p\['w'\]"):
        f({"w": "name"})
    with pytest.raises(KeyError):
        f({"v": fnp.ones(2)})
    with pytest.raises(TypeError):
        f()


def test_what_is_returned_as_it_is():
    f = ready(fdl.jit(lambda x, y: (y, x + 1, y)), fnp.ones(2), fnp.zeros(3))
    y = fnp.arange(3.0)
    found = f(fnp.ones(2), y)
    assert found[0] is y and found[2] is y and f.general == 0
    numbers = np.arange(3, dtype=np.float32)
    kept = f(fnp.ones(2), numbers)[0]
    numbers[0] = 7
    assert_close(kept, np.array([0, 1, 2]))


def test_donation():
    f = fdl.jit(lambda x, y: (x + y, y), donate_argnums=0)
    f(fnp.zeros(1000), fnp.zeros(1000))
    f = ready(f, np.zeros(1000, np.float32), fnp.zeros(1000))
    x, y = fnp.zeros(1000) + 3, fnp.zeros(1000) + 4
    address = np.asarray(x).ctypes.data
    found = f(x, y)[0]
    assert f.general == 0 and x.is_deleted() and not y.is_deleted()
    assert np.asarray(found).ctypes.data == address
    with pytest.raises(fdl.errors.DonationError, match=r"f32\[1000\]"):
        x + 1
    shared = fnp.zeros(1000) + 3
    window = np.asarray(shared)
    assert_close(f(shared, y)[0], np.full(1000, 7.0))
    assert_close(window, np.full(1000, 3.0))
    twice = fnp.zeros(1000) + 5
    assert_close(f(twice, twice), (np.full(1000, 10.0), np.full(1000, 5.0)))


def test_references_are_given_back():
    def f(x, y):
        return x * y, {"sum": x + y}

    jitted = fdl.jit(f)
    x = fnp.arange(5.0)
    kept = [x, x._data, x.dtype, None, NotImplemented, np.ndarray, fdl.Array]
    jitted(x, x), jitted(x, x), jitted(x, x)
    gc.collect()
    before = [sys.getrefcount(v) for v in kept]
    for _ in range(1000):
        jitted(x, x)
    after = [sys.getrefcount(v) for v in kept]
    assert max(abs(a - b) for a, b in zip(after, before, strict=True)) < 100


def test_an_error_of_a_callback_arrives():
    def refuse(x):
        if x[0] > 1:
            raise ValueError("too large")
        return x

    f = ready(fdl.jit(lambda x: fdl.pure_callback(refuse, fdl.ShapeDtypeStruct((2,), np.float32), x) + 1), fnp.zeros(2))
    assert_close(f(fnp.ones(2)), np.array([2.0, 2.0]))
    with pytest.raises(ValueError, match="too large"):
        f(2 * fnp.ones(2))
    assert_close(f(fnp.ones(2)), np.array([2.0, 2.0]))


def test_threads_call_at_once(rng):
    f = fdl.jit(lambda x, w: fnp.tanh(x @ w) @ w.T)
    x, w = rng.normal(size=(30, 20)), rng.normal(size=(20, 10))
    expected = np.tanh(x @ w) @ w.T
    wrong = []

    def work():
        for _ in range(200):
            if not np.allclose(f(x, w), expected):
                wrong.append(None)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_configuration_is_part_of_the_kind():
    f = fdl.jit(lambda: fnp.zeros(2) + 1.0)
    f(), f(), f()
    saved = fdl.config.default_float
    try:
        fdl.config.default_float = "float64"
        assert f().dtype == np.float64
    finally:
        fdl.config.default_float = saved
    assert f().dtype == np.float32
    with fdl.disable_jit():
        assert f().dtype == np.float32


def test_without_native_calls(monkeypatch):
    monkeypatch.setattr(native_call, "is_supported", lambda: False)
    f = fdl.jit(lambda x: x + 1)
    for _ in range(3):
        assert_close(f(fnp.ones(2)), np.array([2.0, 2.0]))
