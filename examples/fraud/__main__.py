"""Fit pipelines that find frauds: `python -m examples.fraud --split time`."""

import tempfile
from collections.abc import Sequence

import fdl_spark
from examples.command import parser
from examples.data import payments
from examples.fraud.program import KINDS, detect, plot, table
from examples.fraud.stream import through_a_stream


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parser("fraud", __doc__, epochs=10)
    options.add_argument("--split", choices=("time", "rows"), default="time", help="later payments, or drawn ones")
    options.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="of perceptrons")
    options.add_argument("--trees", type=int, default=40, help="of Spark ML's boosted trees; 0 leaves them out")
    options.add_argument("--model", help="folder that the best pipeline is saved to")
    given = options.parse_args(arguments)
    if given.checkpoint:
        options.error("--checkpoint is a folder of one run, and here are several")
    spark = fdl_spark.session(given.master, "fraud")
    known = payments.card_fraud()
    result = detect(
        spark,
        known,
        by=given.split,
        epochs=given.epochs,
        trees=given.trees,
        kinds=given.kinds,
        seed=given.seed,
        partitions=given.partitions,
        shards=given.shards,
        progress=True,
    )
    plot(result, given.plot)
    print("{} frauds to train on, {} to choose, {} to measure".format(*result.frauds))
    print(f"{table(result)}\n{given.plot}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.model or f"{temporary}/pipeline"
        alarms, found = through_a_stream(spark, result, known, given.split, given.seed, folder, temporary)
        print(f"the saved pipeline, on the test as a stream of files: {alarms} alarms, {found} of them frauds")


if __name__ == "__main__":
    main()
