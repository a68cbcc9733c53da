"""What is done when in a run, and by which metric: the triggers and monitors of `train`, and what they have seen."""

import time
from dataclasses import dataclass

from fdl_spark.errors import ArgumentError
from fdl_spark.history.history import History
from fdl_spark.history.outcome import flat_numbers
from fdl_spark.training.monitors import Best, Monitor, restored
from fdl_spark.training.plateau import Plateau
from fdl_spark.training.triggers import Every, Moment, Observation, Trigger, check_trigger, every

EPOCHS = every(epochs=1)


@dataclass(frozen=True)
class Settings:
    """What the arguments of `train` say.

    Attributes:
      validate: when to validate.
      save: when to save a checkpoint.
      stop: when to stop before the last step.
      best: by what to keep the best parameters.
      plateau: by what to reduce the learning rate.
    """

    validate: Trigger = EPOCHS
    save: Trigger = EPOCHS
    stop: Trigger | None = None
    best: Monitor | None = None
    plateau: Plateau | None = None

    @staticmethod
    def of(
        validate: Trigger | None,
        save: Trigger | None,
        stop: Trigger | None,
        best: Best | str | None,
        plateau: Plateau | None,
        save_steps: int | None = None,
    ) -> "Settings":
        """The settings, checked.

        Raises:
          ArgumentError: an argument is not what it must be, or two do not go together.
        """
        circle = {"metric": "cannot go by a metric of the validation that it begins"}
        clock = {"seconds": "would let the clock decide what plateau= makes of the parameters"}
        check_trigger("validate", validate, circle | (clock if plateau is not None else {}))
        check_trigger("save", save, {})
        check_trigger("stop", stop, {})
        if isinstance(best, str):
            best = Best(best)
        for name, value, kind in (("best", best, Best), ("plateau", plateau, Plateau)):
            if value is not None and not isinstance(value, kind):
                raise ArgumentError(f"{name} must be a fdl_spark.{kind.__name__}, not {value!r}")
        save = save or EPOCHS
        if save_steps is not None:
            save = save | Every(save_steps)
        return Settings(validate or EPOCHS, save, stop, _by(best, stop), plateau)

    @property
    def restores(self) -> bool:
        """Whether the run ends with the best parameters."""
        return bool(restored(self.stop))

    @property
    def observes(self) -> bool:
        """Whether anything goes by a metric."""
        triggers = [self.validate, self.save, *([self.stop] if self.stop else [])]
        return bool(self.best or self.plateau or any("metric" in trigger.watches for trigger in triggers))


def _by(best: Monitor | None, stop: Trigger | None) -> Monitor | None:
    """By what the best parameters are kept.

    Raises:
      ArgumentError: there are two answers.
    """
    kept = {(one.metric, one.mode): one for one in [*([best] if best else []), *restored(stop)]}
    if len(kept) > 1:
        raise ArgumentError(
            f"the best parameters are kept by one metric, and best= and stop= name {sorted(kept)}; name one, or pass "
            f"restore_best=False"
        )
    return next(iter(kept.values()), None)


class Controls:
    """Watches a run.

    Args:
      settings: what is done when.
      epoch_steps: steps of an epoch.
      validates: whether there is data for validation.
      saves: whether there is a folder for checkpoints.

    Attributes:
      observations: what is known by now, in the order of steps.
    """

    def __init__(self, settings: Settings, epoch_steps: int, validates: bool, saves: bool):
        self.settings, self.epoch_steps, self.validates = settings, epoch_steps, validates
        self.observations: list[Observation] = []
        self._triggers = {"validate": settings.validate} if validates else {}
        self._triggers |= {"save": settings.save} if saves else {}
        self._triggers |= {"stop": settings.stop} if settings.stop else {}
        self.begin()

    def begin(self) -> None:
        """Training begins, for clocks."""
        self._began = time.monotonic()
        self._last = dict.fromkeys(self._triggers, self._began)

    def end_of_group(self, step: int) -> int:
        """Before which step the next group must end."""
        ends = [trigger.ends(step, self.epoch_steps) for trigger in self._triggers.values()]
        if self.settings.observes and not self.validates:
            ends.append(EPOCHS.ends(step, self.epoch_steps))
        late = {name: trigger.fires(self._moment(name, step + 1)) for name, trigger in self._timed().items()}
        return step + 1 if any(late.values()) else min(ends, default=step + 2**62)

    def patience(self) -> float:
        """The seconds after which a group must end, as a clock may let a trigger fire."""
        now = time.monotonic()
        waits = [trigger.wait(now - self._last[name], now - self._began) for name, trigger in self._timed().items()]
        return min((wait for wait in waits if wait > 0), default=float("inf"))

    @property
    def surprises(self) -> bool:
        """Whether a trigger may fire where no group ends."""
        return any(trigger.open and "loss" in trigger.watches for trigger in self._triggers.values())

    def fired(self, step: int, loss: float, ended: bool) -> set[str]:
        """What is to be done after a step: some of "validate", "save", "stop".

        Args:
          step: steps done.
          loss: of the last step.
          ended: whether a group ends here.
        """
        found = set()
        for name, trigger in self._triggers.items():
            if trigger.fires(self._moment(name, step, loss, ended)):
                found.add(name)
                self._last[name] = time.monotonic()
        return found

    def observe(self, history: History, step: int) -> None:
        """Take note of what is known after a step: its validation, or the means of the epoch that ends."""
        if self.settings.observes and not self.observed(step):
            self.observations += self._observed(history, step)

    def rewind(self, history: History) -> None:
        """Forget what is not in the history, and take note of what is."""
        self.observations = []
        if self.settings.observes:
            for record in history.steps:
                self.observations += self._observed(history, record["step"] + 1)

    def ranking(self) -> list[tuple[int, float]]:
        """Steps and values of the metric that the best parameters are kept by, the best first."""
        best = self.settings.best
        return [(one.step, best.value(one)) for one in best.ranking(self.observations)] if best else []

    def observed(self, step: int) -> bool:
        """Whether there is an observation of a step."""
        return bool(self.observations) and self.observations[-1].step == step

    def scale(self) -> float:
        """By what the learning rate is multiplied from now on."""
        return 1.0 if self.settings.plateau is None else self.settings.plateau.scale(self.observations)

    def _observed(self, history: History, step: int) -> list[Observation]:
        if self.validates:
            values = history.steps[step - 1].get("validation")
            return [] if values is None else [Observation(step, flat_numbers(values))]
        return [] if step % self.epoch_steps else [Observation(step, history.means(step - self.epoch_steps, step))]

    def _timed(self) -> dict[str, Trigger]:
        return {name: trigger for name, trigger in self._triggers.items() if "seconds" in trigger.watches}

    def _moment(self, name: str, step: int, loss: float = float("nan"), ended: bool = True) -> Moment:
        now = time.monotonic()
        since, total = now - self._last[name], now - self._began
        return Moment(step, self.epoch_steps, loss, self.observations, since, total, ended)
