"""Optimizers whose step costs the rows of a table that were looked up, not the table."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import fdl.numpy as fnp
from fdl import tree
from fdl.api.inspect import trace_call
from fdl.core.interpret import apply_program
from fdl.core.program import Program
from fdl.core.rewrite import eliminate_dead, uses
from fdl.core.trace import lift
from fdl.dtypes import int32
from fdl.errors import ShapeError, TreeError
from fdl.optim.arguments import tells_call
from fdl.optim.base import GradientTransformation, Tree, apply_updates, increment, needs_params
from fdl.optim.masks import MaskedNode
from fdl.optim.missed import of_each_element, of_one_step
from fdl.sparse.lookups import reads_of, rows_of
from fdl.sparse.replay import Replay
from fdl.sparse.rows import Rows, read_rows, row_numbers, write_rows
from fdl.sparse.update import UpdateRows
from fdl.transforms.inline import inline

#: How many steps a row may miss at most: each step brings one of so many parts of every table up to date.
MOST_MISSED = 1024


class TableState(NamedTuple):
    """State of the inner optimizer for one table; how many steps each row has seen (None if rows do not catch up)."""

    inner_state: Any
    seen: Any


class ByRowsState(NamedTuple):
    """Step count, state of the inner optimizer for all leaves that are no tables, state of each table, and the numbers
    in the inner state before each of the last steps."""

    count: Any
    dense: Any
    tables: Any
    history: Any


@tells_call()
def by_rows(
    optimizer: GradientTransformation, tables: Tree | Callable[[Tree], Tree] = True, lazy: bool = False
) -> GradientTransformation:
    """An optimizer whose steps touch only those rows of tables that have a gradient (:class:`fdl.Rows`).

    Exact (the default): rows without a gradient change as they do under `optimizer` with a gradient of zero - momentum
    goes on, moments and weights decay - but later: :func:`catch_up` makes up for the steps that a row has missed, in
    the same arithmetic, before the row is read. Call it first in every step with the rows that the step looks up;
    gradients of rows that are not up to date become NaN. Once in 1024 steps every row is visited, so a step costs what
    it touches and that small part of the table.

    Lazy: rows without a gradient keep parameters and moments, as in PyTorch's SparseAdam and TensorFlow's LazyAdam.
    The step count, and with it bias corrections and schedules, is that of all steps. Nothing has to be caught up.

    Clipping goes before it in a chain; weight decay belongs into `optimizer` (decoupled, or added to the gradient), and
    then concerns all rows if exact, and the rows with a gradient if lazy. The gradient of a table may also be dense.

    Args:
        optimizer: element-wise; its learning rate is a number or a schedule.
        tables: which leaves are tables: a tree of booleans that is a prefix of the parameters, or a function from
            parameters to one. Gradients of other leaves that are Rows are made dense.
        lazy: whether rows without gradient stay as they are.

    Returns:
        A pair of pure functions. Updates of tables are Rows.

    Raises:
        ValueError: the optimizer is not element-wise, or one state of it is neither like the table nor a scalar.

    >>> import fdl
    >>> from fdl import optim
    >>> optimizer = by_rows(optim.sgd(0.1, momentum=0.9))
    >>> params = fnp.zeros((4, 1))
    >>> state = optimizer.init(params)
    >>> for row in (0, 1, 2):
    ...     params, state = optim.catch_up(optimizer, params, state, fnp.array([row]))
    ...     grads = fdl.grad(lambda p: p[row].sum(), sparse=True)(params)
    ...     updates, state = optimizer.update(grads, state, params)
    ...     params = optim.apply_updates(params, updates)
    >>> optim.catch_up(optimizer, params, state)[0].ravel()
    Array([-0.271, -0.19 , -0.1  ,  0.   ], dtype=float32)
    """
    if not optimizer.elementwise:
        raise ValueError(
            "by_rows needs an element-wise optimizer, which can be applied to some rows alone; transformations that "
            "look at whole leaves (clip_by_global_norm, ...) go before it in a chain"
        )
    apart = _Apart(tables)

    def init(params: Tree) -> ByRowsState:
        rest, chosen = apart(params)
        states = tuple(
            TableState(optimizer.init(t), None if lazy else fnp.zeros(fnp.shape(t)[0], int32)) for t in chosen
        )
        history = (
            ()
            if lazy or not states
            else [fnp.zeros(MOST_MISSED, s.dtype) for s in _Inner(states[0], fnp.shape(chosen[0])).scalars]
        )
        return ByRowsState(fnp.zeros((), int32), optimizer.init(rest), states, tuple(history))

    def update(updates: Tree, state: ByRowsState, params: Tree | None = None) -> tuple[Tree, ByRowsState]:
        rest, gradients = apart(updates)
        others, chosen = (None, [None] * len(gradients)) if params is None else apart(params)
        rest = tree.map(lambda g: g.dense() if isinstance(g, Rows) else g, rest)
        made, dense = optimizer.update(rest, state.dense, others)
        pairs = [
            _update_table(optimizer, g, s, p, state.count)
            for g, s, p in zip(gradients, state.tables, chosen, strict=True)
        ]
        history = state.history
        if history:
            place = state.count % MOST_MISSED
            before = _Inner(state.tables[0], fnp.shape(gradients[0])).scalars
            history = tuple(h.at[place].set(b) for h, b in zip(history, before, strict=True))
        following = ByRowsState(increment(state.count), dense, tuple(s for _, s in pairs), history)
        return apart.together(updates, made, [u for u, _ in pairs]), following

    def catch_up(params: Tree, state: ByRowsState, rows: Tree) -> tuple[Tree, ByRowsState]:
        rest, chosen = apart(params)
        named = [None] * len(chosen) if rows is None else apart.of_tables(rows, params)
        found = [
            _catch_up_table(optimizer, p, s, state, None if rows is None else _ids(n, p.shape))
            for p, s, n in zip(chosen, state.tables, named, strict=True)
        ]
        return apart.together(params, rest, [p for p, _ in found]), state._replace(tables=tuple(s for _, s in found))

    result = GradientTransformation(init, update)
    result.catch_up, result.tables = None if lazy else catch_up, tables
    return result


def catch_up(optimizer: GradientTransformation, params: Tree, state: Any, rows: Tree | None = None) -> tuple[Tree, Any]:
    """Make up for the steps that rows of tables have missed under an exact :func:`by_rows`.

    Call it first in a training step with the rows that the step looks up, and without `rows` before parameters are
    used in another way: for evaluation, for a checkpoint, at the end.

    Args:
        optimizer: made by :func:`by_rows`, ``adam(sparse=...)``, or a :func:`chain` that ends in one. For all others
            parameters and state are returned as they are.
        params: the parameters.
        state: of the optimizer.
        rows: for each table, in its place in a tree like the parameters, the numbers of rows (integers of any shape);
            None where there are none to read. Left out: all rows of all tables.

    Returns:
        (parameters, state).

    >>> from fdl import optim
    >>> optimizer, params = optim.adam(0.1, sparse={"table": True, "w": False}), {"table": fnp.ones((3, 2)), "w": 1.0}
    >>> params, state = catch_up(optimizer, params, optimizer.init(params), {"table": fnp.array([2]), "w": None})
    """
    if optimizer.catch_up is None:
        return params, state
    return optimizer.catch_up(params, state, rows)


def lookups(loss: Callable[..., Any], tables: Tree = True) -> Callable[..., Tree]:
    """Which rows of tables a function looks up, with or without a gradient: what :func:`catch_up` wants to know.

    Args:
        loss: a function of the parameters, the first argument.
        tables: which leaves are tables, a tree of booleans that is a prefix of the parameters.

    Returns:
        A function of the same arguments to a tree like the parameters: numbers of rows, all of them for a table that is
        read in another way, None for what is no table. Under ``fdl.jit`` nothing else is computed.

    >>> import fdl
    >>> from fdl import optim
    >>> optimizer = optim.adam(0.1, sparse={"table": True, "w": False})
    >>> def loss(params, ids):
    ...     return (params["table"][ids] @ params["w"]).sum()
    >>> params = {"table": fnp.ones((5, 2)), "w": fnp.ones(2)}
    >>> rows = lookups(loss, {"table": True, "w": False})(params, fnp.array([3, 1, 3]))
    >>> rows["table"].tolist(), rows["w"]
    ([3, 1, 3], None)
    >>> params, state = optim.catch_up(optimizer, params, optimizer.init(params), rows)
    """

    def found(params: Tree, *args: Any, **kwargs: Any) -> Tree:
        program, captured, _ = trace_call(loss, (params, *args), kwargs)
        program = inline(program)
        marks, structure = _Apart(tables).marks(params), tree.structure(params)
        leaves = program.inputs[len(captured) :][: len(marks)]
        reads = [reads_of(program, leaf) if mark else None for leaf, mark in zip(leaves, marks, strict=True)]
        indices = [atom for read in reads for equation in read or () for atom in equation.inputs[1:]]
        given = [*captured, *map(lift, tree.leaves(((params, *args), kwargs)))]
        part = eliminate_dead(Program(program.inputs, program.equations, tuple(indices), program.constants))
        values = dict(zip(indices, apply_program(part, given), strict=True))
        rows = [
            rows_of(read, leaf.type, values) if mark else None
            for read, leaf, mark in zip(reads, leaves, marks, strict=True)
        ]
        return tree.unflatten(structure, rows)

    return found


class _Apart:
    """Takes the tables out of trees like the parameters."""

    def __init__(self, mask: Tree | Callable[[Tree], Tree]) -> None:
        self.mask = mask

    def marks(self, values: Tree) -> list[bool]:
        chosen = self.mask(values) if callable(self.mask) else self.mask
        spread = tree.map(lambda mark, part: tree.map(lambda leaf: mark and fnp.ndim(leaf) > 0, part), chosen, values)
        return [bool(m) for m in tree.leaves(spread)]

    def __call__(self, values: Tree) -> tuple[Tree, list[Any]]:
        """The tree with nothing in the places of tables, and the tables."""
        leaves, structure = tree.flatten(values, is_leaf=_is_rows)
        marks = self.marks(values)
        rest = [MaskedNode() if m else leaf for leaf, m in zip(leaves, marks, strict=True)]
        return tree.unflatten(structure, rest), [leaf for leaf, m in zip(leaves, marks, strict=True) if m]

    def together(self, model: Tree, rest: Tree, tables: Sequence[Any]) -> Tree:
        """The opposite: a tree like `model`."""
        others, parts = iter(tree.leaves(rest, is_leaf=_is_rows)), iter(tables)
        structure = tree.structure(model, is_leaf=_is_rows)
        return tree.unflatten(structure, [next(parts if mark else others) for mark in self.marks(model)])

    def of_tables(self, given: Tree, params: Tree) -> list[Any]:
        """What a tree, in which None may stand for anything, has in the places of tables."""
        found: list[Any] = []
        marks = iter(self.marks(params))

        def visit(part: Any, model: Any, path: str) -> None:
            if tree.all_leaves([model]) or part is None:
                wanted = [next(marks) for _ in tree.leaves(model)]
                found.extend(part for mark in wanted if mark)
                return
            children, others = (dict(_children(x)) for x in (part, model))
            if children.keys() != others.keys():
                raise TreeError(
                    f"the rows{path} to catch up have the entries {list(children)}, but the parameters there have "
                    f"{list(others)}; give None for parameters that are no tables"
                )
            for key, child in others.items():
                visit(children[key], child, f"{path}{key}")

        visit(given, params, "")
        return found


def _children(node: Tree) -> list[tuple[str, Any]]:
    """Names and children of a node."""
    found = tree.flatten_with_path(node, is_leaf=lambda x: x is not node)[0]
    return [(tree.keystr(path), child) for path, child in found]


def _is_rows(x: Any) -> bool:
    return isinstance(x, Rows)


def _ids(given: Any, shape: tuple[int, ...]) -> Any:
    """Numbers of rows as a vector."""
    if given is None:
        return fnp.zeros(0, int32)
    if isinstance(given, Rows):
        given = given.rows
    given = fnp.asarray(given)
    if given.dtype.kind not in "iu":
        raise ShapeError(f"the rows of a table of shape {shape} to catch up must be integers, got {given.dtype}")
    return row_numbers(given.reshape(-1), shape[0])


def _is_row_wise(leaf: Any, shape: tuple[int, ...]) -> bool:
    """Whether a leaf of the inner state has a part for each row."""
    if fnp.shape(leaf) == shape:
        return True
    if fnp.shape(leaf) != ():
        raise ValueError(
            f"by_rows needs an optimizer whose state is like the table, {shape}, or scalar; it has {fnp.shape(leaf)}"
        )
    return False


class _Inner:
    """The state of the inner optimizer for a table: what has a part for each row, and scalars, alike for all tables."""

    def __init__(self, state: TableState, shape: tuple[int, ...]) -> None:
        leaves, self.structure = tree.flatten(state.inner_state)
        self.row_wise = [_is_row_wise(leaf, shape) for leaf in leaves]
        self.tables, self.scalars = self.apart(leaves)

    def apart(self, leaves: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """What has a part for each row, and scalars, of leaves as those of the state."""
        pairs = list(zip(leaves, self.row_wise, strict=True))
        return [x for x, r in pairs if r], [x for x, r in pairs if not r]

    def together(self, tables: Sequence[Any], scalars: Sequence[Any]) -> Any:
        """The opposite: a state."""
        rest, others = iter(tables), iter(scalars)
        return tree.unflatten(self.structure, [next(rest if r else others) for r in self.row_wise])

    def step(
        self,
        optimizer: GradientTransformation,
        gradient: Any,
        param: Any,
        tables: Sequence[Any],
        scalars: Sequence[Any],
    ) -> tuple[Any, list[Any], list[Any]]:
        """Updates, tables and scalars after a step, in the dtypes that the state has."""
        updates, state = optimizer.update(gradient, self.together(tables, scalars), param)
        after = zip(self.apart(tree.leaves(state)), (self.tables, self.scalars), strict=True)
        found = [[x.astype(old.dtype) for x, old in zip(new, olds, strict=True)] for new, olds in after]
        return updates, found[0], found[1]


def _update_table(
    optimizer: GradientTransformation, gradient: Any, state: TableState, param: Any, count: Any
) -> tuple[Any, TableState]:
    """Updates of a table, and its state after the step."""
    if not isinstance(gradient, Rows):
        made, inner = optimizer.update(gradient, state.inner_state, param)
        if state.seen is None:
            return made, TableState(inner, None)
        return _only_current(made, state.seen == count), TableState(inner, fnp.full_like(state.seen, increment(count)))
    found, before = gradient.combined(), _Inner(state, gradient.shape)
    current: list[Any] = []
    if state.seen is not None:
        needs_params("by_rows", param)
        current = [read_rows(state.seen, found.rows) == count]
    if before.tables:
        body, numbers, scalars, reads_param = _step_with_gradient(optimizer, before, found.dtype, param, bool(current))
        arrays = [found.values, *([read_rows(param, found.rows)] if reads_param else [])]
        *tables, made = UpdateRows(body, len(before.tables), len(arrays))(
            found.rows, *current, *numbers, *arrays, *before.tables
        )
        inner = before.together(tables, scalars)
    else:
        part = None if param is None else read_rows(param, found.rows)
        made, inner = optimizer.update(found.values, state.inner_state, part)
        made = _only_current(made, current[0]) if current else made
    return Rows(found.rows, made, gradient.shape, True), TableState(inner, _seen(state.seen, found.rows, count))


def _seen(seen: Any, rows: Any, count: Any) -> Any:
    """How many steps each row has seen after a step with a gradient for some."""
    if seen is None:
        return None
    return write_rows("set", seen, rows, fnp.full(rows.shape, increment(count)), True)


def _only_current(updates: Any, current: Any) -> Any:
    """Updates, or NaN in rows that were not up to date when they were read."""
    return fnp.where(current.reshape(-1, *[1] * (updates.ndim - 1)), updates, np.nan)


def _catch_up_table(
    optimizer: GradientTransformation, param: Any, state: TableState, whole: ByRowsState, ids: Any
) -> tuple[Any, TableState]:
    """A table and its state once rows, and the part of the table whose turn it is, are up to date."""
    param = fnp.asarray(param)
    before = _Inner(state, param.shape)
    body, numbers = _step_without_gradient(optimizer, before, param.dtype, whole.history)
    size = -(-param.shape[0] // MOST_MISSED)
    if ids is None:
        rows = fnp.arange(param.shape[0], dtype=int32)
    else:
        rows = fnp.concatenate([ids, whole.count % MOST_MISSED * size + fnp.arange(size, dtype=int32)])
    tables = [*before.tables, param]
    seen, *tables, param = Replay(body, len(tables))(rows, state.seen, whole.count, *numbers, *tables)
    return param, TableState(before.together(tables, before.scalars), seen)


def _step_with_gradient(
    optimizer: GradientTransformation, before: _Inner, dtype: np.dtype, param: Any, exact: bool
) -> tuple[Program, list[Any], list[Any], bool]:
    """What a step does to one element of each row-wise state, as a Program that also takes the gradient, the parameter
    if it is read, whether the row is up to date, and numbers; these numbers; the scalars after the step; and whether
    the parameter is read."""
    tables, scalars = len(before.tables), len(before.scalars)

    def step(*values: Any) -> tuple[list[Any], list[Any]]:
        numbers, elements, more = values[:scalars], values[scalars : scalars + tables], iter(values[scalars + tables :])
        gradient, of_param = next(more), None if param is None else next(more)
        updates, states, following = before.step(optimizer, gradient, of_param, elements, numbers)
        if exact:
            updates = fnp.where(next(more), updates, np.nan)
        return [*states, updates], following

    others = [dtype, *([] if param is None else [param.dtype]), *([np.dtype(bool)] if exact else [])]
    body, numbers, following = of_one_step(step, before.scalars, [*(x.dtype for x in before.tables), *others])
    body, place = eliminate_dead(body), tables + 1
    reads_param = param is not None and body.inputs[place] in uses(body.equations)
    if param is not None and not reads_param:
        inputs = body.inputs[:place] + body.inputs[place + 1 :]
        body = Program(inputs, body.equations, body.outputs, body.constants)
    return body, numbers, following, reads_param


def _step_without_gradient(
    optimizer: GradientTransformation, before: _Inner, dtype: np.dtype, history: Sequence[Any]
) -> tuple[Any, list[Any]]:
    """What a step does to one element of each row-wise state and of the table, as a Program that also takes numbers;
    and these numbers for each of the last steps."""

    def step(*values: Any) -> list[Any]:
        numbers, (*elements, param) = values[: len(history)], values[len(history) :]
        updates, states, _ = before.step(optimizer, fnp.zeros((), dtype), param, elements, numbers)
        return [*states, apply_updates(param, updates)]

    return of_each_element(step, history, [*(x.dtype for x in before.tables), dtype], MOST_MISSED)
