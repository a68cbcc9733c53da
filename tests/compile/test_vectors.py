"""Vectors along the last loop of a nest: reversed operands, two registers, values that are the same in all lanes."""

import numpy as np
import pytest
from scipy import special

import fdl
import fdl.numpy as fnp
from fdl.ops.quantile import normal_quantile

LENGTHS = [0, 1, 15, 33, 101]


@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "float32", "float64", "complex64"])
@pytest.mark.parametrize("length", LENGTHS)
def test_reversed_rows(dtype, length):
    x = (np.random.default_rng(length).integers(0, 2 if dtype == "bool" else 100, (3, length))).astype(dtype)
    np.testing.assert_array_equal(fdl.jit(lambda x: x[:, ::-1])(x), x[:, ::-1])
    np.testing.assert_array_equal(fdl.jit(lambda x: x[::-1, ::-1])(x), x[::-1, ::-1])
    np.testing.assert_array_equal(fdl.jit(lambda x: fnp.where(x[:, ::-1] == x, x, x[:, ::-1]))(x), x[:, ::-1])
    np.testing.assert_array_equal(fdl.jit(lambda x: fnp.pad(x[:, ::-1], 2))(x), np.pad(x[:, ::-1], 2))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float16", "float32", "complex64"])
@pytest.mark.parametrize("columns", [1, 3, 16, 17])
def test_few_columns_become_rows(dtype, columns):
    """Their elements are picked from whole vectors; the last vectors end where the operand does."""
    rng = np.random.default_rng(columns)

    def f(x, y):
        return x.transpose(0, 2, 1), x[1, ::-1].T, x[1, :, columns // 2 :].T, x[0].T * y + y

    for rows in (64, 163):
        x = rng.integers(0, 2 if dtype == "bool" else 100, (2, rows, columns)).astype(dtype)
        y = rng.integers(0, 9, (columns, rows)).astype(np.float32)
        *moved, computed = fdl.jit(f)(x, y)
        for found, wanted in zip(moved, f(x, y), strict=False):
            np.testing.assert_array_equal(found, wanted)
        np.testing.assert_allclose(computed, x[0].T.astype(np.complex128) * y + y, 1e-3)


@pytest.mark.parametrize("step", [3, 7, 40])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "complex128"])
def test_rows_are_read_in_steps(dtype, step):
    x = np.random.default_rng(step).integers(0, 100, (3, 1001)).astype(dtype)
    np.testing.assert_array_equal(fdl.jit(lambda x: x[:, ::step] + x[:, ::step])(x), x[:, ::step] + x[:, ::step])
    np.testing.assert_array_equal(fdl.jit(lambda x: x[:, ::-step] + x[:, ::-step])(x), x[:, ::-step] + x[:, ::-step])


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_of_much_work_at_every_length(dtype, length):
    x = np.random.default_rng(length).normal(size=(5, length)).astype(dtype)
    eps = np.finfo(dtype).eps
    wide = x.astype(np.float64)
    np.testing.assert_allclose(fdl.jit(lambda x: fnp.exp(x))(x), np.exp(wide), rtol=2 * eps)
    np.testing.assert_allclose(
        fdl.jit(lambda x: fdl.scipy.special.erf(x) * fnp.log(fnp.abs(x) + 2))(x),
        special.erf(wide) * np.log(np.abs(wide) + 2),
        rtol=8 * eps,
    )
    np.testing.assert_allclose(fdl.jit(lambda x: fnp.exp(x.T))(x), np.exp(wide.T), rtol=2 * eps)


def test_a_wide_number_that_is_the_same_for_all_does_not_narrow_vectors():
    """The key of random bits is computed once, in 64 bits; they themselves fill vectors of 32 bits."""
    text = fdl.jit(lambda: fdl.random.bits(fdl.random.key(0), (1000,))).lower().as_text("llvm")
    lanes = max(1, fdl.compile.llvm.target.host_target().lanes("uint32"))
    assert f"<{2 * lanes} x i32>" in text


def test_operations_of_numbers_that_fill_arrays_are_computed_once():
    def f(x):
        span = fnp.full((300,), 7, "int32") * fnp.full((300,), 3, "int32")
        return x % (span + fnp.ones((300,), "int32"))

    x = np.arange(300, dtype=np.int32)
    text = fdl.jit(f).lower(x).as_text("optimized")
    assert " mul " not in text and " add " not in text.split("rem")[0]
    np.testing.assert_array_equal(fdl.jit(f)(x), x % 22)


def test_normal_quantiles_of_tails_between_others():
    u = np.random.default_rng(0).uniform(-1, 1, 4001).astype(np.float32)
    u[::97] = np.float32(1 - 2.0**-20)
    u[:4] = [0.0, -0.0, np.nan, 2.0]
    found = np.asarray(fdl.jit(lambda u: normal_quantile(u))(u))
    with np.errstate(invalid="ignore"):
        expected = np.sqrt(2) * special.erfinv(u.astype(np.float64))
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    assert np.signbit(found[1]) and not np.signbit(found[0])
