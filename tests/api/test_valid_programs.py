"""Programs over the transforms that must work: leaves that are not mapped, outputs that do not depend on the mapped
axis, and functions of every kind."""

import functools
import operator
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from tests.programs import assert_returns

X = np.arange(3.0)


# vmap: what is not mapped is passed on as it came


@pytest.mark.parametrize("outer", [lambda f: f, lambda f: fdl.vmap(f, in_axes=(None, None, None), axis_size=2)])
def test_leaves_that_are_not_mapped_may_be_anything(outer: Any) -> None:
    def f(x: Any, h: Any, options: Any) -> Any:
        assert options["name"] == "q" and options["none"] is None
        return h(x) * options["scale"]

    mapped = fdl.vmap(f, in_axes=(0, None, None))
    options = {"name": "q", "scale": 2.0, "none": None, "object": object()}
    found = outer(lambda x, h, o: mapped(x, h, o))(X, fnp.sin, options)
    assert_returns(found, np.broadcast_to(2 * np.sin(X), found.shape))


def test_leaves_within_an_argument_that_are_not_mapped() -> None:
    found = fdl.vmap(lambda p: p["h"](p["x"]), in_axes=({"h": None, "x": 0},))({"h": fnp.cos, "x": X})
    assert_returns(found, np.cos(X))
    assert_returns(fdl.jit(lambda x: fdl.vmap(lambda x, s: x if s == "a" else -x, (0, None))(x, "b"))(X), -X)
    assert_returns(fdl.grad(lambda x: fdl.vmap(lambda x, h: h(x), (0, None))(x, fnp.sin).sum())(X), np.cos(X))


# out_axes=None: outputs that do not depend on the mapped axis

ONES = np.ones((3, 4))
UNTOUCHED: dict[str, tuple[Any, Any, Any]] = {
    "constant": (lambda x: (3.0, x), (None, 0), (3.0, ONES)),
    "scan": (lambda x: lax.scan(lambda c, y: (c, 2 * y), 5.0, x), (None, 0), (5.0, 2 * ONES)),
    "scan, counted": (
        lambda x: lax.scan(lambda c, y: ((c[0] + 1, c[1] + y), c[0]), (0, 0.0), x),
        ((None, 0), None),
        ((4, np.full(3, 4.0)), np.arange(4)),
    ),
    "scan, unrolled": (lambda x: lax.scan(lambda c, y: (c, 2 * y), 5.0, x, unroll=2), (None, 0), (5.0, 2 * ONES)),
    "fori_loop": (
        lambda x: lax.fori_loop(0, 3, lambda i, s: (s[0] + 1, s[1] + x), (0, 0.0 * x)),
        (None, 0),
        (3, 3 * ONES),
    ),
    "while_loop": (
        lambda x: lax.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, s[1] + x, s[2]), (0, 0.0 * x, 7.0)),
        (None, 0, None),
        (2, 2 * ONES, 7.0),
    ),
    "while_loop whose end depends on the example": (
        lambda x: lax.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + x[0], s[1], s[2]), (0.0, 7.0, {"k": 8})),
        (0, None, None),
        (np.full(3, 2.0), 7.0, {"k": 8}),
    ),
    "cond": (lambda x: lax.cond(True, lambda: (1.0, x), lambda: (2.0, x)), (None, 0), (1.0, ONES)),
    "jit": (lambda x: fdl.jit(lambda a, b: (a, 2 * b))(1.0, x), (None, 0), (1.0, 2 * ONES)),
    "checkpoint": (lambda x: fdl.checkpoint(lambda a, b: (a, 2 * b))(1.0, x), (None, 0), (1.0, 2 * ONES)),
    "grad of another": (lambda x: (fdl.grad(lambda w: w**2)(3.0), x), (None, 0), (6.0, ONES)),
}


@pytest.mark.parametrize(("function", "out_axes", "expected"), UNTOUCHED.values(), ids=UNTOUCHED)
def test_outputs_that_do_not_depend_on_the_mapped_axis(function: Any, out_axes: Any, expected: Any) -> None:
    assert_returns(fdl.vmap(function, out_axes=out_axes)(ONES), expected)
    assert_returns(fdl.jit(fdl.vmap(function, out_axes=out_axes))(ONES), expected)
    assert_returns(fdl.vmap(fdl.jit(function), out_axes=out_axes)(ONES), expected)


# Functions without a name, and objects that are called


class Doubled:
    """A callable whose class has neither a name for its instances nor a dictionary."""

    __slots__ = ()

    def __call__(self, x: Any) -> Any:
        return (2 * x).sum()

    def method(self, x: Any) -> Any:
        return (2 * x).sum()


class Unhashable(Doubled):
    """A callable that cannot be the key of a cache."""

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None  # type: ignore[assignment]


CALLABLES: dict[str, Any] = {
    "partial": functools.partial(lambda k, x: (k * x).sum(), 2.0),
    "partial of a partial": functools.partial(functools.partial(lambda a, b, x: (a * b * x).sum(), 1.0), 2.0),
    "object": Doubled(),
    "unhashable object": Unhashable(),
    "bound method": Doubled().method,
    "partial of an object": functools.partial(Doubled()),
    "methodcaller": functools.partial(lambda f, x: f(x) * 2, operator.methodcaller("sum")),
    "jitted": fdl.jit(lambda x: (2 * x).sum()),
    "jitted partial": fdl.jit(functools.partial(lambda k, x: (k * x).sum(), 2.0)),
}
TWO = np.full(3, 2.0)
TRANSFORMS: dict[str, tuple[Any, Any]] = {
    "jit": (lambda f: fdl.jit(f)(X), 6.0),
    "vmap": (lambda f: fdl.vmap(f)(np.stack([X, X])), np.full(2, 6.0)),
    "grad": (lambda f: fdl.grad(f)(X), TWO),
    "value_and_grad": (lambda f: fdl.value_and_grad(f)(X), (6.0, TWO)),
    "checkpoint": (lambda f: fdl.grad(fdl.checkpoint(f))(X), TWO),
    "jacfwd": (lambda f: fdl.jacfwd(f)(X), TWO),
    "jacrev": (lambda f: fdl.jacrev(f)(X), TWO),
    "hessian": (lambda f: fdl.hessian(f)(X), np.zeros((3, 3))),
    "jvp": (lambda f: fdl.jvp(f, (X,), (X,)), (6.0, 6.0)),
    "vjp": (lambda f: fdl.vjp(f, X)[1](np.float64(1)), (TWO,)),
    "linearize": (lambda f: fdl.linearize(f, X)[1](X), 6.0),
    "linear_transpose": (lambda f: fdl.linear_transpose(f, X)(np.float64(1)), (TWO,)),
    "eval_shape": (lambda f: np.zeros(fdl.eval_shape(f, X).shape), 0.0),
    "lower": (lambda f: fdl.jit(f).lower(X).compile()(X), 6.0),
    "vectorize": (lambda f: fnp.vectorize(f, signature="(n)->()")(np.stack([X, X])), np.full(2, 6.0)),
    "apply_along_axis": (lambda f: fnp.apply_along_axis(f, 0, np.stack([X, X], 1)), np.full(2, 6.0)),
    "map": (lambda f: lax.map(f, np.stack([X, X])), np.full(2, 6.0)),
    "cond": (lambda f: lax.cond(True, f, f, X), 6.0),
    "custom_jvp": (lambda f: fdl.grad(_with_jvp(f))(X), np.full(3, 3.0)),
    "custom_vjp": (lambda f: fdl.grad(_with_vjp(f))(X), 5 * X),
}


def _with_jvp(f: Any) -> Any:
    g = fdl.custom_jvp(f)
    g.defjvp(lambda primals, tangents: (f(*primals), 3 * tangents[0].sum()))
    return g


def _with_vjp(f: Any) -> Any:
    g = fdl.custom_vjp(f)
    g.defvjp(lambda x: (f(x), x), lambda x, cotangent: (5 * x * cotangent,))
    return g


@pytest.mark.parametrize("name", CALLABLES)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_callables_without_a_name(transform: str, name: str) -> None:
    apply, expected = TRANSFORMS[transform]
    assert_returns(apply(CALLABLES[name]), expected)


def test_messages_name_the_function_inside_a_partial_call() -> None:
    def scaled(k: Any, x: Any) -> Any:
        return k * x

    with pytest.raises(fdl.errors.LeafError, match="of scaled is 'a' of type str"):
        fdl.jit(functools.partial(scaled, 2.0))("a")
    with pytest.raises(fdl.errors.BatchError, match="vmap of Doubled maps no argument"):
        fdl.vmap(Doubled(), in_axes=None)(X)
