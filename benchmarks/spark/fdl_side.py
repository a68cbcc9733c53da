"""The side of fdl: one call of `fdl_spark.train` that takes blocks of steps when it is told to.

Started as `python -m benchmarks.spark.fdl_side FOLDER SYNC RANKS DOOR`; answers {"block": n} with the block's seconds,
losses and phases.
"""

import importlib
import sys
from pathlib import Path
from statistics import median
from typing import Any

import fdl
import fdl_spark
from benchmarks.spark.channel import Channel
from benchmarks.spark.turns import Block, Plan, Turns
from benchmarks.spark.work import SEED, SETTINGS, SHARDS, Work, any_engine, columns, parameters, prepared

ENDLESS = 10_000_000


def asked(channel: Channel) -> Plan:
    """A plan that comes over a channel."""
    request = channel.receive()
    while request != "stop":
        block = yield request["block"]
        channel.send(summary(block))
        request = channel.receive()


def summary(block: Block) -> dict[str, Any]:
    """What is kept of a block."""
    names = dict.fromkeys(name for record in block.records for name in record["phases"])
    return {
        "seconds": block.seconds,
        "engine": block.engine,
        "losses": [record["loss"] for record in block.records[:3]],
        "phases": {name: median(record["phases"].get(name, 0.0) for record in block.records) for name in names},
    }


def optimizer(work: Work) -> Any:
    """The optimizer of a work."""
    model = importlib.import_module(f"benchmarks.{work.model}")
    if work.model == "ncf":  # exact: rows that a step does not look up change as under a dense Adam, but later
        return fdl.optim.adam(model.RATE, sparse={"tables": True, "layers": False})
    return fdl.optim.sgd(model.RATE, momentum=0.9)


def main() -> None:
    """Train until told to stop."""
    folder, sync, ranks, door = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    work = prepared(folder)
    loss = importlib.import_module(f"benchmarks.{work.model}").functional_loss(fdl)
    fdl_spark.session("local[2]", config=SETTINGS)
    channel = Channel.connect(door)
    fdl_spark.train(
        loss,
        parameters(work),
        columns(folder),
        optimizer=optimizer(work),
        batch_size=work.batch,
        steps=ENDLESS,
        seed=SEED,
        shards=SHARDS,
        partitions=ranks,
        callbacks=[Turns(asked(channel))],
        **any_engine(sync),
    )


if __name__ == "__main__":
    main()
