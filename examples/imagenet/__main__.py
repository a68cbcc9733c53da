"""Train Inception-v1 with BigDL's recipe: `python -m examples.imagenet [--data FOLDER --recipe bigdl]`."""

import tempfile
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import fdl_spark
from examples.command import parser, training
from examples.data import pictures
from examples.imagenet import stand_in
from examples.imagenet.program import classify, plot, table
from examples.imagenet.recipe import RECIPES, Recipe
from examples.imagenet.task import AUGMENTATIONS

CHANGES = {
    "model": "of fdl.models: inception_v1, googlenet, resnet50, mobilenet_v2, ...",
    "classes": "how many",
    "batch": "images of a step",
    "microbatch": "images that a task computes at once",
    "steps": "how many, in place of --epochs",
    "size": "height and width of what the model sees",
    "stored": "height and width of the images that are kept",
    "width": "factor of the numbers of channels",
    "rate": "the highest learning rate",
    "warmup": "steps of the warm-up",
    "validate": "after every so many steps",
}
PARTS = 100, 20  # of each photograph: to train on, held out


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parser("imagenet", __doc__)
    options.add_argument("--data", help="folder with train/ and val/ in Parquet; else parts of photographs stand in")
    options.add_argument("--recipe", choices=RECIPES, help="bigdl for --data, photographs else")
    options.add_argument("--augmentation", choices=AUGMENTATIONS)
    kinds: dict[str, Any] = {field.name: field.type for field in fields(Recipe)}
    for name, text in CHANGES.items():
        options.add_argument(f"--{name}", type=kinds[name], help=text)
    given = options.parse_args(arguments)
    recipe = RECIPES[given.recipe or ("bigdl" if given.data else "photographs")]
    names = [*CHANGES, "augmentation"]
    recipe = replace(recipe, **{name: getattr(given, name) for name in names if getattr(given, name) is not None})
    spark = fdl_spark.session(given.master, "imagenet")
    with tempfile.TemporaryDirectory() as folder:
        if given.data is None:
            stand_in.write(pictures.photographs(), Path(folder), train=PARTS[0], val=PARTS[1])
        data = given.data or f"file://{folder}"
        if given.epochs:
            images = spark.read.parquet(f"{data}/train").count()
            recipe = recipe.of_steps(given.epochs * -(-images // recipe.batch))
        result = classify(spark, data, recipe, **training(given, recipe.model))
    plot(result, given.plot)
    print(f"{result.images:,} images, {recipe}")
    print(table(result))
    print(
        f"{result.images_per_second:,.1f} images/s in steps of {result.processors} tasks, "
        f"{result.seconds:.1f} s with reading and validations; {given.plot}"
    )


if __name__ == "__main__":
    main()
