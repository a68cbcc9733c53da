"""GPT-2: a language model of decoder blocks, which goes on with a text.

Source: Radford, Wu, Child, Luan, Amodei, Sutskever, "Language models are unsupervised multitask learners" (2019): norms
before attention and perceptron and at the end, learned positions, tied tables. 124,439,808 parameters in the smallest.

Expected: a perplexity on WikiText-2, without training on it, of 29.41, 22.76, 19.93 and 18.34 for the four sizes
(table 3 of the paper).

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import gpt2
>>> config = gpt2.Config(vocabulary=50, length=16, size=8, blocks=2, heads=2)
>>> params = gpt2.init(random.key(0), config)
>>> gpt2.apply(params, fnp.array([[3, 4, 49]]), config=config).shape
(1, 3, 50)
>>> gpt2.generate(params, fnp.array([[3, 4, 49]]), 5, config=config, key=random.key(1), top_k=10).shape
(1, 5)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fdl.numpy as fnp
from fdl import nn, random
from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.models.tokens import within
from fdl.nn.layers import Params


@dataclass(frozen=True)
class Config:
    """What a GPT-2 is made of.

    Attributes:
        vocabulary: how many tokens.
        length: most tokens that it sees.
        size: features of a token.
        blocks: how many.
        heads: of the attention.
        dropout: its rate.
    """

    vocabulary: int = 50_257
    length: int = 1024
    size: int = 768
    blocks: int = 12
    heads: int = 12
    dropout: float = 0.1


VARIANTS = {
    "gpt2": Config(),
    "gpt2_medium": Config(size=1024, blocks=24, heads=16),
    "gpt2_large": Config(size=1280, blocks=36, heads=20),
    "gpt2_xl": Config(size=1600, blocks=48, heads=25),
}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: tokens.

    >>> inputs(batch=2)[0].shape
    (2, 1024)
    """
    return (ShapeDtypeStruct((batch, config.length), fnp.int32),)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: tables tokens and positions, the blocks, and a norm.

    Args:
        key: random key.
        config: what the model is made of.

    Returns:
        A dict of parameters.

    >>> sorted(init(random.key(0), Config(vocabulary=50, size=8, blocks=1, heads=2)))
    ['blocks', 'norm', 'positions', 'tokens']
    """
    first, second, third = random.split(key, 3)
    normal = nn.initializers.normal(0.02)
    blocks = []
    for k in random.split(third, config.blocks):
        block = nn.init_transformer_block(k, config.size, config.heads, w_init=normal)
        for layer in (block["attention"]["out"], block["mlp"][-1]):
            layer["w"] = layer["w"] / (2 * config.blocks) ** 0.5  # so that their sum does not grow with the depth
        blocks.append(block)
    return {
        "tokens": nn.init_embedding(first, config.vocabulary, config.size, w_init=normal),
        "positions": nn.init_embedding(second, config.length, config.size, w_init=normal),
        "blocks": blocks,
        "norm": nn.init_layer_norm(config.size),
    }


def features(params: Params, tokens: Any, *, config: Config = Config(), key: Any = None, caches: Any = None) -> Any:
    """What the tokens up to each one say: the last hidden state.

    Args:
        params: from :func:`init`.
        tokens: integers [batch, tokens].
        config: what the parameters were made with.
        key: random key, for dropout; None is no dropout.
        caches: from :func:`fdl.nn.transformer_caches`; the tokens come after those in it.

    Returns:
        [batch, tokens, size]; with caches a pair of it and the new caches.

    Raises:
        ShapeError: the tokens are no matrix, or too many.

    >>> config = Config(vocabulary=50, size=8, blocks=1, heads=2)
    >>> features(init(random.key(0), config), fnp.array([[3, 4]]), config=config).shape
    (1, 2, 8)
    """
    tokens = within("gpt2", tokens, config.length)
    start = 0 if caches is None else caches[0]["index"]
    first, second = (None, None) if key is None else random.split(key)
    places = start + fnp.arange(tokens.shape[1])
    x = nn.embedding(params["tokens"], tokens) + nn.embedding(params["positions"], places)
    if first is not None:
        x = nn.dropout(first, config.dropout, x)
    x = nn.transformer(
        params["blocks"], x, heads=config.heads, is_causal=True, rate=config.dropout, attention_rate=config.dropout,
        key=second, caches=caches,
    )  # fmt: skip
    if caches is None:
        return nn.layer_norm(params["norm"], x)
    return nn.layer_norm(params["norm"], x[0]), x[1]


def apply(params: Params, tokens: Any, *, config: Config = Config(), key: Any = None) -> Array:
    """The logits of the next token after each.

    Args:
        params: from :func:`init`.
        tokens: integers [batch, tokens], at most `length` tokens.
        config: what the parameters were made with.
        key: random key, for dropout; None is no dropout.

    Returns:
        [batch, tokens, vocabulary].

    Raises:
        ShapeError: the tokens are no matrix, or too many.

    >>> config = Config(vocabulary=50, size=8, blocks=1, heads=2)
    >>> apply(init(random.key(0), config), fnp.array([[3, 4]]), config=config).shape
    (1, 2, 50)
    """
    return nn.attend(params["tokens"], features(params, tokens, config=config, key=key))


def loss(params: Params, batch: Mapping[str, Any], key: Any = None, *, config: Config = Config()) -> Array:
    """The mean cross-entropy of a batch, whose exponential is the perplexity.

    Args:
        params: from :func:`init`.
        batch: "tokens" [batch, tokens + 1], the targets being all but the first; and, unless all count, "mask", bool
            like the targets.
        key: random key, for dropout; None is no dropout.
        config: what the parameters were made with.

    Returns:
        A number.

    >>> config = Config(vocabulary=50, size=8, blocks=1, heads=2)
    >>> loss(init(random.key(0), config), {"tokens": fnp.array([[3, 4, 5]])}, config=config).shape
    ()
    """
    tokens = fnp.asarray(batch["tokens"])
    logits = apply(params, tokens[:, :-1], config=config, key=key)
    return nn.softmax_cross_entropy_with_integer_labels(
        logits, tokens[:, 1:], mask=batch.get("mask"), reduction="mean"
    )  # fmt: skip


def generate(
    params: Params, prompt: Any, length: int, *, config: Config = Config(), key: Any = None, **settings: Any
) -> Array:
    """Tokens that go on from a prompt. Keys and values of the tokens before are kept, not computed again.

    Args:
        params: from :func:`init`.
        prompt: integers [batch, tokens], at least one token.
        length: how many tokens to make; prompt and these are at most `config.length` tokens.
        config: what the parameters were made with.
        key: random key; None takes the likeliest token each time.
        **settings: of :func:`fdl.nn.generate`: end, temperature, top_k, top_p.

    Returns:
        int32 [batch, length], without the prompt.

    Raises:
        ShapeError: there is no token in the prompt, or prompt and length are too long.

    >>> config = Config(vocabulary=50, size=8, blocks=1, heads=2)
    >>> generate(init(random.key(0), config), fnp.array([[3, 4]]), 5, config=config).shape
    (1, 5)
    """
    prompt = within("gpt2.generate", prompt, config.length)
    batch, tokens = prompt.shape
    if not tokens or tokens + length > config.length:
        raise ShapeError(
            f"gpt2.generate needs a prompt of at least one token, which with {length} more has at most "
            f"{config.length}, got {prompt.type}"
        )
    caches = nn.transformer_caches(params["blocks"], batch, tokens + length, heads=config.heads)
    if tokens > 1:
        _, caches = features(params, prompt[:, :-1], config=config, caches=caches)

    def step(caches: Any, tokens: Array) -> tuple[Array, Any]:
        x, caches = features(params, tokens[:, None], config=config, caches=caches)
        return nn.attend(params["tokens"], x[:, 0]), caches

    return nn.generate(step, caches, prompt[:, -1], length, key=key, **settings)


def torch_name(path: str, config: Config) -> str:
    """The name of a layer in transformers' GPT2LMHeadModel; queries, keys and values are one matrix there."""
    names = {
        "tokens": "wte",
        "positions": "wpe",
        "norm": "ln_f",
        "attention/query": "attn.c_attn",
        "attention/key": "attn.c_attn",
        "attention/value": "attn.c_attn",
        "attention/out": "attn.c_proj",
        "norm1": "ln_1",
        "norm2": "ln_2",
        "mlp/0": "mlp.c_fc",
        "mlp/1": "mlp.c_proj",
    }
    first, _, rest = path.partition("/")
    number, _, layer = rest.partition("/")
    return f"transformer.h.{number}.{names[layer]}" if first == "blocks" else f"transformer.{names[path]}"


def torch_kept(path: str) -> bool:
    """Whether a matrix is in transformers as it is: all are, as its dense layers multiply from the right."""
    return True


def torch_tied(config: Config) -> dict[str, str]:
    """What transformers has under two names."""
    return {"lm_head.weight": "transformer.wte.weight"}
