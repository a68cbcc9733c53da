"""A Program as Python code that calls NumPy: the references of its operations, without what leads to them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fdl import tree
from fdl.array import Array, eager
from fdl.core.interpret import calls_numpy_alone, evaluate, quiet
from fdl.core.operation import Operation
from fdl.core.program import Atom, Equation, Literal, Program, subprograms

#: Bytes of a result that is kept, instead of the operations that compute it.
SMALL = 1 << 12

#: The structure of a result that is one array.
LEAF = tree.flatten(0)[1]


def draws(operation: Operation) -> bool:
    """Whether an operation makes random bits: a hundred calls of NumPy, where native code is worth a compilation."""
    return operation.lowering_kind == "random" and operation.exact


def _compiled(operation: Operation) -> Callable[..., Any]:
    """An operation on NumPy arrays as native code."""

    def run(*arrays: np.ndarray) -> Any:
        results = eager.run_compiled(operation, arrays)  # type: ignore[misc]
        return results if operation.multiple else results[0]

    return run


def _of_memory(native: Callable[..., tuple[Array, ...]]) -> Callable[..., np.ndarray]:
    """Machine code that makes one Array, as a function that returns its memory."""
    return lambda *arrays: native(*arrays)[0]._data


def is_plain(equation: Equation) -> bool:
    """Whether eager calls of an operation run its reference, which calls NumPy and nothing of fdl."""
    operation = equation.operation
    alone = calls_numpy_alone(type(operation).__module__)
    return alone and not operation.compile_eagerly and not any(subprograms(operation))


class NumPyCode:
    """A Program as Python code that calls NumPy. Arguments are a0, a1, ..., what is computed is v0, v1, ..., what is
    known beforehand c0, c1, ..., and references of operations are f0, f1, ..."""

    def __init__(self, program: Program) -> None:
        self.program = program
        operations = [equation.operation for equation in program.equations]
        self.moved = all(operation.lowering_kind == "move" for operation in operations)  # which raises no warning
        self.single = len(operations) == 1
        self.scope: dict[str, Any] = {"Array": Array, "ndarray": np.ndarray, "asarray": np.asarray, "quiet": quiet}
        self.lines: list[str] = []
        self.names: dict[Any, str] = {var: f"a{number}" for number, var in enumerate(program.inputs)}
        self.known: dict[Any, np.ndarray] = dict(program.constants)
        self.narrow: dict[Any, tuple[str, str]] = {}  # what is repeated: the name of what it is made of, and its line
        for equation in program.equations:
            self.add(equation)
        for atom in program.outputs:
            self.name(atom)

    def add(self, equation: Equation) -> None:
        """The lines of one operation; small results that no argument decides are computed at once."""
        operation, operands = equation.operation, [self.numbers(atom) for atom in equation.inputs]
        known = [value for value in operands if value is not None]
        native = eager.native(operation, *[atom.type for atom in equation.inputs])
        if len(known) == len(operands):
            made = evaluate(operation, known) if native is None else native(*known)
            results = [np.asarray(value.concrete() if type(value) is Array else value) for value in made]
            if sum(value.nbytes for value in results) <= SMALL:
                self.known.update(zip(equation.outputs, results, strict=True))
                return
        names = [f"v{len(self.names) + number}" for number in range(len(equation.outputs))]
        types = [atom.type for atom in equation.inputs]
        function = _compiled(operation) if draws(operation) else operation.reference_for(*types)
        given = self.operands(equation.inputs, native is None and isinstance(function, np.ufunc))
        reference = self.constant("f", function if native is None else _of_memory(native))
        self.names.update(zip(equation.outputs, names, strict=True))
        line = f"{', '.join(names)}{',' * operation.multiple} = {self.call(reference, given)}"
        if native is None and operation.repeats and not self.single:
            self.narrow[equation.outputs[0]] = given, line
            return
        self.lines.append(line)
        for name in names:
            self.lines.append(f"if type({name}) is not ndarray: {name} = asarray({name})")

    def operands(self, atoms: Sequence[Atom], repeats: bool) -> str:
        """Names of operands, of which the function `repeats` the narrow ones if another one is not narrow."""
        if repeats and any(atom not in self.narrow for atom in atoms if self.numbers(atom) is None):
            return ", ".join([self.narrow[atom][0] if atom in self.narrow else self.name(atom) for atom in atoms])
        return ", ".join([self.name(atom) for atom in atoms])

    def call(self, function: str, operands: str) -> str:
        """A call of a reference; of the only one without a function around it that takes the warnings away."""
        return f"quiet.run({function}, {operands})" if self.single and not self.moved else f"{function}({operands})"

    def numbers(self, atom: Atom) -> np.ndarray | None:
        """The numbers of what is known beforehand."""
        return atom.value if isinstance(atom, Literal) else self.known.get(atom)

    def name(self, atom: Atom) -> str:
        value = self.numbers(atom)
        if atom in self.narrow:
            self.lines.append(self.narrow.pop(atom)[1])
        return self.names[atom] if value is None else self.constant("c", value)

    def constant(self, letter: str, value: Any) -> str:
        name = f"{letter}{len(self.scope)}"
        self.scope[name] = value
        return name

    def results(self) -> list[str]:
        """Expressions for the results; what is known is copied, since who has a result may give its memory away."""
        kept = [self.numbers(atom) is not None for atom in self.program.outputs]
        return [self.name(atom) + ".copy()" * k for atom, k in zip(self.program.outputs, kept, strict=True)]

    def of_arrays(self) -> Callable[..., tuple[np.ndarray, ...]]:
        """The function from NumPy arrays to a tuple of them."""
        given = [f"a{number}" for number in range(len(self.program.inputs))]
        return self.made(given, [*self.computed(given), f"return ({''.join([f'{r}, ' for r in self.results()])})"])

    def function(self, structure: Any) -> Callable[..., Any]:
        """The function of Arrays; what it returns has the given structure."""
        given = [f"a{number}" for number in range(len(self.program.inputs))]
        results = [f"Array({result})" for result in self.results()]
        self.scope["whole"] = functools.partial(tree.unflatten, structure)
        whole = results[0] if structure == LEAF else f"whole([{', '.join(results)}])"
        memory = [f"{name} = {name}._data" for name in given]
        return self.made(given, [*memory, *self.computed(given), f"return {whole}"])

    def computed(self, given: Sequence[str]) -> list[str]:
        """Lines that compute all values, without NumPy's warnings."""
        if self.moved or self.single:
            return self.lines
        results = [self.names[atom] for atom in self.program.outputs if self.numbers(atom) is None]
        names = ", ".join(dict.fromkeys([name for name in results if name not in given]))
        if not names:
            return []
        self.made(given, [*self.lines, f"return {names}"], "steps")
        return [f"{names} = quiet.run(steps, {', '.join(given)})"]

    def made(self, given: Sequence[str], lines: Sequence[str], name: str = "call") -> Callable[..., Any]:
        """A function of the names `given` that consists of some lines."""
        exec("\n    ".join([f"def {name}({', '.join(given)}):", *lines]), self.scope)
        found: Callable[..., Any] = self.scope[name]
        return found
