"""The loop over steps: records, epochs, checkpoints, and going back to a snapshot when the cluster loses too much."""

from collections.abc import Sequence
from typing import Any

import numpy as np

import fdl
from fdl_spark.blocks import Dataset
from fdl_spark.callback import Callback
from fdl_spark.checkpoint import CheckpointFolder, Saved
from fdl_spark.errors import ClusterError, NonFiniteError
from fdl_spark.evaluate import evaluate_blocks
from fdl_spark.failures import Lost, explained
from fdl_spark.history import History
from fdl_spark.program import Program
from fdl_spark.run import Run
from fdl_spark.strategy import Strategy
from fdl_spark.update import Leaves

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
        self.strategy = strategy(dataset, program, weights, program.update.initial(weights))
        self.dataset, self.held_out, self.program, self.folder, self.skip = dataset, held_out, program, folder, skip
        self.paths = program.update.paths(weights)
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
        started: list[Callback] = []
        try:
            for callback in callbacks:
                callback.start(run)
                started.append(callback)
            while run.step < run.steps and not self._advance(save_steps, callbacks):
                pass
            if self._snapshot[0] != run.step:
                self._take_snapshot()
        finally:
            for callback in started:
                callback.end(run)
        _, weights, leaves = self._snapshot
        state = dict(zip(self.paths, leaves, strict=True))
        return Run(run.steps, run.step, run.history, lambda: self.program.tree(weights), lambda: state)

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
            self.folder.save(Saved(run.step, self._arguments(), self._tensors(), run.history.to_json()))
        answers = [callback.step(run, record) for callback in callbacks]
        if epoch is not None:
            answers += [callback.epoch(run, epoch) for callback in callbacks]
        return any(answers)

    def _step(self) -> dict[str, Any]:
        step, schedule = self.run.step, self.dataset.schedule
        epoch, place = divmod(step, schedule.steps_per_epoch)
        place_in_epoch = f"epoch {epoch + 1}, {place + 1}/{schedule.steps_per_epoch}"
        self._describe(f"step {step + 1} of {self.run.steps} ({place_in_epoch})")
        with explained(f"step {step}"):
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
            self._describe(f"validation after epoch {epoch}")
            batch_size = self.dataset.schedule.batch_size
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
            raise ClusterError(f"step {self.run.step} failed {self._setbacks} times: {lost}") from lost
        step, weights, leaves = self._snapshot
        self.run.history.add_event(self.run.step, f"back to step {step}: {lost}")
        self.run.history.back_to(step)
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
