"""The optimizer's step on one flat vector of parameters, whole or a slice of it."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

import fdl

Leaves = list[np.ndarray]


class Update:
    """An optimizer as a function of flat vectors and the leaves of its state.

    Args:
      optimizer: a pair of pure functions, `init(params)` and `update(gradients, state, params)`.
      params: a pytree like the parameters; an optimizer of the pytree does not see what is behind them in the vector.
      elementwise: whether the optimizer may be applied to the flat vector, or any slice of it, in place of the pytree.
    """

    def __init__(self, optimizer: Any, params: Any, elementwise: bool):
        self.optimizer, self.params, self.elementwise = optimizer, params, elementwise

    def initial(self, flat: np.ndarray) -> Leaves:
        """The leaves of the state before the first step."""
        return [np.asarray(leaf) for leaf in fdl.tree.leaves(self.optimizer.init(self._tree(flat)))]

    def __call__(self, flat: np.ndarray, gradient: np.ndarray, leaves: Leaves) -> tuple[np.ndarray, Leaves]:
        """One step.

        Args:
          flat: float array (n,), the parameters or a slice of them.
          gradient: float array (n,).
          leaves: the state's leaves.

        Returns:
          The new parameters and the new leaves.
        """
        updated, leaves = self._step(flat, gradient, leaves)
        return np.asarray(updated), [np.asarray(leaf) for leaf in leaves]

    def paths(self, flat: np.ndarray) -> list[str]:
        """The key path of each leaf of the state."""
        pairs, _ = fdl.tree.flatten_with_path(self.optimizer.init(self._tree(flat)))
        return [fdl.tree.keystr(path) for path, _ in pairs]

    @cached_property
    def _structure(self) -> Any:
        flat = np.asarray(fdl.flatten_util.ravel_pytree(self.params)[0])
        return fdl.tree.structure(self.optimizer.init(self._tree(flat)))

    @cached_property
    def _tree(self) -> Callable[[Any], Any]:
        if self.elementwise:
            return lambda flat: flat
        whole, unravel = fdl.flatten_util.ravel_pytree(self.params)
        size, dtype = whole.size, whole.dtype
        return lambda flat: unravel(flat if flat.size == size else flat[:size].astype(dtype))

    @cached_property
    def _step(self) -> Callable[..., Any]:
        structure = self._structure  # made here: made while tracing it would be recorded, in the first trace only

        def step(flat: Any, gradient: Any, leaves: Leaves) -> tuple[Any, list[Any]]:
            params, state = self._tree(flat), fdl.tree.unflatten(structure, leaves)
            updates, state = self.optimizer.update(self._tree(gradient), state, params)
            params = fdl.optim.apply_updates(params, updates)
            updated = params if self.elementwise else fdl.flatten_util.ravel_pytree(params)[0]
            return updated, fdl.tree.leaves(state)

        return fdl.jit(step)


def cut(leaves: Leaves, size: int, start: int, stop: int) -> Leaves:
    """The state of a slice: leaves as long as the parameters are cut, others are every slice's own."""
    return [leaf[start:stop] if leaf.shape == (size,) else leaf for leaf in leaves]


def join(slices: list[Leaves], lengths: list[int]) -> Leaves:
    """The state of the whole from the states of its slices."""
    return [
        np.concatenate(parts) if all(part.shape == (n,) for part, n in zip(parts, lengths, strict=True)) else parts[0]
        for parts in map(list, zip(*slices, strict=True))
    ]


def is_elementwise(optimizer: Any, params: Any) -> bool:
    """Whether an optimizer may be applied slice by slice to the flat vector of parameters.

    Args:
      optimizer: the optimizer; it says so by its attribute `elementwise`, without which it is given the whole pytree.
      params: a pytree like the parameters; leaves of several dtypes need the pytree too.

    Returns:
      True if slices give what the whole gives.
    """
    dtypes = {np.asarray(leaf).dtype for leaf in fdl.tree.leaves(params)}
    return bool(getattr(optimizer, "elementwise", False)) and len(dtypes) == 1
