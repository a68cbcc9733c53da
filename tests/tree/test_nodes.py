"""Nodes of a user's class are made of values only: a class that looks at its children works with every transform."""

from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, tree
from fdl.errors import ShapeError, TreeError


@tree.register_pytree_node_class
class Pair:
    """Two arrays of one shape; whoever makes one of anything else fails."""

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y
        self.shape = fnp.broadcast_shapes(x.shape, y.shape)

    def tree_flatten(self) -> Any:
        return (self.x, self.y), None

    @classmethod
    def tree_unflatten(cls, _: Any, children: Any) -> "Pair":
        return cls(*children)


X, Y = np.arange(3.0), np.ones(3)


def swap(p: Pair) -> Pair:
    return Pair(p.y, 2 * p.x)


def total(p: Pair) -> Any:
    return (p.x * p.y).sum()


PROGRAMS: dict[str, Any] = {
    "jit": lambda p: fdl.jit(swap)(p),
    "jit, again": lambda p: [fdl.jit(swap)(p) for _ in range(4)][-1],
    "vmap": lambda p: fdl.vmap(swap)(p),
    "vmap, axes": lambda p: fdl.vmap(swap, in_axes=(0,), out_axes=0)(p),
    "jit of vmap": lambda p: fdl.jit(fdl.vmap(swap))(p),
    "scan": lambda p: lax.scan(lambda c, _: (swap(swap(c)), None), Pair(p.x / 2, p.y / 2), None, length=1)[0],
    "scan, ys": lambda p: lax.scan(lambda c, s: (c, swap(s)), 0.0, p)[1],
    "map": lambda p: lax.map(swap, p),
    "cond": lambda p: lax.cond(True, swap, swap, p),
    "while_loop": lambda p: lax.while_loop(lambda s: s[0] < 1, lambda s: (s[0] + 1, swap(s[1])), (0, p))[1],
    "fori_loop": lambda p: lax.fori_loop(0, 1, lambda i, q: swap(q), p),
    "checkpoint": lambda p: fdl.checkpoint(swap)(p),
    "jvp": lambda p: fdl.jvp(swap, (p,), (p,))[1],
    "linearize": lambda p: fdl.linearize(swap, p)[1](p),
    "vjp": lambda p: swap(swap(fdl.vjp(swap, p)[1](swap(swap(p)))[0])),
    "tree.map": lambda p: tree.map(lambda a: a, swap(p)),
}
LINEAR = {name: f for name, f in PROGRAMS.items() if name not in ("scan", "vjp", "tree.transpose")}


@pytest.mark.parametrize("name", LINEAR)
def test_nodes_are_made_of_values_only(name: str) -> None:
    found = LINEAR[name](Pair(X, Y))
    assert type(found) is Pair
    np.testing.assert_allclose(np.asarray(found.x), Y)
    np.testing.assert_allclose(np.asarray(found.y), 2 * X)


def test_gradients_and_shapes_of_nodes() -> None:
    for gradient in (
        fdl.grad(total)(Pair(X, Y)),
        fdl.jit(fdl.grad(total))(Pair(X, Y)),
        fdl.vjp(total, Pair(X, Y))[1](1.0)[0],
    ):
        np.testing.assert_allclose(np.asarray(gradient.x), Y)
        np.testing.assert_allclose(np.asarray(gradient.y), X)
    assert fdl.eval_shape(swap, Pair(X, Y)).x.shape == (3,)
    found = fdl.vmap(lambda p, s: p.x * p.y * s, in_axes=(Axes(0, None), 0))(Axes(X, np.float64(2)), Y)
    np.testing.assert_allclose(np.asarray(found), 2 * X)


@tree.register_pytree_node_class
class Axes(Pair):
    """A node that may hold axes too."""

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y


def test_messages_about_nodes_make_none() -> None:
    p = Pair(X, Y)
    with pytest.raises(TreeError, match=r"must be a tree prefix.*at \[0\]: a tuple of 2 against a Pair of 2"):
        fdl.vmap(swap, in_axes=((0, 0),))(p)
    with pytest.raises(TreeError, match="part at carry: a Pair of 2 against a tuple of 2"):
        lax.scan(lambda c, _: ((c.x, c.y), None), p, None, length=2)
    with pytest.raises(ShapeError, match=r"carry\[<flat index 0>\] came in as f64\[3\] and went out as f64\[\]"):
        lax.while_loop(lambda c: True, lambda c: Pair(c.x.sum(), c.y), p)
    with pytest.raises(TreeError, match="part at output: a Pair of 2 against a leaf array"):
        lax.cond(True, lambda q: q.x, lambda q: q, p)
    with pytest.raises(ShapeError, match=r"<flat index 1>\] is f64\[\] from false_fun and f64\[3\] from true_fun"):
        lax.cond(True, lambda q: q, lambda q: Pair(q.x, q.y.sum()), p)
    with pytest.raises(fdl.errors.ConcretizationError, match=r"argument p\[<flat index 0>\] of"):
        fdl.jit(lambda p: bool(p.x))(p)


def test_keys_that_cannot_be_sorted() -> None:
    """The leaves of a dict come in the order of its keys, so that there has to be one."""
    mixed = {1: X, "a": Y}
    for use in (
        tree.flatten, tree.structure, tree.leaves_with_path, lambda t: tree.map(lambda x: x, t),
        fdl.jit(lambda t: t[1]),
        fdl.grad(lambda t: t[1].sum()), fdl.vmap(lambda t: t[1]), lambda t: fdl.flatten_util.ravel_pytree([t]),
        lambda t: lax.scan(lambda c, x: (c, x), 0.0, t), lambda t: fdl.jit(lambda x: {1: x, "a": x})(X),
    ):  # fmt: skip
        with pytest.raises(TreeError, match=r"keys \[.*1.*\] cannot be sorted; give all of them one type"):
            use(mixed)
    for fine in ({1: X, 2: Y}, {"b": X, "a": Y}, {(1, "a"): X, (0, "b"): Y}, {1.5: X, 2: Y}, {}):
        assert len(tree.leaves(fine)) == len(fine) and tree.map(lambda x: x, fine).keys() == fine.keys()


def test_fields_of_dataclasses() -> None:
    import dataclasses

    @dataclasses.dataclass
    class Layer:
        w: Any
        name: str

    for data, meta, message in (
        (["w", "name"], ["name"], r"\['name'\] are named twice"),
        (["w"], ["w", "name"], r"\['w'\] are named twice"),
        (["w", "w"], ["name"], r"\['w'\] are named twice"),
        (["w"], [], r"lack \['name'\] and add \[\]"),
        (["w", "b"], ["name"], r"lack \[\] and add \['b'\]"),
    ):
        with pytest.raises(TreeError, match=message):
            tree.register_dataclass(Layer, data, meta)
    tree.register_dataclass(Layer, ["w"], ["name"])
    assert fdl.jit(lambda p: tree.map(lambda x: 2 * x, p))(Layer(X, "a")).name == "a"


def test_rules_of_ones_own_take_nodes() -> None:
    squared = fdl.custom_vjp(total)
    squared.defvjp(lambda p: (total(p), p), lambda p, c: (Pair(3 * c * p.y, 5 * c * p.x),))
    for f in (squared, fdl.jit(squared)):
        found = fdl.grad(f)(Pair(X, Y))
        np.testing.assert_allclose(np.asarray(found.x), 3 * Y)
        np.testing.assert_allclose(np.asarray(found.y), 5 * X)
    squared.defvjp(lambda p: (total(p), p), lambda p, c: (None,))
    assert not np.asarray(fdl.grad(squared)(Pair(X, Y)).x).any()
    squared.defvjp(lambda p: (total(p), p), lambda p, c: ((p.x, p.y),))
    with pytest.raises(TreeError, match="a tuple of 2 against a Pair of 2"):
        fdl.grad(squared)(Pair(X, Y))
