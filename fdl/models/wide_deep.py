"""Wide & Deep: a linear model over crossed features that remembers, and a perceptron over embeddings that generalizes.

Source: Cheng et al., "Wide & deep learning for recommender systems", DLRS 2016: embeddings of 32, layers of 1024, 512
and 256. The default columns are those of the census of 1994 (UCI Adult), whose crosses are hashed into 1,000 buckets.

Expected: about 0.85 accuracy on the test rows of the census (TensorFlow's tutorial of the model); in the paper, an
AUC of 0.728 against 0.726 of the linear model alone, on data that is not public.

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import wide_deep
>>> config = wide_deep.Config(columns=(9, 16), crosses=(100,), numbers=2)
>>> params = wide_deep.init(random.key(0), config)
>>> wide_deep.apply(params, fnp.array([[8, 15]]), fnp.array([[99]]), fnp.array([[0.3, -1.2]]), config=config).shape
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
    """What a Wide & Deep is made of.

    Attributes:
        columns: how many values each categorical column has.
        crosses: into how many buckets each combination of columns is hashed.
        numbers: how many columns are numbers.
        embedding: features of the embedding of a categorical column.
        hidden: widths of the perceptron's layers.
    """

    columns: tuple[int, ...] = (9, 16, 7, 15, 6, 5, 2, 42)
    crosses: tuple[int, ...] = (1000, 1000, 1000)
    numbers: int = 6
    embedding: int = 32
    hidden: tuple[int, ...] = (1024, 512, 256)


VARIANTS = {"wide_deep": Config()}

#: Which parameters are tables, for ``fdl.value_and_grad(..., sparse=TABLES)`` and ``fdl.optim.adam(sparse=TABLES)``.
TABLES = {"wide": True, "embedding": True, "deep": False, "numbers": False}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct, ...]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: categories, crosses and numbers.

    >>> [x.shape for x in inputs(batch=2)]
    [(2, 8), (2, 3), (2, 6)]
    """
    return (
        ShapeDtypeStruct((batch, len(config.columns)), fnp.int32),
        ShapeDtypeStruct((batch, len(config.crosses)), fnp.int32),
        ShapeDtypeStruct((batch, config.numbers), fnp.float32),
    )


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: tables wide and embedding, whose columns are below each other, dense numbers, the perceptron deep.

    Args:
        key: random key.
        config: what the model is made of.

    Returns:
        A dict of parameters.

    >>> params = init(random.key(0), Config(columns=(9, 16), crosses=(100,)))
    >>> params["embedding"]["w"].shape, params["wide"]["w"].shape
    ((25, 32), (125, 1))
    """
    first, second, third = random.split(key, 3)
    values = sum(config.columns)
    width = len(config.columns) * config.embedding + config.numbers
    zeros = nn.initializers.zeros
    return {
        "wide": nn.init_embedding(first, values + sum(config.crosses), 1, w_init=zeros),
        "numbers": nn.init_dense(first, config.numbers, 1, bias=False, w_init=zeros),
        "embedding": nn.init_embedding(
            second, values, config.embedding, w_init=nn.initializers.normal(config.embedding**-0.5)
        ),
        "deep": nn.init_mlp(third, (width, *config.hidden, 1), w_init=nn.initializers.he_normal()),
    }


def apply(params: Params, categories: Any, crosses: Any, numbers: Any, *, config: Config = Config()) -> Array:
    """The logits of rows.

    Args:
        params: from :func:`init`.
        categories: integers [batch, columns], each from 0 up to the number of values of its column.
        crosses: integers [batch, crosses], buckets of combinations of columns.
        numbers: [batch, numbers], standardized.
        config: what the parameters were made with.

    Returns:
        [batch].

    >>> config = Config(columns=(9,), crosses=(100,), numbers=1)
    >>> apply(init(random.key(0), config), [[8]], [[99]], [[0.5]], config=config).shape
    (1,)
    """
    categories, numbers = fnp.asarray(categories), fnp.asarray(numbers)
    places = nn.stacked_ids(categories, config.columns)
    crossed = nn.stacked_ids(crosses, config.crosses) + sum(config.columns)
    wide = nn.embedding_bag(params["wide"], fnp.concatenate([places, crossed], axis=-1), mode="sum")
    found = nn.embedding(params["embedding"], places)
    x = fnp.concatenate([found.reshape((*found.shape[:-2], math.prod(found.shape[-2:]))), numbers], axis=-1)
    return (wide + nn.dense(params["numbers"], numbers) + nn.mlp(params["deep"], x))[..., 0]


def loss(params: Params, batch: Mapping[str, Any], *, config: Config = Config()) -> Array:
    """The mean cross-entropy of a batch.

    Args:
        params: from :func:`init`.
        batch: "categories", "crosses" and "numbers" as for :func:`apply`, and "labels" [batch], 0 or 1.
        config: what the parameters were made with.

    Returns:
        A number.

    >>> config = Config(columns=(9,), crosses=(100,), numbers=1)
    >>> batch = {"categories": [[8]], "crosses": [[99]], "numbers": [[0.5]], "labels": [1]}
    >>> loss(init(random.key(0), config), batch, config=config).shape
    ()
    """
    logits = apply(params, batch["categories"], batch["crosses"], batch["numbers"], config=config)
    return nn.sigmoid_binary_cross_entropy(logits, batch["labels"], reduction="mean")
