"""Per-example gradients, as differentially private training takes them: compiled against interpreted.

Every model is differentiated for each example by ``vmap(value_and_grad(loss))``; the gradients are clipped by their
norm or not, and averaged. Sums over the examples then have a loop that the units of a group run through, alone or with
loops over rows, beside products, convolutions, scans and softmaxes of each example.
"""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, nn


def weights(rng, *shapes):
    return [(rng.normal(size=s) / np.sqrt(max(1, np.prod(s[:-1])))).astype(np.float32) for s in shapes]


def cross_entropy(logits, label):
    return -fnp.take(nn.log_softmax(logits), label)


def mlp(rng, batch, width):
    w1, b1, w2, b2 = weights(rng, (20, width), (width,), (width, 10), (10,))

    def loss(p, x, y):
        w1, b1, w2, b2 = p
        return cross_entropy(nn.relu(x @ w1 + b1) @ w2 + b2, y)

    return loss, (w1, b1, w2, b2), rng.normal(size=(batch, 20)).astype(np.float32)


def deep(rng, batch, width):
    p = weights(rng, (width, width), (width,), (width, width), (width,), (width, 10))

    def loss(p, x, y):
        w1, scale, w2, bias, w3 = p
        h = fnp.tanh(x @ w1)
        h = h + nn.gelu((h - h.mean()) / fnp.sqrt(h.var() + 1e-3) * scale @ w2 + bias)
        return cross_entropy(h @ w3, y)

    return loss, tuple(p), rng.normal(size=(batch, width)).astype(np.float32)


def cnn(rng, batch, width):
    p = weights(rng, (3, 3, 1, width), (width,), (3 * 3 * width, 10))

    def loss(p, x, y):
        kernel, bias, w = p
        h = lax.conv_general_dilated(x[None], kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return cross_entropy(nn.relu(h + bias).ravel() @ w, y)

    return loss, tuple(p), rng.normal(size=(batch, 6, 6, 1)).astype(np.float32)


def lstm(rng, batch, width):
    p = weights(rng, (8 + width, 4 * width), (4 * width,), (width, 10))

    def loss(p, x, y):
        w, b, out = p

        def step(carry, x):
            h, c = carry
            i, f, g, o = fnp.split(fnp.concatenate([x, h]) @ w + b, 4)
            c = nn.sigmoid(f) * c + nn.sigmoid(i) * fnp.tanh(g)
            return (nn.sigmoid(o) * fnp.tanh(c), c), None

        (h, _), _ = lax.scan(step, (fnp.zeros(width), fnp.zeros(width)), x)
        return cross_entropy(h @ out, y)

    return loss, tuple(p), rng.normal(size=(batch, 5, 8)).astype(np.float32)


def attention(rng, batch, width):
    p = weights(rng, (width, width), (width, width), (width, width), (width, 10))

    def loss(p, x, y):
        q, k, v = (x @ w for w in p[:3])
        mixed = nn.softmax(q @ k.T / max(1, width) ** 0.5) @ v
        return cross_entropy((x + mixed).mean(0) @ p[3], y)

    return loss, tuple(p), rng.normal(size=(batch, 7, width)).astype(np.float32)


def averaged(loss, clip, mean):
    def gradients(p, x, y):
        values, found = fdl.vmap(fdl.value_and_grad(loss), in_axes=(None, 0, 0))(p, x, y)
        if clip:
            norm = fnp.sqrt(sum(fnp.sum(g * g, axis=tuple(range(1, g.ndim))) for g in found))
            found = [g * fnp.minimum(1, clip / norm).reshape(-1, *[1] * (g.ndim - 1)) for g in found]
        return values.mean(), [g.mean(0) if mean else g.sum(0) for g in found]

    return gradients


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize(
    ("model", "batch", "width"),
    [
        *((mlp, batch, width) for batch in (32, 257) for width in (1, 64, 129)),
        *((mlp, 100, 640), (mlp, 1, 64), (mlp, 33, 0)),
        *((deep, 32, 64), (deep, 65, 33), (deep, 64, 160)),
        *((cnn, 32, 8), (cnn, 65, 33), (lstm, 32, 16), (lstm, 37, 64), (attention, 32, 64), (attention, 33, 17)),
    ],
)
def test_average_of_per_example_gradients(model, batch, width, clip, rng):
    loss, p, x = model(rng, batch, width)
    function = averaged(loss, clip, mean=batch % 2)
    y = rng.integers(0, 10, batch)
    found, want = fdl.jit(function)(p, x, y), function(p, x, y)
    np.testing.assert_allclose(found[0], want[0], 1e-5)
    for a, b in zip(found[1], want[1], strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, 1e-4, 1e-5 * max(1, float(abs(b).max()) if b.size else 0))
