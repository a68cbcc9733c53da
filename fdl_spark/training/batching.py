"""The arguments of `train` that say what happens to a batch: checked, and made into a Recipe."""

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from numbers import Real
from typing import Any

import fdl
from fdl_spark.arguments import check_function, check_params, check_whole
from fdl_spark.compute.program import Program
from fdl_spark.compute.recipe import LossScale, Recipe
from fdl_spark.compute.tables import is_lazy
from fdl_spark.compute.weighting import Weighting, balanced
from fdl_spark.data.sharded import Dataset
from fdl_spark.errors import ArgumentError
from fdl_spark.training.triggers import Every

GROWTH_INTERVAL = 2000  # steps; as in the paper


class Batching:
    """What `train` was told of batches.

    Args:
      given: the arguments of `train` by name.

    Raises:
      ArgumentError: one of them is not what it must be, or they do not go together.
    """

    def __init__(self, given: Mapping[str, Any]):
        self.weights, self.class_weights, self.label = (given[name] for name in ("weights", "class_weights", "label"))
        self.drop_remainder, self.augment = given["drop_remainder"], given["augment"]
        self.microbatch, self.loss_scale = given["microbatch"], _loss_scale(given["loss_scale"])
        for name in ("weights", "label"):
            if given[name] is not None and not isinstance(given[name], str):
                raise ArgumentError(f"{name} must be the name of a column, not {given[name]!r:.100}")
        if (self.label is None) != (self.class_weights is None):
            raise ArgumentError("class_weights= and label= go together: what classes weigh, and the column they are in")
        if self.class_weights is not None and self.class_weights != "balanced":
            _check_classes(self.class_weights)
        if not isinstance(self.drop_remainder, bool):
            raise ArgumentError(f"drop_remainder must be True or False, not {self.drop_remainder!r}")
        if self.augment is not None:
            check_function("augment", self.augment, "(key, row)")
        check_whole("microbatch", self.microbatch, 1)
        if given["state"] is not None:
            check_params(given["state"], "state")
        dynamic = Recipe(loss_scale=self.loss_scale).dynamic
        if given["wire"] == "bfloat16" and (fdl.tree.leaves(given["state"]) or dynamic):
            what = 'loss_scale="dynamic"' if dynamic else "state="
            raise ArgumentError(
                f'wire="bfloat16" rounds what travels, which {what} does not bear; leave one of them out'
            )
        if isinstance(given["sync"], Every) and dynamic:
            raise ArgumentError(
                'loss_scale="dynamic" follows the gradients of all shards, which step on their own with '
                "sync=fdl_spark.every(k); pass a number for loss_scale"
            )

    def prepare(self, dataset: Dataset) -> Recipe:
        """The Recipe for the data to train on, whose schedule is changed if the last batch is to be left out."""
        schedule = replace(dataset.schedule, drop_remainder=self.drop_remainder)
        if not schedule.steps_per_epoch:
            raise ArgumentError(
                f"drop_remainder=True leaves no batch: the data has {schedule.rows} rows, fewer than "
                f"batch_size={schedule.batch_size}"
            )
        dataset.schedule = schedule
        weighting = None
        if self.weights is not None or self.label is not None:
            weighting = Weighting(self.weights, self.label)
            weighting.check(dataset)
            if self.label is not None:
                weighting = replace(weighting, classes=self._classes(dataset, self.label))
        return Recipe(weighting, self.augment, self.microbatch, self.loss_scale)

    def _classes(self, dataset: Dataset, label: str) -> tuple[tuple[float, float], ...]:
        if isinstance(self.class_weights, Mapping):
            return tuple((float(one), float(weight)) for one, weight in self.class_weights.items())
        dataset.describe("fdl: count the classes")
        return balanced(dataset, label)


def check_sparse(program: Program) -> None:
    """Raise if an optimizer must be told which rows of tables were looked up, and gradients are whole."""
    needs = "state=" if "state" in program.carried else "loss_scale=" if program.recipe.loss_scale is not None else ""
    if needs and is_lazy(program.update.optimizer, program.params):
        raise ArgumentError(
            f"optimizer: a lazy by_rows changes only rows that were looked up, and with {needs} gradients are whole; "
            f"pass lazy=False"
        )


def _check_classes(class_weights: Any) -> None:
    if not isinstance(class_weights, Mapping) or not class_weights:
        raise ArgumentError(f'class_weights must be a dict {{label: weight}} or "balanced", not {class_weights!r:.100}')
    for label, weight in class_weights.items():
        if not isinstance(label, Real):
            raise ArgumentError(
                f"class_weights: a label must be a number, as the column label= has them; one is {label!r}"
            )
        if not isinstance(weight, Real) or not isfinite(weight) or weight < 0:
            raise ArgumentError(f"class_weights[{label!r}] must be a number, not negative and finite; it is {weight!r}")


def _loss_scale(value: Any) -> LossScale | None:
    if value is None or isinstance(value, LossScale):
        return value
    if isinstance(value, str) and value == "dynamic":
        return LossScale(growth_interval=GROWTH_INTERVAL)
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ArgumentError(
            f'loss_scale must be a power of two, "dynamic" or a fdl_spark.LossScale, not {value!r:.100}'
        )
    return LossScale(float(value))
