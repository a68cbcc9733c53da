"""numba functions in fdl programs, and fdl functions in numba's."""

import numba
import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import ext, lax
from fdl.api.inspect import ShapeDtypeStruct, make_program
from fdl.compile import compile_program
from fdl.errors import DifferentiationError, DtypeError, ShapeError, TreeError


@numba.njit
def recurrence(x, decay):
    y = np.zeros_like(x)
    state = 0.0
    for i in range(x.size):
        state = decay * state + x[i]
        y[i] = state
    return y


def recurrence_reference(x, decay):
    return np.array([sum(decay ** (i - j) * x[j] for j in range(i + 1)) for i in range(len(x))])


def call(x, decay, **rules):
    return ext.numba_call(recurrence, x, x, decay, **rules)


X = np.random.default_rng(0).normal(size=9)


def test_call_under_transforms():
    expected = recurrence_reference(X, 0.3)
    for f in (call, fdl.jit(call)):
        np.testing.assert_allclose(f(X, np.asarray(0.3)), expected, rtol=1e-14)
    rows = np.stack([X, 2 * X, X[::-1]])
    found = fdl.jit(fdl.vmap(call, in_axes=(0, None)))(rows, np.asarray(0.3))
    np.testing.assert_allclose(found, [recurrence_reference(r, 0.3) for r in rows], rtol=1e-14)
    _, ys = fdl.jit(lambda r: lax.scan(lambda c, x: (c + 1, call(x, c)), np.asarray(0.0), r))(rows)
    np.testing.assert_allclose(ys, [recurrence_reference(r, d) for d, r in enumerate(rows)], rtol=1e-13)


def test_call_passes_no_interpreter():
    compiled = compile_program(make_program(call)(X, np.asarray(0.3)))
    assert compiled.archive.hosts == ()
    assert len(compiled.archive.foreign) == 1


def test_views_are_made_contiguous():
    wide = np.arange(24.0).reshape(6, 4)
    found = fdl.jit(lambda m: call(m.T[1], np.asarray(0.5)))(wide)
    np.testing.assert_allclose(found, recurrence_reference(wide[:, 1], 0.5), rtol=1e-14)


def test_derivatives_of_a_call():
    def backward(args, results, cotangent):
        _, decay = args
        back = fnp.flip(call(fnp.flip(cotangent), decay))
        before = fnp.concatenate([fnp.zeros(1, results.dtype), results[:-1]])
        return back, (back * before).sum()

    def loss(x, decay):
        return (call(x, decay, vjp=backward) ** 2).sum()

    dx, dd = fdl.jit(fdl.grad(loss, argnums=(0, 1)))(X, np.asarray(0.3))
    step = 1e-6
    for i in range(X.size):
        e = np.eye(X.size)[i] * step
        numeric = (loss(X + e, np.asarray(0.3)) - loss(X - e, np.asarray(0.3))) / (2 * step)
        np.testing.assert_allclose(dx[i], numeric, rtol=1e-6)
    numeric = (loss(X, np.asarray(0.3 + step)) - loss(X, np.asarray(0.3 - step))) / (2 * step)
    np.testing.assert_allclose(dd, numeric, rtol=1e-6)
    forward = fdl.jvp(lambda x: call(x, np.asarray(0.3), jvp=lambda p, t: call(t[0], p[1])), (X,), (X[::-1].copy(),))
    np.testing.assert_allclose(forward[1], recurrence_reference(X[::-1], 0.3), rtol=1e-14)
    with pytest.raises(DifferentiationError, match="recurrence.*jvp= or vjp="):
        fdl.grad(lambda x: call(x, np.asarray(0.3)).sum())(X)


def test_several_results():
    @numba.njit
    def extremes(x):
        return x.min(), x.max(), np.sort(x)

    number = ShapeDtypeStruct((), np.float64)
    low, high, ordered = fdl.jit(lambda x: ext.numba_call(extremes, (number, number, x), x))(X)
    assert (low, high) == (X.min(), X.max())
    np.testing.assert_array_equal(ordered, np.sort(X))


def test_wrong_declarations():
    with pytest.raises(DtypeError, match="recurrence returns float64 as result 0, .*f32"):
        ext.numba_call(recurrence, X.astype(np.float32), X, np.asarray(1.0))
    with pytest.raises(ShapeError, match="returns 1 axes as result 0"):
        ext.numba_call(recurrence, np.zeros((3, 3)), X, np.asarray(1.0))
    with pytest.raises(TypeError, match="made by numba.njit"):
        ext.numba_call(np.cumsum, X, X)
    with pytest.raises(DtypeError, match="float16"):
        ext.numba_call(recurrence, X, X.astype(np.float16), np.asarray(1.0))
    with pytest.raises(RuntimeError, match="another shape.*recurrence.*disable_jit"):
        fdl.jit(lambda x: ext.numba_call(recurrence, np.zeros(4), x, np.asarray(1.0)))(X)


def test_an_exception_inside():
    @numba.njit
    def checked(x):
        if x[0] < 0:
            raise ValueError("negative")
        return x * 2

    f = fdl.jit(lambda x: ext.numba_call(checked, x, x) + 1)
    with pytest.raises(RuntimeError, match="checked"):
        f(np.array([-1.0]))
    assert f(np.array([1.0])).tolist() == [3.0]


@numba.njit
def smooth_step(x, width):
    if x < 0:
        return 0.0
    if x > width:
        return 1.0
    t = x / width
    return t * t * (3 - 2 * t)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_elementwise_is_part_of_a_loop(dtype):
    f = ext.elementwise(smooth_step)
    x = np.linspace(-1, 3, 37).astype(dtype)
    t = np.clip(x.astype(np.float64) / 2, 0, 1)
    expected = t * t * (3 - 2 * t)
    for run in (f, fdl.jit(f)):
        found = run(x, 2)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=2e-6 if dtype == np.float32 else 1e-14)
    archive = compile_program(make_program(lambda x: (f(x + 1, 2) * x).sum())(x)).archive
    assert archive.hosts == archive.foreign == ()


def test_derivatives_of_elementwise():
    slope = ext.elementwise(numba.njit(lambda x, w: 6 * x / w**2 * (1 - x / w) if 0 < x < w else 0 * x))
    f = ext.elementwise(smooth_step, derivatives=(slope, None))
    x = np.linspace(0.1, 1.9, 7)
    found = fdl.jit(fdl.vmap(fdl.grad(lambda x: f(x, 2.0))))(x)
    np.testing.assert_allclose(found, 6 * x / 4 * (1 - x / 2), rtol=1e-14)
    with pytest.raises(DifferentiationError, match="smooth_step"):
        fdl.grad(lambda x: ext.elementwise(smooth_step)(x, 2.0))(1.0)


def test_elementwise_specials():
    invert = fdl.jit(ext.elementwise(numba.njit(lambda x: 1 / x)))
    np.testing.assert_array_equal(invert(np.array([0.0, -0.0, np.inf, np.nan])), [np.inf, -np.inf, 0, np.nan])
    is_small = fdl.jit(ext.elementwise(numba.njit(lambda x: x < 1)))
    assert is_small(np.array([0.0, 2.0, np.nan])).tolist() == [True, False, False]
    half = ext.elementwise(numba.njit(lambda x: x * 0.5))(np.float32(1))
    assert (half.dtype, float(half)) == (np.float32, 0.5)
    with pytest.raises(DtypeError, match="complex"):
        ext.elementwise(numba.njit(lambda x: x + 1j))(1.0)


def test_fdl_function_in_numba():
    w = np.random.default_rng(1).normal(size=(4, 3))

    def layer(x, scale):
        return fnp.tanh(x @ w) * scale, (x * x).sum()

    native = ext.to_numba(layer, np.zeros((5, 4)), 1.0)

    @numba.njit
    def loop(x, n):
        total = np.zeros((5, 3))
        norm = 0.0
        for i in range(n):
            y, s = native(x + i, 0.5)
            total += y
            norm += s
        return total, norm

    x = np.random.default_rng(2).normal(size=(5, 4))
    total, norm = loop(x, 10)
    np.testing.assert_allclose(total, sum(np.tanh((x + i) @ w) * 0.5 for i in range(10)), rtol=1e-5)
    np.testing.assert_allclose(norm, sum(((x + i) ** 2).sum() for i in range(10)), rtol=1e-12)
    with pytest.raises(ValueError, match=r"argument 0 of shape \[5, 4\]"):
        native(x[:3], 1.0)


def test_large_fdl_function_in_numba():
    native = ext.to_numba(lambda a, b: a @ b, *(np.zeros((300, 300)),) * 2)
    a = np.random.default_rng(3).normal(size=(300, 300))
    np.testing.assert_allclose(numba.njit(lambda a: native(a, a.T))(a), a @ a.T, rtol=1e-10)


def test_results_that_are_no_numbers_are_refused():
    @numba.njit
    def nothing(x):
        pass

    x = fnp.ones(3)
    with pytest.raises(DtypeError, match="numba_call of nothing: the function returns none"):
        ext.numba_call(nothing, x, x)
    with pytest.raises(DtypeError, match="nothing.*returns none"):
        ext.elementwise(nothing)(x)


def test_each_operand_has_a_derivative():
    with pytest.raises(ValueError, match="has 2 operands, but 1 derivatives"):
        ext.elementwise(lambda x, y: x * y, derivatives=[lambda x, y: y])(1.0, 2.0)


def test_a_result_in_a_dict_is_refused():
    with pytest.raises(TreeError, match="one tuple of arrays"):
        ext.to_numba(lambda x: {"a": x}, fnp.ones(3))
