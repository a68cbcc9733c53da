"""TextCNN: the class of a sentence, from the strongest match of each of many patterns of three to five words.

Source: Kim, "Convolutional neural networks for sentence classification", EMNLP 2014: windows of 3, 4 and 5 words with
100 maps each, embeddings of 300, dropout of 0.5. The vocabulary is that of movie reviews (MR).

Expected: an accuracy of 76.1 % on MR and 82.7 % on SST-2 from random embeddings; 81.5 % and 87.2 % from word2vec's
(table 2 of the paper).

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import textcnn
>>> config = textcnn.Config(vocabulary=100)
>>> params = textcnn.init(random.key(0), config)
>>> textcnn.apply(params, fnp.array([[5, 17, 99, 0, 0]]), config=config).shape
(1, 2)
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
    """What a TextCNN is made of.

    Attributes:
        vocabulary: how many words, with 0 for padding.
        size: features of a word.
        windows: numbers of words of the convolutions.
        maps: outputs of each convolution.
        classes: how many.
        dropout: its rate, before the last layer.
        length: of the sentences that :func:`inputs` describes; any other will do.
    """

    vocabulary: int = 18_766
    size: int = 300
    windows: tuple[int, ...] = (3, 4, 5)
    maps: int = 100
    classes: int = 2
    dropout: float = 0.5
    length: int = 56


VARIANTS = {"textcnn": Config()}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: words.

    >>> inputs(batch=2)[0].shape
    (2, 56)
    """
    return (ShapeDtypeStruct((batch, config.length), fnp.int32),)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: the table words, a convolution for each window, and the dense layer out.

    Args:
        key: random key.
        config: what the network is made of.

    Returns:
        A dict of parameters.

    >>> [conv["w"].shape for conv in init(random.key(0), Config(vocabulary=100))["convs"]]
    [(3, 300, 100), (4, 300, 100), (5, 300, 100)]
    """
    first, second, *rest = random.split(key, 2 + len(config.windows))
    he = nn.initializers.he_uniform()
    return {
        "words": nn.init_embedding(first, config.vocabulary, config.size, w_init=nn.initializers.uniform(0.25)),
        "convs": [
            nn.init_conv(k, config.size, config.maps, (window,), w_init=he)
            for k, window in zip(rest, config.windows, strict=True)
        ],
        "out": nn.init_dense(second, config.maps * len(config.windows), config.classes),
    }


def apply(params: Params, words: Any, *, config: Config = Config(), key: Any = None) -> Array:
    """The logits of sentences.

    Args:
        params: from :func:`init`.
        words: integers [batch, words]; 0 is padding, after the words. How much there is changes nothing.
        config: what the parameters were made with.
        key: random key, for dropout; None is no dropout.

    Returns:
        [batch, classes].

    >>> config = Config(vocabulary=100)
    >>> apply(init(random.key(0), config), fnp.array([[5, 17, 99]]), config=config).shape
    (1, 2)
    """
    words = fnp.asarray(words)
    x = nn.embedding(params["words"], words, padding_index=0)
    lengths = fnp.sum(words != 0, axis=1)
    found = []
    for conv, window in zip(params["convs"], config.windows, strict=True):
        y = nn.relu(nn.conv(conv, x, padding=((0, window - 1),)))
        # A sentence shorter than the window has one place, filled up with zeros.
        there = nn.padding_mask(fnp.maximum(lengths - window + 1, 1), words.shape[1])
        found.append(fnp.max(fnp.where(there[..., None], y, 0.0), axis=1))  # y is not negative
    x = fnp.concatenate(found, axis=-1)
    return nn.dense(params["out"], x if key is None else nn.dropout(key, config.dropout, x))


def loss(params: Params, batch: Mapping[str, Any], key: Any = None, *, config: Config = Config()) -> Array:
    """The mean cross-entropy of a batch.

    Args:
        params: from :func:`init`.
        batch: "words" as for :func:`apply`, and their "labels" [batch], integers.
        key: random key, for dropout; None is no dropout.
        config: what the parameters were made with.

    Returns:
        A number.

    >>> config = Config(vocabulary=100)
    >>> batch = {"words": fnp.array([[5, 17, 99]]), "labels": fnp.array([1])}
    >>> loss(init(random.key(0), config), batch, config=config).shape
    ()
    """
    logits = apply(params, batch["words"], config=config, key=key)
    return nn.softmax_cross_entropy_with_integer_labels(logits, batch["labels"], reduction="mean")
