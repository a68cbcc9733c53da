"""Laws of the transforms on Programs: what each means, and that they commute, nest and undo each other.

That every primitive obeys them is held by `tests/ops/test_laws.py`, on the samples of each.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.array import as_array
from fdl.core.interpret import interpret
from fdl.core.operation import Operation
from fdl.core.primitive import Linear
from fdl.core.program import Program, subprograms
from fdl.core.trace import trace_program
from fdl.core.types import TensorType
from fdl.core.verify import verify
from fdl.errors import DifferentiationError
from fdl.ops.indexing import Gather
from fdl.transforms.batch import batch_program
from fdl.transforms.forward import jvp_program, jvp_values
from fdl.transforms.inline import inline
from fdl.transforms.linearize import linearize_values, partial_eval_program
from fdl.transforms.transpose import backward, transpose_program

N = 3
VECTOR = TensorType((N,), np.dtype(np.float64))


@fdl.custom_jvp
def softplus(x: Any) -> Any:
    return fnp.log1p(fnp.exp(x))


softplus.defjvp(lambda p, t: (softplus(*p), t[0] / (1 + fnp.exp(-p[0]))))


def scanned(x: Any, y: Any) -> list[Any]:
    last, each = lax.scan(lambda c, v: (fnp.sin(c * v) + y[0], c * v), x.sum(), y)
    return [each, last * x]


FUNCTIONS: dict[str, Callable[[Any, Any], list[Any]]] = {
    "elementwise": lambda x, y: [fnp.sin(x) * fnp.exp(y), x / (2 + y * y)],
    "products": lambda x, y: [fnp.outer(x, y) @ x, x @ y],
    "unused and passed on": lambda x, y: [x, fnp.cos(x)],
    "reductions": lambda x, y: [fnp.cumsum(x * y), fnp.max(x) * fnp.prod(y)],
    "places": lambda x, y: [x[fnp.array([2, 0, 2])] * y, fnp.sort(x).at[1].add(y[2])],
    "a call": lambda x, y: [fdl.jit(lambda a: fnp.tanh(a) * y)(x * y)],
    "a branch": lambda x, y: [lax.cond(x[0] > y[0], lambda a: fnp.sin(a) * y, lambda a: a * a, x)],
    "a loop": scanned,
    "a checkpoint": lambda x, y: [fdl.checkpoint(lambda a: fnp.exp(fnp.sin(a)) * y)(x)],
    "a rule": lambda x, y: [softplus(x) * y],
}


def program_of(name: str) -> Program:
    program, captured = trace_program(lambda x, y: FUNCTIONS[name](x, y), [VECTOR, VECTOR])
    assert not captured
    return program


def operands(count: int = 2) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [rng.normal(size=N) for _ in range(count)]


def agree(found: Sequence[Any], expected: Sequence[Any]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), 1e-12, 1e-12)


def jvp(name: str, arrays: Sequence[np.ndarray], tangents: Sequence[np.ndarray]) -> tuple[list[Any], list[Any]]:
    """Values and tangents, zeros where there are none."""
    outs, dots = jvp_values(lambda *xs: FUNCTIONS[name](*xs), arrays, [as_array(t) for t in tangents])
    return outs, [np.zeros(o.type.shape) if d is None else d for o, d in zip(outs, dots, strict=True)]


def linear_program(name: str, arrays: Sequence[np.ndarray]) -> tuple[Program, list[np.ndarray]]:
    """The derivative at a point: from residuals and both tangents to the tangents of all outputs; and the residuals."""
    _, program, residuals, has = linearize_values(
        lambda *xs: FUNCTIONS[name](*xs), [as_array(a) for a in arrays], [True, True]
    )
    assert all(has)
    return program, [r.concrete() for r in residuals]


every = pytest.mark.parametrize("name", FUNCTIONS)


@every
def test_jvp_is_the_limit_of_differences(name: str) -> None:
    arrays, (dx, dy) = operands(), operands(4)[2:]
    h = 1e-6
    ahead, behind = (interpret(program_of(name), [arrays[0] + s * dx, arrays[1] + s * dy]) for s in (h, -h))
    for dot, a, b in zip(jvp(name, arrays, (dx, dy))[1], ahead, behind, strict=True):
        np.testing.assert_allclose(np.asarray(dot), (a - b) / (2 * h), 1e-7, 1e-7)


@every
def test_jvp_of_a_program_is_that_of_the_function(name: str) -> None:
    arrays, tangents = operands(), operands(4)[2:]
    outs, dots = jvp(name, arrays, tangents)
    program, has = jvp_program(program_of(name), (True, True), (True,) * len(outs))
    verify(program)
    assert all(has)
    agree(interpret(program, [*arrays, *tangents]), [*outs, *dots])


@every
def test_linearize_is_jvp(name: str) -> None:
    arrays, tangents = operands(), operands(4)[2:]
    program, residuals = linear_program(name, arrays)
    verify(program)
    agree(interpret(program, [*residuals, *tangents]), jvp(name, arrays, tangents)[1])


@every
def test_partial_evaluation_is_evaluation_in_two_steps(name: str) -> None:
    program, arrays = program_of(name), operands()
    whole = interpret(program, arrays)
    for unknown in product((False, True), repeat=2):
        known, rest, out_unknown, types = partial_eval_program(program, unknown, (False,) * len(whole))
        verify(known)
        verify(rest)
        outs = interpret(known, [a for a, u in zip(arrays, unknown, strict=True) if not u])
        residuals = outs[len(outs) - len(types) :]
        first = iter(outs)
        second = iter(interpret(rest, [a for a, u in zip(arrays, unknown, strict=True) if u] + residuals))
        agree([next(second if u else first) for u in out_unknown], whole)
        assert any(unknown) or not any(out_unknown)


@every
def test_transposition_passes_the_dot_product_test(name: str) -> None:
    arrays, tangents = operands(), operands(4)[2:]
    program, residuals = linear_program(name, arrays)
    dots = interpret(program, [*residuals, *tangents])
    rng = np.random.default_rng(3)
    cotangents = [rng.normal(size=d.shape) for d in dots]
    arguments = [*map(as_array, residuals), Linear(VECTOR), Linear(VECTOR)]
    pulled = backward(program, arguments, [as_array(c) for c in cotangents])[len(residuals) :]
    left = sum(np.sum(np.asarray(p) * t) for p, t in zip(pulled, tangents, strict=True) if p is not None)
    np.testing.assert_allclose(left, sum(np.sum(c * d) for c, d in zip(cotangents, dots, strict=True)), 1e-12, 1e-12)


@every
def test_transposing_twice_is_the_identity(name: str) -> None:
    arrays, tangents = operands(), operands(4)[2:]
    program, residuals = linear_program(name, arrays)
    count, outs = len(residuals), len(program.outputs)
    once, has = transpose_program(program, (False,) * count + (True,) * 2, (True,) * outs, True)
    assert all(has)
    twice, has = transpose_program(once, (False,) * count + (True,) * outs, (True,) * 2, True)
    assert all(has)
    for transposed in (once, twice):
        verify(transposed)
    agree(interpret(twice, [*residuals, *tangents]), interpret(program, [*residuals, *tangents]))


@every
def test_batching_is_a_loop(name: str) -> None:
    program, size = program_of(name), 4
    rng = np.random.default_rng(5)
    stacks = [rng.normal(size=(size, N)) for _ in range(2)]
    for batched in ((True, True), (True, False), (False, True)):
        result, flags = batch_program(program, size, batched, (True,) * len(program.outputs))
        verify(result)
        assert all(flags)
        loop = [
            interpret(program, [s[i] if b else s[0] for s, b in zip(stacks, batched, strict=True)]) for i in range(size)
        ]
        found = interpret(result, [s if b else s[0] for s, b in zip(stacks, batched, strict=True)])
        agree(found, [np.stack(each) for each in zip(*loop, strict=True)])


@every
def test_batching_twice_is_two_loops(name: str) -> None:
    program = program_of(name)
    every = (True,) * len(program.outputs)
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(2, 4, N)), rng.normal(size=(4, N))
    inner, _ = batch_program(program, 4, (True, True), every)
    outer, _ = batch_program(inner, 2, (True, False), every)
    verify(outer)
    loops = [[interpret(program, [x[i, j], y[j]]) for j in range(4)] for i in range(2)]
    expected = [np.array([[one[n] for one in row] for row in loops]) for n in range(len(every))]
    agree(interpret(outer, [x, y]), expected)


@every
def test_batching_and_differentiation_commute(name: str) -> None:
    program, size = program_of(name), 2
    every = (True,) * len(program.outputs)
    rng = np.random.default_rng(8)
    arrays = [rng.normal(size=(size, N)) for _ in range(4)]
    derivative, _ = jvp_program(program, (True, True), every)
    one, _ = batch_program(derivative, size, (True,) * 4, every * 2)
    batched, _ = batch_program(program, size, (True, True), every)
    other, _ = jvp_program(batched, (True, True), every)
    agree(interpret(one, arrays), interpret(other, arrays))


def all_equations(program: Program) -> Iterator[Any]:
    for equation in program.equations:
        yield equation
        for inner in subprograms(equation.operation):
            yield from all_equations(inner)


@every
def test_inlining_leaves_the_meaning_and_no_calls(name: str) -> None:
    program = program_of(name)
    found = inline(program)
    verify(found)
    assert all(equation.operation.inlined is None for equation in all_equations(found))
    agree(interpret(found, operands()), interpret(program, operands()))


def test_what_is_inlined_twice_gets_constants_and_scopes_of_its_own() -> None:
    table = np.arange(3.0)
    block = fdl.checkpoint(lambda a: fnp.sin(a) * table)
    program, _ = trace_program(lambda x: [block(block(x))], [VECTOR])
    found = inline(program)
    verify(found)
    scopes = [e.scope for e in found.equations if e.operation.name == "sin"]  # type: ignore[attr-defined]
    assert len(set(scopes)) == 2 and 0 not in scopes
    assert len({var for var, _ in found.constants}) == len(found.constants) == 2


def test_only_linear_programs_are_transposed() -> None:
    program, _ = trace_program(lambda x: [x * x], [VECTOR])
    with pytest.raises(DifferentiationError, match=r"mul at .*test_laws.py.* is not linear in its first and second"):
        backward(program, [Linear(VECTOR)], [as_array(np.ones(N))])


class Counted(Linear):
    """An operand whose cotangent counts the reads of it, as a form of its own that adds up."""

    def cotangent_through(self, operation: Operation, cotangents: Sequence[Any], operands: Sequence[Any]) -> Any:
        return Reads(1) if isinstance(operation, Gather) else None


class Reads:
    def __init__(self, count: int) -> None:
        self.count = count

    def __add__(self, other: Any) -> Any:
        return Reads(self.count + other.count) if isinstance(other, Reads) else other + self.count

    __radd__ = __add__


def test_an_operand_may_make_its_cotangents_itself() -> None:
    """Not in place of a rule, but where it knows better; what it makes is added to arrays as it says."""
    places = np.array([0, 2])
    twice, _ = trace_program(lambda x: [x[places] + x[places[::-1]]], [VECTOR])
    ones = as_array(np.ones(2))
    (found,) = backward(twice, [Counted(VECTOR)], [ones])
    assert found.count == 2
    mixed, _ = trace_program(lambda x: [x[places] * 3.0, 2.0 * x], [VECTOR])
    (found,) = backward(mixed, [Counted(VECTOR)], [ones, as_array(np.full(N, 5.0))])
    np.testing.assert_array_equal(np.asarray(found), np.full(N, 11.0))
    (plain,) = backward(twice, [Linear(VECTOR)], [ones])
    np.testing.assert_array_equal(np.asarray(plain), [2.0, 0.0, 2.0])


def test_a_branch_by_what_is_transposed_is_named() -> None:
    """Also where partial evaluation comes first, to which the index of the branch is unknown."""
    block = fdl.checkpoint(lambda x: lax.cond(x[0] > 0, lambda a: 2 * a, lambda a: 3 * a, x))
    with pytest.raises(DifferentiationError, match=r"cond at .*test_laws.py.* is not linear in its first operand"):
        fdl.linear_transpose(block, np.ones(N))(np.ones(N))
