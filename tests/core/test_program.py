"""Programs as values: structure, hashing, pickling, printing, checking, running."""

import pickle

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.core.interpret import interpret
from fdl.core.program import Equation, Literal, Program, Var
from fdl.core.types import TensorType
from fdl.core.verify import verify
from fdl.errors import VerificationError
from fdl.ops.arithmetic import add, neg

VECTOR = TensorType((3,), np.dtype(np.float32))


def polynomial(x):
    return fnp.sin(x) * x + np.arange(3.0, dtype=np.float32)


def traced(function=polynomial):
    return fdl.make_program(function)(np.ones(3, np.float32))


def test_a_program_shows_types_and_source_lines():
    text = str(traced())
    assert "program(a:f32[3]) {" in text
    line = polynomial.__code__.co_firstlineno + 1
    assert f"c:f32[3] = sin a  # test_program.py:{line} (polynomial)" in text
    assert text.rstrip().endswith("}")


def test_programs_of_one_structure_are_equal_and_hash_alike():
    assert traced() == traced()
    assert hash(traced()) == hash(traced())


@pytest.mark.parametrize(
    "other",
    [
        lambda x: fnp.cos(x) * x + np.arange(3.0, dtype=np.float32),
        lambda x: fnp.sin(x) * x + np.arange(1.0, 4.0, dtype=np.float32),
        lambda x: x * fnp.sin(x) + np.arange(3.0, dtype=np.float32),
    ],
    ids=["operation", "constant", "order"],
)
def test_any_difference_makes_programs_unequal(other):
    assert traced(other) != traced()


def test_inner_programs_count_for_equality():
    def loop(step):
        return fdl.make_program(lambda x: fdl.lax.fori_loop(0, 3, step, x))(np.ones(3, np.float32))

    assert loop(lambda i, x: fnp.sin(x)) == loop(lambda i, x: fnp.sin(x))
    assert loop(lambda i, x: fnp.sin(x)) != loop(lambda i, x: fnp.cos(x))


def test_pickling_keeps_structure_and_results():
    program = traced()
    again = pickle.loads(pickle.dumps(program))
    x = np.linspace(-1, 1, 3, dtype=np.float32)
    assert again == program
    np.testing.assert_array_equal(interpret(again, [x])[0], interpret(program, [x])[0])


def test_interpret_computes_what_numpy_does():
    x = np.linspace(-1, 1, 3)
    program = fdl.make_program(lambda x: fnp.sin(x) * x)(x)
    np.testing.assert_allclose(interpret(program, [x])[0], np.sin(x) * x, rtol=1e-15)


def test_verify_accepts_what_tracing_makes():
    verify(fdl.make_program(fdl.grad(lambda x: polynomial(x).sum()))(np.ones(3, np.float32)))


def test_verify_refuses_a_value_nothing_made():
    x, y, stray = Var(VECTOR), Var(VECTOR), Var(VECTOR)
    with pytest.raises(VerificationError, match=r"equation 0 \(add, \) uses a f32\[3\] that nothing has made yet"):
        verify(Program((x,), (Equation(add, (x, stray), (y,)),), (y,)))


def test_verify_refuses_a_wrong_result_type():
    x, y = Var(VECTOR), Var(TensorType((4,), np.dtype(np.float32)))
    with pytest.raises(VerificationError, match="equation 0"):
        verify(Program((x,), (Equation(neg, (x,), (y,)),), (y,)))


def test_verify_refuses_a_value_made_twice():
    x, y = Var(VECTOR), Var(VECTOR)
    with pytest.raises(VerificationError, match="exists already"):
        verify(Program((x,), (Equation(neg, (x,), (y,)), Equation(neg, (y,), (y,))), (y,)))


def test_verify_refuses_an_output_nothing_made():
    with pytest.raises(VerificationError, match="returns a f32"):
        verify(Program((), (), (Var(VECTOR),)))


def test_literals_print_their_value_and_dtype():
    assert str(Literal(np.array(2, np.int8))) == "2:i8"


def test_closed_over_arrays_are_shared_constants():
    table = fnp.arange(3.0)
    program = fdl.make_program(lambda x: x * table + table)(np.ones(3, np.float32))
    assert len(program.constants) == 1
