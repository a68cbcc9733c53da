"""A small classification problem; run with `runpy`, so that its functions travel to executors by value."""

from types import SimpleNamespace

import numpy as np

import fdl
import fdl.numpy as fnp


def make_problem(rows=403):
    random = np.random.default_rng(3)
    x = random.standard_normal((rows, 6)).astype(np.float32)
    y = (x @ random.standard_normal((6, 3))).argmax(axis=1).astype(np.int32)
    params = {
        "hidden": {"w": (random.standard_normal((6, 16)) / 3).astype(np.float32), "b": np.zeros(16, np.float32)},
        "out": {"w": (random.standard_normal((16, 3)) / 4).astype(np.float32), "b": np.zeros(3, np.float32)},
    }

    def scores(params, batch):
        hidden = fnp.tanh(batch["x"] @ params["hidden"]["w"] + params["hidden"]["b"])
        return hidden @ params["out"]["w"] + params["out"]["b"]

    def loss(params, batch):
        z = scores(params, batch)
        logp = z - fnp.log(fnp.sum(fnp.exp(z), axis=1, keepdims=True))
        chosen = (fnp.arange(3) == batch["y"][:, None]).astype(fnp.float32)
        return -fnp.mean(fnp.sum(logp * chosen, axis=1))

    def accuracy(params, batch):
        return fnp.mean((fnp.argmax(scores(params, batch), axis=1) == batch["y"]).astype(fnp.float32))

    def noisy_loss(params, batch, key):
        noise = fdl.random.bernoulli(key, 0.5, batch["x"].shape).astype(fnp.float32)
        return loss(params, {"x": batch["x"] * noise, "y": batch["y"]}), {"kept": fnp.mean(noise)}

    return SimpleNamespace(
        params=params, data={"x": x, "y": y}, loss=loss, noisy_loss=noisy_loss, accuracy=accuracy, scores=scores
    )


def digest(params):
    """The bits of all leaves."""
    return b"".join(np.asarray(leaf).tobytes() for leaf in fdl.tree.leaves(params)).hex()
