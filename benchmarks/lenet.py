"""LeNet-5 with ReLU and max pooling on 28x28 images, batch 256, momentum SGD (LeCun et al., 1998, figure 2)."""

from types import ModuleType

import numpy as np

from benchmarks import functional

TITLE = "LeNet-5, batch 256"
BATCH = 256
RATE = 0.02


def inputs() -> tuple[dict, tuple]:
    """(parameters, batch) as NumPy arrays: images NHWC, filters HWIO, dense weights (in, out)."""
    rng = np.random.default_rng(0)

    def layer(*shape: int) -> dict:
        fan_in = int(np.prod(shape[:-1]))
        return {
            "w": (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32),
            "b": np.zeros(shape[-1], np.float32),
        }

    params = {
        "conv0": layer(5, 5, 1, 6),
        "conv1": layer(5, 5, 6, 16),
        "dense0": layer(400, 120),
        "dense1": layer(120, 84),
        "dense2": layer(84, 10),
    }
    images = rng.random((BATCH, 28, 28, 1), dtype=np.float32)
    return params, (images, rng.integers(0, 10, BATCH).astype(np.int32))


def functional_loss(xp: ModuleType):
    """loss(params, batch) for fdl or jax."""
    lax, nn = xp.lax, xp.nn

    def conv(x, layer, padding):
        y = lax.conv_general_dilated(x, layer["w"], (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return nn.relu(y + layer["b"])

    def pool(x):
        return lax.reduce_window(x, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    def loss(params, batch):
        x, labels = batch
        x = pool(conv(x, params["conv0"], "SAME"))
        x = pool(conv(x, params["conv1"], "VALID"))
        x = x.reshape(x.shape[0], -1)
        for name in ("dense0", "dense1"):
            x = nn.relu(x @ params[name]["w"] + params[name]["b"])
        x = x @ params["dense2"]["w"] + params["dense2"]["b"]
        return functional.softmax_cross_entropy(xp, x, labels)

    return loss


def functional_optimizer(xp: ModuleType):
    return functional.sgd(xp, RATE)


def torch_inputs(torch: ModuleType, channels_last: bool) -> tuple[dict, tuple]:
    """The same numbers in PyTorch's order: images NCHW, filters OIHW, dense weights (out, in)."""
    params, (images, labels) = inputs()
    memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def leaf(array):
        return torch.tensor(np.ascontiguousarray(array))

    leaves = {}
    for name, layer in params.items():
        w = layer["w"]
        if w.ndim == 4:
            leaves[name + ".w"] = leaf(w.transpose(3, 2, 0, 1)).contiguous(memory_format=memory_format)
        elif name == "dense0" and not channels_last:  # its inputs come channels first
            leaves[name + ".w"] = leaf(w.reshape(5, 5, 16, 120).transpose(2, 0, 1, 3).reshape(400, 120).T)
        else:
            leaves[name + ".w"] = leaf(w.T)
        leaves[name + ".b"] = leaf(layer["b"])
    images = leaf(images.transpose(0, 3, 1, 2)).contiguous(memory_format=memory_format)
    return {name: x.requires_grad_() for name, x in leaves.items()}, (images, torch.tensor(labels, dtype=torch.int64))


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
    return torch.optim.SGD(leaves, lr=RATE, momentum=0.9, fused=True)
