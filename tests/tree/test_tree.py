"""Pytrees: flattening, mapping, paths, and errors that name the place."""

import functools
import pickle
from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, field

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdl import tree
from fdl.errors import TreeError
from fdl.tree import DictKey, FlattenedIndexKey, GetAttrKey, SequenceKey

Point = namedtuple("Point", "x y")
trees = st.recursive(
    st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(trees)
def test_unflatten_inverts_flatten(t):
    leaves, treedef = tree.flatten(t)
    assert tree.unflatten(treedef, leaves) == t
    assert tree.map(lambda x: x, t) == t


@given(trees)
def test_paths_lead_to_their_leaves(t):
    def follow(node, path):
        for key in path:
            node = node[key.key if isinstance(key, DictKey) else key.idx]
        return node

    pairs, treedef = tree.flatten_with_path(t)
    assert [follow(t, path) for path, _ in pairs] == [leaf for _, leaf in pairs] == tree.leaves(t)
    assert tree.paths(treedef) == [path for path, _ in pairs]


@given(trees)
def test_structures_compare_hash_and_pickle(t):
    treedef = tree.structure(t)
    again = pickle.loads(pickle.dumps(treedef))
    assert again == treedef and hash(again) == hash(treedef)
    assert treedef != tree.structure([t])


def test_dict_order_is_that_of_sorted_keys():
    assert tree.leaves({"b": 1, "a": 2}) == [2, 1]
    assert tree.structure({"b": 1, "a": 2}) == tree.structure({"a": 1, "b": 2})
    assert tree.leaves(OrderedDict(b=1, a=2)) == [1, 2]


def test_keys_that_cannot_be_sorted_are_refused_wherever_leaves_are_taken():
    """As in JAX: the order of the leaves would be that of insertion."""
    for mapping in ({1: 0, "a": 1}, {1j: 0, 2j: 1}, {(1, "a"): 0, (1, 2): 1}, {int: 0, str: 1}):
        for take in (tree.leaves, tree.flatten, tree.structure, tree.leaves_with_path, lambda t: tree.reduce(max, t)):
            with pytest.raises(TreeError, match="cannot be sorted"):
                take([mapping])


def test_none_is_a_node_without_leaves():
    assert tree.leaves([None, 1, {"a": None}]) == [1]
    assert tree.leaves([None, 1], is_leaf=lambda x: x is None) == [None, 1]
    assert tree.map(lambda x: x + 1, (None, 1)) == (None, 2)


def test_standard_containers_are_nodes():
    assert tree.map(lambda x: -x, Point(1, (2,))) == Point(-1, (-2,))
    mapped = tree.map(lambda x: -x, defaultdict(list, a=1))
    assert mapped == {"a": -1} and mapped.default_factory is list
    assert tree.leaves("text") == ["text"]


def test_is_leaf_stops_the_descent():
    pair = {"a": (1, 2), "b": 3}
    assert tree.map(lambda x: sum(x) if isinstance(x, tuple) else x, pair, is_leaf=lambda x: isinstance(x, tuple)) == {
        "a": 3,
        "b": 3,
    }


def test_map_takes_trees_with_the_first_as_prefix():
    assert tree.map(lambda x, sub: (x, len(sub)), {"a": 1}, {"a": [7, 8]}) == {"a": (1, 2)}


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"c": {"w": 1}}, {"c": {"b": 1}}, ["argument 2", "['c']", "missing 'w'", "unexpected 'b'"]),
        ([1, [2, 3]], [1, (2, 3)], ["[1]", "list of 2", "tuple of 2"]),
        ((1, 2), (1, 2, 3), ["at the root", "tuple of 2", "tuple of 3"]),
        ({"a": None}, {"a": 1}, ["['a']", "None", "leaf int"]),
        ({"a": Point(1, (2,))}, {"a": Point(1, 5)}, ["['a'].y", "tuple of 1", "leaf int"]),
    ],
)
def test_mismatch_names_path_and_difference(first, second, words):
    with pytest.raises(TreeError) as caught:
        tree.map(lambda x, y: None, first, second)
    assert all(word in str(caught.value) for word in words), caught.value


def test_unflatten_counts_leaves():
    with pytest.raises(TreeError, match=r"got 1 leaves .* with 2"):
        tree.unflatten(tree.structure((1, 2)), [1])


def test_reduce_and_all():
    t = {"a": 1, "b": (2, 3)}
    assert tree.reduce(lambda x, y: x * 10 + y, t) == 123
    assert tree.reduce(lambda x, y: x + y, [], 5) == 5
    assert tree.reduce_associative(lambda x, y: f"({x}{y})", list("abcde")) == "(((ab)(cd))e)"
    assert tree.all({"a": 1, "b": None}) and not tree.all([1, 0])


def test_transpose_turns_inside_out():
    inner, outer = {"a": 0, "b": (0, 0)}, [0, 0, 0]
    composed = [{"a": i, "b": (i + 10, i + 20)} for i in range(3)]
    expected = {"a": [0, 1, 2], "b": ([10, 11, 12], [20, 21, 22])}
    assert tree.transpose(tree.structure(outer), tree.structure(inner), composed) == expected
    assert tree.transpose(tree.structure(outer), None, composed) == expected
    with pytest.raises(TreeError, match="not composed"):
        tree.transpose(tree.structure(outer), tree.structure(inner), [1, 2, 3])


def test_broadcast_repeats_leaves_of_a_prefix():
    assert tree.broadcast((1, {"a": 2}), ([0, 0], {"a": (0, 0)})) == ([1, 1], {"a": (2, 2)})
    assert tree.broadcast((None, 1), ([0, 0], 0), is_leaf=lambda x: x is None) == ([None, None], 1)
    with pytest.raises(TreeError, match=r"\[1\]"):
        tree.broadcast((1, [2]), (0, (0,)))


def test_keystr_of_every_kind_of_key():
    path = (DictKey("conv1"), SequenceKey(2), GetAttrKey("w"), FlattenedIndexKey(0))
    assert tree.keystr(path) == "['conv1'][2].w[<flat index 0>]"
    assert tree.keystr(path, simple=True, separator="/") == "conv1/2/w/0"


def test_map_with_path_passes_the_path_first():
    assert tree.map_with_path(lambda p, x, y: (tree.keystr(p), x + y), [1], [2]) == [("[0]", 3)]


def test_treedefs_of_parts():
    treedef = tree.structure((1, {"a": 2}))
    assert tree.treedef_children(treedef) == [tree.structure(0), tree.structure({"a": 0})]
    assert tree.treedef_tuple(tree.treedef_children(treedef)) == treedef
    assert [tree.treedef_is_leaf(d) for d in (tree.structure(1), tree.structure(None), treedef)] == [True, False, False]
    assert tree.all_leaves([1, "a"]) and not tree.all_leaves([1, ()])


def _registered(how):
    @dataclass
    class Layer:
        w: object
        name: str = field(default="", metadata={"static": True})

    if how == "dataclass":
        tree.register_dataclass(Layer)
    elif how == "node":
        tree.register_pytree_node(Layer, lambda x: ((x.w,), x.name), lambda name, children: Layer(*children, name))
    else:
        tree.register_pytree_with_keys(
            Layer, lambda x: (((GetAttrKey("weight"), x.w),), x.name), lambda name, children: Layer(*children, name)
        )
    return Layer


@pytest.mark.parametrize(
    ("how", "path"), [("dataclass", ".w['k']"), ("node", "[<flat index 0>]['k']"), ("keys", ".weight['k']")]
)
def test_registered_classes_are_nodes(how, path):
    layer = _registered(how)
    mapped = tree.map(lambda x: 2 * x, layer({"k": 3}, "first"))
    assert mapped == layer({"k": 6}, "first")
    assert tree.keystr(tree.leaves_with_path(mapped)[0][0]) == path
    assert tree.structure(layer(1, "a")) != tree.structure(layer(1, "b"))


def test_registered_local_classes_travel_with_their_structure():
    treedef = tree.structure([_registered("dataclass")({"k": 1}, "n")])
    assert pickle.loads(cloudpickle.dumps(treedef)) == treedef


def test_register_class_decorators():
    @tree.register_pytree_node_class
    class Box:
        def __init__(self, value):
            self.value = value

        def tree_flatten(self):
            return (self.value,), None

        @classmethod
        def tree_unflatten(cls, _, children):
            return cls(*children)

    assert tree.map(lambda x: x + 1, Box(1)).value == 2

    @tree.register_static
    class Mode(str):
        __slots__ = ()

    assert tree.leaves([Mode("train"), 1]) == [1]
    assert tree.structure(Mode("train")) != tree.structure(Mode("test"))


def test_register_dataclass_refuses_forgotten_fields():
    @dataclass
    class Pair:
        x: int
        y: int

    with pytest.raises(TreeError, match=r"\['y'\]"):
        tree.register_dataclass(Pair, ["x"], [])


def test_partial_carries_its_arguments_as_leaves():
    bound = tree.Partial(pow, 2, mod=5)
    doubled = tree.map(lambda x: 2 * x, bound)
    assert tree.leaves(bound) == [2, 5] and doubled(3) == pow(4, 3, 10)


def test_partial_of_another_partial_function_keeps_its_own_arguments_only():
    inner = functools.partial(pow, 2)
    first, second = tree.Partial(inner, 3, mod=5), tree.Partial(inner, 4, mod=5)
    assert (first.args, first(), second()) == ((3,), 3, 1)
    assert first.func == second.func == inner and hash(first.func) == hash(inner)
    assert tree.structure(first) == tree.structure(second)
    assert tree.leaves(tree.Partial(first, 7)) == [3, 7, 5]
    copied = pickle.loads(pickle.dumps(first))
    assert copied() == 3 and copied.args == (3,)
