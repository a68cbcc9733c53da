"""A pass of the compiler that fails costs time, never a result: the ladder of attempts, and what the user is told."""

import itertools
import os
import pickle
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.compile import fallback, pipeline
from fdl.compile.codegen import emit, tape
from fdl.compile.codegen import plan as plan_code
from fdl.compile.fallback import NATIVE, OPTIONAL
from fdl.compile.kernels.control import CondLowering, ScanLowering, WhileLowering
from fdl.compile.kernels.copies import CopyLowering
from fdl.compile.kernels.sort import SortLowering
from fdl.compile.lowerings.elementwise import is_lowerable
from fdl.compile.lowerings.lowering import lowerings
from fdl.compile.passes import order as passes
from fdl.compile.runtime.cache import ObjectCache
from fdl.compile.schedule import buffers, planner
from fdl.core.interpret import interpret
from fdl.core.program import Program
from fdl.errors import CompilerError, CompilerWarning, DtypeError, PlatformError
from fdl.ops.sigmoid import Tanh
from tests.compile.tuned import tune

EXCEPTIONS = (
    AssertionError, IndexError, KeyError, AttributeError, TypeError, ValueError, ZeroDivisionError, RuntimeError,
    NotImplementedError, RecursionError, StopIteration, OverflowError, DtypeError, UnicodeDecodeError, OSError,
)  # fmt: skip


@pytest.fixture(autouse=True)
def as_users_have_it(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fallbacks are allowed, nothing is in a cache yet and nothing has been warned of."""
    monkeypatch.setattr(fdl.config, "debug_compiler", False)
    monkeypatch.setattr(pipeline, "default_cache", lambda: ObjectCache(None))
    fallback._warned.clear()
    pipeline._compile.cache_clear()
    pipeline._single.cache_clear()
    yield
    pipeline._compile.cache_clear()
    pipeline._single.cache_clear()


def failing(error: type[BaseException] = IndexError, after: int = 0) -> Callable[..., Any]:
    """A function that fails when it has been called `after` times; until then it returns its first argument."""
    calls = itertools.count()

    def fail(*args: Any, **kwargs: Any) -> Any:
        if next(calls) >= after:
            raise UnicodeDecodeError("utf-8", b"", 0, 1, "test") if error is UnicodeDecodeError else error("injected")
        return args[0]

    return fail


def inject(monkeypatch: pytest.MonkeyPatch, name: str, fail: Callable[..., Any]) -> None:
    """Let a pass fail whenever it runs."""

    def replaced(table: Any) -> Any:
        return [(n, fail if n == name else run) for n, run in table]

    match name:
        case "fuse":
            monkeypatch.setattr(planner, "Schedule", fail)
        case "epilogues":
            monkeypatch.setattr(plan_code, "EpilogueEmitter", fail)
        case "reuse":
            original = buffers.Placement.plan

            def plan(self: Any) -> Any:
                return original(fail(self) if self.reuses else self)

            monkeypatch.setattr(buffers.Placement, "plan", plan)
        case "threads":
            monkeypatch.setattr(emit, "worth_threads", fail)
        case "kernels":
            for lowering in lowerings():
                if not isinstance(lowering, CopyLowering):
                    monkeypatch.setattr(type(lowering), "emit", fail)
        case "tape":
            tune(monkeypatch, tape_steps=0)
            monkeypatch.setattr(tape.Tape, "fill", fail)
        case "loops":
            monkeypatch.setattr(Tanh, "lower", fail)
            is_lowerable.cache_clear()
        case "control":
            for kind in (CondLowering, ScanLowering, WhileLowering):
                monkeypatch.setattr(kind, "emit", fail)
        case _:
            monkeypatch.setattr(passes, "PASSES", replaced(passes.PASSES))
            monkeypatch.setattr(planner, "SCHEDULING", replaced(planner.SCHEDULING))


def step(weights: Any, x: Any, key: Any) -> Any:
    """Something for every pass: products with activations, sums over rows, a loop, branches, a sort, random numbers."""

    def cell(carry: Any, row: Any) -> Any:
        carry = fnp.tanh(row @ weights + carry)
        return carry, carry.sum()

    last, sums = fdl.lax.scan(cell, fnp.zeros(weights.shape[1], x.dtype), x)
    hidden = fnp.tanh(x @ weights + last)
    noisy = fdl.nn.softmax(hidden) + fdl.random.uniform(key, hidden.shape)
    count = fdl.lax.while_loop(lambda n: n < 3.0 + sums[0], lambda n: n + 1.5, sums[1] * 0)
    chosen = fdl.lax.cond(sums[0] > 0, lambda v: fnp.sort(v, 0), lambda v: fnp.tanh(v), noisy)
    image = fdl.lax.conv(hidden[None, None], weights[None, None, :2, :2], (1, 1), "SAME")
    return chosen, count, (fnp.tanh(image) + 1.0).sum((2, 3)), fdl.random.split(key, 2), hidden.T, fnp.exp(x.T @ x), x


def jitted(function: Callable[..., Any] = step, **options: Any) -> Any:
    """A jitted function that has not been traced before."""
    return fdl.jit(lambda *args: function(*args), **options)


def arguments() -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(6, 5)).astype("f4"), rng.normal(size=(4, 6)).astype("f4"), fdl.random.key(7)


def close(found: Any, expected: Any) -> None:
    found, expected = fdl.tree.leaves(found), fdl.tree.leaves(expected)
    assert [(f.shape, f.dtype) for f in found] == [(e.shape, e.dtype) for e in expected]
    for f, e in zip(found, expected, strict=True):
        f, e = np.asarray(f), np.asarray(e)
        if e.dtype.kind == "f":
            np.testing.assert_allclose(f, e, 1e-5, 1e-6)
        else:
            np.testing.assert_array_equal(f, e)


@pytest.fixture(scope="module")
def expected() -> Any:
    leaves, structure = fdl.tree.flatten(arguments())
    program, shape = fdl.make_program(step, return_shape=True)(*arguments())
    del structure
    outs = interpret(program, [np.asarray(leaf) for leaf in leaves])
    return fdl.tree.unflatten(fdl.tree.structure(shape), outs)


@pytest.mark.parametrize(
    ("name", "error"), [*zip((*OPTIONAL, *NATIVE), itertools.cycle(EXCEPTIONS)), ("hoist", StopIteration)]
)
def test_pass_that_fails_is_left_out(name: str, error: Any, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inject(monkeypatch, name, failing(error))
    with pytest.warns(CompilerWarning, match=rf"in its pass '{name}'.* without the pass '{name}'") as seen:
        found = jitted()(*arguments())
    assert len(seen) == 1
    close(found, expected)


@pytest.mark.parametrize("error", EXCEPTIONS)
def test_any_exception(error: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inject(monkeypatch, "canonical", failing(error))
    with pytest.warns(CompilerWarning, match=error.__name__):
        assert jitted(lambda x: x * 2 + 1)(3.0) == 7.0


@pytest.mark.parametrize("name", ["hoist", "canonical", "group", "reuse"])
@pytest.mark.parametrize("kind", ["scan", "while", "cond"])
def test_pass_that_fails_in_inner_programs(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def body(x: Any) -> Any:
        return fnp.cumsum(fnp.tanh(x) @ fnp.outer(x, x))

    function = {
        "scan": lambda x: fdl.lax.scan(lambda c, _: (body(c), c), x, None, 3),
        "while": lambda x: fdl.lax.while_loop(lambda c: c[0] < 1, lambda c: (c[0] + 1, body(c[1])), (0, x)),
        "cond": lambda x: fdl.lax.cond(x.sum() > 0, body, fnp.tanh, x),
    }[kind]
    x = np.arange(5, dtype=np.float32) / 4
    with fdl.disable_jit():
        expected = function(x)
    inject(monkeypatch, name, failing(after=1))
    with pytest.warns(CompilerWarning, match=f"'{name}'") as seen:
        close(jitted(function)(x), expected)
    assert len(seen) == 1


def test_second_pass_that_fails_too(monkeypatch: pytest.MonkeyPatch, expected: Any) -> None:
    inject(monkeypatch, "sink_slices", failing())
    inject(monkeypatch, "group", failing())
    with pytest.warns(CompilerWarning, match="in its pass 'sink_slices'.*without its optional passes") as seen:
        close(jitted()(*arguments()), expected)
    assert len(seen) == 1


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be compiled at all."""
    monkeypatch.setattr(pipeline, "compile_object", failing(RuntimeError))


def test_last_resort_is_the_interpreter(broken: None, expected: Any) -> None:
    with pytest.warns(CompilerWarning, match="between its passes.*reference interpreter") as seen:
        compiled = jitted()
        for _ in range(3):
            close(compiled(*arguments()), expected)
    assert len(seen) == 1


@pytest.mark.filterwarnings("ignore::fdl.errors.CompilerWarning")
def test_last_resort_gives_new_arrays(broken: None) -> None:
    constant = np.arange(3.0)
    x = fnp.arange(6.0).reshape(2, 3)
    outs = jitted(lambda x: (x.T, fnp.asarray(constant), x.reshape(6), x[0], x))(x)
    assert outs[-1] is x
    arrays = [np.asarray(o) for o in outs]
    for a, b in itertools.combinations([*arrays, constant], 2):
        assert not np.shares_memory(a, b)


@pytest.mark.filterwarnings("ignore::fdl.errors.CompilerWarning")
def test_last_resort_takes_donated_inputs_callbacks_and_derivatives(broken: None) -> None:
    update = jitted(lambda w, g: (w - g, g.sum()), donate_argnums=0)
    w = fnp.ones(4)
    new, total = update(w, fnp.arange(4.0))
    assert w.is_deleted()
    np.testing.assert_array_equal(new, [1, 0, -1, -2])
    assert total == 6
    for _ in range(3):
        new, _ = update(new, fnp.ones(4))
    np.testing.assert_array_equal(new, [-2, -3, -4, -5])
    seen: list[float] = []
    called = jitted(lambda x: fdl.pure_callback(lambda v: seen.append(float(v)) or v * 2, x, x))
    assert called(np.float32(3)) == 6
    assert seen == [3.0]
    slope = jitted(fdl.grad(lambda x: fdl.lax.scan(lambda c, _: (fnp.sin(c), None), x, None, 3)[0]))
    expected = np.cos(0.5) * np.cos(np.sin(0.5)) * np.cos(np.sin(np.sin(0.5)))
    np.testing.assert_allclose(slope(0.5), expected, 1e-6)


def test_eager_operations_take_the_ladder(broken: None) -> None:
    x = fnp.arange(9.0).reshape(1, 1, 9)
    with pytest.warns(CompilerWarning, match="test_fallback.py:[0-9]+ \\(test_eager"):
        found = fdl.lax.conv(x, fnp.ones((1, 1, 2)), (1,), "VALID")
    np.testing.assert_array_equal(found[0, 0], np.arange(1.0, 17.0, 2))


def test_inlining_and_fast_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "inline", failing())
        with pytest.warns(CompilerWarning, match="'inline'"):
            assert jitted(lambda x: x + 1)(1.0) == 2.0
    monkeypatch.setattr(fdl.api.jit, "fast_call", failing())
    double = jitted(lambda x: x * 2)
    assert double(1.0) == 2.0
    with pytest.warns(CompilerWarning, match="'fast calls'"):
        assert double(2.0) == 4.0
    assert double(3.0) == 6.0


def test_line_is_that_of_the_equation_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def function(x: Any) -> Any:
        y = fnp.exp(x)
        return fnp.cumsum(y) + fnp.sort(x)  # the line

    line = function.__code__.co_firstlineno + 2
    monkeypatch.setattr(SortLowering, "emit", failing())
    with pytest.warns(CompilerWarning, match=rf"'kernels', on code of test_fallback.py:{line} \(function\)"):
        jitted(function)(np.arange(3.0))
    # A place in fusion knows its equation too.
    original = planner.Schedule.place_in_nest

    def place_in_nest(self: Any, equation: Any) -> None:
        if equation.operation.name == "add":
            raise IndexError
        original(self, equation)

    monkeypatch.undo()
    monkeypatch.setattr(fdl.config, "debug_compiler", False)
    monkeypatch.setattr(planner.Schedule, "place_in_nest", place_in_nest)
    with pytest.warns(CompilerWarning, match=rf"'fuse', on code of test_fallback.py:{line} \(function\)"):
        jitted(lambda x: function(x * 1.5))(np.arange(3.0))


def test_each_program_is_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inject(monkeypatch, "simplify", failing())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(2):
            jitted(lambda x: x + 1)(1.0)
            pipeline._compile.cache_clear()
        jitted(lambda x: x + 2)(1.0)
    assert [w.category for w in seen] == [CompilerWarning, CompilerWarning]
    # As an error it is raised again, since nobody has compiled the program.
    fallback._warned.clear()
    pipeline._compile.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            with pytest.raises(CompilerWarning) as caught:
                jitted(lambda x: x + 1)(1.0)
            assert isinstance(caught.value.__cause__, IndexError)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, PlatformError, SystemExit])
def test_what_is_no_fault_of_a_pass_is_raised(error: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inject(monkeypatch, "simplify", failing(error))
    with pytest.raises(error):
        jitted(lambda x: x + 1)(1.0)


def test_errors_of_the_user_are_raised_when_the_program_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def callback(x: Any) -> Any:
        raise ZeroDivisionError("mine")

    function = jitted(lambda x: fdl.pure_callback(callback, x, x))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="mine"):
            function(1.0)
    inject(monkeypatch, "simplify", failing())
    function = jitted(lambda x: fdl.pure_callback(callback, x + 1, x))
    with pytest.warns(CompilerWarning), pytest.raises(ZeroDivisionError, match="mine"):
        function(1.0)


def host_calls(x: Any) -> Any:
    """Calls of Python in a loop, behind equations that passes change."""
    w = fnp.linalg.cholesky(fnp.eye(3) * 4 + 0 * x)
    return fdl.lax.scan(lambda c, _: (fnp.linalg.cholesky(c.T * 1.0 + w), c.sum()), w, None, 2)


def test_reduced_code_is_cached_under_its_own_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    x = fnp.ones((3, 3))
    expected = host_calls(x)
    cache = ObjectCache(tmp_path)
    monkeypatch.setattr(pipeline, "default_cache", lambda: cache)
    with monkeypatch.context() as patch:
        inject(patch, "simplify", failing())
        with pytest.warns(CompilerWarning):
            close(jitted(host_calls)(x), expected)
        (reduced,) = tmp_path.glob("*.o")
        pipeline._compile.cache_clear()
        # The host calls are found again in the program as it was without that pass.
        patch.setattr(pipeline, "compile_object", failing())
        close(jitted(host_calls)(x), expected)
    pipeline._compile.cache_clear()
    close(jitted(host_calls)(x), expected)
    assert len(set(tmp_path.glob("*.o")) - {reduced}) == 1


def test_reduced_code_pickles(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    cache = ObjectCache(tmp_path)
    monkeypatch.setattr(pipeline, "default_cache", lambda: cache)
    x = np.ones((3, 3), np.float32)
    program = fdl.make_program(host_calls)(x)
    inject(monkeypatch, "canonical", failing())
    with pytest.warns(CompilerWarning):
        compiled = pipeline.compile_program(program)
    assert compiled.archive.skip == {"canonical"}
    data = pickle.dumps(compiled)
    pipeline._compile.cache_clear()
    again = pickle.loads(data)
    assert again is not compiled
    close(again.run([x]), interpret(program, [x]))
    monkeypatch.setattr(pipeline, "build_archive", failing())
    interpreted = pipeline.Interpreted(program, ())
    close(interpreted.run([x]), interpret(program, [x]))
    assert isinstance(pickle.loads(pickle.dumps(interpreted)), pipeline.Compiled)  # from the disk cache


def test_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fdl.compile.profile.profiler._SECONDS", 0.0)
    x = fnp.ones((8, 8))
    with monkeypatch.context() as patch:
        inject(patch, "group", failing())
        with pytest.warns(CompilerWarning):
            found = fdl.profile(lambda x: fdl.nn.softmax(x @ x))(x)
    assert len(found.kernels) > 2
    monkeypatch.setattr("fdl.compile.profile.profiler.build_archive", failing())
    with pytest.warns(CompilerWarning, match="interpreter"):
        found = fdl.profile(lambda x: fdl.nn.softmax(x @ x * 2))(x)
    assert found.kernels == ()
    assert found.seconds > 0


def test_numba_needs_machine_code(broken: None) -> None:
    from fdl.ext import to_numba

    with pytest.warns(CompilerWarning), pytest.raises(CompilerError, match="to_numba"):
        to_numba(lambda x: x + 1, np.zeros(3))


def test_failures_are_errors_in_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert fdl.config.debug_compiler
    inject(monkeypatch, "sink_slices", failing())
    with pytest.raises(CompilerError, match="'sink_slices', on code of test_fallback.py") as caught:
        jitted(lambda x: x + 1.25)(1.0)
    assert isinstance(caught.value.__cause__, IndexError)


def test_failures_are_errors_in_processes_that_tests_start(tmp_path: Any) -> None:
    """Spark's workers inherit the environment in the same way."""
    code = "import fdl, fdl.compile.passes.order as p; p.PASSES[:] = [('sink_slices', None)]; "
    code += "fdl.jit(lambda x: x + 1)(1.0)"
    environment = {**os.environ, "FDL_CACHE_DIR": str(tmp_path)}  # where no other test has compiled this program
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode != 0
    assert "CompilerError: fdl's compiler failed in its pass 'sink_slices', on code of <string>:1" in done.stderr


def test_optional_passes_are_those_that_run() -> None:
    """No pass is without a name that the ladder knows, and no name without a pass."""
    named = {name for name, _ in passes.PASSES} | {name for name, _ in planner.SCHEDULING}
    assert named | {"fuse", "epilogues", "reuse", "threads", "kernels", "tape"} == set(OPTIONAL)
    program: Program = fdl.make_program(lambda x: x)(1.0)
    assert pipeline.cache_key(program, (), frozenset(OPTIONAL)) != pipeline.cache_key(program, ())


def handler(*_: Any) -> None:
    raise TimeoutError("enough")


class Handler:
    def __call__(self, *_: Any) -> None:
        handler()

    method = __call__


@pytest.mark.parametrize("given", [handler, partial(partial(handler, 1), 2), Handler(), Handler().method])
def test_errors_of_signal_handlers_are_the_users(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGUSR1, given)
    monkeypatch.setattr(planner, "make_plan", lambda *_, **__: signal.raise_signal(signal.SIGUSR1))
    try:
        with pytest.raises(TimeoutError, match="enough"):
            fdl.jit(lambda x: x + 1)(1.0)
    finally:
        signal.signal(signal.SIGUSR1, before)
    # That no handler is set (SIG_DFL, a member of an Enum) makes no signal of what the compiler itself raises.
    assert fallback._code(signal.SIG_DFL) is fallback._code(None) is None
