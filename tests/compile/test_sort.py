"""Sorting in generated code against NumPy's stable sort: every bit, zeros of both signs and all NaN included."""

import ml_dtypes
import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.compile.pipeline import run_compiled
from fdl.dtypes import BOOLEAN, REAL
from fdl.ops.sort import Sort, TopK

#: Single elements, insertion, digits; lines along both axes; nothing at all.
SHAPES = [(5,), (47, 2), (2, 700), (0, 3)]


def draw(rng, shape, dtype):
    """Numbers with many ties, extremes, and what is special about floats."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        wide = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
        return np.where(rng.random(shape) < 0.5, wide, rng.integers(0, 4, shape).astype(dtype))
    special = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0])
    return np.where(rng.random(shape) < 0.5, rng.normal(size=shape), rng.choice(special, shape)).astype(dtype)


def assert_same_bits(found, expected):
    for a, b in zip(found, expected, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", BOOLEAN + REAL, ids=str)
def test_sort(dtype):
    rng = np.random.default_rng(1)
    for shape in SHAPES:
        for axis in range(len(shape)):
            x = draw(rng, shape, dtype)
            for operands in ([x], [x, rng.normal(size=shape) + 1j]):
                operation = Sort(axis)
                assert_same_bits(run_compiled(operation, operands), operation.reference(*operands))


@pytest.mark.parametrize("keys", [2, 3])
def test_several_keys(keys):
    rng = np.random.default_rng(2)
    for shape in SHAPES:
        operands = [draw(rng, shape, d) for d in (np.int8, np.float64, ml_dtypes.bfloat16, np.int32)]
        operands[0] %= 3
        operation = Sort(0, keys)
        assert_same_bits(run_compiled(operation, operands), operation.reference(*operands))


@pytest.mark.parametrize("dtype", BOOLEAN + REAL, ids=str)
def test_top_k(dtype):
    rng = np.random.default_rng(3)
    for shape in [(3, 30), (2, 900), (0, 4)]:
        for k in sorted({0, shape[-1] // 10, shape[-1]}):
            x = draw(rng, shape, dtype)
            assert_same_bits(run_compiled(TopK(k), [x]), TopK(k).reference(x))


def test_rising_and_falling_rows_displace_all_or_nothing():
    x = np.arange(5000, dtype=np.int32)
    for row in (x, x[::-1].copy(), np.zeros_like(x)):
        assert_same_bits(run_compiled(TopK(20), [row]), TopK(20).reference(row))


def test_rows_of_several_lengths_in_one_program():
    rng = np.random.default_rng(4)
    arrays = [draw(rng, shape, np.float32) for shape in ((50,), (200,), (3, 50), (7, 50))]
    found = fdl.jit(lambda *xs: [(*fdl.lax.top_k(x, 5), fdl.numpy.sort(x)) for x in xs])(*arrays)
    for x, (values, places, ordered) in zip(arrays, found, strict=True):
        assert_same_bits((values, places), TopK(5).reference(x))
        assert_same_bits((ordered,), Sort(x.ndim - 1).reference(x))


@pytest.mark.parametrize("key", ["int8", "uint16", "int32", "uint32"])
@pytest.mark.parametrize("payload", ["int32", "uint32", "float32"])
def test_keys_and_numbers_that_share_a_word(key, payload):
    """Both come out as they went in, NaN and -0.0 among the numbers; few and many records, strided and reversed."""
    rng = np.random.default_rng(5)
    for shape in ((2, 7), (1, 300), *([(1, 16500)] if key == "uint32" else [])):
        keys = rng.integers(np.iinfo(key).min, np.iinfo(key).max, shape, key, endpoint=True)
        values = rng.integers(0, 2**32, shape, np.uint32).view(payload)
        order = np.argsort(keys, -1, kind="stable")
        found = fdl.jit(lambda k, v: Sort(1)(k, v))(keys, values)
        np.testing.assert_array_equal(np.asarray(found[0]), np.take_along_axis(keys, order, 1))
        expected = np.take_along_axis(values, order, 1)
        np.testing.assert_array_equal(np.asarray(found[1]).view(np.uint32), expected.view(np.uint32))
        turned = fdl.jit(lambda k, v: Sort(0)(k[:, ::-1].T, v[:, ::-1].T))(keys, values)
        order = np.argsort(keys[:, ::-1], -1, kind="stable")
        expected = np.take_along_axis(values[:, ::-1], order, 1).T
        np.testing.assert_array_equal(
            np.asarray(turned[1]).view(np.uint32), np.ascontiguousarray(expected).view(np.uint32)
        )


@pytest.mark.parametrize("dtype", ["int16", "float32", "int64", "float64"])
def test_long_arrays(dtype):
    x = (np.random.default_rng(6).normal(size=20001) * 1000).astype(dtype)
    np.testing.assert_array_equal(fdl.jit(fnp.sort)(x), np.sort(x))
    np.testing.assert_array_equal(fdl.jit(fnp.argsort)(x), np.argsort(x, kind="stable"))
