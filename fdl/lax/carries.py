"""Carries of loops: what their leaves hold, and the types that the body has to give them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fdl import tree
from fdl.api.arguments import FlatFunction, check_leaf, difference, weakened, weakness
from fdl.config import config
from fdl.control.origins import described, dtype_origin
from fdl.core.interpret import apply_program
from fdl.core.program import Program
from fdl.core.trace import DIRECTIONS, Value, current, trace_program
from fdl.core.types import TensorType
from fdl.dtypes import complex128, float64, result_type
from fdl.errors import ShapeError, TreeError
from fdl.ops.convert import convert


def converted(program: Program, dtypes: Sequence[np.dtype]) -> Program:
    """A Program with its results converted to `dtypes`."""
    if all(t.dtype == d for t, d in zip(program.output_types, dtypes, strict=True)):
        return program

    def run(*args: Any) -> list[Any]:
        return [convert(o, d) for o, d in zip(apply_program(program, args), dtypes, strict=True)]

    return trace_program(run, program.input_types)[0]


def _number_of(weak: np.dtype) -> Any:
    """A number of Python of the kind of a weak value."""
    return np.zeros((), weak).item()


def carry_leaves(name: str, init: Any, counted: bool = False) -> tuple[list[Any], list[np.dtype | None], Any]:
    """What the leaves of a carry hold; the dtypes that weak ones show; their structure.

    The user's carry is the second part of one that is `counted`, whose first part is the number of the step.
    """
    structure = tree.structure(init)
    values = [
        leaf
        if isinstance(leaf, Value)
        else check_leaf(leaf, f"the initial carry of {name} at {tree.keystr(path[counted:]) or 'its root'}")
        for (path, leaf) in tree.leaves_with_path(init)
    ]
    # Integers in the dtype that they show: loops over batches of two widths are not vectorized.
    held = [v.strong() if v.weak and v.type.dtype.kind == "i" else v.held for v in values]
    return held, weakness(values), structure


def same_carry(
    name: str,
    before: Any,
    types: Sequence[TensorType],
    weak: Sequence[np.dtype | None],
    after: Any,
    body: Program,
    captured: int,
    flat: FlatFunction,
    counted: bool = False,
) -> Program:
    """The body, its weak results in the dtypes that they must have; `counted` as for :func:`carry_leaves`.

    Raises:
        TreeError, ShapeError: it did not return a carry like the one it was given.
    """
    if before != after:
        if counted:
            before, after = before.child(1), after.child(1)
        raise TreeError(
            f"the body of {name} must return a carry of the structure it was given, but given and returned carry part "
            f"{difference(before, after, 'carry')}"
        )
    dtypes = [t.dtype if o is None else o for t, o in zip(body.output_types, flat.out_weak, strict=True)]
    for number, (t, w) in enumerate(zip(types, weak, strict=True)):
        out = flat.out_weak[number]
        if out is not None and (out == w if w else _yields(out, t.dtype)):
            dtypes[number] = t.dtype
    body = converted(body, dtypes)
    found = body.output_types
    for number, path in enumerate(tree.paths(before)):
        if types[number] != found[number]:
            why = ""
            if types[number].dtype != found[number].dtype:
                why = f": {dtype_origin(body, number, described(captured, flat.describe))}"
            raise ShapeError(
                f"the body of {name} must return a carry of the types it was given, but "
                f"carry{tree.keystr(path[counted:])} came in "
                f"as {types[number].with_dtype(weak[number])} and went out as {found[number]}{why}. Convert or reshape "
                "it in the body, or start with that type."
            )
    return body


def promoted_carry(
    types: Sequence[TensorType],
    weak: Sequence[np.dtype | None],
    body: Program,
    captured: Sequence[Value],
    flat: FlatFunction,
) -> tuple[list[TensorType], list[np.dtype | None]]:
    """Carry types, and what they show, where those that started as Python scalars take the dtype they meet."""
    types, weak = list(types), list(weak)
    for number, (t, w, f, o) in enumerate(zip(types, weak, body.output_types, flat.out_weak, strict=False)):
        if w is None or t.shape != f.shape:
            continue
        if o is None and _yields(w, f.dtype):
            types[number], weak[number] = f, None
        elif o is not None and o != w and common_dtype([t, f], [w, o]) == o:
            types[number], weak[number] = f, o
    return _narrowed(types, weak, body, captured), weak


def common_dtype(types: Sequence[TensorType], weak: Sequence[np.dtype | None]) -> np.dtype:
    """The dtype of values that are weak with the given dtypes, or not; integers that are all weak keep their width."""
    found = result_type(*(t.dtype if w is None else _number_of(w) for t, w in zip(types, weak, strict=True)))
    all_weak = all(w is not None for w in weak)  # None == np.dtype("float64")
    return np.result_type(*weak) if all_weak and found.kind == "i" else found


def _yields(weak: np.dtype, dtype: np.dtype) -> bool:
    """Whether a weak value that shows a dtype takes the given dtype when it meets it."""
    return result_type(_number_of(weak), dtype) == dtype


def _narrowed(
    types: Sequence[TensorType], weak: Sequence[np.dtype | None], body: Program, captured: Sequence[Value]
) -> list[TensorType]:
    """Carry types of a loop inside of vmap, where numbers have the dtype that they show.

    Vectors of elements of two widths take as long as those of the wider one. Beside arrays of 64 bits, which want the
    digits, nothing changes.
    """
    if not any(weak) or all(name == DIRECTIONS for name, _ in current().axis_sizes()):
        return [*types]
    first = len(captured)
    met = [*body.input_types[:first], *body.input_types[first + len(types) :], *(v.type for v, _ in body.constants)]
    met += [t for t, w in zip(types, weak, strict=True) if w is None]
    if any(t.dtype in (float64, complex128) for t in met):
        return [*types]
    return [t if w is None else t.with_dtype(w) for t, w in zip(types, weak, strict=True)]


def shown(values: Sequence[Any], weak: Sequence[np.dtype | None]) -> list[Any]:
    """Results of loops as they are handed to the user."""
    values = weakened(values, weak)
    return values if config.weak_arrays else [v.strong() for v in values]
