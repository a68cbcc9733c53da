"""Forecast rain from pictures: `python -m examples.nowcasting`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import fdl_spark
from examples.command import parser, training
from examples.data import winds
from examples.nowcasting.program import Recipe, animate, nowcast, plot, table


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parser("nowcasting", __doc__)
    options.add_argument("--train", type=int, help="sequences to train on")
    options.add_argument("--test", type=int, help="sequences to test")
    options.add_argument("--layers", type=int, nargs="+", help="channels of each layer")
    given = options.parse_args(arguments)
    changes = {name: getattr(given, name) for name in ("epochs", "train", "test") if getattr(given, name)}
    if given.layers:
        changes["layers"] = tuple(given.layers)
    recipe = replace(Recipe(), **changes)
    spark = fdl_spark.session(given.master, "nowcasting")
    result = nowcast(spark, winds.monthly(), recipe, **training(given, "nowcasting"))
    plot(result, given.plot)
    moving = Path(given.plot).with_suffix(".gif")
    animate(result, moving)
    print(recipe)
    print(table(result))
    print(f"{result.sequences_per_second:,.1f} sequences/s in steps, {result.seconds:.0f} s of training")
    print(f"{given.plot}, {moving}")


if __name__ == "__main__":
    main()
