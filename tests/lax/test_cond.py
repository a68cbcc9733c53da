"""cond and switch against Python's if."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, tree
from tests.api.check import assert_close, check_derivatives


def true(x, y):
    return {"z": fnp.sin(x) * y, "n": 1}


def false(x, y):
    return {"z": x - y, "n": 2}


@pytest.mark.parametrize("jit", [False, True])
def test_cond(rng, jit):
    x, y = rng.normal(size=(2, 3))
    f = lambda p, x, y: lax.cond(p, true, false, x, y)  # noqa: E731
    f = fdl.jit(f) if jit else f
    for pred in (True, False, np.bool_(True), np.array(False), 1, 0, 2.5, fnp.asarray(0.0), np.int8(3)):
        assert_close(f(pred, x, y), tree.map(np.asarray, true(x, y) if pred else false(x, y)))


def test_operands_by_keyword_and_none():
    assert float(lax.cond(True, lambda x: x + 1.0, lambda x: x, operand=2.0)) == 3.0
    assert float(lax.cond(False, lambda _: 1.0, lambda _: 2.0, operand=None)) == 2.0
    assert float(lax.cond(True, lambda: 1.0, lambda: 2.0)) == 1.0
    assert lax.cond(True, lambda x: x, lambda x: x, None) is None


def test_only_the_chosen_branch_runs():
    seen = []

    def branch(name):
        def run(x):
            fdl.debug.callback(lambda v: seen.append((name, float(v))), x)
            return x

        return run

    for pred in (True, False):
        lax.cond(pred, branch("true"), branch("false"), 2.0)
        fdl.jit(lambda p: lax.cond(p, branch("true"), branch("false"), 3.0))(pred)
    assert seen == [("true", 2.0), ("true", 3.0), ("false", 2.0), ("false", 3.0)]


def test_branches_close_over_traced_values(rng):
    x, y = rng.normal(size=(2, 3))

    def f(x, y, p):
        return lax.cond(p, lambda: fnp.sin(x) * y, lambda: y * 3)

    for p in (True, False):
        check_derivatives(lambda x, y, p=p: f(x, y, p), x, y)
        check_derivatives(fdl.jit(lambda x, y, p=p: f(x, y, p)), x, y, order=1)
        assert_close(fdl.jit(f)(x, y, p), np.sin(x) * y if p else 3 * y)


def test_predicates_that_depend_on_what_is_differentiated():
    def f(x):
        return lax.cond(x > 1, lambda x: x**3, lambda x: 2 * x, x)

    for x in (0.5, 1.5):
        check_derivatives(f, np.asarray(x, float), order=1)
        check_derivatives(fdl.jit(f), np.asarray(x, float))


def test_branches_with_different_residuals(rng):
    x, y = rng.normal(size=(2, 3))

    def f(i, x, y):
        return lax.switch(
            i,
            [
                lambda x, y: (fnp.exp(fnp.sin(x) * y), x),
                lambda x, y: (y * 2, x * y),
                lambda x, y: (lax.stop_gradient(x), fnp.zeros(3, dtype=fnp.float64)),
            ],
            x,
            y,
        )

    for i in range(2):
        check_derivatives(fdl.jit(lambda x, y, i=i: f(i, x, y)), x, y)
    assert_close(fdl.grad(lambda x: f(2, x, y)[0].sum())(x), np.zeros(3))


@pytest.mark.parametrize("jit", [False, True])
def test_switch_clamps_its_index(jit):
    f = lambda i: lax.switch(i, [lambda x: x, lambda x: x * 2, lambda x: x * 3], 10.0)  # noqa: E731
    f = fdl.jit(f) if jit else f
    for index, expected in [
        (-5, 10.0),
        (0, 10.0),
        (1, 20.0),
        (2, 30.0),
        (7, 30.0),
        (np.uint8(200), 30.0),
        (np.int64(2**40), 30.0),
    ]:
        assert float(f(index)) == expected
    assert float(lax.switch(4, [lambda x: x + 1], 1.0)) == 2.0


@pytest.mark.parametrize("jit", [False, True])
def test_vmap_of_cond(rng, jit):
    p, x, y = np.array([True, False, True]), rng.normal(size=(3, 2)), rng.normal(size=(3, 2))

    def f(p, x, y):
        return lax.cond(p, true, false, x, y)

    for axes in [(0, 0, 0), (0, None, None), (None, 0, None), (0, None, 0), (None, None, 0)]:
        args = [a if axis == 0 else a[0] for a, axis in zip((p, x, y), axes, strict=True)]
        rows = [f(*(a[n] if axis == 0 else a for a, axis in zip(args, axes, strict=True))) for n in range(3)]
        expected = tree.map(lambda *r: np.stack([np.asarray(v) for v in r]), *rows)
        mapped = fdl.vmap(f, axes)
        assert_close((fdl.jit(mapped) if jit else mapped)(*args), expected)
    indices = np.array([0, 2, 9, -1])
    found = fdl.vmap(lambda i: lax.switch(i, [lambda: 1.0, lambda: 2.0, lambda: 3.0]))(indices)
    assert_close(found, np.array([1.0, 3.0, 3.0, 1.0]))


def test_derivatives_of_a_batched_predicate(rng):
    x = rng.normal(size=(5,))
    check_derivatives(fdl.vmap(lambda x: lax.cond(x > 0, fnp.sin, lambda x: x**3, x)), x)
    check_derivatives(lambda x: fdl.vmap(fdl.grad(lambda x: lax.cond(x > 0, fnp.sin, lambda x: x**3, x)))(x), x)


def test_nested(rng):
    def f(x):
        return lax.cond(
            x > 0, lambda x: lax.cond(x > 1, fnp.sin, fnp.cos, x), lambda x: lax.switch(1, [fnp.exp, fnp.tanh], x), x
        )

    for x in (1.5, 0.5, -0.5):
        check_derivatives(f, np.asarray(x, float))
        assert_close(fdl.jit(f)(x), {1.5: np.sin, 0.5: np.cos, -0.5: np.tanh}[x](np.float32(x)))
    assert_close(fdl.vmap(f)(np.array([1.5, 0.5, -0.5])), np.array([np.sin(1.5), np.cos(0.5), np.tanh(-0.5)]))


def test_python_numbers_in_one_branch_take_the_dtype_of_the_other():
    x = fnp.asarray(2.0, dtype=fnp.float64)
    for p in (True, False):
        assert lax.cond(p, lambda x: x, lambda x: 0.0, x).dtype == np.float64
        assert lax.cond(p, lambda x: 1, lambda x: x, x).dtype == np.float64


def test_older_form_gives_each_function_an_operand_of_its_own():
    f = fdl.jit(lambda p, x, y: lax.cond(p, x, lambda x: x + 1, (y, y), lambda ys: ys[0] * ys[1]))
    assert f(True, 2.0, 3.0) == 3
    assert f(False, 2.0, 3.0) == 9
