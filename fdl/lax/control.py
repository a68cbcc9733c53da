"""Control flow: scan, cond, switch, while_loop, fori_loop, map, associative_scan."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fdl import tree
from fdl.api.arguments import FlatFunction, check_leaf, difference, flatten_values, name_of
from fdl.api.vmap import vmap
from fdl.array import as_array
from fdl.config import config
from fdl.control.cond import Cond
from fdl.control.higher import prune
from fdl.control.scan import Scan
from fdl.control.unroll import scan_unrolled
from fdl.control.while_loop import While
from fdl.core.program import Program
from fdl.core.trace import Value, lift, trace_program
from fdl.core.types import TensorType
from fdl.dtypes import bool_, int32, result_type
from fdl.errors import ConcretizationError, DtypeError, ShapeError, TreeError
from fdl.ops.convert import convert
from fdl.ops.slicing import concatenate, slice_

#: Stands for an operand that was not given, since None is one.
_MISSING: Any = object()


def _trace(
    fun: Callable[..., Any], structure: Any, types: Sequence[TensorType], weak: Sequence[bool] = ()
) -> tuple[Program, list[Any], FlatFunction]:
    flat = FlatFunction(fun, structure)
    program, captured = trace_program(flat, types, name_of(fun), weak)
    return program, captured, flat


def _share_captured(programs: Sequence[Program], captured: Sequence[Sequence[Any]]) -> tuple[list[Program], list[Any]]:
    """The programs with one common list of captured values as their first inputs."""
    merged = list({id(v): v for values in captured for v in values}.values())
    shared = []
    for program, values in zip(programs, captured, strict=True):
        place = {id(v): var for v, var in zip(values, program.inputs, strict=False)}
        from fdl.core.program import Var

        inputs = tuple(place.get(id(v)) or Var(lift(v).type) for v in merged) + program.inputs[len(values) :]
        shared.append(prune(Program(inputs, program.equations, program.outputs, program.constants)))
    return shared, merged


def _carry_leaves(name: str, init: Any) -> tuple[list[Any], list[bool], Any]:
    leaves, structure = tree.flatten(init)
    values = [
        leaf
        if isinstance(leaf, Value)
        else check_leaf(leaf, f"the initial carry of {name} at {tree.keystr(path) or 'its root'}")
        for (path, leaf) in tree.leaves_with_path(init)
    ]
    weak = [type(leaf) in (bool, int, float, complex) or getattr(leaf, "weak", False) for leaf in leaves]
    return values, weak, structure


def _same_carry(name: str, before: Any, types: Sequence[TensorType], after: Any, found: Sequence[TensorType]) -> None:
    """Raise unless the body returned a carry like the one it was given."""
    if before != after:
        raise TreeError(
            f"the body of {name} must return a carry of the structure it was given, but given and returned carry part "
            f"{difference(before, after, 'carry')}"
        )
    model = tree.unflatten(before, list(range(before.num_leaves)))
    for path, number in tree.leaves_with_path(model):
        if types[number] != found[number]:
            raise ShapeError(
                f"the body of {name} must return a carry of the types it was given, but "
                f"carry{tree.keystr(path)} came in "
                f"as {types[number]} and went out as {found[number]}. Convert or reshape it in the body, or start with "
                "that type."
            )


def scan(
    f: Callable[..., Any],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    _split_transpose: bool = False,
) -> tuple[Any, Any]:
    """Carry a state along the leading axis of arrays.

    Args:
        f: ``f(carry, x) -> (carry, y)``.
        init: the first carry, a pytree; its types must not change.
        xs: a pytree of arrays with one leading extent, or None.
        length: number of steps; needed if `xs` is None.
        reverse: run from the last slice to the first; the stacked `ys` keep the order of `xs`.
        unroll: how many steps a step of the compiled loop does; True for all, so that no loop is left.

    Returns:
        (last carry, ys stacked along a new leading axis).

    Raises:
        ShapeError, TreeError: the body changes the type or structure of the carry, or extents differ.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.scan(lambda total, x: (total + x, total), 0.0, fnp.arange(4.0))
    (Array(6., dtype=float32), Array([0., 0., 1., 3.], dtype=float32))
    """
    carry, weak, carry_structure = _carry_leaves("scan", init)
    x_leaves, x_structure = flatten_values(f, (xs,), {})
    steps = _length(xs, x_leaves, length)
    if config.disable_jit:
        return _scan_in_python(f, init, xs, steps, reverse)
    slices = [x.type.with_shape(x.type.shape[1:]) for x in x_leaves]
    _, call_structure = tree.flatten(
        ((tree.unflatten(carry_structure, carry), tree.unflatten(x_structure, x_leaves)[0][0]), {})
    )

    def trace(types: Sequence[TensorType]) -> tuple[Program, list[Any], FlatFunction]:
        return _trace(f, call_structure, [*types, *slices], [*weak, *(False for _ in slices)])

    types = [c.type for c in carry]
    program, captured, flat = trace(types)
    carry_out, y_structure = _split_result(f, flat)
    promoted = _promote_weak(types, weak, program.output_types[: len(types)])
    if carry_out == carry_structure and promoted != types:
        weak = [w and p == t for w, p, t in zip(weak, promoted, types, strict=True)]
        types = promoted
        carry = [convert(c, t.dtype) for c, t in zip(carry, types, strict=True)]
        program, captured, flat = trace(types)
    _same_carry("scan", carry_structure, types, carry_out, program.output_types[: carry_out.num_leaves])
    operation = Scan(program, steps, bool(reverse), len(captured), len(carry))
    outs = scan_unrolled(operation, _unrolling(unroll, steps), [*captured, *carry, *x_leaves])
    return tree.unflatten(carry_structure, outs[: len(carry)]), tree.unflatten(y_structure, outs[len(carry) :])


def _unrolling(unroll: Any, steps: int) -> int:
    """How many steps to do at a time."""
    if isinstance(unroll, (bool, np.bool_)):
        return steps if unroll else 1
    if not isinstance(unroll, (int, np.integer)) or unroll < 1:
        raise ValueError(f"unroll must be True, False or a positive number of steps, got {unroll!r}")
    return int(unroll)


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


def _split_result(f: Any, flat: FlatFunction) -> tuple[Any, Any]:
    """Structures of the carry and of the y that a scan body returned."""
    result = tree.unflatten(flat.out_structure, [0] * flat.out_structure.num_leaves)
    if not (isinstance(result, (tuple, list)) and len(result) == 2):
        raise TreeError(
            f"the body of scan ({name_of(f)}) must return a pair (carry, y), but returned "
            f"{'one array' if flat.out_structure.num_nodes == 1 else flat.out_structure}"
        )
    return tree.structure(result[0]), tree.structure(result[1])


def _length(xs: Any, leaves: Sequence[Any], given: int | None) -> int:
    for path, leaf in tree.leaves_with_path(xs):
        if np.ndim(leaf) == 0 if not isinstance(leaf, Value) else leaf.type.ndim == 0:
            raise ShapeError(f"scan needs xs{tree.keystr(path)} to have a leading axis, but it is a scalar")
    extents = {leaf.type.shape[0] for leaf in leaves} | ({int(given)} if given is not None else set())
    if len(extents) == 1:
        return extents.pop()
    if not extents:
        raise ShapeError("scan needs xs or length, to know the number of steps")
    said = [f"xs{tree.keystr(path)} has {np.shape(leaf)[0]}" for path, leaf in tree.leaves_with_path(xs)]
    said += [] if given is None else [f"length is {given}"]
    raise ShapeError(f"scan needs one leading extent, but {', '.join(said)}")


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
    elif len(operands) == 0 and not callable(true_fun):
        raise TypeError("cond needs two functions: cond(pred, true_fun, false_fun, *operands)")
    pred = as_array(pred, "the predicate of cond")
    if pred.type.shape != ():
        raise ShapeError(f"cond needs a scalar predicate, got {pred.type}; use fdl.numpy.where for elementwise choices")
    if _in_python(pred):
        return true_fun(*operands) if bool(pred.discrete("the predicate of cond")) else false_fun(*operands)
    if pred.type.dtype != bool_:
        pred = convert(pred, bool_)
    return _choose("cond", convert(pred, int32), [false_fun, true_fun], operands)


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
    if not branches:
        raise ValueError("switch needs at least one branch")
    if len(branches) == 1:
        return branches[0](*operands)
    if _in_python(index):
        return branches[min(max(int(index.concrete()), 0), len(branches) - 1)](*operands)
    from fdl.ops.select import clamp

    if index.type.dtype != int32:
        last = min(len(branches) - 1, np.iinfo(index.type.dtype).max)
        low, high = (as_array(np.asarray(n, index.type.dtype)) for n in (0, last))
        index = convert(clamp(low, index, high), int32)
    return _choose("switch", index, branches, operands)


def _choose(name: str, index: Any, branches: Sequence[Callable[..., Any]], operands: Sequence[Any]) -> Any:
    leaves, structure = flatten_values(branches[0], operands, {})
    weak = [
        type(leaf) in (bool, int, float, complex) or getattr(leaf, "weak", False)
        for leaf in tree.leaves(tuple(operands))
    ]
    traced = [_trace(b, structure, [leaf.type for leaf in leaves], weak) for b in branches]
    programs, captured = _share_captured([t[0] for t in traced], [t[1] for t in traced])
    flats = [t[2] for t in traced]
    for number, (program, flat) in enumerate(zip(programs, flats, strict=True)):
        if flat.out_structure != flats[0].out_structure:
            raise TreeError(
                f"the branches of {name} must return the same structure, but {_branch(name, 0)} and "
                f"{_branch(name, number)} part {difference(flats[0].out_structure, flat.out_structure, 'output')}"
            )
        for place, (mine, first) in enumerate(zip(program.output_types, programs[0].output_types, strict=True)):
            if mine.shape != first.shape:
                path = tree.keystr(tree.leaves_with_path(flat.unflatten(range(len(program.outputs))))[place][0])
                raise ShapeError(
                    f"the branches of {name} must return the same types, but output{path} is {first} from "
                    f"{_branch(name, 0)} and {mine} from {_branch(name, number)}"
                )
    programs = _same_dtypes(name, programs)
    return flats[0].unflatten(Cond(tuple(programs))(index, *captured, *leaves))


def _branch(name: str, number: int) -> str:
    return ("false_fun", "true_fun")[number] if name == "cond" else f"branch {number}"


def _same_dtypes(name: str, programs: Sequence[Program]) -> list[Program]:
    """The branches with outputs converted to common dtypes where Python scalars made them differ."""
    from fdl.core.interpret import apply_program

    dtypes = [result_type(*(t.dtype for t in types)) for types in zip(*(p.output_types for p in programs), strict=True)]
    if all(t.dtype == d for p in programs for t, d in zip(p.output_types, dtypes, strict=True)):
        return list(programs)
    for number, program in enumerate(programs):
        for t, first in zip(program.output_types, programs[0].output_types, strict=True):
            if t.dtype != first.dtype and t.shape != ():
                raise DtypeError(
                    f"the branches of {name} must return the same types, but {_branch(name, 0)} returned {first} and "
                    f"{_branch(name, number)} returned {t}"
                )

    def converted(program: Program) -> Program:
        def run(*args: Any) -> list[Any]:
            return [convert(o, d) for o, d in zip(apply_program(program, args), dtypes, strict=True)]

        return trace_program(run, program.input_types)[0]

    return [converted(p) for p in programs]


def while_loop(cond_fun: Callable[..., Any], body_fun: Callable[..., Any], init_val: Any) -> Any:
    """Apply `body_fun` to a value as long as `cond_fun` of it holds.

    Args:
        cond_fun: returns a bool scalar.
        body_fun: returns a value of the structure and types it was given.
        init_val: a pytree.

    Returns:
        The last value, in the structure and types of `init_val`.

    Raises:
        DifferentiationError: in reverse mode; use :func:`scan`, or :func:`fori_loop` with Python integers as bounds.

    >>> import fdl
    >>> fdl.lax.while_loop(lambda x: x < 100, lambda x: x * 2, 1)
    Array(128, dtype=int32)
    """
    carry, weak, structure = _carry_leaves("while_loop", init_val)
    if config.disable_jit and _in_python(as_array(cond_fun(init_val))):
        value = init_val
        while bool(as_array(cond_fun(value)).discrete("the condition of while_loop")):
            value = body_fun(value)
        return tree.map(as_array, value)
    types = [c.type for c in carry]
    _, call_structure = tree.flatten(((init_val,), {}))
    body, captured, flat = _trace(body_fun, call_structure, types, weak)
    promoted = _promote_weak(types, weak, body.output_types)
    if flat.out_structure == structure and promoted != types:
        weak = [w and p == t for w, p, t in zip(weak, promoted, types, strict=True)]
        types = promoted
        carry = [convert(c, t.dtype) for c, t in zip(carry, types, strict=True)]
        body, captured, flat = _trace(body_fun, call_structure, types, weak)
    _same_carry("while_loop", structure, types, flat.out_structure, body.output_types)
    condition, cond_captured, _ = _trace(cond_fun, call_structure, types, weak)
    if [t.shape for t in condition.output_types] != [()]:
        raise ShapeError(
            "the condition of while_loop must return one bool scalar, got "
            f"({', '.join([str(t) for t in condition.output_types])})"
        )
    if condition.output_types[0].dtype != bool_:
        raise DtypeError(f"the condition of while_loop must return a bool, got {condition.output_types[0]}")
    outs = While(condition, body, len(cond_captured), len(captured))(*cond_captured, *captured, *carry)
    return tree.unflatten(structure, outs)


def fori_loop(
    lower: Any, upper: Any, body_fun: Callable[..., Any], init_val: Any, *, unroll: int | bool | None = None
) -> Any:
    """``for i in range(lower, upper): value = body_fun(i, value)``.

    Args:
        lower, upper: integer scalars. If both are Python integers the loop has a reverse mode.
        body_fun: ``body_fun(i, value) -> value`` of the same structure and types.
        init_val: a pytree.
        unroll: as in :func:`scan`; has no effect if a bound is not known.

    Returns:
        The last value, in the structure and types of `init_val`.

    Raises:
        ShapeError, TreeError: the body changes the type or structure of the value.

    >>> import fdl
    >>> fdl.lax.fori_loop(0, 4, lambda i, total: total + i, 0)
    Array(6, dtype=int32)
    """
    known = all(
        isinstance(b, (int, np.integer)) or (isinstance(b, Value) and not hasattr(b, "interpreter"))
        for b in (lower, upper)
    )
    if known:
        first, last = int(lower), int(upper)
        numbers = np.arange(first, max(first, last), dtype=np.int32 if abs(last) < 2**31 else np.int64)
        if len(numbers) == 0 and config.disable_jit:
            return init_val
        return scan(lambda value, i: (body_fun(i, value), None), init_val, numbers, unroll=unroll or 1)[0]
    lower, upper = as_array(lower), as_array(upper)
    dtype = result_type(lower.type.dtype, upper.type.dtype)
    first, last = convert(lower, dtype), convert(upper, dtype)
    one = np.ones((), dtype)

    def step(state: Any) -> Any:
        return state[0] + one, body_fun(state[0], state[1])

    return while_loop(lambda state: state[0] < last, step, (first, init_val))[1]


def map(f: Callable[..., Any], xs: Any, *, batch_size: int | None = None) -> Any:
    """`f` applied to each slice along the leading axis, one after another, the results stacked.

    Args:
        f: a function of one slice.
        xs: a pytree of arrays with one leading extent.
        batch_size: how many slices to do at once by vmap.

    Returns:
        The results of `f`, a pytree of arrays with that leading extent.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.map(lambda x: x**2, fnp.arange(3.0))
    Array([0., 1., 4.], dtype=float32)
    """
    if batch_size is None:
        return scan(lambda _, x: (None, f(x)), None, xs)[1]
    leaves = [as_array(x) for x in tree.leaves(xs)]
    count = leaves[0].type.shape[0]
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


def associative_scan(fn: Callable[..., Any], elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """All prefixes combined by an associative function, in about 2 log2(n) vectorised steps.

    Args:
        fn: ``fn(a, b)``, associative, on pytrees of arrays with any extent along `axis`.
        elems: a pytree of arrays with one extent along `axis`.
        reverse: combine from the end.
        axis: which axis to combine along.

    Returns:
        A pytree of the structure, shapes and dtypes of `elems`.

    Source: Blelloch, "Prefix Sums and Their Applications", 1990.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.associative_scan(fnp.multiply, fnp.arange(1.0, 5.0))
    Array([ 1.,  2.,  6., 24.], dtype=float32)
    """
    leaves, structure = tree.flatten(elems)
    values = [as_array(leaf) for leaf in leaves]
    place = axis % values[0].type.ndim
    if len({v.type.shape[place] for v in values}) != 1:
        raise ShapeError(f"associative_scan needs one extent along axis {axis}, got {[str(v.type) for v in values]}")
    if reverse:
        from fdl.ops.slicing import reverse as flip

        values = [flip(v, (place,)) for v in values]

    def combine(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
        return tree.leaves(fn(tree.unflatten(structure, a), tree.unflatten(structure, b)))

    found = _prefixes(combine, values, place)
    if reverse:
        found = [flip(v, (place,)) for v in found]
    return tree.unflatten(structure, found)


def _prefixes(combine: Callable[..., list[Any]], values: list[Any], axis: int) -> list[Any]:
    count = values[0].type.shape[axis]
    if count < 2:
        return values
    cut = functools.partial(_cut, axis=axis)
    pairs = combine([cut(v, 0, count - 1, 2) for v in values], [cut(v, 1, count, 2) for v in values])
    odd = _prefixes(combine, pairs, axis)
    rest = [cut(o, 0, (count - 1) // 2, 1) for o in odd]
    even = combine(rest, [cut(v, 2, count, 2) for v in values]) if count > 2 else []
    first = [cut(v, 0, 1, 1) for v in values]
    evens = [concatenate([f, e], axis) for f, e in zip(first, even, strict=True)] if even else first
    return [_interleave(e, o, axis) for e, o in zip(evens, odd, strict=True)]


def _cut(value: Any, start: int, stop: int, step: int, axis: int) -> Any:
    shape = value.type.shape
    starts, limits, steps = [0] * len(shape), list(shape), [1] * len(shape)
    starts[axis], limits[axis], steps[axis] = start, max(start, stop), step
    return slice_(value, starts, limits, steps)


def _interleave(even: Any, odd: Any, axis: int) -> Any:
    from fdl.ops.arithmetic import add
    from fdl.ops.slicing import pad

    zero = np.zeros((), even.type.dtype)
    count = even.type.shape[axis] + odd.type.shape[axis]

    def widened(value: Any, low: int) -> Any:
        extent = 2 * value.type.shape[axis] - 1
        config = [(0, 0, 0)] * value.type.ndim
        config[axis] = (low, count - low - extent, 1)
        return pad(value, zero, config)

    from fdl.ops.bitwise import or_

    return (or_ if even.type.dtype == bool_ else add)(widened(even, 0), widened(odd, 1))
