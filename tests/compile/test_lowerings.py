"""A kernel is one class: one that is defined here, in programs of all kinds; and no stage knows kernels by name."""

import ast
import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, threads
from fdl.compile import fallback, pipeline
from fdl.compile.fallback import OPTIONAL
from fdl.compile.ir.plan import nbytes
from fdl.compile.kernels.control import ControlLowering
from fdl.compile.kernels.copies import copy_operand
from fdl.compile.kernels.kernel import Kernel, kernel_function, run_kernel
from fdl.compile.kernels.sort import SortLowering
from fdl.compile.lowerings.emitter import Emitter
from fdl.compile.lowerings.lowering import Lowering, has_lowering, lowering_of, lowerings, unregister
from fdl.compile.lowerings.registry import registry as lowering_registry
from fdl.compile.runtime.cache import ObjectCache
from fdl.core.operation import Operation
from fdl.core.primitive import Primitive, registry
from fdl.dtypes import float32, float64, int64
from fdl.errors import CompilerWarning, PrimitiveError
from fdl.ops.contract import DotGeneral
from fdl.ops.matrix import TriangularSolve
from fdl.ops.sort import Sort
from tests.compile.tuned import tune

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def blur() -> Iterator[Callable[[int], Any]]:
    """An operation with a kernel: sums of the neighbours of each element along the last axis, missing ones left out."""

    class Blur(Primitive):
        compile_eagerly = True
        linear = True
        radius: int

        def result(self, *types: Any) -> Any:
            return types[0]

        def reference(self, x: np.ndarray) -> np.ndarray:
            return blurred(x, self.radius)

        def jvp(self, primals: Any, tangents: Any) -> Any:
            return self(*primals), self(*tangents)

        def transpose(self, cotangent: Any, x: Any) -> Any:
            return (self(cotangent),)

        def batch(self, size: int, args: Any, batched: Any) -> Any:
            return self(*args)

        def samples(self, rng: np.random.Generator) -> Iterator[Any]:
            yield Blur(1), rng.normal(size=(2, 5))

    class BlurLowering(Lowering[Blur]):
        """In place, by rows that are copied to scratch memory; float32 only, so that Python computes the rest."""

        operations = (Blur,)
        reads_views = True
        parallel = True

        def supports(self, step: Any) -> bool:
            return step.views[0].type.dtype == float32

        def flops(self, operation: Blur, operands: Any, results: Any) -> int:
            return (2 * operation.radius + 1) * results[0].size

        def bytes(self, operation: Blur, operands: Any, results: Any) -> int:
            return 2 * nbytes(results[0])

        def describe(self, operation: Blur, operands: Any, results: Any) -> str:
            return f"blur by {operation.radius}"

        def overwritten(self, operation: Blur, result: int, operands: int) -> int:
            return 0

        def emit(self, emitter: Emitter, step: Any) -> None:
            (x,), (out,), radius = step.views, step.equation.outputs, self.operation(step).radius
            emission, count = emitter.emission, x.type.shape[-1]

            def make() -> Kernel:
                build = kernel_function(emission.module, emission.target, "blur", 1)
                data, scratch = build.function.args[:2]
                first, last = build.argument(-2, int64), build.argument(-1, int64)
                with build.loop(first, last) as row:
                    with build.loop(0, count) as i:
                        build.store(build.load(data, float32, row * count + i), scratch, i)
                    with build.loop(0, count) as i:
                        total = build.variable(build.constant(0.0, float32))
                        with build.loop(build.max(i - radius, 0), build.min(i + radius + 1, count)) as j:
                            total.set(total.get() + build.load(scratch, float32, j))
                        build.store(total.get(), data, row * count + i)
                build.ret()
                return Kernel(build.function, 4 * count, x.type.size // count)

            copy_operand(emitter, x, out)
            run_kernel(emitter, f"blur {radius} {x.type}", make, [emitter.pointer(out)])

    yield Blur
    unregister(BlurLowering)
    registry.pop("Blur", None)
    pipeline._compile.cache_clear()


def blurred(x: np.ndarray, radius: int) -> np.ndarray:
    """By NumPy, in the precision of x."""
    found = np.zeros_like(x)
    for shift in range(-radius, radius + 1):
        n = x.shape[-1]
        source, target = slice(max(shift, 0), n + min(shift, 0)), slice(max(-shift, 0), n + min(-shift, 0))
        if abs(shift) < n:
            found[..., target] += x[..., source]
    return found


def wide(x: Any, radius: int) -> np.ndarray:
    return blurred(np.asarray(x, np.float64), radius)


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, 2e-6, 2e-6)


def hosts(function: Callable[..., Any], *args: Any) -> list[str]:
    """Names of the operations that Python is called for."""
    return [host.operation.name for host in pipeline.build_archive(fdl.make_program(function)(*args), ()).hosts]


SHAPES = [(1,), (5,), (33,), (1, 1), (3, 7), (1, 130), (130, 1), (2, 3, 65), (0,), (0, 4), (4, 0), (2, 0, 3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_jit_grad_and_vmap(blur: Any, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(2, *shape)).astype("f")
    for radius in (0, 1, 3, 70):
        f = blur(radius)
        close(fdl.jit(f)(x), wide(x, radius))
        close(f(x), wide(x, radius))
        assert hosts(f, x) == []
        # The matrix of the sums is symmetric.
        slope = fdl.jit(fdl.grad(lambda x, y, f=f: (f(x) * y).sum()))(x, y)
        close(slope, wide(y, radius))
        tangent = fdl.jit(lambda x, y, f=f: fdl.jvp(f, (x,), (y,))[1])(x, y)
        close(tangent, wide(y, radius))
        if len(shape) > 1:
            close(fdl.jit(fdl.vmap(f))(x), wide(x, radius))
            close(fdl.jit(fdl.vmap(f, 1, 1))(x), wide(x.swapaxes(0, 1), radius).swapaxes(0, 1))


def test_nan_and_infinity_stay_in_their_windows(blur: Any) -> None:
    x = np.zeros((2, 20), "f")
    x[0, 5], x[1, 9], x[1, 15] = np.nan, np.inf, -np.inf
    np.testing.assert_array_equal(np.asarray(fdl.jit(blur(2))(x)), blurred(x, 2))
    assert np.isnan(np.asarray(fdl.jit(blur(2))(x))).sum() == 5


def test_views_as_operands(blur: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=(12, 9)).astype("f")
    views: dict[str, Callable[[Any], Any]] = {
        "transposed": lambda x: x.T,
        "backwards": lambda x: x[::-1, ::-1],
        "sliced": lambda x: x[2:9:3, 1::2],
        "repeated": lambda x: fnp.broadcast_to(x[:, None, 3:4], (12, 2, 5)) if isinstance(x, fdl.Array) else x,
        "reshaped": lambda x: x.reshape(4, 27),
        "padded": lambda x: fnp.pad(x, 1) if isinstance(x, fdl.Array) else np.pad(x, 1),
    }
    for name, view in views.items():
        seen = view(x) if name != "repeated" else np.broadcast_to(x[:, None, 3:4], (12, 2, 5))
        close(fdl.jit(lambda x, view=view: blur(2)(view(x)))(x), wide(seen, 2))


def test_inside_of_larger_programs(blur: Any, rng: np.random.Generator) -> None:
    x, w = rng.normal(size=(16, 24)).astype("f"), rng.normal(size=(24, 24)).astype("f") / 5
    two = np.asarray(x, np.float64)

    def layers(x: Any, w: Any) -> Any:
        hidden = fnp.tanh(blur(1)(x @ w) + x)
        return blur(2)(hidden.T).T @ w, hidden.sum()

    hidden = np.tanh(wide(two @ w, 1) + two)
    found = fdl.jit(layers)(x, w)
    close(found[0] / 10, wide(hidden.T, 2).T @ np.asarray(w, np.float64) / 10)
    close(found[1] / 100, hidden.sum() / 100)

    def loop(x: Any) -> Any:
        last, all_ = lax.scan(lambda c, _: (blur(1)(c) / 3, c.max()), x, None, 5)
        return lax.cond(all_[0] > 1e9, fnp.sin, blur(3), last), all_

    state, maxima = two, []
    for _ in range(5):
        maxima.append(state.max())
        state = wide(state, 1) / 3
    found = fdl.jit(loop)(x)
    close(found[0], wide(state, 3))
    close(found[1], maxima)
    # As the reference says, with derivatives by finite differences.
    direction = rng.normal(size=x.shape)
    slope = np.asarray(fdl.grad(lambda x: (layers(x, w)[0] ** 2).sum())(x), np.float64)

    def value(t: float) -> float:
        h = np.tanh(wide((two + t * direction) @ w, 1) + two + t * direction)
        return float(((wide(h.T, 2).T @ np.asarray(w, np.float64)) ** 2).sum())

    close((slope * direction).sum() / 1e3, (value(1e-5) - value(-1e-5)) / 2e-5 / 1e3)


def test_results_are_made_in_memory_that_is_given(blur: Any, rng: np.random.Generator) -> None:
    given = rng.normal(size=(8, 16)).astype("f")
    x = fnp.array(given)
    place = np.asarray(x).ctypes.data
    found = fdl.jit(blur(2), donate_argnums=0)(x)
    assert x.is_deleted() and np.asarray(found).ctypes.data == place
    close(found, wide(given, 2))
    program: Any = fdl.make_program(lambda x: blur(2)(x * 2) + 1)(given)
    assert "call" in fdl.jit(lambda x: blur(2)(x * 2) + 1).lower(given).as_text("llvm")
    close(pipeline.compile_program(program).run([given])[0], wide(2 * given, 2) + 1)
    # What is read afterwards, or shown reversed, is copied.
    kept = fdl.jit(lambda x: (blur(1)(x), x * 2, blur(2)(x[:, ::-1])), donate_argnums=0)(fnp.array(given))
    for f, e in zip(kept, (wide(given, 1), 2 * given, wide(given[:, ::-1], 2)), strict=True):
        close(f, e)


def test_threads_give_the_same_bits(blur: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    tune(monkeypatch, step_time=1e-9, program_time=0.0)
    monkeypatch.setattr(threads, "_chosen", 1)
    x = rng.normal(size=(13, 70)).astype("f")

    def function(x: Any) -> Any:
        return blur(2)(fnp.exp(x)) * 2, blur(1)(x.T), blur(3)(blur(2)(x))

    compiled = pipeline.compile_program(fdl.make_program(function)(x))
    assert isinstance(compiled, pipeline.Compiled) and compiled.archive.parallel
    alone = compiled.run([x])
    close(alone[0], 2 * wide(np.exp(np.asarray(x, np.float64)), 2))
    close(alone[1], wide(x.T, 1))
    close(alone[2] / 10, wide(wide(x, 2), 3) / 10)
    for count in (2, 3, 7):
        monkeypatch.setattr(threads, "_chosen", count)
        assert [a.tobytes() for a in compiled.run([x])] == [a.tobytes() for a in alone]
    pipeline._compile.cache_clear()


def test_what_is_not_supported_is_computed_by_python(blur: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=(3, 8))
    function = lambda x: blur(1)(x * 2).T  # noqa: E731
    assert hosts(function, x) == ["blur"] and hosts(function, x.astype("f")) == []
    for stage in ("schedule", "loops"):
        assert re.search(r"blur.*# Python, test_lowerings.py:", fdl.jit(function).lower(x).as_text(stage))
        assert "Python" not in fdl.jit(function).lower(x.astype("f")).as_text(stage)
    called = fdl.jit(lambda x: fdl.pure_callback(lambda v: v, x, x)).lower(x).as_text("schedule")
    assert called.count("# Python") == 1
    np.testing.assert_allclose(fdl.jit(function)(x), wide(2 * x, 1).T, 1e-14)


def test_who_has_written_a_kernel_that_fails_is_told_so(blur: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def emit(self: Any, emitter: Emitter, step: Any) -> None:
        raise IndexError("injected")

    monkeypatch.setattr(fdl.config, "debug_compiler", False)
    monkeypatch.setattr(pipeline, "default_cache", lambda: ObjectCache(None))
    monkeypatch.setattr(type(lowering_of(blur(1))), "emit", emit)
    fallback._warned.clear()
    pipeline._compile.cache_clear()
    with pytest.warns(
        CompilerWarning, match=r"comes from tests\.compile\.test_lowerings\..*BlurLowering, which"
    ) as told:
        found = fdl.jit(lambda x: blur(1)(x) * 4)(np.ones((1, 3), "f"))
    np.testing.assert_array_equal(found, [[8, 12, 8]])
    assert "fault of fdl" not in str(told[0].message)
    pipeline._compile.cache_clear()


def test_the_report_has_its_words_and_numbers(blur: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=(40, 50)).astype("f")
    (kernel,) = [k for k in fdl.profile(blur(2))(x).kernels if "blur" in k.what]
    assert (kernel.what, kernel.flops, kernel.bytes) == ("blur by 2", 5 * 2000, 2 * 4 * 2000)


def test_a_class_without_code_and_a_second_one_are_refused() -> None:
    with pytest.raises(PrimitiveError, match="Nothing lacks the method emit"):

        class Nothing(Lowering[Sort]):
            operations = (Sort,)

    with pytest.raises(PrimitiveError, match="Sort has the lowering SortLowering of .*; to replace it by Faster"):

        class Faster(Lowering[Sort]):
            operations = (Sort,)

            def emit(self, emitter: Any, step: Any) -> None: ...

    assert [type(f) for f in lowerings() if Sort in f.operations] == [SortLowering]


def test_who_replaces_a_lowering_is_told_so_where_he_defines_it() -> None:
    """In a process that has not loaded fdl's lowerings yet, and whatever the class is called."""
    code = """
import sys
from fdl.compile.lowerings.lowering import Lowering, has_lowering, unregister
from fdl.errors import PrimitiveError
from fdl.ops.sort import Sort

assert "fdl.compile.kernels" not in sys.modules
try:
    class SortLowering(Lowering):
        operations = (Sort,)

        def emit(self, emitter, step): ...
except PrimitiveError as error:
    print(error)
import fdl
import fdl.numpy as fnp
from fdl.compile.kernels import sort
print(fdl.jit(lambda x: fnp.sort(x) * 2)(fnp.array([3.0, 1.0])))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    message, result = done.stdout.splitlines()
    assert "Sort has the lowering SortLowering of fdl.compile.kernels.sort; to replace it by SortLowering" in message
    assert result == "[2. 6.]" and not done.stderr


def test_lowerings_are_registered_for_all_of_their_operations_or_none(blur: Any) -> None:
    def rule(self: Any, *args: Any) -> Any: ...

    Free = type("Free", (Primitive,), dict.fromkeys(("result", "reference", "jvp", "batch", "samples"), rule))

    def emit(self: Any, emitter: Any, step: Any) -> None: ...

    try:
        with pytest.raises(PrimitiveError, match="Sort has the lowering SortLowering"):
            type("Both", (Lowering,), {"operations": (Free, Sort), "emit": emit})
        assert not has_lowering(Free())
        # A class that is none of theirs takes nothing away; one that is defined anew is the same.
        other = type("Other", (Lowering,), {"emit": emit})
        other.operations = (Free, Sort)  # type: ignore[attr-defined]
        unregister(other)
        assert [type(f) for f in lowerings() if Sort in f.operations] == [SortLowering]
        first, second = (type("Mine", (Lowering,), {"operations": (Free,), "emit": emit}) for _ in range(2))
        assert type(lowering_of(Free())) is second
        unregister(first)
        assert not has_lowering(Free())
    finally:
        registry.pop("Free", None)


def test_what_an_epilogue_still_reads_is_not_overwritten(
    blur: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(lowering_of(blur(1))), "takes_epilogue", lambda self, operation, equation: True)
    pipeline._compile.cache_clear()
    x = rng.normal(size=(6, 9)).astype("f")

    def f(x: Any) -> Any:
        made = blur(1)(x)
        return made, made * 2 + x

    found = fdl.jit(f, donate_argnums=0)(fnp.array(x))
    close(found[0], wide(x, 1))
    close(found[1], 2 * wide(x, 1) + x)
    pipeline._compile.cache_clear()


def test_the_cache_tells_kernels_of_others_by_their_files(blur: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.zeros((2, 3), "f")
    theirs: Any = fdl.make_program(blur(1))(x)
    ours: Any = fdl.make_program(fnp.sort)(x)
    keys = [pipeline.cache_key(p, ()) for p in (theirs, ours)]
    assert keys == [pipeline.cache_key(p, ()) for p in (theirs, ours)]
    monkeypatch.setattr(pipeline, "_source_hash", lambda kind: "another file")
    changed = [pipeline.cache_key(p, ()) for p in (theirs, ours)]
    assert changed[0] != keys[0] and changed[1] == keys[1]
    # Passes may make an operation whose kernel was replaced.
    monkeypatch.setitem(lowering_registry, DotGeneral, lowering_of(blur(1)))
    assert pipeline.cache_key(ours, ()) != keys[1]


# Operations that Python is called for.


def test_archives_hold_host_operations_as_data(rng: np.random.Generator) -> None:
    x = rng.integers(0, 5, (4, 6)).astype("i1")
    programs: dict[str, tuple[Callable[..., Any], list[np.ndarray]]] = {
        "made by a pass": (lambda a, b: (a @ b).T, [x, x.T.copy()]),
        "of a function": (lambda a: fdl.pure_callback(lambda v: v + 1, a, a) * 2, [x]),
        "in a loop": (
            lambda a: lax.scan(lambda c, _: (fdl.pure_callback(lambda v: v[::-1], c, c), c[0]), a, None, 3),
            [x],
        ),
        "with fields": (lambda a: TriangularSolve(True, False)(a[:, :4] + 9j, a + 0j).imag, [x]),
        "of complex windows": (lambda a: fnp.fft.fft(a.T), [x]),
    }
    for name, (function, arrays) in programs.items():
        program: Any = pipeline.inline(fdl.make_program(function)(*arrays))
        archive = pipeline.build_archive(program, ())
        assert archive.hosts, name
        packed = archive.pack(program)
        assert packed is not None, name
        again = pipeline.Archive.unpack(packed, program)
        assert again == archive, name
        made = pipeline.Compiled(program, (), again)
        for found, expected in zip(made.run(arrays), pipeline.interpret(program, arrays), strict=True):
            np.testing.assert_allclose(found, expected, 1e-5, 1e-5)


def test_unknown_operations_in_an_archive_are_compiled_anew() -> None:
    program: Any = pipeline.inline(
        fdl.make_program(lambda a, b: (a @ b).T)(np.zeros((2, 3), "i1"), np.ones((3, 2), "i1"))
    )
    packed = pipeline.build_archive(program, ()).pack(program)
    assert packed is not None and b'"DotGeneral"' in packed
    assert pipeline.Archive.unpack(packed.replace(b'"DotGeneral"', b'"DotNothing"'), program) is None
    # Without its kernels a program calls Python for what the compiler has made for itself, which is no data.
    program = pipeline.inline(fdl.make_program(lambda k: fdl.random.bits(k, (3,)))(fdl.random.key(0)))
    archive = pipeline.build_archive(program, (), frozenset({"loops"}))
    assert "threefry" in [host.operation.name for host in archive.hosts] and archive.pack(program) is None


def test_damaged_archives_are_compiled_anew() -> None:
    program: Any = pipeline.inline(
        fdl.make_program(lambda a, b: (a @ b).T)(np.zeros((2, 3), "i1"), np.ones((3, 2), "i1"))
    )
    packed = pipeline.build_archive(program, ()).pack(program)
    assert packed is not None
    line, _, rest = packed.partition(b"\n")
    header: dict[str, Any] = json.loads(line)
    assert pipeline.Archive.unpack(packed, program) is not None
    assert pipeline.Archive.unpack(line[: len(line) // 2], program) is None
    assert pipeline.Archive.unpack(b"[]\n" + rest, program) is None
    for key in header:
        less = {k: v for k, v in header.items() if k != key}
        assert pipeline.Archive.unpack(json.dumps(less).encode() + b"\n" + rest, program) is None, key
    ((operation, operands, strides, results),) = header["hosts"]
    hosts: list[Any] = [[n, operands, strides, results] for n in (99, -1, True, None, "Sort", [], operation[:1])]
    hosts += [[operation, [[[2, 3], "int7"]], strides, results], [[*operation, 1, 2, 3], operands, strides, results]]
    for host in (*hosts, [operation, operands], 7):
        data = json.dumps(header | {"hosts": [host]}).encode() + b"\n" + rest
        assert pipeline.Archive.unpack(data, program) is None, host


def test_what_cannot_be_hashed_is_not_packed() -> None:
    class Listed(Primitive):
        numbers: list[int]

        def result(self, *types: Any) -> Any:
            return types[0]

        def reference(self, x: np.ndarray) -> np.ndarray:
            return x + sum(self.numbers)

        def jvp(self, primals: Any, tangents: Any) -> Any: ...

        def batch(self, size: int, args: Any, batched: Any) -> Any: ...

        def samples(self, rng: np.random.Generator) -> Any: ...

    try:
        x = np.arange(3.0)
        program: Any = pipeline.inline(fdl.make_program(Listed([1, 2]))(x))
        archive = pipeline.build_archive(program, (), frozenset(OPTIONAL))
        assert len(archive.hosts) == 1 and archive.pack(program) is None
        np.testing.assert_array_equal(pipeline.Compiled(program, (), archive).run([x])[0], x + 3)
    finally:
        registry.pop("Listed", None)


def test_compiled_programs_with_host_calls_are_pickled() -> None:
    x = np.arange(6, dtype="i1").reshape(2, 3)
    compiled = pipeline.compile_program(fdl.make_program(lambda a: (a @ a.T).T)(x))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(compiled)).run([x])[0], x @ x.T)


# No stage knows a kernel by its name.

STAGES = ["codegen", "schedule", "passes", "profile", "loopnest", "ir", "runtime", "listing.py", "pipeline.py"]

#: What the operations with kernels were called by before each had its lowering.
FAMILIES = {"contract", "conv", "window", "gather", "scatter", "cumulative", "sort", "distinct", "replay", "foreign"}


def compared(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of every text that is compared with something, or stands in a table of a module or a class."""
    parts: list[ast.AST | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            parts += [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            parts.append(node.value)
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for statement in (s for scope in (tree, *classes) for s in scope.body):
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            table = statement.value
            parts += (
                table.keys if isinstance(table, ast.Dict) else [table] if isinstance(table, ast.Set | ast.Tuple) else []
            )
    for part in filter(None, parts):
        for inner in ast.walk(part):
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                yield inner.lineno, inner.value


def test_no_stage_compares_names_of_operations_with_kernels() -> None:
    kinds: set[type[Operation]] = {kind for lowering in lowerings() for kind in lowering.operations}
    kinds |= {lowering.operation for lowering in ControlLowering.__subclasses__()}
    assert {"Sort", "DotGeneral", "ConvGeneral", "Gather", "Scan", "While"} <= {kind.__name__ for kind in kinds}
    names = {re.sub("(?<!^)(?=[A-Z])", "_", kind.__name__).lower() for kind in kinds} - {"copy"}
    names |= {kind.__name__ for kind in kinds} | FAMILIES
    files = [p for stage in STAGES for p in sorted((ROOT / "fdl" / "compile").glob(f"{stage}*"))]
    files = [q for p in files for q in (sorted(p.rglob("*.py")) if p.is_dir() else [p])]
    assert len(files) > 40
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in files
        for line, text in compared(ast.parse(path.read_text()))
        if text in names
    ]
    assert not found, found
    # The test sees what it forbids.
    seen = "if a.name == 'sort': pass\nSHARED = {'gather'}\nTABLE = {'scatter': 1}\nmatch a:\n  case 'scan': 1"
    assert {text for _, text in compared(ast.parse(seen))} >= {"sort", "gather", "scatter", "scan"}


# The kernel of CONTRIBUTING.


def test_contributed_kernel(rng: np.random.Generator) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "Lowering" in b]
    scope: dict[str, Any] = {"__name__": "contributed_kernel"}
    try:
        exec(block, scope)
        operation = scope["MovingSum"]
        assert has_lowering(operation(1))
        for shape, width in (((3, 70), 5), ((4,), 4), ((2, 3, 9), 1), ((0, 5), 2), ((1, 33), 2)):
            for dtype in (float32, float64):
                x = rng.normal(size=shape).astype(dtype)
                f = operation(width)
                windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), width, -1)
                close(fdl.jit(f)(x), windows.sum(-1))
                assert hosts(f, x) == []
                close(fdl.jit(lambda x, f=f: f(x.T[..., ::-1].T[::-1] * 2))(x), 2 * windows_of(x, width))
                y = rng.normal(size=windows.shape[:-1])
                slope = fdl.jit(fdl.grad(lambda x, f=f, y=y: (f(x) * y).sum()))(x)
                close(slope, spread(y, width))
                if len(shape) > 1:
                    close(fdl.jit(fdl.vmap(f))(x), windows.sum(-1))
        with pytest.raises(fdl.errors.ShapeError, match="width 3"):
            operation(3)(np.zeros(2))
        for sample, *operands in operation(1).samples(rng):
            np.testing.assert_allclose(fdl.jit(sample)(*operands), sample.reference(*operands), 1e-5, 1e-6)
    finally:
        unregister(scope["MovingSumLowering"])
        registry.pop("MovingSum", None)


def windows_of(x: np.ndarray, width: int) -> np.ndarray:
    seen = np.asarray(x, np.float64).T[..., ::-1].T[::-1]
    return np.lib.stride_tricks.sliding_window_view(seen, width, -1).sum(-1)


def spread(y: np.ndarray, width: int) -> np.ndarray:
    """The sums of the windows that each element is in."""
    found = np.zeros((*y.shape[:-1], y.shape[-1] + width - 1))
    for tap in range(width):
        found[..., tap : tap + y.shape[-1]] += y
    return found
