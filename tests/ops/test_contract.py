"""DotGeneral, ConvGeneral and pooling against einsum, and against loops that follow their definitions."""

from itertools import product

import numpy as np
import pytest

from fdl.array import as_array
from fdl.core.interpret import evaluate
from fdl.core.types import TensorType
from fdl.dtypes import bfloat16, float16, float32, int32
from fdl.errors import DtypeError, ShapeError
from fdl.ops.contract import DotGeneral, dot_general
from fdl.ops.conv import ConvDimensionNumbers, ConvGeneral, _cases
from fdl.ops.window import ReduceWindow, SelectAndScatterAdd
from fdl.transforms.forward import jvp_values


def run(operation, *arrays):
    return np.asarray(evaluate(operation, arrays)[0])


@pytest.mark.parametrize("seed", range(30))
def test_dot_general_against_einsum(seed):
    rng = np.random.default_rng(seed)
    letters = "abcdef"[: rng.integers(0, 7)]
    extents = {c: int(rng.integers(0, 4)) for c in letters}
    kinds = {c: rng.choice(["batch", "summed", "left", "right"]) for c in letters}
    left, right = (
        "".join(rng.permutation([c for c in letters if kinds[c] in ("batch", "summed", side)]).tolist())
        for side in ("left", "right")
    )
    x, y = (rng.normal(size=[extents[c] for c in own]) for own in (left, right))
    summed, batch = ([c for c in left if kinds[c] == kind] for kind in ("summed", "batch"))
    numbers = (
        ([left.index(c) for c in summed], [right.index(c) for c in summed]),
        ([left.index(c) for c in batch], [right.index(c) for c in batch]),
    )
    free = [c for c in left if kinds[c] == "left"] + [c for c in right if kinds[c] == "right"]
    expected = np.einsum(f"{left},{right}->{''.join(batch + free)}", x, y)
    np.testing.assert_allclose(dot_general(as_array(x), as_array(y), numbers), expected, 1e-12, 1e-12)


def test_products_of_small_dtypes():
    numbers = (((0,), (0,)), ((), ()))
    ones = np.ones(3000, bfloat16)
    assert run(DotGeneral(*numbers), ones, ones) == np.float32(3000).astype(bfloat16)
    assert run(DotGeneral(*numbers, dtype=float32), ones, ones) == 3000
    bytes_ = np.full(4, 100, np.int8)
    assert run(DotGeneral(*numbers), bytes_, bytes_) == (4 * 100 * 100 + 128) % 256 - 128
    assert run(DotGeneral(*numbers, dtype=int32), bytes_, bytes_) == 40000
    assert run(DotGeneral(*numbers), np.array([1j, 2]), np.array([1j, 3])) == 5  # nothing is conjugated


def test_dot_general_names_what_does_not_fit():
    x, y = as_array(np.zeros((2, 3))), as_array(np.zeros((4, 5)))
    with pytest.raises(ShapeError, match=r"f64\[2,3\] and f64\[4,5\]: contracting axes \(1,\) and \(0,\)"):
        dot_general(x, y, (((1,), (0,)), ((), ())))
    with pytest.raises(DtypeError, match="one numeric dtype"):
        dot_general(x, as_array(np.zeros((3, 1), np.float32)), (((1,), (0,)), ((), ())))


def dilate(x, steps):
    out = np.zeros([(n - 1) * d + 1 if n else 0 for n, d in zip(x.shape, steps, strict=True)])
    out[tuple(slice(None, None, d) for d in steps)] = x
    return out


def padded(x, padding, fill=0.0):
    cut = x[tuple(slice(max(0, -a), n - max(0, -b)) for n, (a, b) in zip(x.shape, padding, strict=True))]
    return np.pad(cut, [(max(0, a), max(0, b)) for a, b in padding], constant_values=fill)


def naive_conv(operation, x, w):
    n = operation.numbers
    x, w = x.transpose(n.lhs_spec), w.transpose(n.rhs_spec)
    x = padded(dilate(x, (1, 1, *operation.lhs_dilation)), ((0, 0), (0, 0), *operation.padding))
    w = dilate(w, (1, 1, *operation.rhs_dilation))
    groups, batches, outs = operation.feature_group_count, operation.batch_group_count, w.shape[0]
    size = w.shape[2:]
    places = [max(0, (m - k) // s + 1) for m, k, s in zip(x.shape[2:], size, operation.strides, strict=True)]
    examples, features = x.shape[0] // batches, w.shape[1]
    out = np.zeros((examples, outs, *places))
    for example, feature in product(range(examples), range(outs)):
        group, part = feature // (outs // groups), feature // (outs // batches)
        data = x[part * examples + example, group * features : (group + 1) * features]
        for place in np.ndindex(*places):
            at = tuple(slice(p * s, p * s + k) for p, s, k in zip(place, operation.strides, size, strict=True))
            out[(example, feature, *place)] = np.sum(data[(slice(None), *at)] * w[feature])
    return out.transpose(np.argsort(n.out_spec))


@pytest.mark.parametrize("case", [c for c in _cases() if 0 not in c[1]], ids=lambda c: f"{c[1]}-{c[2]}")
def test_convolutions_against_loops(case, rng):
    operation, x_shape, w_shape = case
    x, w = rng.normal(size=x_shape), rng.normal(size=w_shape)
    expected = naive_conv(operation, x, w)
    np.testing.assert_allclose(run(operation, x, w), expected, 1e-12, 1e-12)
    np.testing.assert_allclose(operation(x, w), expected, 1e-11, 1e-11)
    assert operation.result(TensorType(x_shape, x.dtype), TensorType(w_shape, x.dtype)).shape == expected.shape


def test_half_convolutions_sum_in_float32():
    line = ConvDimensionNumbers((0, 1, 2), (0, 1, 2), (0, 1, 2))
    operation = ConvGeneral((1,), ((0, 0),), (1,), (1,), line)
    ones = np.ones((1, 30, 100), float16)
    assert run(operation, ones, ones) == 3000
    assert operation(ones, ones).concrete() == 3000


def test_convolutions_name_what_does_not_fit():
    line = ConvDimensionNumbers((0, 1, 2), (0, 1, 2), (0, 1, 2))
    operation = ConvGeneral((1,), ((0, 0),), (1,), (1,), line)
    with pytest.raises(ShapeError, match="3 features of the data and 2 of the kernel"):
        operation(np.zeros((1, 3, 5)), np.zeros((4, 2, 3)))
    with pytest.raises(ShapeError, match="must give each of 4 axes its meaning"):
        operation(np.zeros((1, 3, 5, 5)), np.zeros((4, 3, 3, 3)))


def naive_pool(kind, x, window, strides, padding, base_dilation, window_dilation):
    function, neutral = {"sum": (np.sum, 0.0), "max": (np.max, -np.inf), "min": (np.min, np.inf)}[kind]
    spread = np.full([(n - 1) * d + 1 for n, d in zip(x.shape, base_dilation, strict=True)], neutral)
    spread[tuple(slice(None, None, d) for d in base_dilation)] = x
    spread = padded(spread, padding, neutral)
    reach = [(k - 1) * d + 1 for k, d in zip(window, window_dilation, strict=True)]
    places = [(n - r) // s + 1 for n, r, s in zip(spread.shape, reach, strides, strict=True)]
    out = np.zeros(places)
    for place in np.ndindex(*places):
        at = (slice(p * s, p * s + r, d) for p, s, r, d in zip(place, strides, reach, window_dilation, strict=True))
        out[place] = function(spread[tuple(at)])
    return out


@pytest.mark.parametrize("kind", ["sum", "max", "min"])
def test_pooling_against_loops(kind, rng):
    x = rng.normal(size=(5, 7))
    for padding, base, dilation in product((((0, 0), (0, 0)), ((1, 2), (-1, 3))), ((1, 1), (2, 1)), ((1, 1), (1, 2))):
        geometry = ((2, 3), (2, 1), padding, base, dilation)
        np.testing.assert_allclose(run(ReduceWindow(kind, *geometry), x), naive_pool(kind, x, *geometry), 1e-12)


def test_the_first_of_equal_elements_in_a_window_has_the_derivative():
    x = np.array([2.0, 2.0, 1.0, 2.0])
    pool = ReduceWindow("max", (2,), (1,), ((0, 0),), (1,), (1,))
    _, (dot,) = jvp_values(lambda a: [pool(a)], [x], [as_array(np.array([1.0, 10.0, 100.0, 1000.0]))])
    np.testing.assert_array_equal(dot, [1, 10, 1000])
    back = SelectAndScatterAdd("max", (2,), (1,), ((0, 0),), (1,), (1,))
    np.testing.assert_array_equal(run(back, np.array([1.0, 10.0, 100.0]), x), [1, 10, 0, 100])


def test_pooling_of_nan_and_of_padding():
    pool = ReduceWindow("max", (2,), (2,), ((1, 1),), (1,), (1,))
    np.testing.assert_array_equal(run(pool, np.array([1.0, np.nan, 3.0, -np.inf])), [1, np.nan, -np.inf])
    np.testing.assert_array_equal(run(pool, np.array([-128, 5, 3, 4], np.int8)), np.array([-128, 5, 4], np.int8))
