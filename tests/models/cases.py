"""The models in configurations small enough to be trained in tests, each with a batch: what the laws hold for."""

from collections.abc import Callable

import numpy as np

from fdl.models import inception, lenet, mobilenet_v2, resnet, vgg
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
    *sequence_cases.CASES,
]
