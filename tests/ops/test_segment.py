"""Reductions by segment against loops."""

import numpy as np
import pytest

import fdl
from fdl.errors import ConcretizationError, ShapeError

DATA = np.arange(12.0).reshape(6, 2) - 5
IDS = np.array([2, 0, 2, 3, -1, 9])


@pytest.mark.parametrize(
    ("function", "combine", "neutral"),
    [
        (fdl.ops.segment_sum, np.add, 0.0),
        (fdl.ops.segment_prod, np.multiply, 1.0),
        (fdl.ops.segment_max, np.maximum, -np.inf),
        (fdl.ops.segment_min, np.minimum, np.inf),
    ],
)
@pytest.mark.parametrize("jitted", [False, True])
def test_rows_are_combined_by_number_and_strays_dropped(function, combine, neutral, jitted):
    expected = np.full((4, 2), neutral)
    for row, number in zip(DATA, IDS, strict=True):
        if 0 <= number < 4:
            expected[number] = combine(expected[number], row)
    run = fdl.jit(function, static_argnames="num_segments") if jitted else function
    np.testing.assert_array_equal(run(DATA, IDS, num_segments=4), expected)


def test_the_number_of_segments_comes_from_known_ids():
    assert fdl.ops.segment_sum(DATA, np.abs(IDS)).shape == (10, 2)
    with pytest.raises(ConcretizationError, match="without num_segments"):
        fdl.jit(fdl.ops.segment_sum)(DATA, IDS)


def test_ids_must_fit_the_rows():
    with pytest.raises(ShapeError, match="one segment id for each row"):
        fdl.ops.segment_sum(DATA, IDS[:3])
