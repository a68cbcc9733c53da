"""while_loop against Python's while."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, tree
from tests.api.check import assert_close, check_forward


def collatz(n):
    """Steps of Collatz's sequence from n to 1."""
    count = 0
    while n != 1:
        n, count = (3 * n + 1 if n % 2 else n // 2), count + 1
    return count


def fdl_collatz(n):
    def step(state):
        n, count = state
        return fnp.where(n % 2 == 1, 3 * n + 1, n // 2), count + 1

    return lax.while_loop(lambda s: s[0] != 1, step, (n, 0))[1]


@pytest.mark.parametrize("jit", [False, True])
def test_a_number_of_steps_that_depends_on_the_data(jit):
    f = fdl.jit(fdl_collatz) if jit else fdl_collatz
    for n in (1, 2, 7, 27):
        assert int(f(n)) == collatz(n)


def test_batched_loops_stop_each_on_its_own():
    n = np.array([1, 7, 27, 2, 9], np.int32)
    expected = np.array([collatz(int(v)) for v in n])
    assert_close(fdl.vmap(fdl_collatz)(n), expected)
    assert_close(fdl.jit(fdl.vmap(fdl_collatz))(n), expected)
    assert_close(fdl.vmap(fdl.vmap(fdl_collatz))(n.reshape(1, 5))[0], expected)


def test_pytrees_constants_and_no_steps(rng):
    w, limit = rng.normal(size=3), np.asarray(2.5)

    def run(w, limit, x):
        return lax.while_loop(
            lambda s: fnp.sum(s["x"] ** 2) < limit,
            lambda s: {"x": s["x"] * 1.5 + w * 0, "n": s["n"] + 1},
            {"x": x, "n": 0},
        )

    x, n = np.full(3, 0.1), 0
    while np.sum(x**2) < limit:
        x, n = x * 1.5, n + 1
    assert_close(run(w, limit, np.full(3, 0.1)), {"x": x, "n": n})
    assert_close(fdl.jit(run)(w, limit, np.full(3, 0.1)), {"x": x, "n": n})
    assert_close(run(w, 0.0, np.full(3, 0.1)), {"x": np.full(3, 0.1), "n": 0})


@pytest.mark.parametrize("axes", [(0, None, None), (None, 0, None), (None, None, 0), (0, 0, None), (0, 0, 0)])
def test_vmap_of_condition_constants_body_constants_and_carry(rng, axes):
    limit, rate, start = np.array([2.0, 5.0, 1.0]), np.array([1.3, 1.7, 2.1]), np.array([0.5, 3.0, 0.01])

    def run(limit, rate, start):
        return lax.while_loop(lambda s: s[0] < limit, lambda s: (s[0] * rate, s[1] + 1), (start, 0))

    args = [a if axis == 0 else a[0] for a, axis in zip((limit, rate, start), axes, strict=True)]
    rows = [run(*(a[n] if axis == 0 else a for a, axis in zip(args, axes, strict=True))) for n in range(3)]
    expected = tree.map(lambda *r: np.stack([np.asarray(v) for v in r]), *rows)
    assert_close(fdl.vmap(run, axes)(*args), expected)
    assert_close(fdl.jit(fdl.vmap(run, axes))(*args), expected)


def test_forward_mode():
    def power(x):
        return lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * x), (0, x))[1]

    check_forward(power, np.asarray(1.3))
    check_forward(fdl.jit(power), np.asarray(1.3))
    check_forward(fdl.jacfwd(power), np.asarray(1.3))
    check_forward(fdl.vmap(power), np.array([1.3, 0.2]))


def test_reverse_mode_past_a_loop_that_is_not_differentiated(rng):
    x = rng.normal(size=3)

    def f(x):
        count = lax.while_loop(lambda n: n < 5, lambda n: n + 1, 0)
        scale = lax.while_loop(lambda s: s < 2, lambda s: s * 1.5, lax.stop_gradient(fnp.sum(x * x) + 0.1))
        return fnp.sum(x**2) * count * lax.stop_gradient(scale) / lax.stop_gradient(scale)

    assert_close(fdl.grad(f)(x), 10 * x)
    assert_close(fdl.jit(fdl.grad(f))(x), 10 * x)


def test_nested_loops_and_scan_inside():
    def f(n):
        def step(state):
            i, total = state
            inner = lax.while_loop(lambda s: s[0] < i, lambda s: (s[0] + 1, s[1] + s[0]), (0, 0))[1]
            more = lax.scan(lambda c, v: (c + v, None), 0, fnp.arange(3))[0]
            return i + 1, total + inner + more

        return lax.while_loop(lambda s: s[0] < n, step, (0, 0))[1]

    expected = sum(sum(range(i)) + 3 for i in range(6))
    assert int(f(6)) == expected and int(fdl.jit(f)(6)) == expected
    assert_close(fdl.vmap(f)(np.array([6, 0])), np.array([expected, 0]))


def test_newton_iteration_in_double_precision():
    def root(a):
        return lax.while_loop(lambda s: fnp.abs(s * s - a) > 1e-12, lambda s: (s + a / s) / 2, a)

    assert_close(fdl.jit(root)(np.asarray(2.0)), np.sqrt(2.0), 1e-12)
    assert_close(fdl.vmap(root)(np.array([2.0, 9.0, 0.25])), np.sqrt([2.0, 9.0, 0.25]), 1e-10)
