"""Errors where an array of 64 bits makes something 64 bits wide: they name the operation and the line that did."""

import linecache
import re

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax

X, WIDE, WIDE_SCALAR = fnp.ones(3), np.linspace(0, 1, 3), fnp.asarray(np.asarray(2.0))
ZERO = fnp.float32(0)


def _widened(v):
    return fnp.tanh(v) / fnp.sqrt(fnp.sum(v * v) + WIDE_SCALAR)


def _scanned(step, start, xs=None):
    return lax.scan(lambda c, x: (step(c, x), None), start, xs, 3)[0]


@fdl.checkpoint
def _checkpointed(c, _):
    return c * WIDE


#: The operation that has to be named, what the message says was given, and a program.
PROGRAMS = {
    "scan": ("mul", "carry came", lambda: _scanned(lambda c, _: c * WIDE, X)),
    "slices of a scan": ("add", "argument x", lambda: _scanned(lambda c, x: c + x, ZERO, WIDE)),
    "a leaf": ("add", "carry['a']", lambda: _scanned(lambda c, x: {"a": c["a"] + x}, {"a": ZERO}, WIDE)),
    "a helper": ("add", "an array without axes, 2.0", lambda: _scanned(lambda c, _: _widened(c), X)),
    "an inner jit": ("sub", "closes over", lambda: _scanned(lambda c, _: fdl.jit(lambda v: v - WIDE)(c), X)),
    "an inner vmap": ("mul", "carry", lambda: _scanned(lambda c, _: fdl.vmap(lambda v: v * WIDE_SCALAR)(c), X)),
    "a conversion": ("convert", "carry", lambda: _scanned(lambda c, _: c.astype(WIDE.dtype), X)),
    "a concatenation": ("concatenate", "f32", lambda: _scanned(lambda c, _: fnp.append(c[1:], WIDE[:1]), X)),
    "while_loop": ("add", "carry came", lambda: lax.while_loop(lambda v: v[0] < 3, lambda v: v + WIDE, X)),
    "a bounded loop": ("add", "y came", lambda: lax.while_loop(lambda v: v[0] < 3, lambda v: v + WIDE, X, max_steps=9)),
    "fori_loop": ("mul", "carry came", lambda: lax.fori_loop(0, 3, lambda i, v: fnp.sin(v * WIDE), X)),
    "a traced bound": ("mul", "y came", lambda: fdl.jit(lambda n: lax.fori_loop(0, n, lambda i, v: v * WIDE, X))(3)),
    "cond": ("mul", "in true_fun", lambda: lax.cond(True, lambda v: v * WIDE, lambda v: v, X)),
    "traced cond": ("div", "false_fun", lambda: fdl.jit(lambda v: lax.cond(v[0] > 0, lambda: v, lambda: v / WIDE))(X)),
    "switch": ("sub", "in branch 1", lambda: lax.switch(0, [lambda v: v, lambda v: fnp.exp(v - WIDE)], X)),
    "grad": ("mul", "carry", lambda: fdl.grad(lambda v: _scanned(lambda c, _: c * WIDE, v).sum())(X)),
    "vmap": ("add", "carry", lambda: fdl.vmap(lambda v: _scanned(lambda c, x: c + x, v, WIDE))(X)),
    "checkpoint": ("mul", "carry", lambda: fdl.grad(lambda v: _scanned(_checkpointed, v).sum())(X)),
    "custom_vjp": ("mul", "carry", lambda: fdl.grad(_custom(lambda v: _scanned(lambda c, _: c * WIDE, v)))(X)),
    "associative_scan": ("mul", "given f32", lambda: lax.associative_scan(lambda a, b: a * b * WIDE_SCALAR, X)),
    "reduce": ("mul", "given f32", lambda: lax.reduce(X, ZERO, lambda a, b: a + b * WIDE_SCALAR, (0,))),
    "map": ("mul", "carry", lambda: lax.fori_loop(0, 2, lambda i, v: lax.map(lambda e: e * WIDE_SCALAR, v), X)),
}  # fmt: skip


def _custom(function):
    f = fdl.custom_vjp(lambda v: function(v).sum())
    f.defvjp(lambda v: (f(v), v), lambda v, g: (g * v,))
    return f


def test_numbers_that_widen_integers_are_called_numbers():
    with pytest.raises(fdl.errors.ShapeError, match=r"add at .* where i32\[\] met f32\[\], the number 0.5\."):
        lax.fori_loop(0, 2, lambda i, c: c + 0.5, fnp.array(1))


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_line_that_made_something_wide_is_named(name):
    operation, said, program = PROGRAMS[name]
    with pytest.raises((fdl.errors.ShapeError, fdl.errors.DtypeError)) as caught:
        program()
    text = str(caught.value)
    assert said in text and "f32" in text and "made it f64" in text
    line = int(re.search(rf"{operation} at \S*test_dtype_origins\.py:(\d+)", text).group(1))
    assert "WIDE" in linecache.getline(__file__, line)
