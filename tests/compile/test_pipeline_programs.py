"""Whole Programs, compiled and interpreted by references: random ones, layouts, loops, host calls, memory, caches."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from fdl.compile import compile_program
from fdl.compile.ir.plan import nbytes
from fdl.compile.ir.steps import LoopNest
from fdl.compile.passes.order import prepared
from fdl.compile.schedule.planner import make_plan
from fdl.control.callback import Callback
from fdl.control.cond import Cond
from fdl.control.custom import Rule
from fdl.control.scan import Scan
from fdl.control.while_loop import While
from fdl.core.interpret import interpret
from fdl.core.program import Program
from fdl.core.trace import trace_program
from fdl.core.types import TensorType
from fdl.dtypes import ALL, ANY, bfloat16, float16, key
from fdl.ops.arithmetic import abs_, add, div, max_, min_, mul, neg, sub
from fdl.ops.compare import lt
from fdl.ops.contract import DotGeneral
from fdl.ops.reduce import ArgMax, ArgMin, reduce_max, sum_
from fdl.ops.select import select
from fdl.ops.shape import broadcast_in_dim, full_like, reshape, transpose
from fdl.ops.slicing import Pad, concatenate, dynamic_slice, dynamic_update_slice, reverse, slice_
from fdl.ops.transcendental import exp, log


def traced(function: Callable[..., Any], *arrays: np.ndarray) -> Program:
    return trace_program(function, [TensorType(a.shape, a.dtype) for a in arrays])[0]


def check(function: Callable[..., Any], *arrays: np.ndarray, tolerance: float = 1e-5) -> list[np.ndarray]:
    """Compiled against interpreted; returns what the compiled Program made."""
    program = traced(function, *arrays)
    before = [a.copy() for a in arrays]
    found = compile_program(program).run(arrays)
    for got, expected in zip(found, interpret(program, arrays), strict=True):
        assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
        assert got.flags.c_contiguous and got.flags.owndata and got.flags.writeable
        if expected.dtype.kind in "fc":
            np.testing.assert_allclose(got, expected, tolerance, tolerance)
        else:
            np.testing.assert_array_equal(got, expected)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    return found


UNARY = (neg, abs_, lambda x: mul(x, x), lambda x: exp(neg(abs_(x))), lambda x: max_(x, full_like(x, 0.25)))
BINARY = (add, sub, mul, min_, lambda x, y: select(lt(x, y), x, y))


@st.composite
def random_functions(draw: Any) -> tuple[Callable[..., Any], list[np.ndarray]]:
    """A function of a few arrays made of random operations, as a list of choices that is replayed while tracing."""
    extents = st.integers(1, 9) | st.sampled_from([1, 2, 16, 33])
    shape = draw(st.lists(extents, min_size=1, max_size=3).map(tuple))
    choice = st.tuples(st.integers(0, 11), st.integers(0, 30), st.integers(0, 30))
    choices = draw(st.lists(choice, min_size=1, max_size=12))
    rng = np.random.default_rng(draw(st.integers(0, 100)))
    arrays = [rng.normal(size=shape).astype(np.float32) for _ in range(2)]

    def function(*inputs: Any) -> list[Any]:
        values = list(inputs)
        for kind, a, b in choices:
            x = values[a % len(values)]
            values.append(apply(kind, x, values, b))
        return values[len(inputs) :][-4:]

    def apply(kind: int, x: Any, values: list[Any], b: int) -> Any:
        own = x.type.shape
        if kind < 2:
            return UNARY[b % len(UNARY)](x)
        if kind < 5:
            same = [v for v in values if v.type.shape == own]
            return BINARY[b % len(BINARY)](x, same[b % len(same)])
        if kind == 5 and own:
            return sum_(x, tuple(a for a in range(len(own)) if b >> a & 1) or (0,))
        if kind == 6 and own:
            return reduce_max(x, (b % len(own),))
        if kind == 7:
            return transpose(x, tuple(reversed(range(len(own)))))
        if kind == 8:
            return reshape(x, (x.type.size,)) if len(own) != 1 else reshape(x, (1, *own, 1))
        if kind == 9 and len(own) < 4:
            return broadcast_in_dim(x, (3, *own), tuple(range(1, len(own) + 1)))
        if kind == 10 and own:
            low, high = (b % 3 - 1,) * len(own), (1,) * len(own)
            return Pad(low, high, (b % 2,) * len(own))(x, np.float32(0.5))
        if kind == 11 and own and own[0] > 1:
            part = slice_(x, (1, *(0,) * (len(own) - 1)), own)
            return concatenate([reverse(part, (0,)), x], 0)
        return neg(x)

    return function, arrays


@settings(max_examples=60)
@given(random_functions())
def test_random_programs(case: tuple[Callable[..., Any], list[np.ndarray]]) -> None:
    function, arrays = case
    check(function, *arrays, tolerance=1e-4)


@pytest.mark.parametrize("dtype", ANY, ids=str)
def test_moves_of_every_dtype(dtype: np.dtype) -> None:
    words = np.random.default_rng(0).integers(0, 2, (3, 5, dtype.itemsize), dtype=np.uint8)
    x = words.view(key)[..., 0] if dtype == key else words[..., 0].astype(dtype)
    check(
        lambda x: [
            x,
            transpose(x, (1, 0)),
            reshape(reverse(x, (1,)), (5, 3)),
            concatenate([x, slice_(x, (1, 0), (3, 5), (1, 1))], 0),
            broadcast_in_dim(x, (2, 3, 5), (1, 2)),
            dynamic_slice(x, [np.int32(2), np.int32(1)], (2, 2)),
            dynamic_update_slice(x, slice_(x, (0, 0), (1, 2), (1, 1)), [np.int32(1), np.int32(9)]),
        ],
        x,
    )


@pytest.mark.parametrize("dtype", [d for d in ALL if d.kind != "b"], ids=str)
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (7, 13), (2, 3, 40)], ids=str)
def test_sums_and_products_of_every_dtype(dtype: np.dtype, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, shape).astype(dtype)
    check(
        lambda x: [add(mul(x, x), x), sum_(x, (0,)), sum_(x, (len(shape) - 1,)), sum_(x, tuple(range(len(shape))))], x
    )


def test_specials_pass_unchanged(rng: np.random.Generator) -> None:
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45, 3.4e38, -1.5] * 5, np.float32)
    y = np.roll(x, 3)
    program = traced(
        lambda x, y: [
            *(f(x, y) for f in (add, mul, div, max_, min_)),
            *(neg(x), add(x, full_like(x, 0.0)), mul(x, full_like(x, 1.0))),
        ],
        x,
        y,
    )
    for got, expected in zip(compile_program(program).run([x, y]), interpret(program, [x, y]), strict=True):
        np.testing.assert_array_equal(got, expected)
        kept = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(got[kept]), np.signbit(expected[kept]))


def test_noncontiguous_and_readonly_inputs(rng: np.random.Generator) -> None:
    whole = rng.normal(size=(6, 8))
    whole.flags.writeable = False
    for view in (whole.T, whole[::2, 1:5], whole[::-1], np.broadcast_to(whole[0], (3, 8))):
        check(lambda x: [add(x, x), sum_(x, (0,))], view)


def test_same_bits_every_time(rng: np.random.Generator) -> None:
    x = rng.normal(size=(123, 457)).astype(np.float32)
    compiled = compile_program(traced(lambda x: [sum_(x, (0,)), sum_(x, (1,)), sum_(exp(x), (0, 1))], x))
    first = compiled.run([x])
    for again in (compiled.run([x]), compiled.run([x.copy()])):
        for a, b in zip(first, again, strict=True):
            assert a.tobytes() == b.tobytes()


def test_half_precision_sums_are_kept_in_float32() -> None:
    for dtype in (float16, bfloat16):
        (total,) = compile_program(traced(lambda x: [sum_(x, (0,))], np.ones(4096, dtype))).run([np.ones(4096, dtype)])
        assert float(total) == 4096


def test_softmax_and_layer_norm(rng: np.random.Generator) -> None:
    x = (rng.normal(size=(33, 57)) * 30).astype(np.float32)

    def along(v: Any) -> Any:
        return broadcast_in_dim(v, (33, 57), (0,))

    def function(x: Any) -> list[Any]:
        e = exp(sub(x, along(reduce_max(x, (1,)))))
        mean = div(sum_(x, (1,)), full_like(sum_(x, (1,)), 57))
        centred = sub(x, along(mean))
        return [div(e, along(sum_(e, (1,)))), centred, sum_(mul(centred, centred), (1,)), log(sum_(e, (1,)))]

    check(function, x)


@pytest.mark.parametrize("batch", [((), ()), ((0,), (2,))])
@pytest.mark.parametrize("contracting", [((1,), (0,)), ((2, 1), (1, 0))])
def test_contractions_in_any_layout(rng: np.random.Generator, batch: Any, contracting: Any) -> None:
    x, y = (rng.normal(size=(4, 4, 4)).astype(np.float32) for _ in range(2))
    product = DotGeneral(contracting, batch)
    check(lambda x, y: [product(x, y), product(transpose(x, (0, 2, 1)), reverse(y, (0,)))], x, y)


def test_products_over_batch_axes_that_lie_apart(rng: np.random.Generator) -> None:
    q, k = (rng.normal(size=(2, 5, 3, 4)).astype(np.float32) for _ in range(2))
    check(lambda q, k: [DotGeneral(((3,), (3,)), ((0, 2), (0, 2)))(q, k)], q, k)


@pytest.mark.parametrize("shape", [(37, 129), (64, 1000), (5, 6, 333), (133, 261)], ids=str)
def test_wide_rows_and_large_transposes(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    x, n = rng.normal(size=shape).astype(np.float32), len(shape)
    back = tuple(reversed(range(n)))
    check(
        lambda x: [
            *(f(x, tuple(range(k))) for f in (sum_, reduce_max) for k in (1, n - 1)),
            *(transpose(x, back), add(transpose(exp(x), back), transpose(x, back)), exp(x)),
        ],
        x,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32], ids=lambda d: d.__name__)
def test_first_extreme_elements_of_long_rows(rng: np.random.Generator, dtype: Any) -> None:
    x = rng.integers(0, 4, (50, 37)).astype(dtype)
    if x.dtype.kind == "f":
        x[::7, 20] = x[::5, 33] = np.nan
    check(lambda x: [f(1)(x) for f in (ArgMax, ArgMin)], x)


def test_long_chains_of_moves(rng: np.random.Generator) -> None:
    def function(x: Any) -> list[Any]:
        for n in range(300):
            x = transpose(x, (1, 0)) if n % 3 else Pad((1, -1), (0, 0), (0, 0))(x, np.float32(n))
        return [x]

    check(function, rng.normal(size=(5, 400)).astype(np.float32))


def test_bias_and_activation_after_a_product(rng: np.random.Generator) -> None:
    x, w, b = (rng.normal(size=s).astype(np.float32) for s in ((37, 19), (19, 23), (23,)))

    def function(x: Any, w: Any, b: Any) -> list[Any]:
        y = add(DotGeneral(((1,), (0,)), ((), ()))(x, w), broadcast_in_dim(b, (37, 23), (1,)))
        return [max_(y, full_like(y, 0)), lt(full_like(y, 0), y)]

    check(function, x, w, b)


def scan(length: int, reverse_: bool = False) -> Callable[..., Any]:
    inner = [TensorType((4,), np.dtype(np.float32))] * 4

    def step(w: Any, a: Any, b: Any, x: Any) -> list[Any]:
        return [add(mul(a, w), x), a, sub(a, b)]

    body = trace_program(step, inner)[0]
    return Scan(body, length, reverse_, 1, 2)


@pytest.mark.parametrize("length", [0, 1, 2, 5])
@pytest.mark.parametrize("reverse_", [False, True])
def test_scan(rng: np.random.Generator, length: int, reverse_: bool) -> None:
    """The second carry takes the first one's old value: results may not overwrite what is still read."""
    w, a, b, x = (rng.normal(size=s).astype(np.float32) for s in ((4,), (4,), (4,), (length, 4)))
    check(scan(length, reverse_), w, a, b, x)


def test_while_and_cond(rng: np.random.Generator) -> None:
    types = [TensorType((), np.dtype(np.int32)), TensorType((3,), np.dtype(np.float32))]
    condition = trace_program(lambda n, x: [lt(n, np.int32(7))], types)[0]
    body = trace_program(lambda n, x: [add(n, np.int32(1)), mul(x, full_like(x, 2))], types)[0]
    x = rng.normal(size=3).astype(np.float32)
    for start in (0, 3, 6, 9):
        check(While(condition, body), np.array(start, np.int32), x)
    branches = tuple(trace_program(f, types[1:])[0] for f in (lambda x: [neg(x)], lambda x: [x], lambda x: [exp(x)]))
    for index in (-1, 0, 1, 2, 5):
        check(Cond(branches), np.array(index, np.int32), x)


def test_updates_in_loops_happen_in_place() -> None:
    """One buffer for the carry: the body's plan returns its first output in the memory of its input."""
    types = [TensorType((1000,), np.dtype(np.float32)), TensorType((), np.dtype(np.int32))]
    body = trace_program(lambda x, i: [dynamic_update_slice(x, np.ones(1, np.float32), [i])], types)[0]
    plan = make_plan(prepared(body), (True, False), {0: 0})
    assert plan.reused == {0: 0} and plan.arena_bytes < 4000
    check(lambda x, i: Scan(body, 5, False, 0, 1)(x, i), np.zeros(1000, np.float32), np.arange(5, dtype=np.int32))


def test_host_calls_raise_what_python_raised() -> None:
    def fail(x: np.ndarray) -> list[np.ndarray]:
        if x.sum() > 10:
            raise KeyError("too large")
        return [x + 1]

    type = TensorType((3,), np.dtype(np.float64))
    call = Callback(Rule(fail), (type,))
    body = trace_program(lambda x: call(x), [type])[0]
    compiled = compile_program(traced(lambda x: Scan(body, 4, False, 0, 1)(x), np.zeros(3)))
    np.testing.assert_array_equal(compiled.run([np.zeros(3)])[0], [4, 4, 4])
    for _ in range(2):
        with pytest.raises(KeyError, match="too large"):
            compiled.run([np.full(3, 2.0)])
    np.testing.assert_array_equal(compiled.run([np.zeros(3)])[0], [4, 4, 4])


def test_compiled_calls_nest_through_host_calls() -> None:
    """A host call that runs a compiled Program itself does not disturb the memory of the outer one."""
    type = TensorType((500,), np.dtype(np.float64))
    inner = compile_program(traced(lambda x: [mul(sum_(x, (0,)), np.float64(2))], np.zeros(500)))
    call = Callback(Rule(lambda x: [x - inner.run([x])[0] / 2]), (type,))

    def function(x: Any) -> list[Any]:
        before = reverse(exp(x), (0,))
        total = sum_(before, (0,))
        return [call(before)[0], mul(before, broadcast_in_dim(total, (500,), ()))]

    check(function, np.linspace(0, 1, 500))


def test_donated_memory_is_returned() -> None:
    x, y = np.arange(6.0), np.ones(6)
    compiled = compile_program(traced(lambda x, y: [add(x, y), sub(x, y)], x, y), (True, False))
    address = x.ctypes.data
    first, second = compiled.run([x, y])
    np.testing.assert_array_equal(first, np.arange(6) + 1)
    np.testing.assert_array_equal(second, np.arange(6) - 1)
    assert [first.ctypes.data, second.ctypes.data].count(address) == 1
    np.testing.assert_array_equal(y, np.ones(6))


def test_donated_input_read_later_is_kept() -> None:
    """The first output may not be written over the input that the second one reads in another order."""
    x = np.arange(12.0).reshape(3, 4)
    expected = [x * 2, x.T.copy() + x.sum()]

    def function(x: Any) -> list[Any]:
        return [add(x, x), add(transpose(x, (1, 0)), broadcast_in_dim(sum_(x, (0, 1)), (4, 3), ()))]

    compiled = compile_program(traced(function, x), (True,))
    for got, wanted in zip(compiled.run([x]), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


@settings(max_examples=40)
@given(random_functions())
def test_buffers_in_use_do_not_overlap(case: tuple[Callable[..., Any], list[np.ndarray]]) -> None:
    function, arrays = case
    plan = make_plan(prepared(traced(function, *arrays)))
    last = {v: n for n, step in enumerate(plan.steps) for v in (*step.reads, *step.outputs)}
    live: list[Any] = []
    for number, step in enumerate(plan.steps):
        for var in step.outputs:
            slot = plan.slots[var]
            if slot.kind != "arena":
                continue
            for other in live:
                start = plan.slots[other].number
                apart = start + nbytes(other.type) <= slot.number or slot.number + nbytes(var.type) <= start
                in_place = last[other] == number and start == slot.number and isinstance(step, LoopNest)
                assert apart or in_place
        live = [v for v in (*live, *step.outputs) if plan.slots[v].kind == "arena" and last[v] > number]


def test_fusion_of_a_chain_is_one_loop(rng: np.random.Generator) -> None:
    x = rng.normal(size=(8, 16)).astype(np.float32)
    program = traced(lambda x: [sum_(exp(transpose(neg(mul(x, x)), (1, 0))), (0,))], x)
    plan = make_plan(prepared(program))
    assert len(plan.steps) == 1 and plan.arena_bytes == 0


def test_checkpointed_equations_are_not_merged() -> None:
    from fdl.control.call import Call
    from fdl.control.checkpoint import Remat

    x = np.ones(4)
    inner = traced(lambda x: [exp(x)], x)
    for call, count in ((Call(inner), 1), (Remat(inner), 2)):
        program = traced(lambda x, call=call: [add(exp(x), call(x)[0])], x)
        assert sum(e.operation.name == "exp" for e in prepared(program).equations) == count


def test_pickle_and_program_cache() -> None:
    x = np.arange(5.0)
    compiled = compile_program(traced(lambda x: [exp(x)], x))
    assert compile_program(traced(lambda x: [exp(x)], x)) is compiled
    again = pickle.loads(pickle.dumps(compiled))
    np.testing.assert_array_equal(again.run([x])[0], compiled.run([x])[0])


SCRIPT = """
import numpy as np
from fdl.compile.runtime import machine
from fdl.compile import pipeline
from fdl.core.trace import trace_program
from fdl.core.types import TensorType
from fdl.ops.transcendental import exp
from fdl.ops.sort import Sort
import sys
count = 0
machine._emitter_version = lambda: "one"  # the sources may be edited while the test runs
compile_object = pipeline.compile_object
def counted(*args):
    global count
    count += 1
    return compile_object(*args)
pipeline.compile_object = counted
program = trace_program(lambda x: Sort(0)(exp(x)), [TensorType((6,), np.dtype("f8"))])[0]
print(count, *pipeline.compile_program(program).run([np.arange(6.0)[::-1]])[0])
print(count)
"""


def test_disk_cache_serves_other_processes_and_survives_damage(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDL_CACHE_DIR", str(tmp_path))

    def run() -> list[str]:
        return subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout.split()

    first = run()
    assert first[-1] == "1"
    assert run() == [*first[:-1], "0"]
    entries = list(tmp_path.glob("*.o"))  # of the program, and of what looks for signals
    assert entries
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:-10])
    assert run() == first
    np.testing.assert_allclose([float(v) for v in first[1:-1]], np.exp(np.arange(6.0)), 1e-14)
