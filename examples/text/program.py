"""Training, measuring beside the baselines, and what is shown at the end."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

import fdl
import fdl_spark
from examples.text.baselines import bag_of_words, lexicon_scores
from examples.text.published import PUBLISHED
from examples.text.split import SOURCES, Split, split
from examples.text.task import Recipe, encoders, loss, measured, with_moods
from fdl_spark import features


class Result(NamedTuple):
    """What a run has found.

    Attributes:
      run: of `fdl_spark.train`; its parameters are those of the best epoch.
      network: what was trained.
      encoders: from the columns text, rating and source to arrays, fitted on the training data.
      split: what was trained on and what was held out.
      measured: metrics on the test by name of model or baseline.
      scores: of the network on the test, (rows,).
      rows_per_second: in the steps of the whole run.
      seconds: of the whole call of `fdl_spark.train`.
    """

    run: Any
    network: Any
    encoders: features.Features
    split: Split
    measured: dict[str, dict[str, Any]]
    scores: np.ndarray
    rows_per_second: float
    seconds: float


def classify(
    spark: Any,
    rated: pa.Table,
    name: str,
    recipe: Recipe,
    moods: dict[str, float],
    *,
    hold_out: str = "texts",
    seed: int = 0,
    partitions: int | None = None,
    shards: int | None = None,
    checkpoint: str | None = None,
    callbacks: Sequence[fdl_spark.Callback] = (),
) -> Result:
    """Train a network on rated sentences, and measure it and the baselines on those that were held out.

    Args:
      spark: the session.
      rated: of `examples.data.texts.rated`.
      name: of the network, in the results.
      recipe: hyperparameters.
      moods: the lexicon, of the baseline and of `Recipe.lexicon`.
      hold_out: as of `split`.
      seed: of parameters, order and dropout.
      partitions, shards, checkpoint, callbacks: of `fdl_spark.train`.
    """
    parts = split(rated, hold_out)
    train, validation, test = (
        fdl_spark.dataframe(table, spark) for table in (parts.train, parts.validation, parts.test)
    )
    encode = features.fit(encoders(), train)
    network = recipe.network(encode.of("words").depth)
    params = network.init(fdl.random.key(seed))
    if recipe.lexicon:
        params = with_moods(params, encode.of("words").values, moods)
    began = time.perf_counter()
    run = fdl_spark.train(
        partial(loss, network=network),
        params,
        train,
        features=encode,
        validation=validation,
        metrics={"r": measured(network.apply)["r"]},
        best=fdl_spark.Best("r", mode="max"),
        optimizer=recipe.optimizer(parts.train.num_rows),
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        seed=seed,
        partitions=partitions,
        shards=shards,
        checkpoint=checkpoint,
        callbacks=callbacks,
    )
    seconds = time.perf_counter() - began
    assert run.best is not None, "there was a validation"
    found = {name: fdl_spark.evaluate(measured(network.apply), run.best.params, test, features=encode)}
    scored = fdl_spark.predict(
        network.apply, run.best.params, test, "score", features=encode.without("rating", "source")
    )
    scores = np.array([row.score for row in scored.select("score").collect()], np.float32)
    for other, values in baselines(parts, moods).items():
        table = {"score": values, **{column: parts.test[column].to_numpy() for column in ("rating", "source")}}
        found[other] = fdl_spark.evaluate(measured("score"), {}, table)
    steps = run.history.steps
    rate = sum(step["rows"] for step in steps) / sum(step["seconds"] for step in steps)
    return Result(run, network, encode, parts, found, scores, rate, seconds)


def baselines(parts: Split, moods: dict[str, float]) -> dict[str, np.ndarray]:
    """Scores of the test by name of the baseline."""
    texts = parts.test["text"].to_pylist()
    mean = np.full(len(texts), parts.train["rating"].to_numpy().mean(), np.float32)
    return {"mean rating": mean, "VADER's lexicon": lexicon_scores(texts, moods), **bag_of_words(parts.train, texts)}


def table(result: Result) -> str:
    """The metrics as text."""
    sources = [name for place, name in enumerate(SOURCES) if place in set(result.split.test["source"].to_pylist())]
    lines = [f"{'':32}     r  accuracy     F1  " + "  ".join(f"r, {name}" for name in sources)]
    for name, found in result.measured.items():
        by = [found["r by source"][str(SOURCES.index(source))] for source in sources]
        columns = "  ".join(f"{value:{len(source) + 3}.3f}" for source, value in zip(sources, by, strict=True))
        lines.append(f"{name:32} {found['r']:5.3f}     {found['accuracy']:5.3f}  {found['F1']:5.3f}  {columns}")
    for name, known in PUBLISHED.items():
        lines.append(f"{name:32} {'':21}  " + "  ".join(f"{known[source]:{len(source) + 3}.3f}" for source in sources))
    return "\n".join(lines)


def plot(result: Result, path: str | Path) -> None:
    """Save a figure: r by source of all models and what was published, and the network's predictions."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    bars, cloud = figure.subplots(1, 2, width_ratios=(3, 2))
    present = sorted(set(result.split.test["source"].to_pylist()))
    shown: dict[str, list[float]] = {}
    for name, found in result.measured.items():
        by = [found["r by source"][str(place)] for place in present]
        if np.isfinite(by).all():  # a constant has no correlation
            shown[name] = by
    shown |= {name: [known[SOURCES[place]] for place in present] for name, known in PUBLISHED.items()}
    width = 0.8 / len(shown)
    for number, (name, values) in enumerate(shown.items()):
        known = (
            {"color": "0.75" if name.startswith("VADER") else "0.9", "edgecolor": "0.5"} if name in PUBLISHED else {}
        )
        places = np.arange(len(present)) + (number - (len(shown) - 1) / 2) * width
        bars.bar(places, values, width, label=name, **known)
    bars.set_xticks(range(len(present)), [f"{SOURCES[place]}s" for place in present])
    bars.set(ylabel="Pearson's r with people's ratings", ylim=(0, 1), title="sentences that were held out")
    bars.grid(axis="y", alpha=0.3)
    bars.set_axisbelow(True)
    figure.legend(*bars.get_legend_handles_labels(), fontsize=8, ncols=3, loc="outside lower left")
    ratings = result.split.test["rating"].to_numpy()
    name = next(iter(result.measured))
    cloud.hexbin(ratings, result.scores, gridsize=40, bins="log", cmap="Blues", mincnt=1)
    cloud.plot([-4, 4], [-4, 4], color="0.4", linewidth=0.8, linestyle=":")
    cloud.set(xlabel="mean rating of twenty people", ylabel=f"prediction of {name}", xlim=(-4, 4), ylim=(-4, 4))
    cloud.set(title=f"r = {result.measured[name]['r']:.3f}, {len(ratings):,} sentences")
    figure.savefig(path, dpi=150)
