"""A loss of which everything but the size is small: what an engine adds to computing shows best with it.

The gradient has as many numbers as there are parameters and depends on all of them; computing it reads and writes each
once.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fdl
from fdl_spark.compute.program import Program
from fdl_spark.compute.update import Update, cut

FEATURES, ROWS_A_RANK, STEPS = 8, 4, 20_000
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "adam": lambda: fdl.optim.adam(1e-3),
    "sgd": lambda: fdl.optim.sgd(0.05),
}


def loss(params: Any, batch: Any) -> Any:
    """Pulls all parameters to 1 and predicts y by the first ones."""
    guess = batch["x"] @ params[:FEATURES]
    return fdl.numpy.mean((guess - batch["y"]) ** 2) + 0.5 * fdl.numpy.mean((params - 1.0) ** 2)


def data(ranks: int) -> dict[str, np.ndarray]:
    """An epoch of many steps, so that none of them ends a group."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ranks * ROWS_A_RANK * STEPS, FEATURES), np.float32)
    return {"x": x, "y": x.sum(1)}


def parameters(size: float) -> np.ndarray:
    """So many bytes of parameters."""
    return np.zeros(max(FEATURES, round(size / 4)), np.float32)


def alone(size: float, ranks: int, optimizer: str, seconds: float = 1.0) -> dict[str, float]:
    """What a rank computes in a step, in one process without Spark, on one thread.

    Args:
      size: bytes of parameters.
      ranks: the update is of a slice of so many.
      optimizer: one of OPTIMIZERS.
      seconds: how long to measure.

    Returns:
      Median seconds of the "forward_backward" and the "update".
    """
    fdl.set_num_threads(1)
    params = parameters(size)
    update = Update(OPTIMIZERS[optimizer](), params, True)
    program = Program(loss, params, update=update)
    batch = {"x": np.ones((ROWS_A_RANK, FEATURES), np.float32), "y": np.ones(ROWS_A_RANK, np.float32)}
    flat = program.flat()
    length = -(-flat.size // ranks)
    leaves = cut(update.initial(flat), flat.size, 0, length)
    piece = flat[:length]
    times: dict[str, list[float]] = {"forward_backward": [], "update": []}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["update"]) < 5:
        started = time.perf_counter()
        _, gradient, _ = program.loss_and_gradient(flat, batch, 0, 0)
        between = time.perf_counter()
        piece, leaves = update(piece, gradient[:length], leaves)
        times["update"].append(time.perf_counter() - between)
        times["forward_backward"].append(between - started)
    return {name: statistics.median(found[2:]) for name, found in times.items()}
