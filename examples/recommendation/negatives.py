"""Films that somebody has not rated, drawn on the executors, others in each epoch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import fdl
import fdl.numpy as fnp

BITS = 1 << 28  # of the largest filter: 32 MiB
TRIES = 6  # drawn for one negative; the first that was not rated is taken, or else the last
MIX = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)  # odd multipliers, those of xxHash


@dataclass(frozen=True)
class Seen:
    """Which pairs of user and item are in the training data, as bits.

    A table of all pairs if they have at most `BITS`; else a Bloom filter of two hashes (Bloom, 1970), which never
    misses a pair, and takes about 2 % of others for one at the sizes of MovieLens-20M.

    Attributes:
      items: how many.
      words: the bits, uint32.
      exact: whether it is a table.
    """

    items: int
    words: np.ndarray
    exact: bool

    @classmethod
    def of(cls, user: np.ndarray, item: np.ndarray, users: int, items: int, bits: int = BITS) -> "Seen":
        """The filter of pairs.

        Args:
          user, item: (n,) int32, of each pair.
          users, items: how many.
          bits: of the filter, a power of two of 32 at least; a table has no more.
        """
        exact = users * items <= bits
        words = np.zeros(-(-(users * items) // 32) if exact else bits // 32, np.uint32)
        empty = cls(items, words, exact)
        for place in empty._places(np, user, item):
            np.bitwise_or.at(words, place >> 5, np.uint32(1) << (place & 31).astype(np.uint32))
        return empty

    def __call__(self, user: Any, item: Any) -> Any:
        """Whether pairs of integers, arrays of fdl that broadcast, are in the data (or taken for it)."""
        words, found = fnp.asarray(self.words), True
        for place in self._places(fnp, user, item):
            bit = (words[fnp.right_shift(place, 5).astype(fnp.int32)] >> (place & 31).astype(fnp.uint32)) & 1
            found = found & (bit == 1)
        return found

    def _places(self, xp: Any, user: Any, item: Any) -> list[Any]:
        """The numbers of a pair's bits."""
        if self.exact:
            return [user * self.items + item]
        mask = np.uint32(32 * len(self.words) - 1)
        u, i = user.astype(xp.uint32), item.astype(xp.uint32)
        hashed = (u * np.uint32(MIX[0])) ^ (i * np.uint32(MIX[1]))
        hashed = (hashed ^ (hashed >> np.uint32(15))) * np.uint32(MIX[2])
        other = (hashed ^ (hashed >> np.uint32(13))) * np.uint32(MIX[0]) + i
        return [(hashed ^ (hashed >> np.uint32(16))) & mask, (other ^ (other >> np.uint32(16))) & mask]


def with_negatives(seen: Seen, count: int) -> Callable[[Any, dict], dict]:
    """A function for `fdl_spark.train(augment=)`: (key, row) -> the row, whose item is followed by `count` others.

    The key is a function of seed, epoch and row, so that each epoch has others, and the same ones on any cluster.
    """

    def augment(key, row):
        drawn = fdl.random.randint(key, (count, TRIES), 0, seen.items)
        known = seen(row["user"], drawn)
        first = fnp.argmin(known, axis=1) + (TRIES - 1) * fnp.all(known, axis=1)
        chosen = fnp.take_along_axis(drawn, first[:, None], axis=1)[:, 0]
        return {"user": row["user"], "item": fnp.concatenate([row["item"][None], chosen])}

    return augment
