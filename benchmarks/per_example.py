"""Gradients of every example by vmap of grad, clipped before their mean: private SGD of a small CNN, batch 256.

Abadi et al., "Deep Learning with Differential Privacy", 2016, algorithm 1, without the noise, which no two frameworks
share.
"""

from types import ModuleType

import numpy as np

from benchmarks import arrays, functional, pytorch

TITLE = "Per-example gradients of a CNN, batch 256"
BATCH = 256
RATE, LIMIT = 0.1, 1.0


def inputs(batch: int = BATCH) -> tuple[dict, tuple]:
    """(parameters, batch) as NumPy arrays: images NHWC, filters HWIO, dense weights (in, out)."""
    rng = np.random.default_rng(0)
    params = {
        "conv0": arrays.layer(rng, 8, 8, 1, 16),
        "conv1": arrays.layer(rng, 4, 4, 16, 32),
        "dense0": arrays.layer(rng, 512, 32),
        "dense1": arrays.layer(rng, 32, 10),
    }
    return params, (rng.random((batch, 28, 28, 1), dtype=np.float32), arrays.labels(rng, 10, batch))


def functional_loss(xp: ModuleType):
    """loss(params, example) for fdl or jax."""
    relu = xp.nn.relu

    def loss(params, example):
        image, label = example
        x = relu(functional.conv(xp, image[None], params["conv0"]["w"], 2, ((3, 3), (3, 3))) + params["conv0"]["b"])
        x = functional.max_pool(xp, x, 2, 1)
        x = relu(functional.conv(xp, x, params["conv1"]["w"], 2, "VALID") + params["conv1"]["b"])
        x = functional.max_pool(xp, x, 2, 1).reshape(1, -1)
        x = relu(x @ params["dense0"]["w"] + params["dense0"]["b"])
        x = x @ params["dense1"]["w"] + params["dense1"]["b"]
        return functional.softmax_cross_entropy(xp, x, label[None])

    return loss


def functional_gradient(xp: ModuleType):
    """gradient(params, batch) -> (mean loss, mean of the clipped gradients)."""
    each = xp.vmap(xp.value_and_grad(functional_loss(xp)), in_axes=(None, 0))

    def gradient(params, batch):
        values, grads = each(params, batch)
        count = values.shape[0]
        squares = sum(xp.numpy.sum(g.reshape(count, -1) ** 2, axis=1) for g in xp.tree.leaves(grads))
        scale = xp.numpy.minimum(1.0, LIMIT / xp.numpy.sqrt(squares)) / count
        return xp.numpy.mean(values), xp.tree.map(lambda g: xp.numpy.tensordot(scale, g, axes=1), grads)

    return gradient


def functional_optimizer(xp: ModuleType):
    return functional.sgd(xp, RATE)


def torch_inputs(torch: ModuleType, channels_last: bool) -> tuple[dict, tuple]:
    params, (images, labels) = inputs()
    w = params["dense0"]["w"].reshape(4, 4, 32, 32)  # its inputs come channels first
    params["dense0"]["w"] = w.transpose(2, 0, 1, 3).reshape(512, 32)
    batch = pytorch.images(torch, images, channels_last), pytorch.indices(torch, labels)
    return pytorch.leaves(torch, params, channels_last), batch


def torch_loss(torch: ModuleType, channels_last: bool):
    F = torch.nn.functional

    def loss(params, image, label):
        x = F.relu(F.conv2d(image[None], params["conv0.w"], params["conv0.b"], stride=2, padding=3))
        x = F.max_pool2d(x, 2, 1)
        x = F.relu(F.conv2d(x, params["conv1.w"], params["conv1.b"], stride=2))
        x = F.max_pool2d(x, 2, 1).flatten(1)
        x = F.relu(F.linear(x, params["dense0.w"], params["dense0.b"]))
        x = F.linear(x, params["dense1.w"], params["dense1.b"])
        return F.cross_entropy(x, label[None])

    return loss


def torch_gradient(torch: ModuleType, channels_last: bool):
    """gradient(params, batch) -> (mean loss, mean of the clipped gradients by name)."""
    each = torch.func.vmap(torch.func.grad_and_value(torch_loss(torch, channels_last)), in_dims=(None, 0, 0))

    def gradient(params, batch):
        grads, values = each(params, *batch)
        squares = sum(g.flatten(1).square().sum(1) for g in grads.values())
        scale = (LIMIT / squares.sqrt()).clamp(max=1.0) / len(values)
        return values.mean(), {name: torch.tensordot(scale, g, 1) for name, g in grads.items()}

    return gradient


def torch_optimizer(torch: ModuleType, leaves: list):
    return pytorch.sgd(torch, leaves, RATE)
