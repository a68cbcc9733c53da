"""Trees of arrays by dotted names, as PyTorch calls parameters, and as nested dicts."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fdl.errors import TreeError


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """A nested dict of one with dotted names.

    >>> nested({"layer.0.weight": 1, "layer.0.bias": 2})
    {'layer': {'0': {'weight': 1, 'bias': 2}}}
    """
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *path, last = name.split(".")
        inner = tree
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return tree


def at(tree: Any, name: str, what: str) -> Any:
    """The leaf of a nested dict that a dotted name stands for.

    >>> at({"layer": {"0": 5}}, "layer.0", "params")
    5
    >>> at({"layer": {}}, "layer.0", "params")
    Traceback (most recent call last):
    fdl.errors.TreeError: params have no layer.0: give a tree like the one that the import returned
    """
    for part in name.split("."):
        try:
            tree = tree[part]
        except (KeyError, TypeError, IndexError):
            raise TreeError(f"{what} have no {name}: give a tree like the one that the import returned") from None
    return tree


def to_torch_state_dict(*trees: Any) -> dict[str, Any]:
    """Parameters and states of an imported module as what `module.load_state_dict` takes.

    Args:
        trees: nested dicts of arrays, such as the params and the state that `from_torch` returned, trained or not.

    Returns:
        Tensors by dotted name. Buffers that are no states are not among them: `load_state_dict(..., strict=False)`.

    Raises:
        ModuleNotFoundError: PyTorch is not installed.

    >>> to_torch_state_dict({"0": {"weight": np.ones((1, 2), np.float32)}})  # doctest: +SKIP
    {'0.weight': tensor([[1., 1.]])}
    """
    import torch

    flat: dict[str, Any] = {}

    def enter(tree: Any, path: str) -> None:
        if isinstance(tree, Mapping):
            for key, value in tree.items():
                enter(value, f"{path}.{key}" if path else str(key))
        else:
            array = np.array(tree)
            if array.dtype.name == "bfloat16":
                flat[path] = torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
            else:
                flat[path] = torch.from_numpy(array)

    for tree in trees:
        enter(tree, "")
    return flat
