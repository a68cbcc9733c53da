"""The loop over steps: records, epochs, checkpoints, and going back to a snapshot when the cluster loses too much."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np

import fdl
from fdl_spark.blocks import Dataset
from fdl_spark.callback import Callback
from fdl_spark.checkpoint import CheckpointFolder, Saved
from fdl_spark.errors import CheckpointError, ClusterError, NonFiniteError, SparkTrainingError
from fdl_spark.evaluate import evaluate_blocks
from fdl_spark.failures import LOGS, Lost, calling, explained, settled
from fdl_spark.history import History
from fdl_spark.program import Program
from fdl_spark.run import Run
from fdl_spark.strategy import Strategy
from fdl_spark.update import Leaves

log = logging.getLogger("fdl_spark")

SNAPSHOT_STEPS = 50  # at most so many steps are repeated when executors take the only copies of the state with them
PATIENCE = 3  # how often in a row to go back to the same snapshot


class Loop:
    """Takes steps until the run is done.

    Args:
      strategy: takes a step.
      dataset: the data.
      held_out: the data for validation, or None.
      program: the user's functions.
      folder: where checkpoints are, or None.
      skip: whether steps that are not finite are left out, rather than stopping the run.
    """

    def __init__(
        self,
        strategy: type[Strategy],
        dataset: Dataset,
        held_out: Dataset | None,
        program: Program,
        folder: CheckpointFolder | None,
        skip: bool,
    ):
        weights = program.flat()
        with calling("the optimizer's init"):
            self.paths, leaves = program.update.paths(weights), program.update.initial(weights)
        self.strategy = strategy(dataset, program, weights, leaves)
        self.dataset, self.held_out, self.program, self.folder, self.skip = dataset, held_out, program, folder, skip
        self.run = Run(0, _params=lambda: program.tree(self.strategy.weights), _state=self._state)
        self._snapshot: tuple[int, np.ndarray, Leaves] = (0, weights, self.strategy.state())
        self._setbacks = 0

    def resume(self, folder: CheckpointFolder, saved: Saved) -> None:
        """Go on from a checkpoint.

        Args:
          folder: where it was.
          saved: its content.

        Raises:
          CheckpointError: it is of another run.
        """
        folder.check(saved, self._arguments(), self._tensors())
        leaves = [saved.tensors[f"state{path}"] for path in self.paths]
        pairs, structure = fdl.tree.flatten_with_path(self.program.params)
        params = fdl.tree.unflatten(structure, [saved.tensors[f"params{fdl.tree.keystr(path)}"] for path, _ in pairs])
        weights = np.asarray(fdl.flatten_util.ravel_pytree(params)[0])
        self.strategy.restore(weights, leaves)
        self.run.step, self.run.history = saved.step, History.from_json(saved.history)
        self._snapshot = (saved.step, weights, leaves)

    def train(self, steps: int, save_steps: int | None, callbacks: Sequence[Callback]) -> Run:
        """Take the steps that are left of `steps`; callbacks may stop before."""
        run = self.run
        run.steps = max(steps, run.step)
        with ExitStack() as ends:
            for callback in callbacks:
                callback.start(run)
                ends.callback(callback.end, run)
            try:
                while run.step < run.steps and not self._advance(save_steps, callbacks):
                    pass
            except SparkTrainingError as error:
                with suppress(Exception):  # the state of the last step, if the cluster still has it
                    self._take_snapshot()
                error.run = self._ended()
                raise
        return self._ended()

    def _ended(self) -> Run:
        """The run up to the snapshot, without what training needed."""
        step, weights, leaves = self._snapshot
        tree, state = self.program.tree, dict(zip(self.paths, leaves, strict=True))
        return Run(self.run.steps, step, self.run.history, lambda: tree(weights), lambda: state)

    def _advance(self, save_steps: int | None, callbacks: Sequence[Callback]) -> bool:
        """One step and what follows it; whether a callback wants to stop."""
        run = self.run
        try:
            record = self._step()
            run.step += 1
            ended = run.step % self.dataset.schedule.steps_per_epoch == 0 or run.step == run.steps
            epoch = self._end_epoch() if ended else None
            due = ended or (save_steps is not None and run.step % save_steps == 0)
            if due or run.step - self._snapshot[0] >= SNAPSHOT_STEPS:
                self._take_snapshot()
        except Lost as lost:
            self._go_back(lost)
            return False
        if due and self.folder:
            self._save(self.folder)
        answers = [callback.step(run, record) for callback in callbacks]
        if epoch is not None:
            answers += [callback.epoch(run, epoch) for callback in callbacks]
        stop = any(answers)
        if stop and self._snapshot[0] != run.step:
            try:
                self._take_snapshot()
            except Lost as lost:
                self._go_back(lost)
                return False
        return stop

    def _save(self, folder: CheckpointFolder) -> None:
        """Write a checkpoint; what a full disk spoils is the checkpoint, not the run, which tries again later."""
        try:
            folder.save(Saved(self.run.step, self._arguments(), self._tensors(), self.run.history.to_json()))
        except CheckpointError as error:
            self.run.history.add_event(self.run.step, f"no checkpoint: {error}")
            log.warning("%s; training goes on without it, and the checkpoints before are as they were", error)

    def _step(self) -> dict[str, Any]:
        step, schedule = self.run.step, self.dataset.schedule
        epoch, place = divmod(step, schedule.steps_per_epoch)
        place_in_epoch = f"epoch {epoch + 1}, {place + 1}/{schedule.steps_per_epoch}"
        with explained(f"step {step}"):
            self._describe(f"step {step + 1} of {self.run.steps} ({place_in_epoch})")
            outcome = self.strategy.step(step)
        if outcome.bad:
            shard, what = min(outcome.bad)
            if not self.skip:
                raise NonFiniteError(step, shard, what)
            self.run.history.add_event(step, f"left out: {what} of shard {shard} is not finite")
        return self.run.history.add_step(step, outcome)

    def _end_epoch(self) -> dict[str, Any]:
        run, found = self.run, None
        epoch = -(-run.step // self.dataset.schedule.steps_per_epoch)
        if self.held_out is not None:
            batch_size = self.dataset.schedule.batch_size
            with explained(f"validation after epoch {epoch}"):
                self._describe(f"validation after epoch {epoch}")
                found = evaluate_blocks(self.held_out, self.strategy.shared, self.strategy.weights, batch_size)
        return run.history.add_epoch(epoch, run.step - 1, found)

    def _take_snapshot(self) -> None:
        with explained("reading the optimizer's state"):
            self._snapshot = (self.run.step, self.strategy.weights, self.strategy.state())
        self._setbacks = 0

    def _go_back(self, lost: Lost) -> None:
        """Repeat the steps since the snapshot: all are pure functions of it, so nothing changes but the time."""
        self._setbacks += 1
        if self._setbacks > PATIENCE:
            raise ClusterError(f"step {self.run.step} failed {self._setbacks} times: {lost}; {LOGS}") from None
        step, weights, leaves = self._snapshot
        self.run.history.add_event(self.run.step, f"back to step {step}: {lost}")
        self.run.history.back_to(step)
        with settled(f"going back to step {step}"):
            for dataset in (self.dataset, self.held_out):
                if dataset is not None:
                    dataset.rebuild()
            self.strategy.restore(weights, leaves)
        self.run.step = step

    def _describe(self, text: str) -> None:
        self.dataset.context.setJobDescription(f"fdl train: {text}")

    def _arguments(self) -> dict[str, Any]:
        schedule = self.dataset.schedule
        return {
            "seed": schedule.seed,
            "key": np.asarray(fdl.random.key_data(fdl.random.key(schedule.seed))).tolist(),
            "shards": schedule.shards,
            "batch_size": schedule.batch_size,
            "rows": schedule.rows,
        }

    def _state(self) -> dict[str, np.ndarray]:
        return dict(zip(self.paths, self.strategy.state(), strict=True))

    def _tensors(self) -> dict[str, np.ndarray]:
        """Parameters and optimizer state of the snapshot by key path."""
        _, weights, leaves = self._snapshot
        pairs, _ = fdl.tree.flatten_with_path(self.program.tree(weights))
        tensors = {f"params{fdl.tree.keystr(path)}": np.asarray(leaf) for path, leaf in pairs}
        return tensors | {f"state{path}": leaf for path, leaf in zip(self.paths, leaves, strict=True)}
