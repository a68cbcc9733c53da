"""ResNet: convolutions whose results are added to what they were computed from.

Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016: section 4.2 for CIFAR-10 (20 to
110 layers, shortcuts without parameters), table 1 for ImageNet (18 to 152 layers); a stride of a bottleneck is that of
its 3x3 convolution, as in torchvision. resnet50 has 25,557,032 parameters, resnet20 269,722.

Expected: CIFAR-10, test errors 8.75 % (20 layers), 7.51 % (32), 7.17 % (44), 6.97 % (56), after 164 epochs (table 6);
ImageNet, top-1 accuracy of one crop 69.8 % (18), 73.3 % (34), 76.1 % (50) (torchvision, version 1 of the weights).

>>> import fdl
>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import resnet
>>> config = resnet.Config(stages=(1, 1), widths=(4, 8), size=8)
>>> params, state = resnet.init(random.key(0), config)
>>> logits, state = fdl.eval_shape(lambda: resnet.apply(params, state, fnp.zeros((2, 8, 8, 3)), config=config))
>>> logits.shape
(2, 10)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import fdl.numpy as fnp
from fdl import nn, random
from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.types import Array
from fdl.models.normed_conv import around, init_normed_conv, normed_conv
from fdl.nn.layers import Params


@dataclass(frozen=True)
class Config:
    """What a ResNet is made of; by default the one with 20 layers for CIFAR-10.

    Attributes:
        stages: how many blocks each stage has; the first block of each but the first stage halves height and width.
        widths: how many channels the 3x3 convolutions of each stage have.
        bottleneck: whether a block is a 1x1, a 3x3 and a 1x1 convolution to four times the width, not two of 3x3.
        imagenet: whether a 7x7 convolution and a maximum, each of stride 2, come first, not a 3x3 convolution; and
            whether shortcuts of other shapes are 1x1 convolutions, not every second pixel with channels of zeros.
        size: height and width of the images.
        channels: of the images.
        classes: how many.
    """

    stages: tuple[int, ...] = (3, 3, 3)
    widths: tuple[int, ...] = (16, 32, 64)
    bottleneck: bool = False
    imagenet: bool = False
    size: int = 32
    channels: int = 3
    classes: int = 10


def cifar(layers: int) -> Config:
    """The network of so many layers for CIFAR-10: 6 n + 2.

    >>> cifar(56).stages
    (9, 9, 9)
    """
    blocks = (layers - 2) // 6
    if layers != 6 * blocks + 2 or blocks < 1:
        raise ValueError(f"a ResNet for CIFAR-10 has 6 n + 2 layers (20, 32, 44, 56, ...), not {layers}")
    return Config(stages=(blocks,) * 3)


def _imagenet(*stages: int, bottleneck: bool = False) -> Config:
    return Config(stages, (64, 128, 256, 512), bottleneck, imagenet=True, size=224, classes=1000)


VARIANTS = {
    "resnet20": cifar(20),
    "resnet32": cifar(32),
    "resnet44": cifar(44),
    "resnet56": cifar(56),
    "resnet18": _imagenet(2, 2, 2, 2),
    "resnet34": _imagenet(3, 4, 6, 3),
    "resnet50": _imagenet(3, 4, 6, 3, bottleneck=True),
}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after parameters and state: images.

    >>> inputs(batch=2)[0].shape
    (2, 32, 32, 3)
    """
    return (ShapeDtypeStruct((batch, config.size, config.size, config.channels), fnp.float32),)


def blocks(config: Config) -> Iterator[tuple[int, int, int, int]]:
    """Of each block: its stage, channels in, width of its 3x3 convolutions, stride.

    >>> list(blocks(Config(stages=(1, 2), widths=(4, 8))))
    [(0, 4, 4, 1), (1, 4, 8, 2), (1, 8, 8, 1)]
    """
    channels = config.widths[0]
    for stage, (count, width) in enumerate(zip(config.stages, config.widths, strict=True)):
        for number in range(count):
            yield stage, channels, width, 2 if stage and not number else 1
            channels = width * (4 if config.bottleneck else 1)


def init(key: Any, config: Config = Config()) -> tuple[Params, Params]:
    """Parameters and state: stem, stages (a list of lists of blocks), and a dense layer out.

    A block has conv1, conv2 (and conv3), and shortcut if that has parameters; each with its norm.

    Args:
        key: random key.
        config: what the network is made of.

    Returns:
        The parameters, and the running statistics.

    >>> params, state = init(random.key(0), Config(stages=(1, 1), widths=(4, 8)))
    >>> sorted(params["stages"][1][0]), sorted(state["stages"][1][0])
    (['conv1', 'conv2'], ['conv1', 'conv2'])
    """
    stem_key, out_key, *keys = random.split(key, 2 + sum(config.stages))
    window = (7, 7) if config.imagenet else (3, 3)
    stem, stem_state = init_normed_conv(stem_key, config.channels, config.widths[0], window)
    params: Params = {"stem": stem, "stages": [[] for _ in config.stages]}
    state: Params = {"stem": stem_state, "stages": [[] for _ in config.stages]}
    features = config.widths[0]
    for block_key, (stage, channels, width, stride) in zip(keys, blocks(config), strict=True):
        features = width * (4 if config.bottleneck else 1)
        windows = [(1, 1), (3, 3), (1, 1)] if config.bottleneck else [(3, 3), (3, 3)]
        sizes = [channels, *[width] * (len(windows) - 1), features]
        parts = {f"conv{n + 1}": (sizes[n], sizes[n + 1], window) for n, window in enumerate(windows)}
        if config.imagenet and (stride > 1 or channels != features):
            parts["shortcut"] = (channels, features, (1, 1))
        made = {
            name: init_normed_conv(k, *part)
            for k, (name, part) in zip(random.split(block_key, len(parts)), parts.items(), strict=True)
        }
        params["stages"][stage].append({name: pair[0] for name, pair in made.items()})
        state["stages"][stage].append({name: pair[1] for name, pair in made.items()})
    params["out"] = nn.init_dense(out_key, features, config.classes)
    return params, state


def apply(
    params: Params, state: Params, images: Any, *, config: Config = Config(), training: bool = False
) -> tuple[Array, Params]:
    """The logits of images.

    Args:
        params: from :func:`init`.
        state: likewise.
        images: [batch, height, width, channels], standardized.
        config: what the parameters were made with.
        training: whether norms use (and record) the statistics of the batch, not the running ones.

    Returns:
        Logits [batch, classes], and the new state.

    >>> import fdl
    >>> params, state = init(random.key(0), config := Config(stages=(1,), widths=(4,)))
    >>> fdl.eval_shape(lambda: apply(params, state, fnp.zeros((1, 32, 32, 3)), config=config))[0].shape
    (1, 10)
    """
    stride = 2 if config.imagenet else 1
    x, stem = normed_conv(params["stem"], state["stem"], images, training=training, strides=stride)
    if config.imagenet:
        x = nn.max_pool(x, 3, 2, around((3, 3)))
    after: Params = {"stem": stem, "stages": [[] for _ in config.stages]}
    for stage, _, _, stride in blocks(config):
        number = len(after["stages"][stage])
        x, new = _block(params["stages"][stage][number], state["stages"][stage][number], x, stride, training)
        after["stages"][stage].append(new)
    return nn.dense(params["out"], nn.global_avg_pool(x)), after


def _block(params: Params, state: Params, x: Array, stride: int, training: bool) -> tuple[Array, Params]:
    names = sorted(name for name in params if name != "shortcut")
    strided = "conv2" if len(names) == 3 else "conv1"
    y, after = x, {}
    for name in names:
        y, after[name] = normed_conv(
            params[name], state[name], y, training=training, strides=stride if name == strided else 1,
            activation=None if name == names[-1] else nn.relu,
        )  # fmt: skip
    if "shortcut" in params:
        x, after["shortcut"] = normed_conv(
            params["shortcut"], state["shortcut"], x, training=training, strides=stride, activation=None
        )
    elif x.shape != y.shape:
        missing = y.shape[-1] - x.shape[-1]
        x = fnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))
    return nn.relu(x + y), after


def loss(
    params: Params, state: Params, batch: Mapping[str, Any], *, config: Config = Config(), training: bool = True
) -> tuple[Array, dict[str, Array], Params]:
    """The mean cross-entropy of a batch; the paper adds a weight decay of 1e-4, which is the optimizer's to do.

    Args:
        params: from :func:`init`.
        state: likewise.
        batch: "images" as for :func:`apply`, and their "labels" [batch], integers.
        config: what the parameters were made with.
        training: see :func:`apply`.

    Returns:
        The mean, the "accuracy" in a dict, and the new state, as ``fdl_spark.train(state=...)`` takes them.

    >>> import fdl
    >>> params, state = init(random.key(0), config := Config(stages=(1,), widths=(4,)))
    >>> batch = {"images": fnp.ones((1, 32, 32, 3)), "labels": fnp.array([3])}
    >>> mean, metrics, state = fdl.eval_shape(lambda: loss(params, state, batch, config=config))
    >>> mean.shape, sorted(metrics)
    ((), ['accuracy'])
    """
    logits, state = apply(params, state, batch["images"], config=config, training=training)
    mean = nn.softmax_cross_entropy_with_integer_labels(logits, batch["labels"], reduction="mean")
    return mean, {"accuracy": nn.metrics.accuracy(logits, batch["labels"])}, state


def torch_name(path: str, config: Config) -> str:
    """The name of a layer in torchvision: "stages/0/1/conv2/norm" is "layer1.1.bn2"."""
    parts = path.split("/")
    if parts[0] == "out":
        return "fc"
    if parts[0] == "stem":
        return {"conv": "conv1", "norm": "bn1"}[parts[1]]
    _, stage, block, name, kind = parts
    own = {"conv": 0, "norm": 1}[kind]
    inner = f"downsample.{own}" if name == "shortcut" else f"{('conv', 'bn')[own]}{name[-1]}"
    return f"layer{int(stage) + 1}.{block}.{inner}"
