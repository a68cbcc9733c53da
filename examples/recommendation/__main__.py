"""Train NeuMF on MovieLens: `python -m examples.recommendation --data movielens-100k`."""

import argparse
from collections.abc import Sequence
from dataclasses import replace

import fdl_spark
from examples.data import movielens
from examples.recommendation.program import plot, recommend, table
from examples.recommendation.task import RECIPES


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.recommendation", description=__doc__)
    parser.add_argument("--data", choices=RECIPES, default="movielens-100k")
    parser.add_argument("--master", help="Spark's, such as local[2] or spark://host:7077")
    parser.add_argument("--partitions", type=int, help="tasks; as many as the cluster runs at once")
    parser.add_argument("--shards", type=int, help="logical shards, which decide the last bits")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--samples", type=int, help="of a batch, positive and negative")
    parser.add_argument("--rate", type=float, help="of Adam")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", help="folder or URI; the same command goes on from there")
    parser.add_argument("--plot", default="recommendation.png", help="file of the figure")
    given = parser.parse_args(arguments)
    changes = {name: getattr(given, name) for name in ("epochs", "samples", "rate") if getattr(given, name)}
    recipe = replace(RECIPES[given.data], **changes)
    ratings = movielens.ratings(given.data)
    spark = fdl_spark.session(given.master, "recommendation")
    result = recommend(
        spark,
        ratings,
        recipe,
        seed=given.seed,
        partitions=given.partitions,
        shards=given.shards,
        checkpoint=given.checkpoint,
        callbacks=[fdl_spark.Progress(desc=given.data)],
    )
    plot(result, given.data, given.plot)
    split = result.split
    print(f"{split.users:,} users, {split.items:,} items, {split.train.num_rows:,} ratings; {recipe}")
    print(table(result, given.data))
    print(f"{result.samples_per_second:,.0f} samples/s in steps, {result.seconds:.1f} s with evaluations; {given.plot}")


if __name__ == "__main__":
    main()
