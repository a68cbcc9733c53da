"""Train NeuMF on MovieLens: `python -m examples.recommendation --data movielens-100k`."""

from collections.abc import Sequence
from dataclasses import replace

import fdl_spark
from examples.command import parser, training
from examples.data import movielens
from examples.recommendation.program import plot, recommend, table
from examples.recommendation.task import RECIPES


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parser("recommendation", __doc__)
    options.add_argument("--data", choices=RECIPES, default="movielens-100k")
    options.add_argument("--samples", type=int, help="of a batch, positive and negative")
    options.add_argument("--rate", type=float, help="of Adam")
    given = options.parse_args(arguments)
    changes = {name: getattr(given, name) for name in ("epochs", "samples", "rate") if getattr(given, name)}
    recipe = replace(RECIPES[given.data], **changes)
    ratings = movielens.ratings(given.data)
    spark = fdl_spark.session(given.master, "recommendation")
    result = recommend(spark, ratings, recipe, **training(given, given.data))
    plot(result, given.data, given.plot)
    split = result.split
    print(f"{split.users:,} users, {split.items:,} items, {split.train.num_rows:,} ratings; {recipe}")
    print(table(result, given.data))
    print(f"{result.samples_per_second:,.0f} samples/s in steps, {result.seconds:.1f} s with evaluations; {given.plot}")


if __name__ == "__main__":
    main()
