"""Plans that run as tapes: the bits of straight-line code on any number of threads, and code that does not grow."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, threads
from fdl.compile import pipeline
from fdl.compile.codegen.hazards import WAITS_FOR, Touched
from fdl.compile.pipeline import Compiled, build_archive
from fdl.compile.profile.profiler import measure
from fdl.core.program import Program
from fdl.core.trace import trace_program
from fdl.core.types import TensorType
from tests.compile.test_team import PROGRAMS
from tests.compile.tuned import tune

STRAIGHT, TAPE = 10**9, 0


@pytest.fixture
def restored_threads() -> Iterator[None]:
    before = threads._chosen
    yield
    threads._chosen = before


def traced(function: Callable[..., Any], arrays: list[np.ndarray]) -> Program:
    return trace_program(function, [TensorType(a.shape, a.dtype) for a in arrays])[0]


def compiled(program: Program, most: int, monkeypatch: Any, donate: tuple[bool, ...] = ()) -> Compiled:
    tune(monkeypatch, tape_steps=most)
    return Compiled(program, donate, build_archive(program, donate))


def module_of(function: Callable[..., Any], arrays: list[np.ndarray], monkeypatch: Any) -> Any:
    """The LLVM module of a function; it is not translated."""
    found: list[Any] = []
    monkeypatch.setattr(pipeline, "compile_object", lambda module, target: b"")
    build_archive(traced(function, arrays), (), watch=lambda emission, plan: found.append(emission))
    return found[0].module


@pytest.mark.parametrize("divided", [False, True], ids=["alone", "divided"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_tape_gives_the_bits_of_straight_code(
    name: str, divided: bool, monkeypatch: Any, restored_threads: None
) -> None:
    function, arrays = PROGRAMS[name]
    if name == "nothing":
        function = lambda x: (x.sum(), x.sum(1), x + 1)  # noqa: E731
    if divided:
        tune(monkeypatch, step_time=1e-9, program_time=0.0)
    program = traced(function, arrays)
    threads.set_num_threads(1)
    expected = [a.tobytes() for a in compiled(program, STRAIGHT, monkeypatch).run(arrays)]
    native = compiled(program, TAPE, monkeypatch)
    for count in (1, 2, 3) if divided else (1,):
        threads.set_num_threads(count)
        assert [a.tobytes() for a in native.run(arrays)] == expected, count


def test_a_tape_overwrites_donated_memory(monkeypatch: Any) -> None:
    x, y = np.arange(5, dtype="f"), np.ones((2, 3), "f")
    program = traced(lambda x, y: (x + 1, y.at[1].set(3)), [x, y])
    native = compiled(program, TAPE, monkeypatch, (True, True))
    given = [x.copy(), y.copy()]
    found = native.run(given)
    assert found[0] is given[0] and found[1] is given[1]
    np.testing.assert_array_equal(found[0], x + 1)
    np.testing.assert_array_equal(found[1], [[1, 1, 1], [3, 3, 3]])


def test_inputs_that_are_no_plain_arrays_are_copied(monkeypatch: Any) -> None:
    """More inputs than are checked one by one: the last of them is a view with gaps."""
    arrays = [np.full(4, n, "f") for n in range(40)]
    native = compiled(traced(lambda *xs: [x + 1 for x in xs], arrays), TAPE, monkeypatch)
    arrays[-1] = np.arange(8, dtype="f")[::2]
    found = native.run(arrays)
    np.testing.assert_array_equal(found[-1], [1, 3, 5, 7])
    np.testing.assert_array_equal(found[7], [8] * 4)


@pytest.mark.parametrize("divided", [False, True], ids=["alone", "divided"])
def test_errors_of_host_calls_leave_tapes_inside_of_tapes(
    divided: bool, monkeypatch: Any, restored_threads: None
) -> None:
    if divided:
        tune(monkeypatch, step_time=1e-9, program_time=0.0)
        threads.set_num_threads(2)

    def refuse(x: np.ndarray) -> np.ndarray:
        if x > 2:
            raise ValueError("more than two")
        return x

    def function(x: Any) -> Any:
        def body(carry: Any, row: Any) -> Any:
            seen = fdl.pure_callback(refuse, fdl.ShapeDtypeStruct((), np.float32), carry.sum())
            return fnp.sin(carry + row) * 0 + seen + 1, fnp.exp(row).sum()

        return lax.scan(body, fnp.zeros(3, "f"), x)

    few, many = np.ones((1, 3), "f"), np.ones((9, 3), "f")
    np.testing.assert_allclose(compiled(traced(function, [few]), TAPE, monkeypatch).run([few])[0], [1, 1, 1])
    with pytest.raises(ValueError, match="more than two"):
        compiled(traced(function, [many]), TAPE, monkeypatch).run([many])


def test_steps_of_a_tape_are_timed_one_by_one(monkeypatch: Any) -> None:
    arrays = [np.full((3, 3), n, "f") for n in range(6)]
    program = traced(lambda *xs: [fnp.tanh(x).sum() + n for n, x in enumerate(xs)], arrays)
    seen = []
    for most in (STRAIGHT, TAPE):
        tune(monkeypatch, tape_steps=most)
        kernels = measure(program, (), arrays).kernels
        seen.append([(k.what, k.calls, k.flops, k.bytes) for k in kernels])
        assert all(k.seconds > 0 for k in kernels)
    assert seen[0] == seen[1]


def gradient(*leaves: Any) -> Any:
    return fdl.grad(lambda vs: sum((v**2).sum() for v in vs))(leaves)


def adam(*leaves: Any) -> list[Any]:
    results = []
    for p, g in zip(leaves[::2], leaves[1::2], strict=True):
        m, v = 0.9 * p + 0.1 * g, 0.999 * p + 0.001 * g**2
        results += [p - 1e-3 * m / (fnp.sqrt(v) + 1e-8), m, v]
    return results


def clip(*leaves: Any) -> list[Any]:
    norm = fnp.sqrt(sum((v**2).sum() for v in leaves))
    return [v * fnp.minimum(1.0, 1.0 / norm) for v in leaves]


def layers(*leaves: Any) -> Any:
    def loss(ws: Any) -> Any:
        x = fnp.ones((4, 4), "f")
        for w in ws:
            x = fnp.tanh(x @ w.reshape(4, 4))
        return x.sum()

    return fdl.grad(loss)(leaves)


def loops(*leaves: Any) -> list[Any]:
    def step(x: Any) -> Any:
        x, _ = lax.scan(lambda c, _: (fnp.sin(c), None), x, None, length=3)
        return lax.cond(x.sum() > 0, lambda x: x * 2, lambda x: x - 1, x)

    return [step(v) for v in leaves]


@pytest.mark.parametrize("function", [gradient, adam, clip, layers, loops])
def test_code_does_not_grow_with_equal_leaves(function: Callable[..., Any], monkeypatch: Any) -> None:
    """The functions of a module and their instructions are those of a program a third as long."""

    def instructions(leaves: int) -> list[int]:
        module = module_of(function, [np.ones(16, "f")] * leaves, monkeypatch)
        return sorted(sum(len(b.instructions) for b in f.blocks) for f in module.functions if not f.is_declaration)

    short, long = instructions(70), instructions(210)
    assert len(long) <= len(short) + 4
    assert sum(long) <= 1.2 * sum(short)
    assert max(long) < 1000


def test_a_long_program_of_different_steps_has_short_functions(monkeypatch: Any) -> None:
    """No two steps are equal here: every step has a function, none of them grows."""

    def function(x: Any) -> list[Any]:
        return [fnp.tanh(fnp.full(n, n, "f") + x).sum() for n in range(1, 200)]

    module = module_of(function, [np.float32(1)], monkeypatch)
    sizes = [sum(len(b.instructions) for b in f.blocks) for f in module.functions if not f.is_declaration]
    assert len(sizes) >= 199
    assert max(sizes) < 1000


def test_touched_memory_is_what_all_pairs_of_accesses_say() -> None:
    """Against the definition, on random accesses: one of the two writes, they are not both thread 0's, they overlap."""
    random = np.random.default_rng(0)
    for _ in range(200):
        touched, before = Touched(), list[tuple[int, int, int]]()
        for _ in range(25):
            start, size, access = random.integers(0, 40), random.integers(1, 12), 1 << random.integers(0, 4)
            here = int(start), int(start + size), int(access)
            expected = any(
                (here[2] in (2, 8) or other[2] in (2, 8))
                and (here[2] >= 4 or other[2] >= 4)
                and (here[0] < other[1] and other[0] < here[1])
                for other in before
            )
            assert touched.conflicts("arena", *here) == expected
            touched.add("arena", *here)
            before.append(here)
    assert not touched.conflicts("input", 0, 1, max(WAITS_FOR))
