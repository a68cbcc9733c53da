"""Beginning a run where another one ended, with other settings: `train(continue_from=)`."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import fdl
from fdl_spark.checkpoints.checkpoint import CheckpointFolder
from fdl_spark.compute.update import Leaves
from fdl_spark.errors import ArgumentError, CheckpointError
from fdl_spark.history.run import Run
from fdl_spark.training.plateau import with_scale

log = logging.getLogger("fdl_spark")

SHOWN = 5  # differences in one message


@dataclass(frozen=True)
class Origin:
    """Where a run begins.

    Attributes:
      name: what to call it.
      params: parameters by key path.
      state: the optimizer's state by key path.
      model_state: the model's state by key path; empty if it has none.
    """

    name: str
    params: Mapping[str, np.ndarray]
    state: Mapping[str, np.ndarray]
    model_state: Mapping[str, np.ndarray] = field(default_factory=dict)

    @staticmethod
    def of(source: Any) -> "Origin":
        """The end of a run, or the newest whole checkpoint of a folder.

        Raises:
          ArgumentError: it is neither.
          CheckpointError: there is no whole checkpoint in the folder.
        """
        if isinstance(source, Run):
            name, trees = f"a run of {source.step} steps", (source.params, source.state)
            params, model_state = map(_by_path, trees)
            return Origin(name, params, source.optimizer_state, model_state)
        if not isinstance(source, str | os.PathLike):
            raise ArgumentError(f"continue_from must be a Run, or a folder of checkpoints, not {source!r:.100}")
        folder = CheckpointFolder(source)
        saved = folder.load()
        if saved is None:
            raise CheckpointError(f"continue_from={folder.location!r} has no checkpoint")
        parts: dict[str, dict[str, np.ndarray]] = {"params": {}, "state": {}, "model_state": {}}
        for name, array in saved.tensors.items():
            for part, found in parts.items():
                if name.startswith(part):
                    found[name.removeprefix(part)] = array
        return Origin(f"step {saved.step} of {folder.location}", *parts.values())

    def params_like(self, params: Any) -> Any:
        """The parameters, in the structure of others.

        Raises:
          ArgumentError: they have other paths, shapes or dtypes; it names them.
        """
        return self._like("params", "parameters", self.params, params)

    def state_like(self, state: Any) -> Any:
        """The model's state, in the structure of another; this other one, if the run that goes on from has none.

        Raises:
          ArgumentError: as `params_like`.
        """
        return self._like("state", "model state", self.model_state, state) if self.model_state else state

    def _like(self, argument: str, what: str, found: Mapping[str, np.ndarray], given: Any) -> Any:
        expected = _by_path(given)
        differences = differing(argument, found, expected)
        if differences:
            raise ArgumentError(f"continue_from: {self.name} has other {what} than {argument}: {differences}")
        return fdl.tree.unflatten(fdl.tree.structure(given), [found[path] for path in expected])

    def leaves_like(self, paths: Sequence[str], leaves: Leaves) -> tuple[Leaves, str]:
        """The state to begin with, and an event that says what was taken.

        Args:
          paths: key paths of the state of an optimizer that begins.
          leaves: its leaves, which stay if the state is another optimizer's.
        """
        differences = differing("state", self.state, dict(zip(paths, leaves, strict=True)))
        if differences:
            event = f"continued from {self.name}; the optimizer's state begins anew, as it was another: {differences}"
            log.warning(event)
            return leaves, event
        taken = [self.state[path] for path in paths]
        # What reduced the learning rate then is in the history of that run.
        return with_scale(paths, taken, 1.0) or taken, f"continued from {self.name}, with the optimizer's state"


def differing(root: str, found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> str:
    """The paths at which trees of arrays differ in shape or dtype; empty if they do not."""
    texts = []
    for path in sorted(found.keys() | expected.keys()):
        old, new = (_kind(arrays.get(path)) for arrays in (found, expected))
        if old != new:
            texts.append(f"{root}{path} was {old}, is {new}")
    more = f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + more


def _kind(array: Any) -> str:
    return "absent" if array is None else f"{np.asarray(array).dtype}{list(np.shape(array))}"


def _by_path(params: Any) -> dict[str, np.ndarray]:
    return {fdl.tree.keystr(path): np.asarray(leaf) for path, leaf in fdl.tree.flatten_with_path(params)[0]}
