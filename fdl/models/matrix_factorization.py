"""Matrix factorization with biases: ratings as a mean, a bias of the user, one of the item, and an inner product.

Source: Koren, Bell, Volinsky, "Matrix factorization techniques for recommender systems", IEEE Computer 42 (2009),
equations 4 and 5. The sizes are those of MovieLens-100k with 100 factors: 265,125 parameters.

Expected: a root mean squared error of 0.934 on MovieLens-100k and 0.873 on MovieLens-1M in five-fold cross-validation
(the benchmark of the package Surprise, 100 factors, its SVD).

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import matrix_factorization
>>> params = matrix_factorization.init(random.key(0))
>>> matrix_factorization.apply(params, fnp.array([3, 942]), fnp.array([1681, 0])).shape
(2,)
"""

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
    """What a factorization is made of.

    Attributes:
        users: how many.
        items: how many.
        factors: numbers that describe a user, or an item.
        mean: of the ratings; that of MovieLens-100k.
        regularization: factor of the squares of all parameters of an example in its loss.
    """

    users: int = 943
    items: int = 1682
    factors: int = 100
    mean: float = 3.53
    regularization: float = 0.02


VARIANTS = {"matrix_factorization": Config(), "matrix_factorization_ml_1m": Config(users=6040, items=3706, mean=3.58)}

#: Which parameters are tables, for ``fdl.value_and_grad(..., sparse=TABLES)`` and ``fdl.optim.adam(sparse=TABLES)``.
TABLES = {"user": True, "item": True, "user_bias": True, "item_bias": True}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct, ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: users and items.

    >>> [x.shape for x in inputs(batch=2)]
    [(2,), (2,)]
    """
    return ShapeDtypeStruct((batch,), fnp.int32), ShapeDtypeStruct((batch,), fnp.int32)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: tables user and item [count, factors], and user_bias and item_bias [count, 1].

    Args:
        key: random key.
        config: what the model is made of.

    Returns:
        A dict of parameters.

    >>> init(random.key(0))["item"]["w"].shape
    (1682, 100)
    """
    first, second, third = random.split(key, 3)
    normal, zeros = nn.initializers.normal(0.1), nn.initializers.zeros
    return {
        "user": nn.init_embedding(first, config.users, config.factors, w_init=normal),
        "item": nn.init_embedding(second, config.items, config.factors, w_init=normal),
        "user_bias": nn.init_embedding(third, config.users, 1, w_init=zeros),
        "item_bias": nn.init_embedding(third, config.items, 1, w_init=zeros),
    }


def apply(params: Params, users: Any, items: Any, *, config: Config = Config()) -> Array:
    """The ratings that users are expected to give items.

    Args:
        params: from :func:`init`.
        users: integers [batch].
        items: integers [batch].
        config: what the parameters were made with.

    Returns:
        [batch].

    >>> apply(init(random.key(0)), fnp.array([0]), fnp.array([0])).shape
    (1,)
    """
    return _predicted(_read(params, users, items), config)


def loss(params: Params, batch: Mapping[str, Any], *, config: Config = Config()) -> Array:
    """The mean squared error of a batch, with the squares of the parameters of its users and items.

    Args:
        params: from :func:`init`.
        batch: "users" and "items", integers [batch], and "ratings" [batch].
        config: what the parameters were made with.

    Returns:
        A number.

    >>> batch = {"users": fnp.array([0, 1]), "items": fnp.array([2, 2]), "ratings": fnp.array([4.0, 3.0])}
    >>> loss(init(random.key(0)), batch).shape
    ()
    """
    rows = _read(params, batch["users"], batch["items"])
    squares = sum(fnp.sum(fnp.square(row), axis=-1) for row in rows.values())
    errors = nn.squared_error(_predicted(rows, config), batch["ratings"])
    return fnp.mean(errors + config.regularization * squares)


def _read(params: Params, users: Any, items: Any) -> dict[str, Array]:
    ids = {"user": users, "item": items, "user_bias": users, "item_bias": items}
    return {name: nn.embedding(params[name], ids[name]) for name in ids}


def _predicted(rows: dict[str, Array], config: Config) -> Array:
    biases = (rows["user_bias"] + rows["item_bias"])[..., 0]
    return config.mean + biases + fnp.sum(rows["user"] * rows["item"], axis=-1)
