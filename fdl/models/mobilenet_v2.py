"""MobileNet-v2: thin blocks that widen, convolve each channel alone, and narrow again.

Source: Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018,
table 2. mobilenet_v2 has 3,504,872 parameters.

Expected: ImageNet, top-1 accuracy of one crop 72.0 % (the paper, table 4), 71.9 % (torchvision).

>>> import fdl
>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import mobilenet_v2
>>> config = mobilenet_v2.Config(width=0.1, size=32, classes=5)
>>> params, state = mobilenet_v2.init(random.key(0), config)
>>> logits, state = fdl.eval_shape(lambda: mobilenet_v2.apply(params, state, fnp.zeros((2, 32, 32, 3)), config=config))
>>> logits.shape
(2, 5)
"""

from collections.abc import Iterator, Mapping
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
    """What a MobileNet-v2 is made of.

    Attributes:
        stages: (factor by which blocks widen, channels, blocks, stride of the first of them) of each stage.
        width: factor of all numbers of channels, which are rounded to multiples of 8.
        rate: of the dropout before the classifier.
        size: height and width of the images.
        channels: of the images.
        classes: how many.
    """

    stages: tuple[tuple[int, int, int, int], ...] = (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    )  # fmt: skip
    width: float = 1.0
    rate: float = 0.2
    size: int = 224
    channels: int = 3
    classes: int = 1000

    def scaled(self, channels: int, width: float | None = None) -> int:
        """The multiple of 8 next to a number of channels times the factor, and not less than 0.9 of it.

        >>> Config(width=0.75).scaled(24)
        24
        """
        wanted = channels * (self.width if width is None else width)
        found = max(8, int(wanted + 4) // 8 * 8)
        return found + 8 if found < 0.9 * wanted else found


VARIANTS = {"mobilenet_v2": Config()}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after parameters and state: images.

    >>> inputs(batch=2)[0].shape
    (2, 224, 224, 3)
    """
    return (ShapeDtypeStruct((batch, config.size, config.size, config.channels), fnp.float32),)


def blocks(config: Config) -> Iterator[tuple[int, int, int, int]]:
    """Of each block: channels in, channels inside, channels out, stride.

    >>> list(blocks(Config(stages=((1, 16, 1, 1), (6, 24, 2, 2)))))
    [(32, 32, 16, 1), (16, 96, 24, 2), (24, 144, 24, 1)]
    """
    channels = config.scaled(32)
    for factor, width, count, stride in config.stages:
        outputs = config.scaled(width)
        for number in range(count):
            yield channels, channels * factor, outputs, 1 if number else stride
            channels = outputs


def init(key: Any, config: Config = Config()) -> tuple[Params, Params]:
    """Parameters and state: stem, blocks (a list), head, and a dense layer out.

    A block has wide (if it widens), depthwise, and narrow; each with its norm.

    Args:
        key: random key.
        config: what the network is made of.

    Returns:
        The parameters, and the running statistics.

    >>> params, state = init(random.key(0), Config(stages=((1, 16, 1, 1), (6, 24, 1, 2))))
    >>> [sorted(block) for block in params["blocks"]]
    [['depthwise', 'narrow'], ['depthwise', 'narrow', 'wide']]
    """
    sizes = list(blocks(config))
    stem_key, head_key, out_key, *keys = random.split(key, 3 + len(sizes))
    stem, stem_state = init_normed_conv(stem_key, config.channels, config.scaled(32), (3, 3))
    made = []
    for block_key, (channels, inside, outputs, _) in zip(keys, sizes, strict=True):
        first, second, third = random.split(block_key, 3)
        parts = {"wide": init_normed_conv(first, channels, inside, (1, 1))} if inside != channels else {}
        parts["depthwise"] = init_normed_conv(second, inside, inside, (3, 3), groups=inside)
        parts["narrow"] = init_normed_conv(third, inside, outputs, (1, 1))
        made.append(parts)
    last = config.scaled(1280, max(1.0, config.width))
    head, head_state = init_normed_conv(head_key, sizes[-1][2], last, (1, 1))
    params: Params = {"blocks": [{name: pair[0] for name, pair in parts.items()} for parts in made]}
    state: Params = {"blocks": [{name: pair[1] for name, pair in parts.items()} for parts in made]}
    params |= {"stem": stem, "head": head, "out": nn.init_dense(out_key, last, config.classes)}
    return params, state | {"stem": stem_state, "head": head_state}


def apply(
    params: Params, state: Params, images: Any, *, config: Config = Config(), training: bool = False, key: Any = None
) -> tuple[Array, Params]:
    """The logits of images.

    Args:
        params: from :func:`init`.
        state: likewise.
        images: [batch, height, width, channels], standardized.
        config: what the parameters were made with.
        training: whether norms use (and record) the statistics of the batch, not the running ones.
        key: random key, for dropout; None is no dropout.

    Returns:
        Logits [batch, classes], and the new state.

    >>> import fdl
    >>> params, state = init(random.key(0), config := Config(stages=((1, 16, 1, 1),)))
    >>> fdl.eval_shape(lambda: apply(params, state, fnp.zeros((1, 32, 32, 3)), config=config))[0].shape
    (1, 1000)
    """
    after: Params = {"blocks": []}

    def part(params: Params, state: Params, x: Array, name: str, new: Params, **settings: Any) -> Array:
        y, new[name] = normed_conv(
            params[name], state[name], x, training=training, **{"activation": nn.relu6} | settings
        )
        return y

    x = part(params, state, images, "stem", after, strides=2)
    for own, stats, (channels, inside, outputs, stride) in zip(
        params["blocks"], state["blocks"], blocks(config), strict=True
    ):
        new: Params = {}
        y = part(own, stats, x, "wide", new) if "wide" in own else x
        y = part(own, stats, y, "depthwise", new, strides=stride, groups=inside)
        y = part(own, stats, y, "narrow", new, activation=None)
        x = x + y if stride == 1 and channels == outputs else y
        after["blocks"].append(new)
    x = nn.global_avg_pool(part(params, state, x, "head", after))
    x = x if key is None else nn.dropout(key, config.rate, x)
    return nn.dense(params["out"], x), after


def loss(
    params: Params, state: Params, batch: Mapping[str, Any], key: Any = None, *, config: Config = Config(),
    training: bool = True,
) -> tuple[Array, dict[str, Array], Params]:  # fmt: skip
    """The mean cross-entropy of a batch.

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
    >>> params, state = init(random.key(0), config := Config(stages=((1, 16, 1, 1),)))
    >>> batch = {"images": fnp.ones((1, 32, 32, 3)), "labels": fnp.array([3])}
    >>> fdl.eval_shape(lambda: loss(params, state, batch, config=config))[0].shape
    ()
    """
    logits, state = apply(params, state, batch["images"], config=config, training=training, key=key)
    mean = nn.softmax_cross_entropy_with_integer_labels(logits, batch["labels"], reduction="mean")
    return mean, {"accuracy": nn.metrics.accuracy(logits, batch["labels"])}, state


def torch_name(path: str, config: Config) -> str:
    """The name of a layer in torchvision: "blocks/1/depthwise/conv" is "features.2.conv.1.0"."""
    parts = path.split("/")
    if parts[0] == "out":
        return "classifier.1"
    own = {"conv": 0, "norm": 1}[parts[-1]]
    if parts[0] in ("stem", "head"):
        return f"features.{0 if parts[0] == 'stem' else len(list(blocks(config))) + 1}.{own}"
    number, name = int(parts[1]), parts[2]
    channels, inside, _, _ = list(blocks(config))[number]
    widens = inside != channels
    if name == "narrow":  # whose convolution and norm are not in a block of their own
        return f"features.{number + 1}.conv.{1 + widens + own}"
    return f"features.{number + 1}.conv.{widens if name == 'depthwise' else 0:d}.{own}"
