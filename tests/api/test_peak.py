"""What checkpoint is for: less memory at once, by the compiler's plan."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.compile.passes.order import prepared
from fdl.compile.schedule.planner import make_plan
from tests.api.check import assert_close

LAYERS, ROWS, SIZE = 16, 64, 8


def block(x, w):
    y = fnp.tanh(x @ w)
    return x + fnp.exp(-fnp.sin(y @ w) * y)


def in_row(block):
    def loss(weights, x):
        for n in range(LAYERS):
            x = block(x, weights[n])
        return x.sum()

    return loss


def in_groups(block):
    @fdl.checkpoint
    def group(x, weights):
        for n in range(4):
            x = fdl.checkpoint(block)(x, weights[n])
        return x

    def loss(weights, x):
        for n in range(0, LAYERS, 4):
            x = group(x, weights[n : n + 4])
        return x.sum()

    return loss


def over_layers(block):
    return lambda weights, x: lax.scan(lambda x, w: (block(x, w), None), x, weights)[0].sum()


def recurrent(block):
    def loss(weights, x):
        return lax.scan(lambda h, _: (block(h, weights[0]), None), x, None, length=LAYERS)[0].sum()

    return loss


def values_alive(loss, weights, x):
    """Memory of the gradient's plan, in activations."""
    return make_plan(prepared(fdl.make_program(fdl.grad(loss))(weights, x))).arena_bytes / x.nbytes


@pytest.mark.parametrize("model", [in_row, over_layers, recurrent])
def test_one_value_a_layer_is_kept(model, rng):
    weights, x = rng.normal(size=(LAYERS, SIZE, SIZE)) / 4, rng.normal(size=(ROWS, SIZE))
    plain, less = model(block), model(fdl.checkpoint(block))
    # The inputs of the layers, what is used inside of one, and the gradients of weights.
    assert values_alive(less, weights, x) < LAYERS + 14
    assert values_alive(plain, weights, x) > 3 * LAYERS
    assert_close(fdl.jit(fdl.grad(less))(weights, x), fdl.jit(fdl.grad(plain))(weights, x))


def test_checkpoints_in_checkpoints(rng):
    weights, x = rng.normal(size=(LAYERS, SIZE, SIZE)) / 4, rng.normal(size=(ROWS, SIZE))
    assert values_alive(in_groups(block), weights, x) < 2 * 4 + 10
    assert_close(fdl.jit(fdl.grad(in_groups(block)))(weights, x), fdl.grad(in_row(block))(weights, x))
    assert np.isfinite(np.asarray(in_groups(block)(weights, x)))
