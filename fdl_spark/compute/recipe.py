"""What happens to a batch on its way to a gradient, besides the loss: weights, augmentation, pieces, a loss scale."""

from collections.abc import Callable
from dataclasses import dataclass
from math import frexp
from numbers import Real
from typing import Any

import numpy as np

import fdl
from fdl_spark.arguments import check_whole
from fdl_spark.compute.weighting import Weighting
from fdl_spark.data.shards import Schedule
from fdl_spark.errors import ArgumentError

FIRST_SCALE = 2.0**15  # float16 holds it
LARGEST_SCALE = 2.0**100  # far from what float32 holds
APART = 2**32 - 1  # folded into the keys of rows, in place of a step's number: the loss's keys are others


@dataclass(frozen=True)
class LossScale:
    """What the loss is multiplied by before it is differentiated, and the gradient divided by afterwards.

    Source of the dynamic one: Micikevicius et al., "Mixed Precision Training", ICLR 2018 (section 3.2).

    Attributes:
      value: a power of two, so that scaling itself changes no bit; the first one if it is dynamic.
      growth_interval: after so many steps without an overflow the scale doubles, and each overflow halves it and leaves
        the step out; None if the scale stays.

    Raises:
      ArgumentError: an attribute is not what it must be.

    >>> LossScale(1024.0).growth_interval is None  # the same as loss_scale=1024.0
    True
    """

    value: float = FIRST_SCALE
    growth_interval: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.value, Real) or not 1 <= self.value <= LARGEST_SCALE or frexp(self.value)[0] != 0.5:
            raise ArgumentError(
                f"loss_scale must be a power of two from 1 to 2**100, so that it changes no bit; it is {self.value!r}"
            )
        check_whole("growth_interval", self.growth_interval, 1)

    def after(self, scale: float, good_steps: int, overflow: bool) -> tuple[float, int]:
        """The scale of the next step, and how many steps without an overflow there were since it changed.

        >>> LossScale(8.0, 2).after(8.0, 1, False), LossScale(8.0, 2).after(8.0, 1, True)
        ((16.0, 0), (4.0, 0))
        """
        if overflow:
            return max(1.0, scale / 2), 0
        if good_steps + 1 < (self.growth_interval or good_steps + 2):
            return scale, good_steps + 1
        return min(LARGEST_SCALE, 2 * scale), 0


@dataclass(frozen=True)
class Recipe:
    """What `train` was told of batches and gradients.

    Attributes:
      weighting: what rows weigh; None if all weigh the same.
      augment: (key, row) -> row; None for none.
      microbatch: how many rows are computed at once, at most; None for all that a shard has in a step.
      loss_scale: None for none.
    """

    weighting: Weighting | None = None
    augment: Callable[[Any, Any], Any] | None = None
    microbatch: int | None = None
    loss_scale: LossScale | None = None

    @property
    def dynamic(self) -> bool:
        """Whether the loss scale follows the gradients."""
        return self.loss_scale is not None and self.loss_scale.growth_interval is not None

    def arguments(self) -> dict[str, Any]:
        """What a run depends on, as JSON values by name, of that which is not a function."""
        found: dict[str, Any] = {}
        if self.weighting is not None:
            found["weights"] = [
                self.weighting.column,
                self.weighting.label,
                [list(one) for one in self.weighting.classes],
            ]
        if self.microbatch is not None:
            found["microbatch"] = self.microbatch
        if self.loss_scale is not None:
            found["loss_scale"] = [self.loss_scale.value, self.loss_scale.growth_interval]
        return found

    def rows_at_once(self, batch_size: int) -> int:
        """How many rows a validation computes at once, which memory must hold as it holds those of a piece.

        >>> Recipe(microbatch=4).rows_at_once(64), Recipe().rows_at_once(64)
        (4, 64)
        """
        return batch_size if self.microbatch is None else min(batch_size, self.microbatch)

    def pieces(self, rows: int) -> list[slice]:
        """How so many rows are computed: in as few pieces as there can be, which differ by one row at most.

        >>> Recipe(microbatch=4).pieces(9)
        [slice(0, 3, None), slice(3, 6, None), slice(6, 9, None)]
        """
        count = min(rows, 1) if self.microbatch is None else -(-rows // self.microbatch)
        return [slice(n * rows // count, (n + 1) * rows // count) for n in range(count)]

    def more(self, schedule: Schedule, step: int, shard: int, piece: int, slots: np.ndarray) -> tuple[Any, ...]:
        """What the random keys of a piece depend on besides step and shard: its number, if there may be several, and,
        if rows are augmented, the epoch and their numbers."""
        more: tuple[Any, ...] = () if self.microbatch is None else (np.uint32(piece),)
        if self.augment is None:
            return more
        return (*more, np.uint32(step // schedule.steps_per_epoch), schedule.row_numbers(shard, slots))

    def example(self, schedule: Schedule, rows: int) -> tuple[Any, ...]:
        """What `more` gives for so many rows."""
        return self.more(schedule, 0, 0, 0, np.zeros(rows, np.int64))

    def key(self, seed: int, place: tuple[Any, ...]) -> Any:
        """The random key of a piece; its place is (step, shard, *more)."""
        key = fdl.random.key(seed)
        for number in place[: 2 if self.microbatch is None else 3]:
            key = fdl.random.fold_in(key, number)
        return key

    def augmented(self, seed: int, batch: Any, place: tuple[Any, ...]) -> Any:
        """The rows of a batch, each changed by its own key: that of the epoch and the row's number."""
        if self.augment is None:
            return batch
        epoch, numbers = place[-2:]
        of_epoch, function = fdl.random.fold_in(fdl.random.fold_in(fdl.random.key(seed), APART), epoch), self.augment

        def of_row(row: Any, number: Any) -> Any:
            key = of_epoch
            for word in range(number.shape[0]):
                key = fdl.random.fold_in(key, number[word])
            return function(key, row)

        return fdl.vmap(of_row)(batch, numbers)
