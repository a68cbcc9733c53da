"""What every task of a run needs to compute, broadcast once and compiled once per worker."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import cached_property
from typing import Any

import cloudpickle
import numpy as np

import fdl
import fdl.numpy as fnp
from fdl_spark.compute.recipe import Recipe
from fdl_spark.compute.shapes import check_loss, shape_of, takes_key, takes_training
from fdl_spark.compute.table_gradient import TableGradient, TableLayout
from fdl_spark.compute.tables import Tables, find_tables
from fdl_spark.compute.update import Leaves, Update
from fdl_spark.errors import LossError
from fdl_spark.history.outcome import GOOD_STEPS, LOSS_SCALE, LOSS_WEIGHT, OVERFLOW
from fdl_spark.metrics.metric import Metric
from fdl_spark.spark.failures import calling

Metrics = Mapping[str, Callable[..., Any] | Metric]
PLAIN = Recipe()
FIRST = np.uint32(0), np.uint32(0)  # step and shard
NOWHERE = (*FIRST, np.uint32(0))


class Program:
    """The user's functions over a flat vector of parameters, and of what is carried from step to step behind them.

    Args:
      loss: (params, batch) or (params, batch, key) -> mean loss, or (mean loss, dict of metrics); with a state (params,
        state, batch) or (params, state, batch, key) -> (mean loss, dict of metrics, new state). Where rows have
        weights it returns the loss of each row, not the mean.
      params: a pytree like the parameters.
      seed: the seed of the keys that the loss is given.
      metrics: functions (params, batch) -> mean, or Metrics, by name; with a state the functions are (params, state,
        batch) -> mean, and Metrics are given (params, state) for parameters.
      update: the optimizer's step.
      inner: the step that shards take on their own between those of `update`, if they do.
      rounded: whether gradients are rounded to bfloat16 on their way.
      state: a pytree like the model's state; None if it has none.
      recipe: what happens to batches and gradients.

    Attributes:
      carried: what is behind the parameters in the flat vector, as a pytree: "state", "loss_scale" and "good_steps".
      layout: where the tables are whose gradients are rows and values; None if all gradients are whole.
      machine_code: what was compiled on the driver for the workers, as bytes that `adopt` takes.
      compiling: futures of what is being compiled.
      adopted: names of the machine code that a worker has taken.
    """

    def __init__(
        self,
        loss: Callable[..., Any] | None,
        params: Any,
        *,
        seed: int = 0,
        metrics: Metrics | None = None,
        update: Update | None = None,
        inner: Update | None = None,
        rounded: bool = False,
        state: Any = None,
        recipe: Recipe = PLAIN,
    ):
        self.inner, self.rounded, self.recipe = inner, rounded, recipe
        self.loss, self.seed, self.metrics = loss, seed, dict(metrics or {})
        self.update: Any = update
        self.params = fdl.tree.map(np.asarray, params)
        self.carried: dict[str, Any] = {}
        if state is not None:
            self.carried["state"] = fdl.tree.map(np.asarray, state)
        if recipe.dynamic:
            assert recipe.loss_scale is not None
            self.carried |= {LOSS_SCALE: np.float32(recipe.loss_scale.value), GOOD_STEPS: np.float32(0)}
        self.machine_code: list[bytes] = []
        self.compiling: list[Future[None]] = []
        self.adopted: set[str] = set()
        self.layout: TableLayout | None = None

    def to_bytes(self) -> bytes:
        """The program for a worker: equal functions and shapes of parameters give equal bytes."""
        updates = [(update.optimizer, update.elementwise) if update else None for update in (self.update, self.inner)]
        given = self.params, self.carried.get("state")
        shapes = fdl.tree.map(lambda leaf: fdl.ShapeDtypeStruct(leaf.shape, leaf.dtype), given)
        with calling("sending the loss, metrics and optimizer to the executors"):
            return cloudpickle.dumps(
                (self.loss, shapes, self.seed, self.metrics, updates, self.rounded, self.recipe, self.layout)
            )

    @staticmethod
    def from_bytes(content: bytes) -> "Program":
        """The program that `to_bytes` gave, with zeros for parameters."""
        loss, shapes, seed, metrics, updates, rounded, recipe, layout = cloudpickle.loads(content)
        params, state = fdl.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        update, inner = (Update(told[0], params, told[1]) if told else None for told in updates)
        made: dict[str, Any] = {"seed": seed, "metrics": metrics, "rounded": rounded, "recipe": recipe}
        program = Program(loss, params, update=update, inner=inner, state=state, **made)
        program.layout = layout
        return program

    def find_tables(self, batch: Any, more: tuple[Any, ...] = ()) -> None:
        """Let gradients of tables be rows and values, if the optimizer takes those and a gradient is all that is sent.

        Args:
          batch: pytree of ShapeDtypeStructs, a batch's first rows.
          more: of their place, as Recipe.example gives it.
        """
        if self.inner is None and not self.rounded and not self.carried and self.recipe.loss_scale is None:
            optimizer, dtype = self.update.optimizer, self.flat().dtype
            with calling("the optimizer's tables"):
                self.layout = find_tables(optimizer, self.params, self._of_tables, (batch, *FIRST, *more), dtype)

    @cached_property
    def tables(self) -> Tables | None:
        """What is computed of tables whose gradients are rows and values; None if there are none."""
        if self.layout is None:
            return None
        return Tables(self.layout, self.params, self._of_tables, self.update.optimizer)

    @property
    def exchanged(self) -> int:
        """How many elements of a gradient are no rows of tables."""
        return self.flat().size if self.layout is None else self.layout.dense

    def compile_gradient(self, batch: Any, more: tuple[Any, ...] = ()) -> None:
        """Compile the loss and its gradient for batches and places of these types, into `machine_code`."""
        self._compile("_gradient", batch, self.flat().dtype.type(1), *FIRST, *more)

    def compile_measure(self, batch: Any) -> None:
        """Compile the loss and the metrics for batches of these types, into `machine_code`."""
        self._compile("_measure", batch)

    def _compile(self, function: str, *args: Any) -> None:
        flat: Any = self.flat()
        if function == "_gradient" and self.layout is not None:
            flat = self.layout.leaves(flat)
        compiled = getattr(self, function).lower(flat, *args).compile()
        self.machine_code.append(cloudpickle.dumps((function, compiled)))

    def adopt(self, machine_code: bytes) -> None:
        """Run what another process compiled of this program in calls of the types that it is for."""
        function, compiled = cloudpickle.loads(machine_code)
        getattr(self, function).adopt(compiled)

    def loss_and_gradient(
        self, flat: Any, batch: Any, step: int, shard: int, share: float = 1.0, more: tuple[Any, ...] = ()
    ) -> tuple[dict[str, float], Any, bool]:
        """The mean loss of a shard's part of a batch, or of a piece of it, with its metrics, and the gradient.

        Args:
          flat: the parameters, float array (n,); of a program with tables also a list of leaves.
          batch: pytree of arrays, rows first.
          step: number of the step; with the shard it makes the loss's random key.
          shard: number of the shard.
          share: of these rows in the whole batch.
          more: what else keys depend on, as Recipe.more gives it.

        Returns:
          The loss (under "loss") and the loss's own metrics; the gradient times the share, float array (n,), or a
          TableGradient if there are tables; and whether all of it is finite. Where rows have weights, the loss and its
          gradient are the mean of weighted losses, and LOSS_WEIGHT is the mean of the weights.
        """
        place = np.uint32(step), np.uint32(shard), *more
        if self.layout is None:
            means, gradient, finite = self._gradient(flat, batch, flat.dtype.type(share), *place)
            gradient = np.asarray(gradient)
        else:
            leaves = self.layout.leaves(flat) if isinstance(flat, np.ndarray) else flat
            share = np.dtype(self.layout.dtype).type(share)
            means, dense, pairs, finite = self._gradient(leaves, batch, share, *place)
            pairs = [(np.asarray(rows), np.asarray(values)) for rows, values in pairs]
            gradient = TableGradient.of(self.layout, np.asarray(dense), pairs)
        return {name: float(mean) for name, mean in means.items()}, gradient, bool(finite)

    def measure(self, flat: np.ndarray, batch: Any) -> tuple[dict[str, float], dict[str, Any]]:
        """The means of the loss, of the metrics it reports, and of the metric functions over a batch; and what the
        Metrics keep of it."""
        means, statistics = self._measure(flat, batch)
        gathered = {
            name: metric.gather(fdl.tree.map(np.asarray, statistics[name]))
            for name, metric in self.metrics.items()
            if isinstance(metric, Metric)
        }
        return {name: float(mean) for name, mean in means.items()}, gathered

    def updated(
        self,
        weights: np.ndarray,
        gradient: np.ndarray,
        leaves: Leaves,
        sums: Mapping[str, float],
        start: int = 0,
        local: bool = False,
    ) -> tuple[np.ndarray, Leaves]:
        """The flat vector after a step, or a slice of it, and the optimizer's leaves.

        Args:
          weights: the vector or the slice, float array (n,).
          gradient: the sum over shards, float array (n,).
          leaves: of the optimizer's state.
          sums: over the batch's rows.
          start: where the slice begins.
          local: whether it is a step that a shard takes on its own.
        """
        update: Any = self.inner if local else self.update
        factor = self.weight_factor(sums) if local or self.inner is None else None
        if not self.carried and factor is None:
            return update(weights, gradient, leaves)
        size = min(max(self.size - start, 0), weights.size)  # of the parameters in the slice
        gradient = np.array(gradient)
        if factor is not None:
            gradient[:size] *= gradient.dtype.type(factor)
        if not self.carried:
            return update(weights, gradient, leaves)
        overflow = sums.get(OVERFLOW, 0) > 0
        carried = weights[size:].copy() if overflow else gradient[size:].copy()
        if self.recipe.dynamic:
            assert self.recipe.loss_scale is not None
            scale, good = (sums[name] / sums["rows"] for name in (LOSS_SCALE, GOOD_STEPS))
            scale, good = self.recipe.loss_scale.after(scale, round(good), overflow)
            for place, number in enumerate((good, scale), self.size - start - size):
                if 0 <= place < carried.size:
                    carried[place] = number
        updated = weights
        if not overflow:
            gradient[size:] = 0
            updated, leaves = update(weights, gradient, leaves)
        return np.concatenate([updated[:size], carried], dtype=weights.dtype), leaves

    def weight_factor(self, sums: Mapping[str, float]) -> float | None:
        """What makes a sum of weighted gradients, divided by the number of rows, their weighted mean; None if all rows
        weigh the same."""
        return None if self.recipe.weighting is None else sums["rows"] / sums[LOSS_WEIGHT]

    def flat(self) -> np.ndarray:
        """The parameters, and what is carried behind them, as one vector of their common dtype."""
        return np.asarray(fdl.flatten_util.ravel_pytree((self.params, self.carried))[0])

    @cached_property
    def size(self) -> int:
        """How many elements of the flat vector are parameters."""
        return sum(leaf.size for leaf in fdl.tree.leaves(self.params))

    def tree(self, flat: np.ndarray) -> Any:
        """The parameters as the user's pytree."""
        return self._unravel(flat)[0]

    def state(self, flat: np.ndarray) -> Any:
        """The model's state as the user's pytree; None if it has none."""
        return self._unravel(flat)[1].get("state")

    def tensors(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Parameters, and what is carried behind them, by key path."""
        return {_named(path): np.asarray(leaf) for path, leaf in _pairs(self._unravel(flat))}

    def from_tensors(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """The flat vector of what `tensors` gave."""
        pairs, structure = fdl.tree.flatten_with_path((self.params, self.carried))
        found = fdl.tree.unflatten(structure, [tensors[_named(path)] for path, _ in pairs])
        return np.asarray(fdl.flatten_util.ravel_pytree(found)[0])

    def first_nonfinite(self, gradient: np.ndarray | TableGradient) -> str:
        """What of a gradient, which has a NaN or an infinity, has one: the first parameter, or entry of the state."""
        if isinstance(gradient, TableGradient):
            return f"the gradient of {_named(_pairs((self.params,))[gradient.first_nonfinite()][0])}"
        for path, leaf in _pairs(self._unravel(gradient)):
            if not np.isfinite(np.asarray(leaf)).all():
                return _named(path) if path[0].idx else f"the gradient of {_named(path)}"
        raise ValueError("all of the gradient is finite")

    def listing(self, batch: Any, more: tuple[Any, ...] = ()) -> str:
        """The loss as the Program that was traced of it, in text.

        Args:
          batch: pytree of ShapeDtypeStructs.
          more: of their place, as Recipe.example gives it.
        """

        def objective(params: Any, carried: Any, batch: Any, *place: Any) -> Any:
            return self._objective(params, carried, batch, place)

        return fdl.jit(objective).lower(self.params, self.carried, batch, *FIRST, *more).as_text()

    def check(self, batch: Any, more: tuple[Any, ...] | None = None) -> None:
        """Raise a clear error if the loss or a metric does not fit the data.

        Args:
          batch: pytree of ShapeDtypeStructs, a batch's first rows.
          more: of their place, as Recipe.example gives it; None if they are not trained on.

        Raises:
          MissingColumnError: a function asks for a column that is not there.
          LossError: the loss does not return a floating-point number, or that and a dict.
        """
        if self.loss is not None:
            check_loss(self, batch, more)
        given = (self.params, self.carried["state"]) if "state" in self.carried else (self.params,)
        for name, metric in self.metrics.items():
            if isinstance(metric, Metric):
                first = given if len(given) > 1 else self.params
                shape_of(f"metric {name!r}", metric.statistics, first, batch)
                continue
            found = shape_of(f"metric {name!r}", lambda p, b, f=metric: f(*p, b), given, batch)
            if getattr(found, "shape", None) != ():
                raise LossError(f"metric {name!r} must return one number; it returned {found}")

    @cached_property
    def _unravel(self) -> Callable[[Any], Any]:
        return fdl.flatten_util.ravel_pytree((self.params, self.carried))[1]

    def called(self, params: Any, state: Any, batch: Any, place: tuple[Any, ...], training: bool) -> tuple[Any, ...]:
        """The loss that the user's function returns, its metrics, and the new state."""
        given = (params, batch) if "state" not in self.carried else (params, state, batch)
        assert self.loss is not None
        key = (self.recipe.key(self.seed, place),) if takes_key(self.loss, len(given)) else ()
        out = self.loss(*given, *key, **({"training": training} if takes_training(self.loss) else {}))
        if "state" in self.carried:
            if not isinstance(out, tuple) or len(out) != 3 or not isinstance(out[1], Mapping):
                raise LossError("with state=, the loss must return a number, a dict of metrics, and the new state")
            return out[0], dict(out[1]), out[2]
        if isinstance(out, tuple):
            if len(out) != 2 or not isinstance(out[1], Mapping):
                raise LossError("the loss must return a number, or a number and a dict of metrics")
            return out[0], dict(out[1]), None
        return out, {}, None

    def _objective(self, params: Any, carried: Any, batch: Any, place: tuple[Any, ...]) -> tuple[Any, ...]:
        """The loss of rows to train on, whatever weighs and augments them, its metrics, and the new state."""
        rows = self.recipe.augmented(self.seed, batch, place)
        loss, metrics, state = self.called(params, carried.get("state"), rows, place, training=True)
        return *self._weighed(loss, metrics, batch), state

    def _weighed(self, loss: Any, metrics: dict[str, Any], batch: Any) -> tuple[Any, dict[str, Any]]:
        """The mean loss; where rows have weights that of their product, beside the mean weight."""
        if self.recipe.weighting is None:
            return loss, metrics
        loss = loss if loss.dtype.itemsize > 2 else loss.astype(np.float32)
        weights = fnp.broadcast_to(self.recipe.weighting.of(batch), loss.shape)
        return fnp.mean(loss * weights.astype(loss.dtype)), {**metrics, LOSS_WEIGHT: fnp.mean(weights)}

    def _of_tables(self, params: Any, batch: Any, *place: Any) -> tuple[Any, dict[str, Any]]:
        return self._objective(params, {}, batch, place)[:2]

    @cached_property
    def _gradient(self) -> Callable[..., Any]:
        if self.tables is not None:
            return self.tables.gradient
        unravel = self._unravel  # made here: made while tracing it would be recorded, in the first trace only
        loss_scale = self.recipe.loss_scale

        def scaled(params: Any, carried: Any, batch: Any, place: Any) -> Any:
            loss, metrics, state = self._objective(params, carried, batch, place)
            metrics = {"loss": loss, **metrics}
            if "state" in carried:
                carried = {**carried, "state": _like(carried["state"], state)}
            if loss_scale is None:
                return loss, (metrics, carried)
            scale = carried.get(LOSS_SCALE, loss_scale.value)
            metrics |= {name: carried[name] for name in (LOSS_SCALE, GOOD_STEPS) if name in carried}
            return (loss if loss.dtype.itemsize > 2 else loss.astype(np.float32)) * scale, (metrics, carried)

        differentiated = fdl.value_and_grad(scaled, has_aux=True)

        def run(flat: Any, batch: Any, share: Any, *place: Any) -> tuple[dict[str, Any], Any, Any]:
            params, before = unravel(flat)
            (_, (metrics, carried)), gradient = differentiated(params, before, batch, place)
            part = fdl.flatten_util.ravel_pytree(gradient)[0]
            if loss_scale is None:
                part = part * share
            else:
                part = part.astype(flat.dtype) * (share / before.get(LOSS_SCALE, loss_scale.value))
            if fdl.tree.leaves(carried):
                kept = fdl.flatten_util.ravel_pytree(carried)[0]
                part = fnp.concatenate([part.astype(flat.dtype), kept.astype(flat.dtype) * share])
            return metrics, part, fnp.all(fnp.isfinite(part))

        return fdl.jit(run)

    @cached_property
    def _measure(self) -> Callable[..., Any]:
        unravel = self._unravel

        def run(flat: Any, batch: Any) -> tuple[dict[str, Any], dict[str, Any]]:
            params, carried = unravel(flat)
            state = (carried["state"],) if "state" in carried else ()
            found, statistics = {}, {}
            if self.loss is not None:
                loss, metrics, _ = self.called(params, carried.get("state"), batch, NOWHERE, training=False)
                loss, metrics = self._weighed(loss, metrics, batch)
                found = {"loss": loss, **metrics}
            for name, metric in self.metrics.items():
                if isinstance(metric, Metric):
                    statistics[name] = metric.statistics((params, *state) if state else params, batch)
                else:
                    found[name] = metric(params, *state, batch)
            return found, statistics

        return fdl.jit(run)


def _like(old: Any, new: Any) -> Any:
    """A new state in the dtypes of the old one; no gradient goes through it."""
    return fdl.tree.map(lambda before, after: fnp.asarray(after).astype(before.dtype), old, new)


def _pairs(tree: Any) -> list[tuple[Any, Any]]:
    return fdl.tree.flatten_with_path(tree)[0]


def _named(path: Any) -> str:
    """The name of a leaf of (parameters, carried): "params['w']", "model_state['mean']", "loss_scale"."""
    if not path[0].idx:
        return f"params{fdl.tree.keystr(path[1:])}"
    name = path[1].key
    return f"model_state{fdl.tree.keystr(path[2:])}" if name == "state" else name
