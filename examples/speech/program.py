"""Training on voices, and evaluation on humans, by Spark."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

import fdl
import fdl_spark
from examples.speech.task import CHANGE, CONFIG, ENCODERS, logits, loss, measured
from examples.speech.templates import nearness, templates
from fdl import optim
from fdl.models import ds_cnn

RATE = 2e-3  # of Adam, at first; it falls to 0 as half a cosine
BATCH = 128


class Result(NamedTuple):
    """What a run has found.

    Attributes:
      run: of `fdl_spark.train`.
      model: parameters and statistics, as `task.classify` takes them.
      trained: how many words were trained on.
      tested: of each set, how many words and speakers it has.
      found: of each set, accuracy and confusion of the network.
      baseline: of each set, the accuracy of the nearest template.
      seconds: of the whole call of `fdl_spark.train`.
    """

    run: Any
    model: Any
    trained: int
    tested: dict[str, tuple[int, int]]
    found: dict[str, dict[str, Any]]
    baseline: dict[str, float]
    seconds: float


def learn(
    voices: pa.Table,
    held_out: Mapping[str, pa.Table],
    *,
    epochs: int,
    batch: int = BATCH,
    each: int = 4,
    seed: int = 0,
    partitions: int | None = None,
    shards: int | None = None,
    checkpoint: str | None = None,
    callbacks: Sequence[fdl_spark.Callback] = (),
) -> Result:
    """Train on voices and evaluate on others, which decide nothing.

    Args:
      voices: a table as of `recordings.tabled`.
      held_out: such tables by name.
      epochs: how many.
      batch: words of a step.
      each: templates of each word and language, for the baseline.
      seed: of parameters, order, augmentation and templates.
      partitions, shards, checkpoint, callbacks: of `fdl_spark.train`.
    """
    params, state = ds_cnn.init(fdl.random.key(seed), CONFIG)
    steps = epochs * -(-voices.num_rows // batch)
    began = time.perf_counter()
    run = fdl_spark.train(
        loss,
        params,
        voices,
        state=state,
        features=ENCODERS,
        augment=CHANGE,
        optimizer=optim.adam(optim.cosine_decay_schedule(RATE, steps)),
        batch_size=batch,
        epochs=epochs,
        seed=seed,
        partitions=partitions,
        shards=shards,
        checkpoint=checkpoint,
        callbacks=callbacks,
    )
    seconds = time.perf_counter() - began
    model = (run.params, run.state)
    known = templates(voices, each, seed)
    found, baseline, tested = {}, {}, {}
    for name, table in held_out.items():
        found[name] = fdl_spark.evaluate(measured(logits), model, table, features=ENCODERS, batch_size=64)
        nearest = {"accuracy": measured(nearness)["accuracy"]}
        baseline[name] = fdl_spark.evaluate(nearest, known, table, features=ENCODERS, batch_size=16)["accuracy"]
        tested[name] = (table.num_rows, len(set(table["speaker"].to_pylist())))
    return Result(run, model, voices.num_rows, tested, found, baseline, seconds)
