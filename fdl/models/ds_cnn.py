"""DS-CNN: a small network of depthwise separable convolutions that spots keywords in a second of speech.

Source: Zhang, Suda, Lai, Chandra, "Hello Edge: Keyword Spotting on Microcontrollers", 2017, table 5; input of 49 frames
of 10 cepstral coefficients, 40 ms each, every 20 ms. ds_cnn_s has 23,756 parameters, and 1,152 running statistics:
24,908 numbers, as MLPerf Tiny counts them.

Expected: 94.4 % (small), 94.9 % (medium), 95.4 % (large) of the 12 classes of Google's speech commands (table 5).

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import ds_cnn
>>> params, state = ds_cnn.init(random.key(0), config := ds_cnn.Config(width=8, depth=1))
>>> logits, state = ds_cnn.apply(params, state, fnp.zeros((2, 49, 10)), config=config)
>>> logits.shape
(2, 12)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fdl.numpy as fnp
from fdl import nn, random
from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.types import Array
from fdl.models.normed_conv import init_normed_conv, normed_conv
from fdl.nn.layers import Params


@dataclass(frozen=True)
class Config:
    """What a DS-CNN is made of; by default the small one.

    Attributes:
        width: channels of all convolutions.
        depth: how many separable ones.
        strides: of the first convolution, of 10 frames and 4 coefficients.
        second: strides of the first separable convolution.
        frames: how many there are.
        features: how many each has.
        classes: how many.
    """

    width: int = 64
    depth: int = 4
    strides: tuple[int, int] = (2, 2)
    second: tuple[int, int] = (1, 1)
    frames: int = 49
    features: int = 10
    classes: int = 12


VARIANTS = {
    "ds_cnn_s": Config(),
    "ds_cnn_m": Config(width=172, strides=(2, 1), second=(2, 2)),
    "ds_cnn_l": Config(width=276, depth=5, strides=(2, 1), second=(2, 2)),
}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after parameters and state: features of frames.

    >>> inputs(batch=2)[0].shape
    (2, 49, 10)
    """
    return (ShapeDtypeStruct((batch, config.frames, config.features), fnp.float32),)


def init(key: Any, config: Config = Config()) -> tuple[Params, Params]:
    """Parameters and state: stem, blocks (a list of depthwise and pointwise), and a dense layer out.

    Args:
        key: random key.
        config: what the network is made of.

    Returns:
        The parameters, and the running statistics.

    >>> params, state = init(random.key(0), Config(width=8))
    >>> len(params["blocks"]), sorted(params["blocks"][0])
    (4, ['depthwise', 'pointwise'])
    """
    width = config.width
    stem_key, out_key, *keys = random.split(key, 2 + 2 * config.depth)
    stem, stem_state = init_normed_conv(stem_key, 1, width, (10, 4), bias=True)
    params: Params = {"stem": stem, "blocks": [], "out": nn.init_dense(out_key, width, config.classes)}
    state: Params = {"stem": stem_state, "blocks": []}
    for first, second in zip(keys[::2], keys[1::2], strict=True):
        made = {
            "depthwise": init_normed_conv(first, width, width, (3, 3), groups=width, bias=True),
            "pointwise": init_normed_conv(second, width, width, (1, 1), bias=True),
        }
        params["blocks"].append({name: pair[0] for name, pair in made.items()})
        state["blocks"].append({name: pair[1] for name, pair in made.items()})
    return params, state


def apply(
    params: Params, state: Params, features: Any, *, config: Config = Config(), training: bool = False
) -> tuple[Array, Params]:
    """The logits of features of frames.

    Args:
        params: from :func:`init`.
        state: likewise.
        features: [batch, frames, features], standardized.
        config: what the parameters were made with.
        training: whether norms use (and record) the statistics of the batch, not the running ones.

    Returns:
        Logits [batch, classes], and the new state.

    >>> params, state = init(random.key(0), config := Config(width=8, depth=1))
    >>> apply(params, state, fnp.zeros((1, 49, 10)), config=config)[0].shape
    (1, 12)
    """
    x = fnp.asarray(features)[..., None]
    x, stem = normed_conv(params["stem"], state["stem"], x, training=training, strides=config.strides, padding="SAME")
    after: Params = {"stem": stem, "blocks": []}
    for number, (own, stats) in enumerate(zip(params["blocks"], state["blocks"], strict=True)):
        strides, new = (1, 1) if number else config.second, {}
        x, new["depthwise"] = normed_conv(
            own["depthwise"], stats["depthwise"], x, training=training, strides=strides, padding="SAME",
            groups=config.width,
        )  # fmt: skip
        x, new["pointwise"] = normed_conv(own["pointwise"], stats["pointwise"], x, training=training)
        after["blocks"].append(new)
    return nn.dense(params["out"], nn.global_avg_pool(x)), after


def loss(
    params: Params, state: Params, batch: Mapping[str, Any], *, config: Config = Config(), training: bool = True
) -> tuple[Array, dict[str, Array], Params]:
    """The mean cross-entropy of a batch.

    Args:
        params: from :func:`init`.
        state: likewise.
        batch: "features" as for :func:`apply`, and their "labels" [batch], integers.
        config: what the parameters were made with.
        training: see :func:`apply`.

    Returns:
        The mean, the "accuracy" in a dict, and the new state, as ``fdl_spark.train(state=...)`` takes them.

    >>> params, state = init(random.key(0), config := Config(width=8, depth=1))
    >>> batch = {"features": fnp.ones((1, 49, 10)), "labels": fnp.array([3])}
    >>> loss(params, state, batch, config=config)[0].shape
    ()
    """
    logits, state = apply(params, state, batch["features"], config=config, training=training)
    mean = nn.softmax_cross_entropy_with_integer_labels(logits, batch["labels"], reduction="mean")
    return mean, {"accuracy": nn.metrics.accuracy(logits, batch["labels"])}, state
