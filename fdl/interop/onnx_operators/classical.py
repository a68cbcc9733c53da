"""Operators of the domain ai.onnx.ml: what scikit-learn's linear models and scalers become."""

from collections.abc import Sequence
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import nn
from fdl.core.types import Array
from fdl.errors import InteropError
from fdl.interop.tables import OperatorTable
from fdl.scipy.special import ndtri

TABLE = OperatorTable()
define = TABLE.define


def floats(values: Sequence[float]) -> Array:
    return fnp.asarray(np.asarray(values, np.float32))


def rows(x: Any) -> Array:
    """A batch of 32-bit numbers."""
    return fnp.atleast_2d(fnp.asarray(x).astype(np.float32))


def labelled(index: Any, integers: Sequence[int], strings: Sequence[str]) -> Array:
    """The labels of classes by their numbers; of text, which fdl has not, the numbers."""
    if len(strings):
        return index.astype(np.int64)
    return fnp.take(fnp.asarray(np.asarray(integers, np.int64)), index)


@define("ai.onnx.ml.Scaler")
def scaler(x: Any, offset: Sequence[float] = (0.0,), scale: Sequence[float] = (1.0,)) -> Array:
    return (x.astype(np.float32) - floats(offset)) * floats(scale)


@define("ai.onnx.ml.Normalizer")
def normalizer(x: Any, norm: str = "MAX") -> Array:
    x = rows(x)
    size = fnp.abs(x)
    lengths = {"MAX": lambda: size.max(1), "L1": lambda: size.sum(1), "L2": lambda: fnp.sqrt((x * x).sum(1))}
    length = lengths[norm]()[:, None]
    return x / fnp.where(length == 0, fnp.ones((), x.dtype), length)


@define("ai.onnx.ml.Binarizer")
def binarizer(x: Any, threshold: float = 0.0) -> Array:
    return (x > threshold).astype(x.dtype)


@define("ai.onnx.ml.ArrayFeatureExtractor")
def array_feature_extractor(x: Any, places: Any) -> Array:
    found = fnp.take(x, fnp.reshape(places, (-1,)), axis=-1)
    return found[None] if found.ndim == 1 else found


@define("ai.onnx.ml.FeatureVectorizer")
def feature_vectorizer(*arrays: Any, inputdimensions: Sequence[int] = ()) -> Array:
    return fnp.concatenate([rows(x) for x in arrays], axis=1)


def transformed(scores: Any, name: str) -> Array:
    """Scores as probabilities, or as they are."""
    if name == "LOGISTIC":
        return nn.sigmoid(scores)
    if name == "SOFTMAX":
        return nn.softmax(scores, axis=1)
    if name == "SOFTMAX_ZERO":
        return fnp.where(scores == 0, fnp.zeros((), scores.dtype), nn.softmax(scores, axis=1, where=scores != 0))
    if name == "PROBIT":
        return ndtri(scores)
    if name != "NONE":
        raise InteropError(f"apply: ai.onnx.ml has no post_transform {name}")
    return scores


@define("ai.onnx.ml.LinearRegressor")
def linear_regressor(
    x: Any,
    coefficients: Sequence[float] = (),
    intercepts: Sequence[float] = (),
    post_transform: str = "NONE",
    targets: int = 1,
) -> Array:
    scores = fnp.matmul(rows(x), floats(coefficients).reshape(targets, -1).T)
    return transformed(scores + floats(intercepts) if len(intercepts) else scores, post_transform)


@define("ai.onnx.ml.LinearClassifier")
def linear_classifier(
    x: Any,
    classlabels_ints: Sequence[int] = (),
    classlabels_strings: Sequence[str] = (),
    coefficients: Sequence[float] = (),
    intercepts: Sequence[float] = (),
    multi_class: int = 0,
    post_transform: str = "NONE",
) -> tuple[Array, Array]:
    """The labels and the scores. One row of coefficients for two labels is that of the second."""
    count = max(len(intercepts), 1)
    scores = fnp.matmul(rows(x), floats(coefficients).reshape(count, -1).T)
    scores = scores + floats(intercepts) if len(intercepts) else scores
    if count == 1 and len(classlabels_ints) == 2:
        other = 1 - nn.sigmoid(scores) if post_transform == "LOGISTIC" else -scores
        scores = fnp.concatenate([other, transformed(scores, post_transform)], axis=1)
    else:
        scores = transformed(scores, post_transform)
    return labelled(fnp.argmax(scores, axis=1), classlabels_ints, classlabels_strings), scores


@define("ai.onnx.ml.ZipMap")
def zip_map(x: Any, classlabels_int64s: Sequence[int] = (), classlabels_strings: Sequence[str] = ()) -> Array:
    """Scores as they are, [rows, classes], in place of a dict for each row."""
    return fnp.asarray(x)


@define("ai.onnx.ml.Imputer")
def imputer(
    x: Any,
    imputed_value_floats: Sequence[float] = (),
    imputed_value_int64s: Sequence[int] = (),
    replaced_value_float: float = 0.0,
    replaced_value_int64: int = 0,
) -> Array:
    real = fnp.issubdtype(x.dtype, fnp.floating)
    values = np.asarray(imputed_value_floats if real else imputed_value_int64s, x.dtype)
    missing = replaced_value_float if real else replaced_value_int64
    gone = fnp.isnan(x) if missing != missing else x == missing
    return fnp.where(gone, fnp.asarray(values), x)


@define("ai.onnx.ml.OneHotEncoder")
def one_hot_encoder(x: Any, cats_int64s: Sequence[int] = (), cats_strings: Sequence[str] = (), zeros: int = 1) -> Array:
    if len(cats_strings):
        raise InteropError("apply: the model has categories of text; export it with categories that are integers")
    return (fnp.asarray(x)[..., None] == np.asarray(cats_int64s, x.dtype)).astype(np.float32)


@define("ai.onnx.ml.LabelEncoder")
def label_encoder(x: Any, default_float: float = -0.0, default_int64: int = -1, default_tensor: Any = None,
                  **tables: Any) -> Array:  # fmt: skip
    found = {name.split("_")[0]: value for name, value in tables.items()}
    if any(name.endswith("strings") for name in tables) or not {"keys", "values"} <= found.keys():
        raise InteropError("apply: the model encodes text; export it with labels that are numbers")
    keys, values = np.asarray(found["keys"]), np.asarray(found["values"])
    real = values.dtype.kind == "f"
    values = values.astype(np.float32 if real else np.int64) if default_tensor is None else values
    other = (default_float if real else default_int64) if default_tensor is None else default_tensor.reshape(())
    same = fnp.asarray(x)[..., None] == keys.astype(x.dtype)
    held = fnp.take(fnp.asarray(values), fnp.argmax(same, axis=-1))
    return fnp.where(same.any(axis=-1), held, fnp.asarray(other, values.dtype))
