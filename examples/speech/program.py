"""Training on voices, then on humans but one; and evaluation on humans who were not trained on, by Spark."""

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

RATE = 3e-3  # of Adam, at first; it falls to 0 as half a cosine
RATE_HUMANS = 1e-3  # the same of the training that follows on humans
BATCH = 128


class Person(NamedTuple):
    """How a person was heard who was not trained on.

    Attributes:
      rows: how many words were spoken.
      voices: accuracy of the network that was trained on synthesized voices alone.
      humans: of the same after training on all other people.
      nearest: of the nearest template.
      confusion: of `humans`.
    """

    rows: int
    voices: float
    humans: float
    nearest: float
    confusion: dict[str, Any]


class Result(NamedTuple):
    """What a run has found.

    Attributes:
      run: of `fdl_spark.train`.
      model: parameters and statistics, as `task.classify` takes them; trained on voices alone.
      trained: how many words were trained on.
      tested: of each set, how many words and speakers it has.
      found: of each set, accuracy and confusion of the network.
      baseline: of each set, the accuracy of the nearest template.
      people: by name, what `leave_one_out` has found.
      seconds: of the whole call of `fdl_spark.train`.
    """

    run: Any
    model: Any
    trained: int
    tested: dict[str, tuple[int, int]]
    found: dict[str, dict[str, Any]]
    baseline: dict[str, float]
    people: dict[str, Person]
    seconds: float


def learn(
    voices: pa.Table,
    held_out: Mapping[str, pa.Table],
    *,
    epochs: int,
    folds: str | None = None,
    epochs_humans: int = 6,
    batch: int = BATCH,
    each: int = 4,
    network: ds_cnn.Config = CONFIG,
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
      folds: the name of the table whose speakers are left out one by one; None: of no table.
      epochs_humans: how many on all people but one.
      batch: words of a step.
      each: templates of each word and language, for the baseline.
      network: what is trained.
      seed: of parameters, order, augmentation and templates.
      partitions, shards, checkpoint, callbacks: of `fdl_spark.train`.
    """
    options: dict[str, Any] = {
        "batch": batch,
        "seed": seed,
        "partitions": partitions,
        "shards": shards,
        "callbacks": callbacks,
    }
    params, state = ds_cnn.init(fdl.random.key(seed), network)
    began = time.perf_counter()
    run = _trained((params, state), voices, epochs, RATE, checkpoint=checkpoint, **options)
    seconds = time.perf_counter() - began
    model = (run.params, run.state)
    known = templates(voices, each, seed)
    scored = {
        **measured(lambda models, batch: logits(models["network"], batch)),
        "nearest": measured(lambda models, batch: nearness(models["known"], batch))["accuracy"],
    }
    models = {"network": model, "known": known}
    found, baseline, tested = {}, {}, {}
    for name, table in held_out.items():
        found[name] = fdl_spark.evaluate(scored, models, table, features=ENCODERS, batch_size=32)
        baseline[name] = found[name].pop("nearest")
        tested[name] = (table.num_rows, len(set(table["speaker"].to_pylist())))
    people = {}
    if folds is not None:
        people = leave_one_out(model, known, held_out, folds, epochs=epochs_humans, checkpoint=checkpoint, **options)
    return Result(run, model, voices.num_rows, tested, found, baseline, people, seconds)


def leave_one_out(
    model: Any,
    known: Any,
    humans: Mapping[str, pa.Table],
    folds: str,
    *,
    epochs: int,
    checkpoint: str | None = None,
    **options: Any,
) -> dict[str, Person]:
    """For each speaker of a table, go on training on everybody else, and listen to him or her.

    Args:
      model: what was trained on voices, from which each training begins.
      known: templates.
      humans: tables by name; all of them are trained on, but for the speaker.
      folds: the name of the table.
      epochs: of each training.
      checkpoint: a folder or URI below which each training has its own; None: none.
      **options: of the trainings.
    """
    both = pa.concat_tables(humans.values())
    scores = {
        "voices": measured(lambda models, batch: logits(models["voices"], batch))["accuracy"],
        "nearest": measured(lambda models, batch: nearness(models["known"], batch))["accuracy"],
        **measured(lambda models, batch: logits(models["humans"], batch)),
    }
    people = {}
    for name in sorted(set(humans[folds]["speaker"].to_pylist())):
        spoken = pa.compute.equal(both["speaker"], name)
        own = both.filter(spoken)
        run = _trained(
            model,
            both.filter(pa.compute.invert(spoken)),
            epochs,
            RATE_HUMANS,
            checkpoint=None if checkpoint is None else f"{checkpoint.rstrip('/')}-without-{name}",
            **options,
        )
        models = {"voices": model, "known": known, "humans": (run.params, run.state)}
        found = fdl_spark.evaluate(scores, models, own, features=ENCODERS, batch_size=32)
        people[name] = Person(own.num_rows, found["voices"], found["accuracy"], found["nearest"], found["confusion"])
    return people


def _trained(model: Any, table: pa.Table, epochs: int, rate: float, *, batch: int, seed: int, **options: Any) -> Any:
    params, state = model
    return fdl_spark.train(
        loss,
        params,
        table,
        state=state,
        features=ENCODERS,
        augment=CHANGE,
        optimizer=optim.adam(optim.cosine_decay_schedule(rate, epochs * -(-table.num_rows // batch))),
        batch_size=batch,
        epochs=epochs,
        seed=seed,
        **options,
    )
