"""checkpoint: the same derivatives, with less kept."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.core.trace import lift
from fdl.transforms.linearize import linearize_values
from tests.api.check import assert_close, check_derivatives


def block(x):
    return fnp.sin(fnp.sin(fnp.sin(x)) * x)


def residuals(f, x):
    """The arrays that the backward pass of `f` gets from the forward pass."""
    _, _, kept, _ = linearize_values(lambda v: [f(v)], [lift(x)], [True])
    return [k for k in kept if k.size > 1]


def test_values_and_derivatives_are_unchanged(rng):
    x = rng.normal(size=4)
    for f in (fdl.checkpoint(block), fdl.remat(block), fdl.checkpoint(prevent_cse=False)(block)):
        assert_close(f(x), block(x))
        check_derivatives(f, x)
        check_derivatives(fdl.jit(f), x)
        assert_close(fdl.vmap(fdl.grad(f))(x), fdl.vmap(fdl.grad(block))(x))


def test_inner_values_are_not_kept(rng):
    x = rng.normal(size=4)
    assert len(residuals(block, x)) > 2
    (kept,) = residuals(fdl.checkpoint(block), x)
    assert_close(kept, x)
    everything = fdl.checkpoint(block, policy=fdl.checkpoint_policies.everything_saveable)
    assert len(residuals(everything, x)) > 2


def test_inside_scan(rng):
    x, w = rng.normal(size=(5, 3)), rng.normal(size=(3, 3))

    def run(w, x, layer):
        return lax.scan(lambda c, v: (layer(c, v, w), c.sum()), x[0], x)

    def layer(c, v, w):
        return fnp.tanh(w @ c + v)

    check_derivatives(lambda w, x: run(w, x, fdl.checkpoint(layer)), w, x)
    plain = fdl.grad(lambda w: run(w, x, layer)[0].sum())(w)
    assert_close(fdl.jit(fdl.grad(lambda w: run(w, x, fdl.checkpoint(layer))[0].sum()))(w), plain)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: fdl.jit(fnp.sin)(x) * x,
        lambda x: lax.scan(lambda c, v: (fnp.sin(c * v), c * v), x[0], x)[1] * x,
        lambda x: lax.cond(x[0] > 0, fnp.sin, fnp.cos, x) * x,
        lambda x: fdl.checkpoint(fnp.sin)(x) * fnp.exp(x),
        lambda x: lax.while_loop(lambda c: c[0] < 1, lambda c: c + 0.3, np.zeros(3)) * x,
    ],
)
def test_of_functions_that_hold_others(rng, f):
    x = rng.normal(size=3)
    check_derivatives(fdl.checkpoint(f), x)


def test_static_argnums_pytrees_and_keywords(rng):
    x = rng.normal(size=4)

    def f(tree, name, *, scale=1.0):
        return {"sine": fnp.sin, "cosine": fnp.cos}[name](tree["x"]) * scale

    g = fdl.checkpoint(f, static_argnums=(1,))
    found = fdl.grad(lambda x: g({"x": x}, "sine", scale=2.0).sum())(x)
    assert_close(found, 2 * np.cos(x))
    assert_close(fdl.jit(lambda x: g({"x": x}, "cosine"))(x), np.cos(x))


def test_nested_and_with_closed_over_values(rng):
    x, w = rng.normal(size=(2, 3))

    @fdl.checkpoint
    def outer(x):
        return fdl.checkpoint(lambda y: fnp.sin(y * x))(x * x)

    check_derivatives(outer, x)
    check_derivatives(lambda x, w: fdl.checkpoint(lambda x: fnp.sin(x * w))(x), x, w)


def test_effects_and_control_flow_on_concrete_values():
    @fdl.checkpoint
    def f(x):
        return lax.cond(x > 0, fnp.sin, fnp.cos, x)

    assert_close(fdl.grad(f)(np.asarray(1.0)), np.cos(1.0))
    assert_close(fdl.grad(f)(np.asarray(-1.0)), -np.sin(-1.0))
