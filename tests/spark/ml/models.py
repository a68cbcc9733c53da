"""Functions that the tests of fdl_spark.ml train, and their data."""

import numpy as np

import fdl
import fdl.numpy as fnp


def init(key, features, classes, *, scale=0.0):
    weights = fdl.random.normal(key, (features, classes)) * scale
    return {"w": np.asarray(weights, np.float32), "b": np.zeros(classes, np.float32)}


def linear(params, x):
    return x @ params["w"] + params["b"]


def one_logit(params, x):
    return fnp.squeeze(x @ params["w"][:, 1:] + params["b"][1:], 1)


def points(rows=150, classes=3, seed=0):
    """Overlapping clusters: features float64 (rows, 2), labels (rows,)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    centres = np.array([[0, 2], [2, -1], [-2, -1]])[:classes]
    return 1.5 * rng.normal(size=(rows, 2)) + centres[labels], labels
