"""Sequence to sequence with attention: GRUs that read a sentence both ways, and one that writes its translation.

Source: Bahdanau, Cho, Bengio, "Neural machine translation by jointly learning to align and translate", ICLR 2015:
GRUs of 1000, embeddings of 620, a maxout layer of 500, vocabularies of 30,000. The GRUs reset after the product.

Expected: a BLEU of 26.75 for English to French on newstest2014, 28.45 when trained for longer (table 1 of the paper).

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import seq2seq
>>> config = seq2seq.Config(sources=40, targets=50, embedding=6, size=8, maxout=4)
>>> params = seq2seq.init(random.key(0), config)
>>> source = fnp.array([[7, 9, 2, 0]])
>>> seq2seq.apply(params, source, fnp.array([[1, 5, 6]]), config=config).shape
(1, 3, 50)
>>> translations, scores = seq2seq.translate(params, source, 6, width=3, config=config)
>>> translations.shape, scores.shape
((1, 3, 6), (1, 3))
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fdl.numpy as fnp
from fdl import lax, nn, random
from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.types import Array
from fdl.nn.layers import Params


@dataclass(frozen=True)
class Config:
    """What the model is made of.

    Attributes:
        sources: how many words of the language that is read; 0 is padding.
        targets: how many of the language that is written; 0 is padding, 1 begins and 2 ends a sentence.
        embedding: features of a word.
        size: features of the GRUs, and of the perceptron of the attention.
        maxout: features before the last layer.
        length: of the sentences that :func:`inputs` describes; any other will do.
    """

    sources: int = 30_000
    targets: int = 30_000
    embedding: int = 620
    size: int = 1000
    maxout: int = 500
    length: int = 30


VARIANTS = {"seq2seq": Config()}

PAD, BEGIN, END = 0, 1, 2


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct, ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: sources and targets.

    >>> [x.shape for x in inputs(batch=2)]
    [(2, 30), (2, 30)]
    """
    shape = batch, config.length
    return ShapeDtypeStruct(shape, fnp.int32), ShapeDtypeStruct(shape, fnp.int32)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: tables sources, targets; GRUs encoder, decoder; attention; dense layers start, maxout, out.

    Args:
        key: random key.
        config: what the model is made of.

    Returns:
        A dict of parameters.

    >>> params = init(random.key(0), Config(sources=40, targets=50, embedding=6, size=8, maxout=4))
    >>> params["decoder"]["wx"].shape
    (22, 24)
    """
    keys = random.split(key, 9)
    size, embedding = config.size, config.embedding
    normal = nn.initializers.normal(0.01)
    return {
        "sources": nn.init_embedding(keys[0], config.sources, embedding, w_init=normal),
        "targets": nn.init_embedding(keys[1], config.targets, embedding, w_init=normal),
        "encoder": {
            "forward": nn.init_gru(keys[2], embedding, size),
            "backward": nn.init_gru(keys[3], embedding, size),
        },
        "start": nn.init_dense(keys[4], size, size),
        "attention": nn.init_additive_attention(keys[5], size, 2 * size, size),
        "decoder": nn.init_gru(keys[6], embedding + 2 * size, size),
        "maxout": nn.init_dense(keys[7], embedding + 3 * size, 2 * config.maxout),
        "out": nn.init_dense(keys[8], config.maxout, config.targets),
    }


def apply(params: Params, sources: Any, targets: Any, *, config: Config = Config()) -> Array:
    """The logits of the next word of a translation, after each of its words.

    Args:
        params: from :func:`init`.
        sources: integers [batch, words], 0 for padding after the words, which changes nothing.
        targets: integers [batch, words], the first of which is 1.
        config: what the parameters were made with.

    Returns:
        [batch, words of the targets, words of the vocabulary].

    >>> config = Config(sources=40, targets=50, embedding=6, size=8, maxout=4)
    >>> apply(init(random.key(0), config), fnp.array([[7, 9, 0]]), fnp.array([[1, 4]]), config=config).shape
    (1, 2, 50)
    """
    state = _encoded(params, sources)
    words = nn.embedding(params["targets"], fnp.swapaxes(fnp.asarray(targets), 0, 1))

    def step(hidden: Array, word: Array) -> tuple[Array, Array]:
        features, new = _decoded(params, state | {"hidden": hidden}, word)
        return new["hidden"], features

    _, features = lax.scan(step, state["hidden"], words)
    return nn.dense(params["out"], fnp.swapaxes(features, 0, 1))


def loss(params: Params, batch: Mapping[str, Any], *, config: Config = Config()) -> Array:
    """The mean cross-entropy over all words of the targets but padding; each word is told those before it.

    Args:
        params: from :func:`init`.
        batch: "sources" [batch, words], 0 for padding; and "targets", which begin with 1, end with 2, then have 0.
        config: what the parameters were made with.

    Returns:
        A number.

    >>> config = Config(sources=40, targets=50, embedding=6, size=8, maxout=4)
    >>> batch = {"sources": fnp.array([[7, 9, 0]]), "targets": fnp.array([[1, 5, 6, 2]])}
    >>> loss(init(random.key(0), config), batch, config=config).shape
    ()
    """
    targets = fnp.asarray(batch["targets"])
    logits = apply(params, batch["sources"], targets[:, :-1], config=config)
    return nn.softmax_cross_entropy_with_integer_labels(
        logits, targets[:, 1:], mask=targets[:, 1:] != PAD, reduction="mean"
    )  # fmt: skip


def translate(
    params: Params, sources: Any, length: int, *, width: int = 12, penalty: float = 0.0, config: Config = Config()
) -> tuple[Array, Array]:
    """The best translations that a beam search finds.

    Args:
        params: from :func:`init`.
        sources: integers [batch, words], 0 for padding after the words.
        length: how many words a translation has at most.
        width: of the beam; 1 takes the likeliest word each time.
        penalty: of the length, see :func:`fdl.nn.beam_search`.
        config: what the parameters were made with.

    Returns:
        int32 [batch, width, length], best first, filled up with 2; and their scores [batch, width].

    >>> config = Config(sources=40, targets=50, embedding=6, size=8, maxout=4)
    >>> translate(init(random.key(0), config), fnp.array([[7, 9, 0]]), 5, config=config)[0].shape
    (1, 12, 5)
    """
    state = _encoded(params, sources)

    def step(state: Any, words: Array) -> tuple[Array, Any]:
        features, state = _decoded(params, state, nn.embedding(params["targets"], words))
        return nn.dense(params["out"], features), state

    first = fnp.full(state["hidden"].shape[:1], BEGIN, fnp.int32)
    return nn.beam_search(step, state, first, length, width=width, end=END, penalty=penalty)


def _encoded(params: Params, sources: Any) -> dict[str, Array]:
    """The state of the decoder before its first word."""
    sources = fnp.asarray(sources)
    there = sources != PAD
    words = nn.embedding(params["sources"], sources)
    (_, first), memory = nn.bidirectional_rnn(nn.gru_cell, params["encoder"], words, lengths=fnp.sum(there, axis=1))
    return {
        "hidden": fnp.tanh(nn.dense(params["start"], first)),
        "memory": memory,
        "projected": nn.dense(params["attention"]["memory"], memory),
        "there": there,
    }


def _decoded(params: Params, state: dict[str, Array], word: Array) -> tuple[Array, dict[str, Array]]:
    """The features of which the logits of the next word are made, and the state after a word."""
    hidden, memory = state["hidden"], state["memory"]
    context, _ = nn.additive_attention(
        params["attention"], hidden, memory, state["there"], projected=state["projected"]
    )  # fmt: skip
    told = fnp.concatenate([word, context], axis=-1)
    pairs = nn.dense(params["maxout"], fnp.concatenate([told, hidden], axis=-1))
    features = fnp.max(pairs.reshape((*pairs.shape[:-1], pairs.shape[-1] // 2, 2)), axis=-1)
    hidden, _ = nn.gru_cell(params["decoder"], hidden, told)
    return features, state | {"hidden": hidden}
