"""The networks, the loss, the metrics and the hyperparameters. A network gives the rating of a sentence, -4 to 4."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import fdl.numpy as fnp
from fdl import optim, random
from fdl.models import bert, textcnn
from fdl_spark import features, metrics

LENGTH = 40  # tokens of a sentence that are read; 3 % have more
MARKS = r"[^\pL\pN\s'@#_]+"  # tokens of their own: punctuation, emoticons


def encoders() -> list[Any]:
    """What columns become arrays: the tokens of the text; the rating and the source."""
    return [
        features.tokenise("text", "words", length=LENGTH, apart=MARKS, min_count=2),
        features.numeric("rating"),
        features.numeric("source", dtype="int32"),
    ]


class Network(NamedTuple):
    """A network.

    Attributes:
      init: key -> params.
      apply: (params, batch, key=None) -> ratings (rows,), of the batch's "words" (rows, LENGTH).
    """

    init: Callable[[Any], Any]
    apply: Callable[..., Any]


def convolutions(tokens: int) -> Network:
    """Kim's TextCNN, with vectors of 64 in place of 300, and 64 patterns of each width in place of 100."""
    config = textcnn.Config(vocabulary=tokens, size=64, maps=64, classes=1, length=LENGTH)

    def apply(params: Any, batch: Any, key: Any = None) -> Any:
        return textcnn.apply(params, batch["words"], config=config, key=key)[:, 0]

    return Network(partial(textcnn.init, config=config), apply)


def attention(tokens: int) -> Network:
    """BERT's encoder, of two blocks of 64, from random parameters; the rating is read at a token before the first."""
    first = tokens  # its number
    config = bert.Config(
        vocabulary=tokens + 1, length=LENGTH + 1, segments=1, size=64, blocks=2, heads=4, hidden=128, classes=1
    )  # fmt: skip

    def apply(params: Any, batch: Any, key: Any = None) -> Any:
        words = fnp.pad(batch["words"], ((0, 0), (1, 0)), constant_values=first)
        keys = (None, None) if key is None else random.split(key)
        _, pooled = bert.apply(params, words, mask=words != 0, config=config, key=keys[0])
        return bert.class_logits(params, pooled, config=config, key=keys[1])[:, 0]

    return Network(partial(bert.init, config=config), apply)


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters.

    Attributes:
      network: made for a number of tokens.
      rate: the highest learning rate of AdamW, after a tenth of the steps.
      epochs, batch_size: how many epochs at most; the parameters of the best one by the validation are kept.
      decay: of the weights.
      lexicon: whether the first number of each word's vector begins as the lexicon's mood of the word.
    """

    network: Callable[[int], Network]
    rate: float
    epochs: int
    batch_size: int = 64
    decay: float = 0.01
    lexicon: bool = False

    def optimizer(self, rows: int) -> Any:
        """AdamW with a warm-up and a cosine, for so many rows."""
        steps = self.epochs * -(-rows // self.batch_size)
        schedule = optim.warmup_cosine_decay_schedule(0.0, self.rate, max(1, steps // 10), steps)
        return optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(schedule, weight_decay=self.decay))


RECIPES = {
    "textcnn": Recipe(convolutions, rate=2e-3, epochs=5),
    "textcnn-lexicon": Recipe(convolutions, rate=2e-3, epochs=5, lexicon=True),
    "transformer": Recipe(attention, rate=1e-3, epochs=8),
}


def with_moods(params: Any, words: Sequence[str], moods: Mapping[str, float]) -> Any:
    """Parameters of a TextCNN whose words begin with the moods of a lexicon; words without one begin with 0.

    Args:
      params: of `convolutions`.
      words: those that the encoder knows, the first of which is number 2.
      moods: from -4 to 4, by word.
    """
    column = np.array([0, 0, *(moods.get(word, 0.0) for word in words)], np.float32)
    return params | {"words": {"w": params["words"]["w"].at[:, 0].set(column)}}


def loss(params: Any, batch: Any, key: Any, *, network: Network) -> Any:
    """The mean squared error of the ratings."""
    return fnp.mean((network.apply(params, batch, key) - batch["rating"]) ** 2)


def positive(params: Any, batch: Any) -> Any:
    """1 for sentences whose rating is above zero, else 0."""
    return (batch["rating"] > 0).astype(fnp.int32)


def measured(score: metrics.metric.Quantity, threshold: float = 0.0) -> dict[str, metrics.Metric]:
    """Metrics of a score of each sentence, which is positive above the threshold.

    Pearson's r with the rating; accuracy, and the mean F1 of both signs; r also by source.
    """
    return {
        "r": metrics.pearson(score, "rating"),
        "accuracy": metrics.accuracy(score, positive, threshold=threshold),
        "F1": metrics.f1(score, positive, threshold=threshold, average="macro"),
        "r by source": metrics.by_group(metrics.pearson(score, "rating"), "source"),
    }
