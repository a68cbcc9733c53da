"""Searches and metrics measured: `python -m benchmarks.spark.search`.

Trials a second of a search over small models, beside as many calls of `train`; and the AUC of ten million rows.
"""

import time
from typing import Any

import numpy as np

import fdl.numpy as fnp
import fdl_spark
from fdl import optim
from fdl_spark import metrics

TRIALS, SINGLES, ROWS, EPOCHS, BATCH = 64, 8, 10_000, 3, 256
SCORES = 10_000_000


def make(rate: float) -> dict[str, Any]:
    """A classifier of 32 features with a hidden layer of 64."""
    random = np.random.default_rng(0)
    params = {
        "w": (random.normal(size=(32, 64)) / 6).astype(np.float32),
        "v": (random.normal(size=(64, 1)) / 8).astype(np.float32),
    }

    def loss(params: Any, batch: Any) -> Any:
        logits = (fnp.tanh(batch["x"] @ params["w"]) @ params["v"])[:, 0]
        return fnp.mean(fnp.log1p(fnp.exp(-fnp.abs(logits))) + fnp.maximum(logits, 0) - logits * batch["y"])

    return {"loss": loss, "params": params, "optimizer": optim.adam(rate)}


def main() -> None:
    """Print what takes how long."""
    spark = fdl_spark.session("local[2]")
    random = np.random.default_rng(1)
    x = random.normal(size=(ROWS, 32)).astype(np.float32)
    data = {"x": x, "y": (x[:, 0] * x[:, 1] > 0).astype(np.float32)}
    rates = np.geomspace(1e-4, 1e-1, TRIALS).tolist()
    options: dict[str, Any] = {"batch_size": BATCH, "epochs": EPOCHS, "shards": 2}
    fdl_spark.search(make, {"rate": rates[:2]}, data, **options)  # workers have started, and compiled the gradient
    for name, more in (("all combinations", {}), ("successive halving", {"halving": 4, "epochs": 16})):
        began = time.perf_counter()
        found = fdl_spark.search(make, {"rate": rates}, data, **options | more)
        seconds = time.perf_counter() - began
        inside = sorted(trial.seconds for trial in found.trials)
        print(
            f"search, {name}: {TRIALS} trials in {seconds:.2f} s; a trial's median {inside[TRIALS // 2]:.3f} s; {found}"
        )
    began = time.perf_counter()
    for rate in rates[:SINGLES]:
        made = make(rate)
        fdl_spark.train(made["loss"], made["params"], data, optimizer=made["optimizer"], **options)
    print(f"train: {SINGLES} calls in {time.perf_counter() - began:.2f} s")
    scores = random.random(SCORES, dtype=np.float32)
    wide = {"score": scores, "y": (random.random(SCORES) < scores).astype(np.int8)}
    began = time.perf_counter()
    found_auc = fdl_spark.evaluate({"auc": metrics.auc("score", "y")}, {}, wide, batch_size=1 << 16)
    print(
        f"AUC of {SCORES:,} rows: {found_auc['auc']:.6f} in {time.perf_counter() - began:.2f} s with reading the data"
    )
    began = time.perf_counter()
    metrics.auc("score", "y")(None, wide)
    print(f"the same in this process: {time.perf_counter() - began:.2f} s")
    spark.stop()


if __name__ == "__main__":
    main()
