"""Inception-v1 (GoogLeNet) on 224x224 images without the auxiliary classifiers, batch 16, momentum SGD.

Szegedy et al., "Going Deeper with Convolutions", 2015, table 1. Dropout, whose random bits no two frameworks share, and
the local response normalisations, which later versions dropped, are left out.
"""

from types import ModuleType

import numpy as np

from benchmarks import arrays, functional, pytorch

TITLE = "Inception-v1, batch 16"
BATCH, SIZE = 16, 224
RATE = 1e-3
#: Channels in, then of the branches: 1x1; 3x3 reduced and out; 5x5 reduced and out; after pooling.
MODULES = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}
#: Modules that a 3x3 maximum with stride 2 comes before.
POOLED = ("3a", "4a", "5a")


def inputs(batch: int = BATCH) -> tuple[dict, tuple]:
    """(parameters, batch) as NumPy arrays: images NHWC, filters HWIO."""
    rng = np.random.default_rng(0)

    def conv(size: int, m: int, n: int) -> dict:
        return arrays.layer(rng, size, size, m, n)

    params: dict = {"conv0": conv(7, 3, 64), "conv1": conv(1, 64, 64), "conv2": conv(3, 64, 192)}
    for name, (m, one, low3, three, low5, five, pooled) in MODULES.items():
        params[name] = {
            "one": conv(1, m, one),
            "low3": conv(1, m, low3),
            "three": conv(3, low3, three),
            "low5": conv(1, m, low5),
            "five": conv(5, low5, five),
            "pooled": conv(1, m, pooled),
        }
    _, one, _, three, _, five, pooled = list(MODULES.values())[-1]
    features = one + three + five + pooled
    params["dense"] = {"w": arrays.normal(rng, 0.01, features, 1000), "b": np.zeros(1000, np.float32)}
    return params, (arrays.normal(rng, 1, batch, SIZE, SIZE, 3), arrays.labels(rng, 1000, batch))


def functional_loss(xp: ModuleType):
    """loss(params, batch) for fdl or jax."""

    def conv(x, layer, stride=1):
        pad = layer["w"].shape[0] // 2
        y = functional.conv(xp, x, layer["w"], stride, ((pad, pad), (pad, pad)))
        return xp.nn.relu(y + layer["b"])

    def module(x, p):
        branches = [
            conv(x, p["one"]),
            conv(conv(x, p["low3"]), p["three"]),
            conv(conv(x, p["low5"]), p["five"]),
            conv(functional.max_pool(xp, x, 3, 1, "SAME"), p["pooled"]),
        ]
        return xp.numpy.concatenate(branches, axis=-1)

    def loss(params, batch):
        x, labels = batch
        x = functional.max_pool(xp, conv(x, params["conv0"], 2), 3, 2, "SAME")
        x = conv(conv(x, params["conv1"]), params["conv2"])
        for name in MODULES:
            if name in POOLED:
                x = functional.max_pool(xp, x, 3, 2, "SAME")
            x = module(x, params[name])
        x = xp.numpy.mean(x, axis=(1, 2)) @ params["dense"]["w"] + params["dense"]["b"]
        return functional.softmax_cross_entropy(xp, x, labels)

    return loss


def functional_optimizer(xp: ModuleType):
    return functional.sgd(xp, RATE)


def torch_inputs(torch: ModuleType, channels_last: bool) -> tuple[dict, tuple]:
    return pytorch.classification(torch, *inputs(), channels_last)


def torch_loss(torch: ModuleType, channels_last: bool):
    F = torch.nn.functional

    def conv(x, params, name, stride=1):
        w = params[name + ".w"]
        return F.relu(F.conv2d(x, w, params[name + ".b"], stride=stride, padding=w.shape[-1] // 2))

    def module(x, params, name):
        branches = [
            conv(x, params, name + ".one"),
            conv(conv(x, params, name + ".low3"), params, name + ".three"),
            conv(conv(x, params, name + ".low5"), params, name + ".five"),
            conv(F.max_pool2d(x, 3, 1, padding=1), params, name + ".pooled"),
        ]
        return torch.cat(branches, 1)

    def loss(params, batch):
        x, labels = batch
        x = F.max_pool2d(conv(x, params, "conv0", 2), 3, 2, ceil_mode=True)
        x = conv(conv(x, params, "conv1"), params, "conv2")
        for name in MODULES:
            if name in POOLED:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            x = module(x, params, name)
        return F.cross_entropy(F.linear(x.mean((2, 3)), params["dense.w"], params["dense.b"]), labels)

    return loss


def torch_optimizer(torch: ModuleType, leaves: list):
    return pytorch.sgd(torch, leaves, RATE)
