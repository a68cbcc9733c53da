"""Find unusual days of New York's taxis: `python -m examples.anomaly`."""

from collections.abc import Sequence

import fdl_spark
from examples.anomaly.program import anomalies, plot, table
from examples.command import parser, training
from examples.data import series


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    given = parser("anomaly", __doc__, epochs=20).parse_args(arguments)
    taxis = series.taxi()
    spark = fdl_spark.session(given.master, "anomaly", {"spark.sql.shuffle.partitions": "8"})
    result = anomalies(spark, taxis, series.TAXI_EVENTS, epochs=given.epochs, **training(given, "anomaly"))
    plot(result, given.plot)
    print(f"{taxis.num_rows:,} half-hours, {result.windows:,} windows trained on in {result.seconds:.0f} s")
    print(table(result))
    print(given.plot)


if __name__ == "__main__":
    main()
