"""Control flow: scan, cond, switch, fori_loop, map; and loops with a condition."""

import operator
import reprlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from fdl import tree
from fdl.api.arguments import (
    FlatFunction,
    call_structure,
    check_leaf,
    difference,
    flatten_values,
    lengthened,
    name_of,
    require_function,
    returned,
    weakness,
)
from fdl.api.closures import share_captured
from fdl.api.vmap import vmap
from fdl.array import Array, as_array, as_weak
from fdl.config import config
from fdl.control.cond import Cond
from fdl.control.origins import described, dtype_origin
from fdl.control.scan import Scan
from fdl.control.unroll import scan_checkpointed, scan_unrolled
from fdl.control.while_loop import While
from fdl.core.program import Program
from fdl.core.trace import Tracer, trace_program
from fdl.core.types import TensorType
from fdl.dtypes import INTEGER, bool_, int32, result_type
from fdl.errors import ConcretizationError, DtypeError, ShapeError, TreeError
from fdl.lax.carries import carry_leaves, common_dtype, converted, promoted_carry, same_carry, shown
from fdl.ops.convert import convert
from fdl.ops.select import clamp
from fdl.ops.slicing import concatenate
from fdl.tracebacks import boundary

#: Of carries, which have the type that the loop's body returns, and of what is stacked; of two branches.
C = TypeVar("C")
Y = TypeVar("Y")

#: Up to this many steps, `fori_loop` scans an array of their numbers, which has a known range; beyond, it counts.
_MOST_NUMBERS = 2**24

#: Stands for an operand that was not given, since None is one.
_MISSING: Any = object()


def _trace(
    fun: Callable[..., Any], structure: Any, types: Sequence[TensorType], weak: Sequence[np.dtype | None] = ()
) -> tuple[Program, list[Any], FlatFunction]:
    """The Program of a function, whose weak results are returned as what they hold."""
    flat = FlatFunction(fun, structure, weak=weak, holds=True)
    program, captured = trace_program(flat, types, name_of(fun))
    return program, captured, flat


@boundary
def scan(
    f: Callable[[Any, Any], tuple[C, Y]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    _split_transpose: bool = False,
    *,
    checkpoint: int | bool = False,
) -> tuple[C, Y]:
    """Carry a state along the leading axis of arrays.

    Args:
        f: ``f(carry, x) -> (carry, y)``.
        init: the first carry, a pytree; its types must not change.
        xs: a pytree of arrays with one leading extent, or None.
        length: number of steps; needed if `xs` is None.
        reverse: run from the last slice to the first; the stacked `ys` keep the order of `xs`.
        unroll: how many steps a step of the compiled loop does; True or 0 for all, so that no loop is left.
        checkpoint: how often the steps are cut into blocks of which reverse mode keeps the first carries only, and
            computes the others again: with k levels, of n steps about ``(k + 1) * n ** (1 / (k + 1))`` carries are
            kept, and the body runs k times more often. True is one level, and False none: all carries are kept.

    Returns:
        (last carry, ys stacked along a new leading axis).

    Raises:
        ShapeError, TreeError: the body changes the type or structure of the carry, or extents differ.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.scan(lambda total, x: (total + x, total), 0.0, fnp.arange(4.0))
    (Array(6., dtype=float32), Array([0., 0., 1., 3.], dtype=float32))
    """
    return _scan("scan", f, init, xs, length, reverse, unroll, checkpoint)


def _scan(
    name: str,
    f: Callable[..., Any],
    init: Any,
    xs: Any,
    length: Any,
    reverse: bool,
    unroll: Any,
    levels: int | bool = False,
    counted: bool = False,
) -> Any:
    """:func:`scan` by the name that messages call it; `counted` as for :func:`carry_leaves`."""
    require_function(name, "f", f)
    carry, weak, carry_structure = carry_leaves(name, init, counted)
    for path, leaf in tree.leaves_with_path(xs):
        check_leaf(leaf, f"xs{tree.keystr(path)} of {name}")
    x_leaves, x_structure = flatten_values(f, (xs,), {})
    steps = _length(name, xs, x_leaves, length)
    if config.disable_jit:
        return _scan_in_python(f, init, xs, steps, reverse)
    slices = [x.held.type.with_shape(x.type.shape[1:]) for x in x_leaves]
    x_tree = x_structure.child(0).child(0)
    structure = call_structure(carry_structure, x_tree)

    slice_weak = weakness(x_leaves)
    types = [c.type for c in carry]
    program, captured, flat = _trace(f, structure, [*types, *slices], [*weak, *slice_weak])
    carry_out, y_structure = _split_result(name, f, flat)
    promoted = promoted_carry(types, weak, program, captured, flat)
    if carry_out == carry_structure and promoted != (types, weak):
        types, weak = promoted
        carry = [convert(c, t.dtype) for c, t in zip(carry, types, strict=True)]
        program, captured, flat = _trace(f, structure, [*types, *slices], [*weak, *slice_weak])
    program = same_carry(name, carry_structure, types, weak, carry_out, program, len(captured), flat, counted)
    operation = Scan(program, steps, bool(reverse), len(captured), len(carry))
    operands = [*captured, *carry, *(x.held for x in x_leaves)]
    factor = _unrolling(name, unroll, steps)
    if levels:
        outs = scan_checkpointed(operation, _levels(name, levels, factor), operands)
    else:
        outs = scan_unrolled(operation, factor, operands)
    ys = returned(outs[len(carry) :], flat.out_weak[len(carry) :])
    return tree.unflatten(carry_structure, shown(outs[: len(carry)], weak)), lengthened(
        tree.unflatten(y_structure, ys), steps
    )


def _unrolling(name: str, unroll: Any, steps: int) -> int:
    """How many steps to do at a time: all for True and, as in JAX, for 0."""
    if isinstance(unroll, (bool, np.bool_)):
        return steps if unroll else 1
    if not isinstance(unroll, (int, np.integer)) or unroll < 0:
        raise ValueError(f"{name}: unroll must be True, False or a number of steps (0 for all), got {unroll!r}")
    return int(unroll) or steps


def _levels(name: str, levels: Any, factor: int) -> int:
    """How often the steps are cut into blocks."""
    if not isinstance(levels, (bool, int)) or levels < 0:
        raise ValueError(f"{name}: checkpoint must be True, False or a number of levels, got {levels!r}")
    if factor > 1:
        raise ValueError(f"{name}: unroll={factor} cannot be combined with checkpoint; leave one of them out")
    return int(levels)


def _split_result(name: str, f: Any, flat: FlatFunction) -> tuple[Any, Any]:
    """Structures of the carry and of the y that a scan body returned."""
    found = flat.out_structure
    if not (found.num_children == 2 and issubclass(found.type, (tuple, list))):
        raise TreeError(
            f"the body of {name} ({name_of(f)}) must return a pair (carry, y), but returned "
            f"{'one array' if found.is_leaf() else found}"
        )
    carry, y = found.children()
    return carry, y


def _length(name: str, xs: Any, leaves: Sequence[Any], given: int | None) -> int:
    for (path, _), leaf in zip(tree.leaves_with_path(xs), leaves, strict=True):
        if leaf.type.ndim == 0:
            raise ShapeError(f"{name} needs xs{tree.keystr(path)} to have a leading axis, but it is a scalar")
    if isinstance(given, Tracer):
        given = given.concrete(f"{name} needs a length that is known (fori_loop takes a traced one): it").item()
    if given is not None and not (isinstance(given, (int, float, np.number)) and given >= 0 and given == int(given)):
        raise ValueError(f"{name}: length must be a number of steps, not negative, got {given!r}")
    extents = {leaf.type.shape[0] for leaf in leaves} | ({int(given)} if given is not None else set())
    if len(extents) == 1:
        return extents.pop()
    if not extents:
        raise ShapeError(f"{name} needs xs{' or length' * (name == 'scan')}, to know the number of steps")
    said = [f"xs{tree.keystr(path)} has {np.shape(leaf)[0]}" for path, leaf in tree.leaves_with_path(xs)]
    said += [] if given is None else [f"length is {given}"]
    raise ShapeError(f"{name} needs one leading extent, but {', '.join(said)}")


def _in_python(decision: Any) -> bool:
    """Whether jit is disabled and Python can decide: inside vmap the value may be a batch."""
    if not config.disable_jit:
        return False
    try:
        decision.discrete()
    except ConcretizationError:
        return False
    return True


def _scan_in_python(f: Any, carry: Any, xs: Any, steps: int, reverse: bool) -> tuple[Any, Any]:
    ys = []
    for step in range(steps)[:: -1 if reverse else 1]:
        carry, y = f(carry, tree.map(operator.itemgetter(step), tree.map(as_array, xs)))
        ys.append(y)
    ordered = ys[::-1] if reverse else ys
    if not ordered:
        raise ValueError("scan of no steps cannot run with disable_jit, since the type of its output is not known")
    return carry, tree.map(lambda *rows: concatenate([as_array(r)[None] for r in rows], 0), *ordered)


@boundary
def cond(
    pred: Any,
    true_fun: Callable[..., C],
    false_fun: Callable[..., Y],
    *operands: Any,
    operand: Any = _MISSING,
    linear: Any = None,
) -> C | Y:
    """``true_fun(*operands)`` if `pred`, else ``false_fun(*operands)``; only one of them runs.

    Args:
        pred: a scalar; a number counts as true if it is not zero.
        true_fun, false_fun: functions whose results have the same structure and types.
        *operands: their arguments, pytrees.
        operand: the old way to pass one operand.

    Returns:
        What the function that ran returns, a pytree of arrays.

    Raises:
        ShapeError, TreeError: the results of the functions differ in type or structure.

    Under vmap with a batched `pred` both run, and the result is selected.

    >>> import fdl
    >>> fdl.lax.cond(True, lambda x: x + 1.0, lambda x: x - 1.0, 2.0)
    Array(3., dtype=float32)
    """
    if operand is not _MISSING:
        operands = (operand,)
    if len(operands) == 2 and callable(false_fun) and callable(operands[1]) and not callable(true_fun):
        # The older form: cond(pred, true_operand, true_fun, false_operand, false_fun).
        first, second = false_fun, operands[1]
        true_fun, false_fun, operands = lambda x, y: first(x), lambda x, y: second(y), (true_fun, operands[0])
    if not (callable(true_fun) and callable(false_fun)):
        raise TypeError("cond needs two functions: cond(pred, true_fun, false_fun, *operands)")
    pred = as_array(pred, "the predicate of cond")
    if pred.type.shape != ():
        raise ShapeError(f"cond needs a scalar predicate, got {pred.type}; use fdl.numpy.where for elementwise choices")
    if _in_python(pred):
        return true_fun(*operands) if bool(pred.discrete("the predicate of cond")) else false_fun(*operands)
    if pred.type.dtype != bool_:
        pred = convert(pred, bool_)
    return _choose("cond", convert(pred, int32), [false_fun, true_fun], operands)


@boundary
def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any, operand: Any = _MISSING) -> Any:
    """``branches[index](*operands)``; an index out of range is clamped.

    Args:
        index: an integer scalar.
        branches: functions whose results have the same structure and types.
        *operands: their arguments, pytrees.

    Returns:
        What the branch that ran returns, a pytree of arrays.

    Raises:
        ShapeError, TreeError: the results of the branches differ in type or structure.

    >>> import fdl
    >>> fdl.lax.switch(1, [lambda x: x, lambda x: -x], 2.0)
    Array(-2., dtype=float32)
    """
    operands = operands if operand is _MISSING else (operand,)
    index = as_array(index, "the index of switch")
    if index.type.shape != () or index.type.dtype.kind not in "iu":
        raise DtypeError(f"switch needs an integer scalar as its index, got {index.type}")
    if not isinstance(branches, Sequence) or not all(callable(b) for b in branches):
        raise TypeError(f"switch needs a sequence of functions as branches, got {reprlib.repr(branches)}")
    if not branches:
        raise ValueError("switch needs at least one branch")
    if len(branches) == 1:
        return branches[0](*operands)
    if _in_python(index):
        return branches[min(max(int(index.concrete()), 0), len(branches) - 1)](*operands)
    if index.type.dtype != int32:
        last = min(len(branches) - 1, np.iinfo(index.type.dtype).max)
        low, high = (as_array(np.asarray(n, index.type.dtype)) for n in (0, last))
        index = convert(clamp(low, index, high), int32)
    return _choose("switch", index, branches, operands)


def _choose(name: str, index: Any, branches: Sequence[Callable[..., Any]], operands: Sequence[Any]) -> Any:
    leaves, structure = flatten_values(branches[0], operands, {})
    traced = [_trace(b, structure, [leaf.held.type for leaf in leaves], weakness(leaves)) for b in branches]
    programs, captured = share_captured([t[0] for t in traced], [t[1] for t in traced])
    flats = [t[2] for t in traced]
    for number, (program, flat) in enumerate(zip(programs, flats, strict=True)):
        if flat.out_structure != flats[0].out_structure:
            raise TreeError(
                f"the branches of {name} must return the same structure, but {_branch(name, 0)} and "
                f"{_branch(name, number)} part {difference(flats[0].out_structure, flat.out_structure, 'output')}"
            )
        for place, (mine, first) in enumerate(zip(program.output_types, programs[0].output_types, strict=True)):
            if mine.shape != first.shape:
                path = tree.keystr(tree.paths(flat.out_structure)[place])
                raise ShapeError(
                    f"the branches of {name} must return the same types, but output{path} is {first} from "
                    f"{_branch(name, 0)} and {mine} from {_branch(name, number)}"
                )
    programs, weak = _same_dtypes(name, programs, len(captured), flats)
    outs = Cond(tuple(programs))(index, *captured, *(leaf.held for leaf in leaves))
    return tree.unflatten(flats[0].out_structure, returned(outs, weak))


def _branch(name: str, number: int) -> str:
    return ("false_fun", "true_fun")[number] if name == "cond" else f"branch {number}"


def _same_dtypes(
    name: str, programs: Sequence[Program], captured: int, flats: Sequence[FlatFunction]
) -> tuple[list[Program], list[np.dtype | None]]:
    """The branches with outputs converted to common dtypes where weak values made them differ; what is weak in all."""
    dtypes, weak = [], []
    for place, outs in enumerate(zip(*(f.out_weak for f in flats), strict=True)):
        types = [p.output_types[place] for p in programs]
        first = next((n for n, w in enumerate(outs) if w is None), 0)
        dtypes.append(common_dtype(types, outs))
        weak.append(None if any(w is None for w in outs) else dtypes[-1])  # None == np.dtype("float64")
        for number, (t, w) in enumerate(zip(types, outs, strict=True)):
            if w is None and t.dtype != types[first].dtype and t.shape != ():
                of = number if t.dtype == result_type(t.dtype, types[first].dtype) else first
                why = dtype_origin(programs[of], place, described(captured, flats[0].describe))
                raise DtypeError(
                    f"the branches of {name} must return the same types, but {_branch(name, first)} returned "
                    f"{types[first]} and {_branch(name, number)} returned {t}: in {_branch(name, of)} {why}. Convert "
                    "one of them"
                )
    return [converted(p, dtypes) for p in programs], weak


@boundary
def run_while(
    name: str, cond_fun: Callable[..., Any], body_fun: Callable[..., Any], init_val: Any, counted: bool = False
) -> Any:
    """:func:`fdl.lax.while_loop` by the name that messages call it; `counted` as for :func:`carry_leaves`."""
    require_function(name, "cond_fun", cond_fun)
    require_function(name, "body_fun", body_fun)
    # Without jit the loop runs in Python for as long as the condition is known: inside vmap it may become a batch.
    while config.disable_jit and _in_python(going := as_array(cond_fun(init_val))):
        if not bool(going.discrete()):
            return tree.map(as_array, init_val)
        init_val = body_fun(init_val)
    carry, weak, structure = carry_leaves(name, init_val, counted)
    types = [c.type for c in carry]
    call = call_structure(structure)
    body, captured, flat = _trace(body_fun, call, types, weak)
    promoted = promoted_carry(types, weak, body, captured, flat)
    if flat.out_structure == structure and promoted != (types, weak):
        types, weak = promoted
        carry = [convert(c, t.dtype) for c, t in zip(carry, types, strict=True)]
        body, captured, flat = _trace(body_fun, call, types, weak)
    body = same_carry(name, structure, types, weak, flat.out_structure, body, len(captured), flat, counted)
    condition, cond_captured, of_condition = _trace(cond_fun, call, types, weak)
    if [t.shape for t in condition.output_types] != [()]:
        raise ShapeError(
            "the condition of while_loop must return one bool scalar, got "
            f"({', '.join([str(t) for t in condition.output_types])})"
        )
    if condition.output_types[0].dtype != bool_:
        got = condition.output_types[0].with_dtype(of_condition.out_weak[0])
        raise DtypeError(f"the condition of while_loop must return a bool, got {got}")
    outs = While(condition, body, len(cond_captured), len(captured))(*cond_captured, *captured, *carry)
    return tree.unflatten(structure, shown(outs, weak))


@boundary
def fori_loop(
    lower: Any, upper: Any, body_fun: Callable[[Any, Any], C], init_val: Any, *, unroll: int | bool | None = None
) -> C:
    """``for i in range(lower, upper): value = body_fun(i, value)``.

    Args:
        lower, upper: integer scalars of one dtype. If both are known the loop has a reverse mode.
        body_fun: ``body_fun(i, value) -> value`` of the same structure and types.
        init_val: a pytree.
        unroll: as in :func:`scan`; has no effect if a bound is not known.

    Returns:
        The last value, in the structure and types of `init_val`.

    Raises:
        DtypeError: a bound is no integer, or they have different dtypes.
        ShapeError, TreeError: the body changes the type or structure of the value.

    >>> import fdl
    >>> fdl.lax.fori_loop(0, 4, lambda i, total: total + i, 0)
    Array(6, dtype=int32)
    """
    require_function("fori_loop", "body_fun", body_fun)
    first, last, weak = _bounds(lower, upper)
    if not (isinstance(first, Tracer) or isinstance(last, Tracer)):
        start, stop = int(first.concrete()), int(last.concrete())
        if stop <= start and config.disable_jit:
            return init_val
        if stop - start > _MOST_NUMBERS:
            return _counting(body_fun, init_val, first, stop - start, weak)
        numbers = np.arange(start, max(start, stop), dtype=first.type.dtype)

        def body(value: Any, i: Any) -> Any:
            return body_fun(i, value), None

        steps = Array(numbers).weakened(numbers.dtype) if weak else numbers
        return _scan("fori_loop", body, init_val, steps, None, False, 1 if unroll is None else unroll)[0]
    one = np.ones((), first.type.dtype)

    def step(state: Any) -> Any:
        return state[0] + one, body_fun(state[0].weakened(first.type.dtype) if weak else state[0], state[1])

    return run_while("fori_loop", lambda state: state[0] < last, step, (first, init_val), counted=True)[1]


def _counting(body_fun: Callable[[Any, Any], Any], init_val: Any, first: Any, length: int, weak: bool) -> Any:
    """A counting loop that carries its number, for more steps than numbers should be kept."""
    one = np.ones((), first.type.dtype)

    def body(state: Any, _: Any) -> Any:
        number = state[0].weakened(first.type.dtype) if weak else state[0]
        return (state[0] + one, body_fun(number, state[1])), None

    return _scan("fori_loop", body, (first, init_val), None, length, False, 1, counted=True)[0][1]


def _bounds(*bounds: Any) -> tuple[Any, Any, bool]:
    """The bounds of a counting loop as integers of one dtype, that of the other if one is weak; whether both are."""
    values = [as_weak(b, f"the bound {n} of fori_loop") for b, n in zip(bounds, ("lower", "upper"), strict=True)]
    weak = [v.weak for v in values]
    dtypes = {v.type.dtype for v, w in zip(values, weak, strict=True) if not w}
    dtype = dtypes.pop() if len(dtypes) == 1 else result_type(*(v.type.dtype for v in values))
    if dtypes or dtype not in INTEGER or any(v.type.shape or v.type.dtype.kind == "f" for v in values):
        found = " and ".join(str(v.type) for v in values)
        raise DtypeError(f"fori_loop needs integer scalars of one dtype as lower and upper, got {found}; convert one")
    first, last = [convert(v, dtype) for v in values]
    return first, last, all(weak)


@boundary
def map(f: Callable[..., Any], xs: Any, *, batch_size: int | None = None) -> Any:
    """`f` applied to each slice along the leading axis, one after another, the results stacked.

    Args:
        f: a function of one slice.
        xs: a pytree of arrays with one leading extent.
        batch_size: how many slices to do at once by vmap; None or 0 for one at a time, without vmap.

    Returns:
        The results of `f`, a pytree of arrays with that leading extent.

    Raises:
        ShapeError: the leading extents of `xs` differ.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.map(lambda x: x**2, fnp.arange(3.0))
    Array([0., 1., 4.], dtype=float32)
    """
    require_function("map", "f", f)
    if not batch_size:
        return _scan("map", lambda _, x: (None, f(x)), None, xs, None, False, 1)[1]
    if not isinstance(batch_size, (int, np.integer)) or batch_size < 0:
        raise ValueError(f"map: batch_size must be a number of slices, not negative, got {batch_size!r}")
    leaves = [check_leaf(leaf, f"xs{tree.keystr(path)} of map") for path, leaf in tree.leaves_with_path(xs)]
    count = _length("map", xs, leaves, None)
    whole = count - count % batch_size
    parts = []
    if whole:
        grouped = tree.map(
            lambda x: as_array(x)[:whole].reshape(whole // batch_size, batch_size, *as_array(x).type.shape[1:]), xs
        )
        done = scan(lambda _, x: (None, vmap(f)(x)), None, grouped)[1]
        parts.append(tree.map(lambda y: y.reshape(whole, *y.type.shape[2:]), done))
    if whole < count or not parts:
        parts.append(vmap(f)(tree.map(lambda x: as_array(x)[whole:], xs)))
    return parts[0] if len(parts) == 1 else tree.map(lambda *ys: concatenate(list(ys), 0), *parts)
