"""Eager calls on many elements: machine code whose extents are arguments, compared with NumPy in float64."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import scipy.special

import fdl
import fdl.numpy as fnp
from fdl import nn
from fdl.array import MANY, eager
from fdl.compile import eager as compiler
from fdl.compile.ir.rows import rows_of

SHAPES = [(1024,), (3, 400), (1030, 1), (1, 1031), (37, 33), (2, 4096), (2, 3, 257), (5, 7, 3, 11)]
#: The function, what it is in float64, and how many units in the last place of float32 the result may be off.
FUNCTIONS: dict[str, Any] = {
    "exp": (fnp.exp, np.exp, 2),
    "tanh": (fnp.tanh, np.tanh, 2),
    "sigmoid": (nn.sigmoid, scipy.special.expit, 3),
    "log1p": (lambda x: fnp.log1p(fnp.abs(x)), lambda x: np.log1p(np.abs(x)), 3),
    "power": (lambda x: fnp.power(fnp.abs(x), 1.5), lambda x: np.abs(x) ** 1.5, 8),
    "erf": (lambda x: fdl.lax.erf(x), scipy.special.erf, 4),
    "sum of integers": (
        lambda x: fnp.sum(fnp.asarray(x * 100).astype("int16"), -1),
        lambda x: np.sum((x.astype(np.float32) * np.float32(100)).astype(np.int16), -1, np.int32),
        0,
    ),
    "softmax": (nn.softmax, lambda x: scipy.special.softmax(x, -1), 8),
    "softmax of all": (lambda x: nn.softmax(x, axis=None), scipy.special.softmax, 8),
    "sum": (fnp.sum, np.sum, 1),
    "sum of rows": (lambda x: fnp.sum(x, -1, keepdims=True), lambda x: np.sum(x, -1, keepdims=True), 1),
    "mean": (lambda x: fnp.mean(x, -1), lambda x: np.mean(x, -1), 2),
    "std": (lambda x: fnp.std(x, axis=-1), lambda x: np.std(x, axis=-1), 4),
    "logsumexp": (lambda x: nn.logsumexp(x, -1), lambda x: scipy.special.logsumexp(x, -1), 4),
    "norm": (lambda x: fnp.sqrt(fnp.sum(x * x)), lambda x: np.sqrt(np.sum(x * x)), 2),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_as_in_float64(name, shape, rng):
    function, oracle, ulps = FUNCTIONS[name]
    x = (rng.normal(size=shape) + 0.5).astype(np.float32)
    expected = np.asarray(oracle(x.astype(np.float64)))
    first, *others = [np.asarray(function(fnp.asarray(x))) for _ in range(3)]
    scale = np.maximum(np.abs(expected), np.abs(x).sum() * 1e-3 if "sum" in name or name == "mean" else 0)
    assert first.shape == expected.shape and first.dtype == (np.float32 if ulps else np.int32)
    assert np.all(np.abs(first - expected) <= ulps * np.finfo(np.float32).eps * scale)
    assert all(other.tobytes() == first.tobytes() for other in others)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("of", [np.max, np.min])
def test_extrema_of_odd_numbers(of, dtype, rng):
    x = rng.normal(size=(40, 77)).astype(dtype)
    x[0, 5], x[1, 76], x[2] = np.nan, np.inf, -np.inf
    x[3], x[4, :] = -0.0, 0.0
    found = getattr(fnp, of.__name__)(fnp.asarray(x), axis=1)
    expected = of(x.astype(np.float64), axis=1)
    np.testing.assert_array_equal(np.asarray(found).astype(np.float64), expected)
    assert found.dtype == x.dtype
    assert np.isnan(np.asarray(getattr(fnp, of.__name__)(fnp.asarray(x)).astype("float32")))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "int64", "float16", "bfloat16"])
def test_conversions_are_those_of_small_arrays(dtype, rng):
    edges = np.array([np.nan, np.inf, -np.inf, -0.0, 0.5, -0.5, -1.5, 127.9, 128, 255.5, 256, 2e9, 3e9, -3e9, 1e20])
    x = fnp.asarray(np.concatenate([edges, rng.normal(size=1500) * 300]).astype(np.float32))
    found = np.asarray(x.astype(dtype).astype("float64"))
    parts = [np.asarray(x[n : n + 100].astype(dtype).astype("float64")) for n in range(0, len(x), 100)]
    np.testing.assert_array_equal(found, np.concatenate(parts))


@pytest.mark.parametrize("name", ["exp", "softmax", "sum of rows"])
def test_other_layouts(name, rng):
    function = FUNCTIONS[name][0]
    x = rng.normal(size=(60, 80)).astype(np.float32)
    for view in (lambda v: v.T, lambda v: v[::2, ::-1], lambda v: v[:, 3:40]):
        found = function(view(fnp.asarray(x)))
        expected = function(fnp.asarray(np.ascontiguousarray(view(x))))
        assert np.asarray(found).tobytes() == np.asarray(expected).tobytes()


def test_infinities_and_nan_as_in_numpy():
    x = np.zeros((8, 200), np.float32)
    x[0, 3], x[1, 7], x[2], x[3, 199] = np.nan, -np.inf, -np.inf, 89.0
    with np.errstate(invalid="ignore"):
        expected = scipy.special.softmax(x.astype(np.float64), -1)
    np.testing.assert_allclose(nn.softmax(fnp.asarray(x)), expected, 1e-6, 1e-30)
    np.testing.assert_array_equal(np.isnan(fnp.exp(fnp.asarray(x))), np.isnan(x))
    assert np.asarray(fnp.exp(fnp.asarray(x)))[3, 199] == np.inf


@pytest.mark.parametrize("function", [fnp.exp, fnp.log1p, nn.sigmoid, fnp.sin, nn.gelu])
def test_functions_of_elements_have_the_bits_of_compiled_calls(function, rng):
    x = fnp.asarray(np.abs(rng.normal(size=(33, 35))).astype(np.float32))
    assert np.asarray(function(x)).tobytes() == np.asarray(fdl.jit(function)(x)).tobytes()


def test_one_function_for_all_shapes(monkeypatch, rng):
    nn.softmax(fnp.ones((64, 32)))
    monkeypatch.setattr(compiler, "object_code", None)  # nothing is compiled
    for shape in ((5, 7, 301), (1500, 2)):
        x = rng.normal(size=shape).astype(np.float32)
        np.testing.assert_allclose(nn.softmax(fnp.asarray(x)), scipy.special.softmax(x, -1), 1e-5)


def test_bits_do_not_depend_on_where_a_function_is_called(rng):
    x = fnp.asarray(rng.normal(size=(40, 50)).astype(np.float32))
    expected = np.asarray(fnp.tanh(x)).tobytes()
    value, _ = fdl.vjp(fnp.tanh, x)
    assert np.asarray(value).tobytes() == expected


@pytest.mark.parametrize(
    ("function", "shapes", "divided"),
    [
        (lambda x, b: nn.relu(x + b), [(30, 40), (40,)], True),
        (lambda x, b: nn.relu(x + b[:, None]), [(40, 40), (40,)], True),
        (lambda x, b: (x - b) / 2, [(30, 40), (30, 1)], True),
        (lambda x, b: (x + 1) * b, [(30, 40), ()], True),
        (lambda x: fnp.sum(x, 0), [(30, 40)], False),
        (lambda x: x[::-1] + 1, [(30, 40)], False),
        (lambda x, y: x @ y, [(30, 40), (40, 30)], False),
    ],
)
def test_which_programs_are_rows(function, shapes, divided, rng):
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    program = fdl.make_program(function)(*arrays)
    assert (rows_of(program) is not None) == divided
    if divided:
        run = eager.compiled(program)
        np.testing.assert_allclose(run(*arrays)[0], np.asarray(function(*map(fnp.asarray, arrays))), 1e-6)


def test_small_arrays_are_left_to_numpy(monkeypatch):
    asked = []
    monkeypatch.setattr(eager, "compiled_single", lambda operation, *types: asked.append(operation.name))
    small, large = fnp.ones(MANY - 1), fnp.ones(MANY)
    fdl.vjp(fnp.exp, small)
    assert not asked
    fdl.vjp(fnp.exp, large)
    assert asked == ["exp"]


def test_without_native_code_the_reference_runs(monkeypatch):
    from fdl.compile.codegen import rows

    def refuse(program, target):
        raise NotImplementedError

    monkeypatch.setattr(rows, "emit_rows", refuse)
    x = np.full(1500, 0.25, np.float32)
    np.testing.assert_allclose(fdl.lax.asinh(fnp.asarray(x)), np.arcsinh(x), 1e-6)
