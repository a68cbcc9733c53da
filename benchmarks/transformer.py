"""A small causal transformer language model: 4 layers, width 128, 4 heads, 8 sequences of 64 tokens, Adam."""

from types import ModuleType

import numpy as np

from benchmarks import arrays, functional, pytorch

TITLE = "Transformer, 4 layers of 128, 8 x 64 tokens"
VOCABULARY, WIDTH, HEADS, DEPTH, LENGTH, BATCH = 256, 128, 4, 4, 64, 8
RATE = 1e-3


def inputs(batch: int = BATCH) -> tuple[dict, tuple]:
    """(parameters, batch) as NumPy arrays; dense weights (in, out)."""
    rng = np.random.default_rng(0)

    def dense(m: int, n: int) -> np.ndarray:
        return arrays.normal(rng, 0.05, m, n)

    def block() -> dict:
        return {
            "norm0": arrays.norm(WIDTH),
            "qkv": dense(WIDTH, 3 * WIDTH),
            "out": dense(WIDTH, WIDTH),
            "norm1": arrays.norm(WIDTH),
            "up": dense(WIDTH, 4 * WIDTH),
            "down": dense(4 * WIDTH, WIDTH),
        }

    params = {
        "tokens": dense(VOCABULARY, WIDTH),
        "positions": dense(LENGTH, WIDTH),
        "blocks": [block() for _ in range(DEPTH)],
        "norm": arrays.norm(WIDTH),
        "head": dense(WIDTH, VOCABULARY),
    }
    text = arrays.labels(rng, VOCABULARY, batch, LENGTH + 1)
    return params, (text[:, :-1].copy(), text[:, 1:].copy())


def functional_loss(xp: ModuleType):
    """loss(params, batch) for fdl or jax."""
    numpy, nn = xp.numpy, xp.nn

    def norm(x, p):
        mean = numpy.mean(x, axis=-1, keepdims=True)
        variance = numpy.mean((x - mean) ** 2, axis=-1, keepdims=True)
        return (x - mean) / numpy.sqrt(variance + 1e-5) * p["scale"] + p["shift"]

    def attention(x, p):
        batch, length, width = x.shape
        qkv = (x @ p["qkv"]).reshape(batch, length, 3, HEADS, width // HEADS)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        scores = numpy.einsum("bqhd,bkhd->bhqk", q, k) * (width // HEADS) ** -0.5
        causal = numpy.tril(numpy.ones((length, length), bool))
        weights = nn.softmax(numpy.where(causal, scores, -1e30))
        return numpy.einsum("bhqk,bkhd->bqhd", weights, v).reshape(batch, length, width) @ p["out"]

    def loss(params, batch):
        tokens, targets = batch
        x = params["tokens"][tokens] + params["positions"]
        for p in params["blocks"]:
            x = x + attention(norm(x, p["norm0"]), p)
            x = x + nn.gelu(norm(x, p["norm1"]) @ p["up"]) @ p["down"]
        return functional.softmax_cross_entropy(xp, norm(x, params["norm"]) @ params["head"], targets)

    return loss


def functional_optimizer(xp: ModuleType):
    return functional.adam(xp, RATE)


def torch_inputs(torch: ModuleType, channels_last: bool) -> tuple[dict, tuple]:
    params, (tokens, targets) = inputs()
    batch = pytorch.indices(torch, tokens), pytorch.indices(torch, targets)
    return pytorch.leaves(torch, params, tables=["tokens", "positions"]), batch


def torch_loss(torch: ModuleType, channels_last: bool):
    F = torch.nn.functional

    def norm(x, params, name):
        return F.layer_norm(x, (WIDTH,), params[name + ".scale"], params[name + ".shift"])

    def attention(x, params, name):
        batch, length, width = x.shape
        qkv = F.linear(x, params[name + ".qkv"]).view(batch, length, 3, HEADS, width // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return F.linear(y.transpose(1, 2).reshape(batch, length, width), params[name + ".out"])

    def loss(params, batch):
        tokens, targets = batch
        x = F.embedding(tokens, params["tokens"]) + params["positions"]
        for i in range(DEPTH):
            name = f"blocks.{i}"
            x = x + attention(norm(x, params, name + ".norm0"), params, name)
            hidden = F.gelu(F.linear(norm(x, params, name + ".norm1"), params[name + ".up"]), approximate="tanh")
            x = x + F.linear(hidden, params[name + ".down"])
        logits = F.linear(norm(x, params, "norm"), params["head"])
        return F.cross_entropy(logits.reshape(-1, VOCABULARY), targets.reshape(-1))

    return loss


def torch_optimizer(torch: ModuleType, leaves: list):
    return pytorch.adam(torch, leaves, RATE)
