"""A traced function of parameters and rows, with its parameters."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import tree
from fdl.api.arguments import name_of
from fdl.api.inspect import ShapeDtypeStruct, trace_call
from fdl.api.jit import jit
from fdl.array import as_array
from fdl.control.data import NoDataError, write_program
from fdl.core.interpret import apply_program
from fdl.core.listing import Listing
from fdl.core.markup import counted, heading
from fdl.core.program import Program
from fdl.core.rewrite import eliminate_dead
from fdl.core.trace import is_eager
from fdl.errors import ExportError
from fdl.saving.structures import numbered
from fdl.transforms.inline import inline

#: How many types a repr names.
_SHOWN = 8


@dataclass(frozen=True, eq=False)
class ExportedFunction:
    """A traced function (params, batch) -> result, which needs no Python of the user's.

    It takes any number of rows: `rows` at a time, the last ones padded by copies of the last row. Results must have
    their rows first too, each of which depends on its row of the batch only. Its derivatives are those of the
    operations that the function consists of: derivative rules of the user's own are not kept.

    Attributes:
        program: what it computes of the leaves of params and batch.
        arguments: the structure of (params, batch), with the numbers of the program's inputs as leaves.
        result: the structure of the result, with the numbers of the program's outputs.
    """

    program: Program
    arguments: Any
    result: Any

    @property
    def params(self) -> Any:
        """The parameters' structure, with a ShapeDtypeStruct at each leaf."""
        return described(self.arguments[0], self.program.input_types)

    @property
    def batch(self) -> Any:
        """The structure of a batch of `rows` rows, with a ShapeDtypeStruct at each leaf."""
        return described(self.arguments[1], self.program.input_types)

    @property
    def rows(self) -> int:
        """How many rows are computed at once."""
        return tree.leaves(self.batch)[0].shape[0]

    def __call__(self, params: Any, batch: Any) -> Any:
        """The result for parameters and a batch of any number of rows.

        Raises:
            ExportError: an argument has another structure, or other shapes or dtypes, than it was exported for.
        """
        leaves = [*fitting("params", params, self.params), *fitting("batch", batch, self.batch, rows=True)]
        by_number = dict(zip(tree.leaves(self.arguments), leaves, strict=True))
        inputs = [by_number[number] for number in range(len(leaves))]
        count = len(tree.leaves(self.arguments[0]))
        held, rows = inputs[:count], inputs[count:]
        total, size = rows[0].shape[0], self.rows
        run = self._compiled if is_eager() else self._run
        pieces = [run(held, [_piece(x, start, total, size) for x in rows]) for start in range(0, max(total, 1), size)]
        found = [fnp.concatenate(parts)[:total] for parts in zip(*pieces, strict=True)] if total != size else pieces[0]
        return tree.map(lambda number: found[number], self.result)

    def _run(self, held: list[Any], rows: list[Any]) -> list[Any]:
        return apply_program(self.program, [as_array(x) for x in (*held, *rows)])

    @cached_property
    def _compiled(self) -> Callable[..., list[Any]]:
        return jit(self._run)

    def __repr__(self) -> str:
        params, batch = counted(len(tree.leaves(self.params)), "parameter"), types_text(tree.leaves(self.batch))
        return f"<exported function of {params} and {batch}, {size_text(self.program)}>"

    def _repr_html_(self) -> str:
        return exported_html("exported function", self.program)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("program", "arguments", "result")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


@dataclass(frozen=True, eq=False)
class Exported:
    """A function with its parameters, as data: call it with a batch.

    Attributes:
        apply: the function of (params, batch).
        params: the parameters.
        info: JSON values that go with it, by name.
    """

    apply: ExportedFunction
    params: Any
    info: dict[str, Any] = field(default_factory=dict)

    def __call__(self, batch: Any) -> Any:
        """The result for a batch of any number of rows."""
        return self.apply(self.params, batch)

    def __repr__(self) -> str:
        told = "".join(f", {key}={str(value)[:40]!r}" for key, value in list(self.info.items())[:8])
        return f"<exported {self.apply!r} with its parameters{told}>"

    def _repr_html_(self) -> str:
        facts = [f"{key}: {str(value)[:40]}" for key, value in list(self.info.items())[:8]]
        parameters = counted(len(tree.leaves(self.params)), "parameter")
        return exported_html("exported function", self.apply.program, parameters, *facts)


def export(apply: Callable[[Any, Any], Any], params: Any, batch: Any, info: dict[str, Any] | None = None) -> Exported:
    """A function and its parameters, as data that `save` can write.

    Args:
        apply: (params, batch) -> pytree of arrays whose axis 0 is that of the batch; each row depends on that row only.
        params: pytree of arrays.
        batch: pytree of arrays or ShapeDtypeStructs with rows first; so many rows are computed at once.
        info: JSON values that go with it.

    Returns:
        The Exported. Nodes of `params` that are no dicts, lists or tuples are dicts in it.

    Raises:
        ExportError: `apply` calls Python functions when it runs (callbacks, debug.print), gives no rows, or the batch
            has none.

    >>> import fdl
    >>> double = export(lambda scale, x: scale * x, np.float32(2), fdl.ShapeDtypeStruct((4,), "float32"))
    >>> double(np.arange(3, dtype=np.float32))
    Array([0., 2., 4.], dtype=float32)
    """
    params = tree.map(np.asarray, params)
    if isinstance(apply, ExportedFunction):
        return Exported(apply, params, dict(info or {}))
    name = name_of(apply)
    extents = {leaf.shape[:1] for leaf in tree.leaves(batch)}
    if len(extents) != 1 or extents <= {(), (0,)}:
        raise ExportError(f"export({name}): the arrays of a batch must have the same rows first, and at least one")
    ((rows,),) = extents
    program, captured, flat = trace_call(apply, (params, batch), {})
    if captured:
        raise ExportError(f"export({name}) inside of a transform: {name} closes over values that it traces")
    program = eliminate_dead(inline(program))
    check_exportable(name, program)
    result = flat.unflatten([ShapeDtypeStruct(t.shape, t.dtype) for t in program.output_types])
    for path, found in tree.leaves_with_path(result):
        if found.shape[:1] != (rows,):
            raise ExportError(
                f"export({name}): the result{tree.keystr(path)} of a batch of {rows} rows has shape {found.shape}; it "
                f"must have a row for each"
            )
    arguments = numbered((params, batch))
    held = tree.map(tree.leaves(params).__getitem__, arguments[0])
    return Exported(ExportedFunction(program, arguments, numbered(result)), held, dict(info or {}))


def types_text(leaves: list[Any]) -> str:
    """The types of a few leaves, in parentheses.

    >>> types_text([ShapeDtypeStruct((2, 3), "float32")])
    '(float32[2, 3])'
    """
    shown = [f"{leaf.dtype}{list(leaf.shape) or ''}" for leaf in leaves[:_SHOWN]]
    return f"({', '.join([*shown, *(['...'] if leaves[_SHOWN:] else [])])})"


def size_text(program: Program) -> str:
    """How long a Program is."""
    return counted(len(program.equations), "equation")


def exported_html(name: str, program: Program, *facts: str) -> str:
    """A heading, and the Program folded."""
    return f"<div>{heading(name, size_text(program), *facts)}{Listing(program)._repr_html_()}</div>"


def check_exportable(name: str, program: Program) -> None:
    """Raise an ExportError unless a file can hold a Program."""
    try:
        write_program(program, [])
    except NoDataError as error:
        raise ExportError(f"export({name}): {error}; a file can hold fdl's own operations only") from None


def _piece(x: Any, start: int, total: int, size: int) -> Any:
    """So many rows of an array from one on, the last one again for those that it does not have."""
    if not total:
        return fnp.zeros((size, *x.shape[1:]), x.dtype)
    if start + size <= total:
        return x[start : start + size]
    return fnp.take(x, np.minimum(np.arange(start, start + size), total - 1), axis=0)


def described(numbers: Any, types: Any) -> Any:
    """A structure with a ShapeDtypeStruct in place of each number of a type."""
    return tree.map(lambda number: ShapeDtypeStruct(types[number].shape, types[number].dtype), numbers)


def fitting(what: str, value: Any, types: Any, rows: bool = False) -> list[Any]:
    """The leaves of a tree as arrays of the given types, of which the rows may be any number."""
    expected, structure = tree.flatten(types)
    found = tree.leaves(value)
    if tree.structure(value) != structure:
        difference = tree.explain_difference(types, value)
        raise ExportError(f"{what} is not as it was exported: {difference}")
    arrays, extents = [], set[int]()
    paths = [path for path, _ in tree.leaves_with_path(types)]
    for path, leaf, type in zip(paths, found, expected, strict=True):
        array = leaf if hasattr(leaf, "shape") and hasattr(leaf, "dtype") else np.asarray(leaf)
        shape, wanted = (array.shape[1:], type.shape[1:]) if rows else (array.shape, type.shape)
        castable = array.dtype == type.dtype or np.can_cast(array.dtype, type.dtype, "same_kind")
        if tuple(shape) != tuple(wanted) or not castable or (rows and not array.shape):
            expected_rows = ("rows", *wanted) if rows else wanted
            raise ExportError(
                f"{what}{tree.keystr(path)} is {array.dtype}{list(array.shape)}; it was exported for "
                f"{type.dtype}[{', '.join(map(str, expected_rows))}]"
            )
        arrays.append(array if array.dtype == type.dtype else fnp.asarray(array).astype(type.dtype))
        extents |= {array.shape[0]} if rows else set()
    if len(extents) > 1:
        raise ExportError(f"the arrays of {what} have different numbers of rows: {sorted(extents)}")
    return arrays
