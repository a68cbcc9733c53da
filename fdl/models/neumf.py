"""Neural matrix factorization: which items a user chooses, from a product of factors and a perceptron over factors.

Source: He, Liao, Zhang, Nie, Hu, Chua, "Neural collaborative filtering", WWW 2017; with one of its two halves it is
their GMF or MLP. The sizes are those of MLPerf 0.5 on MovieLens-20M: 31,832,577 parameters, nearly all in four tables.

Expected: a hit rate at 10 of 0.635 among 999 other items on MovieLens-20M (MLPerf 0.5's goal); on MovieLens-1M, with
99 others, 0.730 and an NDCG at 10 of 0.447 (the paper, pretrained, 64 factors).

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import neumf
>>> config = neumf.Config(users=943, items=1682)
>>> params = neumf.init(random.key(0), config)
>>> neumf.apply(params, fnp.array([3, 942]), fnp.array([1681, 0]), config=config).shape
(2,)

Nearly all of a step is reading and updating rows of tables. Gradients that hold the rows that were read, and no others:

>>> import fdl
>>> batch = {"users": fnp.array([3, 942]), "items": fnp.array([1681, 0]), "labels": fnp.array([1, 0])}
>>> gradients = fdl.grad(neumf.loss, sparse=neumf.TABLES)(params, batch, config=config)
>>> gradients["tables"]["user_mf"]["w"].rows.tolist()
[3, 942]
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
    """What a NeuMF is made of.

    Attributes:
        users: how many.
        items: how many.
        factors: width of the product of factors; 0 leaves it out, which is the paper's MLP.
        layers: widths of the perceptron's inputs and layers; () leaves it out, which is the paper's GMF.
    """

    users: int = 138_493
    items: int = 26_744
    factors: int = 64
    layers: tuple[int, ...] = (256, 256, 128, 64)


VARIANTS = {"neumf": Config(), "gmf": Config(layers=()), "neumf_mlp": Config(factors=0)}

#: Which parameters are tables, for ``fdl.value_and_grad(..., sparse=TABLES)`` and ``fdl.optim.adam(sparse=TABLES)``.
TABLES = {"tables": True, "layers": False, "out": False}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct, ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: users and items.

    >>> [x.shape for x in inputs(batch=2)]
    [(2,), (2,)]
    """
    return ShapeDtypeStruct((batch,), fnp.int32), ShapeDtypeStruct((batch,), fnp.int32)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: tables (user_mf, item_mf, user_mlp, item_mlp), the perceptron's layers, and the dense layer out.

    Args:
        key: random key.
        config: what the model is made of.

    Returns:
        A dict of parameters.

    >>> params = init(random.key(0), Config(users=5, items=7))
    >>> {name: table["w"].shape for name, table in params["tables"].items()}
    {'user_mf': (5, 64), 'item_mf': (7, 64), 'user_mlp': (5, 128), 'item_mlp': (7, 128)}
    """
    keys = random.split(key, 6)
    widths = {"mf": config.factors, "mlp": config.layers[0] // 2 if config.layers else 0}
    normal, glorot = nn.initializers.normal(0.01), nn.initializers.glorot_uniform()
    tables = {
        f"{who}_{part}": nn.init_embedding(keys[2 * row + column], count, width, w_init=normal)
        for row, (part, width) in enumerate(widths.items())
        for column, (who, count) in enumerate({"user": config.users, "item": config.items}.items())
        if width
    }
    last = config.factors + (config.layers[-1] if config.layers else 0)
    return {
        "tables": tables,
        "layers": nn.init_mlp(keys[4], config.layers, w_init=glorot) if config.layers else [],
        "out": nn.init_dense(keys[5], last, 1, w_init=nn.initializers.lecun_uniform()),
    }


def apply(params: Params, users: Any, items: Any, *, config: Config = Config()) -> Array:
    """The logits of users choosing items.

    Args:
        params: from :func:`init`.
        users: integers of any shape.
        items: integers that broadcast with them.
        config: what the parameters were made with.

    Returns:
        An array of the common shape.

    >>> config = Config(users=5, items=7)
    >>> apply(init(random.key(0), config), fnp.array([[1], [2]]), fnp.arange(7), config=config).shape
    (2, 7)
    """
    ids = dict(zip(("user", "item"), fnp.broadcast_arrays(users, items), strict=True))

    def read(part: str) -> list[Array]:
        return [nn.embedding(params["tables"][f"{who}_{part}"], ids[who]) for who in ids]

    parts = []
    if config.factors:
        user, item = read("mf")
        parts.append(user * item)
    if config.layers:
        parts.append(nn.relu(nn.mlp(params["layers"], fnp.concatenate(read("mlp"), axis=-1))))
    return nn.dense(params["out"], fnp.concatenate(parts, axis=-1))[..., 0]


def loss(params: Params, batch: Mapping[str, Any], *, config: Config = Config()) -> Array:
    """The mean cross-entropy of a batch of choices.

    Args:
        params: from :func:`init`.
        batch: "users" and "items" as for :func:`apply`, and "labels" of their shape: 1 for what a user chose, 0 for
            what was drawn from the others.
        config: what the parameters were made with.

    Returns:
        A number.

    >>> config = Config(users=5, items=7)
    >>> batch = {"users": fnp.array([1, 1]), "items": fnp.array([2, 6]), "labels": fnp.array([1, 0])}
    >>> loss(init(random.key(0), config), batch, config=config).shape
    ()
    """
    logits = apply(params, batch["users"], batch["items"], config=config)
    return nn.sigmoid_binary_cross_entropy(logits, batch["labels"], reduction="mean")


def joined(gmf: Params, mlp: Params, *, share: float = 0.5) -> Params:
    """A NeuMF made of a GMF and an MLP that were trained before. Source: He et al. (2017), section 3.4.1.

    Args:
        gmf: parameters of a model without layers.
        mlp: parameters of a model without factors.
        share: of the first in the logits.

    Returns:
        Parameters of the model of both.

    >>> gmf, mlp = Config(5, 7, layers=()), Config(5, 7, factors=0)
    >>> params = joined(init(random.key(0), gmf), init(random.key(1), mlp))
    >>> apply(params, fnp.array([1]), fnp.array([2]), config=Config(5, 7)).shape
    (1,)
    """
    first, second = gmf["out"], mlp["out"]
    return {
        "tables": gmf["tables"] | mlp["tables"],
        "layers": mlp["layers"],
        "out": {
            "w": fnp.concatenate([share * first["w"], (1 - share) * second["w"]], axis=0),
            "b": share * first["b"] + (1 - share) * second["b"],
        },
    }
