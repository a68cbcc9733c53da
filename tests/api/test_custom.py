"""custom_jvp, custom_vjp, custom_gradient: the rule is used, and only where derivatives are taken."""

import pickle
from functools import partial

import cloudpickle
import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.errors import DifferentiationError
from tests.api.check import assert_close, check_derivatives, check_reverse


def make_sine():
    """sin with its true derivative as a custom_jvp rule."""

    @fdl.custom_jvp
    def sine(x):
        return fnp.sin(x)

    @sine.defjvp
    def rule(primals, tangents):
        (x,), (t,) = primals, tangents
        return sine(x), fnp.cos(x) * t

    return sine


def make_product():
    """sin(x) * y with its true derivative as a custom_vjp rule."""

    @fdl.custom_vjp
    def product(x, y):
        return fnp.sin(x) * y

    product.defvjp(
        lambda x, y: (product(x, y), {"x": x, "y": y}),
        lambda r, g: (fnp.cos(r["x"]) * r["y"] * g, fnp.sin(r["x"]) * g),
    )
    return product


def make_marked(factor=10.0):
    """x**2 whose gradient is marked by a wrong factor, to see whether the rule is used."""

    @fdl.custom_vjp
    def marked(x):
        return x**2

    marked.defvjp(lambda x: (x**2, x), lambda x, g: (factor * x * g,))
    return marked


def make_marked_jvp(factor=10.0):
    @fdl.custom_jvp
    def marked(x):
        return x**2

    marked.defjvp(lambda primals, tangents: (primals[0] ** 2, factor * primals[0] * tangents[0]))
    return marked


BOTH = pytest.mark.parametrize("make", [make_marked, make_marked_jvp])


@BOTH
def test_the_rule_is_used_under_every_transform(make):
    f, x = make(), np.array([1.0, 2.0, 3.0])
    total = lambda x: f(x).sum()  # noqa: E731
    assert_close(f(x), x**2)
    assert_close(fdl.jit(f)(x), x**2)
    assert_close(fdl.vmap(f)(x), x**2)
    for g in (
        fdl.grad(total),
        fdl.jit(fdl.grad(total)),
        fdl.grad(fdl.jit(total)),
        fdl.vmap(fdl.grad(f)),
        fdl.grad(lambda x: fdl.vmap(f)(x).sum()),
        fdl.grad(lambda x: fdl.jit(fdl.vmap(fdl.jit(f)))(x).sum()),
        fdl.grad(lambda x: fdl.checkpoint(total)(x)),
        fdl.grad(lambda x: lax.scan(lambda c, x: (c + f(x), None), 0.0, x)[0]),
        fdl.grad(lambda x: lax.map(fdl.vmap(f), x[None]).sum()),
        fdl.grad(lambda x: lax.cond(x[0] > 0, total, fnp.sum, x)),
        fdl.grad(lambda x: lax.fori_loop(0, 2, lambda _, c: c + total(x), 0.0) / 2),
        lambda x: fdl.vjp(f, x)[1](fnp.ones(3, dtype=fnp.float64))[0],
        lambda x: fnp.diagonal(fdl.jacrev(f)(x)),
    ):
        assert_close(g(x), 10 * x)


@BOTH
def test_second_derivatives_differentiate_the_rule(make):
    f = make()
    assert float(fdl.grad(fdl.grad(f))(3.0)) == 10.0
    assert float(fdl.jit(fdl.grad(fdl.jit(fdl.grad(f))))(3.0)) == 10.0
    assert float(fdl.jacfwd(fdl.grad(f))(3.0)) == 10.0
    assert float(fdl.hessian(f)(3.0)) == 10.0
    assert_close(fdl.vmap(fdl.grad(fdl.grad(f)))(fnp.array([1.0, 2.0])), np.array([10.0, 10.0]))


def test_forward_mode_uses_the_jvp_rule():
    f = make_marked_jvp()
    assert float(fdl.jvp(f, (3.0,), (1.0,))[1]) == 30.0
    assert float(fdl.linearize(f, 3.0)[1](2.0)) == 60.0
    assert_close(fdl.jacfwd(f)(np.array([1.0, 2.0])), np.diag([10.0, 20.0]))


def test_true_rules_pass_every_order_of_modes(rng):
    sine, product = make_sine(), make_product()
    x, y = rng.normal(size=(2, 3))
    check_derivatives(lambda x: sine(x) * x, x)
    check_derivatives(fdl.jit(lambda x: fdl.vmap(sine)(x) * x), x, order=1)
    check_derivatives(lambda x, y: lax.scan(lambda c, v: (sine(c + v), sine(v) * c), y[0], x), x, y)
    check_reverse(lambda x, y: fdl.jit(product)(x, y) + x, x, y)
    check_reverse(lambda x, y: lax.scan(lambda c, v: (product(c, v), product(v, c)), y[0], x), x, y)
    check_reverse(fdl.grad(lambda x, y: product(x, y).sum(), argnums=(0, 1)), x, y)
    check_reverse(fdl.grad(lambda x, y: lax.scan(lambda c, v: (product(c, v), None), y[0], x)[0]), x, y)


def test_pytrees_and_several_outputs(rng):
    @fdl.custom_vjp
    def f(params, x):
        return {"y": params["w"] * x, "s": (params["b"] + x).sum()}

    def fwd(params, x):
        return f(params, x), (params["w"], x)

    def bwd(residuals, g):
        w, x = residuals
        return {"w": g["y"] * x, "b": fnp.full(3, g["s"])}, g["y"] * w + g["s"]

    f.defvjp(fwd, bwd)
    params = {"w": rng.normal(size=3), "b": rng.normal(size=3)}
    check_reverse(f, params, rng.normal(size=3))
    check_reverse(fdl.jit(lambda p, x: f(p, x)["y"]), params, rng.normal(size=3))

    @fdl.custom_jvp
    def g(pair):
        return pair[0] * pair[1], [pair[0]]

    @g.defjvp
    def rule(primals, tangents):
        (a, b), (da, db) = primals[0], tangents[0]
        return g((a, b)), (a * db + da * b, [da])

    check_derivatives(g, (rng.normal(size=3), rng.normal(size=3)))


def test_nondiff_argnums(rng):
    x = rng.normal(size=3)

    @partial(fdl.custom_vjp, nondiff_argnums=(0, 2))
    def apply(f, x, name):
        assert name == "name"
        return f(x)

    apply.defvjp(
        lambda f, x, name: (f(x), x),
        lambda f, name, x, g: (2.0 * fdl.vjp(f, x)[1](g)[0],),
    )
    assert_close(apply(fnp.sin, x, "name"), np.sin(x))
    assert_close(fdl.grad(lambda x: apply(fnp.sin, x, "name").sum())(x), 2 * np.cos(x))
    assert_close(fdl.jit(fdl.vmap(fdl.grad(lambda x: apply(fnp.sin, x, "name"))))(x), 2 * np.cos(x))

    @partial(fdl.custom_jvp, nondiff_argnums=(1,))
    def power(x, n):
        return x**n

    @power.defjvp
    def rule(n, primals, tangents):
        return power(primals[0], n), n * power(primals[0], n - 1) * tangents[0]

    assert_close(fdl.grad(lambda x: power(x, 3).sum())(x), 3 * x**2)
    assert_close(fdl.grad(lambda x: power(n=3, x=x).sum())(x), 3 * x**2)
    assert_close(fdl.jit(fdl.grad(fdl.grad(lambda x: power(x, 3))))(2.0), np.float32(12.0))


def test_defjvps(rng):
    @fdl.custom_jvp
    def f(x, y):
        return fnp.sin(x) * y

    f.defjvps(lambda t, out, x, y: fnp.cos(x) * y * t, lambda t, out, x, y: fnp.sin(x) * t)
    check_derivatives(f, *rng.normal(size=(2, 3)))
    f.defjvps(None, lambda t, out, x, y: fnp.sin(x) * t)
    x, y = rng.normal(size=(2, 3))
    assert_close(fdl.grad(lambda x, y: f(x, y).sum(), (0, 1))(x, y), (np.zeros(3), np.sin(x)))
    f.defjvps(None, None)
    assert_close(fdl.grad(lambda x: f(x, y).sum())(x), np.zeros(3))


def test_keywords_and_defaults():
    @fdl.custom_jvp
    def f(x, scale=2.0):
        return x * scale

    f.defjvp(lambda primals, tangents: (f(*primals), 7.0 * tangents[0]))
    assert float(f(3.0)) == 6.0
    assert float(f(x=3.0, scale=3.0)) == 9.0
    assert float(fdl.grad(f)(3.0)) == 7.0
    assert float(fdl.grad(lambda x: f(scale=1.0, x=x))(3.0)) == 7.0


def test_none_and_omitted_cotangents_are_zero(rng):
    @fdl.custom_vjp
    def f(x, y, n):
        return x * y * n

    f.defvjp(lambda x, y, n: (x * y * n, y * n), lambda r, g: (r * g, None, None))
    x, y = rng.normal(size=(2, 3))
    found = fdl.grad(lambda x, y: f(x, y, 2).sum(), (0, 1))(x, y)
    assert_close(found, (2 * y, np.zeros(3)))


def test_gradient_clipping_in_the_middle(rng):
    @fdl.custom_vjp
    def clip(x):
        return x

    clip.defvjp(lambda x: (x, None), lambda _, g: (fnp.clip(g, -0.5, 0.5),))
    x = rng.normal(size=5)
    found = fdl.jit(fdl.grad(lambda x: fnp.sum(clip(x) ** 2)))(x)
    assert_close(found, np.clip(2 * x, -0.5, 0.5))


def test_rules_only_run_when_differentiated():
    ran = []

    @fdl.custom_vjp
    def f(x):
        return x**2

    def fwd(x):
        ran.append("fwd")
        return x**2, x

    f.defvjp(fwd, lambda x, g: (ran.append("bwd"), 2 * x * g)[1:])
    f(2.0), fdl.jit(f)(2.0), fdl.vmap(f)(np.ones(2))
    assert ran == []
    fdl.grad(f)(2.0)
    assert ran == ["fwd", "bwd"]


def test_custom_gradient(rng):
    @fdl.custom_gradient
    def f(x, y):
        return x * y, lambda g: (g * y * 2, g * x * 3)

    x, y = rng.normal(size=(2, 3))
    assert_close(f(x, y), x * y)
    assert_close(fdl.jit(fdl.grad(lambda x, y: f(x, y).sum(), (0, 1)))(x, y), (2 * y, 3 * x))


def test_a_custom_rule_around_a_callback(rng):
    @fdl.custom_jvp
    def sine(x):
        return fdl.pure_callback(lambda v: np.sin(v), fdl.ShapeDtypeStruct(x.shape, x.dtype), x)

    sine.defjvp(lambda p, t: (sine(*p), fnp.cos(p[0]) * t[0]))
    x = rng.normal(size=3)
    check_derivatives(fdl.jit(lambda x: sine(x) * x), x, order=1)
    check_derivatives(lambda x: fdl.vmap(sine)(x) * x, x, order=1)


def test_random_and_integer_arguments(rng):
    @fdl.custom_vjp
    def dropout(key, x, n):
        return x * fdl.random.bernoulli(key, 0.5, x.shape) * n

    dropout.defvjp(lambda k, x, n: (dropout(k, x, n), (k, n)), lambda r, g: (None, g * r[1], None))
    key, x = fdl.random.key(0), rng.normal(size=4)
    assert_close(fdl.jit(fdl.grad(lambda x: dropout(key, x, 3).sum()))(x), np.full(4, 3.0))


def test_pickle(rng):
    x = rng.normal(size=3)
    for make in (make_product, lambda: (lambda s: lambda x, y: s(x) * y)(make_sine())):
        f = make()
        again = pickle.loads(cloudpickle.dumps(fdl.jit(fdl.grad(lambda x, f=f: f(x, 2 * x).sum()))))
        assert_close(again(x), fdl.grad(lambda x, f=f: f(x, 2 * x).sum())(x))


def test_fixed_point_by_the_implicit_function_theorem(rng):
    """x = cos(a x): the derivative is that of the equation, not of the iteration (which has no reverse mode)."""

    @fdl.custom_vjp
    def solve(a):
        return lax.while_loop(
            lambda s: fnp.abs(s[0] - s[1]) > 1e-14, lambda s: (s[1], fnp.cos(a * s[1])), (0.0 * a, 1.0 + 0.0 * a)
        )[1]

    def fwd(a):
        x = solve(a)
        return x, (a, x)

    def bwd(residuals, g):
        a, x = residuals
        _, pull = fdl.vjp(lambda a, x: fnp.cos(a * x), a, x)
        slope = pull(fnp.ones_like(x))
        return (g * slope[0] / (1 - slope[1]),)

    solve.defvjp(fwd, bwd)
    check_reverse(solve, np.float64(0.7))
    check_reverse(fdl.jit(fdl.vmap(solve)), np.array([0.3, 0.7]))


def test_closing_over_a_differentiated_value_is_an_error():
    def loss(x):
        @fdl.custom_vjp
        def f(y):
            return x * y

        f.defvjp(lambda y: (x * y, None), lambda _, g: (g,))
        return f(2.0)

    with pytest.raises(DifferentiationError, match=r"f.*closes over"):
        fdl.grad(loss)(3.0)

    def other(x):
        @fdl.custom_jvp
        def g(y):
            return x * y

        g.defjvp(lambda p, t: (g(*p), t[0]))
        return g(2.0)

    with pytest.raises(DifferentiationError, match=r"g.*closes over"):
        fdl.grad(other)(3.0)


def test_errors_of_rules(rng):
    @fdl.custom_vjp
    def f(x, y):
        return x * y

    with pytest.raises(DifferentiationError, match="f has no rules yet.*defvjp"):
        fdl.grad(f)(1.0, 2.0)
    f.defvjp(lambda x, y: x * y, lambda r, g: (g, g))
    with pytest.raises(TypeError, match=r"forward rule of f must return a pair \(output, residuals\)"):
        fdl.grad(f)(1.0, 2.0)
    f.defvjp(lambda x, y: (x * y, None), lambda r, g: g)
    with pytest.raises(TypeError, match=r"backward rule of f must return a tuple.*2"):
        fdl.grad(f)(1.0, 2.0)
    f.defvjp(lambda x, y: (x * y, None), lambda r, g: (g,))
    with pytest.raises(TypeError, match=r"backward rule of f must return a tuple.*2"):
        fdl.grad(f)(1.0, 2.0)
    f.defvjp(lambda x, y: (x * y, None), lambda r, g: (fnp.ones(3), g))
    with pytest.raises(TypeError, match=r"backward rule of f returned.*f32\[3\].*f32\[\]"):
        fdl.grad(f)(1.0, 2.0)

    @fdl.custom_jvp
    def h(x):
        return x, x

    with pytest.raises(DifferentiationError, match="h has no rule yet.*defjvp"):
        fdl.grad(lambda x: h(x)[0])(1.0)
    h.defjvp(lambda p, t: (h(*p), t[0]))
    with pytest.raises(TypeError, match="jvp rule of h returned an output of structure"):
        fdl.grad(lambda x: h(x)[0])(1.0)


def test_forward_mode_of_a_custom_vjp_is_an_error():
    f = make_marked()
    for g in (
        lambda: fdl.jvp(f, (1.0,), (1.0,)),
        lambda: fdl.jit(lambda x: fdl.jvp(f, (x,), (x,)))(1.0),
        lambda: fdl.jacfwd(f)(1.0),
        lambda: fdl.jit(fdl.jacfwd(f))(1.0),
    ):
        with pytest.raises(DifferentiationError, match="forward-mode.*custom_vjp function.*custom_jvp"):
            g()
