"""The moving average of parameters in an optimizer's state, in the structure of the parameters."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import fdl

NAME = ".params_ema"  # of `fdl.optim.ParamsEmaState`


def averaged(params: Any, state: Mapping[str, np.ndarray]) -> Any:
    """The averages that `fdl.optim.params_ema` keeps; None if it does not.

    Args:
      params: pytree of arrays; leaves of which there is no average stay.
      state: the optimizer's state by key path, of the tree or of the flat vector of parameters.

    >>> averaged({"a": np.ones(1), "b": np.ones(2)}, {"[1].params_ema": np.array([1.0, 2.0, 3.0])})
    {'a': array([1.]), 'b': array([2., 3.])}
    """
    found = {path.partition(NAME)[2]: leaf for path, leaf in state.items() if NAME in path and path[:6] != "[shard"}
    if not found:
        return None
    pairs, structure = fdl.tree.flatten_with_path(params)
    leaves = {fdl.tree.keystr(path): np.asarray(leaf) for path, leaf in pairs}
    flat, ends = found.get(""), np.cumsum([leaf.size for leaf in leaves.values()])
    if flat is not None and flat.size >= ends[-1]:  # behind the parameters is what is carried with them
        parts = np.split(np.ravel(flat)[: ends[-1]], ends[:-1])
        found = {path: part.reshape(leaf.shape) for part, (path, leaf) in zip(parts, leaves.items(), strict=True)}
    return fdl.tree.unflatten(structure, [found.get(path, leaf) for path, leaf in leaves.items()])
