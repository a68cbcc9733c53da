"""Operations and Programs are the same after they were JSON, and nothing else is read."""

import json
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.control.data import NoDataError, read_program, write_program
from fdl.core.interpret import interpret
from fdl.core.program import Literal, Program
from fdl.core.trace import trace_program
from fdl.core.types import TensorType
from fdl.errors import ShapeError
from tests.ops.test_laws import CLASSES, HOLD_FUNCTIONS, samples, type_of

#: What `lax.custom_*`, callbacks and numba's functions hold are functions of Python.
FUNCTIONS = {*HOLD_FUNCTIONS, "Callback", "IoCallback", "Effect"}
#: `inline` puts the Program in its place before anything is written.
INLINED = "_Keep"
WRITTEN = [name for name in CLASSES if name not in {*FUNCTIONS, INLINED}]
BROKEN = (NoDataError, ValueError, LookupError, TypeError, AttributeError, OverflowError)


def programs(name: str) -> list[Program]:
    found = []
    for operation, operands in samples(name):
        types = [type_of(x) for x in operands]

        def apply(*values: Any, operation: Any = operation) -> Any:
            out = operation(*values)
            return out if operation.multiple else [out]

        found.append(trace_program(apply, types)[0])
    return found


@pytest.mark.parametrize("name", WRITTEN)
def test_every_operation_is_the_same_after_it_was_json(name: str) -> None:
    for program in programs(name):
        constants: list[np.ndarray] = []
        data = json.loads(json.dumps(write_program(program, constants), allow_nan=False))
        again = read_program(data, constants)
        assert again == program
        assert str(again) == str(program)


@pytest.mark.parametrize("name", sorted(FUNCTIONS & set(CLASSES)))
def test_functions_of_python_are_no_data(name: str) -> None:
    for program in programs(name):
        with pytest.raises(NoDataError, match="is no data"):
            write_program(program, [])


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "bfloat16", "float32", "float64"])
def test_literals_keep_their_bits(dtype: str) -> None:
    kind = fnp.dtype(dtype)
    numbers = [0, 1, 100] if kind.kind in "biu" else [0.0, -0.0, 0.1, 1e-40, 65504.0, np.inf, -np.inf, np.nan]
    for number in numbers:
        literal = Literal(np.array(number).astype(kind))
        program = Program((), (), (literal,))
        (found,) = read_program(json.loads(json.dumps(write_program(program, []), allow_nan=False)), []).outputs
        assert isinstance(found, Literal)
        assert found.value.dtype == kind
        np.testing.assert_array_equal(found.value.astype(float), literal.value.astype(float))
        if kind.kind == "f":
            assert np.signbit(found.value) == np.signbit(literal.value)


def mutated(data: Any, rng: np.random.Generator) -> Any:
    """The JSON with one of its numbers changed."""
    places: list[tuple[Any, Any]] = []

    def find(node: Any) -> None:
        for place, value in node.items() if isinstance(node, dict) else enumerate(node):
            if isinstance(value, list | dict):
                find(value)
            elif type(value) in (int, float, bool):
                places.append((node, place))

    data = json.loads(json.dumps(data))
    find([data["equations"], data["outputs"]])
    if places:
        node, place = places[rng.integers(len(places))]
        node[place] = [-1, 0, 1, 2, 3, 7, True, "1", None, [1], -5, 2.5][rng.integers(12)]
    return data


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_read_computes_what_it_says(name: str) -> None:
    """However a number in a file was changed: either it is refused, or the Program makes arrays of its types."""
    rng = np.random.default_rng(0)
    for program in programs(name)[:3]:
        constants: list[np.ndarray] = []
        data = write_program(program, constants)
        operands = [np.ones(type.shape, type.dtype) for type in program.input_types]
        for _ in range(12):
            changed = mutated(data, rng)
            try:
                read = read_program(changed, constants)
            except BROKEN:
                continue
            if all(type.size < 10_000 for e in read.equations for type in (v.type for v in e.outputs)):
                try:
                    found = interpret(read, operands)
                except ShapeError:  # windows of no place: padding that cuts off more than there is
                    continue
                assert [TensorType(x.shape, x.dtype) for x in found] == list(read.output_types), changed


def test_a_program_that_reads_what_is_not_there_is_refused() -> None:
    program = fdl.make_program(lambda x: fnp.sin(x) * x)(fnp.ones(3))
    for change, said in (
        (lambda d: d["equations"][1][1].__setitem__(0, 5), "no number 5"),
        (lambda d: d["equations"][1][1].__setitem__(0, -1), "no number -1"),
        (lambda d: d["equations"][0][0].__setitem__(0, "Shell"), "no operation Shell"),
        (lambda d: d["equations"][0][0].append(1), "0 parameters, not 1"),
        (lambda d: d["equations"][1][1].append(0), "equation 1"),
        (lambda d: d["inputs"][0][0].__setitem__(0, -3), "no shape"),
    ):
        data = json.loads(json.dumps(write_program(program, [])))
        change(data)
        with pytest.raises(NoDataError, match=said):
            read_program(data, [])
