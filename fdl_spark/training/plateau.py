"""Reducing the learning rate when a metric does not improve any more."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import fdl
import fdl.numpy as fnp
from fdl import optim
from fdl_spark.arguments import check_whole
from fdl_spark.errors import ArgumentError
from fdl_spark.training.monitors import Monitor
from fdl_spark.training.triggers import Observation, check_number


class Plateau:
    """Multiply the learning rate by a factor each time a metric has not improved for a while, for `train(plateau=)`.

    What counts is observed after each validation, or each epoch of training if there is no validation. The factors
    multiply what the optimizer makes of its own learning rate, a number or a schedule; their product is a scalar in the
    optimizer's state, so that checkpoints have it and all engines take the same steps. Source: optax's
    `reduce_on_plateau`; in BigDL it is the schedule `Plateau`, in Keras `ReduceLROnPlateau`.

    Args:
      metric: "loss", or the name of a metric.
      factor: what the learning rate is multiplied by, between 0 and 1.
      patience: after how many observations without an improvement, at least 1.
      mode: whether "min" or "max" is better; only for "loss" it may be left out.
      min_delta: by how much a value must be better than the best one to be an improvement.
      cooldown: how many observations after a reduction do not count.
      min_scale: the product of all factors does not become smaller than this.

    Raises:
      ArgumentError: an argument is not what it must be.

    >>> from fdl_spark.training.triggers import Observation
    >>> losses = [3.0, 2.0, 2.0, 2.5, 1.0]
    >>> Plateau(patience=2, factor=0.5).scale([Observation(n, {"loss": loss}) for n, loss in enumerate(losses)])
    0.5
    """

    def __init__(
        self,
        metric: str = "loss",
        *,
        factor: float = 0.1,
        patience: int = 10,
        mode: str | None = None,
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_scale: float = 0.0,
    ):
        self.monitor = Monitor.of("Plateau", metric, mode, min_delta)
        check_number("factor of Plateau", factor, 0.0)
        check_number("min_scale of Plateau", min_scale)
        check_whole("patience of Plateau", patience, 1)
        check_whole("cooldown of Plateau", cooldown, 0)
        if factor >= 1 or not 0 <= min_scale <= 1:
            raise ArgumentError(f"Plateau needs a factor below 1 and a min_scale in [0, 1]: {factor}, {min_scale}")
        self.factor, self.patience, self.cooldown = float(factor), int(patience), int(cooldown)
        self.min_scale = float(min_scale)

    def scale(self, observations: Sequence[Observation]) -> float:
        """By what the learning rate is multiplied after these observations."""
        scale, best, bad, cooling = 1.0, float("nan"), 0, 0
        for observation in observations:
            value = self.monitor.value(observation)
            if self.monitor.better(value, best):
                best, bad = value, 0
            else:
                bad += 1
            if cooling:
                cooling, bad = cooling - 1, 0
            elif bad >= self.patience:
                scale, bad, cooling = max(scale * self.factor, self.min_scale), 0, self.cooldown
        return scale

    @property
    def arguments(self) -> dict[str, Any]:
        """What it was made of, for checkpoints: another one would have come to other parameters."""
        return vars(self.monitor) | {name: value for name, value in vars(self).items() if name != "monitor"}

    def __repr__(self) -> str:
        return f"Plateau({self.monitor.metric!r}, factor={self.factor}, patience={self.patience})"


class RescaledState(NamedTuple):
    """By what updates are multiplied."""

    plateau_scale: Any


AVERAGES = ("params_ema", "slow")  # entries of states that hold parameters


def rescaled(optimizer: Any) -> optim.GradientTransformation:
    """An optimizer whose updates are multiplied by a number in its state, one at first.

    Raises:
      ArgumentError: the optimizer makes up for steps later, or averages parameters, and would not see the number.
    """
    paths = [path for path, _ in fdl.tree.flatten_with_path(optimizer.init(np.zeros(1, np.float32)))[0]]
    if any(getattr(key, "name", None) in AVERAGES for path in paths for key in path):
        raise ArgumentError(
            "plateau: params_ema and lookahead would average parameters that updates lead to before the plateau has "
            "multiplied them; use a schedule of the optimizer, or leave one of the two out"
        )
    if getattr(optimizer, "catch_up", None) is not None:
        raise ArgumentError(
            "plateau: rows that catch up with steps they have missed would not see by what the learning rate was "
            "multiplied then; pass by_rows(..., lazy=True), or leave plateau out"
        )
    pair = optim.GradientTransformation(
        optimizer.init, optimizer.update, bool(getattr(optimizer, "elementwise", False))
    )
    pair.tables = getattr(optimizer, "tables", None)

    def init(params: Any) -> RescaledState:
        return RescaledState(fnp.ones((), "float64"))

    def update(updates: Any, state: RescaledState, params: Any = None) -> tuple[Any, RescaledState]:
        return fdl.tree.map(lambda g: state.plateau_scale.astype(g.dtype) * g, updates), state

    return optim.chain(pair, optim.GradientTransformation(init, update, True))


def with_scale(paths: Sequence[str], leaves: Sequence[np.ndarray], scale: float) -> list[np.ndarray] | None:
    """The leaves of an optimizer's state with another scale; None if they have this one.

    Args:
      paths: key paths of the leaves.
      leaves: the leaves.
      scale: by what updates are multiplied from now on.
    """
    places = [n for n, path in enumerate(paths) if path.endswith(".plateau_scale")]
    if all(leaves[n] == scale for n in places):
        return None
    changed = list(leaves)
    for n in places:
        changed[n] = np.full_like(leaves[n], scale)
    return changed
