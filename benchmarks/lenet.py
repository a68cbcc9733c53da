"""LeNet-5 with ReLU and max pooling on 28x28 images, batch 256, momentum SGD (LeCun et al., 1998, figure 2)."""

from types import ModuleType

import numpy as np

from benchmarks import arrays, functional, pytorch

TITLE = "LeNet-5, batch 256"
BATCH = 256
RATE = 0.02


def inputs(batch: int = BATCH) -> tuple[dict, tuple]:
    """(parameters, batch) as NumPy arrays: images NHWC, filters HWIO, dense weights (in, out)."""
    rng = np.random.default_rng(0)
    params = {
        "conv0": arrays.layer(rng, 5, 5, 1, 6),
        "conv1": arrays.layer(rng, 5, 5, 6, 16),
        "dense0": arrays.layer(rng, 400, 120),
        "dense1": arrays.layer(rng, 120, 84),
        "dense2": arrays.layer(rng, 84, 10),
    }
    return params, (rng.random((batch, 28, 28, 1), dtype=np.float32), arrays.labels(rng, 10, batch))


def functional_loss(xp: ModuleType):
    """loss(params, batch) for fdl or jax."""
    relu = xp.nn.relu

    def conv(x, layer, padding):
        return relu(functional.conv(xp, x, layer["w"], 1, padding) + layer["b"])

    def loss(params, batch):
        x, labels = batch
        x = functional.max_pool(xp, conv(x, params["conv0"], "SAME"), 2, 2)
        x = functional.max_pool(xp, conv(x, params["conv1"], "VALID"), 2, 2)
        x = x.reshape(x.shape[0], -1)
        for name in ("dense0", "dense1"):
            x = relu(x @ params[name]["w"] + params[name]["b"])
        x = x @ params["dense2"]["w"] + params["dense2"]["b"]
        return functional.softmax_cross_entropy(xp, x, labels)

    return loss


def functional_optimizer(xp: ModuleType):
    return functional.sgd(xp, RATE)


def torch_inputs(torch: ModuleType, channels_last: bool) -> tuple[dict, tuple]:
    params, batch = inputs()
    if not channels_last:  # the first dense layer's inputs come channels first
        w = params["dense0"]["w"].reshape(5, 5, 16, 120)
        params["dense0"]["w"] = w.transpose(2, 0, 1, 3).reshape(400, 120)
    return pytorch.classification(torch, params, batch, channels_last)


def torch_loss(torch: ModuleType, channels_last: bool):
    F = torch.nn.functional

    def loss(params, batch):
        x, labels = batch
        x = F.max_pool2d(F.relu(F.conv2d(x, params["conv0.w"], params["conv0.b"], padding=2)), 2)
        x = F.max_pool2d(F.relu(F.conv2d(x, params["conv1.w"], params["conv1.b"])), 2)
        x = (x.permute(0, 2, 3, 1) if channels_last else x).flatten(1)
        for name in ("dense0", "dense1"):
            x = F.relu(F.linear(x, params[name + ".w"], params[name + ".b"]))
        return F.cross_entropy(F.linear(x, params["dense2.w"], params["dense2.b"]), labels)

    return loss


def torch_optimizer(torch: ModuleType, leaves: list):
    return pytorch.sgd(torch, leaves, RATE)
