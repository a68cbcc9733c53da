"""What every task of a run needs to compute, broadcast once and compiled once per worker."""

import inspect
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import cached_property
from typing import Any

import cloudpickle
import numpy as np

import fdl
import fdl.numpy as fnp
from fdl_spark.arguments import RESERVED, check_metric_name
from fdl_spark.compute.table_gradient import TableGradient, TableLayout
from fdl_spark.compute.tables import Tables, find_tables
from fdl_spark.compute.update import Update
from fdl_spark.errors import LossError, MissingColumnError
from fdl_spark.metrics.metric import Metric
from fdl_spark.spark.failures import calling

Metrics = Mapping[str, Callable[[Any, Any], Any] | Metric]


class Program:
    """The user's functions over a flat vector of parameters.

    Args:
      loss: (params, batch) or (params, batch, key) -> mean loss, or (mean loss, dict of metrics).
      params: a pytree like the parameters.
      seed: the seed of the keys that the loss is given.
      metrics: functions (params, batch) -> mean, or Metrics, by name.
      update: the optimizer's step.
      inner: the step that shards take on their own between those of `update`, if they do.
      rounded: whether gradients are rounded to bfloat16 on their way.

    Attributes:
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
    ):
        self.inner, self.rounded = inner, rounded
        self.loss, self.seed, self.metrics = loss, seed, dict(metrics or {})
        self.update: Any = update
        self.params = fdl.tree.map(np.asarray, params)
        self.machine_code: list[bytes] = []
        self.compiling: list[Future[None]] = []
        self.adopted: set[str] = set()
        self.layout: TableLayout | None = None

    def to_bytes(self) -> bytes:
        """The program for a worker: equal functions and shapes of parameters give equal bytes."""
        updates = [(update.optimizer, update.elementwise) if update else None for update in (self.update, self.inner)]
        shapes = fdl.tree.map(lambda leaf: fdl.ShapeDtypeStruct(leaf.shape, leaf.dtype), self.params)
        with calling("sending the loss, metrics and optimizer to the executors"):
            return cloudpickle.dumps((self.loss, shapes, self.seed, self.metrics, updates, self.rounded, self.layout))

    @staticmethod
    def from_bytes(content: bytes) -> "Program":
        """The program that `to_bytes` gave, with zeros for parameters."""
        loss, shapes, seed, metrics, updates, rounded, layout = cloudpickle.loads(content)
        params = fdl.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        update, inner = (Update(told[0], params, told[1]) if told else None for told in updates)
        program = Program(loss, params, seed=seed, metrics=metrics, update=update, inner=inner, rounded=rounded)
        program.layout = layout
        return program

    def find_tables(self, batch: Any) -> None:
        """Let gradients of tables be rows and values, if the optimizer takes those and a gradient is all that is sent.

        Args:
          batch: pytree of ShapeDtypeStructs, a batch's first rows.
        """
        if self.inner is None and not self.rounded:
            optimizer, dtype = self.update.optimizer, self.flat().dtype
            with calling("the optimizer's tables"):
                self.layout = find_tables(optimizer, self.params, self._with_metrics, batch, dtype)

    @cached_property
    def tables(self) -> Tables | None:
        """What is computed of tables whose gradients are rows and values; None if there are none."""
        if self.layout is None:
            return None
        return Tables(self.layout, self.params, self._with_metrics, self.update.optimizer)

    @property
    def exchanged(self) -> int:
        """How many elements of a gradient are no rows of tables."""
        return self.flat().size if self.layout is None else self.layout.dense

    def compile_gradient(self, batch: Any) -> None:
        """Compile the loss and its gradient for batches of these types, into `machine_code`."""
        self._compile("_gradient", batch, np.uint32(0), np.uint32(0), self.flat().dtype.type(1))

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
        self, flat: Any, batch: Any, step: int, shard: int, share: float = 1.0
    ) -> tuple[dict[str, float], Any, bool]:
        """The mean loss of a shard's part of a batch, with its metrics, and the gradient.

        Args:
          flat: the parameters, float array (n,); of a program with tables also a list of leaves.
          batch: pytree of arrays, rows first.
          step: number of the step; with the shard it makes the loss's random key.
          shard: number of the shard.
          share: of this part in the whole batch.

        Returns:
          The loss (under "loss") and the loss's own metrics; the gradient times the share, float array (n,), or a
          TableGradient if there are tables; and whether all of it is finite.
        """
        numbers = np.uint32(step), np.uint32(shard)
        if self.layout is None:
            means, gradient, finite = self._gradient(flat, batch, *numbers, flat.dtype.type(share))
            gradient = np.asarray(gradient)
        else:
            leaves = self.layout.leaves(flat) if isinstance(flat, np.ndarray) else flat
            share = np.dtype(self.layout.dtype).type(share)
            means, dense, pairs, finite = self._gradient(leaves, batch, *numbers, share)
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

    def flat(self) -> np.ndarray:
        """The parameters as one vector of their common dtype."""
        return np.asarray(fdl.flatten_util.ravel_pytree(self.params)[0])

    def tree(self, flat: np.ndarray) -> Any:
        """The parameters as the user's pytree."""
        return self._unravel(flat)

    def first_nonfinite(self, gradient: np.ndarray | TableGradient) -> str:
        """The path of the first parameter whose gradient, which has a NaN or an infinity, has one."""
        if isinstance(gradient, TableGradient):
            pairs, _ = fdl.tree.flatten_with_path(self.params)
            return fdl.tree.keystr(pairs[gradient.first_nonfinite()][0])
        pairs, _ = fdl.tree.flatten_with_path(self._unravel(gradient))
        return next(fdl.tree.keystr(path) for path, leaf in pairs if not np.isfinite(np.asarray(leaf)).all())

    def listing(self, batch: Any) -> str:
        """The loss as the Program that was traced of it, in text.

        Args:
          batch: pytree of ShapeDtypeStructs.
        """
        numbers = np.uint32(0), np.uint32(0)
        return fdl.jit(self._with_metrics).lower(self.params, batch, *numbers).as_text()

    def check(self, batch: Any) -> None:
        """Raise a clear error if the loss or a metric does not fit the data.

        Args:
          batch: pytree of ShapeDtypeStructs, a batch's first rows.

        Raises:
          MissingColumnError: a function asks for a column that is not there.
          LossError: the loss does not return a floating-point number, or that and a dict.
        """
        if self.loss is not None:
            loss, metrics = shape_of("the loss", self._with_metrics, self.params, batch, np.uint32(0), np.uint32(0))
            if getattr(loss, "shape", None) != () or np.dtype(loss.dtype).kind != "f":
                arrays = hasattr(loss, "shape")
                found = f"shape {loss.shape}, dtype {loss.dtype}" if arrays else f"{type(loss).__name__}: {loss}"
                raise LossError(f"the loss must return one floating-point number; it returned {found}")
            for name, metric in metrics.items():
                check_metric_name("the loss", name, RESERVED)
                if getattr(metric, "shape", None) != ():
                    raise LossError(f"metric {name!r} of the loss must be a number; it is {metric}")
                if name in self.metrics:
                    raise LossError(f"metric {name!r} is one of the loss and one of metrics=; rename one of them")
        for name, metric in self.metrics.items():
            if isinstance(metric, Metric):
                shape_of(f"metric {name!r}", metric.statistics, self.params, batch)
                continue
            found = shape_of(f"metric {name!r}", metric, self.params, batch)
            if getattr(found, "shape", None) != ():
                raise LossError(f"metric {name!r} must return one number; it returned {found}")

    @cached_property
    def _unravel(self) -> Callable[[Any], Any]:
        return fdl.flatten_util.ravel_pytree(self.params)[1]

    @cached_property
    def _takes_key(self) -> bool:
        return takes_key(self.loss)

    def _with_metrics(self, params: Any, batch: Any, step: Any, shard: Any) -> tuple[Any, dict[str, Any]]:
        key: tuple[Any, ...] = ()
        if self._takes_key:
            key = (fdl.random.fold_in(fdl.random.fold_in(fdl.random.key(self.seed), step), shard),)
        assert self.loss is not None
        out = self.loss(params, batch, *key)
        if isinstance(out, tuple):
            if len(out) != 2 or not isinstance(out[1], Mapping):
                raise LossError("the loss must return a number, or a number and a dict of metrics")
            return out[0], dict(out[1])
        return out, {}

    @cached_property
    def _gradient(self) -> Callable[..., Any]:
        if self.tables is not None:
            return self.tables.gradient
        differentiated = fdl.value_and_grad(self._with_metrics, has_aux=True)
        unravel = self._unravel  # made here: made while tracing it would be recorded, in the first trace only

        def run(flat: Any, batch: Any, step: Any, shard: Any, share: Any) -> tuple[dict[str, Any], Any, Any]:
            (loss, metrics), gradient = differentiated(unravel(flat), batch, step, shard)
            part = fdl.flatten_util.ravel_pytree(gradient)[0] * share
            return {"loss": loss, **metrics}, part, fnp.all(fnp.isfinite(part))

        return fdl.jit(run)

    @cached_property
    def _measure(self) -> Callable[..., Any]:
        unravel = self._unravel

        def run(flat: Any, batch: Any) -> tuple[dict[str, Any], dict[str, Any]]:
            params = unravel(flat)
            found, statistics = {}, {}
            if self.loss is not None:
                loss, metrics = self._with_metrics(params, batch, np.uint32(0), np.uint32(0))
                found = {"loss": loss, **metrics}
            for name, metric in self.metrics.items():
                if isinstance(metric, Metric):
                    statistics[name] = metric.statistics(params, batch)
                else:
                    found[name] = metric(params, batch)
            return found, statistics

        return fdl.jit(run)


def takes_key(function: Callable[..., Any] | None) -> bool:
    """Whether a loss has a third argument without a default, its random key."""
    if function is None:
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind in kinds]
    return len(parameters) > 2 and (parameters[2].default is inspect.Parameter.empty or parameters[2].name == "key")


def shape_of(asked_by: str, function: Callable[..., Any], params: Any, batch: Any, *rest: Any) -> Any:
    """The types of a user's function's results.

    Args:
      asked_by: what the function is, for messages.
      function: (params, batch, ...) -> pytree of arrays.
      params: pytree of arrays.
      batch: pytree of ShapeDtypeStructs.
      rest: what else the function takes.

    Raises:
      MissingColumnError: it asks for a column that is not there.
      UserFunctionError: it raises anything else.
    """
    columns = {fdl.tree.keystr(path): f"{np.dtype(t.dtype).name}{list(t.shape)}" for path, t in _pairs(batch)}
    with calling(f"{asked_by}, traced on a batch of {columns},"):
        try:
            return fdl.eval_shape(function, params, batch, *rest)
        except KeyError as missing:
            absent = isinstance(batch, Mapping) and missing.args and missing.args[0] not in batch
            if absent and _asked_of_batch(function, params, batch, rest):
                raise MissingColumnError(missing.args[0], list(batch), asked_by) from None
            raise


class _NoColumn(KeyError):
    pass


class _Watched(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        raise _NoColumn(name)


def _asked_of_batch(function: Callable[..., Any], params: Any, batch: Mapping[str, Any], rest: tuple[Any, ...]) -> bool:
    """Whether a function that raises KeyError asked the batch for what is missing; it may have been the parameters."""
    if type(batch) is not dict:
        return True
    try:
        fdl.eval_shape(lambda p, b, *others: function(p, _Watched(b), *others), params, batch, *rest)
    except _NoColumn:
        return True
    except KeyError:
        pass
    return False


def _pairs(batch: Any) -> list[tuple[Any, Any]]:
    return fdl.tree.flatten_with_path(batch)[0]
