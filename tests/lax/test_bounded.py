"""Loops with a bound, and scans whose backward pass keeps few carries."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.test_util import check_grads

LIMIT = 50.0


def growth(x, w, max_steps=100):
    """How often ``s w + x`` is done until the state is large, and the state."""
    return lax.while_loop(lambda s: s[1] < LIMIT, lambda s: (s[0] + 1, s[1] * w + x), (0, x), max_steps=max_steps)


def in_python(x, w, max_steps=100):
    count, state = 0, x
    while state < LIMIT and count < max_steps:
        count, state = count + 1, state * w + x
    return count, state


@pytest.mark.parametrize("max_steps", [0, 1, 7, 100])
def test_bounded_loops_stop_at_their_condition_or_bound(max_steps) -> None:
    for run in (growth, fdl.jit(growth, static_argnums=2)):
        count, state = run(np.float32(1), np.float32(1.1), max_steps)
        expected = in_python(1.0, 1.1, max_steps)
        assert int(count) == expected[0]
        np.testing.assert_allclose(state, expected[1], rtol=1e-5)


def test_bounded_loops_have_all_derivatives() -> None:
    x, w = fnp.asarray(np.asarray(1.0)), fnp.asarray(np.asarray(1.2))
    check_grads(lambda x, w: growth(x, w, 30)[1], (x, w), order=2)
    points = np.array([0.5, 1.0, 4.0])
    alone = [fdl.grad(lambda w, p=p: growth(p, w)[1])(np.asarray(1.2)) for p in points]
    both = fdl.jit(fdl.vmap(fdl.grad(lambda w, p: growth(p, w)[1]), (None, 0)))(np.asarray(1.2), points)
    np.testing.assert_allclose(both, alone, rtol=1e-10)
    step = 1e-6
    numeric = (in_python(4.0, 1.2 + step)[1] - in_python(4.0, 1.2 - step)[1]) / (2 * step)
    np.testing.assert_allclose(both[2], numeric, rtol=1e-6)


def test_bodies_do_not_run_beyond_the_end() -> None:
    """A step too many would divide by zero, and spoil the gradient with NaN."""

    def f(x):
        return lax.while_loop(lambda s: s > 0.5, lambda s: s - 1 / s**2, x, max_steps=9)

    value, slope = fdl.value_and_grad(f)(1.0)
    assert (float(value), float(slope)) == (0.0, 3.0)


def test_trees_closures_and_weak_numbers_in_bounded_loops() -> None:
    scale = fnp.arange(3.0)
    found = lax.while_loop(
        lambda s: s["n"] < 3, lambda s: {"n": s["n"] + 1, "x": s["x"] + scale}, {"n": 0, "x": 0 * scale}, max_steps=5
    )
    np.testing.assert_array_equal(found["x"], 3 * scale)
    assert lax.while_loop(lambda x: x < 3, lambda x: x + np.float32(1), 0.0, max_steps=9).dtype == np.float32
    tenth = lax.while_loop(lambda x: x < 0.3, lambda x: x + np.full((), 0.1), 0.1, max_steps=2)
    assert np.asarray(tenth) == 0.1 + 0.1 + 0.1
    with pytest.raises(ValueError, match="max_steps must be a number of steps"):
        lax.while_loop(lambda x: x < 3, lambda x: x + 1, 0, max_steps=-1)
    with fdl.disable_jit():
        assert int(growth(1.0, 1.1)[0]) == in_python(1.0, 1.1)[0]


def run(w, xs, **options):
    def step(c, x):
        return fnp.tanh(w * c + x), (c * x).sum()

    last, ys = lax.scan(step, 0.1 * fnp.ones_like(w), xs, **options)
    return last.sum() + (ys * fnp.arange(len(xs))).sum()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [3, 11])
def test_checkpointed_scans_have_the_derivatives_of_plain_ones(length, reverse, rng) -> None:
    w, xs = rng.normal(size=4), rng.normal(size=(length, 1))
    expected = fdl.grad(run, (0, 1))(w, xs, reverse=reverse)
    for levels in (True, 3):
        found = fdl.grad(run, (0, 1))(w, xs, reverse=reverse, checkpoint=levels)
        np.testing.assert_allclose(run(w, xs, reverse=reverse, checkpoint=levels), run(w, xs, reverse=reverse))
        for mine, plain in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, plain, rtol=1e-9)


def test_checkpointed_scans_keep_the_carries_of_a_root_of_their_length() -> None:
    """Memory by the compiled plan: n carries; about 2 sqrt(n); about 4 times the fourth root."""
    size, length = 256, 1024
    w, xs = fnp.full(size, 0.5), fnp.zeros((length, 1))

    def carries(levels):
        lowered = fdl.jit(fdl.grad(lambda w: run(w, xs, checkpoint=levels))).lower(w)
        return lowered.compile().memory_analysis().temp_size_in_bytes / (4 * size)

    few = carries(True)
    assert carries(False) > length
    assert few < 3 * length**0.5 + 20
    assert carries(3) < few


def test_wrong_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="checkpoint must be True, False or a number of levels"):
        lax.scan(lambda c, x: (c, x), 0.0, np.zeros(3), checkpoint=-1)
    with pytest.raises(ValueError, match="cannot be combined with checkpoint"):
        lax.scan(lambda c, x: (c, x), 0.0, np.zeros(3), checkpoint=True, unroll=2)
