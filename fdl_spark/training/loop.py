"""The loop over steps: records, epochs, checkpoints, and going back to a snapshot when the cluster loses too much."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import Any, Literal

import numpy as np

import fdl
from fdl_spark.applying.evaluate import evaluate_blocks
from fdl_spark.checkpoints.checkpoint import CheckpointFolder, Saved
from fdl_spark.cost import GROUP_SECONDS, HANDOVER, LONGEST_STAY, OVERHEAD, SMALL
from fdl_spark.data.sharded import Dataset
from fdl_spark.engines.common.leaves import paths
from fdl_spark.engines.engine import Engine, Snapshot
from fdl_spark.errors import CheckpointError, ClusterError, NonFiniteError, SparkTrainingError
from fdl_spark.history.history import History
from fdl_spark.history.outcome import Outcome
from fdl_spark.history.run import Run
from fdl_spark.spark.cleanup import Cleanup
from fdl_spark.spark.failures import LOGS, BlocksLost, Lost, NoRoom, calling, explained, settled
from fdl_spark.spark.interrupts import Interrupts
from fdl_spark.training.callback import Callback

log = logging.getLogger("fdl_spark")

SNAPSHOT_STEPS = 50  # at most so many steps are repeated when executors take the only copies of the state with them
LONGEST = 100_000  # steps
DISK_SECONDS = 1.0  # to wait for room on a full disk, at first; then twice as long each time
STEP_SECONDS = 0.25  # how long Ctrl-C waits for the end of the step under way before it cancels the step
PATIENCE = 3  # how often in a row to go back to the same snapshot


class Group:
    """The outcomes of a group of steps that may be under way; those that come before anyone asks for them are kept."""

    def __init__(self, outcomes: Iterator[Outcome], doing: str = ""):
        self._outcomes, self._kept = _explained(outcomes, doing), deque[Outcome]()

    def __iter__(self) -> Iterator[Outcome]:
        while True:
            if self._kept:
                yield self._kept.popleft()
                continue
            try:
                outcome = next(self._outcomes)
            except StopIteration:
                return
            yield outcome

    def drain(self) -> None:
        """Wait for the end of the group."""
        self._kept.extend(self._outcomes)

    def close(self) -> None:
        """Leave the group, wherever it is."""
        self._outcomes.close()


class Loop:
    """Takes steps until the run is done.

    Args:
      engine: the engine, at the run's first step.
      held_out: the data for validation, or None.
      folder: where checkpoints are, or None.
      group: how many steps one group has at most; "auto" for as many as take about a second.
      phase: called with the name of each phase that the run comes to.
    """

    def __init__(
        self,
        engine: Engine,
        held_out: Dataset | None,
        folder: CheckpointFolder | None,
        group: int | Literal["auto"] = "auto",
        phase: Callable[[str], None] = lambda phase: None,
    ):
        self._phase = phase
        self.engine, self.held_out, self.folder, self.length = engine, held_out, folder, group
        self.dataset, self.program = engine.dataset, engine.program
        with calling("the optimizer's init"):
            self.paths = paths(self.program, engine.weights, self.dataset.schedule.shards)
        self._listing = partial(self.program.listing, self.dataset.example())
        self.run = Run(
            0, _params=lambda: self.program.tree(self._here().weights), _state=self._state, _listing=self._listing
        )
        self._snapshot = engine.snapshot()
        self._since = 0.0  # seconds that groups took since the snapshot; what callbacks take loses nothing
        self._surprised = False  # whether a callback has read parameters or stopped where no group ends for it
        self._group = Group(iter(()))
        self._setbacks = 0

    def resume(self, folder: CheckpointFolder, saved: Saved | None) -> None:
        """Go on from a checkpoint, or from the start, and record which later checkpoints are damaged.

        Args:
          folder: where it was.
          saved: its content, None if there is none.

        Raises:
          CheckpointError: it is of another run.
        """
        if saved is not None:
            self._resume(folder, saved)
        for _, problem in folder.problems:
            self.run.history.add_event(self.run.step, f"from an earlier checkpoint, or the start: {problem}")

    def _resume(self, folder: CheckpointFolder, saved: Saved) -> None:
        folder.check(saved, self._arguments(), self._tensors())
        leaves = [saved.tensors[f"state{path}"] for path in self.paths]
        pairs, structure = fdl.tree.flatten_with_path(self.program.params)
        params = fdl.tree.unflatten(structure, [saved.tensors[f"params{fdl.tree.keystr(path)}"] for path, _ in pairs])
        weights = np.asarray(fdl.flatten_util.ravel_pytree(params)[0])
        self._snapshot = Snapshot(saved.step, weights, leaves)
        self.engine.restore(self._snapshot)
        self.run.step, self.run.history = saved.step, History.from_json(saved.history)

    def train(self, steps: int, save_steps: int | None, callbacks: Sequence[Callback]) -> Run:
        """Take the steps that are left of `steps`; callbacks may stop before."""
        run = self.run
        run.steps = max(steps, run.step)
        with Cleanup() as ends, Interrupts(STEP_SECONDS) as interrupts:
            for callback in callbacks:
                callback.start(run)
                ends.add(f"{type(callback).__name__}.end", callback.end, run, users=True)
            try:
                self._end_epoch_of_before(steps, callbacks)
                stop = False
                while run.step < run.steps and not stop:
                    stop = self._advance(save_steps, callbacks)
                    interrupts.settle()
                ends.run = ended = self._ended()
                interrupts.settle()
            except (SparkTrainingError, KeyboardInterrupt) as error:
                with suppress(Exception):  # the state of the last step, if the cluster still has it
                    self._catch_up()
                error.run = self._ended()  # type: ignore[union-attr]
                if isinstance(error, KeyboardInterrupt) and self.folder and self.run.step:
                    self._save(self.folder)
                raise
            finally:
                self._group.close()
        return ended

    def _catch_up(self) -> None:
        """Go to the end of the group that is under way, as it is after the last step that is recorded."""
        self.engine.finish()
        self._group.drain()
        for outcome in self._group:
            self._record(outcome)
            self.run.step += 1
        if self._snapshot.done < self.engine.done <= self.run.step:  # else an interrupt came between step and record
            self._take_snapshot()

    def _ended(self) -> Run:
        """The run up to the snapshot, without what training needed."""
        snapshot, tree = self._snapshot, self.program.tree
        self.run.step = snapshot.done
        self.run.history.back_to(snapshot.done)
        self.run.history.add_choices(self.engine.choices)
        state = dict(zip(self.paths, snapshot.leaves, strict=True))
        return Run(
            self.run.steps,
            snapshot.done,
            self.run.history,
            lambda: tree(snapshot.weights),
            lambda: state,
            self._listing,
        )

    def _advance(self, save_steps: int | None, callbacks: Sequence[Callback]) -> bool:
        """A group of steps and what follows it; whether a callback wants to stop."""
        run, engine, schedule = self.run, self.engine, self.dataset.schedule
        end = self._end_of_group(save_steps, callbacks)
        stop, epoch, record, began = False, None, {}, time.monotonic()
        try:
            # Closed here, as Python ignores what interrupts its collector.
            with closing(self._outcomes(end - run.step, self._stay(callbacks))) as outcomes:
                for outcome in outcomes:
                    record = self._record(outcome)
                    run.step += 1
                    if run.step == end:
                        break
                    stop = self._tell_of_step(record, callbacks) or stop
                    if stop and engine.boundary(run.step) == run.step:
                        break
            if stop:
                self._stop_here()
            else:
                self._group.drain()
            self._since += time.monotonic() - began
            at_end = run.step == end
            if at_end and (run.step % schedule.steps_per_epoch == 0 or run.step == run.steps):
                epoch = self._end_epoch()
            due = epoch is not None or (at_end and save_steps is not None and run.step % save_steps == 0)
            wanted = stop or run.step == run.steps or (due and (self.folder is not None or not engine.groups))
            old = not engine.groups and run.step - self._snapshot.done >= SNAPSHOT_STEPS
            if wanted or old or engine.here:
                self._take_snapshot()
            if due and self.folder:
                self._save(self.folder)
            if not at_end:
                return stop
            answers = _answers(callbacks, run, record)
            if epoch is not None:
                answers += [callback.epoch(run, epoch) for callback in callbacks]
            stop = any(answers)
            if (stop or engine.here) and self._snapshot.done != run.step:
                self._take_snapshot()
        except Lost as lost:
            self._go_back(lost)
            return False
        return stop

    def _tell_of_step(self, record: dict[str, Any], callbacks: Sequence[Callback]) -> bool:
        """Tell of a step in the middle of a group; whether a callback wants to stop."""
        answers = _answers(callbacks, self.run, record)
        epoch, rest = divmod(self.run.step, self.dataset.schedule.steps_per_epoch)
        if not rest:
            ended = self.run.history.add_epoch(epoch, self.run.step - 1, None)
            answers += [callback.epoch(self.run, ended) for callback in callbacks]
        return any(answers)

    def _end_of_group(self, save_steps: int | None, callbacks: Sequence[Callback]) -> int:
        """The step before which the next group must end."""
        run = self.run
        if not self.engine.groups:
            return run.step + 1
        length = LONGEST if self.length == "auto" else self.length
        intervals = [save_steps, *(getattr(callback, "interval", None) for callback in callbacks)]
        if self.held_out is not None or self.folder is not None or any(map(_wants_epochs, callbacks)):
            intervals.append(self.dataset.schedule.steps_per_epoch)
        ends = [(run.step // interval + 1) * interval for interval in intervals if interval]
        end = min(run.step + length, run.steps, *ends)
        if end < run.steps:
            end = max(self.engine.boundary(end), run.step + 1)
            while end < run.steps and self.engine.boundary(end) != end:
                end += 1
        return end

    def _stay(self, callbacks: Sequence[Callback]) -> float:
        """For how many seconds parameters and state may stay with the tasks from now on."""
        size = self._snapshot.weights.nbytes + sum(leaf.nbytes for leaf in self._snapshot.leaves)
        if size <= SMALL or self._setbacks or self._surprised or any(map(_surprises, callbacks)):
            return 0.0
        longest = min(self.engine.handover / HANDOVER, LONGEST_STAY)
        return max(0.0, longest - self._since)

    def _outcomes(self, count: int, stay: float) -> Generator[Outcome, None, None]:
        """The outcomes of a group, as they come.

        Raises:
          NonFiniteError: of a step that is not finite, when its group has ended.
          Lost: the cluster failed.
        """
        first, run = self.run.step, self.run
        place = f"epoch {first // self.dataset.schedule.steps_per_epoch + 1}"
        self._phase("train")
        steps = f"step {first + 1}" if count == 1 else f"steps from {first + 1}"
        self._describe(f"{steps} of {run.steps} ({place})")
        seconds = max(GROUP_SECONDS, self.engine.overhead / OVERHEAD) if self.length == "auto" else math.inf
        self._group = Group(self.engine.group(count, seconds, stay), f"step {first}")
        run.history.add_choices(self.engine.choices)
        for outcome in self._group:
            if outcome.bad and not self.engine.skip:
                self._group.drain()
                raise NonFiniteError(run.step, *min(outcome.bad))
            yield outcome

    def _record(self, outcome: Outcome) -> dict[str, Any]:
        if outcome.bad:
            shard, what = min(outcome.bad)
            self.run.history.add_event(self.run.step, f"left out: {what} of shard {shard} is not finite")
        again = [timing for timing in outcome.timings if timing.attempt]
        for timing in again:
            text = f"task {timing.task} was run again on {timing.host} (attempt {timing.attempt + 1})"
            self.run.history.add_event(self.run.step, text)
        if again:
            self._note_changes()
        return self.run.history.add_step(self.run.step, outcome)

    def _note_changes(self) -> None:
        """Record which executors were lost or came."""
        for change in self.dataset.changes():
            self.run.history.add_event(self.run.step, change)

    def _here(self) -> Snapshot:
        """The last step with common parameters, these and the state, also in the middle of a group."""
        engine, step = self.engine, self.run.step
        self._group.drain()
        if engine.done == step:
            with explained("reading the optimizer's state"):
                return engine.snapshot()
        self._surprised, step = True, engine.boundary(step)
        if step == self._snapshot.done:
            return self._snapshot
        ahead = engine.snapshot()
        self._replay(step)
        found = engine.snapshot()
        engine.restore(ahead)
        return found

    def _stop_here(self) -> None:
        """End the group that is under way, and make the engine's step the run's."""
        self.engine.finish()
        self._group.drain()
        if self.engine.done != self.run.step:
            self._surprised = True
            self._replay(self.run.step)

    def _replay(self, step: int) -> None:
        """Take the steps of the last group again, up to this one."""
        first, engine = self._snapshot.done, self.engine
        engine.restore(self._snapshot)
        with explained(f"step {first}"):
            while engine.done < step:  # a group may be shorter: another engine goes on if this one's tasks cannot stay
                before = engine.done, len(engine.choices)
                for _ in engine.group(step - engine.done):
                    pass
                if before == (engine.done, len(engine.choices)):
                    raise Lost(f"the steps after {engine.done} were not taken again")

    def _save(self, folder: CheckpointFolder) -> None:
        """Write a checkpoint; what a full disk spoils is the checkpoint, not the run, which tries again later."""
        self._phase("save")
        try:
            folder.save(Saved(self.run.step, self._arguments(), self._tensors(), self.run.history.records))
        except CheckpointError as error:
            self.run.history.add_event(self.run.step, f"no checkpoint: {error}")
            log.warning("%s; training goes on without it, and the checkpoints before are as they were", error)

    def _end_epoch(self) -> dict[str, Any]:
        run, found = self.run, None
        epoch = -(-run.step // self.dataset.schedule.steps_per_epoch)
        if self.held_out is not None:
            batch_size = self.dataset.schedule.batch_size
            self._phase("validate")
            with explained(f"validation after epoch {epoch}"):
                self._describe(f"validation after epoch {epoch}")
                program, metrics = self.engine.whole(), self.program.metrics
                found = evaluate_blocks(self.held_out, program, self.engine.weights, batch_size, metrics)
        return run.history.add_epoch(epoch, run.step - 1, found)

    def _end_epoch_of_before(self, steps: int, callbacks: Sequence[Callback]) -> None:
        """End the epoch, or the run, whose last step a checkpoint is of, if an interrupt came between the two."""
        run = self.run
        while run.step and (run.step % self.dataset.schedule.steps_per_epoch == 0 or run.step == steps):
            if run.history.epochs and run.history.epochs[-1]["step"] == run.step - 1:
                return
            try:
                epoch = self._end_epoch()
            except Lost as lost:
                self._go_back(lost)
            else:
                for callback in callbacks:
                    callback.epoch(run, epoch)

    def _take_snapshot(self) -> None:
        with explained("reading the optimizer's state"):
            self._snapshot = self.engine.snapshot()
        self._since, self._setbacks = 0.0, 0
        self._note_changes()

    def _go_back(self, lost: Lost) -> None:
        """Repeat the steps since the snapshot: all are pure functions of it, so nothing changes but the time."""
        self._setbacks += 1
        if self._setbacks > PATIENCE:
            raise ClusterError(f"step {self.run.step} failed {self._setbacks} times: {lost}; {LOGS}") from None
        step = self._snapshot.done
        self.run.history.add_event(self.run.step, f"back to step {step}: {lost}")
        self._note_changes()
        self.run.history.back_to(step)
        with settled(f"going back to step {step}"):
            if isinstance(lost, NoRoom):
                time.sleep(DISK_SECONDS * 2 ** (self._setbacks - 1))
            # The blocks of lost executors Spark makes again itself.
            elif isinstance(lost, BlocksLost) or self._setbacks > 1:
                for dataset in (self.dataset, self.held_out):
                    if dataset is not None:
                        dataset.rebuild(getattr(lost, "folder", None))
                self.engine.renew()
            self.engine.restore(self._snapshot)
        self.run.step = step

    def _describe(self, text: str) -> None:
        self.dataset.describe(f"fdl train: {text}")

    def _arguments(self) -> dict[str, Any]:
        schedule = self.dataset.schedule
        algorithm: dict[str, Any] = {"every": self.engine.every} if self.program.inner else {}
        algorithm |= {"wire": "bfloat16"} if self.program.rounded else {}
        return algorithm | {
            "seed": schedule.seed,
            "key": np.asarray(fdl.random.key_data(fdl.random.key(schedule.seed))).tolist(),
            "shards": schedule.shards,
            "batch_size": schedule.batch_size,
            "rows": schedule.rows,
        }

    def _state(self) -> dict[str, np.ndarray]:
        return dict(zip(self.paths, self._here().leaves, strict=True))

    def _tensors(self) -> dict[str, np.ndarray]:
        """Parameters and optimizer state of the snapshot by key path."""
        pairs, _ = fdl.tree.flatten_with_path(self.program.tree(self._snapshot.weights))
        tensors = {f"params{fdl.tree.keystr(path)}": np.asarray(leaf) for path, leaf in pairs}
        return tensors | {f"state{path}": leaf for path, leaf in zip(self.paths, self._snapshot.leaves, strict=True)}


def _explained(outcomes: Iterator[Outcome], doing: str) -> Generator[Outcome, None, None]:
    """The outcomes, and errors that say what failed, whoever asks for them."""
    with explained(doing):
        yield from outcomes


def _answers(callbacks: Sequence[Callback], run: Run, record: dict[str, Any]) -> list[bool | None]:
    """What the callbacks say of a step: each is asked, whatever the ones before it say."""
    return [callback.step(run, record) for callback in callbacks]


def _surprises(callback: Callback) -> bool:
    """Whether a callback may read parameters or stop the run after any step."""
    passive = getattr(callback, "passive", False) or type(callback).step is Callback.step
    return not passive and getattr(callback, "interval", None) is None


def _wants_epochs(callback: Callback) -> bool:
    """Whether groups should end with epochs for a callback."""
    return not getattr(callback, "passive", False) and type(callback).epoch is not Callback.epoch
