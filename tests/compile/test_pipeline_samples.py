"""Compiled code against the references, on the samples of every primitive."""

import importlib
import pkgutil
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.control
import fdl.ext
import fdl.ops
import fdl.sparse
from fdl.compile import compile_program
from fdl.core.interpret import interpret
from fdl.core.primitive import registry
from fdl.core.program import Equation, Program, Var
from fdl.core.types import TensorType

for package in (fdl.ops, fdl.control, fdl.sparse, fdl.ext):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)

#: Relative error that vector functions, and sums in another order, may have, by the bytes of a real number.
TOLERANCE = {2: 1e-2, 4: 1e-5, 8: 1e-12}


def close(found: np.ndarray, expected: np.ndarray, where: str) -> None:
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), where
    if expected.dtype.kind in "biu" or expected.dtype.names:
        np.testing.assert_array_equal(found, expected, where)
        return
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    tolerance = TOLERANCE[expected.real.dtype.itemsize]
    np.testing.assert_allclose(found.astype(wide), expected.astype(wide), tolerance, tolerance, err_msg=where)


def samples(name: str) -> Any:
    cls = registry[name]
    with np.errstate(all="ignore"):
        for operation, *arrays in cls.samples(object.__new__(cls), np.random.default_rng(0)):
            yield operation, [np.asarray(a) for a in arrays]


@pytest.mark.parametrize("name", sorted(registry))
def test_samples(name: str) -> None:
    """All samples of a primitive in one Program each of inputs that all are operands."""
    equations: list[Equation] = []
    inputs: list[Var] = []
    operands: list[np.ndarray] = []
    wheres: list[str] = []
    for operation, arrays in samples(name):
        if operation.effect:
            continue
        variables = tuple(Var(TensorType(a.shape, a.dtype)) for a in arrays)
        result = operation.result(*(v.type for v in variables))
        outputs = tuple(Var(t) for t in (result if operation.multiple else (result,)))
        equations.append(Equation(operation, variables, outputs))
        inputs += variables
        operands += arrays
        wheres += [f"{operation} of {[str(v.type) for v in variables]}"] * len(outputs)
    if not equations:
        pytest.skip("samples have effects")
    program = Program(tuple(inputs), tuple(equations), tuple(v for e in equations for v in e.outputs))
    found = compile_program(program).run(operands)
    for got, expected, where in zip(found, interpret(program, operands), wheres, strict=True):
        close(got, expected, where)
