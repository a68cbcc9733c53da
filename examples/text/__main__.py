"""Train a network on rated sentences: `python -m examples.text --network textcnn --hold-out texts`."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace

import fdl_spark
from examples.command import parser, training
from examples.data import texts
from examples.text.baselines import lexicon
from examples.text.program import classify, plot, table
from examples.text.saved import rate, save
from examples.text.split import HOLD_OUTS
from examples.text.task import RECIPES

SENTENCES = [
    "The best film I have seen in years, warm and very funny!",
    "It broke after two days, and nobody answers the phone.",
    "The committee meets on Tuesday.",
    "not bad at all",
    "@anonymous thank you so much :)",
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parser("text", __doc__)
    options.add_argument("--network", choices=RECIPES, default="textcnn")
    options.add_argument("--hold-out", choices=HOLD_OUTS, default="texts", help="texts of all sources, or one source")
    options.add_argument("--model", help="folder that the trained network is saved to")
    options.add_argument("--sentence", action="append", help="one to rate at the end; may be repeated")
    given = options.parse_args(arguments)
    recipe = RECIPES[given.network]
    if given.epochs:
        recipe = replace(recipe, epochs=given.epochs)
    rated = texts.rated()
    spark = fdl_spark.session(given.master, "text")
    more = training(given, f"{given.network}, without {given.hold_out}")
    result = classify(spark, rated, given.network, recipe, lexicon(), hold_out=given.hold_out, **more)
    plot(result, given.plot)
    rows = [part.num_rows for part in (result.split.train, result.split.validation, result.split.test)]
    print("{:,} sentences to train on, {:,} to choose the epoch, {:,} held out".format(*rows))
    print(table(result))
    best = result.run.best
    print(
        f"best after epoch {best.step / result.run.epoch_steps:g} of {recipe.epochs}; "
        f"{result.rows_per_second:,.0f} sentences/s in steps, {result.seconds:.0f} s with validations; {given.plot}"
    )
    frame = spark.createDataFrame([(sentence,) for sentence in given.sentence or SENTENCES], "text string")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.model or temporary
        save(result, folder)
        for row in rate(frame, folder).collect():  # by the files, as another process would
            print(f"{row.rating:+.2f}  {row.text}")


if __name__ == "__main__":
    main()
