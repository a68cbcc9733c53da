"""Inception-v1, or GoogLeNet: modules of 1x1, 3x3 and 5x5 convolutions and pooling side by side.

Source: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, table 1. Three of its forms are known by name:

* "inception_v1": with local response normalization, without auxiliary classifiers, as BigDL trained it; 6,998,552
  parameters. "inception_v1_aux" has the two auxiliary classifiers, whose losses count 0.3 in training; 13,378,280.
* "googlenet": torchvision's, whose convolutions have batch norms and no biases, and 3x3 in place of 5x5; 6,624,904.

Expected: ImageNet, top-1 accuracy of one crop 68.7 % and top-5 of 88.9 % (Caffe's model without batch norms), 69.8 %
(torchvision); the paper has a top-5 error of 10.07 % for one crop. BigDL's recipe: 1,792 images a batch.

>>> import fdl
>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import inception
>>> config = inception.Config(width=0.1, size=64, classes=5)
>>> params, state = inception.init(random.key(0), config)
>>> logits, state = fdl.eval_shape(lambda: inception.apply(params, state, fnp.zeros((2, 64, 64, 3)), config=config))
>>> logits.shape
(2, 5)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fdl.numpy as fnp
from fdl import nn, random
from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.types import Array
from fdl.models.normed_conv import around, init_normed_conv, normed_conv
from fdl.nn.initializers import glorot_uniform
from fdl.nn.layers import Params

#: Channels of each module: 1x1; before and of 3x3; before and of 5x5; after pooling.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
#: The modules whose outputs an auxiliary classifier reads.
AUXILIARY = {"4a": "aux1", "4d": "aux2"}


@dataclass(frozen=True)
class Config:
    """What an Inception-v1 is made of; by default the paper's, without auxiliary classifiers.

    Attributes:
        norm: "response" for local response normalization after the first convolutions, "batch" for a batch norm after
            each convolution, in place of its bias.
        auxiliary: whether there are two more classifiers in between, for training.
        small: whether the 5x5 convolutions are 3x3.
        width: factor of all numbers of channels.
        rate: of the dropout before the classifier; 0.7 before the auxiliary ones.
        size: height and width of the images.
        channels: of the images.
        classes: how many.
    """

    norm: str = "response"
    auxiliary: bool = False
    small: bool = False
    width: float = 1.0
    rate: float = 0.4
    size: int = 224
    channels: int = 3
    classes: int = 1000

    def __post_init__(self) -> None:
        if self.norm not in ("response", "batch"):
            raise ValueError(f"the norm of an Inception-v1 is 'response' or 'batch', not {self.norm!r}")

    def scaled(self, channels: int) -> int:
        """A number of channels, by the factor."""
        return max(1, round(channels * self.width))


VARIANTS = {
    "inception_v1": Config(),
    "inception_v1_aux": Config(auxiliary=True),
    "googlenet": Config(norm="batch", small=True, rate=0.2),
}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after parameters and state: images.

    >>> inputs(batch=2)[0].shape
    (2, 224, 224, 3)
    """
    return (ShapeDtypeStruct((batch, config.size, config.size, config.channels), fnp.float32),)


def init(key: Any, config: Config = Config()) -> tuple[Params, Params]:
    """Parameters and state: conv1, conv2, conv3, the modules "3a" to "5b", out, and aux1, aux2.

    A module has one, low3, three, low5, five, pooled. The state is empty where there are no batch norms.

    Args:
        key: random key.
        config: what the network is made of.

    Returns:
        The parameters, and the running statistics.

    >>> sorted(init(random.key(0), Config(width=0.1))[0]["3a"])
    ['five', 'low3', 'low5', 'one', 'pooled', 'three']
    """
    params: Params = {}
    state: Params = {}
    keys = iter(random.split(key, 3 + 6 * len(MODULES) + 7))

    def make(inputs: int, outputs: int, extent: int) -> tuple[Params, Params]:
        if config.norm == "batch":
            return init_normed_conv(next(keys), inputs, outputs, (extent, extent))
        return {"conv": nn.init_conv(next(keys), inputs, outputs, (extent, extent), w_init=glorot_uniform())}, {}

    def add(path: tuple[str, ...], inputs: int, outputs: int, extent: int) -> None:
        made = make(inputs, outputs, extent)
        for tree, part in zip((params, state), made, strict=True):
            for name in path[:-1]:
                tree = tree.setdefault(name, {})
            tree[path[-1]] = part

    first, third = config.scaled(64), config.scaled(192)
    add(("conv1",), config.channels, first, 7)
    add(("conv2",), first, first, 1)
    add(("conv3",), first, third, 3)
    channels = third
    for name in MODULES:
        one, low3, three, low5, five, pooled = map(config.scaled, MODULES[name])
        add((name, "one"), channels, one, 1)
        add((name, "low3"), channels, low3, 1)
        add((name, "three"), low3, three, 3)
        add((name, "low5"), channels, low5, 1)
        add((name, "five"), low5, five, 3 if config.small else 5)
        add((name, "pooled"), channels, pooled, 1)
        channels = one + three + five + pooled
        if config.auxiliary and name in AUXILIARY:
            auxiliary, narrow, hidden = AUXILIARY[name], config.scaled(128), config.scaled(1024)
            add((auxiliary, "conv"), channels, narrow, 1)
            params[auxiliary]["hidden"] = nn.init_dense(next(keys), 16 * narrow, hidden)
            params[auxiliary]["out"] = nn.init_dense(next(keys), hidden, config.classes)
    params["out"] = nn.init_dense(next(keys), channels, config.classes)
    return params, state


def apply(
    params: Params, state: Params, images: Any, *, config: Config = Config(), training: bool = False, key: Any = None
) -> tuple[Array, Params]:
    """The logits of images.

    Args:
        params: from :func:`init`.
        state: likewise.
        images: [batch, height, width, channels], standardized.
        config: what the parameters were made with.
        training: whether batch norms use (and record) the statistics of the batch, not the running ones.
        key: random key, for dropout; None is no dropout.

    Returns:
        Logits [batch, classes], and the new state.

    >>> import fdl
    >>> params, state = init(random.key(0), config := Config(width=0.05))
    >>> fdl.eval_shape(lambda: apply(params, state, fnp.zeros((1, 32, 32, 3)), config=config))[0].shape
    (1, 1000)
    """
    logits, _, state = all_logits(params, state, images, config=config, training=training, key=key)
    return logits, state


def all_logits(
    params: Params, state: Params, images: Any, *, config: Config = Config(), training: bool = False, key: Any = None,
    auxiliary: bool = False,
) -> tuple[Array, list[Array], Params]:  # fmt: skip
    """As :func:`apply`, with the logits of the auxiliary classifiers.

    Args:
        params: from :func:`init`.
        state: likewise.
        images: [batch, height, width, channels].
        config: what the parameters were made with.
        training: see :func:`apply`.
        key: random key, for dropout; None is no dropout.
        auxiliary: whether they are wanted.

    Returns:
        Logits [batch, classes]; a list of those of the auxiliary classifiers, if there are any; the new state.

    >>> import fdl
    >>> params, state = init(random.key(0), config := Config(width=0.05, auxiliary=True))
    >>> images = fnp.zeros((1, 64, 64, 3))
    >>> found = fdl.eval_shape(lambda: all_logits(params, state, images, config=config, auxiliary=True))
    >>> [x.shape for x in found[1]]
    [(1, 1000), (1, 1000)]
    """
    keys = [None] * 3 if key is None else list(random.split(key, 3))
    after: Params = {}

    def conv(x: Array, params: Params, state: Params, strides: int = 1) -> tuple[Array, Params]:
        if config.norm == "batch":
            return normed_conv(params, state, x, training=training, strides=strides, epsilon=1e-3)
        window = params["conv"]["w"].shape[:2]
        return nn.relu(nn.conv(params["conv"], x, strides=strides, padding=around(window))), {}

    def module(x: Array, name: str) -> Array:
        new: Params = {}

        def part(x: Array, which: str) -> Array:
            y, new[which] = conv(x, params[name][which], state[name][which])
            return y

        branches = [
            part(x, "one"),
            part(part(x, "low3"), "three"),
            part(part(x, "low5"), "five"),
            part(nn.max_pool(x, 3, 1, "SAME"), "pooled"),
        ]
        after[name] = new
        return fnp.concatenate(branches, axis=-1)

    def classifier(x: Array, name: str, dropout_key: Any) -> Array:
        x = nn.adaptive_avg_pool(x, (4, 4))
        x, new = conv(x, params[name]["conv"], state[name]["conv"])
        after[name] = {"conv": new}
        x = nn.relu(nn.dense(params[name]["hidden"], x.reshape(x.shape[0], math.prod(x.shape[1:]))))
        x = x if dropout_key is None else nn.dropout(dropout_key, 0.7, x)
        return nn.dense(params[name]["out"], x)

    x, after["conv1"] = conv(fnp.asarray(images), params["conv1"], state["conv1"], 2)
    x = _pooled(x)
    x = nn.local_response_norm(x) if config.norm == "response" else x
    x, after["conv2"] = conv(x, params["conv2"], state["conv2"])
    x, after["conv3"] = conv(x, params["conv3"], state["conv3"])
    x = nn.local_response_norm(x) if config.norm == "response" else x
    others: list[Array] = []
    for name in MODULES:
        if name in ("3a", "4a", "5a"):
            x = _pooled(x, 2 if name == "5a" and config.small else 3)
        x = module(x, name)
        if config.auxiliary and name in AUXILIARY:
            if auxiliary:
                others.append(classifier(x, AUXILIARY[name], keys[len(others)]))
            else:
                after[AUXILIARY[name]] = state[AUXILIARY[name]]
    x = nn.global_avg_pool(x)
    x = x if keys[2] is None else nn.dropout(keys[2], config.rate, x)
    return nn.dense(params["out"], x), others, after


def _pooled(x: Array, window: int = 3) -> Array:
    """The maximum with stride 2, of windows that begin inside of the image, also where they end outside."""
    high = [(-(-(n - window) // 2)) * 2 + window - n if n > window else max(0, window - n) for n in x.shape[1:3]]
    return nn.max_pool(x, window, 2, [(0, pad) for pad in high])


def loss(
    params: Params, state: Params, batch: Mapping[str, Any], key: Any = None, *, config: Config = Config(),
    training: bool = True,
) -> tuple[Array, dict[str, Array], Params]:  # fmt: skip
    """The mean cross-entropy of a batch, in training with 0.3 times that of each auxiliary classifier.

    Args:
        params: from :func:`init`.
        state: likewise.
        batch: "images" as for :func:`apply`, and their "labels" [batch], integers.
        key: random key, for dropout; None is no dropout.
        config: what the parameters were made with.
        training: see :func:`apply`.

    Returns:
        The mean, the "accuracy" in a dict, and the new state, as ``fdl_spark.train(state=...)`` takes them.

    >>> import fdl
    >>> params, state = init(random.key(0), config := Config(width=0.05))
    >>> batch = {"images": fnp.ones((1, 32, 32, 3)), "labels": fnp.array([3])}
    >>> fdl.eval_shape(lambda: loss(params, state, batch, config=config))[0].shape
    ()
    """
    logits, others, state = all_logits(
        params, state, batch["images"], config=config, training=training, key=key, auxiliary=training
    )

    def entropy(logits: Array) -> Array:
        return nn.softmax_cross_entropy_with_integer_labels(logits, batch["labels"], reduction="mean")

    mean = entropy(logits)
    for other in others:
        mean = mean + 0.3 * entropy(other)
    return mean, {"accuracy": nn.metrics.accuracy(logits, batch["labels"])}, state


def torch_name(path: str, config: Config) -> str:
    """The name of a layer in torchvision: "3a/low3/norm" is "inception3a.branch2.0.bn"."""
    name, *parts = path.split("/")
    if name == "out":
        return "fc"
    if name in MODULES:
        branches = {"one": "1", "low3": "2.0", "three": "2.1", "low5": "3.0", "five": "3.1", "pooled": "4.1"}
        name, parts = f"inception{name}.branch{branches[parts[0]]}", parts[1:]
    if parts[:1] in (["hidden"], ["out"]):
        return f"{name}.{'fc1' if parts[0] == 'hidden' else 'fc2'}"
    return ".".join([name, *(("conv", "bn")[part == "norm"] for part in parts)])


def torch_flattened(config: Config) -> dict[str, tuple[int, int, int]]:
    """The dense layers that read images, which torch flattens channels first: their height, width, channels."""
    return dict.fromkeys(("aux1/hidden", "aux2/hidden"), (4, 4, config.scaled(128))) if config.auxiliary else {}
