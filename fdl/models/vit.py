"""Vision transformer: an encoder over patches of an image.

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, table 1. vit_b_16 has 86,567,656 parameters.

Expected: ImageNet, top-1 accuracy of one crop 81.1 % (vit_b_16), 75.9 % (vit_b_32), trained on ImageNet-1k with strong
augmentation (torchvision); 77.9 % without, at 384x384 (the paper, table 5).

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import vit
>>> config = vit.Config(size=8, patch=4, width=8, hidden=16, layers=1, heads=2, classes=5)
>>> params = vit.init(random.key(0), config)
>>> vit.apply(params, fnp.zeros((2, 8, 8, 3)), config=config).shape
(2, 5)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import fdl.numpy as fnp
from fdl import nn, random
from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.nn.layers import Params


@dataclass(frozen=True)
class Config:
    """What a vision transformer is made of; by default ViT-B/16.

    Attributes:
        size: height and width of the images.
        patch: height and width of a patch.
        width: number of features of a token.
        hidden: of the perceptrons.
        layers: how many blocks.
        heads: of the attention.
        rate: of the dropout of the embedding and of what blocks add.
        channels: of the images.
        classes: how many.
    """

    size: int = 224
    patch: int = 16
    width: int = 768
    hidden: int = 3072
    layers: int = 12
    heads: int = 12
    rate: float = 0.0
    channels: int = 3
    classes: int = 1000


VARIANTS = {"vit_b_16": Config(), "vit_b_32": Config(patch=32)}


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: images.

    >>> inputs(batch=2)[0].shape
    (2, 224, 224, 3)
    """
    return (ShapeDtypeStruct((batch, config.size, config.size, config.channels), fnp.float32),)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: patches (a convolution), class_token, positions, blocks (a list), norm, and a dense layer out.

    A block has norm1, attention, norm2, and dense layers mlp1, mlp2.

    Args:
        key: random key.
        config: what the network is made of.

    Returns:
        A dict of parameters.

    >>> small = Config(size=8, patch=4, width=8, hidden=16, layers=1, heads=2)
    >>> init(random.key(0), small)["positions"].shape
    (1, 5, 8)
    """
    width, tokens = config.width, (config.size // config.patch) ** 2 + 1
    if config.size < config.patch:
        raise ShapeError(f"vit: an image of {config.size} pixels has no patch of {config.patch}")
    patch_key, token_key, position_key, out_key, *keys = random.split(key, 4 + config.layers)
    blocks = []
    for block_key in keys:
        first, second, third = random.split(block_key, 3)
        blocks.append(
            {
                "norm1": nn.init_layer_norm(width),
                "attention": nn.init_multi_head_attention(first, width, config.heads),
                "norm2": nn.init_layer_norm(width),
                "mlp1": nn.init_dense(second, width, config.hidden),
                "mlp2": nn.init_dense(third, config.hidden, width),
            }
        )
    return {
        "patches": nn.init_conv(patch_key, config.channels, width, (config.patch, config.patch)),
        "class_token": 0.02 * random.normal(token_key, (1, 1, width)),
        "positions": 0.02 * random.normal(position_key, (1, tokens, width)),
        "blocks": blocks,
        "norm": nn.init_layer_norm(width),
        "out": nn.init_dense(out_key, width, config.classes),
    }


def apply(params: Params, images: Any, *, config: Config = Config(), key: Any = None) -> Array:
    """The logits of images.

    Args:
        params: from :func:`init`.
        images: [batch, size, size, channels], standardized.
        config: what the parameters were made with.
        key: random key, for dropout; None is no dropout.

    Returns:
        [batch, classes].

    Raises:
        ShapeError: the images have another size.

    >>> small = Config(size=8, patch=4, width=8, hidden=16, layers=1, heads=2)
    >>> apply(init(random.key(0), small), fnp.zeros((1, 8, 8, 3)), config=small).shape
    (1, 1000)
    """
    keys = [None] * (1 + 2 * config.layers) if key is None else list(random.split(key, 1 + 2 * config.layers))

    def dropped(x: Array, number: int) -> Array:
        return x if keys[number] is None else nn.dropout(keys[number], config.rate, x)

    norm = partial(nn.layer_norm, epsilon=1e-6)
    x = nn.conv(params["patches"], images, strides=config.patch, padding="VALID")
    x = x.reshape(x.shape[0], x.shape[1] * x.shape[2], config.width)
    if x.shape[1] + 1 != params["positions"].shape[1]:
        raise ShapeError(
            f"vit needs images [batch, {config.size}, {config.size}, channels], with a patch for each of its "
            f"{params['positions'].shape[1] - 1} positions, got {fnp.asarray(images).type}"
        )
    token = fnp.broadcast_to(params["class_token"], (x.shape[0], 1, config.width))
    x = dropped(fnp.concatenate([token, x], axis=1) + params["positions"], 0)
    for number, block in enumerate(params["blocks"]):
        y = nn.multi_head_attention(block["attention"], norm(block["norm1"], x), heads=config.heads)
        x = x + dropped(y, 1 + 2 * number)
        y = nn.dense(block["mlp1"], norm(block["norm2"], x))
        x = x + dropped(nn.dense(block["mlp2"], nn.gelu(y, approximate=False)), 2 + 2 * number)
    return nn.dense(params["out"], norm(params["norm"], x)[:, 0])


def loss(params: Params, batch: Mapping[str, Any], key: Any = None, *, config: Config = Config()) -> Array:
    """The mean cross-entropy of a batch.

    Args:
        params: from :func:`init`.
        batch: "images" as for :func:`apply`, and their "labels" [batch], integers.
        key: random key, for dropout; None is no dropout.
        config: what the parameters were made with.

    Returns:
        A number.

    >>> small = Config(size=8, patch=4, width=8, hidden=16, layers=1, heads=2)
    >>> batch = {"images": fnp.zeros((1, 8, 8, 3)), "labels": fnp.array([3])}
    >>> loss(init(random.key(0), small), batch, config=small).shape
    ()
    """
    logits = apply(params, batch["images"], config=config, key=key)
    return nn.softmax_cross_entropy_with_integer_labels(logits, batch["labels"], reduction="mean")


def torch_name(path: str, config: Config) -> str:
    """The name of a layer in torchvision; queries, keys and values are one matrix there."""
    parts = path.split("/")
    if parts[0] != "blocks":
        return {
            "patches": "conv_proj",
            "class_token": "class_token",
            "positions": "encoder.pos_embedding",
            "norm": "encoder.ln",
            "out": "heads.head",
        }[path]
    names = {"norm1": "ln_1", "norm2": "ln_2", "mlp1": "mlp.0", "mlp2": "mlp.3"}
    attention = {"out": "out_proj", "query": "in_proj", "key": "in_proj", "value": "in_proj"}
    inner = f"self_attention.{attention[parts[3]]}" if parts[2] == "attention" else names[parts[2]]
    return f"encoder.layers.encoder_layer_{parts[1]}.{inner}"
