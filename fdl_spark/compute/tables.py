"""Training that touches the rows of tables that a batch looks up: what is compiled for it.

All engines run the same compiled gradient, whose parts are rows and values. Where tasks stay, so do tables and
optimizer state: a step reads and writes rows of theirs in place, as `fdl.optim.by_rows` does in one process. Engines
whose vectors are whole make rows whole after the sum; the optimizer takes both, with the same bits.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from math import isqrt
from typing import Any

import numpy as np

import fdl
import fdl.numpy as fnp
from fdl_spark.compute.table_gradient import Pair, TableLayout, add_into

LEAST_ROWS = 16
Loss = Callable[..., tuple[Any, dict[str, Any]]]  # (params, batch, step, shard, *more) -> loss and metrics


class Tables:
    """A loss and an optimizer over leaves of parameters and of the optimizer's state.

    Args:
      layout: of the parameters.
      params: a pytree like the parameters.
      loss: (params, batch, step, shard, *more) -> (mean loss, dict of metrics).
      optimizer: made by `fdl.optim.by_rows`.
    """

    def __init__(self, layout: TableLayout, params: Any, loss: Loss, optimizer: Any):
        self.layout, self.loss, self.optimizer = layout, loss, optimizer
        self.structure = fdl.tree.structure(params)
        self.state = fdl.tree.structure(fdl.eval_shape(optimizer.init, params))
        self.lazy = optimizer.catch_up is None
        marks = [n in layout.tables for n in range(len(layout.shapes))]
        self.marks = fdl.tree.unflatten(self.structure, marks)

    @cached_property
    def gradient(self) -> Callable[..., Any]:
        """(leaves, batch, share, step, shard, *more) -> (means, dense part, [(rows, values)], whether it is finite)."""
        differentiated = fdl.value_and_grad(self.loss, has_aux=True, sparse=self.marks)
        layout, dtype = self.layout, np.dtype(self.layout.dtype)

        def run(leaves: Any, batch: Any, share: Any, *place: Any) -> Any:
            (loss, metrics), gradient = differentiated(self._params(leaves), batch, *place)
            found = fdl.tree.leaves(gradient, is_leaf=_is_rows)
            others = [leaf for n, leaf in enumerate(found) if n not in layout.tables]
            dense = fdl.flatten_util.ravel_pytree(others)[0].astype(dtype) if others else fnp.zeros(1, dtype)
            dense = dense * share
            pairs = []
            for rows in (_as_rows(found[n]).combined() for n in layout.tables):
                values = rows.values.astype(dtype) * share
                pairs.append((rows.rows.astype(np.int32), fnp.where(values == 0, fnp.zeros_like(values), values)))
            finite = [fnp.all(fnp.isfinite(part)) for part in (dense, *(values for _, values in pairs))]
            return {"loss": loss, **metrics}, dense, pairs, fnp.all(fnp.stack(finite))

        return fdl.jit(run)

    def catch_up(
        self, leaves: list[Any], state: list[Any], batch: Any, step: int, shard: int, more: tuple[Any, ...] = ()
    ) -> Any:
        """The leaves of parameters and state, whose memory is taken, when the rows of a batch are up to date."""
        if self.lazy:
            return leaves, state
        return self._catch_up(leaves, state, batch, np.uint32(step), np.uint32(shard), *more)

    def catch_up_all(self, leaves: list[Any], state: list[Any]) -> Any:
        """The leaves of parameters and state, whose memory is taken, when all rows are up to date."""
        return (leaves, state) if self.lazy else self._catch_up_all(leaves, state)

    def joined(
        self, one: Sequence[Pair], other: Sequence[Pair] | None = None, *, rooms: dict[int, Pair] | None = None
    ) -> list[Pair]:
        """The sum of two sets of rows of each table, or a copy of one, as `update` takes it.

        The result is in memory of `rooms`, by table, until the next call with the same ones. Numbers of rows differ
        from step to step. Rows beyond the table, which change nothing, fill them up to a size that has some room, and
        is exceeded, and compiled for, a few times in a run.
        """
        nothing = [(rows[:0], values[:0]) for rows, values in one]
        found = zip(one, nothing if other is None else other, self.layout.extents, strict=True)
        rooms = {} if rooms is None else rooms
        return [add_into(partial(self._room, rooms, n), *pairs) for n, pairs in enumerate(found)]

    def update(self, leaves: list[Any], state: list[Any], dense: np.ndarray, rows: list[Pair]) -> Any:
        """The leaves of parameters and state, whose memory is taken, after a step.

        Args:
          leaves: of the parameters.
          state: of the optimizer.
          dense: the gradient of what is no table.
          rows: those of tables, joined.
        """
        return self._update(leaves, state, dense, rows)

    def _room(self, rooms: dict[int, Pair], number: int, count: int) -> Pair:
        """Memory for rows of a table that has room for so many; numbers that are left over are beyond the table."""
        shape = self.layout.shapes[self.layout.tables[number]]
        if number not in rooms or count > rooms[number][0].size:
            size = min(shape[0], with_room(count)) if count else 0
            rooms[number] = np.empty(size, np.int32), np.zeros((size, *shape[1:]), self.layout.dtype)
        rows, values = rooms[number]
        rows[count:] = shape[0]
        return rows, values

    def copied(self, flat: np.ndarray, state: list[np.ndarray]) -> tuple[list[Any], list[Any]]:
        """The leaves of parameters and state, whose memory a step may take."""
        return [fnp.array(leaf) for leaf in self.layout.leaves(flat)], [fnp.array(leaf) for leaf in state]

    def flat(self, leaves: list[Any], state: list[Any]) -> tuple[np.ndarray, list[np.ndarray]]:
        """The flat vector of parameters, a copy, and views of the leaves of the state."""
        return self.layout.flat(leaves), [np.asarray(leaf) for leaf in state]

    @cached_property
    def _catch_up(self) -> Callable[..., Any]:
        lookups = fdl.optim.lookups(self.loss, self.marks)

        def run(leaves: Any, state: Any, batch: Any, *place: Any) -> Any:
            return self._caught_up(leaves, state, lookups(self._params(leaves), batch, *place))

        return fdl.jit(run, donate_argnums=(0, 1))

    @cached_property
    def _catch_up_all(self) -> Callable[..., Any]:
        return fdl.jit(partial(self._caught_up, rows=None), donate_argnums=(0, 1))

    @cached_property
    def _update(self) -> Callable[..., Any]:
        def run(leaves: Any, state: Any, dense: Any, pairs: Any) -> Any:
            layout = self.layout
            tables = [
                fdl.Rows(rows, values.astype(layout.dtypes[n]), layout.shapes[n], True)
                for n, (rows, values) in zip(layout.tables, pairs, strict=True)
            ]
            if not self.lazy:
                of_table = dict(zip(layout.tables, tables, strict=True))
                rows = [of_table[n].rows if n in of_table else None for n in range(len(leaves))]
                leaves, state = self._caught_up(leaves, state, fdl.tree.unflatten(self.structure, rows))
            gradient = [
                found if _is_rows(found) else found.reshape(leaf.shape).astype(leaf.dtype)
                for leaf, found in zip(leaves, layout.gradients(dense, tables), strict=True)
            ]
            params, tree = self._params(leaves), fdl.tree.unflatten(self.state, state)
            updates, tree = self.optimizer.update(fdl.tree.unflatten(self.structure, gradient), tree, params)
            return fdl.tree.leaves(fdl.optim.apply_updates(params, updates)), fdl.tree.leaves(tree)

        return fdl.jit(run, donate_argnums=(0, 1))

    def _caught_up(self, leaves: Any, state: Any, rows: Any) -> Any:
        params, tree = self._params(leaves), fdl.tree.unflatten(self.state, state)
        params, tree = fdl.optim.catch_up(self.optimizer, params, tree, rows)
        return fdl.tree.leaves(params), fdl.tree.leaves(tree)

    def _params(self, leaves: Any) -> Any:
        return fdl.tree.unflatten(self.structure, leaves)


def find_tables(optimizer: Any, params: Any, loss: Loss, given: tuple[Any, ...], dtype: np.dtype) -> TableLayout | None:
    """Where the tables are whose gradients are rows; None if there are none.

    Args:
      optimizer: the optimizer.
      params: a pytree of arrays.
      loss: as of Tables.
      given: what the loss is given besides the parameters, as ShapeDtypeStructs or numbers.
      dtype: of the flat vector of parameters.
    """
    mask = getattr(optimizer, "tables", None)
    if mask is None:
        return None
    leaves, structure = fdl.tree.flatten(params)
    marks = fdl.tree.leaves(fdl.tree.broadcast(mask(params) if callable(mask) else mask, params))
    marks = [bool(mark) and leaf.ndim > 0 for mark, leaf in zip(marks, leaves, strict=True)]
    of_tables = fdl.grad(lambda *args: loss(*args)[0], sparse=fdl.tree.unflatten(structure, marks))
    found = fdl.tree.leaves(fdl.eval_shape(of_tables, params, *given), is_leaf=_is_rows)
    tables = tuple(n for n, gradient in enumerate(found) if _is_rows(gradient))
    if not tables:
        return None
    return TableLayout(tuple(leaf.shape for leaf in leaves), tuple(leaf.dtype for leaf in leaves), tables, dtype)


def is_lazy(optimizer: Any, params: Any) -> bool:
    """Whether an optimizer leaves rows as they are that have no gradient, so that it must be told which have one."""
    if not isinstance(optimizer, fdl.optim.GradientTransformation):
        return False
    state = fdl.eval_shape(optimizer.init, params)
    found = fdl.tree.leaves(state, is_leaf=_is_state_of_table)
    return any(_is_state_of_table(one) and one.seen is None for one in found)


def with_room(count: int) -> int:
    """A number of rows that is larger by four times the root, of which there are 32 for each doubling.

    Counts of different rows in batches differ by less: their variance is below their mean.

    >>> with_room(3), with_room(1000), with_room(1020)
    (32, 1152, 1152)
    """
    most = max(count, LEAST_ROWS)
    wanted = most + 4 * isqrt(most)
    unit = 1 << max(0, wanted.bit_length() - 6)
    return -(-wanted // unit) * unit


def _as_rows(gradient: Any) -> fdl.Rows:
    """A gradient as rows, also where a batch of other sizes made it whole."""
    if _is_rows(gradient):
        return gradient
    return fdl.Rows(fnp.arange(gradient.shape[0], dtype=np.int32), gradient, gradient.shape, True)


def _is_rows(value: Any) -> bool:
    return isinstance(value, fdl.Rows)


def _is_state_of_table(value: Any) -> bool:
    return isinstance(value, fdl.optim.TableState)
