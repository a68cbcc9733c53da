"""Interpolation on grids, against SciPy."""

import numpy as np
import pytest
import scipy.interpolate

import fdl
import fdl.numpy as fnp
from fdl.errors import DtypeError, RangeError, ShapeError
from fdl.scipy.interpolate import RegularGridInterpolator

RNG = np.random.default_rng(0)
GRID = (np.array([0.0, 1.0, 4.0]), np.array([2.0, 1.0, 0.5, -1.0]))  # one axis descends
VALUES = RNG.normal(size=(3, 4, 2))


@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_values_are_those_of_scipy(method):
    places = RNG.uniform(-1, 5, (6, 5, 2))
    places[0, 0] = 1.0, 0.5  # a point of the grid
    places[0, 1, 1] = np.nan
    for values in (VALUES, VALUES[..., 0] + 1j):
        for fill in (np.nan, 7.0, None):
            ours = RegularGridInterpolator(GRID, values, method, fill_value=fill)
            theirs = scipy.interpolate.RegularGridInterpolator(GRID, values, method, False, fill)
            np.testing.assert_allclose(np.asarray(ours(places)), theirs(places), 1e-12, 1e-12)
    pair = places[..., 0], places[0, :, 1]
    np.testing.assert_allclose(np.asarray(ours(pair)), theirs(pair), 1e-12)
    np.testing.assert_allclose(np.asarray(ours(places[1, 1])), theirs(places[1, 1]), 1e-12)
    line, x = np.array([1.0, 2.0]), np.array([1.2, 1.9])
    found = RegularGridInterpolator((line,), line**2, method)(x)
    np.testing.assert_allclose(
        np.asarray(found), scipy.interpolate.RegularGridInterpolator((line,), line**2, method)(x)
    )


def test_a_grid_of_one_point_and_none():
    f = RegularGridInterpolator((np.array([3.0]),), np.array([5.0]))
    assert f(np.array([3.0])).tolist() == [5.0] and np.isnan(f(np.array([4.0])).item())
    assert RegularGridInterpolator(GRID, VALUES)(np.zeros((0, 2))).shape == (0, 2)


def test_an_interpolator_passes_through_transforms():
    f = RegularGridInterpolator(GRID[:1], VALUES[:, 0, 0])
    x = np.array([0.5, 3.0, 9.0])
    np.testing.assert_array_equal(np.asarray(fdl.jit(lambda f, x: f(x))(f, x)), np.asarray(f(x)))


def test_derivatives_by_places_values_and_points():
    places = np.array([[0.3, 1.7], [2.0, 0.1]])

    def at(points, values, x):
        return fnp.sum(RegularGridInterpolator((points, GRID[1]), values)(x) ** 2)

    args = GRID[0], VALUES, places
    gradients = fdl.grad(at, (0, 1, 2))(*args)
    for k, (gradient, value) in enumerate(zip(gradients, args, strict=True)):
        direction = np.random.default_rng(k).normal(size=value.shape)
        change = [at(*args[:k], value + s * direction, *args[k + 1 :]).item() for s in (1e-6, -1e-6)]
        np.testing.assert_allclose(np.sum(np.asarray(gradient) * direction), (change[0] - change[1]) / 2e-6, 1e-6)
    batch = fdl.vmap(lambda v: RegularGridInterpolator(GRID, v)(places))(np.stack([VALUES, 2 * VALUES]))
    np.testing.assert_allclose(np.asarray(batch[1]), 2 * np.asarray(batch[0]), 1e-12)


def test_wrong_grids_are_refused():
    for points, values, options, error, words in [
        (GRID, VALUES[:2], {}, ShapeError, "lengths"),
        ((GRID[0], np.ones((2, 2))), VALUES, {}, ShapeError, r"points\[1\]"),
        (3, VALUES, {}, TypeError, "sequence of vectors"),
        ((), VALUES, {}, ShapeError, "got none"),
        ((np.array([1j, 2]),), np.ones(2), {}, DtypeError, r"points\[0\] must be real"),
        ((np.array([1.0, 3, 2]),), np.ones(3), {}, RangeError, r"points\[0\] must be strictly ascending or descending"),
        ((np.array([1.0, 1, 2]),), np.ones(3), {}, RangeError, "strictly"),
        ((np.array([1.0, np.nan, 2]),), np.ones(3), {}, RangeError, "strictly"),
        (GRID, VALUES, {"method": "cubic"}, ValueError, "method"),
        (GRID, VALUES, {"fill_value": 1j}, DtypeError, "fill_value"),
        (GRID, VALUES, {"bounds_error": True}, NotImplementedError, "bounds_error"),
    ]:
        with pytest.raises(error, match=words):
            RegularGridInterpolator(points, values, **options)
    with pytest.raises(ShapeError, match="2 axes"):
        RegularGridInterpolator(GRID, VALUES)(np.ones((4, 3)))
    found = RegularGridInterpolator((np.arange(3, dtype=np.float32),), np.arange(3, dtype=np.float32))
    assert found(np.float32([0.5])).dtype == np.float32
