"""Counts of elements in bins that are computed, against a search among the same edges by NumPy."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("bins", "ends"), [(1, (0, 1)), (7, (-1.0, 2)), (100, (-4, 4)), (1000, (90.0, 110.0)), (9, (1e6, 1e6 + 1))]
)
def test_bins_of_equal_width(dtype, bins, ends):
    """Elements on edges and next to them, beyond the ends, infinite and NaN; the last case is searched in float32."""
    edges = np.asarray(fnp.histogram_bin_edges(np.zeros(1, dtype), bins, ends))
    inner = np.random.default_rng(1).uniform(*ends, 3000).astype(dtype)
    wild = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0, -0.0], dtype)
    x = np.concatenate([edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf), inner, wild]).astype(dtype)
    counts, found = map(np.asarray, fdl.jit(lambda x: fnp.histogram(x, bins, ends))(x))
    np.testing.assert_allclose(found, edges, rtol=0, atol=4 * np.finfo(dtype).eps * max(map(abs, ends)))
    kept = x[(x >= found[0]) & (x <= found[-1])]
    places = np.minimum(np.searchsorted(found, kept, "right") - 1, bins - 1)
    np.testing.assert_array_equal(counts, np.bincount(places, minlength=bins))


def test_boxes_of_equal_width():
    points = np.random.default_rng(2).normal(size=(500, 2))
    counts, _ = fnp.histogramdd(points, [5, 8], [(-1, 1), (-2, 2)])
    np.testing.assert_array_equal(counts, np.histogramdd(points, [5, 8], [(-1, 1), (-2, 2)])[0])
