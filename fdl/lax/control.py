"""Control flow: scan, cond, switch, fori_loop, map; and loops with a condition."""

import operator
import reprlib
from collections.abc import Callable, Sequence
from typing import Any

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
)
from fdl.api.closures import share_captured
from fdl.api.vmap import vmap
from fdl.array import as_array
from fdl.config import config
from fdl.control.cond import Cond
from fdl.control.origins import described, dtype_origin
from fdl.control.scan import Scan
from fdl.control.unroll import scan_checkpointed, scan_unrolled
from fdl.control.while_loop import While
from fdl.core.interpret import apply_program
from fdl.core.program import Program
from fdl.core.trace import Tracer, Value, trace_program
from fdl.core.types import TensorType
from fdl.dtypes import INTEGER, WEAK, bool_, int32, python_number, result_type
from fdl.errors import ConcretizationError, DtypeError, ShapeError, TreeError
from fdl.ops.convert import convert
from fdl.ops.select import clamp
from fdl.ops.slicing import concatenate
from fdl.tracebacks import boundary

#: Stands for an operand that was not given, since None is one.
_MISSING: Any = object()


def _trace(
    fun: Callable[..., Any], structure: Any, types: Sequence[TensorType], weak: Sequence[bool] = ()
) -> tuple[Program, list[Any], FlatFunction]:
    flat = FlatFunction(fun, structure)
    program, captured = trace_program(flat, types, name_of(fun), weak)
    return program, captured, flat


def _carry_leaves(name: str, init: Any) -> tuple[list[Any], list[bool], Any]:
    leaves, structure = tree.flatten(init)
    values = [
        leaf
        if isinstance(leaf, Value)
        else check_leaf(leaf, f"the initial carry of {name} at {tree.keystr(path) or 'its root'}")
        for (path, leaf) in tree.leaves_with_path(init)
    ]
    weak = [type(leaf) in WEAK or getattr(leaf, "weak", False) for leaf in leaves]
    return values, weak, structure


def _same_carry(
    name: str, before: Any, types: Sequence[TensorType], after: Any, body: Program, captured: int, flat: FlatFunction
) -> None:
    """Raise unless the body returned a carry like the one it was given."""
    found = body.output_types
    if before != after:
        raise TreeError(
            f"the body of {name} must return a carry of the structure it was given, but given and returned carry part "
            f"{difference(before, after, 'carry')}"
        )
    for number, path in enumerate(tree.paths(before)):
        if types[number] != found[number]:
            why = ""
            if types[number].dtype != found[number].dtype:
                why = f": {dtype_origin(body, number, described(captured, flat.describe))}"
            raise ShapeError(
                f"the body of {name} must return a carry of the types it was given, but "
                f"carry{tree.keystr(path)} came in "
                f"as {types[number]} and went out as {found[number]}{why}. Convert or reshape it in the body, or "
                "start with that type."
            )


@boundary
def scan(
    f: Callable[..., Any],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    _split_transpose: bool = False,
    *,
    checkpoint: int | bool = False,
) -> tuple[Any, Any]:
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
) -> Any:
    """:func:`scan` by the name that messages call it."""
    require_function(name, "f", f)
    carry, weak, carry_structure = _carry_leaves(name, init)
    for path, leaf in tree.leaves_with_path(xs):
        check_leaf(leaf, f"xs{tree.keystr(path)} of {name}")
    x_leaves, x_structure = flatten_values(f, (xs,), {})
    steps = _length(name, xs, x_leaves, length)
    if config.disable_jit:
        return _scan_in_python(f, init, xs, steps, reverse)
    slices = [x.type.with_shape(x.type.shape[1:]) for x in x_leaves]
    x_tree = x_structure.child(0).child(0)
    structure = call_structure(carry_structure, x_tree)

    def trace(types: Sequence[TensorType]) -> tuple[Program, list[Any], FlatFunction]:
        return _trace(f, structure, [*types, *slices], [*weak, *(False for _ in slices)])

    types = [c.type for c in carry]
    program, captured, flat = trace(types)
    carry_out, y_structure = _split_result(name, f, flat)
    promoted = _promote_weak(types, weak, program.output_types[: len(types)])
    if carry_out == carry_structure and promoted != types:
        weak = [w and p == t for w, p, t in zip(weak, promoted, types, strict=True)]
        types = promoted
        carry = [convert(c, t.dtype) for c, t in zip(carry, types, strict=True)]
        program, captured, flat = trace(types)
    _same_carry(name, carry_structure, types, carry_out, program, len(captured), flat)
    operation = Scan(program, steps, bool(reverse), len(captured), len(carry))
    operands = [*captured, *carry, *x_leaves]
    factor = _unrolling(name, unroll, steps)
    if levels:
        outs = scan_checkpointed(operation, _levels(name, levels, factor), operands)
    else:
        outs = scan_unrolled(operation, factor, operands)
    return tree.unflatten(carry_structure, outs[: len(carry)]), lengthened(
        tree.unflatten(y_structure, outs[len(carry) :]), steps
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


def _promote_weak(types: Sequence[TensorType], weak: Sequence[bool], found: Sequence[TensorType]) -> list[TensorType]:
    """Carry types where those that started as Python scalars take the dtype they meet in the body."""
    if len(found) != len(types):
        return list(types)
    return [
        TensorType(t.shape, f.dtype) if w and t.shape == f.shape and _yields(t.dtype, f.dtype) else t
        for t, w, f in zip(types, weak, found, strict=True)
    ]


def _yields(weak: np.dtype, dtype: np.dtype) -> bool:
    """Whether a Python number, traced as dtype `weak`, takes the given dtype when it meets it."""
    return result_type(np.zeros((), weak).item(), dtype) == dtype


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
    true_fun: Callable[..., Any],
    false_fun: Callable[..., Any],
    *operands: Any,
    operand: Any = _MISSING,
    linear: Any = None,
) -> Any:
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
    weak = [type(leaf) in WEAK or getattr(leaf, "weak", False) for leaf in tree.leaves(tuple(operands))]
    traced = [_trace(b, structure, [leaf.type for leaf in leaves], weak) for b in branches]
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
    programs = _same_dtypes(name, programs, len(captured), flats[0])
    return flats[0].unflatten(Cond(tuple(programs))(index, *captured, *leaves))


def _branch(name: str, number: int) -> str:
    return ("false_fun", "true_fun")[number] if name == "cond" else f"branch {number}"


def _same_dtypes(name: str, programs: Sequence[Program], captured: int, flat: FlatFunction) -> list[Program]:
    """The branches with outputs converted to common dtypes where Python scalars made them differ."""
    dtypes = [result_type(*(t.dtype for t in types)) for types in zip(*(p.output_types for p in programs), strict=True)]
    if all(t.dtype == d for p in programs for t, d in zip(p.output_types, dtypes, strict=True)):
        return list(programs)
    for number, program in enumerate(programs):
        for place, (t, first) in enumerate(zip(program.output_types, programs[0].output_types, strict=True)):
            if t.dtype != first.dtype and t.shape != ():
                wider, of = (program, number) if t.dtype == result_type(t.dtype, first.dtype) else (programs[0], 0)
                why = dtype_origin(wider, place, described(captured, flat.describe))
                raise DtypeError(
                    f"the branches of {name} must return the same types, but {_branch(name, 0)} returned {first} and "
                    f"{_branch(name, number)} returned {t}: in {_branch(name, of)} {why}. Convert one of them"
                )

    def converted(program: Program) -> Program:
        def run(*args: Any) -> list[Any]:
            return [convert(o, d) for o, d in zip(apply_program(program, args), dtypes, strict=True)]

        return trace_program(run, program.input_types)[0]

    return [converted(p) for p in programs]


@boundary
def run_while(name: str, cond_fun: Callable[..., Any], body_fun: Callable[..., Any], init_val: Any) -> Any:
    """:func:`fdl.lax.while_loop` by the name that messages call it."""
    require_function(name, "cond_fun", cond_fun)
    require_function(name, "body_fun", body_fun)
    # Without jit the loop runs in Python for as long as the condition is known: inside vmap it may become a batch.
    while config.disable_jit and _in_python(going := as_array(cond_fun(init_val))):
        if not bool(going.discrete()):
            return tree.map(as_array, init_val)
        init_val = body_fun(init_val)
    carry, weak, structure = _carry_leaves(name, init_val)
    types = [c.type for c in carry]
    call = call_structure(structure)
    body, captured, flat = _trace(body_fun, call, types, weak)
    promoted = _promote_weak(types, weak, body.output_types)
    if flat.out_structure == structure and promoted != types:
        weak = [w and p == t for w, p, t in zip(weak, promoted, types, strict=True)]
        types = promoted
        carry = [convert(c, t.dtype) for c, t in zip(carry, types, strict=True)]
        body, captured, flat = _trace(body_fun, call, types, weak)
    _same_carry(name, structure, types, flat.out_structure, body, len(captured), flat)
    condition, cond_captured, _ = _trace(cond_fun, call, types, weak)
    if [t.shape for t in condition.output_types] != [()]:
        raise ShapeError(
            "the condition of while_loop must return one bool scalar, got "
            f"({', '.join([str(t) for t in condition.output_types])})"
        )
    if condition.output_types[0].dtype != bool_:
        raise DtypeError(f"the condition of while_loop must return a bool, got {condition.output_types[0]}")
    outs = While(condition, body, len(cond_captured), len(captured))(*cond_captured, *captured, *carry)
    return tree.unflatten(structure, outs)


@boundary
def fori_loop(
    lower: Any, upper: Any, body_fun: Callable[..., Any], init_val: Any, *, unroll: int | bool | None = None
) -> Any:
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
    first, last = _bounds(lower, upper)
    if not (isinstance(first, Tracer) or isinstance(last, Tracer)):
        start, stop = int(first.concrete()), int(last.concrete())
        numbers = np.arange(start, max(start, stop), dtype=first.type.dtype)
        if len(numbers) == 0 and config.disable_jit:
            return init_val

        def body(value: Any, i: Any) -> Any:
            return body_fun(i, value), None

        return _scan("fori_loop", body, init_val, numbers, None, False, 1 if unroll is None else unroll)[0]
    one = np.ones((), first.type.dtype)

    def step(state: Any) -> Any:
        return state[0] + one, body_fun(state[0], state[1])

    return run_while("fori_loop", lambda state: state[0] < last, step, (first, init_val))[1]


def _bounds(*bounds: Any) -> list[Any]:
    """The bounds of a counting loop as integer scalars of one dtype; Python numbers take that of the other bound."""
    bounds = tuple([python_number(b) for b in bounds])
    values = [as_array(b, f"the bound {n} of fori_loop") for b, n in zip(bounds, ("lower", "upper"), strict=True)]
    weak = [isinstance(b, int) or v.weak for b, v in zip(bounds, values, strict=True)]
    dtypes = {v.type.dtype for v, w in zip(values, weak, strict=True) if not w}
    dtype = dtypes.pop() if len(dtypes) == 1 else result_type(*(v.type.dtype for v in values))
    if dtypes or dtype not in INTEGER or any(v.type.shape or v.type.dtype.kind == "f" for v in values):
        found = " and ".join(str(v.type) for v in values)
        raise DtypeError(f"fori_loop needs integer scalars of one dtype as lower and upper, got {found}; convert one")
    return [convert(v, dtype) for v in values]


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
