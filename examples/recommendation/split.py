"""What is trained on and what is held out: everybody's last rating, ranked among films that they have not rated.

Source: He et al., "Neural collaborative filtering", WWW 2017, section 4.1; and the rules of MLPerf 0.5.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

import fdl_spark
from examples.command import without_pandas_warning

SHORTEST = 20  # ratings of a user; MLPerf leaves out users with fewer, and MovieLens has none


@dataclass(frozen=True)
class Split:
    """Ratings as events, whatever the number of stars; users and items are numbered from 0.

    Attributes:
      users, items: how many.
      train: a table of user and item (int32), the rows of the file but for the held-out ones, in its order.
      held_out: a table of user, item, and all items that the user has rated (a list), by user.
    """

    users: int
    items: int
    train: pa.Table
    held_out: pa.Table


def leave_one_out(ratings: pa.Table) -> Split:
    """Hold out everybody's last rating: of those at the same time, the one that is last in the table.

    Args:
      ratings: a table of user, item and timestamp.

    >>> table = pa.table({"user": [7, 7, 7] * 7, "item": range(21), "timestamp": [5, 9, 1] * 7})
    >>> split = leave_one_out(table)
    >>> split.users, split.items, split.train.num_rows, split.held_out["item"].to_pylist()
    (1, 21, 20, [19])
    """
    columns = [ratings[name].to_numpy() for name in ("user", "item", "timestamp")]
    _, inverse, counts = np.unique(columns[0], return_inverse=True, return_counts=True)
    user, item, time = (column[counts[inverse] >= SHORTEST] for column in columns)
    names, user = np.unique(user, return_inverse=True)
    films, item = np.unique(item, return_inverse=True)
    user, item = user.astype(np.int32), item.astype(np.int32)
    order = np.lexsort((time, user))  # stable: equal times stay in the order of the table
    ends = np.cumsum(np.bincount(user, minlength=len(names)))
    last = order[ends - 1]
    rest = np.ones(len(user), bool)
    rest[last] = False
    offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    return Split(
        len(names),
        len(films),
        pa.table({"user": user[rest], "item": item[rest]}),
        pa.table({"user": user[last], "item": item[last], "seen": pa.ListArray.from_arrays(offsets, item[order])}),
    )


def candidates(spark: Any, split: Split, negatives: int, seed: int) -> Any:
    """A DataFrame with a list for every user: the held-out item first, then items that the user has not rated.

    They are drawn on the executors, without replacement, by the seed and the user alone. Who has left fewer has lists
    that end in -1.

    Args:
      spark: the session.
      split: of the ratings.
      negatives: how many items are drawn for a user.
      seed: of the draws.

    Returns:
      Columns user (int) and item (array of 1 + negatives ints).
    """
    draw = drawing(split.items, negatives, seed)
    with without_pandas_warning():
        return fdl_spark.dataframe(split.held_out, spark).mapInArrow(draw, "user int, item array<int>")


def drawing(items: int, negatives: int, seed: int) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that makes lists of record batches; one inside, so that it travels to workers by value."""

    def draw(batches):
        for batch in batches:
            lists = np.full((len(batch), 1 + negatives), -1, np.int32)
            lists[:, 0] = batch["item"].to_numpy()
            for row, user, seen in zip(lists, batch["user"].to_numpy(), batch["seen"], strict=True):
                left = np.ones(items, bool)
                left[seen.values.to_numpy()] = False
                unseen = np.flatnonzero(left)
                rng = np.random.default_rng([seed, int(user)])
                drawn = rng.choice(unseen, min(negatives, len(unseen)), replace=False)
                row[1 : 1 + len(drawn)] = drawn
            offsets = np.arange(len(batch) + 1, dtype=np.int32) * (1 + negatives)
            column = pa.ListArray.from_arrays(pa.array(offsets), lists.ravel())
            yield pa.RecordBatch.from_arrays([batch["user"], column], ["user", "item"])

    return draw
