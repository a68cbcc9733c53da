"""Payments, and which of them were frauds."""

import pyarrow as pa
from pyarrow import csv

from examples.data.cache import fetch


def card_fraud() -> pa.Table:
    """284,807 payments by card of two days in September 2013: `time`, `v1` to `v28`, `amount` (float64) and `fraud`.

    `time` is in seconds from the first payment, by which the rows are sorted; `v1` to `v28` are principal components of
    what is not told; `amount` is in euros; `fraud` (int32) is 1 for 492 of them.

    Source: Dal Pozzolo, Caelen, Johnson and Bontempi, "Calibrating probability with undersampling for unbalanced
    classification", CIDM 2015; Worldline and ULB.

    Raises:
      DataError: the set cannot be had.
    """
    path = fetch("card-fraud") / "creditcard.csv"
    names = csv.open_csv(path).schema.names
    types = dict.fromkeys(names, pa.float64()) | {"Class": pa.int32()}
    table = csv.read_csv(path, convert_options=csv.ConvertOptions(column_types=types))
    return table.rename_columns([*(name.lower() for name in names[:-1]), "fraud"])
