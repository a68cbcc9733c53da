"""Detect digits on photographs and find similar ones: `python -m examples.image_pipeline`."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import fdl
import fdl_spark
from examples.command import parser
from examples.image_pipeline.plot import plot
from examples.image_pipeline.program import Recipe, build, table
from examples.image_pipeline.scenes import materials


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parser("image_pipeline", __doc__, epochs=Recipe.epochs[0])
    options.add_argument("--folder", help="folder or URI for Parquet files that all workers see; a temporary one")
    options.add_argument("--scenes", type=int, default=Recipe.scenes, help="to train on")
    options.add_argument("--tests", type=int, default=Recipe.tests, help="scenes to test on")
    options.add_argument("--save", help="file for the parameters of both networks (fdl.save)")
    given = options.parse_args(arguments)
    recipe = Recipe(given.scenes, min(Recipe.gallery, given.scenes), given.tests)
    recipe = replace(recipe, epochs=(given.epochs, recipe.epochs[1]))
    training, held_out = materials()
    spark = fdl_spark.session(given.master, "image_pipeline")
    with tempfile.TemporaryDirectory(prefix="image_pipeline.") as temporary:
        result = build(
            spark, training, held_out, recipe, given.folder or Path(temporary).as_uri(), seed=given.seed,
            partitions=given.partitions, shards=given.shards, checkpoint=given.checkpoint,
            callbacks=lambda name: [fdl_spark.Progress(desc=name)],
        )  # fmt: skip
        plot(result, given.plot)
    if given.save:
        fdl.save(given.save, {"detector": result.detector.params, "encoder": result.encoder.params})
    print(table(result))
    print(f"{result.scenes_per_second:,.0f} scenes/s through the whole pipeline, Parquet to Parquet; {given.plot}")


if __name__ == "__main__":
    main()
