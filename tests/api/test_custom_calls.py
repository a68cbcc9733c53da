"""What rules of derivatives may be and do: decide in Python, call themselves, close over values, name their zeros."""

from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.errors import DifferentiationError, LeakedTracerError, TreeError

C = np.array([1.0, 2.0])


@fdl.custom_jvp
def jvp_if(x: Any) -> Any:
    return x * x if x > 0 else -x


@jvp_if.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (x,), (dx,) = primals, tangents
    return jvp_if(x), 10.0 * x * dx if x > 0 else dx


@fdl.custom_vjp
def vjp_if(x: Any) -> Any:
    return x * x if x > 0 else -x


vjp_if.defvjp(lambda x: (vjp_if(x), x), lambda x, ct: (10.0 * x * ct if x > 0 else ct,))


@pytest.mark.parametrize("f", [jvp_if, vjp_if])
def test_python_decides_outside_of_jit(f: Any) -> None:
    assert f(2.0) == 4.0 and f(-2.0) == 2.0
    assert fdl.grad(f)(2.0) == 20.0 and fdl.grad(f)(-2.0) == 1.0
    assert fdl.value_and_grad(lambda x: (f(x) * 2, f(x)), has_aux=True)(2.0) == ((8.0, 4.0), 40.0)
    assert fdl.vjp(f, 2.0)[1](1.0) == (20.0,)
    assert fdl.jacrev(f)(2.0) == 20.0
    # The derivative of the rule itself: 10 x by x.
    assert fdl.grad(fdl.grad(f))(2.0) == 10.0
    if f is jvp_if:
        assert fdl.jvp(f, (2.0,), (1.0,)) == (4.0, 20.0)
        assert fdl.linearize(f, 2.0)[1](1.0) == 20.0 and fdl.jacfwd(f)(2.0) == 20.0 and fdl.hessian(f)(2.0) == 10.0


@fdl.custom_jvp
def twice(x: Any) -> Any:
    return 2.0 * x


twice.defjvp(lambda primals, tangents: (twice(primals[0]), twice(tangents[0])))

ONCE = {
    "grad": lambda f: fdl.grad(f)(3.0),
    "jvp": lambda f: fdl.jvp(f, (3.0,), (1.0,))[1],
    "vjp": lambda f: fdl.vjp(f, 3.0)[1](1.0)[0],
    "linearize": lambda f: fdl.linearize(f, 3.0)[1](1.0),
    "jit of grad": lambda f: fdl.jit(fdl.grad(f))(3.0),
    "grad of jit": lambda f: fdl.grad(fdl.jit(f))(3.0),
    "vmap of grad": lambda f: fdl.vmap(fdl.grad(f))(C)[0],
    "grad of vmap": lambda f: fdl.grad(lambda x: fdl.vmap(f)(x).sum())(C)[0],
    "jit of grad of vmap": lambda f: fdl.jit(fdl.grad(lambda x: fdl.vmap(f)(x).sum()))(C)[0],
    "grad of vmap of jit": lambda f: fdl.grad(lambda x: fdl.vmap(fdl.jit(f))(x).sum())(C)[0],
    "jacfwd": lambda f: fdl.jacfwd(f)(3.0),
    "jacrev": lambda f: fdl.jacrev(f)(3.0),
    "checkpoint": lambda f: fdl.grad(fdl.checkpoint(f))(3.0),
    "jit of checkpoint": lambda f: fdl.jit(fdl.grad(fdl.checkpoint(f)))(3.0),
    "scan": lambda f: fdl.grad(lambda x: lax.scan(lambda c, _: (f(c), None), x, None, 1)[0])(3.0),
    "cond": lambda f: fdl.grad(lambda x: lax.cond(x > 0, f, lambda x: x, x))(3.0),
    "while": lambda f: fdl.jvp(lambda x: lax.fori_loop(0, fnp.asarray(1), lambda i, c: f(c), x), (3.0,), (1.0,))[1],
    "linear_transpose": lambda f: fdl.linear_transpose(f, 3.0)(1.0)[0],
    "second derivative": lambda f: fdl.grad(lambda x: fdl.grad(lambda y: f(y) * y)(x) / 2)(3.0),
}


@pytest.mark.parametrize("transform", ONCE)
def test_a_rule_may_apply_the_function_to_the_tangent(transform: str) -> None:
    assert ONCE[transform](twice) == 2.0


def _scaled_jvp(c: Any) -> Any:
    f = fdl.custom_jvp(lambda x: x * c)
    f.defjvp(lambda primals, tangents: (f(*primals), 3 * c * tangents[0]))
    return f


def _scaled_vjp(c: Any) -> Any:
    f = fdl.custom_vjp(lambda x: x * c)
    f.defvjp(lambda x: (f(x), ()), lambda _, ct: (3 * c * ct,))
    return f


def _scaled_static(c: Any) -> Any:
    f = fdl.custom_vjp(lambda c, x: x * c, nondiff_argnums=(0,))
    f.defvjp(lambda c, x: (c * x, ()), lambda c, _, ct: (3 * c * ct,))
    return lambda x: f(c, x)


@pytest.mark.parametrize("make", [_scaled_jvp, _scaled_vjp, _scaled_static])
def test_a_rule_may_close_over_a_batched_value(make: Any) -> None:
    def total(x: Any) -> Any:
        return fdl.vmap(lambda c: make(c)(x))(C).sum()

    assert fdl.vmap(lambda c: fdl.grad(make(c))(2.0))(C).tolist() == [3.0, 6.0]
    assert fdl.grad(total)(2.0) == 9.0 and fdl.jit(fdl.grad(total))(2.0) == 9.0
    assert fdl.vmap(lambda c: make(c)(2.0))(C).tolist() == [2.0, 4.0]
    rows = fdl.grad(lambda x: fdl.vmap(lambda c: fdl.vmap(make(c))(x))(C).sum())(C)
    assert rows.tolist() == [9.0, 9.0]


@pytest.mark.parametrize("make", [_scaled_jvp, _scaled_vjp, _scaled_static])
def test_what_a_rule_cannot_reach_is_told(make: Any) -> None:
    with pytest.raises(DifferentiationError, match=r"closes over a f\d\d\[\] by which the gradient is taken.*argument"):
        fdl.grad(lambda c: make(c * 1.0)(2.0 * c))(3.0)
    with pytest.raises(LeakedTracerError, match="derivative rule of <lambda>.*nondiff_argnums.*ordinary argument"):
        fdl.grad(fdl.jit(lambda x, c: make(c)(x)))(2.0, 3.0)
    with pytest.raises(LeakedTracerError, match="derivative rule.*nondiff_argnums.*ordinary argument"):
        fdl.grad(lambda x: fdl.vmap(lambda c: fdl.jit(make(c))(x))(C).sum())(2.0)


def test_none_is_zero_for_any_part_of_an_argument() -> None:
    params = {"a": 1.0, "b": {"c": 2.0, "d": (3.0, None)}}
    f = fdl.custom_vjp(lambda p, x: p["a"] * x + p["b"]["c"])
    for cotangent in (
        lambda x, ct: ({"a": ct * x, "b": None}, ct),
        lambda x, ct: ({"a": ct * x, "b": {"c": None, "d": None}}, ct),
        lambda x, ct: [{"a": ct * x, "b": {"c": None, "d": (None, None)}}, ct],
    ):
        f.defvjp(lambda p, x: (f(p, x), x), cotangent)
        found, dx = fdl.grad(f, (0, 1))(params, 3.0)
        assert found == {"a": 3.0, "b": {"c": 0.0, "d": (0.0, None)}} and dx == 1.0
    f.defvjp(lambda p, x: (f(p, x), x), lambda x, ct: (None, ct))
    assert fdl.grad(f)(params, 3.0)["a"] == 0.0
    f.defvjp(lambda p, x: (f(p, x), x), lambda x, ct: ({"a": ct * x}, ct))
    with pytest.raises(TreeError, match="backward rule of <lambda> returned a cotangent of structure"):
        fdl.grad(f)(params, 3.0)
    f.defvjp(lambda p, x: (f(p, x), x), lambda x, ct: ({"a": ct, "b": ct}, ct))
    with pytest.raises(TreeError, match="None stands for zeros of any structure"):
        fdl.grad(f)(params, 3.0)


def test_keyword_only_arguments() -> None:
    f = fdl.custom_jvp(lambda x, *, n=2.0: x**n)
    f.defjvp(lambda primals, tangents: (f(*primals), 5.0 * tangents[0]))
    assert f(2.0, n=3.0) == 8.0 and fdl.grad(f)(2.0) == 5.0
    assert fdl.value_and_grad(lambda x: f(x, n=3.0))(2.0) == (8.0, 5.0)
    assert fdl.jit(fdl.value_and_grad(lambda x: f(x, n=3.0)))(2.0) == (8.0, 5.0)
    # A rule that names them takes them by keyword; another one after the positional arguments.
    f.defjvp(lambda primals, tangents, *, n: (f(*primals, n=n), n * 10.0 * tangents[0]))
    assert fdl.value_and_grad(lambda x: f(x, n=3))(2.0) == (8.0, 30.0)
    g = fdl.custom_vjp(lambda x, *, scale=1.0, shift=0.0: x * scale + shift)
    g.defvjp(lambda x, scale, shift: (x * scale + shift, x), lambda x, ct: (7.0 * ct, 2.0 * ct, 3.0 * ct))
    assert fdl.grad(lambda x, s: g(x, shift=s), (0, 1))(2.0, 4.0) == (7.0, 3.0)


def test_symbolic_zeros() -> None:
    seen: list[Any] = []
    f = fdl.custom_jvp(lambda x, y, z: (x * y, z))

    def rule(primals: Any, tangents: Any) -> Any:
        seen.append([type(t) is fdl.custom_derivatives.SymbolicZero for t in tangents])
        dx, dy, dz = tangents
        zero = [t for t in tangents if isinstance(t, fdl.custom_derivatives.SymbolicZero)]
        assert all(z.shape == () and z.dtype == np.float32 and z.ndim == 0 and z.size == 1 for z in zero)
        first = 2.0 * primals[1] * dx if not seen[-1][0] else 3.0 * primals[0] * dy
        return f(*primals), (first, dz)

    f.defjvp(rule, symbolic_zeros=True)
    for transform in (lambda g: g, fdl.jit):
        seen.clear()
        assert transform(fdl.grad(lambda x: sum(f(x, 5.0, 1.0))))(2.0) == 10.0
        assert transform(fdl.grad(lambda y: sum(f(2.0, y, 1.0))))(5.0) == 6.0
        assert seen == [[False, True, True], [True, False, True]]
    assert fdl.vmap(fdl.grad(lambda x: sum(f(x, 5.0, 1.0))))(fnp.ones(2)).tolist() == [10.0, 10.0]
    assert fdl.grad(lambda x: fdl.vmap(lambda x: sum(f(x, 5.0, 1.0)))(x).sum())(fnp.ones(2)).tolist() == [10.0, 10.0]


def test_symbolic_zeros_of_backward_rules() -> None:
    seen: list[Any] = []
    f = fdl.custom_vjp(lambda x, y: (x * y, x + y))

    def forward(x: Any, y: Any) -> Any:
        values = fdl.custom_derivatives.custom_vjp_primal_tree_values((x, y))
        seen.append((x.perturbed, y.perturbed))
        return f(*values), values

    def backward(residuals: Any, cotangents: Any) -> Any:
        seen.append([isinstance(c, fdl.custom_derivatives.SymbolicZero) for c in cotangents])
        return 3.0 * cotangents[0] * residuals[1], cotangents[1]

    f.defvjp(forward, backward, symbolic_zeros=True)
    for transform in (lambda g: g, fdl.jit):
        seen.clear()
        assert transform(fdl.grad(lambda x: f(x, 5.0)[0]))(2.0) == 15.0
        assert seen == [(True, False), [False, True]]
    assert fdl.vmap(fdl.grad(lambda x: f(x, 5.0)[0]))(fnp.ones(2)).tolist() == [15.0, 15.0]
    f.defvjp(lambda x, y: (f(x, y), y), lambda y, cts: (cts[0] * y, cts[1]))
    assert fdl.grad(lambda x: f(x, 5.0)[0])(2.0) == 5.0
