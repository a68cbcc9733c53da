"""How many rows a second encoders encode on one core, and how long fitting takes without Spark.

python -m benchmarks.spark.features [--rows 1000000] [--batch 10000]
"""

import argparse
import time

import numpy as np
import pyarrow as pa

from fdl_spark import features


def table_of(rows: int) -> pa.Table:
    random = np.random.default_rng(0)
    words = np.array([f"word {n}" for n in range(50_000)])
    few, many = words[random.integers(0, 100, rows)], words[np.minimum(random.zipf(1.3, rows), 50_000) - 1]
    return pa.table(
        {
            "x": random.normal(size=rows),
            "nullable": pa.array(random.normal(size=rows), mask=random.random(rows) < 0.1),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(random.normal(size=8 * rows).astype(np.float32)), 8),
            "few": few,
            "many": many,
            "unique": pa.array([f"user {n}" for n in range(rows)]),
            "when": pa.array(random.integers(0, 2 * 10**15, rows), pa.timestamp("us", "UTC")),
            "list": pa.array([list(range(n)) for n in random.integers(0, 8, rows)], pa.list_(pa.int32())),
            "text": [" ".join(pair) for pair in zip(few, many, strict=True)],
        }
    )


ENCODERS = {
    "numeric": features.numeric("x"),
    "standardise": features.standardise("x"),
    "standardise, nulls": features.standardise("nullable", missing="mean"),
    "standardise, 8 numbers": features.standardise("vector"),
    "impute, median": features.impute("nullable", strategy="median"),
    "bucketize, 10": features.bucketize("x"),
    "vocabulary, 100 words": features.vocabulary("few"),
    "vocabulary, 50,000 words": features.vocabulary("many"),
    "hashed, 100 words": features.hashed("few", buckets=1000),
    "hashed, all unlike": features.hashed("unique", buckets=1000),
    "crossed": features.crossed("few", "many", output="cross", buckets=1000),
    "one hot, 100": features.one_hot("few"),
    "date parts": features.date_parts("when"),
    "pad, 0 to 7 numbers": features.pad("list", length=5, dtype="int32"),
    "tokenise, 4 tokens": features.tokenise("text", length=4, size=10_000),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=10_000)
    arguments = parser.parse_args()
    table = table_of(arguments.rows)
    batches = table.to_batches(max_chunksize=arguments.batch)
    for name, encoder in ENCODERS.items():
        start = time.process_time()
        fitted = features.fit([encoder], table)
        middle = time.process_time()
        for batch in batches:
            fitted.encode(batch)
        end = time.process_time()
        rate = arguments.rows / (end - middle) / 1e6
        print(f"{name:26} fit {middle - start:6.2f} s   encode {rate:7.2f} M rows/s")


if __name__ == "__main__":
    main()
