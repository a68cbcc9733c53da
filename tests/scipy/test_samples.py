"""Statistics of samples, density estimates, interpolation of images, cosine transforms, codes of vectors."""

import itertools

import numpy as np
import pytest
import scipy.cluster.vq
import scipy.fft
import scipy.integrate
import scipy.ndimage
import scipy.stats

import fdl
import fdl.numpy as fnp
from fdl.errors import DtypeError, ShapeError
from fdl.scipy import cluster, fft, integrate, ndimage, stats

RNG = np.random.default_rng(0)


def close(found, expected, bound=1e-11):
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(np.asarray(found), expected, bound, bound)


@pytest.mark.parametrize("axis", [None, 0, -1])
def test_mode_and_ranks(axis):
    a = np.random.default_rng(1).integers(0, 4, (5, 7))
    for kind in (np.int32, np.float64):
        x = a.astype(kind)
        found, expected = stats.mode(x, axis), scipy.stats.mode(x, axis=axis)
        close(found.mode, expected.mode)
        close(found.count, expected.count)
        assert found.mode.dtype == kind
        assert stats.mode(x, axis, keepdims=True).mode.ndim == 2
        for method in ("average", "min", "max", "dense", "ordinal"):
            close(stats.rankdata(x, method, axis=axis), scipy.stats.rankdata(x, method, axis=axis))


def test_mode_and_ranks_compiled():
    x = np.random.default_rng(1).integers(0, 4, (5, 7))
    found = fdl.jit(lambda x: (stats.mode(x).count, stats.rankdata(x), fdl.vmap(stats.rankdata)(x)))(x)
    close(found[0], scipy.stats.mode(x).count)
    close(found[1], scipy.stats.rankdata(x))
    close(found[2], scipy.stats.rankdata(x, axis=1))


def test_statistics_of_nan_and_of_nothing():
    nan = np.array([[1.0, np.nan, np.nan], [3.0, 1.0, 1.0]])
    close(stats.rankdata(nan, axis=1), scipy.stats.rankdata(nan, axis=1))
    assert np.isnan(stats.mode(nan[0]).mode)
    assert stats.mode(nan[0]).count == 2
    assert np.isnan(stats.mode(np.zeros(0)).mode)
    assert stats.rankdata(np.zeros(0)).shape == (0,)
    two = np.array([[1.0, np.nan, 4.0], [3.0, 1.0, 1.0]])
    close(stats.sem(two, axis=1, nan_policy="omit"), scipy.stats.sem(two, axis=1, nan_policy="omit"))
    x = RNG.normal(size=(4, 5))
    for axis, ddof in itertools.product((0, 1, None), (0, 1)):
        close(stats.sem(x, axis, ddof), scipy.stats.sem(x, axis, ddof))
    with pytest.raises(NotImplementedError, match="nan_policy"):
        stats.mode(nan, nan_policy="omit")
    with pytest.raises(ValueError, match="'average'"):
        stats.rankdata(nan, "first")


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("method", [None, "silverman", 0.4, lambda kde: 0.7])
def test_density_estimate(d, method):
    rng = np.random.default_rng(2)
    data, points, weights = rng.normal(size=(d, 20)), rng.normal(size=(d, 6)), rng.uniform(0.5, 1, 20)
    ours = stats.gaussian_kde(data, method, weights)
    theirs = scipy.stats.gaussian_kde(data, method, weights)
    close(ours(points), theirs(points))
    close(ours.logpdf(points + 9), theirs.logpdf(points + 9))
    close(ours.covariance, theirs.covariance)
    close(ours.neff, theirs.neff)
    close(ours.integrate_gaussian(points[:, 0], np.eye(d)), theirs.integrate_gaussian(points[:, 0], np.eye(d)))
    other = rng.normal(size=(d, 8))
    close(ours.integrate_kde(stats.gaussian_kde(other)), theirs.integrate_kde(scipy.stats.gaussian_kde(other)))
    if d == 1:
        close(ours.integrate_box_1d(-1.0, 0.5), theirs.integrate_box_1d(-1.0, 0.5))
    close(fdl.jit(lambda kde, x: kde.pdf(x))(ours, points), theirs(points))


def test_density_estimate_of_samples_is_drawn_differentiated_and_mapped():
    data = np.random.default_rng(3).normal(size=(2, 30))
    kde = stats.gaussian_kde(data)
    drawn = np.asarray(kde.resample(fdl.random.key(0), (4000,)))
    assert drawn.shape == (2, 4000)
    np.testing.assert_allclose(drawn.mean(1), data.mean(1), atol=0.08)
    np.testing.assert_allclose(np.cov(drawn), kde.covariance + np.cov(data, bias=True), atol=0.12)
    assert kde.resample(fdl.random.key(0), (2, 3)).shape == (2, 2, 3)
    slope = fdl.grad(lambda x: stats.gaussian_kde(x).logpdf(np.zeros((2, 1)))[0])(data)
    step = np.zeros_like(data)
    step[1, 4] = 1e-5
    up, down = (scipy.stats.gaussian_kde(x).logpdf(np.zeros((2, 1)))[0] for x in (data + step, data - step))
    assert abs(slope[1, 4] - (up - down) / 2e-5) < 1e-8
    many = fdl.vmap(stats.gaussian_kde)(np.stack([data, 2 * data]))
    close(fdl.vmap(lambda k: k.pdf(np.zeros(2)))(many)[1], scipy.stats.gaussian_kde(2 * data).pdf(np.zeros(2)))
    with pytest.raises(ShapeError, match="weights"):
        stats.gaussian_kde(data, weights=np.ones(3))
    with pytest.raises(ShapeError, match="points"):
        kde.pdf(np.zeros((3, 2)))


MODES = {"constant": "grid-constant", "wrap": "grid-wrap"}


@pytest.mark.parametrize("mode", ["constant", "nearest", "wrap", "mirror", "reflect"])
@pytest.mark.parametrize("order", [0, 1])
def test_values_between_the_elements_of_an_array(order, mode):
    rng = np.random.default_rng(4)
    image, places = rng.normal(size=(4, 5)), rng.uniform(-7, 12, (2, 3, 8))
    ours = lambda image, places: ndimage.map_coordinates(image, places, order, mode, cval=1.5)  # noqa: E731
    theirs = lambda i, p: scipy.ndimage.map_coordinates(i, p, order=order, mode=MODES.get(mode, mode), cval=1.5)  # noqa: E731
    close(ours(image, places), theirs(image, places))
    close(
        fdl.vmap(ours, (None, 1))(image, places.swapaxes(0, 1)[:, :, None].swapaxes(0, 1)[:, :, 0]),
        theirs(image, places),
    )
    small = image[:1, :2]
    close(ours(small, places), theirs(small, places))
    if order and mode in ("constant", "reflect"):
        total = lambda i, p: fnp.sum(ndimage.map_coordinates(i, p, 1, mode) ** 2)  # noqa: E731
        fdl.test_util.check_grads(total, (image, places), 1, atol=1e-5, rtol=1e-5)


def test_values_between_whole_numbers_and_far_away():
    image = np.arange(10, dtype=np.int32)
    for order in (0, 1):
        found = ndimage.map_coordinates(image, [np.array([0.5, 1.5, 2.25, -1e12, 1e12])], order, "nearest")
        assert found.dtype == np.int32
        assert found.tolist() == [1, 2, 2, 0, 9]
    big = np.array([2**30 + 1, 0], np.int32)
    assert ndimage.map_coordinates(big, [np.array([0])], 0).tolist() == [2**30 + 1]
    assert ndimage.map_coordinates(np.zeros((0,)), [np.array([0.5])], 1, cval=3.0).tolist() == [3.0]
    with pytest.raises(NotImplementedError, match="order"):
        ndimage.map_coordinates(image, [np.array([0.5])], 3)
    with pytest.raises(NotImplementedError, match="mode"):
        ndimage.map_coordinates(image, [np.array([0.5])], 1, mode=["wrap"])
    for places, words in (
        ([0.5, 0.5], "each axis"),
        (0.5, "sequence of length 1"),
    ):
        with pytest.raises(ShapeError, match=words):
            ndimage.map_coordinates(image, places, 1)
    with pytest.raises(ShapeError, match="coordinates"):
        ndimage.map_coordinates(np.ones((2, 2)), [np.ones(2), np.ones(3)], 1)
    with pytest.raises(DtypeError, match="coordinates are real"):
        ndimage.map_coordinates(image, [np.array([1j])], 1)


def test_trapezoids_of_no_and_of_too_many_points():
    assert integrate.trapezoid(np.ones((2, 0))).tolist() == [0.0, 0.0]
    assert integrate.trapezoid(np.ones(3), np.array([[0.0, 1.0, 2.0], [0.0, 2.0, 4.0]])).tolist() == [2.0, 4.0]
    with pytest.raises(ShapeError, match="as many points"):
        integrate.trapezoid(np.ones(3), np.ones(4))


@pytest.mark.parametrize("name", ["dct", "idct"])
@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
def test_cosine_transforms(name, norm):
    rng = np.random.default_rng(5)
    ours, theirs = getattr(fft, name), getattr(scipy.fft, name)
    x = rng.normal(size=(3, 6))
    for n, axis in itertools.product((None, 1, 4, 9), (0, 1, -1)):
        close(ours(x, 2, n, axis, norm), theirs(x, 2, n, axis, norm))
    close(fdl.jit(lambda x: ours(x, axis=0, norm=norm))(x), theirs(x, axis=0, norm=norm))
    z = x + 1j * rng.normal(size=(3, 6))
    close(ours(z, axis=0, norm=norm), theirs(z, axis=0, norm=norm))
    several, reference = getattr(fft, name + "n"), getattr(scipy.fft, name + "n")
    for s, axes in ((None, None), ((4,), None), ((4, 7), (0, 1)), (None, (1,)), ((2, 3), None)):
        close(several(x, 2, s, axes, norm), reference(x, 2, s, axes, norm))
    assert ours(np.ones(4, np.int32)).dtype == np.float32
    fdl.test_util.check_grads(lambda x: ours(x, norm=norm), (x,), 2, atol=1e-6, rtol=1e-6)


def test_cosine_transforms_refuse_what_they_have_not():
    with pytest.raises(NotImplementedError, match="type 2"):
        fft.dct(np.ones(3), 1)
    with pytest.raises(ValueError, match="norm"):
        fft.idct(np.ones(3), norm="other")
    with pytest.raises(ShapeError, match="one element"):
        fft.dct(np.ones(0))


def test_nearest_codes_and_trapezoids():
    rng = np.random.default_rng(6)
    for shape in ((), (3,)):
        points, codes = rng.normal(size=(9, *shape)), rng.normal(size=(4, *shape))
        code, distance = fdl.jit(cluster.vq.vq)(points, codes)
        expected = scipy.cluster.vq.vq(points, codes)
        assert code.tolist() == expected[0].tolist()
        close(distance, expected[1])
    with pytest.raises(ShapeError, match="vq"):
        cluster.vq.vq(np.ones((2, 3)), np.ones((2, 2)))
    x, y = np.sort(rng.normal(size=5)), rng.normal(size=(2, 5))
    close(integrate.trapezoid(y, x), scipy.integrate.trapezoid(y, x))
