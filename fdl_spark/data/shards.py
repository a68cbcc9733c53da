"""Logical shards and the batch schedule: which rows take part in which step, as pure functions of a seed.

Row i of the data (its position in the input, partitions in order) is dealt to slot `permute(i) // S` of shard
`permute(i) % S`, where `permute` is a keyed bijection: shards differ in size by at most one row and do not depend on
how the input is partitioned. In every epoch each shard visits its slots in an order of its own, again by a keyed
bijection, and step t of the epoch takes the places t*B ... (t+1)*B - 1 of the deck in which place q is visit `q // S`
of shard `q % S`. So every row takes part exactly once per epoch, all batches but the last have exactly B rows, and a
shard's share of them is B // S rows or one more: two shapes, whatever B and S are. The last batch can be left out: it
has other rows in every epoch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

ROUNDS = 6
# Visits that are worked out at once: NumPy takes as long for a few numbers as for hundreds. Of few steps, so that many
# shards in one process do not fill its memory.
WINDOW, WINDOW_STEPS = 4096, 64


@dataclass(frozen=True)
class Schedule:
    """The rows of every step.

    Attributes:
      rows: number of rows N of the data.
      batch_size: rows B of a global batch.
      shards: number of logical shards S.
      seed: the seed that all choices follow from.
      drop_remainder: whether a batch of fewer rows at the end of an epoch is left out.
    """

    rows: int
    batch_size: int
    shards: int
    seed: int
    drop_remainder: bool = False

    @property
    def steps_per_epoch(self) -> int:
        return self.rows // self.batch_size if self.drop_remainder else -(-self.rows // self.batch_size)

    def shard_rows(self, shard: int) -> int:
        """How many rows a shard holds."""
        return _places_below(self.rows, shard, self.shards)

    def first_row(self, shard: int) -> int:
        """How many rows the shards before a shard hold."""
        return shard * (self.rows // self.shards) + min(shard, self.rows % self.shards)

    def batch_rows(self, step: int) -> int:
        """How many rows the global batch of a step holds."""
        first, end = self._deck(step)
        return end - first

    def slots(self, step: int, shard: int) -> np.ndarray:
        """The slots of a shard that take part in a step.

        Args:
          step: counted from 0 over all epochs.
          shard: 0 ... S - 1.

        Returns:
          An int64 array, read-only; it may be empty if the batch has fewer rows than there are shards.
        """
        first, end = (_places_below(place, shard, self.shards) for place in self._deck(step))
        length = min(WINDOW, WINDOW_STEPS * -(-self.batch_size // self.shards))
        key = self.seed, 1, step // self.steps_per_epoch, shard
        parts = []
        while first < end:
            number, offset = divmod(first, length)
            part = _visits(key, self.shard_rows(shard), number * length, length)[offset : offset + end - first]
            parts.append(part)
            first += part.size
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int64), *parts])

    def deal(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The (shard, slot) of each row index."""
        dealt = permute(rows, self.rows, (self.seed, 0))
        return dealt % self.shards, dealt // self.shards

    def row_numbers(self, shard: int, slots: np.ndarray) -> np.ndarray:
        """The row index that was dealt to each slot of a shard, as words of 32 bits, the highest first.

        Returns:
          A uint32 array (slots, words); one word unless the data has more than 2^32 rows.
        """
        rows = unpermute(slots * self.shards + shard, self.rows, (self.seed, 0)).astype(np.uint64)
        return np.stack([rows >> np.uint64(32 * word) for word in reversed(range(self.words))], axis=1).astype(
            np.uint32
        )

    @property
    def words(self) -> int:
        """How many words of 32 bits a row index takes."""
        return 1 if self.rows <= 1 << 32 else 2

    def _deck(self, step: int) -> tuple[int, int]:
        first = step % self.steps_per_epoch * self.batch_size
        return first, min(first + self.batch_size, self.rows)


def owned(task: int, tasks: int, shards: int) -> range:
    """The contiguous run of shards that a task owns."""
    return range(task * shards // tasks, (task + 1) * shards // tasks)


def permute(index: np.ndarray, size: int, key: tuple[int, ...]) -> np.ndarray:
    """A keyed bijection of 0 ... size - 1, evaluated at `index` only, so that no permutation has to be stored.

    A Feistel network over Z_a x Z_b with a*b just above `size`, walked until it lands below `size`
    (Black and Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA 2002).

    Args:
      index: int64 array of numbers below `size`.
      size: the size of the domain.
      key: integers that choose the bijection.

    Returns:
      An int64 array of `index`'s shape.

    >>> sorted(permute(np.arange(10), 10, (7,)).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    keys = _round_keys(key)

    def network(left: np.ndarray, right: np.ndarray, high: int, low: int) -> tuple[np.ndarray, np.ndarray]:
        for turn in range(0, ROUNDS, 2):
            left = (left + _mix(right, keys[turn], high)) % high
            right = (right + _mix(left, keys[turn + 1], low)) % low
        return left, right

    return _walked(index, size, network)


def unpermute(index: np.ndarray, size: int, key: tuple[int, ...]) -> np.ndarray:
    """The inverse of `permute`: the same rounds backwards, walked until they land below `size`.

    >>> unpermute(permute(np.arange(5), 5, (7,)), 5, (7,)).tolist()
    [0, 1, 2, 3, 4]
    """
    keys = _round_keys(key)

    def network(left: np.ndarray, right: np.ndarray, high: int, low: int) -> tuple[np.ndarray, np.ndarray]:
        for turn in reversed(range(0, ROUNDS, 2)):
            right = (right - _mix(left, keys[turn + 1], low)) % low
            left = (left - _mix(right, keys[turn], high)) % high
        return left, right

    return _walked(index, size, network)


def _walked(index: np.ndarray, size: int, network: Callable[..., tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    high = max(1, int(np.ceil(np.sqrt(size))))
    low = max(1, -(-size // high))
    result = np.array(index, np.int64)
    walking = np.arange(result.size)
    while walking.size:
        left, right = network(*np.divmod(result[walking], low), high, low)
        result[walking] = left * low + right
        walking = walking[result[walking] >= size]
    return result


@lru_cache(512)
def _visits(key: tuple[int, ...], size: int, first: int, length: int) -> np.ndarray:
    """The slots of so many visits of a shard with `size` rows, or as many as it has, from one on."""
    slots = permute(np.arange(first, min(first + length, size)), size, key)
    slots.flags.writeable = False
    return slots


def _places_below(place: int, shard: int, shards: int) -> int:
    return (place - shard + shards - 1) // shards


def _round_keys(key: tuple[int, ...]) -> np.ndarray:
    return np.random.SeedSequence([part % 2**64 for part in key]).generate_state(ROUNDS, np.uint64)


def _mix(value: np.ndarray, key: np.uint64, size: int) -> np.ndarray:
    """A number below `size` from each value: the finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    bits = value.astype(np.uint64) ^ key
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((bits ^ (bits >> np.uint64(31))) % np.uint64(size)).astype(np.int64)
