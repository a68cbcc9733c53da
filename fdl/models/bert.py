"""BERT: an encoder of text, trained to fill in words, and finished for sentences, pairs of them, or tokens.

Source: Devlin, Chang, Lee, Toutanova, "BERT: pre-training of deep bidirectional transformers for language
understanding", NAACL 2019. The base model has 109,482,240 parameters, the large one 335,141,888, without heads.

Expected, after training on the task: 84.6 % of MNLI and an F1 of 88.5 on SQuAD 1.1 (development) for the base model,
86.7 % and 90.9 for the large one (tables 1 and 2 of the paper).

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import bert
>>> config = bert.Config(vocabulary=50, size=8, blocks=2, heads=2, hidden=16, length=16)
>>> params = bert.init(random.key(0), config)
>>> tokens = fnp.array([[2, 7, 9, 3, 0]])
>>> hidden, pooled = bert.apply(params, tokens, mask=tokens != 0, config=config)
>>> hidden.shape, pooled.shape
((1, 5, 8), (1, 8))
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import fdl.numpy as fnp
from fdl import nn, random
from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.types import Array
from fdl.models.tokens import within
from fdl.nn.layers import Params


@dataclass(frozen=True)
class Config:
    """What a BERT is made of.

    Attributes:
        vocabulary: how many tokens.
        length: most tokens that it sees.
        segments: how many kinds of tokens: of the first and the second sentence.
        size: features of a token.
        blocks: how many.
        heads: of the attention.
        hidden: features inside of the perceptrons.
        dropout: its rate.
        masked: whether there is the head that fills in words.
        classes: outputs of the head that reads the pooled output; 0 for none, 2 for whether a sentence follows.
    """

    vocabulary: int = 30_522
    length: int = 512
    segments: int = 2
    size: int = 768
    blocks: int = 12
    heads: int = 12
    hidden: int = 3072
    dropout: float = 0.1
    masked: bool = False
    classes: int = 0


_LARGE = Config(size=1024, blocks=24, heads=16, hidden=4096)

VARIANTS = {
    "bert": Config(),
    "bert_large": _LARGE,
    "bert_pretraining": Config(masked=True, classes=2),
    "bert_large_pretraining": replace(_LARGE, masked=True, classes=2),
}

#: As in the paper's program; the norms of other models have 1e-5.
_EPSILON = 1e-12


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: tokens.

    >>> inputs(batch=2)[0].shape
    (2, 512)
    """
    return (ShapeDtypeStruct((batch, config.length), fnp.int32),)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: tables tokens, positions and segments, a norm, the blocks, the pooler, and the heads.

    Args:
        key: random key.
        config: what the model is made of.

    Returns:
        A dict of parameters.

    >>> config = Config(vocabulary=50, size=8, blocks=1, heads=2, masked=True, classes=2)
    >>> sorted(init(random.key(0), config))
    ['blocks', 'classifier', 'masked', 'norm', 'pooler', 'positions', 'segments', 'tokens']
    """
    keys = random.split(key, 7)
    normal, size = nn.initializers.truncated_normal(0.02), config.size
    params: Params = {
        "tokens": nn.init_embedding(keys[0], config.vocabulary, size, w_init=normal),
        "positions": nn.init_embedding(keys[1], config.length, size, w_init=normal),
        "segments": nn.init_embedding(keys[2], config.segments, size, w_init=normal),
        "norm": nn.init_layer_norm(size),
        "blocks": [
            nn.init_transformer_block(k, size, config.heads, hidden=config.hidden, w_init=normal)
            for k in random.split(keys[3], config.blocks)
        ],
        "pooler": nn.init_dense(keys[4], size, size, w_init=normal),
    }
    if config.masked:
        params["masked"] = {
            "dense": nn.init_dense(keys[5], size, size, w_init=normal),
            "norm": nn.init_layer_norm(size),
            "out": {"b": fnp.zeros(config.vocabulary)},  # its w is the table of tokens
        }
    if config.classes:
        params["classifier"] = nn.init_dense(keys[6], size, config.classes, w_init=normal)
    return params


def apply(
    params: Params, tokens: Any, segments: Any = None, *, mask: Any = None, config: Config = Config(), key: Any = None
) -> tuple[Array, Array]:
    """What is known of each token, and of all of them.

    Args:
        params: from :func:`init`.
        tokens: integers [batch, tokens], at most `length` tokens.
        segments: integers like the tokens: 0 for the first sentence, 1 for the second; None is 0 for all.
        mask: bool like the tokens, or 0 and 1: false for padding, which changes nothing; None is no padding.
        config: what the parameters were made with.
        key: random key, for dropout; None is no dropout.

    Returns:
        The last hidden state [batch, tokens, size], and the pooled output [batch, size], made of the first token.

    Raises:
        ShapeError: the tokens are no matrix, or too many.

    >>> config = Config(vocabulary=50, size=8, blocks=1, heads=2)
    >>> hidden, pooled = apply(init(random.key(0), config), fnp.array([[2, 7, 3]]), config=config)
    >>> hidden.shape, pooled.shape
    ((1, 3, 8), (1, 8))
    """
    tokens = within("bert", tokens, config.length)
    first, second = (None, None) if key is None else random.split(key)
    x = nn.embedding(params["tokens"], tokens) + params["positions"]["w"][: tokens.shape[1]]
    x = x + nn.embedding(params["segments"], fnp.zeros_like(tokens) if segments is None else segments)
    x = nn.layer_norm(params["norm"], x, epsilon=_EPSILON)
    if first is not None:
        x = nn.dropout(first, config.dropout, x)
    x = nn.transformer(
        params["blocks"], x, heads=config.heads, norm_first=False, epsilon=_EPSILON, activation=_gelu,
        mask=None if mask is None else (fnp.asarray(mask) != 0)[:, None, None], rate=config.dropout,
        attention_rate=config.dropout, key=second,
    )  # fmt: skip
    return x, fnp.tanh(nn.dense(params["pooler"], x[:, 0]))


def masked_logits(params: Params, hidden: Any) -> Array:
    """The logits of the token at each place.

    Args:
        params: from :func:`init`, of a model with `masked`.
        hidden: [..., size], from :func:`apply`.

    Returns:
        [..., vocabulary].

    >>> config = Config(vocabulary=50, size=8, blocks=1, heads=2, masked=True)
    >>> params = init(random.key(0), config)
    >>> masked_logits(params, apply(params, fnp.array([[2, 7, 3]]), config=config)[0]).shape
    (1, 3, 50)
    """
    head = params["masked"]
    x = nn.layer_norm(head["norm"], _gelu(nn.dense(head["dense"], hidden)), epsilon=_EPSILON)
    return nn.attend(params["tokens"], x) + head["out"]["b"]


def class_logits(params: Params, pooled: Any, *, config: Config = Config(), key: Any = None) -> Array:
    """The logits of classes of texts.

    Args:
        params: from :func:`init`, of a model with `classes`.
        pooled: [batch, size], from :func:`apply`.
        config: what the parameters were made with.
        key: random key, for dropout; None is no dropout.

    Returns:
        [batch, classes].

    >>> config = Config(vocabulary=50, size=8, blocks=1, heads=2, classes=3)
    >>> params = init(random.key(0), config)
    >>> class_logits(params, apply(params, fnp.array([[2, 7, 3]]), config=config)[1]).shape
    (1, 3)
    """
    return nn.dense(params["classifier"], pooled if key is None else nn.dropout(key, config.dropout, pooled))


def loss(params: Params, batch: Mapping[str, Any], key: Any = None, *, config: Config = Config()) -> Array:
    """The mean cross-entropy of the words that are to be filled in, and that of the classes, of what the batch has.

    Args:
        params: from :func:`init`.
        batch: "tokens", and as needed "segments" and "mask", as for :func:`apply`; "targets" [batch, tokens], the words
            to fill in, negative where there are none; "labels" [batch], classes.
        key: random key, for dropout; None is no dropout.
        config: what the parameters were made with.

    Returns:
        A number.

    Raises:
        ValueError: the batch has neither targets nor labels, or the parameters lack the head for them.

    >>> config = Config(vocabulary=50, size=8, blocks=1, heads=2, masked=True)
    >>> batch = {"tokens": fnp.array([[2, 4, 3]]), "targets": fnp.array([[-100, 7, -100]])}
    >>> loss(init(random.key(0), config), batch, config=config).shape
    ()
    """
    first, second = (None, None) if key is None else random.split(key)
    heads = {"targets": "masked", "labels": "classifier"}
    asked = [name for name in heads if name in batch]
    if not asked:
        raise ValueError(f"the batch of bert.loss needs 'targets' or 'labels', got {sorted(batch)}")
    for name in asked:
        if heads[name] not in params:
            raise ValueError(f"the batch of bert.loss has {name!r}, but the parameters have no head {heads[name]!r}")
    hidden, pooled = apply(
        params, batch["tokens"], batch.get("segments"), mask=batch.get("mask"), config=config, key=first
    )  # fmt: skip
    total: Any = 0.0
    if "targets" in batch:
        targets = fnp.asarray(batch["targets"])
        total = total + nn.softmax_cross_entropy_with_integer_labels(
            masked_logits(params, hidden), targets, mask=targets >= 0, reduction="mean"
        )
    if "labels" in batch:
        logits = class_logits(params, pooled, config=config, key=second)
        total = total + nn.softmax_cross_entropy_with_integer_labels(logits, batch["labels"], reduction="mean")
    return total


def _gelu(x: Any) -> Array:
    return nn.gelu(x, approximate=False)


def torch_name(path: str, config: Config) -> str:
    """The name of a layer in transformers' BertModel; with heads, in BertForPreTraining or, without the head that fills
    in words, in BertForSequenceClassification.
    """
    names = {"masked/dense": "transform.dense", "masked/norm": "transform.LayerNorm", "masked/out": ""}
    if path in names:
        return f"cls.predictions.{names[path]}".rstrip(".")
    if path == "classifier":
        return "cls.seq_relationship" if config.masked else "classifier"
    names = {
        "tokens": "embeddings.word_embeddings",
        "positions": "embeddings.position_embeddings",
        "segments": "embeddings.token_type_embeddings",
        "norm": "embeddings.LayerNorm",
        "pooler": "pooler.dense",
        "attention/query": "attention.self.query",
        "attention/key": "attention.self.key",
        "attention/value": "attention.self.value",
        "attention/out": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "mlp/0": "intermediate.dense",
        "mlp/1": "output.dense",
        "norm2": "output.LayerNorm",
    }
    first, _, rest = path.partition("/")
    number, _, layer = rest.partition("/")
    name = f"encoder.layer.{number}.{names[layer]}" if first == "blocks" else names[path]
    return f"bert.{name}" if config.masked or config.classes else name


def torch_kept(path: str) -> bool:
    """Whether a matrix is a table, which PyTorch has as it is."""
    return path in ("tokens", "positions", "segments")


def torch_tied(config: Config) -> dict[str, str]:
    """What transformers has under two names."""
    if not config.masked:
        return {}
    table, bias = "bert.embeddings.word_embeddings.weight", "cls.predictions.bias"
    return {"cls.predictions.decoder.weight": table, "cls.predictions.decoder.bias": bias}
