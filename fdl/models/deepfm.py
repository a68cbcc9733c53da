"""DeepFM: a factorization machine and a perceptron that share their embeddings, to predict clicks.

Source: Guo, Tang, Ye, Li, He, "DeepFM: a factorization-machine based neural network for CTR prediction", IJCAI 2017:
embeddings of 10, three layers of 400, dropout of 0.5. The default fields are those of Criteo's display advertising
data: 13 numbers and 26 categories, each hashed into 10,000 buckets.

Expected: an AUC of 0.8007 and a log loss of 0.45083 on Criteo (table 2 of the paper).

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import deepfm
>>> config = deepfm.Config(fields=(9, 16, 1))
>>> params = deepfm.init(random.key(0), config)
>>> deepfm.apply(params, fnp.array([[8, 15, 0]]), fnp.array([[1.0, 1.0, 0.3]]), config=config).shape
(1,)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fdl.numpy as fnp
from fdl import nn, random
from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.types import Array
from fdl.nn.layers import Params


@dataclass(frozen=True)
class Config:
    """What a DeepFM is made of.

    Attributes:
        fields: how many values each field has; 1 for a number.
        factors: features of an embedding.
        hidden: widths of the perceptron's layers.
        dropout: its rate, after each layer.
    """

    fields: tuple[int, ...] = (1,) * 13 + (10_000,) * 26
    factors: int = 10
    hidden: tuple[int, ...] = (400, 400, 400)
    dropout: float = 0.5


VARIANTS = {"deepfm": Config()}

#: Which parameters are tables, for ``fdl.value_and_grad(..., sparse=TABLES)`` and ``fdl.optim.adam(sparse=TABLES)``.
TABLES = {"linear": True, "factors": True, "deep": False}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct, ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: ids and values.

    >>> [x.shape for x in inputs(batch=2)]
    [(2, 39), (2, 39)]
    """
    shape = (batch, len(config.fields))
    return ShapeDtypeStruct(shape, fnp.int32), ShapeDtypeStruct(shape, fnp.float32)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: tables linear and factors, whose fields are below each other, and the perceptron deep.

    Args:
        key: random key.
        config: what the model is made of.

    Returns:
        A dict of parameters.

    >>> init(random.key(0), Config(fields=(9, 16, 1)))["factors"]["w"].shape
    (26, 10)
    """
    first, second, third = random.split(key, 3)
    values, width = sum(config.fields), len(config.fields) * config.factors
    return {
        "linear": nn.init_embedding(first, values, 1, w_init=nn.initializers.zeros),
        "factors": nn.init_embedding(second, values, config.factors, w_init=nn.initializers.normal(0.05)),
        "deep": nn.init_mlp(third, (width, *config.hidden, 1), w_init=nn.initializers.he_normal()),
    }


def apply(params: Params, ids: Any, values: Any = None, *, config: Config = Config(), key: Any = None) -> Array:
    """The logits of rows.

    Args:
        params: from :func:`init`.
        ids: integers [batch, fields], each from 0 up to the number of values of its field: 0 for a number.
        values: [batch, fields]: the numbers, and 1 for categories; None is 1 for all.
        config: what the parameters were made with.
        key: random key, for dropout; None is no dropout.

    Returns:
        [batch].

    >>> config = Config(fields=(9, 16))
    >>> apply(init(random.key(0), config), [[8, 15]], config=config).shape
    (1,)
    """
    places = nn.stacked_ids(ids, config.fields)
    linear, vectors = nn.embedding(params["linear"], places), nn.embedding(params["factors"], places)
    if values is not None:
        linear, vectors = linear * fnp.asarray(values)[..., None], vectors * fnp.asarray(values)[..., None]
    # Half the square of the sum without the sum of squares: the inner products of all pairs of fields.
    pairs = 0.5 * fnp.sum(fnp.square(fnp.sum(vectors, axis=-2)) - fnp.sum(fnp.square(vectors), axis=-2), axis=-1)
    x = vectors.reshape((*vectors.shape[:-2], math.prod(vectors.shape[-2:])))
    deep = nn.mlp(params["deep"], x, rate=config.dropout, key=key)
    return fnp.sum(linear, axis=(-2, -1)) + pairs + deep[..., 0]


def loss(params: Params, batch: Mapping[str, Any], key: Any = None, *, config: Config = Config()) -> Array:
    """The mean cross-entropy of a batch.

    Args:
        params: from :func:`init`.
        batch: "ids" as for :func:`apply`, "labels" [batch], 0 or 1, and "values" unless all are 1.
        key: random key, for dropout; None is no dropout.
        config: what the parameters were made with.

    Returns:
        A number.

    >>> config = Config(fields=(9, 16))
    >>> loss(init(random.key(0), config), {"ids": [[8, 15]], "labels": [1]}, config=config).shape
    ()
    """
    logits = apply(params, batch["ids"], batch.get("values"), config=config, key=key)
    return nn.sigmoid_binary_cross_entropy(logits, batch["labels"], reduction="mean")
