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
            () if lazy or not states else [fnp.zeros(MOST_MISSED, s.dtype) for s in _numbers(states[0], chosen[0])]
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
            before = _numbers(state.tables[0], gradients[0])
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


def _numbers(state: TableState, table: Any) -> list[Any]:
    """The scalars in the state of a table, which are the same for all."""
    return [s for s in tree.leaves(state.inner_state) if not _is_row_wise(s, tuple(fnp.shape(table)))]


def _update_table(
    optimizer: GradientTransformation, gradient: Any, state: TableState, param: Any, count: Any
) -> tuple[Any, TableState]:
    """Updates of a table, and its state after the step."""
    if not isinstance(gradient, Rows):
        made, inner = optimizer.update(gradient, state.inner_state, param)
        if state.seen is None:
            return made, TableState(inner, None)
        return _only_current(made, state.seen == count), TableState(inner, fnp.full_like(state.seen, increment(count)))
    found, (leaves, structure) = gradient.combined(), tree.flatten(state.inner_state)
    row_wise = [_is_row_wise(leaf, gradient.shape) for leaf in leaves]
    current: list[Any] = []
    if state.seen is not None:
        needs_params("by_rows", param)
        current = [read_rows(state.seen, found.rows) == count]
    tables = [x for x, r in zip(leaves, row_wise, strict=True) if r]
    if not tables:
        part = None if param is None else read_rows(param, found.rows)
        made, inner = optimizer.update(found.values, state.inner_state, part)
        made = _only_current(made, current[0]) if current else made
        return Rows(found.rows, made, gradient.shape, True), TableState(inner, _seen(state.seen, found.rows, count))
    types = found.dtype, None if param is None else param.dtype
    step = _StepWithGradient(optimizer, leaves, structure, row_wise, *types, exact=state.seen is not None)
    arrays = [found.values, *([read_rows(param, found.rows)] if step.reads_param else [])]
    *tables, made = UpdateRows(step.body, len(tables), len(arrays))(
        found.rows, *current, *step.numbers, *arrays, *tables
    )
    rest, following = iter(tables), iter(step.scalars)
    inner = tree.unflatten(structure, [next(rest if r else following) for r in row_wise])
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
    leaves, structure = tree.flatten(state.inner_state)
    row_wise = [_is_row_wise(leaf, param.shape) for leaf in leaves]
    tables = [x for x, r in zip(leaves, row_wise, strict=True) if r] + [param]
    body, numbers = _step_without_gradient(optimizer, leaves, structure, row_wise, param.dtype, whole.history)
    size = -(-param.shape[0] // MOST_MISSED)
    if ids is None:
        rows = fnp.arange(param.shape[0], dtype=int32)
    else:
        rows = fnp.concatenate([ids, whole.count % MOST_MISSED * size + fnp.arange(size, dtype=int32)])
    seen, *tables = Replay(body, len(tables))(rows, state.seen, whole.count, *numbers, *tables)
    rest = iter(tables)
    inner = tree.unflatten(structure, [next(rest) if r else x for x, r in zip(leaves, row_wise, strict=True)])
    return next(rest), TableState(inner, seen)


class _StepWithGradient:
    """What a step does to one element of each row-wise state, as a Program that also takes the gradient, the parameter,
    whether the row is up to date, and numbers; these numbers; and the scalars of the state after the step."""

    def __init__(
        self, optimizer: GradientTransformation, leaves: Sequence[Any], structure: Any, row_wise: Sequence[bool],
        gradient: np.dtype, param: np.dtype | None, exact: bool,
    ) -> None:  # fmt: skip
        tables, scalars = (
            [x for x, r in zip(leaves, row_wise, strict=True) if r == wanted] for wanted in (True, False)
        )

        def after(gradient: Any, param: Any, elements: Sequence[Any], numbers: Sequence[Any]) -> tuple[Any, Any]:
            rest, of_all = iter(elements), iter(numbers)
            state = tree.unflatten(structure, [next(rest if r else of_all) for r in row_wise])
            updates, state = optimizer.update(gradient, state, param)
            return updates, [x.astype(old.dtype) for x, old in zip(tree.leaves(state), leaves, strict=True)]

        def step(*values: Any) -> list[Any]:
            numbers, (*elements, of_loss) = values[: len(scalars)], values[len(scalars) :][: len(tables) + 1]
            more = iter(values[len(scalars) + len(tables) + 1 :])
            updates, state = after(of_loss, None if param is None else next(more), elements, numbers)
            if exact:
                updates = fnp.where(next(more), updates, np.nan)
            return [*(x for x, r in zip(state, row_wise, strict=True) if r), updates]

        elements = [
            *(x.dtype for x in tables),
            gradient,
            *([] if param is None else [param]),
            *([np.dtype(bool)] if exact else []),
        ]
        body, self.numbers = of_one_step(step, scalars, elements)
        self.body = eliminate_dead(body)
        place = len(tables) + 1
        self.reads_param = param is not None and bool(uses(self.body.equations).get(self.body.inputs[place]))
        if param is not None and not self.reads_param:
            inputs = self.body.inputs[:place] + self.body.inputs[place + 1 :]
            self.body = Program(inputs, self.body.equations, self.body.outputs, self.body.constants)
        zeros = [fnp.zeros((), x.dtype) for x in tables]
        none = None if param is None else fnp.zeros((), param)
        made = after(fnp.zeros((), gradient), none, zeros, scalars)[1]
        self.scalars = [x for x, r in zip(made, row_wise, strict=True) if not r]


def _step_without_gradient(
    optimizer: GradientTransformation, leaves: Sequence[Any], structure: Any, row_wise: Sequence[bool], dtype: Any,
    history: Sequence[Any],
) -> tuple[Any, list[Any]]:  # fmt: skip
    """What a step does to one element of each row-wise state and of the table, as a Program that also takes numbers;
    and these numbers for each of the last steps."""

    def step(*values: Any) -> list[Any]:
        numbers, elements = iter(values[: len(history)]), iter(values[len(history) :])
        state = tree.unflatten(structure, [next(elements if r else numbers) for r in row_wise])
        param = next(elements)
        updates, state = optimizer.update(fnp.zeros((), dtype), state, param)
        after = [x.astype(old.dtype) for x, old, r in zip(tree.leaves(state), leaves, row_wise, strict=True) if r]
        return [*after, apply_updates(param, updates)]

    elements = [x.dtype for x, r in zip(leaves, row_wise, strict=True) if r]
    return of_each_element(step, history, [*elements, np.dtype(dtype)], MOST_MISSED)
