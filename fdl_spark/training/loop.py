"""The loop over steps: records, epochs, checkpoints, and going back to a snapshot when the cluster loses too much."""

import logging
import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
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
from fdl_spark.errors import CheckpointError, ClusterError, DataError, NonFiniteError, SparkTrainingError
from fdl_spark.history.averages import averaged
from fdl_spark.history.ending import Ending
from fdl_spark.history.history import History
from fdl_spark.history.outcome import LOSS_SCALE, OVERFLOW, Outcome
from fdl_spark.history.processors import Processors
from fdl_spark.history.run import BestParams, Run
from fdl_spark.spark.cleanup import Cleanup
from fdl_spark.spark.failures import LOGS, BlocksLost, Lost, NoRoom, calling, explained, settled
from fdl_spark.spark.interrupts import Interrupts
from fdl_spark.training.callback import Callback
from fdl_spark.training.controls import Controls, Settings
from fdl_spark.training.freezing import Frozen
from fdl_spark.training.group import Group
from fdl_spark.training.plateau import with_scale
from fdl_spark.training.triggers import Trigger, every

log = logging.getLogger("fdl_spark")

SNAPSHOT_STEPS = 50  # at most so many steps are repeated when executors take the only copies of the state with them
LONGEST = 100_000  # steps
DISK_SECONDS = 1.0  # to wait for room on a full disk, at first; then twice as long each time
STEP_SECONDS = 0.25  # how long Ctrl-C waits for the end of the step under way before it cancels the step
PATIENCE = 3  # how often in a row to go back to the same snapshot
MOST_LEFT_OUT = 100  # steps in a row


class Loop:
    """Takes steps until the run is done.

    Args:
      engine: the engine, at the run's first step.
      held_out: the data for validation, or None.
      folder: where checkpoints are, or None.
      group: how many steps one group has at most; "auto" for as many as take about a second.
      settings: what is done when, and by which metric.
      phase: called with the name of each phase that the run comes to.
      frozen: the parameters that the program does not have, as they do not change.
    """

    def __init__(
        self,
        engine: Engine,
        held_out: Dataset | None,
        folder: CheckpointFolder | None,
        group: int | Literal["auto"] = "auto",
        settings: Settings | None = None,
        phase: Callable[[str], None] = lambda phase: None,
        frozen: Frozen | None = None,
    ):
        self._phase, self.frozen = phase, frozen
        self.engine, self.held_out, self.folder, self.length = engine, held_out, folder, group
        self.dataset, self.program = engine.dataset, engine.program
        self.epoch_steps = self.dataset.schedule.steps_per_epoch
        self.controls = Controls(settings or Settings(), self.epoch_steps, held_out is not None, folder is not None)
        with calling("the optimizer's init"):
            self.paths = paths(self.program, engine.weights, self.dataset.schedule.shards)
        example = self.dataset.example(), self.program.recipe.example(self.dataset.schedule, self.dataset.example_rows)
        self._listing = partial(self.program.listing, *example)
        self.run = Run(
            0,
            _params=lambda: self._tree(self._here().weights),
            _state=self._state,
            _model_state=lambda: self.program.state(self._here().weights),
            _best=lambda: self._best,
            _ema=lambda: self._averages(self._here()),
            _listing=self._listing,
            epoch_steps=self.epoch_steps,
        )
        self._best: BestParams | None = None
        self._stopped_by: Trigger | Callback | None = None  # what has asked for an end
        self._snapshot = engine.snapshot()
        self._since = 0.0  # seconds that groups took since the snapshot; what callbacks take loses nothing
        self._surprised = False  # whether a callback has read parameters or stopped where no group ends for it
        self._group = Group(iter(()))
        self._processors = Processors()
        self._setbacks = 0
        self._left_out: list[Outcome] = []  # the last steps, none of which was finite

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
        for path, leaf in self.frozen.constants.items() if self.frozen else ():
            if saved.tensors[f"params{path}"].tobytes() != leaf.tobytes():
                raise CheckpointError(f"params{path} is frozen, and was another in the checkpoint of step {saved.step}")
        leaves = [saved.tensors[f"state{path}"] for path in self.paths]
        self._snapshot = Snapshot(saved.step, self.program.from_tensors(saved.tensors), leaves)
        self.engine.restore(self._snapshot)
        self.run.step, self.run.history = saved.step, History.from_json(saved.history)
        self.controls.rewind(self.run.history)
        self._find_best(folder)

    def _best_of(self, step: int, value: float, flat: np.ndarray) -> BestParams:
        return BestParams(step, value, self._tree(flat), self.program.state(flat))

    def _tree(self, flat: np.ndarray) -> Any:
        """The parameters as the user's pytree, with those that are frozen."""
        params = self.program.tree(flat)
        return params if self.frozen is None else self.frozen.whole(params)

    def _averages(self, snapshot: Snapshot) -> Any:
        """The moving averages of the parameters that the optimizer keeps."""
        state = dict(zip(self.paths, snapshot.leaves, strict=True))
        found = averaged(self.program.tree(snapshot.weights), state)
        return found if found is None or self.frozen is None else self.frozen.whole(found)

    def _find_best(self, folder: CheckpointFolder) -> None:
        """Take the best parameters from the folder; if it has lost them, the best of those that it has."""
        ranking = self.controls.ranking()
        for step, value in ranking:
            tensors = folder.tensors(step)
            if tensors is not None:
                self._best = self._best_of(step, value, self.program.from_tensors(tensors))
                break
        if ranking and (self._best is None or self._best.step != ranking[0][0]):
            found = "no others" if self._best is None else f"those of step {self._best.step}"
            event = f"the best parameters, of step {ranking[0][0]}, are not in {folder.location}; there are {found}"
            self.run.history.add_event(self.run.step, event)
            log.warning(event)

    def train(self, steps: int, callbacks: Sequence[Callback]) -> Run:
        """Take the steps that are left of `steps`; callbacks may stop before."""
        run = self.run
        run.steps = max(steps, run.step)
        with Cleanup() as ends, Interrupts(STEP_SECONDS) as interrupts, ExitStack() as concluding:
            concluding.push(self._conclude)  # before callbacks are told of the end
            for callback in callbacks:
                callback.start(run)
                ends.add(f"{type(callback).__name__}.end", callback.end, run, users=True)
            try:
                self.controls.begin()
                stop = self._end_step_of_before(callbacks)
                while run.step < run.steps and not stop:
                    stop = self._advance(callbacks)
                    interrupts.settle()
                ends.run = ended = self._ended(restore=True)
                if run.step < run.steps and self.folder and self._stopped_by is not self.controls.settings.stop:
                    self._conclude()
                    self._save(self.folder)
                interrupts.settle()
            except (SparkTrainingError, KeyboardInterrupt) as error:
                with suppress(Exception):  # the state of the last step, if the cluster still has it
                    self._catch_up()
                error.run = self._ended()  # type: ignore[union-attr]
                self._conclude(error=error)
                if isinstance(error, KeyboardInterrupt) and self.folder and self.run.step:
                    self._save(self.folder)
                raise
            finally:
                self._group.close()
        return ended

    def _conclude(self, kind: object = None, error: BaseException | None = None, traceback: object = None) -> None:
        """Record how the run ends, at the end of a context."""
        run, restored = self.run, self._restored() if error is None else None
        by = self._stopped_by
        told = by if by is None or isinstance(by, Trigger) else f"the callback {type(by).__name__}"
        ending = Ending.of(run.step, run.steps, told, error)
        run.history.end_session(ending, run.step if restored is None else restored.step)

    def _restored(self) -> BestParams | None:
        """The best parameters, if the run is to end with them."""
        best = self._best if self.controls.settings.restores else None
        return best if best is not None and best.step <= self.run.step else None

    def _catch_up(self) -> None:
        """Go to the end of the group that is under way, as it is after the last step that is recorded."""
        self.engine.finish()
        self._group.drain()
        for outcome in self._group:
            self._record(outcome)
            self.run.step += 1
        if self._snapshot.done < self.engine.done <= self.run.step:  # else an interrupt came between step and record
            self._take_snapshot()

    def _ended(self, restore: bool = False) -> Run:
        """The run up to the snapshot, without what training needed; with the best parameters if they are to be its."""
        snapshot = self._snapshot
        self.run.step = snapshot.done
        self.run.history.back_to(snapshot.done)
        self.run.history.add_choices(self.engine.choices)
        state, best = dict(zip(self.paths, snapshot.leaves, strict=True)), self._best
        averages = self._averages(snapshot)
        if best is not None and best.step > snapshot.done:
            best = None
        restored = self._restored() if restore else None
        ended = restored or self._best_of(snapshot.done, math.nan, snapshot.weights)
        return replace(
            self.run,
            step=snapshot.done,
            _params=lambda: ended.params,
            _params_step=ended.step,
            _model_state=lambda: ended.state,
            _state=lambda: state,
            _best=lambda: best,
            _ema=lambda: averages,
        )

    def _advance(self, callbacks: Sequence[Callback]) -> bool:
        """A group of steps and what follows it; whether the run is to stop."""
        run, engine = self.run, self.engine
        end = self._end_of_group(callbacks)
        stop, here, due, record, began = False, False, set[str](), {}, time.monotonic()
        try:
            # Closed here, as Python ignores what interrupts its collector.
            with closing(self._outcomes(end - run.step, self._stay(callbacks))) as outcomes:
                for outcome in outcomes:
                    record = self._record(outcome)
                    run.step += 1
                    here = run.step == end
                    due |= self.controls.fired(run.step, record["loss"], here)
                    here = here or (bool(due) and engine.boundary(run.step) == run.step)
                    if here:
                        break
                    stop = self._tell_of_step(record, callbacks) or stop
                    if stop and engine.boundary(run.step) == run.step:
                        break
            if stop or (here and run.step < end):
                self._stop_here()
            else:
                self._group.drain()
            self._since += time.monotonic() - began
            if here:
                return self._end_step(due, stop, callbacks)
            if stop or engine.here:
                self._take_snapshot()
        except Lost as lost:
            self._go_back(lost)
            return False
        return stop

    def _end_step(self, due: set[str], stop: bool, callbacks: Sequence[Callback], again: bool = False) -> bool:
        """What is to be done after a step at which a group ended; whether the run is to stop.

        Args:
          due: which triggers have fired since the last time; see `Controls.fired`.
          stop: whether a callback has asked for an end.
          callbacks: told of the step, and of the epoch if it ends.
          again: whether a checkpoint is of this step, so that only what an interrupt has kept from being done is left.
        """
        run, controls, engine = self.run, self.controls, self.engine
        record = run.history.steps[-1]
        due = due | controls.fired(run.step, record["loss"], True)
        validates = "validate" in due and "validation" not in record
        if validates:
            record["validation"] = self._validate()
        controls.observe(run.history, run.step)
        due = due | controls.fired(run.step, record["loss"], True)
        final = run.step == run.steps or "stop" in due
        epoch = self._end_epoch(final)
        ranking = controls.ranking() if controls.observed(run.step) else []
        improved = bool(ranking) and ranking[0][0] == run.step
        save = (final or improved or "save" in due) and not (again and not validates and epoch is None)
        wanted = stop or final or improved or (save and self.folder is not None)
        old = not engine.groups and (save or epoch or run.step - self._snapshot.done >= SNAPSHOT_STEPS)
        scale = controls.scale() if controls.observed(run.step) else None
        if scale is not None and with_scale(self.paths, self._snapshot.leaves, scale) is None:
            scale = None
        if wanted or old or scale is not None or engine.here:
            self._take_snapshot()
        if scale is not None:
            self._rescale(scale)
        if improved:
            self._best = self._best_of(*ranking[0], self._snapshot.weights)
        if "stop" in due:
            self._stopped_by = controls.settings.stop
            self._note(run.step - 1, f"stopped by {controls.settings.stop}")
        if final:
            self._conclude()
        if save and self.folder:
            self._save(self.folder)
        asked = not again and self._asked(callbacks, "step", record)
        if epoch is not None:
            asked = self._asked(callbacks, "epoch", epoch) or asked
        stop = stop or "stop" in due or asked
        if (stop or engine.here) and self._snapshot.done != run.step:
            self._take_snapshot()
        return stop

    def _rescale(self, scale: float) -> None:
        """Multiply the learning rate by another factor from here on."""
        leaves = with_scale(self.paths, self._snapshot.leaves, scale)
        if leaves is not None:
            self._note(self.run.step, f"the learning rate is {scale:.3g} times the optimizer's from here on")
            self._snapshot = replace(self._snapshot, leaves=leaves)
            self.engine.restore(self._snapshot)

    def _note(self, step: int, text: str) -> None:
        """Record an event, unless it was recorded before the run was resumed or went back."""
        if (step, text) not in [(event["step"], event["event"]) for event in self.run.history.events]:
            self.run.history.add_event(step, text)

    def _tell_of_step(self, record: dict[str, Any], callbacks: Sequence[Callback]) -> bool:
        """Tell of a step in the middle of a group; whether a callback wants to stop."""
        asked = self._asked(callbacks, "step", record)
        epoch, rest = divmod(self.run.step, self.dataset.schedule.steps_per_epoch)
        if not rest:
            ended = self.run.history.add_epoch(epoch, self.run.step - 1, None)
            asked = self._asked(callbacks, "epoch", ended) or asked
        return asked

    def _asked(self, callbacks: Sequence[Callback], method: str, record: dict[str, Any]) -> bool:
        """Tell callbacks of a step or an epoch, each whatever the ones before it say; whether one wants to stop."""
        wants = [callback for callback in callbacks if getattr(callback, method)(self.run, record)]
        self._stopped_by = wants[0] if wants and self._stopped_by is None else self._stopped_by
        return bool(wants)

    def _end_of_group(self, callbacks: Sequence[Callback]) -> int:
        """The step before which the next group must end."""
        run = self.run
        if not self.engine.groups:
            return run.step + 1
        length = LONGEST if self.length == "auto" else self.length
        intervals = [getattr(callback, "interval", None) for callback in callbacks]
        if any(map(_wants_epochs, callbacks)):
            intervals.append(self.epoch_steps)
        triggers = [every(interval) if isinstance(interval, int) else interval for interval in intervals if interval]
        ends = [trigger.ends(run.step, self.epoch_steps) for trigger in triggers]
        end = min(run.step + length, run.steps, self.controls.end_of_group(run.step), *ends)
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
        if self.controls.surprises:
            return 0.0
        longest = min(self.engine.handover / HANDOVER, LONGEST_STAY)
        return max(0.0, longest - self._since)

    def _outcomes(self, count: int, stay: float) -> Generator[Outcome, None, None]:
        """The outcomes of a group, as they come.

        Raises:
          NonFiniteError: of a step that is not finite, when its group has ended.
          Lost: the cluster failed.
        """
        self._check_left_out()
        first, run = self.run.step, self.run
        place = f"epoch {first // self.dataset.schedule.steps_per_epoch + 1}"
        self._phase("train")
        steps = f"step {first + 1}" if count == 1 else f"steps from {first + 1}"
        self._describe(f"{steps} of {run.steps} ({place})")
        seconds = max(GROUP_SECONDS, self.engine.overhead / OVERHEAD) if self.length == "auto" else math.inf
        seconds = min(seconds, self.controls.patience())
        self._group = Group(self.engine.group(count, seconds, stay), f"step {first}")
        run.history.add_choices(self.engine.choices)
        for outcome in self._group:
            if outcome.bad and not self.engine.skip:
                self._group.drain()
                raise NonFiniteError(run.step, *min(outcome.bad))
            yield outcome
            self._check_left_out()

    def _check_left_out(self) -> None:
        """Raise if nothing but steps that are not finite has come for long: it will not end."""
        if len(self._left_out) >= MOST_LEFT_OUT:
            raise NonFiniteError(self.run.step - 1, *min(self._left_out[-1].bad), left_out=len(self._left_out))

    def _record(self, outcome: Outcome) -> dict[str, Any]:
        self._left_out = [*self._left_out, outcome] if outcome.bad else []
        if outcome.bad:
            shard, what = min(outcome.bad)
            self.run.history.add_event(self.run.step, f"left out: {what} of shard {shard} is not finite")
        if outcome.sums.get(OVERFLOW, 0) > 0:
            scale = outcome.sums[LOSS_SCALE] / outcome.sums["rows"]
            self.run.history.add_event(self.run.step, f"left out: a gradient overflowed at loss scale {scale:g}")
        again = [timing for timing in outcome.timings if timing.attempt]
        for timing in again:
            text = f"task {timing.task} was run again on {timing.host} (attempt {timing.attempt + 1})"
            self.run.history.add_event(self.run.step, text)
        if again:
            self._note_changes()
        if (told := self._processors.differ(outcome.timings)) is not None:
            self.run.history.add_event(self.run.step, told)
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
            saved = Saved(self.run.step, self._arguments(), self._tensors(), self.run.history.records)
            folder.save(saved, self._best.step if self._best else None)
        except CheckpointError as error:
            self.run.history.add_event(self.run.step, f"no checkpoint: {error}")
            log.warning("%s; training goes on without it, and the checkpoints before are as they were", error)

    def _validate(self) -> dict[str, float]:
        """The means over the data for validation."""
        assert self.held_out is not None
        doing = f"validation after epoch {self._epoch()}" if not self.run.step % self.epoch_steps else ""
        doing = doing or f"validation after step {self.run.step}"
        try:
            with explained(doing):
                self._describe(doing)
                batch_size = self.program.recipe.rows_at_once(self.dataset.schedule.batch_size)
                self._phase("validate")
                program, metrics = self.engine.whole(), self.program.metrics
                return evaluate_blocks(self.held_out, program, self.engine.weights, batch_size, metrics)
        except DataError as error:
            error.argument = "validation"
            raise

    def _epoch(self) -> int:
        """The number of the epoch that the last step is of, counted from one."""
        return -(-self.run.step // self.epoch_steps)

    def _end_epoch(self, final: bool) -> dict[str, Any] | None:
        """Record the end of an epoch, or of the run, if it is one and has not been recorded."""
        run = self.run
        if run.step % self.epoch_steps and not final:
            return None
        if run.history.epochs and run.history.epochs[-1]["step"] == run.step - 1:
            return None
        found = run.history.steps[-1].get("validation")
        if final and found is None and self.held_out is not None:
            found = self._validate()
        return run.history.add_epoch(self._epoch(), run.step - 1, found)

    def _end_step_of_before(self, callbacks: Sequence[Callback]) -> bool:
        """End the step that a checkpoint is of, if an interrupt came before that was done; whether the run stops."""
        run = self.run
        while run.step:
            try:
                return self._end_step(set(), False, callbacks, again=True)
            except Lost as lost:
                self._go_back(lost)
        return False

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
        self.run.step, self._left_out = step, []
        self.controls.rewind(self.run.history)

    def _describe(self, text: str) -> None:
        self.dataset.describe(f"fdl train: {text}")

    def _arguments(self) -> dict[str, Any]:
        schedule = self.dataset.schedule
        algorithm: dict[str, Any] = {"every": self.engine.every} if self.program.inner else {}
        algorithm |= {"wire": "bfloat16"} if self.program.rounded else {}
        plateau = self.controls.settings.plateau
        algorithm |= {"plateau": plateau.arguments} if plateau else {}
        algorithm |= self.program.recipe.arguments()
        algorithm |= {"drop_remainder": True} if schedule.drop_remainder else {}
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
        """Parameters, what is carried behind them, and optimizer state of the snapshot, by key path."""
        state = zip(self.paths, self._snapshot.leaves, strict=True)
        frozen = {f"params{path}": leaf for path, leaf in self.frozen.constants.items()} if self.frozen else {}
        tensors = self.program.tensors(self._snapshot.weights) | frozen
        return tensors | {f"state{path}": leaf for path, leaf in state}


def _surprises(callback: Callback) -> bool:
    """Whether a callback may read parameters or stop the run after any step."""
    passive = getattr(callback, "passive", False) or type(callback).step is Callback.step
    return not passive and getattr(callback, "interval", None) is None


def _wants_epochs(callback: Callback) -> bool:
    """Whether groups should end with epochs for a callback."""
    return not getattr(callback, "passive", False) and type(callback).epoch is not Callback.epoch
