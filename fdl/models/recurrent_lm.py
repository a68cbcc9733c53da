"""A language model of LSTMs or GRUs: the next word from all before, with a state that goes on from batch to batch.

Source: Zaremba, Sutskever, Vinyals, "Recurrent neural network regularization" (2014), their medium and large models
for the Penn Treebank; tied tables as in Press, Wolf, "Using the output embedding to improve language models" (2017).

Expected: a perplexity of 82.7 (medium) and 78.4 (large) on the test set of the Penn Treebank (table 1 of the first
paper), 79.4 and 74.3 with tied tables and projections (table 2 of the second).

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import recurrent_lm
>>> config = recurrent_lm.Config(vocabulary=50, size=8)
>>> params = recurrent_lm.init(random.key(0), config)
>>> recurrent_lm.apply(params, fnp.array([[3, 4, 49]]), config=config).shape
(1, 3, 50)

Truncated backpropagation through time: cut the text into rows, and give each step the state after the one before.

>>> import fdl
>>> value_and_grad = fdl.value_and_grad(recurrent_lm.loss_and_state, has_aux=True)
>>> text, state = fnp.arange(41).reshape(1, 41), None
>>> for start in range(0, 40, 20):
...     batch = {"tokens": text[:, start : start + 21]}
...     (value, state), gradients = value_and_grad(params, batch, state=state, config=config)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fdl.numpy as fnp
from fdl import nn, random
from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.nn.layers import Params


@dataclass(frozen=True)
class Config:
    """What a recurrent language model is made of.

    Attributes:
        vocabulary: how many words.
        size: features of a word, and of each layer.
        layers: how many.
        cell: "lstm" or "gru".
        tied: whether the last layer is the transposed table of words.
        dropout: its rate, between layers.
        scale: parameters are drawn from -scale to scale.
        length: of the texts that :func:`inputs` describes; any other will do.
    """

    vocabulary: int = 10_000
    size: int = 650
    layers: int = 2
    cell: str = "lstm"
    tied: bool = True
    dropout: float = 0.5
    scale: float = 0.05
    length: int = 35


VARIANTS = {
    "lstm_lm": Config(),
    "lstm_lm_untied": Config(tied=False),
    "lstm_lm_large": Config(size=1500, tied=False, dropout=0.65, scale=0.04),
    "gru_lm": Config(cell="gru"),
}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: tokens.

    >>> inputs(batch=2)[0].shape
    (2, 35)
    """
    return (ShapeDtypeStruct((batch, config.length), fnp.int32),)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: the table words, a cell for each layer, and out: only its b if the tables are tied.

    Args:
        key: random key.
        config: what the model is made of.

    Returns:
        A dict of parameters.

    Raises:
        ValueError: the cell is unknown.

    >>> init(random.key(0), Config(vocabulary=50, size=8))["layers"][0]["wx"].shape
    (8, 32)
    """
    make = {"lstm": nn.init_lstm, "gru": nn.init_gru}.get(config.cell)
    if make is None:
        raise ValueError(f"recurrent_lm takes cell 'lstm' or 'gru', got {config.cell!r}")
    first, second, third = random.split(key, 3)

    def draw(key: Any, shape: Any, dtype: Any = fnp.float32) -> Array:
        return random.uniform(key, shape, dtype, -config.scale, config.scale)

    layers = []
    for k in random.split(third, config.layers):
        cell = make(k, config.size, config.size)
        first_key, second_key = random.split(k)
        layers.append(cell | {"wx": draw(first_key, cell["wx"].shape), "wh": draw(second_key, cell["wh"].shape)})
    out = nn.init_dense(second, config.size, config.vocabulary, w_init=draw)
    return {
        "words": nn.init_embedding(first, config.vocabulary, config.size, w_init=draw),
        "layers": layers,
        "out": {"b": out["b"]} if config.tied else out,
    }


def outputs_and_state(
    params: Params, tokens: Any, state: Any = None, *, config: Config = Config(), key: Any = None
) -> tuple[Array, Any]:
    """The logits of the next token after each, and the state after the last.

    Args:
        params: from :func:`init`.
        tokens: integers [batch, tokens].
        state: of each layer, after the tokens before these; None is zeros.
        config: what the parameters were made with.
        key: random key, for dropout; None is no dropout.

    Returns:
        [batch, tokens, vocabulary], and the new state.

    >>> config = Config(vocabulary=50, size=8)
    >>> logits, state = outputs_and_state(init(random.key(0), config), fnp.array([[3, 4]]), config=config)
    >>> logits.shape, [part.shape for part in state[0]]
    ((1, 2, 50), [(1, 8), (1, 8)])
    """
    cell = nn.lstm_cell if config.cell == "lstm" else nn.gru_cell
    keys = None if key is None else random.split(key, config.layers + 1)

    def dropped(number: int, x: Array) -> Array:
        return x if keys is None else nn.dropout(keys[number], config.dropout, x)

    x = dropped(config.layers, nn.embedding(params["words"], tokens))
    state, x = nn.stacked_rnn(cell, params["layers"], x, state, between=dropped)
    x = dropped(config.layers - 1, x)
    if config.tied:
        return nn.attend(params["words"], x) + params["out"]["b"], state
    return nn.dense(params["out"], x), state


def apply(params: Params, tokens: Any, *, config: Config = Config(), key: Any = None) -> Array:
    """The logits of the next token after each.

    Args:
        params: from :func:`init`.
        tokens: integers [batch, tokens].
        config: what the parameters were made with.
        key: random key, for dropout; None is no dropout.

    Returns:
        [batch, tokens, vocabulary].

    >>> config = Config(vocabulary=50, size=8)
    >>> apply(init(random.key(0), config), fnp.array([[3, 4]]), config=config).shape
    (1, 2, 50)
    """
    return outputs_and_state(params, tokens, config=config, key=key)[0]


def loss_and_state(
    params: Params, batch: Mapping[str, Any], key: Any = None, *, state: Any = None, config: Config = Config()
) -> tuple[Array, Any]:
    """The mean cross-entropy of a batch, whose exponential is the perplexity, and the state after it.

    Args:
        params: from :func:`init`.
        batch: "tokens" [batch, tokens + 1], the targets being all but the first.
        key: random key, for dropout; None is no dropout.
        state: of each layer, after the tokens before these; None is zeros. No gradient flows into it.
        config: what the parameters were made with.

    Returns:
        A number, and the new state.

    >>> config = Config(vocabulary=50, size=8)
    >>> value, state = loss_and_state(init(random.key(0), config), {"tokens": fnp.array([[3, 4, 5]])}, config=config)
    """
    tokens = fnp.asarray(batch["tokens"])
    logits, state = outputs_and_state(params, tokens[:, :-1], state, config=config, key=key)
    return nn.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:], reduction="mean"), state


def loss(params: Params, batch: Mapping[str, Any], key: Any = None, *, config: Config = Config()) -> Array:
    """The mean cross-entropy of a batch, whose exponential is the perplexity.

    Args:
        params: from :func:`init`.
        batch: "tokens" [batch, tokens + 1], the targets being all but the first.
        key: random key, for dropout; None is no dropout.
        config: what the parameters were made with.

    Returns:
        A number.

    >>> config = Config(vocabulary=50, size=8)
    >>> loss(init(random.key(0), config), {"tokens": fnp.array([[3, 4, 5]])}, config=config).shape
    ()
    """
    return loss_and_state(params, batch, key, config=config)[0]


def generate(
    params: Params, prompt: Any, length: int, *, config: Config = Config(), key: Any = None, **settings: Any
) -> Array:
    """Tokens that go on from a prompt.

    Args:
        params: from :func:`init`.
        prompt: integers [batch, tokens], at least one token.
        length: how many tokens to make.
        config: what the parameters were made with.
        key: random key; None takes the likeliest token each time.
        **settings: of :func:`fdl.nn.generate`: end, temperature, top_k, top_p.

    Returns:
        int32 [batch, length], without the prompt.

    Raises:
        ShapeError: the prompt is no matrix, or there is no token in it.

    >>> config = Config(vocabulary=50, size=8)
    >>> generate(init(random.key(0), config), fnp.array([[3, 4]]), 5, config=config).shape
    (1, 5)
    """
    prompt = fnp.asarray(prompt)
    if prompt.ndim != 2 or not prompt.shape[1]:
        raise ShapeError(
            f"recurrent_lm.generate needs a prompt [batch, tokens] of at least one token, got {prompt.type}"
        )
    state = None
    if prompt.shape[1] > 1:
        _, state = outputs_and_state(params, prompt[:, :-1], config=config)
    else:
        carry = nn.lstm_carry if config.cell == "lstm" else nn.gru_carry
        state = [carry(prompt.shape[:1], config.size) for _ in range(config.layers)]

    def step(state: Any, tokens: Array) -> tuple[Array, Any]:
        logits, state = outputs_and_state(params, tokens[:, None], state, config=config)
        return logits[:, 0], state

    return nn.generate(step, state, prompt[:, -1], length, key=key, **settings)
