"""Sequences from models that score the next token: the best one, a random one, or a beam of them.

The model is a function ``step(state, tokens) -> (logits, state)``: from the last token of each sequence, int32 [batch],
to the scores of the next one, [batch, vocabulary]. The state is a pytree; each leaf has the batch as its first axis, or
no axes, such as the index of :func:`fdl.nn.attention_cache`, and is then common to all sequences.
"""

import math
from collections.abc import Callable
from typing import Any

import fdl.numpy as fnp
from fdl import lax, random, tree
from fdl.core.types import Array
from fdl.dtypes import int32
from fdl.errors import ShapeError
from fdl.nn.softmax import log_softmax, softmax
from fdl.scalars import Scalar, checked

Step = Callable[[Any, Array], tuple[Array, Any]]


@checked(temperature=Scalar(0.0))
def generate(
    step: Step, state: Any, first: Any, length: int, *, end: int | None = None, key: Any = None,
    temperature: Any = 1.0, top_k: int | None = None, top_p: Any = None,
) -> Array:  # fmt: skip
    """Tokens one after the other: the best one each time, or with a key a random one.

    Args:
        step: (state, tokens int32 [batch]) -> (logits [batch, vocabulary], state).
        state: before the first token.
        first: integers [batch], the tokens that the first step is given.
        length: how many tokens to make, at least one.
        end: the token that ends a sequence; all after it are `end` too. None for none.
        key: random key; None takes the token of the largest logit.
        temperature: divides the logits before a token is drawn; 0 takes the token of the largest logit.
        top_k: draw from the tokens of the `top_k` largest logits only. Source: Fan et al. (2018).
        top_p: draw from the fewest tokens whose probabilities add up to this. Source: Holtzman et al. (2020).

    Returns:
        int32 [batch, length], without the first ones.

    Raises:
        ShapeError: the first tokens are no vector, or the length is not positive.
        RangeError: the temperature is negative, or `top_k` less than 1.

    >>> def count(state, tokens):
    ...     return fnp.eye(5)[(tokens + 1) % 5], state
    >>> generate(count, None, fnp.array([0, 3]), 4, end=4).tolist()
    [[1, 2, 3, 4], [4, 4, 4, 4]]
    """
    first = _first("generate", first, length)

    def chosen(logits: Array, key: Any) -> Array:
        best = fnp.argmax(logits, axis=-1).astype(int32)
        if key is None or (isinstance(temperature, int | float) and temperature == 0):
            return best
        divisor = fnp.where(fnp.asarray(temperature) > 0, temperature, 1)
        drawn = random.categorical(key, keep_likely(logits / divisor, top_k, top_p)).astype(int32)
        return drawn if isinstance(temperature, int | float) else fnp.where(temperature > 0, drawn, best)

    def after(carry: tuple[Any, Array, Array], key: Any) -> tuple[tuple[Any, Array, Array], Array]:
        state, tokens, ended = carry
        logits, state = step(state, tokens)
        new = chosen(logits, key)
        if end is not None:
            new = fnp.where(ended, end, new).astype(int32)
            ended = new == end
        return (state, new, ended), new

    keys = None if key is None else random.split(key, length)
    _, made = lax.scan(after, (state, first, fnp.zeros(first.shape, bool)), keys, length=length)
    return fnp.swapaxes(made, 0, 1)


@checked(top_k=Scalar(1.0, whole=True))
def keep_likely(logits: Any, top_k: int | None = None, top_p: Any = None) -> Array:
    """Logits in which unlikely tokens are minus infinity.

    Args:
        logits: [..., vocabulary].
        top_k: how many tokens stay; None is all. Of equal logits at the border all stay.
        top_p: the fewest tokens stay whose probabilities add up to at least this, and at least one; None is all.

    Returns:
        An array like `logits`.

    Raises:
        RangeError: `top_k` is less than 1.

    >>> keep_likely(fnp.array([1.0, 3.0, 2.0]), top_k=2).tolist()
    [-inf, 3.0, 2.0]
    """
    logits = fnp.asarray(logits)
    if top_k is not None:
        least = lax.top_k(logits, min(top_k, logits.shape[-1]))[0][..., -1:]
        logits = fnp.where(logits < least, -math.inf, logits)
    if top_p is not None:
        falling = -fnp.sort(-logits, axis=-1)
        shares = softmax(falling)
        before = fnp.cumsum(shares, axis=-1) - shares  # what the more likely ones add up to
        stays = (before < top_p) | (fnp.arange(falling.shape[-1]) == 0)
        least = fnp.min(fnp.where(stays, falling, math.inf), axis=-1, keepdims=True)
        logits = fnp.where(logits < least, -math.inf, logits)
    return logits


def beam_search(
    step: Step, state: Any, first: Any, length: int, *, width: int, end: int, penalty: float = 0.0
) -> tuple[Array, Array]:
    """The likeliest sequences among those whose beginnings were among the `width` likeliest. Source: Graves (2012).

    Sequences that have ended stay in the beam with the score that they have.

    Args:
        step: (state, tokens int32 [batch * width]) -> (logits, state).
        state: before the first token, for a batch of sequences; it is repeated `width` times.
        first: integers [batch], the tokens that the first step is given.
        length: how many tokens to make at most.
        width: of the beam.
        end: the token that ends a sequence; all after it are `end` too.
        penalty: the exponent alpha of the length penalty ((5 + tokens) / 6)**alpha, by which scores are divided before
            the sequences are ordered. Source: Wu et al. (2016), section 7.

    Returns:
        The sequences int32 [batch, width, length], best first, and their scores [batch, width]: the logarithms of
        their probabilities, divided by the penalty.

    Raises:
        ShapeError: the first tokens are no vector, or length or width are not positive.

    >>> def count(state, tokens):
    ...     return 9 * fnp.eye(5)[(tokens + 1) % 5], state
    >>> beam_search(count, None, fnp.array([0, 2]), 4, width=2, end=4)[0][:, 0].tolist()
    [[1, 2, 3, 4], [3, 4, 4, 4]]
    """
    first = _first("beam_search", first, length)
    if width < 1:
        raise ShapeError(f"beam_search needs a width of at least 1, got {width}")
    batch = first.shape[0]

    def spread(x: Any) -> Array:
        x = fnp.asarray(x)
        return fnp.repeat(x, width, axis=0) if x.ndim else x

    def picked(x: Any, parents: Array) -> Array:
        return x[parents] if x.ndim else x

    def after(carry: Any, number: Array) -> tuple[Any, None]:
        state, tokens, scores, ended, made = carry
        logits, state = step(state, tokens)
        logs = log_softmax(logits.astype(scores.dtype)).reshape((batch, width, -1))
        count = logs.shape[-1]
        stay = fnp.where(fnp.arange(count) == end, 0.0, -math.inf).astype(logs.dtype)  # an ended one has one successor
        totals = scores[..., None] + fnp.where(ended[..., None], stay, logs)
        scores, places = lax.top_k(totals.reshape((batch, width * count)), width)
        parents, new = places // count, (places % count).astype(int32)
        rows = (parents + width * fnp.arange(batch)[:, None]).reshape(-1)
        state = tree.map(lambda x: picked(x, rows), state)
        made = fnp.take_along_axis(made, parents[..., None], axis=1)
        made = fnp.where(fnp.arange(length) == number, new[..., None], made)
        ended = fnp.take_along_axis(ended, parents, axis=1) | (new == end)
        return (state, new.reshape(-1), scores, ended, made), None

    state = tree.map(spread, state)
    alone = fnp.where(fnp.arange(width) == 0, 0.0, -math.inf)  # equal beginnings would stay equal
    start = (
        state,
        spread(first),
        fnp.broadcast_to(alone, (batch, width)),
        fnp.zeros((batch, width), bool),
        fnp.full((batch, width, length), end, int32),
    )
    (_, _, scores, _, made), _ = lax.scan(after, start, fnp.arange(length))
    if penalty:
        tokens = fnp.minimum(fnp.sum(fnp.cumsum(made == end, axis=-1) == 0, axis=-1) + 1, length)
        scores = scores / ((5 + tokens) / 6) ** penalty
        scores, order = lax.top_k(scores, width)
        made = fnp.take_along_axis(made, order[..., None], axis=1)
    return made, scores


def _first(name: str, tokens: Any, length: int) -> Array:
    tokens = fnp.asarray(tokens)
    if tokens.ndim != 1 or length < 1:
        raise ShapeError(f"{name} needs first tokens [batch] and a positive length, got {tokens.type} and {length}")
    return tokens.astype(int32)
