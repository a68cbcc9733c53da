"""SSD: one network that says for thousands of prior boxes which object is there, and how far off the box is.

Source: Liu, Anguelov, Erhan, Szegedy, Reed, Fu, Berg, "SSD: Single Shot MultiBox Detector", ECCV 2016: SSD300, section
2 and figure 2, of VGG-16 without dense layers. ssd300 has 26,285,486 parameters and 8,732 prior boxes, for the 20
classes of Pascal VOC.

Expected: mAP of VOC 2007 74.3 % when trained on VOC 2007 and 2012, 77.2 % with more augmentation (tables 1 and 6); as
``fdl_spark.metrics.detection_map`` of :func:`detect` computes it.

>>> import fdl.numpy as fnp
>>> from fdl import random
>>> from fdl.models import ssd
>>> params = ssd.init(random.key(0), ssd.TINY)
>>> logits, offsets = ssd.apply(params, fnp.zeros((1, 16, 16, 3)), config=ssd.TINY)
>>> logits.shape, offsets.shape, ssd.priors(ssd.TINY).shape
((1, 336, 3), (1, 336, 4), (336, 4))
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import fdl.numpy as fnp
from fdl import lax, nn, random
from fdl.api.inspect import ShapeDtypeStruct
from fdl.api.vmap import vmap
from fdl.core.types import Array
from fdl.nn.initializers import he_normal, normal
from fdl.nn.layers import Params


@dataclass(frozen=True)
class Config:
    """What an SSD is made of; by default SSD300 for Pascal VOC.

    Attributes:
        blocks: channels of the convolutions of each block; the last but one is read by the first classifier.
        hidden: channels of the two convolutions in place of VGG's dense layers.
        dilation: of the first of them; less than 6 suits images of fewer pixels.
        extra: (channels of 1x1, channels of 3x3, whether that has stride 2 or no padding) of each pair that follows.
        scales: of the prior boxes of each classifier, and one more.
        ratios: likewise, but squares.
        size: height and width of the images.
        channels: of the images.
        classes: of objects.
    """

    blocks: tuple[tuple[int, ...], ...] = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)
    hidden: int = 1024
    extra: tuple[tuple[int, int, bool], ...] = (
        (256, 512, True), (128, 256, True), (128, 256, False), (128, 256, False),
    )  # fmt: skip
    scales: tuple[float, ...] = (0.1, 0.2, 0.375, 0.55, 0.725, 0.9, 1.075)
    ratios: tuple[tuple[float, ...], ...] = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
    size: int = 300
    channels: int = 3
    classes: int = 20
    dilation: int = 6


VARIANTS = {"ssd300": Config()}
#: For tests and trials.
TINY = Config(((4,), (8,), (8,)), 8, ((4, 8, True),), (0.2, 0.4, 0.7, 1.0), ((2,), (2,), (2,)), size=16, classes=2)


def inputs(config: Config = Config(), batch: int = 1) -> tuple[ShapeDtypeStruct]:
    """The shapes and dtypes of what :func:`apply` takes after the parameters: images.

    >>> inputs(batch=2)[0].shape
    (2, 300, 300, 3)
    """
    return (ShapeDtypeStruct((batch, config.size, config.size, config.channels), fnp.float32),)


def grids(config: Config) -> list[int]:
    """The height and width of the images that the classifiers read.

    >>> grids(Config())
    [38, 19, 10, 5, 3, 1]
    """
    side = config.size
    for _ in config.blocks[:-2]:
        side = -(-side // 2)
    found = [side, -(-side // 2)]
    for _, _, strided in config.extra:
        found.append(-(-found[-1] // 2) if strided else found[-1] - 2)
    return found


def priors(config: Config = Config()) -> Array:
    """The prior boxes: [boxes, 4], corners as shares of the image, in the order of the outputs of :func:`apply`.

    >>> priors().shape
    (8732, 4)
    """
    return nn.prior_boxes([(side, side) for side in grids(config)], config.scales, config.ratios)


def init(key: Any, config: Config = Config()) -> Params:
    """Parameters: blocks, hidden (two convolutions), extra (pairs), scale, heads (each classes and offsets).

    Args:
        key: random key.
        config: what the network is made of.

    Returns:
        A dict of parameters.

    >>> sorted(init(random.key(0), TINY))
    ['blocks', 'extra', 'heads', 'hidden', 'scale']
    """
    count = sum(map(len, config.blocks)) + 2 + 2 * len(config.extra) + 2 * len(config.ratios)
    keys = iter(random.split(key, count))

    def conv(inputs: int, outputs: int, extent: int, w_init: Any = he_normal()) -> Params:  # noqa: B008
        return nn.init_conv(next(keys), inputs, outputs, (extent, extent), w_init=w_init)

    channels, blocks = config.channels, []
    for widths in config.blocks:
        blocks.append([conv(a, b, 3) for a, b in pairwise((channels, *widths))])
        channels = widths[-1]
    hidden = [conv(channels, config.hidden, 3), conv(config.hidden, config.hidden, 1)]
    read, extra = [config.blocks[-2][-1], config.hidden], []
    for narrow, wide, _ in config.extra:
        extra.append([conv(read[-1], narrow, 1), conv(narrow, wide, 3)])
        read.append(wide)
    heads = []
    for size, ratios in zip(read, config.ratios, strict=True):
        boxes, small = 2 + 2 * len(ratios), normal(0.01)  # what is read has a length of 20: all classes alike at first
        classes = conv(size, boxes * (config.classes + 1), 3, small)
        heads.append({"classes": classes, "offsets": conv(size, boxes * 4, 3, small)})
    scale = fnp.full((read[0],), 20.0, fnp.float32)
    return {"blocks": blocks, "hidden": hidden, "extra": extra, "scale": scale, "heads": heads}


def apply(params: Params, images: Any, *, config: Config = Config()) -> tuple[Array, Array]:
    """What is seen at the prior boxes of images.

    Args:
        params: from :func:`init`.
        images: [batch, size, size, channels], standardized.
        config: what the parameters were made with.

    Returns:
        Logits [batch, boxes, classes + 1], of which the first is that of no object; and offsets [batch, boxes, 4] as
        :func:`fdl.nn.decode_boxes` takes them.

    >>> apply(init(random.key(0), TINY), fnp.zeros((1, 16, 16, 3)), config=TINY)[1].shape
    (1, 336, 4)
    """
    x, read = fnp.asarray(images), []
    for number, block in enumerate(params["blocks"]):
        for layer in block:
            x = nn.relu(nn.conv(layer, x))
        if number == len(params["blocks"]) - 2:
            length = fnp.sqrt(fnp.sum(fnp.square(x), axis=-1, keepdims=True) + 1e-10)
            read.append(x / length * params["scale"])
        if number < len(params["blocks"]) - 1:
            x = nn.max_pool(x, 2, padding="SAME")
    x = nn.max_pool(x, 3, 1, "SAME")
    x = nn.relu(nn.conv(params["hidden"][0], x, dilation=config.dilation))
    x = nn.relu(nn.conv(params["hidden"][1], x))
    read.append(x)
    for (first, second), (_, _, strided) in zip(params["extra"], config.extra, strict=True):
        x = nn.relu(nn.conv(first, x))
        padding: Any = ((1, 1), (1, 1)) if strided else "VALID"
        x = nn.relu(nn.conv(second, x, strides=2 if strided else 1, padding=padding))
        read.append(x)
    found = []
    for name, size in (("classes", config.classes + 1), ("offsets", 4)):
        outputs = [nn.conv(head[name], x) for head, x in zip(params["heads"], read, strict=True)]
        found.append(
            fnp.concatenate([y.reshape(y.shape[0], math.prod(y.shape[1:]) // size, size) for y in outputs], axis=1)
        )
    return found[0], found[1]


def loss(params: Params, batch: Mapping[str, Any], *, config: Config = Config()) -> Array:
    """The multibox loss: cross-entropy of classes, and the smooth absolute error of offsets, by number of boxes found.

    Of the prior boxes that have no object only the three most wrong ones count for each that has one. Source: section
    2.2 of the paper, "hard negative mining".

    Args:
        params: from :func:`init`.
        batch: "images" as for :func:`apply`, and the true "boxes" [batch, n, 4], as shares of the image, and their
            "classes" [batch, n], integers from 0, negative where there is no box.
        config: what the parameters were made with.

    Returns:
        A number.

    >>> batch = {"images": fnp.zeros((1, 16, 16, 3)), "boxes": fnp.array([[[0.2, 0.2, 0.6, 0.6]]])}
    >>> loss(init(random.key(0), TINY), batch | {"classes": fnp.array([[1]])}, config=TINY).shape
    ()
    """
    logits, offsets = apply(params, batch["images"], config=config)
    return multibox_loss(logits, offsets, priors(config), batch["boxes"], batch["classes"])


def multibox_loss(logits: Any, offsets: Any, priors: Any, boxes: Any, classes: Any, negatives: int = 3) -> Array:
    """The loss of :func:`loss`, from what the network returns.

    Args:
        logits: [batch, priors, classes + 1].
        offsets: [batch, priors, 4].
        priors: [priors, 4].
        boxes: [batch, n, 4].
        classes: [batch, n], negative where there is no box. A box without an area is none either.
        negatives: how many prior boxes without an object count for each that has one.

    Returns:
        A number.

    >>> priors = fnp.array([[0.0, 0, 1, 1]])
    >>> logits = fnp.array([[[0.0, 50]]])
    >>> multibox_loss(logits, fnp.zeros((1, 1, 4)), priors, priors[None], fnp.array([[0]])).item()
    0.0
    """
    boxes, classes = fnp.asarray(boxes), fnp.asarray(classes)
    if not boxes.shape[1]:  # a place that nothing fills, so that there is one to read
        boxes = fnp.zeros((boxes.shape[0], 1, 4), boxes.dtype)
        classes = fnp.full((boxes.shape[0], 1), -1, classes.dtype)

    def one(logits: Array, offsets: Array, boxes: Array, classes: Array) -> tuple[Array, Array]:
        valid = (classes >= 0) & fnp.all(boxes[:, 2:] > boxes[:, :2], axis=-1)
        own, matched = nn.match_boxes(priors, boxes, valid)
        safe = fnp.where(valid[:, None], boxes, fnp.asarray([0.0, 0, 1, 1], boxes.dtype))
        wanted = fnp.where(matched, classes[own] + 1, 0)
        entropies = nn.softmax_cross_entropy_with_integer_labels(logits, wanted)
        mistakes = fnp.where(matched, -fnp.inf, lax.stop_gradient(entropies))
        places = fnp.argsort(fnp.argsort(-mistakes))
        hard = ~matched & (places < negatives * fnp.sum(matched))
        errors = fnp.sum(nn.smooth_l1_loss(offsets, nn.encode_boxes(safe[own], priors)), axis=-1)
        total = fnp.sum(fnp.where(matched | hard, entropies, 0.0)) + fnp.sum(fnp.where(matched, errors, 0.0))
        return total, fnp.sum(matched)

    totals, counts = vmap(one)(logits, offsets, boxes, classes)
    return fnp.sum(totals) / fnp.maximum(fnp.sum(counts), 1).astype(totals.dtype)


def detect(
    params: Params, images: Any, *, config: Config = Config(), count: int = 100, overlap: float = 0.45,
    score: float = 0.01, agnostic: bool = False,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """The objects in images.

    Args:
        params: from :func:`init`.
        images: [batch, size, size, channels], standardized.
        config: what the parameters were made with.
        count: how many an image has at most, and each class.
        overlap: of two boxes of a class that overlap by more, the one with the lower score is left out.
        score: what is seen with this probability or less is left out.
        agnostic: whether boxes of different classes leave each other out too, each box having its likeliest class: for
            objects that do not overlap, of which each is to be found once. The paper leaves out within a class only,
            which the mean average precision of Pascal VOC rewards.

    Returns:
        Boxes [batch, count, 4], as shares of the image; scores [batch, count], falling; classes [batch, count], -1
        where there is no box: what ``fdl_spark.metrics.detection_map`` takes, with ``size=`` that of the images.

    >>> boxes, scores, classes = detect(init(random.key(0), TINY), fnp.zeros((1, 16, 16, 3)), config=TINY, count=5)
    >>> boxes.shape, scores.shape, classes.shape
    ((1, 5, 4), (1, 5), (1, 5))
    """
    logits, offsets = apply(params, images, config=config)
    boxes = fnp.clip(nn.decode_boxes(offsets, priors(config)), 0, 1)

    def suppressed(boxes: Array, scores: Array) -> tuple[Array, Array]:
        kept, there = nn.non_max_suppression(boxes, scores, count, overlap=overlap, score=score)
        return kept, fnp.where(there, scores[kept], -1.0)

    def any_class(boxes: Array, scores: Array) -> tuple[Array, Array, Array]:
        kept, found = suppressed(boxes, fnp.max(scores, axis=1))
        classes = fnp.argmax(scores, axis=1)[kept]
        return boxes[kept], fnp.maximum(found, 0.0), fnp.where(found > 0, classes, -1)

    def each_class(boxes: Array, scores: Array) -> tuple[Array, Array, Array]:
        kept, found = vmap(suppressed, (None, 0))(boxes, scores.T)
        best = fnp.argsort(-found.ravel())[:count]
        found, classes = found.ravel()[best], best // count
        return boxes[kept.ravel()[best]], fnp.maximum(found, 0.0), fnp.where(found > 0, classes, -1)

    return vmap(any_class if agnostic else each_class)(boxes, nn.softmax(logits)[..., 1:])
