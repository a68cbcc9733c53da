"""Nodes, initializers and names of an ONNX graph that is being written."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np

from fdl.core.program import Literal, Program, Var
from fdl.interop.onnx_export.extents import AlignedProgram, Extent, Extents, Growing
from fdl.interop.onnx_graph import DTYPES

NUMBERS = {dtype: number for number, dtype in DTYPES.items()}


class Unsupported(Exception):
    """ONNX, or the table, has no nodes for an operation as it stands."""


class Shared:
    """What the graph of a model and those inside of its nodes have in common.

    Attributes:
        traced: what is written.
        initializers: arrays by name.
        rows: the name of the number of rows, a vector of one, or "".
        reads_rows: whether a node reads it.
        missing: where operations stand that have no nodes, by their names.
    """

    def __init__(self, traced: AlignedProgram) -> None:
        self.traced = traced
        self.initializers: dict[str, np.ndarray] = {}
        self.rows = ""
        self.reads_rows = False
        self.missing: dict[str, list[str]] = {}
        self.taken: set[str] = set()
        self._known: dict[tuple[Any, ...], str] = {}
        self._counts: dict[str, count] = {}

    def fresh(self, name: str) -> str:
        """A name that no other value has."""
        if name not in self.taken:
            self.taken.add(name)
            return name
        counter = self._counts.setdefault(name, count(1))
        return self.fresh(f"{name}_{next(counter)}")

    def constant(self, value: Any, name: str = "constant") -> str:
        """The name of an initializer; equal small ones are one."""
        array = np.asarray(value)
        key = (array.dtype, array.shape, array.tobytes()) if array.size <= 1024 else (id(value),)
        if key not in self._known:
            self._known[key] = self.fresh(name)
            self.initializers[self._known[key]] = array
        return self._known[key]


class Writer:
    """One graph. Values that only repeat a smaller array are kept as that one until something needs all of them."""

    def __init__(self, shared: Shared) -> None:
        import onnx

        self.helper = onnx.helper
        self.shared = shared
        self.nodes: list[Any] = []
        self.names: dict[Var, str] = {}
        self.repeated: dict[Var, tuple[str, Extents]] = {}
        self._extents: dict[Extents, str] = {}

    def node(self, operator: str, inputs: Iterable[str], **attributes: Any) -> str:
        """Append a node of one result; its name."""
        return self.several(operator, inputs, 1, **attributes)[0]

    def several(self, operator: str, inputs: Iterable[str], results: int, **attributes: Any) -> list[str]:
        """Append a node; the names of its results."""
        names = [self.shared.fresh(operator.lower()) for _ in range(results)]
        self.nodes.append(self.helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def constant(self, value: Any, dtype: Any = None) -> str:
        """The name of a constant."""
        return self.shared.constant(np.asarray(value, dtype))

    def integers(self, values: Sequence[int]) -> str:
        """The name of a constant vector of 64-bit integers, as operands that are shapes and axes have to be."""
        return self.constant(list(values), np.int64)

    def vector(self, extents: Extents) -> str:
        """The name of a vector of extents, computed from the number of rows where they depend on it."""
        if all(isinstance(n, int) for n in extents):
            return self.integers(extents)  # type: ignore[arg-type]  # all are integers
        if extents not in self._extents:
            parts = [self._extent(n) for n in extents]
            self._extents[extents] = parts[0] if len(parts) == 1 else self.node("Concat", parts, axis=0)
        return self._extents[extents]

    def _extent(self, extent: Extent) -> str:
        if not isinstance(extent, Growing):
            return self.integers([extent])
        name, self.shared.reads_rows = self.shared.rows, True
        if extent.factor != 1:
            name = self.node("Mul", [name, self.integers([extent.factor])])
        return self.node("Add", [name, self.integers([extent.offset])]) if extent.offset else name

    def reshape(self, name: str, extents: Extents) -> str:
        """An array under another shape; one extent that grows is left to ONNX."""
        growing = [n for n in extents if isinstance(n, Growing)]
        if len(growing) == 1 and 0 not in extents:
            return self.node("Reshape", [name, self.integers([n if isinstance(n, int) else -1 for n in extents])])
        allowed = {"allowzero": 1} if 0 in extents else {}
        return self.node("Reshape", [name, self.vector(extents)], **allowed)

    def transpose(self, name: str, axes: Sequence[int]) -> str:
        """An array with its axes in another order."""
        return name if list(axes) == list(range(len(axes))) else self.node("Transpose", [name], perm=list(axes))

    def cast(self, name: str, dtype: Any) -> str:
        """An array in another dtype."""
        return self.node("Cast", [name], to=number_of(np.dtype(dtype)))

    def read(self, atom: Any) -> str:
        """The name of a value, all of it."""
        if isinstance(atom, Literal):
            return self.constant(atom.value)
        if atom not in self.names:
            name, _ = self.repeated[atom]
            self.names[atom] = self.node("Expand", [name, self.vector(self.shared.traced.of(atom))])
        return self.names[atom]

    def small(self, atom: Any) -> tuple[str, Extents]:
        """The name of a value, or of one that it repeats along axes, and the shape of that."""
        if isinstance(atom, Var) and atom in self.repeated:
            return self.repeated[atom]
        return self.read(atom), self.shared.traced.of(atom)

    def enter(self, program: Program, inputs: Sequence[str]) -> None:
        """Give names to the inputs and constants of a Program."""
        for var in (
            *program.inputs,
            *[v for v, _ in program.constants],
            *[o for e in program.equations for o in e.outputs],
        ):
            self.names.pop(var, None)  # the same Program may be written several times
            self.repeated.pop(var, None)
        self.names.update(zip(program.inputs, inputs, strict=True))
        self.names.update({var: self.shared.constant(value) for var, value in program.constants})

    def info(self, name: str, dtype: np.dtype, extents: Extents, rows: str = "") -> Any:
        """The type of a value, as a graph states it of inputs and outputs."""
        shape = [n if isinstance(n, int) else rows if rows and n == Growing(1) else None for n in extents]
        return self.helper.make_tensor_value_info(name, number_of(dtype), shape)


def number_of(dtype: np.dtype) -> int:
    """ONNX's number of a dtype.

    Raises:
        Unsupported: it has none.
    """
    if dtype not in NUMBERS:
        raise Unsupported(f"dtype {dtype}")
    return NUMBERS[dtype]


class WrittenEquation:
    """An equation as the function that writes it sees it.

    Attributes:
        w: the graph.
        inputs, outputs: types of operands and results.
        p: the parameters of the operation, by name; extents may be `Growing`.
    """

    def __init__(self, w: Writer, equation: Any, p: Mapping[str, Any]) -> None:
        self.w, self.equation, self.p = w, equation, p
        self.inputs = [a.type for a in equation.inputs]
        self.outputs = [v.type for v in equation.outputs]

    def name(self, number: int = 0) -> str:
        """The name of an operand."""
        return self.w.read(self.equation.inputs[number])

    def names(self) -> list[str]:
        """The names of all operands."""
        return [self.w.read(a) for a in self.equation.inputs]

    def extents(self, number: int = 0) -> Extents:
        """The shape of an operand."""
        return self.w.shared.traced.of(self.equation.inputs[number])

    def result(self, number: int = 0) -> Extents:
        """The shape of a result."""
        return self.w.shared.traced.of(self.equation.outputs[number])

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the first operand."""
        return self.inputs[0].dtype
