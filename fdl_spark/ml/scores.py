"""What tasks compute of a batch for the columns of a model; these modules import nothing of Spark ML, which is slow."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import nn
from fdl.dtypes import bfloat16
from fdl_spark.ml.inputs import Inputs

#: The dtypes whose numbers float32 holds exactly.
NARROW = [np.dtype(kind) for kind in (bfloat16, "float16", "float32", "bool", "int8", "uint8", "int16", "uint16")]


def renamed(numbers: Callable[[Any, Any], Any], names: Mapping[str, str], params: Any, batch: Any) -> Any:
    """Numbers of a batch whose columns have other names than those that were trained on."""
    return numbers(params, {names.get(name, name): array for name, array in batch.items()})


def joined(parts: Sequence[Any], rows: int) -> Any:
    """Arrays with rows first as one array (rows, n), in float32 if this holds all their numbers, else in float64."""
    narrow = all(np.dtype(part.dtype) in NARROW for part in parts)
    widest = np.float32 if narrow else np.float64
    return fnp.concatenate([part.reshape(rows, -1).astype(widest) for part in parts], axis=1)


def plain_numbers(apply: Callable[[Any, Any], Any], inputs: Inputs, params: Any, batch: Any) -> Any:
    """The output of a function as float array (rows, n)."""
    found = apply(params, inputs.of(batch))
    return joined([found], found.shape[0])


def of_class_1(scores: Any) -> Any:
    """Scores (rows, 2) or (rows, 1) as those of class 1, (rows,); others as they are."""
    return scores[:, -1] if scores.ndim == 2 and scores.shape[1] <= 2 else scores


def probabilities(apply: Callable[[Any, Any], Any], inputs: Inputs, params: Any, batch: Any) -> Any:
    """The probability of class 1, (rows,), or those of more classes, (rows, classes)."""
    logits = apply(params, inputs.of(batch))
    if logits.ndim == 1 or logits.shape[1] == 1:
        return nn.sigmoid(logits.reshape(-1))
    return of_class_1(nn.softmax(logits, axis=1))


def class_scores(
    apply: Callable[[Any, Any], Any], inputs: Inputs, thresholds: tuple[float, ...] | None, params: Any, batch: Any
) -> Any:
    """Logits, probabilities and the class of each row: float array (rows, 2 classes + 1)."""
    logits = apply(params, inputs.of(batch))
    rows = logits.shape[0]
    if logits.ndim == 1 or logits.shape[1] == 1:
        one = logits.reshape(rows, 1)
        logits = fnp.concatenate([-one, one], axis=1)
        probability = nn.sigmoid(logits)
    else:
        probability = nn.softmax(logits, axis=1)
    scaled = probability if thresholds is None else _scaled(probability, np.array(thresholds, probability.dtype))
    chosen = scaled.argmax(axis=1).astype(np.float32)  # which holds the numbers of all classes that there can be
    return joined([logits, probability, chosen], rows)


def _scaled(probability: Any, thresholds: np.ndarray) -> Any:
    """Probabilities by thresholds; a class whose threshold is 0 wins unless its probability is 0."""
    zero = fnp.where(probability == 0, -1.0, fnp.inf).astype(probability.dtype)
    return fnp.where(thresholds == 0, zero, probability / np.where(thresholds == 0, 1, thresholds))


def columns(
    numbers: Callable[[Any, Any], Any], places: Mapping[str, tuple[int, int | None]], params: Any, batch: Any
) -> Any:
    """Numbers of each row by column: one of them, or several from a place on."""
    row = numbers(params, batch)
    return {
        name: row[:, first] if count is None else row[:, first : first + count]
        for name, (first, count) in places.items()
    }
