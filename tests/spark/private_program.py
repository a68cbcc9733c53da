"""Trains, evaluates and predicts in a session of its own settings, and prints the bits.

python private_program.py MASTER FLOATS [NAME=VALUE ...]
"""

import hashlib
import os
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

import fdl.numpy as fnp
import fdl_spark
from fdl import optim


class Look(fdl_spark.Callback):
    """Looks, after the last step, for what training keeps in the files of Spark's local directories."""

    def __init__(self, spark):
        self.context, self.found = spark.sparkContext, set()

    def step(self, run, record):
        if run.step == run.steps:
            state = run.optimizer_state
            told = {"params": np.asarray(run.params["w"])} | {
                name: leaf for name, leaf in state.items() if leaf.size > 99
            }
            wanted = {name: leaf.reshape(-1)[64:128].tobytes() for name, leaf in told.items()}
            look = partial(readable, wanted, self.context._temp_dir)
            self.found |= set(self.context.parallelize(range(4), 4).flatMap(look).collect())


def readable(wanted, temporary, _):
    for root in (temporary, *os.environ["SPARK_LOCAL_DIRS"].split(",")):
        for folder, _, names in os.walk(root):
            for name in names:
                with suppress(OSError):  # what Spark deletes meanwhile
                    content = Path(folder, name).read_bytes()
                    yield from (name for name, part in wanted.items() if part in content)


def loss(params, batch):
    return ((batch["x"] @ params["w"][:3] - batch["y"]) ** 2).mean() + 1e-3 * fnp.sum(params["w"] ** 2)


def main(master, floats, settings):
    spark = fdl_spark.session(master, config={"spark.ui.enabled": "false", **settings})
    random = np.random.default_rng(0)
    data = {"x": random.standard_normal((60, 3)).astype(np.float32), "y": np.ones(60, np.float32)}
    params = {"w": random.standard_normal(floats).astype(np.float32)}
    whole = optim.chain(optim.clip_by_global_norm(1.0), optim.adam(0.1))
    found = set()
    for optimizer in (optim.adam(0.1), whole):
        digests = set()
        for sync in ("driver", "shuffle"):
            options = {"optimizer": optimizer, "batch_size": 30, "steps": 2, "shards": 2, "sync": sync}
            look = Look(spark)
            run = fdl_spark.train(loss, params, data, validation=data, callbacks=[look], **options)
            found |= look.found
            losses = repr([run.history.loss, run.history.epochs[-1]["validation"]]).encode()
            digests.add(hashlib.sha256(np.asarray(run.params["w"]).tobytes() + losses).hexdigest())
        print("trained", *digests)
    rounded = {"optimizer": optim.adam(0.1), "batch_size": 30, "steps": 2, "shards": 2, "wire": "bfloat16"}
    look = Look(spark)
    for sync in ("driver", "shuffle", "blocks"):
        run = fdl_spark.train(loss, params, data, sync=sync, callbacks=[look], **rounded)
        print("rounded", hashlib.sha256(np.asarray(run.params["w"]).tobytes()).hexdigest())
    print("readable", *sorted(found | look.found))
    means = fdl_spark.evaluate(loss, params, data)
    frame = spark.createDataFrame([(row.tolist(),) for row in data["x"]], "x array<float>")
    rows = fdl_spark.predict(lambda params, batch: batch["x"] @ params["w"][:3], params, frame).collect()
    print("evaluated", repr(means))
    print("predicted", [row.prediction for row in rows])
    return spark


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), dict(setting.split("=", 1) for setting in sys.argv[3:])).stop()
