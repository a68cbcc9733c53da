"""Transformations for parts of the parameters, chosen by the paths of their leaves."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from fdl import tree
from fdl.optim.arguments import tells_call
from fdl.optim.base import GradientTransformation, Tree
from fdl.optim.masks import multi_transform
from fdl.sparse.rows import Rows


@tells_call()
def by_path(transforms: Mapping[str, GradientTransformation]) -> GradientTransformation:
    """Different transformations for different leaves, chosen by patterns of their paths.

    Args:
        transforms: by pattern of a path such as "encoder/0/w", in which `*` stands for any text, "/" included. The
            first pattern that matches a leaf's path counts.

    Returns:
        A pair of pure functions, not element-wise.

    Raises:
        ValueError: no pattern matches a leaf; a transformation cannot see some leaves only.

    >>> import fdl.numpy as fnp
    >>> from fdl import optim
    >>> optimizer = by_path({"embedding/*": optim.set_to_zero(), "*/b": optim.sgd(0.5), "*": optim.sgd(2.0)})
    >>> params = {"embedding": {"w": fnp.ones(1)}, "out": {"w": fnp.ones(1), "b": fnp.ones(1)}}
    >>> updates, _ = optimizer.update(params, optimizer.init(params))
    >>> [u.item() for u in tree.leaves(updates)]
    [0.0, -0.5, -2.0]
    """
    return multi_transform(transforms, lambda params: labels_of(params, list(transforms)))


def labels_of(params: Tree, patterns: list[str]) -> Any:
    """The first pattern that matches each leaf's path, in a tree like the parameters."""
    pairs, structure = tree.flatten_with_path(params, is_leaf=lambda x: isinstance(x, Rows))
    labels = []
    for path, _ in pairs:
        name = tree.keystr(path, simple=True, separator="/")
        matching = [pattern for pattern in patterns if fnmatchcase(name, pattern)]
        if not matching:
            raise ValueError(f"by_path: no pattern of {patterns} matches {name!r}; add one, such as '*'")
        labels.append(matching[0])
    return tree.unflatten(structure, labels)
