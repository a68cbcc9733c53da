"""The gradient of every example by vmap of grad, to clip each before the mean (Abadi et al., 2016, algorithm 1).

Run: python examples/per_example_gradients.py
"""

import fdl
import fdl.numpy as np
from fdl import nn


def loss(params, x, y):
    """Squared error of a small network on one example: x (3,), y ()."""
    hidden = nn.relu(x @ params["w1"] + params["b1"])
    return (hidden @ params["w2"] - y) ** 2


def norms(grads):
    """Length of each example's gradient over the whole pytree, whose leaves have a leading axis of examples: (n,)."""
    return np.sqrt(sum(np.sum(g.reshape(len(g), -1) ** 2, axis=1) for g in fdl.tree.leaves(grads)))


@fdl.jit
def clipped_gradient(params, x, y, limit):
    """(mean of the gradients scaled to at most `limit`, their lengths before)."""
    grads = fdl.vmap(fdl.grad(loss), in_axes=(None, 0, 0))(params, x, y)
    lengths = norms(grads)
    scale = np.minimum(1.0, limit / lengths)
    return fdl.tree.map(lambda g: np.tensordot(scale, g, axes=1) / len(scale), grads), lengths


def main():
    """Print how far one outlier pulls the plain and the clipped mean gradient; returns (plain, clipped) lengths."""
    keys = fdl.random.split(fdl.random.key(0), 3)
    params = {
        "w1": fdl.random.normal(keys[0], (3, 16)) * 0.5,
        "b1": np.zeros(16),
        "w2": fdl.random.normal(keys[1], (16,)) * 0.25,
    }
    x = fdl.random.normal(keys[2], (32, 3))
    y = np.sum(x, axis=1).at[0].set(1000.0)  # one wrong label
    pulled = []
    for name, limit in (("plain", np.inf), ("clipped", 1.0)):
        gradient, lengths = clipped_gradient(params, x, y, limit)
        pulled.append(float(np.sqrt(sum(np.sum(g**2) for g in fdl.tree.leaves(gradient)))))
        print(
            f"{name}: largest {float(lengths.max()):.1f}, median {float(np.median(lengths)):.2f}, mean {pulled[-1]:.3f}"
        )
    return tuple(pulled)


if __name__ == "__main__":
    main()
