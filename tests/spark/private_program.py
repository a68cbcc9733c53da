"""Trains, evaluates and predicts in a session of its own settings, and prints the bits.

python private_program.py MASTER FLOATS [NAME=VALUE ...]
"""

import hashlib
import sys

import numpy as np

import fdl.numpy as fnp
import fdl_spark
from fdl import optim


def loss(params, batch):
    return ((batch["x"] @ params["w"][:3] - batch["y"]) ** 2).mean() + 1e-3 * fnp.sum(params["w"] ** 2)


def main(master, floats, settings):
    spark = fdl_spark.session(master, config={"spark.ui.enabled": "false", **settings})
    random = np.random.default_rng(0)
    data = {"x": random.standard_normal((60, 3)).astype(np.float32), "y": np.ones(60, np.float32)}
    params = {"w": random.standard_normal(floats).astype(np.float32)}
    whole = optim.chain(optim.clip_by_global_norm(1.0), optim.adam(0.1))
    for optimizer in (optim.adam(0.1), whole):
        digests = set()
        for sync in ("driver", "shuffle"):
            options = {"optimizer": optimizer, "batch_size": 30, "steps": 2, "shards": 2, "sync": sync}
            run = fdl_spark.train(loss, params, data, validation=data, **options)
            losses = repr([run.history.loss, run.history.epochs[-1]["validation"]]).encode()
            digests.add(hashlib.sha256(np.asarray(run.params["w"]).tobytes() + losses).hexdigest())
        print("trained", *digests)
    means = fdl_spark.evaluate(loss, params, data)
    frame = spark.createDataFrame([(row.tolist(),) for row in data["x"]], "x array<float>")
    rows = fdl_spark.predict(lambda params, batch: batch["x"] @ params["w"][:3], params, frame).collect()
    print("evaluated", repr(means))
    print("predicted", [row.prediction for row in rows])
    return spark


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), dict(setting.split("=", 1) for setting in sys.argv[3:])).stop()
