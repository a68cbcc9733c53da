"""Slices of elementwise results are computed by themselves."""

import numpy as np

import fdl
import fdl.numpy as fnp
from fdl.compile.passes.order import prepared
from tests.api.check import assert_same
from tests.compile.test_hoist import compiled


def gates(x, b):
    g = fnp.maximum(x, 0.5) * 3 + b
    first, second, third = fnp.split(g, 3, axis=1)
    return first * second - third


def test_a_split_sum_is_no_value_of_its_own(rng):
    x, b = rng.normal(size=(4, 9)), rng.normal(size=9)
    assert_same(fdl.jit(gates)(x, b), gates(x, b))
    shapes = [
        e.outputs[0].type.shape for e in compiled(gates, x, b).equations if e.operation.lowering_kind == "elementwise"
    ]
    assert shapes
    assert set(shapes) == {(4, 3)}


def test_what_is_read_whole_or_twice_stays(rng):
    x, b = rng.normal(size=(4, 9)), rng.normal(size=9)

    def overlapping(x, b):
        g = x * b
        return g[:, :6] + g[:, 3:], g[::-1, 1:7]

    def returned(x, b):
        g = x * b
        return g[1:], g

    def reduced(x, b):
        g = fnp.exp(x * b)
        return g[:, 2:], g.sum()

    for function in (overlapping, returned, reduced):
        found = fdl.jit(function)(x, b)
        for mine, expected in zip(found, function(x, b), strict=True):
            np.testing.assert_allclose(mine, expected, rtol=1e-14)
        program = prepared(fdl.make_program(function)(x, b))
        (product,) = [e for e in program.equations if e.operation.name == "mul"]
        assert product.outputs[0].type.shape == (4, 9)


def test_checkpointed_parts_are_not_mixed(rng):
    x = rng.normal(size=(4, 6))

    def run(x):
        g = fdl.checkpoint(lambda v: fnp.sin(v) * 2)(x)
        return g[:2] * g[2:]

    np.testing.assert_allclose(fdl.jit(fdl.grad(lambda x: run(x).sum()))(x), fdl.grad(lambda x: run(x).sum())(x))
