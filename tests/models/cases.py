"""The models in configurations small enough to be trained in tests, each with a batch: what the laws hold for."""

from collections.abc import Callable

import numpy as np

from fdl.models import (
    autoencoder,
    conv_lstm,
    deepbit,
    ds_cnn,
    inception,
    lenet,
    mobilenet_v2,
    resnet,
    ssd,
    unet,
    vgg,
    vit,
)
from tests.models import sequence_cases
from tests.models.case import Batch, Case


def images(*shape: int, classes: int = 10) -> Callable[[np.random.Generator, int], Batch]:
    """Batches of labelled images."""

    def batch(rng: np.random.Generator, count: int) -> Batch:
        return {
            "images": rng.normal(size=(count, *shape)).astype(np.float32),
            "labels": rng.permutation(max(count, classes))[:count].astype(np.int32) % classes,
        }

    return batch


def arrays(**shapes: tuple[int, ...]) -> Callable[[np.random.Generator, int], Batch]:
    """Batches of arrays with values from 0 to 1."""

    def batch(rng: np.random.Generator, count: int) -> Batch:
        return {name: rng.random((count, *shape), np.float32) for name, shape in shapes.items()}

    return batch


def sounds(rng: np.random.Generator, count: int) -> Batch:
    """Batches of labelled features of frames."""
    return {"features": rng.normal(size=(count, 12, 6)).astype(np.float32), "labels": np.arange(count, dtype=np.int32)}


def scenes(rng: np.random.Generator, count: int) -> Batch:
    """Batches of images with two boxes, and room for a third."""
    corners = rng.uniform(0, 0.5, size=(count, 3, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0.2, 0.5, size=corners.shape)], axis=-1)
    return {
        "images": rng.normal(size=(count, 16, 16, 3)).astype(np.float32),
        "boxes": boxes.astype(np.float32),
        "classes": np.tile(np.array([0, 1, -1], np.int32), (count, 1)),
    }


def masks(rng: np.random.Generator, count: int) -> Batch:
    """Batches of images with a class for each pixel."""
    return {
        "images": rng.normal(size=(count, 8, 8, 1)).astype(np.float32),
        "classes": rng.integers(0, 2, size=(count, 8, 8)).astype(np.int32),
    }


#: A bias before a batch norm is taken away again.
BEFORE_NORM = ("conv/b",)

CASES = [
    Case("lenet", lenet, lenet.Config(size=16), images(16, 16, 1), ["images"], (2, 10)),
    Case(
        "vgg",
        vgg,
        vgg.Config(((4,), (8, 8)), hidden=32, pooled=2, size=8, classes=5),
        images(8, 8, 3, classes=5),
        ["images"],
        (2, 5),
        rate=1e-2,
    ),
    Case(
        "resnet",
        resnet,
        resnet.Config((1, 1), (4, 8), size=8, classes=5),
        images(8, 8, 3, classes=5),
        ["images"],
        (2, 5),
        rate=2e-2,
    ),
    Case(
        "resnet with bottlenecks",
        resnet,
        resnet.Config((1, 1), (2, 4), bottleneck=True, imagenet=True, size=16, classes=5),
        images(16, 16, 3, classes=5),
        ["images"],
        (2, 5),
        rate=2e-2,
    ),
    Case(
        "inception with response norms",
        inception,
        inception.Config(width=0.05, auxiliary=True, size=64, classes=5),
        images(64, 64, 3, classes=5),
        ["images"],
        (2, 5),
        rate=1e-2,
        steps=10,
        fitted=0.6,
        compiled=False,
        compiled_loss=False,
    ),
    Case(
        "mobilenet_v2",
        mobilenet_v2,
        mobilenet_v2.Config(((1, 8, 1, 1), (2, 8, 2, 1)), width=0.25, size=8, classes=5),
        images(8, 8, 3, classes=5),
        ["images"],
        (2, 5),
        rate=2e-2,
    ),
    Case(
        "vit",
        vit,
        vit.Config(size=8, patch=4, width=8, hidden=16, layers=1, heads=2, classes=5),
        images(8, 8, 3, classes=5),
        ["images"],
        (2, 5),
        rate=2e-2,
        zero=["attention/key/b"],  # softmax takes away what all of its inputs have in common
    ),
    Case(
        "autoencoder",
        autoencoder,
        autoencoder.Config(widths=(4, 8), code=8, size=8),
        arrays(images=(8, 8, 1)),
        ["images"],
        (2, 8, 8, 1),
        rate=3e-2,
        steps=100,
        fitted=0.5,
    ),
    Case(
        "conv_lstm",
        conv_lstm,
        conv_lstm.Config(layers=(4, 3), window=3, patch=2, size=4, frames=3, future=2),
        arrays(frames=(3, 4, 4), next=(2, 4, 4)),
        ["frames"],
        (2, 2, 4, 4),
        rate=3e-2,
        fitted=0.95,  # of uniform numbers, whose entropy is left
    ),
    Case(
        "ds_cnn",
        ds_cnn,
        ds_cnn.Config(width=8, depth=1, frames=12, features=6, classes=5),
        sounds,
        ["features"],
        (2, 5),
        rate=2e-2,
        zero=BEFORE_NORM,
    ),
    Case("ssd", ssd, ssd.TINY, scenes, ["images"], [(2, 336, 3), (2, 336, 4)], rate=1e-2, fitted=0.3),
    Case("unet", unet, unet.Config(widths=(6, 12), size=8), masks, ["images"], (2, 8, 8, 2), rate=2e-2, fitted=0.6),
    Case(
        "deepbit",
        deepbit,
        deepbit.Config(vgg.Config(((4,), (8,)), hidden=16, pooled=2, size=8, classes=6)),
        arrays(images=(8, 8, 3)),
        ["images"],
        (2, 6),
        rate=1e-2,
        fitted=0.9,
    ),
    *sequence_cases.CASES,
]
