"""The Transformer: an encoder and a decoder of attention, for translation.

Source: Vaswani et al., "Attention is all you need", NeurIPS 2017: six blocks each, 512 features, 8 heads, perceptrons
of 2048, one table of 37,000 pieces of words for both languages and the output, norms after the sums, label smoothing
of 0.1. The big model has 1024 features, 16 heads and perceptrons of 4096.

Expected: a BLEU of 27.3 (base) and 28.4 (big) for English to German on newstest2014 (table 2 of the paper).

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import transformer
>>> config = transformer.Config(vocabulary=50, size=8, heads=2, hidden=16, blocks=2)
>>> params = transformer.init(random.key(0), config)
>>> source = fnp.array([[7, 9, 2, 0]])
>>> transformer.apply(params, source, fnp.array([[1, 5, 6]]), config=config).shape
(1, 3, 50)
>>> translations, scores = transformer.translate(params, source, 6, width=3, config=config)
>>> translations.shape, scores.shape
((1, 3, 6), (1, 3))
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
    """What a Transformer is made of.

    Attributes:
        vocabulary: how many tokens; 0 is padding, 1 begins and 2 ends a sentence.
        size: features of a token.
        heads: of each attention.
        hidden: features inside of the perceptrons.
        blocks: of the encoder, and of the decoder.
        dropout: its rate.
        smoothing: of the labels.
        length: of the sentences that :func:`inputs` describes; any other will do.
    """

    vocabulary: int = 37_000
    size: int = 512
    heads: int = 8
    hidden: int = 2048
    blocks: int = 6
    dropout: float = 0.1
    smoothing: float = 0.1
    length: int = 32


VARIANTS = {"transformer": Config(), "transformer_big": Config(size=1024, heads=16, hidden=4096, dropout=0.3)}

PAD, BEGIN, END = 0, 1, 2


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct, ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: sources and targets.

    >>> [x.shape for x in inputs(batch=2)]
    [(2, 32), (2, 32)]
    """
    shape = batch, config.length
    return ShapeDtypeStruct(shape, fnp.int32), ShapeDtypeStruct(shape, fnp.int32)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: the table tokens, and the blocks of encoder and decoder.

    Args:
        key: random key.
        config: what the model is made of.

    Returns:
        A dict of parameters.

    >>> sorted(init(random.key(0), Config(vocabulary=50, size=8, heads=2, hidden=16, blocks=1)))
    ['decoder', 'encoder', 'tokens']
    """
    first, *keys = random.split(key, 1 + 2 * config.blocks)

    def block(key: Any, cross: bool) -> Params:
        return nn.init_transformer_block(
            key, config.size, config.heads, hidden=config.hidden, cross=cross, w_init=nn.initializers.glorot_uniform()
        )

    return {
        "tokens": nn.init_embedding(
            first, config.vocabulary, config.size, w_init=nn.initializers.normal(config.size**-0.5)
        ),
        "encoder": [block(k, False) for k in keys[: config.blocks]],
        "decoder": [block(k, True) for k in keys[config.blocks :]],
    }


def encode(params: Params, sources: Any, *, config: Config = Config(), key: Any = None) -> Array:
    """What the decoder attends to.

    Args:
        params: from :func:`init`.
        sources: integers [batch, tokens], 0 for padding.
        config: what the parameters were made with.
        key: random key, for dropout; None is no dropout.

    Returns:
        [batch, tokens, size].

    >>> config = Config(vocabulary=50, size=8, heads=2, hidden=16, blocks=1)
    >>> encode(init(random.key(0), config), fnp.array([[7, 9, 0]]), config=config).shape
    (1, 3, 8)
    """
    sources = fnp.asarray(sources)
    x, key = _embedded(params, sources, config, key)
    return nn.transformer(params["encoder"], x, mask=_there(sources), key=key, **_settings(config))


def decode(
    params: Params, memory: Any, sources: Any, targets: Any, *, config: Config = Config(), key: Any = None
) -> Array:
    """The logits of the next token after each of the targets.

    Args:
        params: from :func:`init`.
        memory: from :func:`encode`.
        sources: what it was made of, to know the padding.
        targets: integers [batch, tokens].
        config: what the parameters were made with.
        key: random key, for dropout; None is no dropout.

    Returns:
        [batch, tokens, vocabulary].

    >>> config = Config(vocabulary=50, size=8, heads=2, hidden=16, blocks=1)
    >>> params, sources = init(random.key(0), config), fnp.array([[7, 9, 0]])
    >>> memory = encode(params, sources, config=config)
    >>> decode(params, memory, sources, fnp.array([[1, 4]]), config=config).shape
    (1, 2, 50)
    """
    x, key = _embedded(params, fnp.asarray(targets), config, key)
    mask = _there(fnp.asarray(sources))
    x = nn.transformer(
        params["decoder"], x, memory, is_causal=True, context_mask=mask, key=key, **_settings(config)
    )  # fmt: skip
    return nn.attend(params["tokens"], x)


def apply(params: Params, sources: Any, targets: Any, *, config: Config = Config(), key: Any = None) -> Array:
    """The logits of the next token of a translation, after each of its tokens.

    Args:
        params: from :func:`init`.
        sources: integers [batch, tokens], 0 for padding, which changes nothing.
        targets: integers [batch, tokens], the first of which is 1.
        config: what the parameters were made with.
        key: random key, for dropout; None is no dropout.

    Returns:
        [batch, tokens of the targets, vocabulary].

    >>> config = Config(vocabulary=50, size=8, heads=2, hidden=16, blocks=1)
    >>> apply(init(random.key(0), config), fnp.array([[7, 9, 0]]), fnp.array([[1, 4]]), config=config).shape
    (1, 2, 50)
    """
    first, second = (None, None) if key is None else random.split(key)
    memory = encode(params, sources, config=config, key=first)
    return decode(params, memory, sources, targets, config=config, key=second)


def loss(params: Params, batch: Mapping[str, Any], key: Any = None, *, config: Config = Config()) -> Array:
    """The mean cross-entropy with smoothed labels, over all tokens of the targets but padding.

    Args:
        params: from :func:`init`.
        batch: "sources" and "targets" [batch, tokens], which begin with 1, end with 2, and are filled up with 0.
        key: random key, for dropout; None is no dropout.
        config: what the parameters were made with.

    Returns:
        A number.

    >>> config = Config(vocabulary=50, size=8, heads=2, hidden=16, blocks=1)
    >>> batch = {"sources": fnp.array([[7, 9, 0]]), "targets": fnp.array([[1, 5, 6, 2]])}
    >>> loss(init(random.key(0), config), batch, config=config).shape
    ()
    """
    targets = fnp.asarray(batch["targets"])
    logits = apply(params, batch["sources"], targets[:, :-1], config=config, key=key)
    return nn.softmax_cross_entropy_with_integer_labels(
        logits, targets[:, 1:], label_smoothing=config.smoothing, mask=targets[:, 1:] != PAD, reduction="mean"
    )


def translate(
    params: Params, sources: Any, length: int, *, width: int = 4, penalty: float = 0.6, config: Config = Config()
) -> tuple[Array, Array]:
    """The best translations that a beam search finds. The paper has a width of 4 and a penalty of 0.6.

    Args:
        params: from :func:`init`.
        sources: integers [batch, tokens], 0 for padding.
        length: how many tokens a translation has at most.
        width: of the beam; 1 takes the likeliest token each time.
        penalty: of the length, see :func:`fdl.nn.beam_search`.
        config: what the parameters were made with.

    Returns:
        int32 [batch, width, length], best first, filled up with 2; and their scores [batch, width].

    >>> config = Config(vocabulary=50, size=8, heads=2, hidden=16, blocks=1)
    >>> translate(init(random.key(0), config), fnp.array([[7, 9, 0]]), 5, config=config)[0].shape
    (1, 4, 5)
    """
    sources = fnp.asarray(sources)
    positions = nn.sinusoidal_positions(length, config.size, dtype=params["tokens"]["w"].dtype)
    state = {
        "memory": encode(params, sources, config=config),
        "mask": _there(sources),
        "caches": nn.transformer_caches(params["decoder"], sources.shape[0], length, heads=config.heads),
    }

    def step(state: Any, tokens: Array) -> tuple[Array, Any]:
        place = state["caches"][0]["index"]
        x = nn.embedding(params["tokens"], tokens[:, None]) * config.size**0.5 + positions[place]
        x, caches = nn.transformer(
            params["decoder"], x, state["memory"], context_mask=state["mask"], caches=state["caches"],
            **_settings(config),
        )  # fmt: skip
        return nn.attend(params["tokens"], x[:, 0]), state | {"caches": caches}

    first = fnp.full(sources.shape[:1], BEGIN, fnp.int32)
    return nn.beam_search(step, state, first, length, width=width, end=END, penalty=penalty)


def _embedded(params: Params, tokens: Array, config: Config, key: Any) -> tuple[Array, Any]:
    x = nn.embedding(params["tokens"], tokens) * config.size**0.5
    x = x + nn.sinusoidal_positions(tokens.shape[1], config.size, dtype=x.dtype)
    if key is None:
        return x, None
    first, second = random.split(key)
    return nn.dropout(first, config.dropout, x), second


def _there(tokens: Array) -> Array:
    return (tokens != PAD)[:, None, None]


def _settings(config: Config) -> dict[str, Any]:
    return {"heads": config.heads, "norm_first": False, "activation": nn.relu, "rate": config.dropout}
