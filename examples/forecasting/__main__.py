"""Forecast the electricity of a house: `python -m examples.forecasting --data hourly`."""

from collections.abc import Sequence
from dataclasses import replace

import fdl_spark
from examples.command import parser, training
from examples.data import series
from examples.forecasting.program import RECIPES, forecast, plot, table


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parser("forecasting", __doc__)
    options.add_argument("--data", choices=RECIPES, default="hourly", help="steps that minutes are averaged to")
    given = options.parse_args(arguments)
    minutes = series.household_power()
    spark = fdl_spark.session(given.master, "forecasting", {"spark.sql.shuffle.partitions": "8"})
    recipe = RECIPES[given.data]
    recipe = replace(recipe, epochs=given.epochs or recipe.epochs)
    result = forecast(spark, minutes, recipe, **training(given, given.data))
    plot(result, given.plot)
    trained, validated, tested = result.windows
    print(
        f"{minutes.num_rows:,} minutes; windows: {trained:,} trained on, {validated:,} validated on, {tested:,} tested"
    )
    print(table(result))
    print(given.plot)


if __name__ == "__main__":
    main()
