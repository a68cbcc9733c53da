"""ragged_dot_general against sums over the groups in NumPy."""

import numpy as np
import pytest

from fdl import grad, lax
from fdl.errors import ShapeError

RNG = np.random.default_rng(0)
NUMBERS = lax.RaggedDotDimensionNumbers


def draw(*shape):
    return RNG.normal(size=shape)


def bounds(sizes):
    ends = np.cumsum(sizes)
    return list(zip(ends - sizes, ends, strict=True))


def test_free_axis_multiplies_each_group_by_its_matrix():
    x, w, sizes = draw(7, 4), draw(3, 4, 2), np.array([2, 0, 4])
    found = lax.ragged_dot_general(x, w, sizes, NUMBERS((((1,), (1,)), ((), ())), [0], [0]))
    expected = np.zeros((7, 2))
    for g, (low, high) in enumerate(bounds(sizes)):
        expected[low:high] = x[low:high] @ w[g]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(found, lax.ragged_dot(x, w, sizes), rtol=1e-12)


def test_contracted_axis_gives_a_product_for_each_group_and_batch():
    x, w = draw(2, 7, 4), draw(2, 7, 3)
    sizes = np.array([[3, 4], [0, 5]])  # one row for each example
    found = lax.ragged_dot_general(x, w, sizes, NUMBERS((((1,), (1,)), ((0,), (0,))), [1], []))
    assert found.shape == (2, 2, 4, 3)
    for b in range(2):
        for g, (low, high) in enumerate(bounds(sizes[b])):
            np.testing.assert_allclose(found[g, b], x[b, low:high].T @ w[b, low:high], rtol=1e-12, atol=1e-12)


def test_numbers_of_other_groups_and_of_none_do_not_reach_a_contracted_group():
    x, w = draw(3, 2), np.array([[1.0, 2.0], [np.nan, 1.0], [np.inf, 1.0]])
    numbers = NUMBERS((((0,), (0,)), ((), ())), [0], [])
    found = np.asarray(lax.ragged_dot_general(x, w, np.array([1, 1]), numbers))
    np.testing.assert_allclose(found, [np.outer(x[0], w[0]), np.outer(x[1], w[1])], rtol=1e-12)
    first = lambda x: lax.ragged_dot_general(x, w, np.array([1, 1]), numbers)[0].sum()  # noqa: E731
    np.testing.assert_allclose(grad(first)(x)[np.array([0, 2])], [[3, 3], [0, 0]], rtol=1e-12)


def test_batch_axes_in_any_order_have_sizes_of_their_own():
    x, w, sizes = draw(2, 5, 3, 4), draw(5, 3, 2, 1), np.array([[[1, 3], [0, 5]], [[2, 2], [4, 1]], [[5, 0], [1, 1]]])
    found = lax.ragged_dot_general(x, w, sizes, NUMBERS((((1,), (0,)), ((2, 0), (1, 2))), [1], []))
    assert found.shape == (2, 3, 2, 4, 1)
    for i, j in np.ndindex(3, 2):
        for g, (low, high) in enumerate(bounds(sizes[i, j])):
            expected = x[j, low:high, i].T @ w[low:high, i, j]
            np.testing.assert_allclose(found[g, i, j], expected, rtol=1e-12, atol=1e-12)


def test_batch_axis_ignores_groups():
    x, w = draw(5, 2, 3), draw(5, 3, 4)
    found = lax.ragged_dot_general(x, w, np.array([2, 3]), NUMBERS((((2,), (1,)), ((0,), (0,))), [0], []))
    np.testing.assert_allclose(found, x @ w, rtol=1e-12)


@pytest.mark.parametrize(
    ("numbers", "sizes", "message"),
    [
        (NUMBERS((((1,), (1,)), ((), ())), [0, 1], [0]), [3], "exactly one lhs ragged dimension"),
        (NUMBERS((((1,), (1,)), ((), ())), [2], [0]), [1, 1, 1], "less than the number of axes"),
        (NUMBERS((((1,), (1,)), ((), ())), [0], []), [1, 1, 1], "one axis of groups"),
        (NUMBERS((((1,), (1,)), ((), ())), [0], [0]), [[1, 1, 1]], r"expected group_sizes to have shape \(3,\)"),
        (NUMBERS((((1,), (1,)), ((), ())), [0], [0]), [1, 1], "expected rhs group dimension size 2, got 3"),
        (NUMBERS((((0, 1), (1,)), ((), ())), [0], []), [1, 1, 1], "as many axes of lhs as of rhs"),
    ],
)
def test_wrong_axes_are_named(numbers, sizes, message):
    with pytest.raises(ShapeError, match=message):
        lax.ragged_dot_general(draw(11, 5), draw(3, 5, 7), np.array(sizes), numbers)
