"""A small causal transformer language model: 2 layers, width 128, 4 heads, 8 sequences of 64 tokens, Adam."""

from types import ModuleType

import numpy as np

from benchmarks import functional

TITLE = "Transformer, 2 layers of 128, 8 x 64 tokens"
VOCABULARY, WIDTH, HEADS, DEPTH, LENGTH, BATCH = 256, 128, 4, 2, 64, 8
RATE = 1e-3


def inputs() -> tuple[dict, tuple]:
    """(parameters, batch) as NumPy arrays; dense weights (in, out)."""
    rng = np.random.default_rng(0)

    def normal(*shape: int):
        return (rng.standard_normal(shape) * 0.05).astype(np.float32)

    def norm() -> dict:
        return {"scale": np.ones(WIDTH, np.float32), "shift": np.zeros(WIDTH, np.float32)}

    def block() -> dict:
        return {
            "norm0": norm(),
            "qkv": normal(WIDTH, 3 * WIDTH),
            "out": normal(WIDTH, WIDTH),
            "norm1": norm(),
            "up": normal(WIDTH, 4 * WIDTH),
            "down": normal(4 * WIDTH, WIDTH),
        }

    params = {
        "tokens": normal(VOCABULARY, WIDTH),
        "positions": normal(LENGTH, WIDTH),
        "blocks": [block() for _ in range(DEPTH)],
        "norm": norm(),
        "head": normal(WIDTH, VOCABULARY),
    }
    text = rng.integers(0, VOCABULARY, (BATCH, LENGTH + 1)).astype(np.int32)
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
    """The same numbers under flat names; dense weights (out, in), tables as they are."""
    params, (tokens, targets) = inputs()
    leaves = {}

    def add(prefix: str, tree) -> None:
        if isinstance(tree, np.ndarray):
            table = tree.ndim < 2 or prefix in ("tokens", "positions")
            leaves[prefix] = torch.tensor(tree if table else tree.T.copy(), requires_grad=True)
            return
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            add(f"{prefix}.{key}" if prefix else str(key), value)

    add("", params)
    return leaves, (torch.tensor(tokens, dtype=torch.int64), torch.tensor(targets, dtype=torch.int64))


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
    return torch.optim.Adam(leaves, lr=RATE, fused=True)
