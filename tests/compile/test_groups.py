"""Groups of steps that run row by row: results against float64, laws, and what they leave out of memory."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import nn
from fdl.compile.ir.plan import Plan
from fdl.compile.ir.tiles import TileGroup
from fdl.compile.passes.order import prepared
from fdl.compile.pipeline import Compiled, build_archive
from fdl.compile.schedule.planner import make_plan
from fdl.core.program import Program
from fdl.core.trace import trace_program
from fdl.core.types import TensorType
from fdl.dtypes import bfloat16, float16
from tests.compile.small_groups import small_groups

SHAPES = [(1, 7), (9, 1), (67, 33), (3, 2, 41)]
TOLERANCE = {"float64": 1e-12, "float32": 2e-5, "float16": 5e-3, "bfloat16": 4e-2}


@pytest.fixture(params=["usual", "small"], autouse=True)
def sizes(request: Any) -> Iterator[None]:
    """The usual sizes of blocks, and blocks of few rows of groups as many as possible."""
    if request.param == "usual":
        yield
        return
    with small_groups():
        yield


def traced(function: Callable[..., Any], *arrays: np.ndarray) -> Program:
    def flat(*operands: Any) -> Any:
        return fdl.tree.leaves(function(*operands))

    return trace_program(flat, [TensorType(a.shape, a.dtype) for a in arrays])[0]


def run(function: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray]:
    """What the function's machine code makes, not taken from any cache."""
    program = traced(function, *arrays)
    return list(Compiled(program, (), build_archive(program, ())).run(list(arrays)))


def plan_of(function: Callable[..., Any], *arrays: np.ndarray) -> Plan:
    return make_plan(prepared(traced(function, *arrays)))


def groups(plan: Plan) -> list[int]:
    """How many members the groups of a plan have."""
    return [len(step.members) for step in plan.steps if isinstance(step, TileGroup)]


def random(*shape: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def close(got: np.ndarray, expected: np.ndarray, dtype: Any, scale: float = 1.0) -> None:
    """Equal but for rounding of numbers of the size of `scale`."""
    limit = TOLERANCE[np.dtype(dtype).name]
    assert got.dtype == dtype
    np.testing.assert_allclose(got.astype(np.float64), expected, limit, limit * max(scale, 1.0))


def pullback(function: Callable[..., Any]) -> Callable[..., Any]:
    """The gradients of the operands but the last, which is that of the result."""
    return lambda *operands: fdl.vjp(function, *operands[:-1])[1](operands[-1])


def softmax64(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


KINDS = [*((shape, np.float32) for shape in SHAPES), ((35, 60), np.float64), ((35, 60), float16), ((9, 21), bfloat16)]


@pytest.mark.parametrize(("shape", "dtype"), KINDS, ids=str)
def test_softmax_and_its_gradient(shape: tuple[int, ...], dtype: Any) -> None:
    x, dy = random(*shape, dtype=dtype), random(*shape, dtype=dtype, seed=1)
    x64, dy64 = x.astype(np.float64), dy.astype(np.float64)
    y = softmax64(x64)
    close(run(nn.softmax, x)[0], y, dtype)
    logs = run(lambda x: (nn.log_softmax(x), nn.logsumexp(x, -1)), x)
    close(logs[0], np.log(y), dtype)
    close(logs[1], np.log(np.exp(x64).sum(-1)), dtype)
    close(run(pullback(nn.softmax), x, dy)[0], y * (dy64 - (y * dy64).sum(-1, keepdims=True)), dtype)


def test_rows_of_infinities_and_nan() -> None:
    x = random(40, 50)
    x[1], x[2, 3], x[3, 4:], x[4, 0], x[5] = -np.inf, np.nan, -np.inf, np.inf, np.nan
    with np.errstate(invalid="ignore"):
        expected = softmax64(x.astype(np.float64))
    close(run(nn.softmax, x)[0], expected, np.float32)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 3, 4)], ids=str)
def test_no_rows(shape: tuple[int, ...]) -> None:
    for function in (nn.softmax, nn.log_softmax):
        if shape[-1]:
            (y,) = run(function, random(*shape))
            assert y.shape == shape
    scale, shift = random(shape[-1]), random(shape[-1])
    dx, dscale, dshift = run(pullback(layer_norm), random(*shape), scale, shift, random(*shape))
    assert dx.shape == shape
    np.testing.assert_array_equal([*dscale, *dshift], 0)


def layer_norm(x: Any, scale: Any, shift: Any) -> Any:
    centred = x - fnp.mean(x, -1, keepdims=True)
    return centred / fnp.sqrt(fnp.mean(centred**2, -1, keepdims=True) + 1e-3) * scale + shift


@pytest.mark.parametrize(("shape", "dtype"), KINDS[:-2], ids=str)
def test_layer_norm_and_its_gradients(shape: tuple[int, ...], dtype: Any) -> None:
    x, scale, shift = (
        random(*shape, dtype=dtype),
        random(shape[-1], dtype=dtype, seed=1),
        random(shape[-1], dtype=dtype),
    )
    dy = random(*shape, dtype=dtype, seed=2)
    x64, scale64, dy64 = (a.astype(np.float64) for a in (x, scale, dy))
    centred = x64 - x64.mean(-1, keepdims=True)
    root = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-3)
    y = centred / root
    close(run(layer_norm, x, scale, shift)[0], y * scale64 + shift, dtype)
    dx, dscale, dshift = run(pullback(layer_norm), x, scale, shift, dy)
    axes = tuple(range(len(shape) - 1))
    size = np.abs(dy64).sum(axes).max()
    close(dscale, (dy64 * y).sum(axes), dtype, size)
    close(dshift, dy64.sum(axes), dtype, size)
    dn = dy64 * scale64
    means = dn.mean(-1, keepdims=True), (dn * y).mean(-1, keepdims=True)
    close(dx, (dn - means[0] - y * means[1]) / root, dtype, np.abs(dn / root).max())


@pytest.mark.parametrize("shape", [(1, 7), (9, 1), (67, 33)], ids=str)
def test_cross_entropies(shape: tuple[int, int]) -> None:
    rows, classes = shape
    x, labels = random(*shape), np.random.default_rng(3).integers(0, classes, rows).astype(np.int32)
    one_hot = np.eye(classes, dtype=np.float32)[labels]
    y = softmax64(x.astype(np.float64))
    loss, gradient = -np.log(y[np.arange(rows), labels]).mean(), (y - one_hot) / rows
    losses = (nn.softmax_cross_entropy_with_integer_labels, labels), (nn.softmax_cross_entropy, one_hot)
    for function, targets in losses:

        def mean(x: Any, targets: Any, function: Any = function) -> Any:
            return fnp.mean(function(x, targets))

        got = run(fdl.value_and_grad(mean), x, targets)
        close(got[0], loss, np.float32)
        close(got[1], gradient, np.float32)


def attention(q: Any, k: Any, v: Any, causal: bool) -> Any:
    scores = fnp.einsum("bqhd,bkhd->bhqk", q, k) * q.shape[-1] ** -0.5
    if causal:
        scores = fnp.where(fnp.tril(fnp.ones(scores.shape[-2:], bool)), scores, -1e30)
    return fnp.einsum("bhqk,bkhd->bqhd", nn.softmax(scores), v)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(2, 16, 4, 8), (3, 37, 2, 5), (5, 6, 1, 6)], ids=str)
def test_attention_and_its_gradients(shape: tuple[int, ...], causal: bool) -> None:
    q, k, v, dy = (random(*shape, seed=n) for n in range(4))
    q64, k64, v64, dy64 = (a.astype(np.float64) for a in (q, k, v, dy))
    root = shape[-1] ** -0.5
    scores = np.einsum("bqhd,bkhd->bhqk", q64, k64) * root
    if causal:
        scores = np.where(np.tri(shape[1], dtype=bool), scores, -1e30)
    weights = softmax64(scores)
    close(run(lambda *a: attention(*a, causal), q, k, v)[0], np.einsum("bhqk,bkhd->bqhd", weights, v64), np.float32)
    dweights = np.einsum("bqhd,bkhd->bhqk", dy64, v64)
    dscores = weights * (dweights - (weights * dweights).sum(-1, keepdims=True)) * root
    expected = (
        np.einsum("bhqk,bkhd->bqhd", dscores, k64),
        np.einsum("bhqk,bqhd->bkhd", dscores, q64),
        np.einsum("bhqk,bqhd->bkhd", weights, dy64),
    )
    got = run(pullback(lambda q, k, v: attention(q, k, v, causal)), q, k, v, dy)
    for gradient, reference in zip(got, expected, strict=True):
        close(gradient, reference, np.float32)


def test_intermediate_values_are_not_in_the_arena() -> None:
    x = random(512, 256)
    assert groups(plan_of(nn.softmax, x)) == [3]
    assert plan_of(nn.softmax, x).arena_bytes == 0
    assert plan_of(layer_norm, x, x[0], x[0]).arena_bytes == 0
    scores = 2 * 4 * 256 * 256 * 4
    q = random(2, 256, 4, 16)
    for function, operands in ((lambda *a: attention(*a, True), 3), (pullback(lambda *a: attention(*a, True)), 4)):
        plan = plan_of(function, *[q] * operands)
        assert groups(plan) and plan.arena_bytes < scores
        archive = build_archive(traced(function, *[q] * operands), ())
        assert archive.scratch_bytes < scores // 2


def test_a_group_is_one_step_for_threads() -> None:
    """Nothing but the group and the copy of its result into the order that was asked for."""
    q = random(2, 64, 4, 32)
    assert len(plan_of(lambda *a: attention(*a, False), q, q, q).steps) <= 2


def test_values_that_are_read_outside_are_kept() -> None:
    x = random(64, 128)

    def both(x: Any) -> Any:
        powers = fnp.exp(x - fnp.max(x, -1, keepdims=True))
        return powers / fnp.sum(powers, -1, keepdims=True), powers, fnp.sum(powers, 0)

    y, powers, column = run(both, x)
    expected = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
    close(powers, expected, np.float32)
    close(y, softmax64(x.astype(np.float64)), np.float32)
    close(column, expected.sum(0), np.float32, 64)


def test_a_row_may_not_read_another_row() -> None:
    x = random(64, 256)
    shifted = run(lambda x: nn.softmax(x) + nn.softmax(x)[::-1], x)[0]
    y = softmax64(x.astype(np.float64))
    close(shifted, y + y[::-1], np.float32)


@pytest.mark.parametrize("rows", [1, 16, 17, 333])
def test_sums_over_rows_in_chunks(rows: int) -> None:
    """Column sums of different kinds, of what a group makes, for rows that do not fill the last chunk or block."""
    x = random(rows, 40)
    y = softmax64(x.astype(np.float64))

    def function(x: Any) -> Any:
        z = nn.softmax(x)
        return fnp.sum(z, 0), fnp.max(z, 0), fnp.sum(z * z), fnp.min(z), fnp.any(z > 0.2, 0)

    total, most, square, least, some = run(function, x)
    close(total, y.sum(0), np.float32)
    close(most, y.max(0), np.float32)
    close(square, (y * y).sum(), np.float32)
    close(least, y.min(), np.float32)
    np.testing.assert_array_equal(some, (y > 0.2).any(0))


@pytest.mark.parametrize("shape", [(2, 3, 7), (4, 16, 16), (8, 5, 64)], ids=str)
def test_rows_of_units_with_a_table_of_rows(shape: tuple[int, ...]) -> None:
    """Each unit reads the same table, row by row; sums over the units come last."""
    x, table = random(*shape), random(*shape[1:], seed=1)
    y = softmax64(x.astype(np.float64) + table)
    got = run(lambda x, t: nn.softmax(x + t), x, table)[0]
    close(got, y, np.float32)
    dy = random(*shape, seed=2)
    dx, dtable = run(pullback(lambda x, t: nn.softmax(x + t)), x, table, dy)
    expected = y * (dy - (y * dy).sum(-1, keepdims=True))
    close(dx, expected, np.float32)
    close(dtable, expected.sum(0), np.float32)


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    operands = [random(4, 64, 4, 32, seed=n) for n in range(4)]
    cases = [
        (pullback(lambda *a: attention(*a, True)), operands),
        (pullback(layer_norm), [random(999, 200), random(200), random(200), random(999, 200)]),
    ]
    before = fdl.get_num_threads()
    try:
        for function, arrays in cases:
            program = traced(function, *arrays)
            compiled = Compiled(program, (), build_archive(program, ()))
            results = []
            for count in (1, 2, 3, 2):
                fdl.set_num_threads(count)
                results.append([a.tobytes() for a in compiled.run(list(arrays))])
            assert all(a == b for a, b in itertools.pairwise(results))
    finally:
        fdl.set_num_threads(before)


@pytest.mark.parametrize("dtype", [bfloat16, float16], ids=str)
@pytest.mark.parametrize("shape", [(31, 31, 2), (5, 70, 9), (1, 40, 3)], ids=str)
def test_sums_over_the_rows_of_16_bits(shape: tuple[int, ...], dtype: Any) -> None:
    """They are as wide as sums are, not rounded after every block of rows."""
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)

    def normed(x: Any) -> Any:
        y = x - x.mean(-1, keepdims=True)
        return [(y * fnp.cos(x)).sum(1), nn.softmax(y).sum((0, 1)), y]

    wide = [np.asarray(v) for v in normed(fnp.asarray(x.astype(np.float64)))]
    for got, exact in zip(run(normed, x), wide, strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got.astype(np.float64), exact, atol=4 * TOLERANCE[str(dtype)] * np.abs(exact).max())


@pytest.mark.parametrize("batch", [1, 32, 33, 100])
def test_mean_of_per_example_gradients(batch: int) -> None:
    """Each unit of a group gives one row of a sum that has no other loop."""
    rng = np.random.default_rng(0)
    sizes = [(7, 64), (64,), (64, 10), (10,)]
    params = [0.3 * rng.normal(size=s) for s in sizes]
    x, labels = rng.normal(size=(batch, 7)), rng.integers(0, 10, batch)

    def loss(params: Any, x: Any, label: Any) -> Any:
        w1, b1, w2, b2 = params
        return -nn.log_softmax(nn.relu(x @ w1 + b1) @ w2 + b2)[label]

    def mean(*arrays: Any) -> Any:
        *params, x, labels = arrays
        each = fdl.vmap(fdl.value_and_grad(loss), (None, 0, 0))(params, x, labels)
        return fdl.tree.map(lambda leaf: leaf.mean(0), each)

    def whole(*arrays: Any) -> Any:
        *params, x, labels = arrays
        return fdl.value_and_grad(lambda p: fdl.vmap(loss, (None, 0, 0))(p, x, labels).mean())(params)

    with fdl.disable_jit():
        expected = fdl.tree.leaves(whole(*map(fnp.asarray, (*params, x, labels))))
    for got, exact in zip(run(mean, *params, x, labels), expected, strict=True):
        np.testing.assert_allclose(got, np.asarray(exact), 1e-10, 1e-12)


@pytest.mark.parametrize("count", [1, 5, 1000])
def test_keys_that_only_a_group_reads(count: int) -> None:
    keys = np.asarray(fdl.random.split(fdl.random.key(0), count))

    def draw(keys: Any) -> Any:
        later = fdl.vmap(lambda k: fdl.random.split(k, 3)[1])(keys)
        return fdl.vmap(lambda k: nn.softmax(fdl.random.normal(k, (4,))))(later), later

    eager = draw(fnp.asarray(keys))
    found = run(draw, keys)
    np.testing.assert_allclose(found[0], np.asarray(eager[0]), 2e-6)
    assert found[1].tobytes() == np.asarray(eager[1]).tobytes()


@pytest.mark.parametrize("shape", [(4, 31, 16), (2, 64, 5)], ids=str)
@pytest.mark.parametrize("number", [1.0, 0.25])
def test_numbers_that_products_read_as_matrices(shape: tuple[int, ...], number: float) -> None:
    """The cotangent of a sum or a mean of attention is one number, which a product of the group has as operand."""
    q, k, v = (random(*shape, seed=n) for n in range(3))
    q64, k64, v64 = (a.astype(np.float64) for a in (q, k, v))

    def total(*a: Any) -> Any:
        return number * fnp.sum(fnp.matmul(nn.softmax(fnp.matmul(a[0], a[1].mT)), a[2]))

    weights = softmax64(q64 @ k64.mT)
    dweights = np.full(shape, number) @ v64.mT
    dscores = weights * (dweights - (weights * dweights).sum(-1, keepdims=True))
    got = run(fdl.grad(total, (0, 1, 2)), q, k, v)
    expected = dscores @ k64, dscores.mT @ q64, weights.mT @ np.full(shape, number)
    for gradient, reference in zip(got, expected, strict=True):
        close(gradient, reference, np.float32)
    made = run(lambda x: nn.softmax(fnp.matmul(fnp.full(shape, number), x.mT)), q)[0]
    close(made, softmax64(np.full(shape, number) @ q64.mT), np.float32)
