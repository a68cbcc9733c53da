"""What 16 bits on the wire do to training: `python -m benchmarks.spark.wire_precision`.

A network learns scikit-learn's digits from the gradients of N senders, each of its own part of every batch, in one
process. The gradients travel as float32; as bfloat16 rounded to nearest, with and without error feedback, summed in
float32; and truncated to 16 bits and added in them, as BigDL (Dai et al., SoCC 2019) does. Printed are the
loss over the data after the last step, its distance from float32's, and which part of the true gradient arrives in the
mean step (its projection; 1 is all of it).
"""

from collections.abc import Callable
from itertools import pairwise

import ml_dtypes
import numpy as np
from sklearn.datasets import load_digits

import fdl
import fdl.numpy as fnp
from fdl import nn, optim
from fdl_spark.compute.wire_precision import round_with_feedback, widen

SENDERS = (2, 16, 256)
STEPS = 300
BATCH = 1024
Wire = Callable[[np.ndarray], np.ndarray]  # gradients (senders, n), already divided by the senders -> their sum (n,)


def float32(gradients: np.ndarray) -> np.ndarray:
    """Nothing is lost but by the additions of float32."""
    return gradients.sum(axis=0)


def feedback() -> Wire:
    """bfloat16 with error feedback, as `wire="bfloat16"` sends it."""
    residuals: np.ndarray | None = None

    def wire(gradients: np.ndarray) -> np.ndarray:
        nonlocal residuals
        before = np.zeros_like(gradients) if residuals is None else residuals
        rounded, left = round_with_feedback(gradients.reshape(-1), before.reshape(-1))
        residuals = left.reshape(gradients.shape)
        return widen(rounded).reshape(gradients.shape).sum(axis=0)

    return wire


def nearest(gradients: np.ndarray) -> np.ndarray:
    """bfloat16, what is lost is lost."""
    return gradients.astype(ml_dtypes.bfloat16).astype(np.float32).sum(axis=0)


def truncated(gradients: np.ndarray) -> np.ndarray:
    """The upper half of float32's bits, added one sender after the other, each sum cut off again."""
    total = cut(gradients[0])
    for gradient in gradients[1:]:
        total = cut(total + cut(gradient))
    return total


def cut(x: np.ndarray) -> np.ndarray:
    """float32 without its lower 16 bits."""
    return (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


WIRES: dict[str, Callable[[], Wire]] = {
    "float32": lambda: float32,
    "bfloat16, feedback": feedback,
    "bfloat16": lambda: nearest,
    "truncated": lambda: truncated,
}


def network() -> tuple[np.ndarray, Callable]:
    """The flat parameters, and loss(flat, x, y)."""
    rng = np.random.default_rng(0)
    sizes = (64, 128, 64, 10)
    params = [
        {"w": (rng.normal(size=pair) * np.sqrt(2 / pair[0])).astype(np.float32), "b": np.zeros(pair[1], np.float32)}
        for pair in pairwise(sizes)
    ]
    flat, unravel = fdl.flatten_util.ravel_pytree(params)

    def loss(flat, x, y):
        *hidden, last = unravel(flat)
        for layer in hidden:
            x = nn.relu(x @ layer["w"] + layer["b"])
        logits = nn.log_softmax(x @ last["w"] + last["b"])
        return -fnp.take_along_axis(logits, y[:, None], 1).mean()

    return np.asarray(flat), loss


def train(wire: Wire, senders: int) -> tuple[float, float]:
    """The loss over all data, and the mean part of the gradient that arrived."""
    digits = load_digits()
    x, y = (digits.data / 16).astype(np.float32), digits.target.astype(np.int32)
    flat, loss = network()
    optimizer = optim.sgd(0.05, momentum=0.9)
    gradients_of = fdl.jit(fdl.vmap(fdl.grad(loss), in_axes=(None, 0, 0)))

    @fdl.jit
    def update(flat, gradient, state):
        updates, state = optimizer.update(gradient, state, flat)
        return optim.apply_updates(flat, updates), state

    state, rng, parts = optimizer.init(flat), np.random.default_rng(1), []
    for _ in range(STEPS):
        rows = rng.permutation(len(y))[:BATCH].reshape(senders, -1)
        gradients = np.asarray(gradients_of(flat, x[rows], y[rows])) / np.float32(senders)
        arrived, true = wire(gradients), gradients.sum(axis=0, dtype=np.float64)
        parts.append(arrived @ true / (true @ true))
        flat, state = update(flat, arrived, state)
    return float(fdl.jit(loss)(flat, x, y)), float(np.mean(parts))


def main() -> None:
    """Print a line for each number of senders and kind of wire."""
    print("| senders | wire | loss | against float32 | part that arrives |")
    print("|---|---|---|---|---|")
    for senders in SENDERS:
        least = None
        for name, make in WIRES.items():
            loss, part = train(make(), senders)
            least = loss if least is None else least
            print(f"| {senders} | {name} | {loss:.3e} | {100 * (loss / least - 1):+.2f} % | {part:.4f} |", flush=True)


if __name__ == "__main__":
    main()
