"""Functions of several operations in eager calls: from the second call on by a Program, with the bits of the first."""

import pickle
import warnings

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import nn, random
from fdl.array import eager
from fdl.composite import composite
from fdl.core.trace import is_eager
from fdl.errors import ShapeError
from fdl.ops.cumulative import Cumsum

X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
ODD = np.array([[np.nan, np.inf, -np.inf, -0.0], [0.0, 1e-40, -1e38, 3.0]], np.float32)
CALLS = {
    "softmax": lambda x: nn.softmax(x),
    "softmax of all": lambda x: nn.softmax(x, axis=None),
    "log_softmax": lambda x: nn.log_softmax(x, axis=0),
    "gelu": lambda x: nn.gelu(x, approximate=False),
    "glu": lambda x: nn.glu(x[:, :2], axis=1),
    "elu": lambda x: nn.elu(x, 0.5),
    "logsumexp": lambda x: nn.logsumexp(x, axis=1, keepdims=True),
    "std": lambda x: fnp.std(x, axis=(0, 1), ddof=1),
    "mean": lambda x: fnp.mean(x, dtype="float64"),
    "norm": lambda x: fnp.linalg.norm(x, axis=0),
    "nuclear norm": lambda x: fnp.linalg.norm(x[:, :2], "nuc"),
    "einsum": lambda x: fnp.einsum("ij,kj->ik", x, x),
    "stack": lambda x: fnp.stack([x, x + 1], axis=-1),
    "concatenate": lambda x: fnp.concatenate((x, fnp.ones((1, x.shape[1]), "int32"))),
    "normal": lambda x: random.normal(random.key(x.shape[1]), x.shape),
    "uniform": lambda x: random.uniform(random.key(3), (2, 3), minval=x[0, 0], maxval=7.0),
    "randint": lambda x: random.randint(random.key(3), (5,), -2, 9),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("x", [X, ODD, X[::2, ::-2], X[:, :2].astype(np.float16), X[:1]], ids=str(type).format)
def test_calls_have_the_bits_of_the_first(name, x):
    call, x = CALLS[name], fnp.asarray(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, *others = [call(x) for _ in range(4)]
    for other in others:
        assert (other.shape, other.dtype) == (first.shape, first.dtype)
        assert np.asarray(other).tobytes() == np.asarray(first).tobytes()


KEY = random.key(7)
DRAWS = {
    "normal": lambda shape: random.normal(KEY, shape),
    "normal of 16 bits": lambda shape: random.normal(KEY, shape, "float16"),
    "normal of 64 bits": lambda shape: random.normal(KEY, shape, "float64"),
    "complex normal": lambda shape: random.normal(KEY, shape, "complex64"),
    "truncated normal": lambda shape: random.truncated_normal(KEY, -1.0, 3.0, shape),
    "uniform": lambda shape: random.uniform(KEY, shape, minval=-0.0, maxval=3.0),
    "randint": lambda shape: random.randint(KEY, shape, -5, 1000),
    "randint of a byte": lambda shape: random.randint(KEY, shape, -128, 128, "int8"),
    "bernoulli": lambda shape: random.bernoulli(KEY, 0.3, shape),
    "rademacher": lambda shape: random.rademacher(KEY, shape),
    "bits": lambda shape: random.bits(KEY, shape, "uint64"),
    "split": lambda shape: random.key_data(random.split(KEY, shape)),
    "exponential": lambda shape: random.exponential(KEY, shape),
    "categorical": lambda shape: random.categorical(KEY, fnp.arange(5.0), shape=shape),
    "old keys": lambda shape: random.split(random.PRNGKey(3), shape),
}


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("shape", [(), (0, 2), (3,), (129, 33)], ids=str)
def test_compiled_draws_have_the_bits_of_references(name, shape):
    first, *others = [DRAWS[name](shape) for _ in range(4)]
    for other in others:
        assert (other.shape, other.dtype) == (first.shape, first.dtype)
        assert np.asarray(other).tobytes() == np.asarray(first).tobytes()


def test_draws_are_compiled_once_they_are_repeated(monkeypatch):
    compiled = []
    monkeypatch.setattr(eager, "exactly", lambda function: compiled.append(function.__name__))
    shape = (2, 3, 1, 5)
    for _ in range(3):
        random.normal(KEY, shape)
        random.exponential(KEY, shape)  # a logarithm, which is NumPy's, of uniform numbers
        nn.softmax(fnp.ones(shape))
    assert compiled == ["normal", "uniform"]


@pytest.mark.parametrize(("shape", "calls"), [((6, 5), 0), ((40, 30), 256), ((8, 1 << 15), 52)])
def test_slow_exact_functions_are_compiled_once_many_elements_have_gone_through(shape, calls, monkeypatch, rng):
    made, run = [], []

    def exactly(function):
        made.append(len(run))
        return lambda *arrays: function(*arrays)

    monkeypatch.setattr(eager, "exactly", exactly)

    @composite
    def running(x):
        return Cumsum(1)(x)

    x = fnp.asarray(rng.normal(size=shape).astype(np.float32))
    for _ in range(261):
        run.append(1)
        found = running(x)
    np.testing.assert_array_equal(found, np.cumsum(x, 1))
    assert made == [calls] * (calls > 0)


REPEATED = {
    "a column": lambda x: x - fnp.max(x, axis=1, keepdims=True),
    "a row": lambda x: fnp.broadcast_to(x[0], x.shape) * x,
    "a number": lambda x: x / (fnp.sum(x) + 2),
    "two narrow ones": lambda x: fnp.broadcast_to(x[:1], x.shape) + fnp.broadcast_to(x[:, :1], x.shape),
    "one twice": lambda x: (lambda y: y * y)(fnp.broadcast_to(x[:1], x.shape)),
    "a result too": lambda x: (lambda y: (y, x * y, y - x))(fnp.broadcast_to(x[:, :1], x.shape)),
    "no function of NumPy": lambda x: fnp.where(x > 0, fnp.broadcast_to(x[:1], x.shape), x),
    "integers": lambda x: fnp.broadcast_to(x.astype("int8")[:1], x.shape) // 3 + x.astype("int8"),
    "moved axes": lambda x: fnp.repeat(x[:, 0], x.shape[1]).reshape(x.shape) + x,
}


@pytest.mark.parametrize("name", REPEATED)
@pytest.mark.parametrize("x", [X, ODD, X[:, :0], X[:1], X[::2, ::-2].astype(np.float16)], ids=lambda x: str(x.shape))
def test_what_is_repeated_has_the_bits_of_the_first_call(name, x):
    if name in ("a column", "moved axes") and not x.size:
        return  # there is no extreme of nothing, and no first column
    function, x = composite(REPEATED[name]), fnp.asarray(x)
    first, *others = [fdl.tree.leaves(function(x)) for _ in range(4)]
    for other in others:
        for found, expected in zip(other, first, strict=True):
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
            assert np.asarray(found).tobytes() == np.asarray(expected).tobytes()


def test_functions_of_many_elements_are_traced_at_once():
    traced = []

    @composite
    def doubled(x):
        traced.append(is_eager())
        return x + x

    for _ in range(4):
        assert doubled(fnp.ones(2**12)).sum() == 2**13
    assert traced == [False]


def test_many_elements_made_of_few_have_the_bits_of_the_first_call():
    @composite
    def outer(x):
        return nn.softmax(fnp.exp(x[:, None] * x))

    x = fnp.asarray(np.linspace(-1, 1, 50, dtype=np.float32))
    assert len({np.asarray(outer(x)).tobytes() for _ in range(4)}) == 1


def test_what_does_not_depend_on_arrays_is_not_shared():
    first, second = [fnp.eye(3) for _ in range(5)][-2:]
    moved = fdl.jit(lambda x: x * 2, donate_argnums=0)(first)
    assert np.array_equal(moved, 2 * np.eye(3)) and np.array_equal(second, np.eye(3))
    assert np.array_equal(fnp.eye(3), np.eye(3))


def test_only_the_first_calls_run_the_function():
    runs = []

    @composite
    def scaled(x, factor=1.0):
        runs.append(x.shape)
        return x * factor

    x = fnp.ones(3)
    results = [scaled(x * n, factor=2.0).tolist() for n in range(5)]
    assert results == [[2.0 * n] * 3 for n in range(5)]
    assert len(runs) == 3  # at once, at once and traced, and then no more
    assert scaled(fnp.ones(2), factor=2.0).tolist() == [2.0, 2.0] and len(runs) == 4


def test_kinds_of_arguments_are_told_apart():
    @composite
    def power(x, other):
        return fnp.copysign(x, other) if isinstance(other, float) else x + other

    x = fnp.array([1, 2], "int32")
    given = [1, True, 0.0, -0.0, fnp.int32(1), 1]
    expected = [[2, 3], [2, 3], [1, 2], [-1, -2], [2, 3], [2, 3]]
    for _ in range(3):
        assert [power(x, other).tolist() for other in given] == expected
    assert power(x, True).dtype == power(x, 1).dtype == "int32"


def test_settings_count(monkeypatch):
    @composite
    def with_ones(x):
        return x + fnp.ones(2)

    x = fnp.zeros(2)
    assert [with_ones(x).dtype for _ in range(3)] == ["float32"] * 3
    monkeypatch.setattr(fdl.config, "default_float", "float64")
    assert [with_ones(x).dtype for _ in range(3)] == ["float64"] * 3


def test_what_depends_on_numbers_is_run_as_it_is():
    @composite
    def sign(x):
        return x if x[0] > 0 else -x

    for value in (1.0, -1.0, 2.0, -3.0, 4.0):
        assert sign(fnp.array([value])).tolist() == [abs(value)]


def test_transforms_see_the_operations():
    x = fnp.asarray(X)
    for _ in range(3):
        nn.softmax(x)
    program = fdl.jit(nn.softmax).trace(x).program
    assert len(program.equations) > 3
    value, gradient = fdl.value_and_grad(lambda x: nn.softmax(x)[0, 0])(x)
    moved = X.astype(np.float64)
    shifted = np.exp(moved[0] - moved[0].max())
    share = shifted / shifted.sum()
    assert np.allclose(value, share[0], rtol=1e-5)
    assert np.allclose(gradient[0], share[0] * (np.eye(6)[0] - share), atol=1e-6)
    rows = fdl.vmap(nn.softmax)(x)
    assert np.allclose(rows, nn.softmax(x), rtol=1e-6)


def test_errors_are_those_of_the_first_call():
    x = fnp.ones((2, 3))
    texts = []
    for _ in range(3):
        with pytest.raises(ShapeError) as error:
            fnp.concatenate([x, fnp.ones((2, 2))])
        texts.append(str(error.value))
    assert len(set(texts)) == 1


def test_donated_arrays_are_named():
    x = fnp.ones(4)
    nn.softmax(x), nn.softmax(x), nn.softmax(x)
    fdl.jit(lambda x: x + 1, donate_argnums=0)(x)
    with pytest.raises(fdl.errors.DonationError, match="was donated"):
        nn.softmax(x)


def test_debug_nans_looks_into_known_programs(monkeypatch):
    x = fnp.array([np.inf, 1.0])
    for _ in range(3):
        nn.softmax(x)
    monkeypatch.setattr(fdl.config, "debug_nans", True)
    with pytest.raises(FloatingPointError, match="NaN"):
        nn.softmax(x)


def test_functions_travel_by_name():
    assert pickle.loads(pickle.dumps(nn.softmax)) is nn.softmax
    assert nn.softmax.__name__ == "softmax" and "sum to one" in nn.softmax.__doc__
