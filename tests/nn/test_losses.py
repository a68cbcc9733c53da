"""Losses against their definitions in float64."""

import numpy as np
import pytest
from scipy import special

import fdl
from fdl import nn
from fdl.errors import DtypeError, ShapeError


def test_cross_entropies_agree_with_the_definition(rng):
    logits, labels = 30 * rng.normal(size=(5, 4)), rng.integers(0, 4, 5)
    expected = -special.log_softmax(logits, -1)[np.arange(5), labels]
    np.testing.assert_allclose(nn.softmax_cross_entropy_with_integer_labels(logits, labels), expected, rtol=1e-12)
    np.testing.assert_allclose(nn.softmax_cross_entropy(logits, np.eye(4)[labels]), expected, rtol=1e-12)
    np.testing.assert_allclose(
        nn.softmax_cross_entropy_with_integer_labels(logits.T, labels, axis=0), expected, rtol=1e-12
    )


def test_gradient_of_cross_entropy_is_softmax_minus_label(rng):
    logits, labels = rng.normal(size=(5, 4)), rng.integers(0, 4, 5)
    found = fdl.grad(lambda x: nn.softmax_cross_entropy_with_integer_labels(x, labels).sum())(logits)
    np.testing.assert_allclose(found, special.softmax(logits, -1) - np.eye(4)[labels], atol=1e-12)


def test_labels_out_of_range_and_of_wrong_type():
    logits = np.zeros((2, 3), np.float32)
    assert np.isnan(nn.softmax_cross_entropy_with_integer_labels(logits, np.array([3, -1]))).all()
    with pytest.raises(DtypeError, match="softmax_cross_entropy"):
        nn.softmax_cross_entropy_with_integer_labels(logits, np.zeros(2))
    with pytest.raises(ShapeError, match=r"\[3\].*\[2,3\]"):
        nn.softmax_cross_entropy_with_integer_labels(logits, np.zeros(3, int))


def test_binary_cross_entropy(rng):
    logits, p = rng.normal(size=10), rng.uniform(size=10)
    q = special.expit(logits)
    expected = -p * np.log(q) - (1 - p) * np.log1p(-q)
    np.testing.assert_allclose(nn.sigmoid_binary_cross_entropy(logits, p), expected, rtol=1e-12)
    assert nn.sigmoid_binary_cross_entropy(np.float32([1000, -1000]), np.float32([1, 0])).tolist() == [0, 0]


def test_regression_losses(rng):
    x, y = rng.normal(size=(2, 30))
    d = x - y
    np.testing.assert_allclose(nn.squared_error(x, y), d**2)
    np.testing.assert_allclose(nn.l2_loss(d), d**2 / 2)
    np.testing.assert_allclose(nn.absolute_error(x, y), np.abs(d))
    np.testing.assert_allclose(nn.huber_loss(x, y, 0.5), special.huber(0.5, d), rtol=1e-12)
    np.testing.assert_allclose(nn.log_cosh(x, y), np.log(np.cosh(d)), rtol=1e-9, atol=1e-12)
    assert nn.log_cosh(np.float32(500)).item() == pytest.approx(500 - np.log(2))
    np.testing.assert_allclose(nn.hinge_loss(x, np.sign(y)), np.maximum(0, 1 - x * np.sign(y)))
    with pytest.raises(ShapeError, match="same shape"):
        nn.squared_error(x, y[:3])


def test_divergence_similarity_and_smoothing(rng):
    p, q = rng.dirichlet(np.ones(4), (2, 3))
    p[0, 0] = 0
    np.testing.assert_allclose(nn.kl_divergence(np.log(q), p), special.rel_entr(p, q).sum(-1), rtol=1e-9)
    np.testing.assert_allclose(
        nn.cosine_similarity(p, q), (p * q).sum(-1) / np.linalg.norm(p, axis=-1) / np.linalg.norm(q, axis=-1)
    )
    assert nn.smooth_labels(np.array([1.0, 0.0]), 0.2).tolist() == [0.9, 0.1]
