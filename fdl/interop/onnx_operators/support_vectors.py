"""Support vector machines of the domain ai.onnx.ml."""

from collections.abc import Sequence
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax, nn
from fdl.api.vmap import vmap
from fdl.core.types import Array
from fdl.errors import InteropError
from fdl.interop.onnx_operators.classical import floats, labelled, rows, transformed
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define


def kernel(x: Any, vectors: Any, kind: str, params: Sequence[float]) -> Array:
    """[rows, vectors]."""
    gamma, shift, degree = params if len(params) else (0.0, 0.0, 0.0)
    product = fnp.matmul(x, vectors.T)
    if kind == "LINEAR":
        return product
    if kind == "POLY":
        return (product * gamma + shift) ** int(degree)
    if kind == "SIGMOID":
        return fnp.tanh(product * gamma + shift)
    if kind != "RBF":
        raise InteropError(f"from_onnx: a support vector machine has no kernel {kind}")
    distance = ((x[:, None] - vectors) ** 2).sum(axis=-1)
    return fnp.exp(-gamma * distance)


@define("ai.onnx.ml.SVMRegressor")
def svm_regressor(
    x: Any,
    coefficients: Sequence[float] = (),
    kernel_params: Sequence[float] = (),
    kernel_type: str = "LINEAR",
    n_supports: int = 0,
    one_class: int = 0,
    post_transform: str = "NONE",
    rho: Sequence[float] = (),
    support_vectors: Sequence[float] = (),
) -> Array:
    x, weights = rows(x), floats(coefficients)
    if n_supports:
        vectors = floats(support_vectors).reshape(n_supports, -1)
        scores = fnp.matmul(kernel(x, vectors, kernel_type, kernel_params), weights)
    else:
        scores = fnp.matmul(x, weights)
    scores = (scores + np.float32(rho[0]))[:, None]
    if one_class:
        return fnp.where(scores > 0, fnp.ones((), x.dtype), -fnp.ones((), x.dtype))
    return transformed(scores, post_transform)


def one_against_one(
    products: Any, weights: Any, counts: Sequence[int], rho: Sequence[float]
) -> tuple[list[Any], list[Any]]:
    """Scores of pairs of classes [rows] each, and votes for each class."""
    classes, ends = len(counts), np.cumsum([0, *counts])
    votes: list[Any] = [0] * classes
    scores = list[Any]()
    for i in range(classes):
        for j in range(i + 1, classes):
            first, second = slice(int(ends[i]), int(ends[i + 1])), slice(int(ends[j]), int(ends[j + 1]))
            score = fnp.matmul(products[:, first], weights[j - 1, first])
            score = score + fnp.matmul(products[:, second], weights[i, second]) + np.float32(rho[len(scores)])
            won = (score > 0).astype(np.int32)
            votes[i], votes[j] = votes[i] + won, votes[j] + 1 - won
            scores.append(score)
    return scores, votes


def coupled(pairs: Any, classes: int) -> Array:
    """Probabilities of classes from those of pairs of them: Wu, Lin, Weng (2004), the second method.

    `pairs` [classes, classes] has at [i, j] the probability of i against j. The iteration ends where LIBSVM's does.
    """
    off = pairs * (1 - fnp.eye(classes, dtype=pairs.dtype))
    matrix = fnp.diag((off**2).sum(axis=0)) - off.T * off

    def sweep(state: Any) -> Any:
        number, p, product, total = state
        for t in range(classes):
            change = (total - product[t]) / matrix[t, t]
            p = p.at[t].add(change)
            total = (total + change * (change * matrix[t, t] + 2 * product[t])) / (1 + change) ** 2
            p = p / (1 + change)
            product = (product + change * matrix[t]) / (1 + change)
        product = matrix @ p
        return number + 1, p, product, p @ product

    def far(state: Any) -> Any:
        number, _, product, total = state
        return (fnp.abs(product - total).max() >= 0.005 / classes) & (number < max(100, classes))

    p = fnp.full((classes,), 1 / classes, pairs.dtype)
    product = matrix @ p
    return lax.while_loop(far, sweep, (fnp.zeros((), np.int32), p, product, p @ product))[1]


@define("ai.onnx.ml.SVMClassifier")
def svm_classifier(
    x: Any,
    classlabels_ints: Sequence[int] = (),
    classlabels_strings: Sequence[str] = (),
    coefficients: Sequence[float] = (),
    kernel_params: Sequence[float] = (),
    kernel_type: str = "LINEAR",
    post_transform: str = "NONE",
    prob_a: Sequence[float] = (),
    prob_b: Sequence[float] = (),
    rho: Sequence[float] = (),
    support_vectors: Sequence[float] = (),
    vectors_per_class: Sequence[int] = (),
) -> tuple[Array, Array]:
    """The labels; and probabilities, or the scores of pairs of classes."""
    x, classes = rows(x), max(len(classlabels_ints), len(classlabels_strings))
    positive = min(coefficients) >= 0
    if not vectors_per_class:
        scores = fnp.matmul(x, floats(coefficients).reshape(classes, -1).T) + np.float32(rho[0])
        index = fnp.argmax(scores, axis=1)
        return labelled(index, classlabels_ints, classlabels_strings), transformed(scores, post_transform)
    count = sum(vectors_per_class)
    products = kernel(x, floats(support_vectors).reshape(count, -1), kernel_type, kernel_params)
    parts, votes = one_against_one(products, floats(coefficients).reshape(-1, count), vectors_per_class, rho)
    index = fnp.argmax(fnp.stack(votes, axis=1), axis=1)
    if len(prob_a):
        table = fnp.full((x.shape[0], classes, classes), 0.5, x.dtype)
        pairs = [(i, j) for i in range(classes) for j in range(i + 1, classes)]
        for (i, j), score, a, b in zip(pairs, parts, prob_a, prob_b, strict=True):
            chance = fnp.clip(1 - nn.sigmoid(score * np.float32(a) + np.float32(b)), 1e-7, 1 - 1e-7)
            table = table.at[:, i, j].set(chance).at[:, j, i].set(1 - chance)
        scores = vmap(lambda own: coupled(own, classes))(table)
        if classes == 2:
            index = fnp.argmax(scores, axis=1)
    else:
        scores = fnp.stack(parts, axis=1)
        if classes == 2:
            own = scores[:, 0]
            index = (own > 0.5 if positive else own > 0).astype(np.int32)
            index = fnp.argmax(fnp.stack(votes, axis=1), axis=1)
            scores = fnp.stack([-own, own], axis=1)
    return labelled(index, classlabels_ints, classlabels_strings), transformed(scores, post_transform)
