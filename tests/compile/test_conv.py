"""Convolutions: forward, both gradients and their odd cases against a direct sum in float64."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from fdl.compile.kernels.conv import convolution, depthwise
from fdl.compile.kernels.conv.spec import Convolution
from fdl.compile.llvm.target import host_target
from tests.compile.native import kernel


def strides(array):
    return tuple(s // array.itemsize for s in array.strides)


def direct(x, w, stride, low, lhs, rhs, out, groups):
    """The defining sum, with x [n, *spatial, c], w [*window, c / groups, f] and output sizes `out`."""
    n, *sizes, channels = x.shape
    *window, inputs, features = w.shape
    y = np.zeros((n, *out, features))
    for o in itertools.product(*map(range, out)):
        for t in itertools.product(*map(range, window)):
            at = [a * s + b * r - p for a, s, b, r, p in zip(o, stride, t, rhs, low, strict=True)]
            if all(q % d == 0 and 0 <= q // d < size for q, d, size in zip(at, lhs, sizes, strict=True)):
                point = x[(slice(None), *(q // d for q, d in zip(at, lhs, strict=True)))].astype(np.float64)
                for g in range(groups):
                    part = slice(g * features // groups, (g + 1) * features // groups)
                    y[(slice(None), *o, part)] += point[:, g * inputs : (g + 1) * inputs] @ w[t][:, part]
    assert channels == inputs * groups
    return y


def size_out(size, window, stride, padding, lhs, rhs):
    dilated = (size - 1) * lhs + 1 if size else 0
    reach = (window - 1) * rhs + 1
    return max(0, (dilated + sum(padding) - reach) // stride + 1)


def specify(x, w, y, stride, low, lhs, rhs, groups):
    return Convolution(
        x.dtype, x.shape[0], x.shape[-1], w.shape[-1], x.shape[1:-1], w.shape[:-2], y.shape[1:-1],
        tuple(stride), tuple(low), tuple(lhs), tuple(rhs), groups, strides(x), strides(w), strides(y),
    )  # fmt: skip


def run(x, w, y, stride, low, lhs, rhs, groups, parts=1, epilogue=None, extras=()):
    # A negative stride points to the last element: kernels take the address of element (0, ..., 0).
    spec = specify(x, w, y, stride, low, lhs, rhs, groups)
    target = host_target()
    emitted, call = kernel(lambda m: convolution.emit(m, target, spec, epilogue, len(extras)), target, 3 + len(extras))
    call([x, w, y, *extras], parts)
    return emitted


def close(got, want, terms):
    scale = np.abs(want).max(initial=0) + math.sqrt(terms + 1)
    assert np.abs(got - want).max(initial=0) <= 4 * math.sqrt(terms + 1) * np.finfo(got.dtype).eps * scale


CASES = {
    # name: (x, window, features, stride, padding, lhs, rhs, groups)
    "3x3": ((2, 9, 10, 5), (3, 3), 20, (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 1),
    "1x1": ((2, 6, 7, 17), (1, 1), 33, (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1), 1),
    "7x7 stride 2": ((1, 23, 20, 3), (7, 7), 16, (2, 2), ((3, 3), (3, 3)), (1, 1), (1, 1), 1),
    "dilated": ((2, 12, 11, 4), (3, 2), 6, (1, 2), ((2, 1), (0, 3)), (1, 1), (2, 3), 1),
    "transposed": ((2, 5, 6, 4), (3, 4), 9, (1, 1), ((2, 1), (1, 2)), (2, 3), (1, 1), 1),
    "both dilations": ((2, 5, 6, 4), (3, 3), 8, (3, 2), ((2, 4), (4, 2)), (2, 2), (2, 3), 1),
    "groups": ((2, 7, 8, 12), (3, 3), 18, (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 3),
    "depthwise": ((2, 8, 9, 13), (3, 3), 13, (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 13),
    "depthwise stride 2": ((2, 8, 9, 16), (5, 3), 16, (2, 2), ((2, 2), (1, 1)), (1, 1), (1, 2), 16),
    "depthwise large": ((1, 24, 21, 70), (3, 5), 70, (1, 1), ((1, 1), (2, 2)), (1, 1), (1, 1), 70),
    "depthwise large stride 2": ((2, 33, 31, 17), (3, 3), 17, (2, 2), ((0, 1), (2, 0)), (1, 1), (1, 2), 17),
    "depthwise large upsampled": ((1, 15, 16, 19), (3, 3), 19, (1, 1), ((1, 1), (2, 1)), (2, 1), (1, 1), 19),
    "depthwise 3d": ((1, 9, 30, 31, 3), (1, 3, 3), 3, (2, 1, 1), ((0, 0), (1, 1), (1, 1)), (1, 1, 1), (1, 1, 1), 3),
    "groups of two": ((2, 8, 9, 34), (3, 3), 34, (1, 2), ((1, 1), (0, 1)), (1, 1), (1, 1), 17),
    "groups of two large": ((1, 23, 24, 6), (3, 3), 6, (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 3),
    "groups of four": ((2, 8, 9, 20), (5, 3), 20, (2, 1), ((2, 2), (1, 1)), (1, 1), (1, 2), 5),
    "multiplier": ((1, 6, 6, 4), (3, 3), 8, (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1), 4),
    "one output": ((2, 9, 10, 21), (3, 3), 1, (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 1),
    "one output of five": ((2, 5, 6, 5), (3, 2), 1, (1, 1), ((-1, 2), (1, 1)), (1, 1), (1, 1), 1),
    "three outputs of nine": ((2, 5, 6, 7, 9), (2, 3, 2), 3, (1,) * 3, ((1, 0), (1, 1), (0, 1)), (1,) * 3, (1,) * 3, 1),
    "two outputs": ((2, 9, 10, 35), (3, 5), 2, (2, 1), ((1, 1), (1, 0)), (1, 1), (1, 2), 1),
    "three outputs": ((2, 6, 7, 16), (3, 3), 3, (1, 1), ((1, 1), (1, 1)), (2, 1), (1, 1), 1),
    "four outputs 1d": ((2, 30, 17), (3,), 4, (1,), ((0, 1),), (1,), (1,), 1),
    "1d": ((3, 20, 7), (5,), 11, (2,), ((2, 1),), (1,), (1,), 1),
    "3d": ((2, 5, 6, 7, 3), (2, 3, 2), 5, (1, 2, 1), ((1, 0), (1, 1), (0, 1)), (1, 1, 1), (1, 1, 2), 1),
    "negative padding": ((2, 9, 9, 4), (3, 3), 4, (1, 1), ((-1, -2), (-2, 1)), (1, 1), (1, 1), 1),
    "many channels": ((2, 5, 6, 39), (3, 2), 9, (2, 1), ((1, 1), (0, 1)), (1, 1), (1, 2), 1),
    "one pixel": ((1, 1, 1, 1), (1, 1), 1, (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1), 1),
    "window of holes": ((2, 4, 4, 3), (1, 2), 5, (1, 1), ((0, 0), (1, 1)), (3, 2), (1, 2), 1),
    "no channels": ((2, 4, 4, 0), (3, 3), 5, (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 1),
    "no outputs": ((2, 2, 2, 3), (3, 3), 5, (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1), 1),
}  # fmt: skip


def operands(case, dtype, seed=0):
    shape, window, features, stride, padding, lhs, rhs, groups = case
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(dtype)
    w = rng.standard_normal((*window, shape[-1] // groups, features)).astype(dtype)
    out = [size_out(*row) for row in zip(shape[1:-1], window, stride, padding, lhs, rhs, strict=True)]
    return x, w, np.full((shape[0], *out, features), np.nan, dtype), [p[0] for p in padding]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_forward(name, dtype):
    *_, stride, _, lhs, rhs, groups = case = CASES[name]
    x, w, y, low = operands(case, dtype)
    run(x, w, y, stride, low, lhs, rhs, groups, parts=2)
    close(y, direct(x, w, stride, low, lhs, rhs, y.shape[1:-1], groups), w[..., 0].size)


@pytest.mark.parametrize("name", [name for name in CASES if "depthwise" not in name and name != "7x7 stride 2"])
def test_8_bit_integers_are_summed_in_32(name):
    *_, stride, _, lhs, rhs, groups = case = CASES[name]
    x, w, y, low = operands(case, np.float32)
    if x.shape[-1] // groups % 2 and groups > 1:
        return  # words would hold channels of two groups
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-128, 128, v.shape, np.int8) for v in (x, w))
    y = np.full(y.shape, 7, np.int32)
    run(x, w, y, stride, low, lhs, rhs, groups, parts=2)
    np.testing.assert_array_equal(y, direct(x, w, stride, low, lhs, rhs, y.shape[1:-1], groups))


@pytest.mark.parametrize("name", ["3x3", "groups", "depthwise", "1d", "7x7 stride 2"])
def test_channels_first_memory(name):
    *_, stride, _, lhs, rhs, groups = case = CASES[name]
    x, w, y, low = operands(case, np.float32)
    x, y = (np.moveaxis(np.ascontiguousarray(np.moveaxis(v, -1, 1)), 1, -1) for v in (x, y))
    w = np.ascontiguousarray(w.transpose()).transpose()
    run(x, w, y, stride, low, lhs, rhs, groups)
    close(y, direct(x, w, stride, low, lhs, rhs, y.shape[1:-1], groups), w[..., 0].size)


@pytest.mark.parametrize(
    "name", ["3x3", "1x1", "7x7 stride 2", "dilated", "one output", "1d", "3d", "negative padding", "many channels"]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradient_by_x(name, dtype):
    """<conv(x, w), dy> = <x, dx> decides what dx must be; dx is a convolution with reversed, swapped w."""
    shape, window, features, stride, _, lhs, rhs, _ = case = CASES[name]
    _, w, y, low = operands(case, dtype)
    dy = np.random.default_rng(3).standard_normal(y.shape).astype(dtype)
    dx = np.full(shape, np.nan, dtype)
    flipped = np.flip(w, axis=tuple(range(len(window)))).swapaxes(-1, -2)
    back = [(t - 1) * r - p for t, r, p in zip(window, rhs, low, strict=True)]
    run(dy, flipped, dx, lhs, back, stride, rhs, 1, parts=2)
    want = np.zeros(shape)
    for index in itertools.product(*map(range, y.shape[1:-1])):
        for t in itertools.product(*map(range, window)):
            at = [o * s + k * r - p for o, s, k, r, p in zip(index, stride, t, rhs, low, strict=True)]
            if all(0 <= q < n for q, n in zip(at, shape[1:-1], strict=True)):
                want[(slice(None), *at)] += dy[(slice(None), *index)].astype(np.float64) @ w[t].T
    close(dx, want, math.prod(window) * features)


@pytest.mark.parametrize(
    "name",
    ["3x3", "1x1", "7x7 stride 2", "dilated", "one output", "two outputs", "one output of five",
     "three outputs of nine", "four outputs 1d", "1d", "3d", "negative padding", "many channels"],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("parts", [1, 3])
def test_gradient_by_w(name, dtype, parts):
    shape, window, _, stride, _, lhs, rhs, _ = case = CASES[name]
    x, w, y, low = operands(case, dtype)
    dy = np.random.default_rng(3).standard_normal(y.shape).astype(dtype)
    dw = np.full(w.shape, np.nan, dtype)
    # x's channels act as the batch, its images as the channels; dy is the window.
    swapped = x.swapaxes(0, -1), np.moveaxis(dy, 0, -2), np.moveaxis(dw, -2, 0)
    run(*swapped, rhs, low, lhs, stride, 1, parts)
    want = np.zeros(w.shape)
    for index in itertools.product(*map(range, y.shape[1:-1])):
        for t in itertools.product(*map(range, window)):
            at = [o * s + k * r - p for o, s, k, r, p in zip(index, stride, t, rhs, low, strict=True)]
            if all(0 <= q < n for q, n in zip(at, shape[1:-1], strict=True)):
                want[t] += x[(slice(None), *at)].astype(np.float64).T @ dy[(slice(None), *index)]
    close(dw, want, dy[..., 0].size)


@pytest.mark.parametrize(
    "name", ["depthwise", "depthwise stride 2", "depthwise large", "groups of two", "groups of four"]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_depthwise_gradient_by_w(name, dtype):
    shape, window, _, stride, _, lhs, rhs, groups = case = CASES[name]
    x, w, y, low = operands(case, dtype)
    dy = np.random.default_rng(3).standard_normal(y.shape).astype(dtype)
    dw = np.full(w.shape, np.nan, dtype)
    spec, target = specify(x, w, dy, stride, low, lhs, rhs, groups), host_target()
    if not depthwise.fits(spec, target):
        pytest.skip("a register holds no group of this dtype")
    _, call = kernel(lambda m: convolution.emit_depthwise_weights(m, target, spec), target, 3)
    call([x, dy, dw], 2)
    size = w.shape[-2]
    channels = np.arange(size)[:, None] + np.arange(w.shape[-1]) // size * size
    want = np.zeros(w.shape)
    for index in itertools.product(*map(range, y.shape[1:-1])):
        for t in itertools.product(*map(range, window)):
            at = [o * s + k * r - p for o, s, k, r, p in zip(index, stride, t, rhs, low, strict=True)]
            if all(0 <= q < n for q, n in zip(at, shape[1:-1], strict=True)):
                for i, channel in enumerate(channels):
                    taken = x[(slice(None), *at)].astype(np.float64)[:, channel]
                    want[t][i] += (taken * dy[(slice(None), *index)]).sum(0)
    close(dw, want, dy[..., 0].size)


@pytest.mark.parametrize("name", ["3x3", "transposed", "depthwise", "depthwise large", "two outputs"])
def test_epilogue_sees_every_output_once_at_its_index(name):
    *_, stride, _, lhs, rhs, groups = case = CASES[name]
    x, w, y, low = operands(case, np.float32)
    bias = np.arange(w.shape[-1], dtype=np.float32)

    def epilogue(b, value, index, extras, mask, axis=-1):
        shifted = value + b.load(extras[0], "float32", index[-1], value.lanes, mask=mask)
        return b.max(shifted, b.broadcast(b.convert(index[1], "float32"), value.lanes))

    run(x, w, y, stride, low, lhs, rhs, groups, epilogue=epilogue, extras=[bias])
    plain = direct(x, w, stride, low, lhs, rhs, y.shape[1:-1], groups) + bias
    rows = np.arange(y.shape[1]).reshape(1, -1, *[1] * (y.ndim - 2))
    close(y, np.maximum(plain, rows), w[..., 0].size)


@pytest.mark.parametrize(
    "name", ["3x3", "depthwise", "depthwise large", "groups of two", "both dilations", "dilated", "3d", "1d"]
)
def test_parts_give_the_same_bits(name):
    *_, stride, _, lhs, rhs, groups = case = CASES[name]
    x, w, y, low = operands(case, np.float32)
    one, many = y.copy(), y.copy()
    work = run(x, w, one, stride, low, lhs, rhs, groups, parts=1).work
    run(x, w, many, stride, low, lhs, rhs, groups, parts=work)
    assert work >= len(x)
    np.testing.assert_array_equal(one, many)


def test_nan_and_infinity_reach_only_their_outputs():
    x = np.ones((1, 6, 6, 3), np.float32)
    x[0, 0, 0, 1], x[0, 5, 5, 2] = np.nan, np.inf
    w = np.ones((3, 3, 3, 4), np.float32)
    y = np.zeros((1, 6, 6, 4), np.float32)
    run(x, w, y, (1, 1), (1, 1), (1, 1), (1, 1), 1)
    assert np.isnan(y[0, :2, :2]).all() and np.isnan(y).sum() == 16
    assert np.isinf(y[0, 4:, 4:]).all() and np.isinf(y).sum() == 16


@pytest.mark.parametrize("case", [(6, 9, 3), (4, 8, 2), (5, 5, 5)], ids=str)
@pytest.mark.parametrize("with_epilogue", [False, True])
def test_groups_of_images(case, with_epilogue):
    """Each group of images meets its own output channels; as many groups as both is a depthwise weight gradient."""
    images, features, groups = case
    rng = np.random.default_rng(0)
    x = rng.standard_normal((images, 7, 6, 3)).astype(np.float32)
    w = rng.standard_normal((3, 2, 3, features)).astype(np.float32)
    stride, low, rhs = (1, 2), (1, 0), (2, 1)
    out = [size_out(*row) for row in zip((7, 6), (3, 2), stride, [(1, 1), (0, 1)], (1, 1), rhs, strict=True)]
    y = np.full((images // groups, *out, features), np.nan, np.float32)
    spec = dataclasses.replace(specify(x, w, y, stride, low, (1, 1), rhs, 1), batch_groups=groups)
    bias = rng.standard_normal(features).astype(np.float32)

    def epilogue(b, value, index, extras, mask, axis=-1):
        return value + b.load(extras[0], "float32", index[-1], value.lanes, mask=mask)

    given = [bias] if with_epilogue else []
    _, call = kernel(
        lambda m: convolution.emit(m, host_target(), spec, epilogue if given else None, len(given)),
        host_target(),
        3 + len(given),
    )
    call([x, w, y, *given], 2)
    parts = [
        direct(one, kernels, stride, low, (1, 1), rhs, out, 1)
        for one, kernels in zip(np.split(x, groups), np.split(w, groups, -1), strict=True)
    ]
    close(y, np.concatenate(parts, -1) + (bias if with_epilogue else 0), w[..., 0].size)
