"""SASRec: what a user chooses next, by self-attention over what was chosen before.

Source: Kang, McAuley, "Self-attentive sequential recommendation", ICDM 2018: two blocks of one head, 50 features, the
last 200 items of MovieLens-1M. 211,950 parameters, most of them in the table of items.

Expected: a hit rate at 10 of 0.8245 and an NDCG at 10 of 0.5905 among 100 other items on MovieLens-1M (table III of
the paper).

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import sasrec
>>> config = sasrec.Config(items=20, length=4)
>>> params = sasrec.init(random.key(0), config)
>>> sasrec.apply(params, fnp.array([[0, 3, 7, 2], [1, 1, 5, 20]]), config=config).shape
(2, 4, 21)

Scores of some candidates for the item after the last:

>>> history, candidates = fnp.array([[0, 3, 7, 2]]), fnp.array([[4, 9]])
>>> sasrec.apply(params, history, candidates[:, None], config=config)[:, -1].shape
(1, 2)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fdl.numpy as fnp
from fdl import nn, random
from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.types import Array
from fdl.models.tokens import within
from fdl.nn.layers import Params


@dataclass(frozen=True)
class Config:
    """What a SASRec is made of.

    Attributes:
        items: how many; they are numbered from 1, and 0 is padding.
        length: of a history.
        size: features of an item.
        blocks: how many, of attention and a perceptron.
        heads: of the attention.
        dropout: its rate; the paper has 0.5 for sparser data than MovieLens.
    """

    items: int = 3416
    length: int = 200
    size: int = 50
    blocks: int = 2
    heads: int = 1
    dropout: float = 0.2


VARIANTS = {"sasrec": Config()}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: histories.

    >>> inputs(batch=2)[0].shape
    (2, 200)
    """
    return (ShapeDtypeStruct((batch, config.length), fnp.int32),)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: tables items [items + 1, size] and positions [length, size], the blocks, and a norm.

    Args:
        key: random key.
        config: what the model is made of.

    Returns:
        A dict of parameters.

    >>> init(random.key(0), Config(items=20))["items"]["w"].shape
    (21, 50)
    """
    first, second, third = random.split(key, 3)
    normal, glorot = nn.initializers.normal(0.01), nn.initializers.glorot_uniform()
    return {
        "items": nn.init_embedding(first, config.items + 1, config.size, w_init=normal),
        "positions": nn.init_embedding(second, config.length, config.size, w_init=normal),
        "blocks": [
            nn.init_transformer_block(k, config.size, config.heads, hidden=config.size, w_init=glorot)
            for k in random.split(third, config.blocks)
        ],
        "norm": nn.init_layer_norm(config.size),
    }


def features(params: Params, histories: Any, *, config: Config = Config(), key: Any = None) -> Array:
    """What the items up to each one say of the user.

    Args:
        params: from :func:`init`.
        histories: integers [batch, tokens], at most `length` of them, the last one last; 0 is padding.
        config: what the parameters were made with.
        key: random key, for dropout; None is no dropout.

    Returns:
        [batch, tokens, size]. Padding changes nothing, and gives zeros.

    Raises:
        ShapeError: the tokens are no matrix, or too many.

    >>> config = Config(items=20, length=4)
    >>> features(init(random.key(0), config), fnp.array([[0, 3, 7, 2]]), config=config).shape
    (1, 4, 50)
    """
    histories = within("sasrec", histories, config.length)
    first, second = (None, None) if key is None else random.split(key)
    # The last item has the last position, however long the history is.
    places = fnp.arange(config.length - histories.shape[1], config.length)
    x = nn.embedding(params["items"], histories) * config.size**0.5 + nn.embedding(params["positions"], places)
    there = histories != 0
    if first is not None:
        x = nn.dropout(first, config.dropout, x)
    x = nn.transformer(
        params["blocks"], fnp.where(there[..., None], x, 0.0), heads=config.heads, is_causal=True,
        mask=there[:, None, None], activation=nn.relu, rate=config.dropout, attention_rate=config.dropout, key=second,
    )  # fmt: skip
    return fnp.where(there[..., None], nn.layer_norm(params["norm"], x), 0.0)


def apply(
    params: Params, histories: Any, candidates: Any = None, *, config: Config = Config(), key: Any = None
) -> Array:
    """Scores of what comes next after each item.

    Args:
        params: from :func:`init`.
        histories: integers [batch, tokens], at most `length` of them, the last one last; 0 is padding.
        candidates: integers [batch, tokens or 1, candidates]; None is all items, and the padding.
        config: what the parameters were made with.
        key: random key, for dropout; None is no dropout.

    Returns:
        [batch, tokens, candidates].

    Raises:
        ShapeError: the tokens are no matrix, or too many.

    >>> config = Config(items=20, length=4)
    >>> apply(init(random.key(0), config), fnp.array([[0, 3, 7, 2]]), config=config).shape
    (1, 4, 21)
    """
    x = features(params, histories, config=config, key=key)
    if candidates is None:
        return nn.attend(params["items"], x)
    return fnp.sum(x[..., None, :] * nn.embedding(params["items"], candidates), axis=-1)


def loss(params: Params, batch: Mapping[str, Any], key: Any = None, *, config: Config = Config()) -> Array:
    """The mean cross-entropy of the item that comes next against one that does not, over what is no padding.

    Args:
        params: from :func:`init`.
        batch: "items" [batch, tokens] as for :func:`apply`; "positives", the item after each, 0 where there is none;
            and "negatives", items that the user did not choose.
        key: random key, for dropout; None is no dropout.
        config: what the parameters were made with.

    Returns:
        A number.

    >>> config = Config(items=20, length=3)
    >>> batch = {"items": [[0, 3, 7]], "positives": [[0, 7, 2]], "negatives": [[0, 9, 1]]}
    >>> loss(init(random.key(0), config), batch, config=config).shape
    ()
    """
    items, positives, negatives = (fnp.asarray(batch[name]) for name in ("items", "positives", "negatives"))
    logits = apply(params, items, fnp.stack([positives, negatives], axis=-1), config=config, key=key)
    there = (positives != 0) & (items != 0)
    losses = nn.sigmoid_binary_cross_entropy(logits, fnp.array([1.0, 0.0]))
    return fnp.sum(fnp.where(there[..., None], losses, 0.0)) / fnp.maximum(fnp.sum(there), 1)
