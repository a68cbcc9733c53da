"""The optimizer's step on one flat vector of parameters, whole or a slice of it."""
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

import fdl

Leaves = list[np.ndarray]


class Update:
    """An optimizer as a function of flat vectors and the leaves of its state.

    Args:
      optimizer: a pair of pure functions, `init(params)` and `update(gradients, state, params)`.
      params: a pytree like the parameters.
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
        updated, leaves = self._compiled(flat, gradient, leaves)
        return np.asarray(updated), [np.asarray(leaf) for leaf in leaves]

    def step(self, flat: Any, gradient: Any, leaves: Sequence[Any]) -> tuple[Any, list[Any]]:
        """The same, not compiled."""
        params, state = self._tree(flat), fdl.tree.unflatten(self._structure, leaves)
        updates, state = self.optimizer.update(self._tree(gradient), state, params)
        params = fdl.optim.apply_updates(params, updates)
        updated = params if self.elementwise else fdl.flatten_util.ravel_pytree(params)[0]
        return updated, fdl.tree.leaves(state)

    def paths(self, flat: np.ndarray) -> list[str]:
        """The key path of each leaf of the state."""
        pairs, _ = fdl.tree.flatten_with_path(self.optimizer.init(self._tree(flat)))
        return [fdl.tree.keystr(path) for path, _ in pairs]

    @cached_property
    def _structure(self) -> Any:
        flat, _ = fdl.flatten_util.ravel_pytree(self.params)
        return fdl.tree.structure(self.optimizer.init(self._tree(flat)))

    @cached_property
    def _tree(self) -> Callable[[Any], Any]:
        if self.elementwise:
            return lambda flat: flat
        _, unravel = fdl.flatten_util.ravel_pytree(self.params)
        return unravel

    @cached_property
    def _compiled(self) -> Callable[..., Any]:
        return fdl.jit(self.step)


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

    It is tried: two steps on the pytree and on two slices of the flat vector must give the same bits, for gradients
    that are ordinary, huge (which wakes clipping), and not a number in one place (which shows any global quantity).

    Args:
      optimizer: the optimizer.
      params: a pytree like the parameters.

    Returns:
      True if all trials agree.
    """
    flat = np.asarray(fdl.flatten_util.ravel_pytree(params)[0])
    random = np.random.default_rng(0)
    start, gradient = (random.standard_normal(flat.size).astype(flat.dtype) for _ in range(2))
    spoilt = gradient.copy()
    spoilt[:1] = np.nan
    whole, part = Update(optimizer, params, elementwise=False), Update(optimizer, params, elementwise=True)
    cuts = sorted({0, max(1, flat.size // 3), flat.size})
    try:
        with np.errstate(all="ignore"):
            for trial in (gradient, gradient * flat.dtype.type(1e6), spoilt):
                sliced = [_two_steps(part, start[a:b], trial[a:b]) for a, b in pairwise(cuts)]
                if not np.array_equal(np.concatenate(sliced), _two_steps(whole, start, trial), equal_nan=True):
                    return False
    except (TypeError, ValueError, KeyError, AttributeError, IndexError):
        return False  # it needs the pytree's structure
    return True


def _two_steps(update: Update, flat: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    leaves: Sequence[Any] = update.initial(flat)
    for _ in range(2):
        flat, leaves = update.step(flat, gradient, leaves)
    return np.asarray(flat)
