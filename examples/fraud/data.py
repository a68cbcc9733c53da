"""The payments as a DataFrame: a row's part, and which negatives are trained on."""

from typing import Any

import numpy as np
import pyarrow as pa

import fdl_spark

COMPONENTS = tuple(f"v{number}" for number in range(1, 29))
TRAIN, VALIDATION, TEST = 0, 1, 2
SHARES = {VALIDATION: (0.6, 0.8), TEST: (0.8, 1.0)}  # of the rows


def payments(spark: Any, table: pa.Table, by: str = "time", seed: int = 0) -> Any:
    """A DataFrame with the columns that the pipeline reads.

    Args:
      spark: the session.
      table: of `examples.data.payments.card_fraud`.
      by: "time": the first 60 % of the payments are trained on, 20 % choose, the last 20 % are the test. "rows": as
        many of each, drawn by the seed.
      seed: of the draw.

    Returns:
      v1 to v28; `hour` of the day from the first payment's; `log_amount`; `amount`; `row`; `part`; `fraud` as text.
    """
    rows = table.num_rows
    place = (np.arange(rows) if by == "time" else np.random.default_rng(seed).permutation(rows)) / rows
    part = np.zeros(rows, np.int32)
    for number, (first, last) in SHARES.items():
        part[(place >= first) & (place < last)] = number
    amount = table["amount"].to_numpy()
    columns: dict[str, Any] = {name: table[name] for name in COMPONENTS}
    columns |= {"hour": table["time"].to_numpy() / 3600 % 24, "log_amount": np.log1p(amount), "amount": amount}
    columns |= {"row": np.arange(rows), "part": part, "fraud": np.where(table["fraud"].to_numpy() == 1, "yes", "no")}
    return fdl_spark.dataframe(columns, spark)


def thinned(frame: Any, share: int, seed: int = 0) -> Any:
    """Training rows without most of the negatives: one in `share` of them stays, with that weight.

    Which ones stay follows from seed and `row`, whatever the partitions. What is not trained on stays as it is.

    Args:
      frame: a DataFrame with `fraud`, `part` and `row`.
      share: how many negatives each one that stays stands for.
      seed: of the choice.

    Returns:
      The rows with a column `weight`.
    """
    from pyspark.sql import functions as F

    negative = (F.col("fraud") == "no") & (F.col("part") == TRAIN)
    chosen = F.pmod(F.xxhash64("row", F.lit(seed)), F.lit(share)) == 0
    return frame.where(~negative | chosen).withColumn("weight", F.when(negative, float(share)).otherwise(1.0))
