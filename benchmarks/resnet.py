"""ResNet-20 on 32x32 images, batch 128, batch normalisation in training mode, momentum SGD.

He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2; shortcuts of type A.
"""

from types import ModuleType

import numpy as np

from benchmarks import arrays, functional, pytorch

TITLE = "ResNet-20, batch 128"
BATCH = 128
RATE = 0.01
WIDTHS = (16, 32, 64)
DEPTH = 3
#: (channels in, channels out, stride) of every block.
BLOCKS = [
    (WIDTHS[max(stage - 1, 0)] if first else width, width, 2 if first and stage else 1)
    for stage, width in enumerate(WIDTHS)
    for first in (True,) + (False,) * (DEPTH - 1)
]


def inputs(batch: int = BATCH) -> tuple[dict, tuple]:
    """(parameters, batch) as NumPy arrays: images NHWC, filters HWIO."""
    rng = np.random.default_rng(0)
    params = {
        "stem": {"w": arrays.he(rng, 3, 3, 3, 16), "norm": arrays.norm(16)},
        "blocks": [
            {
                "w0": arrays.he(rng, 3, 3, m, n),
                "norm0": arrays.norm(n),
                "w1": arrays.he(rng, 3, 3, n, n),
                "norm1": arrays.norm(n),
            }
            for m, n, _ in BLOCKS
        ],
        "dense": arrays.layer(rng, 64, 10),
    }
    return params, (arrays.normal(rng, 1, batch, 32, 32, 3), arrays.labels(rng, 10, batch))


def functional_loss(xp: ModuleType):
    """loss(params, batch) for fdl or jax."""
    numpy, relu = xp.numpy, xp.nn.relu

    def conv(x, w, stride=1):
        return functional.conv(xp, x, w, stride, ((1, 1), (1, 1)))

    def block(x, p, stride):
        y = relu(functional.batch_norm(xp, conv(x, p["w0"], stride), p["norm0"]))
        y = functional.batch_norm(xp, conv(y, p["w1"]), p["norm1"])
        missing = (y.shape[-1] - x.shape[-1]) // 2
        if missing:
            x = numpy.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (missing, missing)))
        return relu(x + y)

    def loss(params, batch):
        x, labels = batch
        x = relu(functional.batch_norm(xp, conv(x, params["stem"]["w"]), params["stem"]["norm"]))
        for p, (_, _, stride) in zip(params["blocks"], BLOCKS, strict=True):
            x = block(x, p, stride)
        x = numpy.mean(x, axis=(1, 2)) @ params["dense"]["w"] + params["dense"]["b"]
        return functional.softmax_cross_entropy(xp, x, labels)

    return loss


def functional_optimizer(xp: ModuleType):
    return functional.sgd(xp, RATE)


def torch_inputs(torch: ModuleType, channels_last: bool) -> tuple[dict, tuple]:
    return pytorch.classification(torch, *inputs(), channels_last)


def torch_loss(torch: ModuleType, channels_last: bool):
    F = torch.nn.functional

    def block(x, params, name, stride):
        y = F.conv2d(x, params[name + ".w0"], stride=stride, padding=1)
        y = F.relu(pytorch.batch_norm(torch, y, params, name + ".norm0"))
        y = F.conv2d(y, params[name + ".w1"], padding=1)
        y = pytorch.batch_norm(torch, y, params, name + ".norm1")
        missing = (y.shape[1] - x.shape[1]) // 2
        if missing:
            x = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, missing, missing))
        return F.relu(x + y)

    def loss(params, batch):
        x, labels = batch
        x = F.conv2d(x, params["stem.w"], padding=1)
        x = F.relu(pytorch.batch_norm(torch, x, params, "stem.norm"))
        for i, (_, _, stride) in enumerate(BLOCKS):
            x = block(x, params, f"blocks.{i}", stride)
        x = F.linear(x.mean((2, 3)), params["dense.w"], params["dense.b"])
        return F.cross_entropy(x, labels)

    return loss


def torch_optimizer(torch: ModuleType, leaves: list):
    return pytorch.sgd(torch, leaves, RATE)
