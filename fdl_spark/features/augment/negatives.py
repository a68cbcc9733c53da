"""Pairs of a user and items that the user has not seen."""

from dataclasses import dataclass
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import random
from fdl_spark.features.augment.row import Row, taken
from fdl_spark.features.params import Params


def negatives(
    items: int, *, user: str, item: str, count: int, label: str = "label", seen: str | None = None
) -> "Negatives":
    """An interaction of a user and an item, and `count` pairs of this user and random other items.

    The arrays of the user and the item get an axis of count + 1, in which the interaction is first, and the label is 1
    there and 0 elsewhere. Each item that is allowed is drawn with one probability, independently.

    Args:
      items: how many there are; an item is a number from 0 to items - 1.
      user: the column of the user, which is repeated.
      item: the column of the item, a whole number.
      count: how many pairs are drawn.
      label: the new column, float32.
      seen: a column of items that this user is not given, as `features.pad` makes it, with its mask; None: only the
        row's own item. A user who has seen all items is given one at random.

    >>> row = {"user": fnp.array(7), "item": fnp.array(2)}
    >>> drawn = negatives(3, user="user", item="item", count=4)(random.key(0), row)
    >>> drawn["user"], drawn["label"], 2 in drawn["item"][1:].tolist()
    (Array([7, 7, 7, 7, 7], dtype=int32), Array([1., 0., 0., 0., 0.], dtype=float32), False)
    """
    return Negatives(items, user, item, count, label, seen)


@dataclass(frozen=True, repr=False)
class Negatives(Params, kind="negatives"):
    items: int
    user: str
    item: str
    count: int
    label: str
    seen: str | None

    def check(self) -> None:
        self.require(2 <= self.items < 1 << 30, f"items must be at least 2 and less than 2^30, not {self.items}")
        self.require(self.count >= 1, f"count must be at least 1, not {self.count}")
        names = [self.user, self.item, self.label]
        self.require(len(set(names)) == 3, f"user, item and label must be three columns, not {names}")

    def __call__(self, key: Any, row: Row) -> dict[str, Any]:
        item = taken(row, self.item, self.kind)
        self.require(
            item.ndim == 0 and fnp.issubdtype(item.dtype, fnp.integer),
            f"{self.item!r} must be a whole number in each row, not {item.dtype}{list(item.shape)}",
        )
        drawn = self._unseen(key, item, row).astype(item.dtype)
        label = np.zeros(self.count + 1, np.float32)
        label[0] = 1
        user = fnp.asarray(taken(row, self.user, self.kind))
        return {
            **row,
            self.user: fnp.broadcast_to(user, (self.count + 1, *user.shape)),
            self.item: fnp.concatenate([item[None], drawn]),
            self.label: fnp.asarray(label),
        }

    def _unseen(self, key: Any, item: Any, row: Row) -> Any:
        """Items of which none was seen: the r-th of them, for random r."""
        known = item.astype(fnp.int32)[None]
        if self.seen is not None:
            there = taken(row, f"{self.seen}_mask", self.kind)
            seen = fnp.where(there, taken(row, self.seen, self.kind).astype(fnp.int32), self.items)
            known = fnp.sort(fnp.concatenate([known, seen]))
            twice = fnp.concatenate([fnp.zeros(1, bool), known[1:] == known[:-1]])
            known = fnp.sort(fnp.where(twice, self.items, known))
        found = (known < self.items).sum()
        rank = random.randint(key, (self.count,), 0, fnp.where(found < self.items, self.items - found, self.items))
        # The r-th is r and as many as the known ones below it: the i-th known k has k - i that are not known below it.
        below = known - fnp.arange(len(known)) <= rank[:, None]
        unseen = rank + (below & (known < self.items)).sum(axis=1)
        return fnp.where(found < self.items, unseen, rank)
