"""Programs whose every step is divided among threads: right, and the same bits for any number of them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, nn, threads
from fdl.compile.ir.steps import KernelStep
from fdl.compile.passes.order import prepared
from fdl.compile.pipeline import Compiled, build_archive
from fdl.compile.schedule.planner import make_plan
from fdl.core.interpret import interpret
from fdl.core.trace import trace_program
from fdl.core.types import TensorType
from tests.compile.tuned import tune

RANDOM = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def divide_everything(monkeypatch: Any) -> Iterator[None]:
    tune(monkeypatch, step_time=1e-9, program_time=0.0)
    before = threads._chosen
    yield
    threads._chosen = before


def normal(*shape: int, dtype: Any = "f") -> np.ndarray:
    return RANDOM.normal(size=shape).astype(dtype)


def whole(*shape: int, below: int = 5) -> np.ndarray:
    return RANDOM.integers(0, below, shape).astype(np.int32)


def mlp(w0: Any, b0: Any, w1: Any, x: Any, y: Any) -> Any:
    def loss(w0: Any, b0: Any, w1: Any) -> Any:
        scores = nn.log_softmax(nn.relu(x @ w0 + b0) @ w1)
        return -(scores * nn.one_hot(y, 5)).sum(axis=1).mean()

    value, slopes = fdl.value_and_grad(loss, argnums=(0, 1, 2))(w0, b0, w1)
    return value, *(w - 0.1 * s for w, s in zip((w0, b0, w1), slopes, strict=True))


def network(w0: Any, w1: Any, x: Any) -> Any:
    def loss(w0: Any, w1: Any) -> Any:
        hidden = x
        for w in (w0, w1):
            hidden = lax.conv_general_dilated(hidden, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            hidden = lax.reduce_window(nn.relu(hidden), -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return (hidden**2).sum()

    return fdl.grad(loss, argnums=(0, 1))(w0, w1)


def first_layer(w: Any, x: Any) -> Any:
    """A gradient of few numbers that are long sums."""

    def loss(w: Any) -> Any:
        y = lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return fnp.tanh(y / 5).mean()

    return (fdl.grad(loss)(w),)


def attention(x: Any, w: Any) -> Any:
    def loss(w: Any) -> Any:
        q, k, v = ((x @ m).reshape(3, 10, 2, 8).transpose(0, 2, 1, 3) for m in w)
        weights = nn.softmax(q @ k.swapaxes(-1, -2) / 8**0.5)
        return fnp.tanh(weights @ v).mean()

    return (fdl.grad(loss)(w),)


def recurrent(w: Any, x: Any, h: Any) -> Any:
    def loss(w: Any) -> Any:
        def step(state: Any, now: Any) -> Any:
            h, c = state
            i, f, g, o = fnp.split(fnp.concatenate([now, h], 1) @ w, 4, 1)
            c = nn.sigmoid(f) * c + nn.sigmoid(i) * fnp.tanh(g)
            h = nn.sigmoid(o) * fnp.tanh(c)
            return (h, c), h

        (_, c), outputs = lax.scan(step, (h, h), x)
        return (outputs**2).sum() + c.sum()

    return fdl.value_and_grad(loss)(w)


def newton(x: Any) -> Any:
    def proceed(state: Any) -> Any:
        return (state[0] < 9) & (fnp.abs(state[1] ** 2 - x).max() > 1e-3)

    return lax.while_loop(proceed, lambda s: (s[0] + 1, (s[1] + x / s[1]) / 2), (0, fnp.ones_like(x)))


def branches(which: Any, x: Any) -> Any:
    y = fnp.exp(x)
    z = lax.switch(which[0], [lambda v: v + 1, lambda v: (v @ v.T @ v) / 100, lambda v: v.sum(axis=0) + 0 * v], y)
    return z * 2, y


def lookups(table: Any, rows: Any, updates: Any) -> Any:
    return table[rows] * 2, table.at[rows].add(updates), table.at[rows].max(updates), table.at[rows[:3]].set(0.5)


def windows(x: Any, starts: Any, slopes: Any) -> Any:
    """Windows that overlap; the derivative adds them up."""

    def picked(x: Any) -> Any:
        return fdl.vmap(lambda i: lax.dynamic_slice(x, (i, fnp.int32(0)), (4, 17)))(starts)

    value, pull = fdl.vjp(picked, x)
    return value, pull(slopes)[0]


def moving(x: Any, y: Any, start: Any) -> Any:
    return (
        fnp.concatenate([x, y * 2, x[::-1]], 0), lax.pad(x, fnp.float32(7), [(1, 2, 1), (0, 1, 2)]),
        lax.dynamic_slice(x, tuple(start), (9, 5)), lax.dynamic_update_slice(x, y[:4, :3], tuple(start)),
        fnp.transpose(x) + 1, fnp.cumsum(x, 0), fnp.cumsum(x, 1), fnp.sort(y, 0), fnp.argmax(x, 1),
    )  # fmt: skip


def sums(x: Any) -> Any:
    return x.sum(), x.sum(0), x.sum(1), x.max(0), fnp.prod(x, 1), (x > 0).any(0), x.mean(), (x * x).sum((0, 1)), x + 1


def bits(seed: Any) -> Any:
    key = fdl.random.key(seed[0])
    return fdl.random.uniform(key, (700,)), fdl.random.normal(key, (33, 9)), fdl.random.bits(key, (2, 300))


def chain(x: Any) -> Any:
    """Memory is used again and again, by steps that are cut along other axes."""
    for _ in range(4):
        x = x - x.max(axis=1, keepdims=True)
        x = fnp.exp(x).T @ x
        x = x / (1 + fnp.abs(x).sum(axis=0))
    return (x,)


def weighted(x: Any) -> Any:
    """Groups whose products read a number as a matrix, a different one each."""
    return [nn.softmax(fnp.matmul(fnp.full(x.shape, n / 9), (x + n).mT)).sum(0) for n in range(1, 9)]


PROGRAMS: dict[str, tuple[Callable[..., Any], list[np.ndarray]]] = {
    "sorted rows": (lambda x: (fnp.sort(x, 0), fnp.argsort(x), *lax.top_k(x, 5)), [normal(33, 40)]),
    "mlp": (mlp, [normal(30, 40), normal(40), normal(40, 5), normal(65, 30), whole(65)]),
    "network": (network, [normal(3, 3, 2, 6) / 5, normal(5, 5, 6, 20) / 9, normal(7, 13, 12, 2)]),
    "network of one image": (network, [normal(3, 3, 2, 40) / 5, normal(3, 3, 40, 8) / 9, normal(1, 24, 24, 2)]),
    "first layer": (first_layer, [normal(5, 5, 1, 6), normal(32, 28, 28, 1)]),
    "attention": (attention, [normal(3, 10, 16), normal(3, 16, 16) / 4]),
    "recurrent": (recurrent, [normal(16, 40) / 4, normal(6, 9, 6), normal(9, 10)]),
    "while": (newton, [RANDOM.uniform(1, 4, (50, 3)).astype("f")]),
    "switch": (branches, [np.array([1], np.int32), normal(23, 11)]),
    "lookups": (lookups, [normal(40, 9), whole(35, below=40), normal(35, 9)]),
    "windows": (windows, [normal(19, 17), whole(12, below=15), normal(12, 4, 17)]),
    "moving": (moving, [normal(20, 9), normal(6, 9), np.array([3, 2], np.int32)]),
    "columns": (sums, [normal(301, 37)]),
    "few long rows": (sums, [normal(3, 6001)]),
    "one number from many": (sums, [normal(2400, 250)]),
    "float16": (sums, [normal(2400, 250, dtype=np.float16)]),
    "integers": (sums, [whole(2048, 260)]),
    "random": (bits, [np.array([3], np.uint32)]),
    "chain": (chain, [normal(37, 37)]),
    "numbers as matrices": (weighted, [normal(4, 31, 16)]),
    "nothing": (sums, [normal(0, 5)]),
}


def compiled(function: Callable[..., Any], arrays: list[np.ndarray]) -> tuple[Any, Any]:
    program = trace_program(function, [TensorType(a.shape, a.dtype) for a in arrays])[0]
    return program, Compiled(program, (), build_archive(program, ()))


@pytest.mark.parametrize("name", PROGRAMS)
def test_same_bits_for_any_number_of_threads(name: str) -> None:
    function, arrays = PROGRAMS[name]
    if name == "nothing":
        function = lambda x: (x.sum(), x.sum(1), x + 1)  # noqa: E731
    program, native = compiled(function, arrays)
    threads.set_num_threads(1)
    alone = native.run(arrays)
    for found, expected in zip(alone, interpret(program, arrays), strict=True):
        exact = expected.dtype.kind in "biu"
        tolerance = 0 if exact else 3e-2 if expected.dtype.itemsize == 2 else 1e-3
        np.testing.assert_allclose(found.astype(float), expected.astype(float), tolerance, tolerance)
    for count in (2, 3, 8):
        threads.set_num_threads(count)
        for _ in range(3):
            for found, expected in zip(native.run(arrays), alone, strict=True):
                assert found.tobytes() == expected.tobytes(), count


def test_memory_of_a_donated_input_is_written_by_all_threads() -> None:
    def update(x: Any, slope: Any) -> Any:
        return (x - 0.5 * slope @ slope.T,)

    x, slope = normal(70, 70), normal(70, 30)
    program = trace_program(update, [TensorType(a.shape, a.dtype) for a in (x, slope)])[0]
    native = Compiled(program, (True, False), build_archive(program, (True, False)))
    expected = x - 0.5 * slope.astype(float) @ slope.T
    for count in (1, 2, 3):
        threads.set_num_threads(count)
        given = x.copy()
        (found,) = native.run([given, slope])
        assert found is given
        np.testing.assert_allclose(found, expected, 1e-4, 1e-4)


def test_a_gradient_of_few_numbers_is_summed_in_chunks() -> None:
    function, arrays = PROGRAMS["first layer"]
    program = trace_program(function, [TensorType(a.shape, a.dtype) for a in arrays])[0]
    steps = make_plan(prepared(program)).steps
    assert [s.workspace_bytes for s in steps if isinstance(s, KernelStep)][-1] == 16 * 150 * 4


def test_small_programs_leave_the_threads_asleep(monkeypatch: Any) -> None:
    monkeypatch.undo()
    assert not compiled(lambda x: fnp.tanh(x @ x).sum(0), [normal(20, 20)])[1].archive.parallel
    assert compiled(lambda x: fnp.tanh(x @ x).sum(0), [normal(400, 400)])[1].archive.parallel
