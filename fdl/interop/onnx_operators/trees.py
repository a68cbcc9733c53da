"""Ensembles of decision trees of the domain ai.onnx.ml: all trees of all rows descend at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax
from fdl.core.types import Array
from fdl.errors import InteropError
from fdl.interop.onnx_operators.classical import labelled, transformed
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define

#: Comparisons of a feature with the number of a node; in TreeEnsemble, by their places here.
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
COMPARE = (fnp.less_equal, fnp.less, fnp.greater_equal, fnp.greater, fnp.equal, fnp.not_equal)
AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")


@dataclass(frozen=True)
class Forest:
    """Nodes of all trees. A leaf is a node whose both ways lead to itself.

    Attributes:
        feature: [nodes], which feature a node compares.
        split: [nodes], with what.
        mode: [nodes], how, by its place in MODES.
        members: [nodes, values], the set of a node with BRANCH_MEMBER, filled up with nan.
        missing: [nodes], whether a feature that is nan goes the way of a comparison that holds.
        ways: [nodes, 2], where it goes on if the comparison does not hold, and if it does.
        roots: [trees].
        depth: the longest way from a root to a leaf.
    """

    feature: np.ndarray
    split: np.ndarray
    mode: np.ndarray
    members: np.ndarray
    missing: np.ndarray
    ways: np.ndarray
    roots: np.ndarray
    depth: int


def depth_of(ways: np.ndarray, roots: np.ndarray) -> int:
    """How many steps the longest way from a root takes until all have come to a leaf.

    >>> depth_of(np.array([[1, 2], [1, 1], [2, 2]]), np.array([0]))
    1
    """
    places, depth = np.unique(roots), 0
    while (inner := places[(ways[places] != places[:, None]).any(axis=1)]).size:
        if depth > len(ways):
            raise InteropError("apply: the nodes of a TreeEnsemble lead in a circle")
        places, depth = np.unique(ways[inner]), depth + 1
    return depth


def leaves(forest: Forest, x: Any) -> Array:
    """The leaf that each row comes to in each tree: [rows, trees]."""
    feature, split, mode, missing = map(fnp.asarray, (forest.feature, forest.split, forest.mode, forest.missing))
    ways, used = fnp.asarray(forest.ways), sorted(set(forest.mode.tolist()))
    members = fnp.asarray(forest.members)

    def step(_: Any, place: Any) -> Any:
        value = fnp.take_along_axis(x, fnp.take(feature, place), axis=1)
        number, own = fnp.take(split, place), fnp.take(mode, place)
        holds = fnp.isnan(value) & fnp.take(missing, place)
        for kind in used:
            if kind == len(COMPARE):
                meets = (value[..., None] == fnp.take(members, place, axis=0)).any(axis=-1)
            else:
                meets = COMPARE[kind](value, number)
            holds = holds | (meets & (own == kind))
        return fnp.where(holds, fnp.take(ways[:, 1], place), fnp.take(ways[:, 0], place))

    start = fnp.broadcast_to(fnp.asarray(forest.roots), (x.shape[0], len(forest.roots)))
    return lax.fori_loop(0, forest.depth, step, start) if forest.depth else start


def totals(
    forest: Forest, x: Any, leaf: np.ndarray, target: np.ndarray, weight: np.ndarray, count: int, aggregate: str
) -> Array:
    """What the leaves give each target together: [rows, targets]. A leaf may give several targets a weight."""
    empty = {"MIN": np.inf, "MAX": -np.inf}.get(aggregate, 0.0)
    table = np.full((len(forest.feature), count), empty, weight.dtype)
    {"MIN": np.minimum, "MAX": np.maximum}.get(aggregate, np.add).at(table, (leaf, target), weight)
    rows = fnp.take(fnp.asarray(table), leaves(forest, x), axis=0)
    if aggregate in ("MIN", "MAX"):
        # A target that no leaf names has the largest, or the smallest, number in place of infinity.
        limits = fnp.finfo(table.dtype)
        return fnp.clip(rows.min(axis=1) if aggregate == "MIN" else rows.max(axis=1), limits.min, limits.max)
    if aggregate not in AGGREGATES:
        raise InteropError(f"from_onnx: a TreeEnsemble has no aggregate function {aggregate}")
    total = rows.sum(axis=1)
    return total / len(forest.roots) if aggregate == "AVERAGE" else total


def numeric(x: Any) -> Array:
    """Features as floating-point numbers; those of 64 bits stay."""
    x = fnp.asarray(x)
    return fnp.atleast_2d(x if x.dtype == np.float64 else x.astype(np.float32))


def numbered_forest(settings: dict[str, Any], dtype: Any) -> tuple[Forest, dict[tuple[int, int], int]]:
    """The forest of an operator whose nodes have the numbers of a tree and of a node in it; and their places."""
    trees, ids = settings["nodes_treeids"], settings["nodes_nodeids"]
    places = {pair: i for i, pair in enumerate(zip(trees, ids, strict=True))}
    mode = settings["nodes_modes"]
    ways = np.zeros((len(ids), 2), np.int32)
    for i, (tree, kind) in enumerate(zip(trees, mode, strict=True)):
        pair = settings["nodes_falsenodeids"][i], settings["nodes_truenodeids"][i]
        ways[i] = i if kind == "LEAF" else [places[tree, node] for node in pair]
    tensor = settings.get("nodes_values_as_tensor")
    aims = np.zeros(len(ids), bool)
    for column in ways.T:
        aims[column[column != np.arange(len(ids))]] = True
    roots = np.flatnonzero(~aims).astype(np.int32)
    if len(roots) != len(set(trees)):
        raise InteropError(f"apply: a TreeEnsemble of {len(set(trees))} trees has {len(roots)} roots")
    forest = Forest(
        feature=np.array(settings["nodes_featureids"], np.int32),
        split=np.asarray(settings["nodes_values"] if tensor is None else tensor, dtype),
        mode=np.array([0 if kind == "LEAF" else MODES.index(kind) for kind in mode], np.int32),
        members=np.full((len(ids), 1), np.nan, dtype),
        missing=np.array(settings.get("nodes_missing_value_tracks_true") or [0] * len(ids), bool),
        ways=ways,
        roots=roots,
        depth=depth_of(ways, roots),
    )
    return forest, places


def given(settings: dict[str, Any], name: str, dtype: Any) -> np.ndarray | None:
    """Numbers that stand as a list, or as a tensor."""
    tensor = settings.get(f"{name}_as_tensor")
    value = settings.get(name) if tensor is None else tensor
    return None if value is None or not len(value) else np.asarray(value, dtype)


def summed(x: Any, settings: dict[str, Any], kind: str, count: int, aggregate: str) -> tuple[Array, np.ndarray]:
    """Scores of targets (or classes), and the weights of the leaves."""
    dtype = np.dtype(x.dtype)
    forest, places = numbered_forest(settings, dtype)
    leaf = [places[pair] for pair in zip(settings[f"{kind}_treeids"], settings[f"{kind}_nodeids"], strict=True)]
    weight = given(settings, f"{kind}_weights", dtype)
    assert weight is not None
    target = np.asarray(settings[f"{kind}_ids"], np.int64)
    return totals(forest, x, np.asarray(leaf, np.int64), target, weight, count, aggregate), weight


@define("ai.onnx.ml.TreeEnsembleRegressor")
def tree_regressor(
    x: Any, n_targets: int = 1, aggregate_function: str = "SUM", post_transform: str = "NONE", **settings: Any
) -> Array:
    x = numeric(x)
    scores, _ = summed(x, settings, "target", n_targets, aggregate_function)
    base = given(settings, "base_values", x.dtype)
    scores = scores if base is None else scores + fnp.asarray(base)
    return transformed(scores, post_transform).astype(np.float32)


@define("ai.onnx.ml.TreeEnsembleClassifier")
def tree_classifier(
    x: Any,
    classlabels_int64s: Sequence[int] = (),
    classlabels_strings: Sequence[str] = (),
    post_transform: str = "NONE",
    **settings: Any,
) -> tuple[Array, Array]:
    """The labels and the scores. Where leaves give one class of two alone a score, that is the second."""
    x, count = numeric(x), max(len(classlabels_int64s), len(classlabels_strings))
    scores, weight = summed(x, settings, "class", max(count, 1 + max(settings["class_ids"])), "SUM")
    base = given(settings, "base_values", x.dtype)
    if len(set(settings["class_ids"])) == 1 and count <= 2:
        own = scores[:, settings["class_ids"][0]]
        own = own if base is None else own + base[-1]
        positive = bool((weight >= 0).all())
        chosen = own > (0.5 if positive else 0)
        pair = (1 - own, own) if positive else (-own, own)
        applies = post_transform in ("SOFTMAX", "SOFTMAX_ZERO") or (post_transform == "LOGISTIC" and not positive)
        result = transformed(fnp.stack(pair, axis=1), post_transform if applies else "NONE")
        index = chosen.astype(np.int32)
    else:
        scores = scores if base is None else scores + fnp.asarray(base)
        index, result = fnp.argmax(scores, axis=1), transformed(scores, post_transform)
    return labelled(index, classlabels_int64s, classlabels_strings), result.astype(np.float32)


@define("ai.onnx.ml.TreeEnsemble")
def tree_ensemble(
    x: Any,
    nodes_splits: Any,
    nodes_featureids: Sequence[int],
    nodes_modes: Any,
    nodes_truenodeids: Sequence[int],
    nodes_falsenodeids: Sequence[int],
    nodes_trueleafs: Sequence[int],
    nodes_falseleafs: Sequence[int],
    leaf_targetids: Sequence[int],
    leaf_weights: Any,
    tree_roots: Sequence[int],
    post_transform: int = 0,
    aggregate_function: int = 1,
    nodes_hitrates: Any = None,
    nodes_missing_value_tracks_true: Sequence[int] | None = None,
    membership_values: Any = None,
    n_targets: int = 1,
) -> Array:
    """Nodes stand before leaves here. A root that is a leaf has two ways to the same one."""
    inner = len(nodes_featureids)
    ways = np.stack([nodes_falsenodeids, nodes_truenodeids], axis=1) + inner * np.stack(
        [nodes_falseleafs, nodes_trueleafs], axis=1
    )
    own = np.arange(inner, inner + len(leaf_targetids))
    ways = np.concatenate([ways, np.stack([own, own], axis=1)]).astype(np.int32)
    nodes = len(ways)
    weights = np.asarray(leaf_weights)

    def filled(values: Any, dtype: Any) -> np.ndarray:
        return np.concatenate([np.asarray(values, dtype), np.zeros(nodes - inner, dtype)])

    mode = filled(nodes_modes, np.int32)
    sets = np.split(np.asarray([] if membership_values is None else membership_values, weights.dtype), [])
    if membership_values is not None:
        ends = np.flatnonzero(np.isnan(membership_values))
        sets = np.split(np.asarray(membership_values, weights.dtype), ends + 1)[:-1]
    members = np.full((nodes, max((len(s) for s in sets), default=1) or 1), np.nan, weights.dtype)
    for place, values in zip(visited(ways, tree_roots, mode), sets, strict=False):
        members[place, : len(values)] = values
    forest = Forest(
        feature=filled(nodes_featureids, np.int32),
        split=filled(nodes_splits, weights.dtype),
        mode=mode,
        members=members,
        missing=filled(nodes_missing_value_tracks_true or [0] * inner, bool),
        ways=ways,
        roots=np.asarray(tree_roots, np.int32),
        depth=depth_of(ways, np.asarray(tree_roots)),
    )
    aggregate = AGGREGATES[aggregate_function]
    target = np.asarray(leaf_targetids, np.int64)
    scores = totals(forest, fnp.atleast_2d(fnp.asarray(x)), own, target, weights, n_targets, aggregate)
    names = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
    return transformed(scores, names[post_transform])


def visited(ways: np.ndarray, roots: Sequence[int], mode: np.ndarray) -> list[int]:
    """The nodes with sets, in the order in which the sets stand: as trees are walked, the way that holds first."""
    found, left = [], list(reversed(roots))
    while left:
        place = left.pop()
        if ways[place, 0] == ways[place, 1]:
            continue
        if mode[place] == len(COMPARE):
            found.append(int(place))
        left += ways[place].tolist()
    return found
