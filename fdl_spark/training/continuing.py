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
            params, model_state = map(_by_path, (source.params, source.state))
            name = f"a run of {source.step} steps{_restored(source.params_step, source.step)}"
            return Origin(name, params, source.optimizer_state, model_state)
        if not isinstance(source, str | os.PathLike):
            raise ArgumentError(f"continue_from must be a Run, or a folder of checkpoints, not {source!r:.100}")
        folder = CheckpointFolder(source)
        saved = folder.load()
        if saved is None:
            raise CheckpointError(f"continue_from={folder.location!r} has no checkpoint")
        params_step = next((s["params_step"] for s in saved.history["sessions"][-1:] if "params_step" in s), saved.step)
        tensors = saved.tensors if params_step == saved.step else folder.tensors(params_step)
        if tensors is None:
            raise CheckpointError(
                f"continue_from={folder.location!r}: the run ended with its best parameters, those of step "
                f"{params_step}, whose checkpoint is not there or damaged; restore it, or pass params= of another one"
            )
        name = f"step {saved.step} of {folder.location}{_restored(params_step, saved.step)}"
        return Origin(name, _part(tensors, "params"), _part(saved.tensors, "state"), _part(tensors, "model_state"))

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


def _restored(params_step: int, step: int) -> str:
    return "" if params_step == step else f", with the best parameters, of step {params_step}"


def _part(tensors: Mapping[str, np.ndarray], part: str) -> dict[str, np.ndarray]:
    """A part of a checkpoint's tensors by key path."""
    return {name.removeprefix(part): array for name, array in tensors.items() if name.startswith(part)}


def _kind(array: Any) -> str:
    return "absent" if array is None else f"{np.asarray(array).dtype}{list(np.shape(array))}"


def _by_path(params: Any) -> dict[str, np.ndarray]:
    return {fdl.tree.keystr(path): np.asarray(leaf) for path, leaf in fdl.tree.flatten_with_path(params)[0]}
