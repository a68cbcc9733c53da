"""vmap against a loop."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, tree
from tests.api.check import assert_close, check_derivatives


def looped(f, *rows):
    """``f`` of each row, stacked along a new leading axis."""
    outs = [f(*values) for values in zip(*rows, strict=True)]
    return tree.map(lambda *parts: np.stack([np.asarray(p) for p in parts]), *outs)


def f(x, y):
    return {"product": fnp.sin(x) @ y, "total": fnp.sum(x) * fnp.max(y)}


def test_mapping_all_arguments_is_a_loop(rng):
    x, y = rng.normal(size=(4, 2, 3)), rng.normal(size=(4, 3))
    assert_close(fdl.vmap(f)(x, y), looped(f, x, y))


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_in_axes_and_out_axes_of_every_sign(rng, axis):
    x = rng.normal(size=(3, 4, 5))
    rows = np.moveaxis(x, axis, 0)
    expected = np.stack([np.sin(r).T for r in rows])
    for out in (0, 1, 2, -1, -3):
        found = fdl.vmap(lambda r: fnp.sin(r).T, in_axes=axis, out_axes=out)(x)
        assert_close(found, np.moveaxis(expected, 0, out))


def test_arguments_that_are_not_mapped(rng):
    x, y = rng.normal(size=(4, 2, 3)), rng.normal(size=3)
    expected = looped(lambda v: f(v, y), x)
    assert_close(fdl.vmap(f, in_axes=(0, None))(x, y), expected)
    assert_close(fdl.vmap(f, (0, None))(x, fnp.asarray(y)), expected)
    assert_close(fdl.vmap(lambda v: f(v, y))(x), expected)
    assert_close(fdl.vmap(lambda x, s: x * s, in_axes=(0, None))(x, 2.0), 2 * x)


def test_a_python_number_that_is_not_mapped_stays_one(rng):
    x = rng.normal(size=(4, 3))
    power = fdl.jit(lambda x, n: x**n, static_argnums=1)
    assert_close(fdl.vmap(power, in_axes=(0, None))(x, 3), x**3)
    assert_close(fdl.vmap(lambda x, n: x.reshape(n, 1), in_axes=(0, None))(x, 3), x[:, :, None])


def test_axes_as_pytrees(rng):
    batch = {"a": rng.normal(size=(4, 3)), "b": (rng.normal(size=(2, 4)), rng.normal(size=2))}

    def g(batch, scale):
        return {"s": batch["a"].sum() * scale, "v": (batch["b"][0] + batch["b"][1], batch["a"])}

    found = fdl.vmap(g, in_axes=({"a": 0, "b": (1, None)}, None), out_axes={"s": 0, "v": (1, -1)})(batch, 2.0)
    assert_close(found["s"], 2 * batch["a"].sum(1))
    assert_close(found["v"][0], batch["b"][0] + batch["b"][1][:, None])
    assert_close(found["v"][1], batch["a"].T)
    # A prefix stands for everything below it, and None among the leaves of an argument keeps its meaning.
    pair = {"x": rng.normal(size=(4, 2)), "nothing": None}
    assert_close(fdl.vmap(lambda p: p["x"].sum(), in_axes=({"x": 0, "nothing": None},))(pair), pair["x"].sum(1))
    assert_close(fdl.vmap(lambda p: p["x"].sum(), in_axes=[0])(pair), pair["x"].sum(1))


def test_outputs_that_do_not_depend_on_the_axis(rng):
    x, y = rng.normal(size=(4, 3)), rng.normal(size=2)
    repeated, once = fdl.vmap(lambda x: (fnp.asarray(y) * 2, y), out_axes=(0, None))(x)
    assert_close(repeated, np.tile(2 * y, (4, 1)))
    assert_close(once, y)


def test_keyword_arguments_are_mapped_along_axis_zero(rng):
    x, w = rng.normal(size=(2, 4, 3))
    assert_close(fdl.vmap(lambda x, *, w: x @ w)(x, w=w), np.sum(x * w, 1))
    assert_close(fdl.vmap(lambda x, *, w: x @ w, in_axes=None)(x[0], w=w), w @ x[0])


def test_axis_size_where_nothing_else_says_it():
    found = fdl.vmap(lambda: lax.axis_index("i") * 2, axis_name="i", axis_size=3)()
    assert_close(found, np.array([0, 2, 4]))
    assert_close(fdl.vmap(lambda x: x + 1, in_axes=None, axis_size=2)(1.0), np.array([2.0, 2.0]))


def test_nested(rng):
    x, y = rng.normal(size=(3, 2)), rng.normal(size=(4, 2))
    outer = fdl.vmap(fdl.vmap(fnp.dot, in_axes=(None, 0)), in_axes=(0, None))
    assert_close(outer(x, y), x @ y.T)
    swapped = fdl.vmap(fdl.vmap(fnp.dot, in_axes=(0, None)), in_axes=(None, 0))
    assert_close(swapped(x, y), y @ x.T)
    a, b = rng.normal(size=(5, 3, 2)), rng.normal(size=(5, 2, 4))
    matmul = fdl.vmap(fdl.vmap(fdl.vmap(fnp.dot, (None, 1)), (0, None)))
    assert_close(matmul(a, b), a @ b)


def test_size_one_and_size_zero(rng):
    x = rng.normal(size=(1, 3))
    assert_close(fdl.vmap(fnp.sum)(x), x.sum(1))
    assert fdl.vmap(lambda v: (fnp.sin(v), v.sum()))(np.zeros((0, 3)))[0].shape == (0, 3)


def test_python_structure_and_integers_pass(rng):
    x = np.arange(12, dtype=np.int32).reshape(4, 3)
    found = fdl.vmap(lambda v: [v[::-1], (v > 4, v.astype("float32") / 2)])(x)
    assert_close(found, [x[:, ::-1], (x > 4, x / 2)])


@pytest.mark.parametrize(
    "g",
    [
        lambda x, y: x[y],
        lambda x, y: x.at[y].set(0.0),
        lambda x, y: x.at[y].add(x[0]),
        lambda x, y: fnp.where(x > y, x, -x),
        lambda x, y: lax.dynamic_slice(x, (y,), (2,)),
        lambda x, y: lax.dynamic_update_slice(x, x[:2] * 2, (y,)),
        lambda x, y: fnp.sort(x)[y],
        lambda x, y: fnp.cumsum(x) + fnp.argmax(x) + y,
        lambda x, y: fnp.concatenate([x, x[:1] * y]),
        lambda x, y: fnp.einsum("i,j->ij", x, x + y),
        lambda x, y: fdl.grad(lambda v: fnp.sum(v**3) * y)(x),
        lambda x, y: fdl.jit(lambda v: v * y)(x),
        lambda x, y: fdl.random.normal(fdl.random.key(y), (2,)) + x[0],
    ],
)
def test_operations_with_mapped_and_shared_indices(rng, g):
    x, y = fnp.asarray(rng.normal(size=(3, 5))), fnp.asarray(np.array([3, 0, 2], np.int32))
    assert_close(fdl.vmap(g)(x, y), looped(g, x, y))
    assert_close(fdl.vmap(g, in_axes=(None, 0))(x[0], y), looped(lambda i: g(x[0], i), y))
    assert_close(fdl.vmap(g, in_axes=(0, None))(x, y[0]), looped(lambda v: g(v, y[0]), x))
    assert_close(fdl.jit(fdl.vmap(g))(x, y), looped(g, x, y))


def test_derivatives_of_a_mapped_function(rng):
    x, y = rng.normal(size=(4, 2, 3)), rng.normal(size=(4, 3))
    check_derivatives(lambda x, y: fdl.vmap(lambda a, b: fnp.tanh(a @ b))(x, y), x, y)
    check_derivatives(lambda x, w: fdl.vmap(lambda a, w: fnp.tanh(a @ w), (0, None))(x, w), x, y[0])


def test_per_example_gradients(rng):
    w, x, y = rng.normal(size=3), rng.normal(size=(5, 3)), rng.normal(size=5)
    found = fdl.vmap(fdl.grad(lambda w, x, y: (x @ w - y) ** 2), in_axes=(None, 0, 0))(w, x, y)
    assert_close(found, 2 * (x @ w - y)[:, None] * x)


def test_axis_size_agrees_with_the_arguments(rng):
    x = rng.normal(size=(3, 2))
    assert_close(fdl.vmap(fnp.sum, axis_size=3)(x), x.sum(1))
