"""Networks with channels before the spatial axes: nothing but their ends is ever transposed in memory."""

from math import prod

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, nn
from fdl.compile import compile_program
from fdl.compile.ir.steps import LoopNest
from fdl.compile.passes.order import prepared
from fdl.compile.schedule.planner import make_plan
from fdl.core.interpret import interpret

CHANNELS = 8
RNG = np.random.default_rng(0)


def conv(x, w, stride=1):
    return lax.conv_general_dilated(x, w, (stride, stride), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))


def batch_norm(x, scale, shift):
    mean = x.mean((0, 2, 3), keepdims=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdims=True)
    return (x - mean) / fnp.sqrt(variance + 1e-3) * scale[:, None, None] + shift[:, None, None]


def pool(x, kind):
    start = -np.inf if kind is lax.max else 0.0
    return lax.reduce_window(x, start, kind, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def residual(p, x):
    y = nn.relu(conv(x, p["first"]))
    y = nn.relu(y + batch_norm(conv(nn.relu(batch_norm(conv(y, p["w"]), p["g"], p["b"])), p["v"]), p["g"], p["b"]))
    return (pool(y, lax.max).mean((2, 3)) ** 2).sum()


def inception(p, x):
    y = nn.relu(conv(x, p["first"]) + p["b"][:, None, None])
    y = fnp.concatenate([nn.relu(conv(y, p["w"])), pool(y, lax.max).repeat(2, 2).repeat(2, 3), conv(y, p["v"])], 1)
    return (y[:, 2:-2] ** 2).sum()


def strided(p, x):
    y = pool(fnp.tanh(conv(x, p["first"])), lax.add) * p["g"][:, None, None]
    return conv(nn.relu(conv(y, p["w"], 2)), p["v"]).transpose(0, 3, 2, 1)


def arguments(dtype=np.float32):
    def normal(*shape):
        return (RNG.standard_normal(shape) / 3).astype(dtype)

    weights = {"first": normal(CHANNELS, 3, 3, 3), "g": 1 + normal(CHANNELS), "b": normal(CHANNELS)}
    weights |= {name: normal(CHANNELS, CHANNELS, 3, 3) for name in "wv"}
    return weights, normal(2, 3, 12, 10)


def program_of(fun, *args):
    return fdl.jit(fun).lower(*args).traced.program


@pytest.mark.parametrize("fun", [residual, inception, strided])
def test_against_the_reference(fun):
    args = arguments(np.float64)
    scalar = fun if fun is not strided else lambda p, x: (strided(p, x) ** 2).sum()
    for f in (fun, fdl.grad(scalar)):
        program = program_of(f, *args)
        leaves = [np.asarray(leaf) for leaf in fdl.tree.leaves(args)]
        for found, wanted in zip(compile_program(program).run(leaves), interpret(program, leaves), strict=True):
            np.testing.assert_allclose(found, wanted, 1e-9, 1e-10)


def test_activations_lie_as_they_are_computed():
    weights, x = arguments()
    size = prod(x.shape) // 3 * CHANNELS
    steps = make_plan(prepared(program_of(fdl.grad(residual), weights, x))).steps
    nests = [s.loops for s in steps if isinstance(s, LoopNest)]
    places = [load for loops in nests for load in (*loops.reads(), *loops.stores) if load.var.type.size == size]
    assert len(places) > 10
    assert {p.flat.coefficients[-1] for p in places} == {1}


@pytest.mark.parametrize("shape", [((7, 33), (33, 20)), ((3, 7, 5), (3, 5, 9)), ((4, 7, 5), (5, 9)), ((33,), (33, 20))])
@pytest.mark.parametrize("which", [0, 1])
def test_gradients_of_products_are_made_in_their_own_layout(shape, which):
    """A gradient that is returned as it is takes one step: no transposed copy of it is made."""
    operands = [RNG.standard_normal(s) for s in shape]
    cotangent = RNG.standard_normal((operands[0] @ operands[1]).shape)

    def gradient(x, y, g):
        def product(z):
            return z @ y if which == 0 else x @ z

        return fdl.vjp(product, (x, y)[which])[1](g)[0]

    steps = make_plan(prepared(program_of(gradient, *operands, cotangent))).steps
    assert not any(isinstance(step, LoopNest) for step in steps)
    found = np.asarray(fdl.jit(gradient)(*operands, cotangent))
    x, y = operands
    for index in [tuple(0 for _ in found.shape), tuple(n - 1 for n in found.shape)]:
        step = np.zeros(found.shape)
        step[index] = 1
        change = step @ y if which == 0 else x @ step
        np.testing.assert_allclose(found[index], (change * cotangent).sum(), 1e-12, 1e-12)


@pytest.mark.parametrize("cpu", ["native", "x86-64", "native:512"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "uint16", "int64", "bool"])
def test_squares_are_turned_in_registers(dtype: str, cpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole squares, their rests on both sides, and what is fused with them, as NumPy computes it."""
    if cpu != "native" and dtype not in ("float32", "int8"):
        return
    monkeypatch.setenv("FDL_CPU", cpu)
    rng = np.random.default_rng(0)
    for shape in ((64, 64), (67, 131), (2, 70, 96)):
        x = rng.integers(0, 100, shape).astype(dtype)
        np.testing.assert_array_equal(np.asarray(fdl.jit(lambda x: x.swapaxes(-1, -2))(x)), x.swapaxes(-1, -2))
        if dtype in ("float32", "int8"):
            row, column = (rng.integers(0, 9, n).astype(dtype) for n in (shape[-2], shape[-1]))
            y = rng.integers(0, 9, (*shape[:-2], shape[-1], shape[-2])).astype(dtype)
            found = fdl.jit(lambda x, y, r, c: (x.swapaxes(-1, -2) * 2 + r, y - x.swapaxes(-1, -2) * c[:, None]))(
                x, y, row, column
            )
            turned = x.swapaxes(-1, -2)
            np.testing.assert_array_equal(np.asarray(found[0]), turned * 2 + row)
            np.testing.assert_array_equal(np.asarray(found[1]), y - turned * column[:, None])
