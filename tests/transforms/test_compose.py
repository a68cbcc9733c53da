"""All transforms compose in any order: compositions against loops, finite differences and each other."""

import itertools

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.core.interpret import interpret
from fdl.core.verify import verify
from tests.api.check import assert_close, check_derivatives


@fdl.custom_jvp
def softplus(x):
    return fnp.log1p(fnp.exp(-fnp.abs(x))) + fnp.maximum(x, 0.0)


softplus.defjvp(lambda p, t: (softplus(*p), t[0] / (1 + fnp.exp(-p[0]))))


@fdl.custom_vjp
def product(x, y):
    return fnp.sin(x) * y


product.defvjp(lambda x, y: (fnp.sin(x) * y, (x, y)), lambda r, g: (fnp.cos(r[0]) * r[1] * g, fnp.sin(r[0]) * g))


def recurrence(x):
    """scan of cond, closed over x."""

    def step(c, v):
        c = lax.cond(v > 0, lambda c: fnp.sin(c + v), lambda c: c * fnp.cos(v) + x[0], c)
        return c, c * v

    last, ys = lax.scan(step, x.sum(), x)
    return last + ys.sum()


def loops(x):
    """fori_loop, and a while_loop that is not differentiated, inside a jitted function."""
    count = lax.while_loop(lambda n: n < 3, lambda n: n + 1, 0)
    return fdl.jit(lambda x: lax.fori_loop(0, 3, lambda i, c: fnp.tanh(c * x[i % 2] + x.mean()), x.sum()))(x) * count


def rules(x):
    """Custom rules inside scan inside jit."""
    return fdl.jit(lambda x: lax.scan(lambda c, v: (softplus(c * v), None), x[0], x)[0])(x)


def indexing(x):
    """Gather, scatter, sort and slices."""
    y = x.at[1].multiply(x[0])[fnp.array([2, 1, 1])]
    return fnp.sum(fnp.sort(y) * fnp.arange(3.0)) + lax.dynamic_slice(x, (1,), (2,)).prod()


def algebra(x):
    """Products, norms, a checkpointed block."""
    m = fnp.outer(x, x) + fnp.eye(3)
    return fdl.checkpoint(lambda m: fnp.sum(fnp.tanh(m @ m.T) ** 2))(m) / fnp.sqrt(fnp.sum(x * x) + 1)


def derivative(x):
    """A function that differentiates inside."""
    return fnp.sum(fdl.grad(lambda y: recurrence(y) * y[0])(x) * x) + fdl.jvp(rules, (x,), (x,))[1]


FUNCTIONS = [recurrence, loops, rules, indexing, algebra, derivative]

#: From a function of a vector to another one; all keep the meaning.
WRAPPERS = {
    "jit": fdl.jit,
    "vmap": lambda f: lambda x: fdl.vmap(f)(x[None])[0],
    "checkpoint": fdl.checkpoint,
    "scan": lambda f: lambda x: lax.scan(lambda c, v: (c + f(v), None), 0.0, x[None])[0],
    "map": lambda f: lambda x: lax.map(f, fnp.stack([x, 2 * x]))[0],
    "cond": lambda f: lambda x: lax.cond(x[0] < 100, f, lambda x: x[0] * 0, x),
    "batched cond": lambda f: (
        lambda x: fdl.vmap(lambda n: lax.cond(n > 0, f, lambda x: x[0] * 0, x))(fnp.array([1, 0]))[0]
    ),
    "linearize": lambda f: lambda x: fdl.linearize(lambda s: s * f(x), 1.0)[1](1.0),
    "transpose": lambda f: (
        lambda x: fdl.linear_transpose(lambda s: s * f(x), fnp.ones_like(x[0]))(fnp.ones_like(x[0]))[0]
    ),
}


@pytest.fixture
def x():
    return fnp.asarray(np.array([0.7, -0.4, 1.2]))


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_derivatives_of_every_order_of_modes(f, x):
    check_derivatives(f, x, order=1 if f is derivative else 2)


@pytest.mark.parametrize("f", FUNCTIONS[:-1], ids=lambda f: f.__name__)
def test_jit_vmap_grad_and_hessian_in_any_order(f, x):
    rows = np.stack([np.asarray(x), -np.asarray(x), 2 * np.asarray(x)])

    def each(g):
        return np.stack([np.asarray(g(fnp.asarray(r))) for r in rows])

    values, slopes = each(f), each(fdl.jit(fdl.grad(f)))
    assert_close(fdl.jit(fdl.vmap(f))(rows), values)
    assert_close(fdl.vmap(fdl.jit(f))(rows), values)
    assert_close(fdl.vmap(fdl.jit(fdl.grad(fdl.jit(f))))(rows), slopes)
    assert_close(fdl.grad(lambda r: fdl.jit(fdl.vmap(f))(r).sum())(rows), slopes)
    if f is recurrence or f is indexing:
        assert_close(fdl.jit(fdl.vmap(fdl.hessian(f)))(rows), each(fdl.jit(fdl.jacrev(fdl.grad(f)))))


@pytest.mark.parametrize("names", list(itertools.combinations(WRAPPERS, 2)), ids=lambda n: "-".join(n))
def test_any_two_wrappers_change_neither_value_nor_gradient(names, x):
    for order in (names, names[::-1]):
        f = g = recurrence
        for name in order:
            g = WRAPPERS[name](g)
        value, slope = fdl.value_and_grad(f)(x)
        assert_close(fdl.value_and_grad(g)(x), (value, slope))


@pytest.mark.parametrize("f", [recurrence, rules, algebra], ids=lambda f: f.__name__)
def test_a_tower_of_all_wrappers(f, x):
    g = f
    for name in WRAPPERS:
        g = WRAPPERS[name](g)
    assert_close(fdl.jit(fdl.value_and_grad(g))(x), fdl.value_and_grad(f)(x))
    along = fnp.array([1.0, 2.0, -1.0], dtype=fnp.float64)
    push = lambda f: lambda x: fdl.jvp(f, (x,), (along,))[1]  # noqa: E731
    assert_close(fdl.grad(push(g))(x), fdl.grad(push(f))(x))


def test_custom_vjp_in_loops_batches_and_second_derivatives(rng):
    x, y = rng.normal(size=(2, 4))

    def plain(x, y):
        return lax.scan(lambda c, v: (fnp.sin(c) * v, None), y[0], x)[0]

    def ruled(x, y):
        return lax.scan(lambda c, v: (product(c, v), None), y[0], x)[0]

    for transform in (
        lambda f: fdl.grad(f, (0, 1)),
        lambda f: fdl.jit(fdl.grad(fdl.jit(f), (0, 1))),
        lambda f: fdl.hessian(f, (0, 1)),
        lambda f: fdl.jacrev(fdl.jacrev(f)),
        lambda f: lambda x, y: fdl.vmap(fdl.grad(f), (0, None))(fnp.stack([x, y]), y),
        lambda f: fdl.grad(lambda x, y: fdl.vmap(f, (0, None))(fnp.stack([x, y]), y).sum(), (0, 1)),
        lambda f: fdl.jit(fdl.grad(fdl.checkpoint(f))),
    ):
        assert_close(transform(ruled)(x, y), transform(plain)(x, y))


def test_training_step_by_scan_differentiated_through(rng):
    """The gradient of the result of three steps of gradient descent by the learning rate (hyperparameter gradient)."""
    w, x, y = rng.normal(size=3), rng.normal(size=(3, 5, 3)), rng.normal(size=(3, 5))

    def loss(w, x, y):
        return fnp.mean((fnp.tanh(x @ w) - y) ** 2)

    def train(rate, w):
        def step(w, batch):
            value, slope = fdl.value_and_grad(loss)(w, *batch)
            return w - rate * slope, value

        w, losses = lax.scan(step, w, (x, y))
        return losses.sum() + (w**2).sum()

    check_derivatives(fdl.jit(train), np.asarray(0.1), w)


def test_programs_of_compositions_verify_and_agree_with_their_reference(x):
    rows = np.stack([np.asarray(x), 2 * np.asarray(x)])
    for f in FUNCTIONS:
        for g, arg in [(f, rows[0]), (fdl.vmap(fdl.grad(f)), rows)]:
            program = fdl.make_program(g)(arg)
            verify(program)
            assert_close(interpret(program, [arg])[0], fdl.jit(g)(arg))
        if f is not derivative:
            verify(fdl.make_program(fdl.hessian(f))(rows[0]))
