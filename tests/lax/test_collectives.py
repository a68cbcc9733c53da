"""Collectives inside vmap with an axis name, against NumPy over the whole batch."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from tests.api.check import assert_close, check_derivatives


def over(f, **options):
    return fdl.vmap(f, axis_name="i", **options)


@pytest.fixture
def x(rng):
    return rng.normal(size=(4, 3))


def test_sums_means_and_extremes(x):
    for collective, expected in [
        (lax.psum, x.sum(0)),
        (lax.pmean, x.mean(0)),
        (lax.pmax, x.max(0)),
        (lax.pmin, x.min(0)),
    ]:
        assert_close(over(lambda v, c=collective: c(v, "i"))(x), np.tile(expected, (4, 1)))
        assert_close(over(lambda v, c=collective: c(v, "i"), out_axes=None)(x), expected)
        assert_close(over(lambda v, c=collective: v - c({"a": v}, "i")["a"])(x), x - expected)
        assert_close(fdl.jit(over(lambda v, c=collective: v - c(v, "i")))(x), x - expected)
        assert_close(over(fdl.jit(lambda v, c=collective: v - c(v, "i")))(x), x - expected)


def test_values_that_do_not_depend_on_the_axis(x):
    y = x[0]
    assert over(lambda v: lax.psum(1, "i"))(x).tolist() == [4] * 4
    assert_close(over(lambda v: lax.psum(fnp.asarray(y), "i"))(x), np.tile(4 * y, (4, 1)))
    assert_close(over(lambda v: lax.pmean(fnp.asarray(y), "i"))(x), np.tile(y, (4, 1)))
    assert_close(over(lambda v: lax.pmax(fnp.asarray(y), "i"))(x), np.tile(y, (4, 1)))


def test_axis_size_is_a_python_integer(x):
    assert_close(over(lambda v: v * lax.axis_size("i"))(x), 4 * x)
    assert_close(over(lambda v: fnp.zeros(lax.psum(1, "i")))(x), np.zeros((4, 4)))


def test_mean_of_integers_is_floating():
    found = over(lambda v: lax.pmean(v, "i"))(np.array([1, 2, 4, 5], np.int32))
    assert_close(found, np.full(4, 3.0))


def test_axis_index(x):
    assert_close(over(lambda v: v * lax.axis_index("i"))(x), x * np.arange(4)[:, None])
    assert over(lambda v: lax.axis_index("i"))(x).dtype == np.int32


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_all_gather(x, axis):
    found = over(lambda v: lax.all_gather(v, "i", axis=axis))(x)
    assert_close(found, np.stack([x if axis == 0 else x.T] * 4))
    joined = over(lambda v: lax.all_gather(v.reshape(1, 3), "i", axis=axis, tiled=True))(x)
    assert_close(joined, np.stack([x if axis == 0 else x.reshape(1, 12)] * 4))


@pytest.mark.parametrize("axis", [0, 1])
def test_psum_scatter(rng, axis):
    x = rng.normal(size=(4, 4, 8)) if axis == 0 else rng.normal(size=(4, 8, 4))
    total = x.sum(0)
    found = over(lambda v: lax.psum_scatter(v, "i", scatter_dimension=axis))(x)
    assert_close(found, np.moveaxis(total, axis, 0))
    tiled = over(lambda v: lax.psum_scatter(v, "i", scatter_dimension=1 - axis, tiled=True))(x)
    assert_close(tiled, np.stack(np.split(total, 4, axis=1 - axis)))


def test_ppermute(x):
    ring = [(i, (i + 1) % 4) for i in range(4)]
    assert_close(over(lambda v: lax.ppermute(v, "i", ring))(x), np.roll(x, 1, 0))
    partly = over(lambda v: lax.ppermute(v, "i", [(0, 1), (2, 0)]))(x)
    assert_close(partly, np.stack([x[2], x[0], 0 * x[0], 0 * x[0]]))


def test_two_axes(rng):
    x = rng.normal(size=(3, 4, 2))

    def f(v):
        return lax.psum(v, "rows"), lax.psum(v, "columns"), lax.psum(v, ("rows", "columns")), lax.axis_index("columns")

    rows, columns, both, index = fdl.vmap(fdl.vmap(f, axis_name="columns"), axis_name="rows")(x)
    assert_close(rows, np.broadcast_to(x.sum(0), x.shape))
    assert_close(columns, np.broadcast_to(x.sum(1, keepdims=True), x.shape))
    assert_close(both, np.broadcast_to(x.sum((0, 1)), x.shape))
    assert_close(index, np.tile(np.arange(4), (3, 1)))


def test_an_unnamed_axis_inside_or_outside(rng):
    x = rng.normal(size=(3, 4, 2))
    for f in (
        lambda v: v - lax.psum(v, "i"),
        lambda v: lax.all_gather(v, "i").sum(0) * v,
        lambda v: lax.ppermute(v, "i", [(0, 2), (1, 0), (2, 1)]),
        lambda v: v * lax.pmax(v, "i"),
        lambda v: v * lax.axis_index("i"),
    ):
        expected = np.stack([np.asarray(over(f)(x[:, j])) for j in range(4)], axis=1)
        assert_close(over(fdl.vmap(f))(x), expected)
        assert_close(fdl.vmap(over(f), in_axes=1, out_axes=1)(x), expected)


def test_psum_scatter_under_another_vmap(rng):
    x = rng.normal(size=(3, 5, 3, 2))
    expected = np.moveaxis(x.sum(0), 1, 0)
    assert_close(over(fdl.vmap(lambda v: lax.psum_scatter(v, "i")))(x), expected)
    assert_close(fdl.vmap(over(lambda v: lax.psum_scatter(v, "i")), in_axes=1, out_axes=1)(x), expected)


@pytest.mark.parametrize(
    "f",
    [
        lambda v: fnp.sin(v) * lax.psum(v * v, "i"),
        lambda v: fnp.sin(v) * lax.pmean(v * v, "i"),
        lambda v: v * lax.pmax(fnp.sin(v), "i"),
        lambda v: v * lax.pmin(fnp.sin(v), "i"),
        lambda v: fnp.tanh(lax.all_gather(v, "i") @ v),
        lambda v: lax.ppermute(fnp.exp(v), "i", [(0, 1), (1, 2), (2, 0)]) * v,
        lambda v: lax.psum_scatter(fnp.outer(v, v), "i") * v,
    ],
)
def test_derivatives(rng, f):
    check_derivatives(over(f), rng.normal(size=(3, 3)))
    check_derivatives(fdl.jit(over(f)), rng.normal(size=(3, 3)), order=1)


def test_gradient_inside_the_mapped_function(rng):
    # Every example differentiates its own loss, which reads the others' values through the sum.
    x = rng.normal(size=(3, 2))
    found = over(lambda v: fdl.grad(lambda w: fnp.sum(w * w) * 0.5)(v) - lax.pmean(v, "i"))(x)
    assert_close(found, x - x.mean(0))


def test_data_parallel_step_is_the_step_on_the_whole_batch(rng):
    w, x, y = rng.normal(size=3), rng.normal(size=(4, 8, 3)), rng.normal(size=(4, 8))

    def loss(w, x, y):
        return fnp.mean((x @ w - y) ** 2)

    def step(w, x, y):
        return w - 0.1 * lax.pmean(fdl.grad(loss)(w, x, y), "i")

    found = fdl.jit(over(step, in_axes=(None, 0, 0), out_axes=None))(w, x, y)
    assert_close(found, w - 0.1 * np.asarray(fdl.grad(loss)(w, x.reshape(32, 3), y.reshape(32))))


def test_inside_control_flow(x):
    def body(carry, _):
        return carry + lax.psum(carry, "i"), carry

    last, _ = over(lambda v: lax.scan(body, v, None, length=2))(x)
    expected = x
    for _ in range(2):
        expected = expected + expected.sum(0)
    assert_close(last, expected)
    chosen = over(lambda v: lax.cond(True, lambda v: lax.pmean(v, "i"), lambda v: v, v))(x)
    assert_close(chosen, np.tile(x.mean(0), (4, 1)))
    looped = over(lambda v: lax.fori_loop(0, 2, lambda _, c: c + lax.psum(c, "i"), v))(x)
    assert_close(looped, expected)
