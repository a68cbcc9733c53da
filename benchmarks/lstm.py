"""A two-layer LSTM language model: 10,000 words, 650 units, 20 sequences of 35 words, clipped SGD.

Zaremba et al., "Recurrent Neural Network Regularization", 2014, the medium model without dropout. As the peers' fused
layers do, a layer multiplies its inputs of all steps at once and only its own outputs step by step.
"""

from types import ModuleType

import numpy as np

from benchmarks import arrays, functional, pytorch

TITLE = "LSTM language model, 2 x 650, 20 x 35 words"
VOCABULARY, HIDDEN, DEPTH, LENGTH, BATCH = 10_000, 650, 2, 35, 20
RATE, LIMIT = 1.0, 5.0


def inputs(batch: int = BATCH) -> tuple[dict, tuple]:
    """(parameters, batch) as NumPy arrays: words (time, sequence); gates are enter, keep, new, show."""
    rng = np.random.default_rng(0)

    def uniform(*shape: int) -> np.ndarray:
        return rng.uniform(-0.05, 0.05, shape).astype(np.float32)

    params = {
        "words": uniform(VOCABULARY, HIDDEN),
        "layers": [
            {
                "inner": uniform(HIDDEN, 4 * HIDDEN),
                "outer": uniform(HIDDEN, 4 * HIDDEN),
                "b": np.zeros(4 * HIDDEN, np.float32),
            }
            for _ in range(DEPTH)
        ],
        "head": {"w": uniform(HIDDEN, VOCABULARY), "b": np.zeros(VOCABULARY, np.float32)},
    }
    text = arrays.labels(rng, VOCABULARY, LENGTH + 1, batch)
    return params, (text[:-1].copy(), text[1:].copy())


def functional_loss(xp: ModuleType):
    """loss(params, batch) for fdl or jax."""
    numpy, sigmoid = xp.numpy, xp.nn.sigmoid

    def layer(x, p):
        def cell(state, projected):
            hidden, memory = state
            enter, keep, new, show = numpy.split(projected + hidden @ p["inner"], 4, axis=-1)
            memory = sigmoid(keep) * memory + sigmoid(enter) * numpy.tanh(new)
            hidden = sigmoid(show) * numpy.tanh(memory)
            return (hidden, memory), hidden

        zeros = numpy.zeros((x.shape[1], HIDDEN), "float32")
        return xp.lax.scan(cell, (zeros, zeros), x @ p["outer"] + p["b"])[1]

    def loss(params, batch):
        words, following = batch
        x = params["words"][words]
        for p in params["layers"]:
            x = layer(x, p)
        return functional.softmax_cross_entropy(xp, x @ params["head"]["w"] + params["head"]["b"], following)

    return loss


def functional_optimizer(xp: ModuleType):
    return functional.clipped(xp, LIMIT, functional.sgd(xp, RATE, momentum=0.0))


def torch_inputs(torch: ModuleType, channels_last: bool) -> tuple[dict, tuple]:
    params, (words, following) = inputs()
    batch = pytorch.indices(torch, words), pytorch.indices(torch, following)
    return pytorch.leaves(torch, params, tables=["words"]), batch


def torch_loss(torch: ModuleType, channels_last: bool):
    F = torch.nn.functional
    second_bias = torch.zeros(4 * HIDDEN)

    def loss(params, batch):
        words, following = batch
        x = F.embedding(words, params["words"])
        weights = []
        for i in range(DEPTH):
            names = (f"layers.{i}.{name}" for name in ("outer", "inner", "b"))
            weights += [*map(params.get, names), second_bias]
        zeros = torch.zeros(DEPTH, x.shape[1], HIDDEN)
        # What torch.nn.LSTM calls: has biases, layers, no dropout, training, one direction, time first.
        x = torch._VF.lstm(x, (zeros, zeros), weights, True, DEPTH, 0.0, True, False, False)[0]
        logits = F.linear(x, params["head.w"], params["head.b"])
        return F.cross_entropy(logits.flatten(0, 1), following.flatten())

    return loss


def torch_optimizer(torch: ModuleType, leaves: list):
    return pytorch.Clipped(torch, leaves, LIMIT, torch.optim.SGD(leaves, lr=RATE, fused=True))
