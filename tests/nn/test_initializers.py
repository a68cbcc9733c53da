"""Initializers: variance, range, orthogonality."""

import math

import numpy as np
import pytest

from fdl import random
from fdl.errors import ShapeError
from fdl.nn import initializers

KEY = random.key(1)
SHAPE = (3, 3, 40, 60)
FAN_IN, FAN_OUT = 9 * 40, 9 * 60
VARIANCES = {
    "glorot_uniform": 2 / (FAN_IN + FAN_OUT),
    "glorot_normal": 2 / (FAN_IN + FAN_OUT),
    "xavier_normal": 2 / (FAN_IN + FAN_OUT),
    "lecun_uniform": 1 / FAN_IN,
    "lecun_normal": 1 / FAN_IN,
    "he_uniform": 2 / FAN_IN,
    "he_normal": 2 / FAN_IN,
    "kaiming_uniform": 2 / FAN_IN,
}


@pytest.mark.parametrize("name", VARIANCES)
def test_scaled_initializers_have_their_variance(name):
    w = np.asarray(getattr(initializers, name)()(KEY, SHAPE))
    assert w.dtype == np.float32 and abs(w.mean()) < 0.01 * w.std() * 3
    assert w.var() == pytest.approx(VARIANCES[name], rel=0.03)
    bound = math.sqrt(3 * VARIANCES[name]) if "uniform" in name else 2 * math.sqrt(VARIANCES[name]) / 0.8796
    assert np.abs(w).max() <= bound * 1.0001


@pytest.mark.parametrize(("mode", "size"), [("fan_out", FAN_OUT), ("fan_geo_avg", math.sqrt(FAN_IN * FAN_OUT))])
def test_modes(mode, size):
    w = np.asarray(initializers.variance_scaling(2.0, mode, "normal", dtype="float64")(KEY, SHAPE))
    assert w.dtype == np.float64 and w.var() == pytest.approx(2 / size, rel=0.03)


@pytest.mark.parametrize("distribution", ["normal", "uniform", "truncated_normal"])
def test_complex_weights_have_their_variance(distribution):
    w = np.asarray(initializers.variance_scaling(1.0, "fan_in", distribution)(KEY, (100, 200), "complex64"))
    assert np.mean(np.abs(w) ** 2) == pytest.approx(1 / 100, rel=0.03) and abs(np.mean(w**2)) < 1e-3


def test_plain_initializers():
    assert np.asarray(initializers.normal(0.5)(KEY, (10_000,))).std() == pytest.approx(0.5, rel=0.03)
    uniform = np.asarray(initializers.uniform(0.5)(KEY, (10_000,)))
    assert uniform.min() >= 0 and uniform.max() < 0.5
    truncated = np.asarray(initializers.truncated_normal(0.5, lower=-1.0, upper=3.0)(KEY, (10_000,)))
    assert -0.5 <= truncated.min() < -0.49 and truncated.max() > 1
    assert initializers.constant(3)(KEY, (2,), "int32").tolist() == [3, 3]
    assert initializers.zeros(KEY, (2,)).tolist() == [0, 0] and initializers.ones(KEY, (2,)).tolist() == [1, 1]


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (2, 3, 4)])
def test_orthogonal(shape):
    w = np.asarray(initializers.orthogonal(2.0, dtype="float64")(KEY, shape)).reshape(-1, shape[-1])
    gram = w @ w.T if w.shape[0] < w.shape[1] else w.T @ w
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-12)


def test_delta_orthogonal_is_orthogonal_in_the_middle_and_zero_around():
    w = np.asarray(initializers.delta_orthogonal(dtype="float64")(KEY, (3, 3, 4, 6)))
    np.testing.assert_allclose(w[1, 1] @ w[1, 1].T, np.eye(4), atol=1e-12)
    assert np.count_nonzero(w) == np.count_nonzero(w[1, 1])


def test_bad_shapes_and_names():
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        initializers.lecun_normal()(KEY, (3,))
    with pytest.raises(ValueError, match="fan_both"):
        initializers.variance_scaling(1.0, "fan_both", "normal")(KEY, (2, 2))
    with pytest.raises(ShapeError, match="two axes"):
        initializers.orthogonal()(KEY, (3,))
