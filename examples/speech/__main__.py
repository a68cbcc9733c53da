"""Learn spoken digits from a synthesizer, and hear those of humans in a Kafka stream: `python -m examples.speech`."""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import fdl
import fdl_spark
from benchmarks.spark.broker import make_topic, running
from examples.command import parser, training
from examples.speech import recordings
from examples.speech.program import learn
from examples.speech.show import people, plot, survived, table
from examples.speech.survive import survive

EPOCHS = 12


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parser("speech", __doc__, epochs=EPOCHS)
    options.add_argument("--rounds", type=int, default=2, help="how often each voice says everything")
    options.add_argument("--others", type=int, default=2, help="other words of each voice and round")
    options.add_argument("--voices", help="Parquet file that keeps what the voices said")
    options.add_argument("--epochs-humans", type=int, default=6, help="of training on all people but one; 0: none")
    options.add_argument("--model", default="speech.safetensors", help="file for the network")
    options.add_argument("--servers", help="of Kafka, HOST:PORT; the broker of the tests if there are none")
    options.add_argument("--records", type=int, default=1200, help="of the stream; 0: no stream")
    options.add_argument("--rate", type=float, default=20.0, help="records a second")
    options.add_argument("--no-kill", action="store_true", help="kill neither executor nor driver")
    given = options.parse_args(arguments)
    voices, humans = _voices(given), recordings.humans()
    spark = fdl_spark.session(given.master, "speech")
    result = learn(
        voices,
        humans,
        epochs=given.epochs,
        folds=recordings.FREE if given.epochs_humans and recordings.FREE in humans else None,
        epochs_humans=given.epochs_humans,
        **training(given, "speech"),
    )
    spark.stop()  # the stream's driver has the cores then
    fdl.save(given.model, result.model)
    print(f"{result.trained:,} words of eSpeak NG, {given.epochs} epochs in {result.seconds:.0f} s; {given.model}")
    print(table(result))
    if result.people:
        print(people(result))
    found = None
    if given.records:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            servers = given.servers or stack.enter_context(running(folder)).servers
            found = survive(
                folder,
                result.model,
                next(reversed(humans.values())),
                servers,
                make_topic(servers, f"recordings-{time.time_ns()}"),
                master=given.master,
                records=given.records,
                rate=given.rate,
                kill=not given.no_kill,
                shown=_shown,
            )
        print(survived(found))
    plot(result, found, given.plot)
    print(given.plot)


def _voices(given: argparse.Namespace) -> pa.Table:
    """What the voices say: read from the file that keeps it, or said now."""
    if given.voices and Path(given.voices).exists():
        return pq.read_table(given.voices)
    voices = recordings.voices(given.rounds, given.others, given.seed)
    if given.voices:
        pq.write_table(voices, given.voices)
    return voices


def _shown(done: int, of: int) -> None:
    print(
        f"\rstream: {done:,} of {of:,} records committed", end="\n" if done >= of else "", file=sys.stderr, flush=True
    )


if __name__ == "__main__":
    main()
