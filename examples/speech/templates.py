"""The baseline: the class of the nearest template by dynamic time warping.

Source: Sakoe and Chiba, "Dynamic programming algorithm optimization for spoken word recognition", 1978, without a
window and with equal weights of the three steps.
"""

from typing import Any

import numpy as np
import pyarrow as pa

import fdl
import fdl.numpy as fnp
from examples.speech.task import ENCODERS, spectrogram
from examples.speech.words import NAMES
from fdl import lax

EVERY = 2  # every second frame is compared


def templates(table: pa.Table, each: int, seed: int) -> dict[str, np.ndarray]:
    """So many words of each class and language, drawn at random: their "sound" and "label"."""
    rng = np.random.default_rng(seed)
    names = np.array(
        [
            f"{language} {label}"
            for language, label in zip(*(table[n].to_pylist() for n in ("language", "label")), strict=True)
        ]
    )
    chosen = [rng.choice(np.flatnonzero(names == name), each, replace=False) for name in np.unique(names)]
    return ENCODERS.encode(table.take(pa.array(np.sort(np.concatenate(chosen)))))


def warped(cost: Any) -> Any:
    """The least sum of costs along a path from the first to the last pair of frames, by steps of one.

    A row of sums is d[j] = min over k <= j of m[k] + c[k] + ... + c[j], with m[k] the least of the row before at k and
    k - 1: with sums C of costs this is C[j] + min over k <= j of m[k] - C[k - 1], a running minimum.

    Args:
      cost: [frames, others].
    """

    def step(before: Any, costs: Any) -> tuple[Any, None]:
        diagonal = fnp.concatenate([fnp.full((1,), fnp.inf, before.dtype), before[:-1]])
        sums = fnp.cumsum(costs)
        row = sums + lax.cummin(fnp.minimum(before, diagonal) - (sums - costs))
        return row, None

    last, _ = lax.scan(step, fnp.cumsum(cost[0]), cost[1:])
    return last[-1]


def nearness(model: dict[str, Any], batch: Any) -> Any:
    """For each class, minus the distance of its nearest template."""
    known, heard = (spectrogram(sounds["sound"])[:, ::EVERY] for sounds in (model, batch))

    def distances(one: Any) -> Any:
        products = fnp.einsum("fb,tgb->tfg", one, known)
        squares = (one**2).sum(-1)[None, :, None] + (known**2).sum(-1)[:, None, :] - 2 * products
        return fdl.vmap(warped)(fnp.sqrt(fnp.maximum(squares, 0)))

    found = lax.map(distances, heard)
    of_class = fnp.arange(len(NAMES))[:, None] == model["label"]
    return -fnp.where(of_class, found[:, None, :], fnp.inf).min(axis=-1)
