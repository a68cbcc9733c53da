"""Training, skill by lead time, and what is shown at the end."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fdl
import fdl_spark
from examples.data.winds import Winds
from examples.nowcasting.flow import with_flow
from examples.nowcasting.skill import METHODS, calibrate, forecasts, loss, skill, start, sums
from examples.nowcasting.weather import Sky, sequences
from fdl import optim
from fdl.models import conv_lstm

SKY = Sky()
COLUMNS = ["frames", "next", "flow"]


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters.

    Attributes:
      sky: of the pictures.
      layers, patch: of the ConvLSTM.
      train, tune, test: sequences: to train on, to find levels of rain, to test.
      rows: of a batch.
      rate: of Adam, in the beginning.
      epochs: how many.
    """

    sky: Sky = SKY
    layers: tuple[int, ...] = (16, 16)
    patch: int = 4
    train: int = 1024
    tune: int = 128
    test: int = 256
    rows: int = 16
    rate: float = 5e-3
    epochs: int = 8

    @property
    def config(self) -> conv_lstm.Config:
        """Of the network."""
        return conv_lstm.Config(
            self.layers, 3, self.patch, self.sky.size, self.sky.frames, self.sky.frames, guided=True
        )


class Result(NamedTuple):
    """What a run has found.

    Attributes:
      run: of `fdl_spark.train`.
      skill: by method and measure, of each lead time.
      shown: a sequence of the test: "frames", "next", and a forecast of each method, (frames, size, size).
      minutes: between pictures.
      seconds: of training.
      sequences_per_second: in its steps.
    """

    run: Any
    skill: dict[str, dict[str, list[float]]]
    shown: dict[str, np.ndarray]
    minutes: float
    seconds: float
    sequences_per_second: float


def nowcast(
    spark: Any,
    winds: Winds,
    recipe: Recipe,
    *,
    seed: int = 0,
    partitions: int | None = None,
    shards: int | None = None,
    checkpoint: str | None = None,
    callbacks: Sequence[fdl_spark.Callback] = (),
) -> Result:
    """Train a ConvLSTM on sequences of rain, and compare it with optical flow and persistence on others.

    Args:
      spark: the session.
      winds: monthly means.
      recipe: hyperparameters.
      seed: of sequences, parameters and order; those to tune and to test are of others.
      partitions, shards, checkpoint, callbacks: of `fdl_spark.train`.
    """
    config, leads = recipe.config, recipe.sky.frames
    counts = (recipe.train, recipe.tune, recipe.test)
    train, tune, test = (
        with_flow(sequences(spark, winds, recipe.sky, count, 3 * seed + n)) for n, count in enumerate(counts)
    )
    test = test.cache()
    steps = recipe.epochs * -(-recipe.train // recipe.rows)
    began = time.perf_counter()
    try:
        run = fdl_spark.train(
            partial(loss, config=config),
            start(fdl.random.key(seed), config),
            train,
            columns=COLUMNS,
            optimizer=optim.adam(optim.cosine_decay_schedule(recipe.rate, steps)),
            batch_size=recipe.rows,
            epochs=recipe.epochs,
            seed=seed,
            partitions=partitions,
            shards=shards,
            checkpoint=checkpoint,
            callbacks=callbacks,
        )
        seconds = time.perf_counter() - began
        levels = fdl.jit(partial(calibrate, config=config))(run.params, arrays(tune))
        measured = partial(sums, config=config, levels={name: np.asarray(level) for name, level in levels.items()})
        means = fdl_spark.evaluate(measured, run.params, test, columns=COLUMNS, batch_size=recipe.rows)
        batch = arrays(test.orderBy("number").limit(8))
    finally:
        test.unpersist()
    wettest = int(np.argmax(np.minimum(batch["frames"][:, -1].mean((1, 2)), batch["next"][:, -1].mean((1, 2)))))
    one = {name: rows[wettest : wettest + 1] for name, rows in batch.items()}
    made = fdl.jit(partial(forecasts, config=config))(run.params, one)
    shown = {name: np.asarray(pictures)[0] for name, pictures in {**one, **made}.items()}
    spent = sum(step["seconds"] for step in run.history.steps)
    speed = sum(step["rows"] for step in run.history.steps) / spent
    return Result(run, skill(means, leads), shown, recipe.sky.seconds / 60, seconds, speed)


def arrays(frame: Any) -> dict[str, np.ndarray]:
    """A few sequences, here."""
    rows = frame.toArrow().to_pydict()
    return {name: np.array(rows[name], np.float32) for name in COLUMNS}


def table(result: Result) -> str:
    """Skill over all lead times and at the last one, as text."""
    measures = list(next(iter(result.skill.values())))
    lines = [f"{'':14}" + "".join(f"{measure:>22}" for measure in measures)]
    lines.append(f"{'':14}" + f"{'mean    last':>22}" * len(measures))
    for name, found in result.skill.items():
        values = "".join(f"{np.mean(found[measure]):14.4f}{found[measure][-1]:8.4f}" for measure in measures)
        lines.append(f"{METHODS[name]:14}{values}")
    return "\n".join(lines)


def plot(result: Result, path: str | Path) -> None:
    """Save a figure: each measure by lead time, and every other picture of one sequence."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 9), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.5))
    above, below = parts
    measures = list(next(iter(result.skill.values())))
    for axes, measure in zip(above.subplots(1, len(measures)), measures, strict=True):
        for name, style in zip(METHODS, ("o-", "s-", "^-"), strict=True):
            values = result.skill[name][measure]
            minutes = result.minutes * np.arange(1, len(values) + 1)
            axes.plot(minutes, values, style, markersize=3, label=METHODS[name])
        axes.set(title=f"{measure} ({'lower' if measure == 'MSE' else 'higher'} is better)", xlabel="minutes ahead")
        axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    leads = range(0, len(result.shown["next"]), max(1, len(result.shown["next"]) // 5))
    grid = below.subplots(1 + len(METHODS), len(leads))
    for row, (name, title) in zip(grid, {"next": "truth", **METHODS}.items(), strict=True):
        for axes, lead in zip(row, leads, strict=True):
            axes.imshow(result.shown[name][lead], cmap="turbo", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            if name == "next":
                axes.set_title(f"{result.minutes * (lead + 1):.0f} min", fontsize=9)
        row[0].set_ylabel(title)
    figure.savefig(path, dpi=120)


def animate(result: Result, path: str | Path) -> None:
    """Save a GIF of one sequence: what was seen, then truth and forecasts side by side."""
    from matplotlib.animation import FuncAnimation, PillowWriter
    from matplotlib.figure import Figure

    titles = {"next": "truth", **METHODS}
    figure = Figure(figsize=(11, 3.3), layout="constrained")
    all_axes = figure.subplots(1, len(titles))
    seen = result.shown["frames"]
    images = []
    for axes, title in zip(all_axes, titles.values(), strict=True):
        images.append(axes.imshow(seen[0], cmap="turbo", vmin=0, vmax=1))
        axes.set(xticks=[], yticks=[], title=title)

    def draw(number: int) -> list[Any]:
        lead = number - len(seen)
        for image, name in zip(images, titles, strict=True):
            image.set_data(seen[number] if lead < 0 else result.shown[name][lead])
        when = "now" if lead == -1 else f"{result.minutes * (lead + 1):+.0f} min"
        figure.suptitle(f"{when}: {'seen' if lead < 0 else 'forecast'}")
        return images

    animation = FuncAnimation(figure, draw, frames=len(seen) + len(result.shown["next"]))
    animation.save(path, writer=PillowWriter(fps=4), dpi=80)
