"""Steps of the networks of `examples.text`, in fdl and in PyTorch: `python -m benchmarks.text --threads 1`.

The same parameters, the same batches of 64 sentences of 40 tokens, of which a third to all are there, Adam, no dropout.
The losses of the first steps must agree; then blocks of steps alternate, and the ratio is that of the medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fdl
import fdl.numpy as fnp
from examples.text.task import LENGTH, RECIPES
from fdl import optim

TOKENS, BATCH, RATE = 7000, 64, 1e-3
STEPS, BLOCKS = 20, 7  # of each side


def batches(count: int = 4) -> list[dict[str, np.ndarray]]:
    """Words, 0 after the last one of each sentence, and ratings."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        words = (TOKENS * rng.random((BATCH, LENGTH)) ** 3).astype(np.int32).clip(1)
        words[np.arange(LENGTH) >= rng.integers(LENGTH // 3, LENGTH + 1, BATCH)[:, None]] = 0
        found.append({"words": words, "rating": rng.normal(size=BATCH).astype(np.float32)})
    return found


def fdl_step(name: str) -> Callable[[int], float]:
    """A function that takes a step on a batch of that number, and gives its loss."""
    network, optimizer = RECIPES[name].network(TOKENS), optim.adam(RATE)

    def loss(params: Any, batch: Any) -> Any:
        return fnp.mean((network.apply(params, batch) - batch["rating"]) ** 2)

    def take(params: Any, state: Any, batch: Any) -> Any:
        value, grads = fdl.value_and_grad(loss)(params, batch)
        updates, state = optimizer.update(grads, state, params)
        return optim.apply_updates(params, updates), state, value

    compiled = fdl.jit(take, donate_argnums=(0, 1))
    params = network.init(fdl.random.key(0))
    held, data = [params, optimizer.init(params)], batches()

    def step(number: int) -> float:
        held[0], held[1], value = compiled(held[0], held[1], data[number % len(data)])
        return float(value)

    return step


def torch_step(name: str) -> Callable[[int], float]:
    """The same in PyTorch."""
    import torch

    params = fdl.tree.map(
        lambda leaf: torch.tensor(np.array(leaf)), RECIPES[name].network(TOKENS).init(fdl.random.key(0))
    )
    if name == "textcnn":
        for conv in params["convs"]:
            conv["w"] = conv["w"].permute(2, 1, 0).contiguous()  # out, in, window
    leaves = fdl.tree.leaves(params)
    for leaf in leaves:
        leaf.requires_grad_()
    optimizer = torch.optim.Adam(leaves, lr=RATE, fused=True)
    apply = {"textcnn": torch_convolutions, "transformer": torch_attention}[name]
    data = [
        {"words": torch.tensor(batch["words"], dtype=torch.int64), "rating": torch.tensor(batch["rating"])}
        for batch in batches()
    ]

    def step(number: int) -> float:
        batch = data[number % len(data)]
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(apply(torch, params, batch["words"]), batch["rating"])
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def torch_convolutions(torch: Any, params: Any, words: Any) -> Any:
    """TextCNN, as `fdl.models.textcnn`."""
    F = torch.nn.functional
    x = F.embedding(words, params["words"]["w"], padding_idx=0)
    x = torch.where((words != 0)[..., None], x, 0.0).transpose(1, 2)
    lengths, found = (words != 0).sum(1), []
    for conv in params["convs"]:
        window = conv["w"].shape[2]
        y = F.relu(F.conv1d(F.pad(x, (0, window - 1)), conv["w"], conv["b"]))
        there = torch.arange(words.shape[1]) < (lengths - window + 1).clamp(min=1)[:, None]
        found.append(torch.where(there[:, None], y, 0.0).amax(2))
    return (torch.cat(found, 1) @ params["out"]["w"] + params["out"]["b"])[:, 0]


def torch_attention(torch: Any, params: Any, words: Any) -> Any:
    """BERT's encoder, as `fdl.models.bert`."""
    F, heads = torch.nn.functional, 4
    words = F.pad(words, (1, 0), value=TOKENS)
    mask = (words != 0)[:, None, None]

    def dense(p: Any, x: Any) -> Any:
        return x @ p["w"] + p["b"]

    def norm(p: Any, x: Any) -> Any:
        return F.layer_norm(x, x.shape[-1:], p["w"], p["b"], 1e-12)

    def split(x: Any) -> Any:
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    x = F.embedding(words, params["tokens"]["w"]) + params["positions"]["w"][: words.shape[1]]
    x = norm(params["norm"], x + params["segments"]["w"][0])
    for block in params["blocks"]:
        p = block["attention"]
        query, key, value = (split(dense(p[part], x)) for part in ("query", "key", "value"))
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = norm(block["norm1"], x + dense(p["out"], found.transpose(1, 2).flatten(2)))
        x = norm(block["norm2"], x + dense(block["mlp"][1], F.gelu(dense(block["mlp"][0], x))))
    return dense(params["classifier"], torch.tanh(dense(params["pooler"], x[:, 0])))[:, 0]


def measure(name: str) -> str:
    """A line of sentences a second of both, and their ratio."""
    sides = {"fdl": fdl_step(name), "torch": torch_step(name)}
    losses = {side: [step(number) for number in range(5)] for side, step in sides.items()}
    np.testing.assert_allclose(losses["fdl"], losses["torch"], rtol=1e-3)
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(BLOCKS):
        for side, step in sides.items():
            began = time.perf_counter()
            for number in range(STEPS):
                step(number)
            seconds[side].append((time.perf_counter() - began) / STEPS)
    ours, theirs = (BATCH / statistics.median(seconds[side]) for side in ("fdl", "torch"))
    return f"| {name} | {ours:,.0f} | {theirs:,.0f} | {ours / theirs:.2f} |"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.text", description=__doc__)
    parser.add_argument("networks", nargs="*", default=["textcnn", "transformer"])
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(given.threads)
    fdl.set_num_threads(given.threads)
    print("| network | fdl, sentences/s | torch, sentences/s | ratio |\n|---|---|---|---|")
    for name in given.networks:
        print(measure(name), flush=True)


if __name__ == "__main__":
    main()
