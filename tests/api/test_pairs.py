"""Every pair of transforms over awkward arguments: empty, scalar, of mixed dtypes, with None, integers and keywords.

All functions are ``sum(w * v**2)`` of their floating leaves v, so that their gradients are ``2 w v``; what is in the
places of integers and of None must stay there.
"""

from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, tree

#: Arguments by name; the weight of each leaf is its number plus one.
ARGUMENTS: dict[str, Any] = {
    "empty": np.zeros((0, 3)),
    "scalar": np.array(1.5),
    "a Python number": 1.5,
    "vector": np.array([1.0, -2.0, 0.5]),
    "mixed dtypes": {"h": np.array([1, 2], np.float16), "s": np.array([0.5], np.float32), "d": np.array(3.0)},
    "with None": [np.array([1.0, 2.0]), None, (np.array(3.0), None)],
    "with integers": (np.array([1.0, 2.0]), np.array([3, 4]), np.array(True)),
    "nested": {"a": (np.array(1.0), {"b": np.array([2.0, 3.0])}), "c": []},
    "empty among others": (np.zeros(0), np.array([1.0])),
}


def is_float(leaf: Any) -> bool:
    return np.asarray(leaf).dtype.kind == "f"


def loss(argument: Any, *, scale: Any = 1.0) -> Any:
    """A float64 scalar."""
    total = fnp.zeros((), np.float64)
    for number, leaf in enumerate(tree.leaves(argument)):
        if fnp.asarray(leaf).dtype.kind == "f":
            total = total + (number + 1) * fnp.sum(fnp.asarray(leaf).astype(np.float64) ** 2)
    return total * scale


def slopes(argument: Any) -> list[Any]:
    return [
        2 * (n + 1) * np.asarray(leaf, np.float64) for n, leaf in enumerate(tree.leaves(argument)) if is_float(leaf)
    ]


def unchanged(f: Any) -> Any:
    return f


def with_rule(f: Any) -> Any:
    g = fdl.custom_jvp(f)
    g.defjvp(lambda primals, tangents: fdl.jvp(f, primals, tangents))
    return g


def with_vjp_rule(f: Any) -> Any:
    g = fdl.custom_vjp(f)
    g.defvjp(lambda a: fdl.vjp(f, a), lambda f_vjp, ct: f_vjp(ct))
    return g


def in_scan(f: Any) -> Any:
    return lambda a: lax.scan(lambda c, _: (c, f(c)), _arrays(a), None, 2)[1][1]


def in_cond(f: Any) -> Any:
    return lambda a: lax.cond(True, f, lambda a: 3 * f(a), _arrays(a))


def in_switch(f: Any) -> Any:
    return lambda a: lax.switch(1, [lambda a: 3 * f(a), f], _arrays(a))


def in_fori(f: Any) -> Any:
    return lambda a: lax.fori_loop(0, 2, lambda i, c: (c[0], f(c[0])), (_arrays(a), fnp.zeros((), np.float64)))[1]


def in_vmap(f: Any) -> Any:
    return lambda a: fdl.vmap(f)(tree.map(lambda x: fnp.stack([fnp.asarray(x)] * 2), a)).sum() / 2


def by_keyword(f: Any) -> Any:
    return lambda a: fdl.vmap(lambda a, *, s: f(a) * s, in_axes=None, axis_size=2)(a, s=fnp.ones(2)).mean()


def linear_again(f: Any) -> Any:
    """f at a, through its own derivative: homogeneous of degree two, so f = f'(a) a / 2."""

    def g(a: Any) -> Any:
        value, f_jvp = fdl.linearize(f, a)
        tangents = tree.map(lambda x: x if is_float_value(x) else np.zeros(np.shape(x), fdl.float0), a)
        return (f_jvp(tangents) / 2 + value) / 2

    return g


def is_float_value(x: Any) -> bool:
    return fnp.asarray(x).dtype.kind == "f"


def _arrays(a: Any) -> Any:
    return tree.map(fnp.asarray, a)


#: What a function is wrapped in before it is differentiated.
INNER = {
    "nothing": unchanged,
    "jit": fdl.jit,
    "checkpoint": fdl.checkpoint,
    "jit of checkpoint": lambda f: fdl.jit(fdl.checkpoint(f)),
    "custom_jvp": with_rule,
    "custom_vjp": with_vjp_rule,
    "scan": in_scan,
    "cond": in_cond,
    "switch": in_switch,
    "fori_loop": in_fori,
    "vmap": in_vmap,
    "vmap with keywords": by_keyword,
    "linearize": linear_again,
}


def of_grad(f: Any, a: Any) -> Any:
    return fdl.grad(f, allow_int=True)(a)


def of_vjp(f: Any, a: Any) -> Any:
    return fdl.vjp(f, a)[1](np.ones(()))[0]


def of_jvp(f: Any, a: Any) -> Any:
    return _by_directions(lambda d: fdl.jvp(f, (a,), (d,))[1], a)


def of_linearize(f: Any, a: Any) -> Any:
    return _by_directions(fdl.linearize(f, a)[1], a)


def of_batched_pushforward(f: Any, a: Any) -> Any:
    return fdl.vmap(lambda s: of_grad(lambda x: f(x) * s, a))(fnp.ones(1))


def of_jit(f: Any, a: Any) -> Any:
    return fdl.jit(lambda a: of_grad(f, a))(a)


def of_transposed(f: Any, a: Any) -> Any:
    floats = [leaf for leaf in tree.leaves(a) if is_float(leaf)]
    structure, marks = tree.structure(a), [is_float(leaf) for leaf in tree.leaves(a)]
    rest = [leaf for leaf in tree.leaves(a) if not is_float(leaf)]

    def whole(values: Any) -> Any:
        given, others = iter(values), iter(rest)
        return tree.unflatten(structure, [next(given if m else others) for m in marks])

    _, linear = fdl.linearize(lambda values: f(whole(values)), floats)
    found = iter(fdl.linear_transpose(linear, floats)(np.ones(()))[0])
    return tree.unflatten(structure, [next(found) if m else np.zeros((), fdl.float0) for m in marks])


def _by_directions(push: Any, a: Any) -> Any:
    """The gradient, one element after the other."""
    leaves, structure = tree.flatten(a)
    zero = [np.zeros_like(x) if is_float(x) else np.zeros(np.shape(x), fdl.float0) for x in leaves]
    found = []
    for number, leaf in enumerate(leaves):
        if not is_float(leaf):
            found.append(zero[number])
            continue
        slope = np.zeros(np.shape(leaf))
        for index in np.ndindex(slope.shape):
            moved = np.zeros_like(leaf)
            moved[index] = 1
            direction = [moved if n == number else z for n, z in enumerate(zero)]
            slope[index] = push(tree.unflatten(structure, direction))
        found.append(slope)
    return tree.unflatten(structure, found)


#: Ways to the gradient of a function of one argument.
OUTER = {
    "grad": of_grad,
    "vjp": of_vjp,
    "jvp": of_jvp,
    "linearize": of_linearize,
    "jit of grad": of_jit,
    "vmap of grad": of_batched_pushforward,
    "linear_transpose": of_transposed,
}

#: Forward mode has no rule for what has a backward rule alone.
IMPOSSIBLE = {("jvp", "custom_vjp"), ("linearize", "custom_vjp")}


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("outer", OUTER)
def test_pairs(outer: str, inner: str) -> None:
    if (outer, inner) in IMPOSSIBLE:
        return
    # A third of the arguments for each pair, and all of them for each transform.
    first = list(INNER).index(inner) + list(OUTER).index(outer)
    for name, argument in list(ARGUMENTS.items())[first % 3 :: 3]:
        f = INNER[inner](loss)
        where = f"{outer} of {inner} of {name}"
        expected_value = sum(
            (n + 1) * (np.asarray(x, np.float64) ** 2).sum() for n, x in enumerate(tree.leaves(argument)) if is_float(x)
        )
        np.testing.assert_allclose(np.asarray(f(argument)), expected_value, rtol=1e-12, err_msg=where)
        found = OUTER[outer](f, argument)
        assert tree.structure(found) == tree.structure(argument), where
        marks = [is_float(leaf) for leaf in tree.leaves(argument)]
        for leaf, mark in zip(tree.leaves(found), marks, strict=True):
            if not mark:
                assert np.asarray(leaf).dtype == fdl.float0, where
        gradients = [g for g, m in zip(tree.leaves(found), marks, strict=True) if m]
        for g, slope in zip(gradients, slopes(argument), strict=True):
            np.testing.assert_allclose(np.asarray(g, np.float64).reshape(slope.shape), slope, 1e-3, err_msg=where)


@pytest.mark.parametrize("inner", [n for n in INNER if n != "custom_vjp"])
def test_second_derivatives_of_pairs(inner: str) -> None:
    x = np.array([1.0, -2.0, 0.5])
    f = INNER[inner](loss)
    for derivative in (fdl.hessian, lambda f: fdl.jacrev(fdl.jacrev(f)), lambda f: fdl.jacfwd(fdl.jacrev(f))):
        np.testing.assert_allclose(np.asarray(derivative(f)(x)), 2 * np.eye(3), rtol=1e-12)
    empty = fdl.hessian(f)(np.zeros(0))
    assert empty.shape == (0, 0)


def test_keywords_are_passed_and_not_differentiated() -> None:
    for wrap in (fdl.jit, fdl.checkpoint, unchanged):
        value, gradient = fdl.value_and_grad(wrap(loss))(np.array([1.0, 2.0]), scale=3.0)
        assert value == 15.0 and gradient.tolist() == [6.0, 12.0]
