"""Keyword spotting: the small depthwise separable network on 49x10 features of speech, batch 100, Adam.

Zhang et al., "Hello Edge: Keyword Spotting on Microcontrollers", 2017, DS-CNN-S. It is not `fdl.models.ds_cnn`, whose
"SAME" windows have an odd zero behind, which PyTorch's convolutions cannot pad, and whose norms keep statistics: JAX
and PyTorch must run the same. `benchmarks.speech` measures that model.
"""

from types import ModuleType

import numpy as np

from benchmarks import arrays, functional, pytorch

TITLE = "Keyword DS-CNN, batch 100"
BATCH, WIDTH, DEPTH, CLASSES = 100, 64, 4, 12
RATE = 5e-4


def inputs(batch: int = BATCH) -> tuple[dict, tuple]:
    """(parameters, batch) as NumPy arrays: features (example, time, frequency, 1)."""
    rng = np.random.default_rng(0)
    params = {
        "stem": {"w": arrays.he(rng, 10, 4, 1, WIDTH), "norm": arrays.norm(WIDTH)},
        "blocks": [
            {
                "depth": arrays.he(rng, 3, 3, 1, WIDTH),
                "norm0": arrays.norm(WIDTH),
                "point": arrays.he(rng, 1, 1, WIDTH, WIDTH),
                "norm1": arrays.norm(WIDTH),
            }
            for _ in range(DEPTH)
        ],
        "dense": arrays.layer(rng, WIDTH, CLASSES),
    }
    return params, (arrays.normal(rng, 1, batch, 49, 10, 1), arrays.labels(rng, CLASSES, batch))


def functional_loss(xp: ModuleType):
    """loss(params, batch) for fdl or jax."""

    def normalised(x, p):
        return xp.nn.relu(functional.batch_norm(xp, x, p))

    def loss(params, batch):
        x, labels = batch
        x = functional.conv(xp, x, params["stem"]["w"], 2, ((5, 5), (1, 1)))
        x = normalised(x, params["stem"]["norm"])
        for p in params["blocks"]:
            x = normalised(functional.conv(xp, x, p["depth"], groups=WIDTH), p["norm0"])
            x = normalised(functional.conv(xp, x, p["point"]), p["norm1"])
        x = xp.numpy.mean(x, axis=(1, 2)) @ params["dense"]["w"] + params["dense"]["b"]
        return functional.softmax_cross_entropy(xp, x, labels)

    return loss


def functional_optimizer(xp: ModuleType):
    return functional.adam(xp, RATE)


def torch_inputs(torch: ModuleType, channels_last: bool) -> tuple[dict, tuple]:
    return pytorch.classification(torch, *inputs(), channels_last)


def torch_loss(torch: ModuleType, channels_last: bool):
    F = torch.nn.functional

    def normalised(x, params, name):
        return F.relu(pytorch.batch_norm(torch, x, params, name))

    def loss(params, batch):
        x, labels = batch
        x = normalised(F.conv2d(x, params["stem.w"], stride=2, padding=(5, 1)), params, "stem.norm")
        for i in range(DEPTH):
            name = f"blocks.{i}"
            x = F.conv2d(x, params[name + ".depth"], padding=1, groups=WIDTH)
            x = normalised(x, params, name + ".norm0")
            x = normalised(F.conv2d(x, params[name + ".point"]), params, name + ".norm1")
        x = F.linear(x.mean((2, 3)), params["dense.w"], params["dense.b"])
        return F.cross_entropy(x, labels)

    return loss


def torch_optimizer(torch: ModuleType, leaves: list):
    return pytorch.adam(torch, leaves, RATE)
