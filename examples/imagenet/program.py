"""Training with validations, and what is shown at the end."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fdl
import fdl_spark
from examples.imagenet import scaling
from examples.imagenet.recipe import Recipe
from examples.imagenet.task import AUGMENTATIONS, Network, encoders

#: Images a second of one processor in steps of the whole Inception-v1 (16 in 3.72 s, benchmarks/README.md), drawn where
#: a run's own model is another one.
MEASURED = 4.3


class Result(NamedTuple):
    """What a run has found.

    Attributes:
      run: of `fdl_spark.train`; its history has losses by step, and validations.
      recipe: what was trained.
      images: how many there are to train on.
      images_per_second: in the steps of the run, by the median step.
      processors: tasks that computed.
      seconds: of the whole call of `fdl_spark.train`, reading and validations included.
    """

    run: Any
    recipe: Recipe
    images: int
    images_per_second: float
    processors: int
    seconds: float


def classify(
    spark: Any,
    folder: str,
    recipe: Recipe,
    *,
    network: Network | None = None,
    seed: int = 0,
    partitions: int | None = None,
    shards: int | None = None,
    checkpoint: str | None = None,
    callbacks: Sequence[fdl_spark.Callback] = (),
) -> Result:
    """Train a model of images on Parquet files of JPEGs.

    Args:
      spark: the session.
      folder: with train and val, as `convert` writes them: columns image (binary) and label (int from 0).
      recipe: hyperparameters.
      network: what is trained; None for the recipe's model.
      seed: of parameters, order and augmentation.
      partitions, shards, checkpoint, callbacks: of `fdl_spark.train`.
    """
    network = network or Network(recipe)
    params, state = network.init(fdl.random.key(seed))
    train, val = (spark.read.parquet(f"{folder.rstrip('/')}/{part}") for part in ("train", "val"))
    began = time.perf_counter()
    run = fdl_spark.train(
        network.loss,
        params,
        train,
        state=state,
        features=encoders(recipe),
        augment=AUGMENTATIONS[recipe.augmentation](recipe),
        validation=val,
        metrics=network.metrics(),
        validate=fdl_spark.every(steps=recipe.validate),
        save=None if checkpoint is None else fdl_spark.every(steps=recipe.validate),
        optimizer=recipe.optimizer(),
        batch_size=recipe.batch,
        microbatch=recipe.microbatch,
        steps=recipe.steps,
        seed=seed,
        partitions=partitions,
        shards=shards,
        checkpoint=checkpoint,
        callbacks=callbacks,
    )
    seconds = time.perf_counter() - began
    steps = run.history.steps
    rate = float(np.median([step["rows"] / step["seconds"] for step in steps]))
    tasks = partitions or spark.sparkContext.defaultParallelism
    return Result(run, recipe, train.count(), rate, tasks, seconds)


def table(result: Result) -> str:
    """Losses and accuracies as text, beside chance."""
    recipe, losses = result.recipe, result.run.history.loss
    lines = ["steps    loss, training   loss, held out    top-1     top-5"]

    def add(name: str, *values: float) -> None:
        lines.append("{:7}  {:14.3f}   {:14.3f}   {:7.2%}   {:7.2%}".format(name, *values))

    for step, found in result.run.history.validations():
        recent = losses[max(0, step + 1 - recipe.validate) : step + 1]
        add(f"{step + 1:,}", float(np.mean(recent)), found["loss"], found["top-1"], found["top-5"])
    uniform = float(np.log(recipe.classes))
    add("chance", uniform, uniform, 1 / recipe.classes, min(1.0, 5 / recipe.classes))
    return "\n".join(lines)


def plot(result: Result, path: str | Path) -> None:
    """Save a figure: losses, accuracies, and what clusters would do."""
    from matplotlib.figure import Figure

    recipe, history = result.recipe, result.run.history
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    losses, accuracies, clusters = figure.subplots(1, 3)
    validations = history.validations()
    steps = [step + 1 for step, _ in validations]
    losses.plot(range(1, len(history.loss) + 1), history.loss, color="tab:blue", alpha=0.5, label="training, each step")
    losses.plot(steps, [found["loss"] for _, found in validations], "o-", color="tab:orange", label="held out")
    # At first the running statistics of batch norms may be far off, and the loss with them.
    highest = 1.3 * max(*history.loss[:20], float(np.log(recipe.classes)))
    losses.axhline(np.log(recipe.classes), color="gray", linestyle=":", label="chance")
    losses.set(xlabel="step", title=f"Loss, {recipe.batch:,} images a step", ylim=(0, highest))
    rates = losses.twinx()
    rates.plot([float(recipe.schedule()(step)) for step in range(len(history.loss))], color="tab:green", linewidth=1)
    rates.set_ylabel("learning rate", color="tab:green")
    rates.set_ylim(0, None)
    for name, colour, places in (("top-1", "tab:blue", 1), ("top-5", "tab:orange", 5)):
        values = [100 * found[name] for _, found in validations]
        accuracies.plot(steps, values, "o-", color=colour, label=f"{name}: {values[-1]:.1f} % at last")
        chance = 100 * min(1, places / recipe.classes)
        accuracies.axhline(chance, color=colour, linestyle=":", label=f"{name}, chance: {chance:.1f} %")
    accuracies.set(xlabel="step", title="Accuracy on held-out images, %", ylim=(0, 102))
    whole = (recipe.model, recipe.width, recipe.size) == ("inception_v1", 1.0, 224)
    scaling.draw(clusters, result.images_per_second / result.processors if whole else MEASURED)
    for axes, place in ((losses, "upper right"), (accuracies, "lower right")):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc=place)
    figure.savefig(path, dpi=110)
