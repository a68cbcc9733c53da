"""Trees by levels, leaves chosen by path, and static fields."""

import collections
from dataclasses import dataclass

import pytest

import fdl
from fdl import tree, tree_util

Pair = collections.namedtuple("Pair", "x y")


def test_nodes_are_told_from_leaves() -> None:
    nodes = [tuple, list, dict, type(None), collections.OrderedDict, collections.deque, Pair, tree.Partial]
    assert all(map(tree_util.is_tree_node, nodes))
    assert not any(map(tree_util.is_tree_node, [int, str, fdl.Array, object]))
    assert tree_util.flatten_one_level(Pair(1, [2]))[0] == [1, [2]]
    assert tree_util.flatten_one_level(None)[0] == []
    keys = [str(key) for key, _ in tree_util.flatten_one_level_with_keys(Pair(1, [2]))[0]]
    assert keys == [".x", ".y"]
    assert tree_util.default_registry.flatten_one_level(3) is None
    with pytest.raises(ValueError, match="3 is a leaf"):
        tree_util.flatten_one_level(3)


def test_leaves_may_be_chosen_by_their_path() -> None:
    shared = {"a": 1, "b": 2}
    whole = {"keep": shared, "open": shared, "other": (3, [4])}

    def chosen(path, node):
        return tree.keystr(path) in ("['keep']", "['other'][1]")

    pairs = tree.leaves_with_path(whole, chosen, is_leaf_takes_path=True)
    assert [(tree.keystr(path), leaf) for path, leaf in pairs] == [
        ("['keep']", shared), ("['open']['a']", 1), ("['open']['b']", 2), ("['other'][0]", 3), ("['other'][1]", [4]),
    ]  # fmt: skip
    counted = tree.map_with_path(lambda path, leaf: len(path), whole, is_leaf=chosen, is_leaf_takes_path=True)
    assert counted == {"keep": 1, "open": {"a": 2, "b": 2}, "other": (2, 2)}
    with_two = tree.map_with_path(
        lambda _, x, y: y, {"keep": shared}, {"keep": 5}, is_leaf=chosen, is_leaf_takes_path=True
    )
    assert with_two == {"keep": 5}


def test_static_fields_belong_to_the_structure() -> None:
    @tree.register_dataclass
    @dataclass
    class Layer:
        w: float
        name: str = tree.static(default="dense", metadata={"doc": "its name"})

    assert tree.leaves(Layer(1.0)) == [1.0]
    assert tree.structure(Layer(1.0, "a")) != tree.structure(Layer(1.0, "b"))
    assert tree.map(lambda w: w + 1, Layer(1.0, "a")) == Layer(2.0, "a")
