"""Epilogues of products and convolutions: the same bits as without them, and what NumPy computes in float64."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, nn
from fdl.compile import pipeline
from fdl.compile.ir.steps import KernelStep
from fdl.compile.passes.order import prepared
from fdl.compile.schedule import fuse
from fdl.compile.schedule.planner import make_plan

SIZES = [(1, 1, 1), (7, 17, 1), (1, 65, 130), (130, 1, 7), (17, 130, 65), (65, 7, 130), (130, 65, 17)]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def traced(fun, *args):
    return fdl.jit(fun).lower(*args).traced.program


def fused(program, donate=()):
    """How many stored results the epilogues of a plan make."""
    steps = make_plan(prepared(program), donate).steps
    return sum(len(s.epilogue.stores) for s in steps if isinstance(s, KernelStep) and s.epilogue)


def run(program, args, donate=()):
    donate = donate or (False,) * len(args)
    compiled = pipeline.Compiled(program, donate, pipeline.build_archive(program, donate))
    return compiled.run([a.copy() for a in args])


def both_ways(monkeypatch, fun, *args, donate=()):
    """The results with epilogues, which must have the bits of those without."""
    program = traced(fun, *args)
    assert fused(program, donate) > 0
    found = run(program, args, donate)
    monkeypatch.setattr(fuse, "EPILOGUES", False)
    assert fused(program, donate) == 0
    for a, b in zip(found, run(program, args, donate), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    return found


def close(found, wanted, depth):
    eps = np.finfo(found.dtype).eps
    np.testing.assert_allclose(found, wanted, rtol=8 * depth * eps, atol=8 * depth * eps)


def erf_gelu(x):
    from scipy.special import erf

    return x * (1 + erf(x / np.sqrt(2))) / 2


ACTIVATIONS = {
    "relu": (nn.relu, lambda x: np.maximum(x, 0)),
    "tanh": (fnp.tanh, np.tanh),
    "gelu": (lambda x: nn.gelu(x, approximate=False), erf_gelu),
}


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_bias_and_activation(monkeypatch, rng, sizes, dtype, name):
    m, n, k = sizes
    activation, reference = ACTIVATIONS[name]
    x, w, b = (rng.standard_normal(s).astype(dtype) for s in ((m, k), (k, n), (n,)))
    (found,) = both_ways(monkeypatch, lambda x, w, b: activation(x @ w + b), x, w, b)
    close(found, reference(x.astype(float) @ w.astype(float) + b), k)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_transposed_operands_and_residual(monkeypatch, rng, sizes):
    m, n, k = sizes
    x, w, r = (rng.standard_normal(s).astype(np.float32) for s in ((k, m), (n, k), (m, n)))
    (found,) = both_ways(monkeypatch, lambda x, w, r: x.T @ w.T + nn.relu(r) * 2, x, w, r)
    close(found, x.T.astype(float) @ w.T + np.maximum(r, 0) * 2, k)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_several_outputs_of_several_dtypes(monkeypatch, rng, sizes):
    m, n, k = sizes
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((m, k), (k, n), (n,)))

    def fun(x, w, b):
        z = x @ w
        y = z + b
        return z, y, nn.relu(y), y > 0, y.astype("float64")

    z, y, activated, positive, wide = both_ways(monkeypatch, fun, x, w, b)
    np.testing.assert_array_equal(y, z + b)
    np.testing.assert_array_equal(activated, np.maximum(y, 0))
    np.testing.assert_array_equal(positive, y > 0)
    np.testing.assert_array_equal(wide, y.astype(np.float64), strict=True)


def test_only_other_dtypes_leave(monkeypatch, rng):
    x, w = rng.standard_normal((33, 700)), rng.standard_normal((700, 20))
    (found,) = both_ways(monkeypatch, lambda x, w: x @ w > 0.5, x, w)
    np.testing.assert_array_equal(found, x @ w > 0.5)


def test_half_precision_is_rounded_after_every_operation(rng):
    x, w, b = (rng.standard_normal(s).astype(fnp.bfloat16) for s in ((33, 20), (20, 50), (50,)))
    program = traced(lambda x, w, b: nn.relu(x @ w + b), x, w, b)
    assert fused(program) > 0
    (found,) = run(program, (x, w, b))
    product = (x.astype(np.float32) @ w.astype(np.float32)).astype(x.dtype)
    np.testing.assert_array_equal(found.astype(float), np.maximum((product + b).astype(x.dtype), 0).astype(float))


def test_reshaped_result_meets_its_bias(monkeypatch, rng):
    x, w, b = rng.standard_normal((4, 6, 5)), rng.standard_normal((5, 12)), rng.standard_normal((6, 12))
    (found,) = both_ways(monkeypatch, lambda x, w, b: (x @ w).reshape(4, 6, 3, 4) * 2 + 1, x, w, b)
    close(found, (x @ w).reshape(4, 6, 3, 4) * 2 + 1, 5)


def test_backward_pass_multiplies_by_the_derivative(monkeypatch, rng):
    x, w, v = (rng.standard_normal(s) for s in ((37, 20), (20, 30), (30, 9)))

    def loss(x, w, v):
        return (fnp.tanh(fnp.tanh(x @ w) @ v) ** 2).sum()

    found = both_ways(monkeypatch, fdl.grad(loss, (1, 2)), x, w, v)
    h = np.tanh(x @ w)
    y = np.tanh(h @ v)
    dz = 2 * y * (1 - y**2)
    np.testing.assert_allclose(found[1], h.T @ dz, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(found[0], x.T @ (dz @ v.T * (1 - h**2)), rtol=1e-11, atol=1e-11)


def test_donated_operands_are_read_before_they_are_overwritten(monkeypatch, rng):
    """The residual, twice as long as one pass over k, is updated in its own memory; so is an operand of the product."""
    x, w, r = (rng.standard_normal(s).astype(np.float32) for s in ((40, 900), (900, 40), (40, 40)))

    def fun(x, w, r):
        h = nn.relu(r)
        return h @ (x @ w + h) + h, h - (x @ w)

    found = both_ways(monkeypatch, fun, x, w, r, donate=(True, True, True))
    h, product = np.maximum(r, 0).astype(float), x.astype(float) @ w
    np.testing.assert_allclose(found[0], h @ (product + h) + h, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(found[1], h - product, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("features", [8, 35])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_with_scale_shift_and_residual(monkeypatch, rng, features, stride):
    x, w = rng.standard_normal((3, 9, 8, 5)), rng.standard_normal((3, 3, 5, features))
    scale, shift = rng.standard_normal(features), rng.standard_normal(features)

    def plain(x, w):
        return lax.conv_general_dilated(x, w, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    residual = rng.standard_normal(fdl.eval_shape(plain, x, w).shape)
    (found,) = both_ways(
        monkeypatch, lambda *a: nn.relu(plain(*a[:2]) * a[2] + a[3] + a[4] * 2), x, w, scale, shift, residual
    )
    want = np.maximum(np.asarray(plain(x, w)) * scale + shift + residual * 2, 0)
    np.testing.assert_allclose(found, want, rtol=1e-12, atol=1e-12)


def test_gradients_of_convolutions(monkeypatch, rng):
    """The kernels of weight gradients take no epilogue: what was meant for them runs after them."""
    x, w = rng.standard_normal((3, 9, 8, 5)), rng.standard_normal((3, 3, 5, 8))

    def step(x, w):
        def loss(x, w):
            y = lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            return (y**2).sum()

        dx, dw = fdl.grad(loss, (0, 1))(x, w)
        return dx * 2, fnp.sign(dw) * dw**2, loss(x, w)

    dx, dw, value = both_ways(monkeypatch, step, x, w)
    for array, slope, place in ((x, dx / 2, (1, 2, 3, 4)), (w, np.sign(dw) * np.sqrt(abs(dw)), (1, 1, 2, 3))):
        moved = array.copy()
        moved[place] += 1e-6
        other = step(moved, w)[2] if array is x else step(x, moved)[2]
        np.testing.assert_allclose((float(other) - float(value)) / 1e-6, slope[place], rtol=1e-3)
