"""Extents that grow with the number of rows, found by comparing what a function is traced to for several numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fdl.core.program import Equation, Literal, Program, Var, parameters
from fdl.errors import ExportError

#: Parameters of operations that may depend on the number of rows.
FREE = {
    ("BroadcastInDim", "shape"), ("DynamicSlice", "sizes"), ("Gather", "slice_sizes"), ("Iota", "shape"),
    ("Reshape", "shape"), ("Slice", "limits"), ("Slice", "starts"), ("Scan", "length"),
}  # fmt: skip


@dataclass(frozen=True)
class Growing:
    """``factor * rows + offset``."""

    factor: int
    offset: int = 0


Extent = int | Growing
Extents = tuple[Extent, ...]


@dataclass(frozen=True)
class AlignedProgram:
    """A Program with the extents of its values, and the parameters of its operations, as they depend on the rows.

    Attributes:
        program: what was traced.
        extents: of every value whose shape depends on the rows.
        parameters: of every equation that has some which depend on the rows.
    """

    program: Program
    extents: dict[Var, Extents] = field(default_factory=dict)
    parameters: dict[Equation, dict[str, Any]] = field(default_factory=dict)

    def of(self, atom: Any) -> Extents:
        """The shape of a value."""
        return self.extents.get(atom) or atom.type.shape


def aligned(programs: Sequence[Program], rows: Sequence[int]) -> AlignedProgram:
    """One function traced for several numbers of rows, as one.

    Raises:
        ExportError: the Programs differ by more than extents that are a multiple of the rows plus a constant.

    >>> import fdl, fdl.numpy as fnp
    >>> rows = 2, 3, 5
    >>> both = [fdl.make_program(lambda x: x.reshape(-1))(fnp.ones((n, 4))) for n in rows]
    >>> traced = aligned(both, rows)
    >>> traced.of(traced.program.outputs[0])
    (Growing(factor=4, offset=0),)
    """
    traced = AlignedProgram(programs[0])
    _align(traced, programs, rows)
    return traced


def _align(traced: AlignedProgram, programs: Sequence[Program], rows: Sequence[int]) -> None:
    first = programs[0]
    if all(p is first for p in programs):
        return
    if len({(len(p.equations), len(p.inputs), len(p.constants)) for p in programs}) > 1:
        raise ExportError(_different("the operations depend on the number of rows"))
    numbers = [{v: n for n, v in enumerate(_variables(p))} for p in programs]
    for variables in zip(*map(_variables, programs), strict=True):
        shape = fitted([v.type.shape for v in variables], rows, "a shape")
        if shape != variables[0].type.shape:
            traced.extents[variables[0]] = shape
    for pairs in zip(*[p.constants for p in programs], strict=True):
        if any(value.tobytes() != pairs[0][1].tobytes() for _, value in pairs):
            raise ExportError(_different("an array that is computed while tracing depends on the number of rows"))
    for equations in zip(*[p.equations for p in programs], strict=True):
        _align_equation(traced, equations, rows)
        for atoms in zip(*[e.inputs for e in equations], strict=True):
            _check_same(atoms, numbers, equations[0].source)
    for atoms in zip(*[p.outputs for p in programs], strict=True):
        _check_same(atoms, numbers, "")


def _align_equation(traced: AlignedProgram, equations: Sequence[Equation], rows: Sequence[int]) -> None:
    first = equations[0].operation
    where = f" ({equations[0].source})" if equations[0].source else ""
    if any(type(e.operation) is not type(first) for e in equations):
        raise ExportError(_different(f"the operations depend on the number of rows{where}"))
    changed = {}
    for name in parameters(first):
        values = [getattr(e.operation, name) for e in equations]
        programs = [v if isinstance(v, tuple) else (v,) for v in values]
        if isinstance(programs[0][0] if programs[0] else None, Program):
            for inner in zip(*programs, strict=True):
                _align(traced, inner, rows)
        elif any(v != values[0] for v in values):
            if (type(first).__name__, name) not in FREE:
                raise ExportError(_different(f"{name} of {first.name} depends on the number of rows{where}"))
            changed[name] = fitted(values, rows, f"{name} of {first.name}{where}")
    if changed:
        traced.parameters[equations[0]] = changed


def fitted(values: Sequence[Any], rows: Sequence[int], what: str) -> Any:
    """Numbers, or tuples of numbers, as multiples of the rows plus a constant where they differ.

    >>> fitted([(2, 9, 3), (3, 13, 3), (5, 21, 3)], (2, 3, 5), "a shape")
    (Growing(factor=1, offset=0), Growing(factor=4, offset=1), 3)
    """
    if all(v == values[0] for v in values):
        return values[0]
    if isinstance(values[0], tuple) and len({len(v) for v in values}) == 1:
        return tuple([fitted(column, rows, what) for column in zip(*values, strict=True)])
    if all(isinstance(v, int) for v in values):
        factor, rest = divmod(values[1] - values[0], rows[1] - rows[0])
        offset = values[0] - factor * rows[0]
        if not rest and all(factor * n + offset == v for n, v in zip(rows, values, strict=True)):
            return Growing(factor, offset)
    text = f"{what} is {', '.join(map(str, values))} for {', '.join(map(str, rows))} rows"
    raise ExportError(_different(text))


def _variables(program: Program) -> Iterator[Var]:
    """All that a Program itself names, in order."""
    yield from program.inputs
    for var, _ in program.constants:
        yield var
    for equation in program.equations:
        yield from equation.outputs


def _check_same(atoms: Sequence[Any], numbers: Sequence[dict[Var, int]], source: str) -> None:
    """Raise unless atoms of several Programs are the same variable, or the same number."""
    if all(isinstance(a, Literal) for a in atoms):
        same = len({(a.value.dtype, a.value.tobytes()) for a in atoms}) == 1
    else:
        found = [None if isinstance(a, Literal) else n[a] for a, n in zip(atoms, numbers, strict=True)]
        same = len(set(found)) == 1
    if not same:
        text = f"a number in {source or 'the result'} depends on the number of rows"
        raise ExportError(_different(text))


def _different(reason: str) -> str:
    return f"to_onnx: {reason}; give dynamic_batch=False for a model of as many rows as the example"
