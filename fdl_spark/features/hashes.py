"""Strings and whole numbers become buckets by their hash; several columns become one.

The hash is MurmurHash3 (x86, 32 bits; Appleby) of the UTF-8 bytes, the same on every machine and in every version.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fdl_spark.features.column_encoder import ColumnEncoder, IndexEncoder
from fdl_spark.features.reading import Batch, texts

SEED = 42  # Spark ML's


def hashed(
    column: str, output: str | None = None, *, buckets: int, missing: str | None = None, seed: int = SEED
) -> "Hashed":
    """One of `buckets` by the hash of a string, with the seed of Spark ML that of its HashingTF.

    Args:
      column: a column of strings, whole numbers, truth values, decimals or dates; others than strings are written as
        strings first, so that 17 and "17" are in one bucket.
      output: the name of the array, int32; None means the column's.
      buckets: how many there are.
      missing: the string that a null becomes before; None makes it an error.
      seed: of the hash; another one lets others share a bucket.

    >>> hashed("city", buckets=10).encode({"city": pa.array(["Köln", "Bonn", "Köln"])})
    {'city': array([7, 9, 7], dtype=int32)}
    """
    return Hashed(column, output, buckets, missing, seed)


@dataclass(frozen=True, repr=False)
class Hashed(IndexEncoder, kind="hashed"):
    buckets: int
    missing: str | None
    seed: int

    def check(self) -> None:
        _check(self, self.buckets, self.seed)

    @property
    def depth(self) -> int:
        return self.buckets

    def indices(self, batch: Batch) -> np.ndarray:
        encoded = texts(self.column, batch[self.column], self.missing).dictionary_encode()
        words = encoded.dictionary
        buckets = bucket_of(murmur3(words, np.full(len(words), self.seed, np.uint32)), self.buckets)
        return buckets[encoded.indices.to_numpy()]


def crossed(
    *of: "str | IndexEncoder", output: str, buckets: int, missing: str | None = None, seed: int = SEED
) -> "Crossed":
    """One of `buckets` by the hash of the values of several columns together.

    Args:
      *of: columns as `hashed` takes, and encoders that give an index, such as `bucketize("age")`.
      output: the name of the array, int32.
      buckets: how many there are.
      missing: the string that a null becomes before; None makes it an error.
      seed: of the hash of the first value, whose hash is the seed of the next one's.

    >>> encoder = crossed("city", "job", output="both", buckets=100)
    >>> encoder.encode({"city": pa.array(["Bonn", "Bonn"]), "job": pa.array(["cook", "tailor"])})
    {'both': array([80, 78], dtype=int32)}
    """
    return Crossed(of, output, buckets, missing, seed)


@dataclass(frozen=True, repr=False)
class Crossed(ColumnEncoder, kind="crossed"):
    of: tuple[str | IndexEncoder, ...]
    output: str
    buckets: int
    missing: str | None
    seed: int

    def check(self) -> None:
        self.require(len(self.of) >= 2, "give it at least two columns")
        _check(self, self.buckets, self.seed)

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(name for part in self.of for name in ((part,) if isinstance(part, str) else part.inputs))

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.output,)

    @property
    def inner(self) -> tuple[ColumnEncoder, ...]:
        return tuple(part for part in self.of if not isinstance(part, str))

    def with_inner(self, inner: tuple[ColumnEncoder, ...]) -> "Crossed":
        parts = iter(inner)
        of = tuple(part if isinstance(part, str) else next(parts) for part in self.of)
        return Crossed(of, self.output, self.buckets, self.missing, self.seed)  # type: ignore[arg-type]

    def encode(self, batch: Batch) -> dict[str, np.ndarray]:
        hashes: np.ndarray | None = None
        for part in self.of:
            if isinstance(part, str):
                words = texts(part, batch[part], self.missing)
            else:
                words = pa.array(part.indices(batch)).cast(pa.string())
            hashes = murmur3(words, np.full(len(words), self.seed, np.uint32) if hashes is None else hashes)
        assert hashes is not None
        return {self.output: bucket_of(hashes, self.buckets)}


def _check(encoder: Hashed | Crossed, buckets: int, seed: int) -> None:
    encoder.require(1 <= buckets < 1 << 31, f"buckets must be at least 1 and less than 2^31, not {buckets}")
    encoder.require(0 <= seed < 1 << 32, f"seed must be at least 0 and less than 2^32, not {seed}")


def bucket_of(hashes: np.ndarray, buckets: int) -> np.ndarray:
    """Hashes as signed numbers modulo the number of buckets, as Spark takes them."""
    return (hashes.view(np.int32) % np.int32(buckets)).astype(np.int32)


def murmur3(words: pa.Array, seeds: np.ndarray) -> np.ndarray:
    """MurmurHash3 of strings.

    Args:
      words: strings, none of them null.
      seeds: uint32 [rows].

    Returns:
      uint32 [rows].

    >>> murmur3(pa.array(["", "", "test"]), np.array([0, 1, 0x9747B28C], np.uint32))
    array([         0, 1364076727, 1883996636], dtype=uint32)
    """
    _, offsets, content = words.buffers()
    ends = np.zeros(1, np.int64)
    if len(words):
        ends = np.frombuffer(offsets, np.int32)[words.offset : words.offset + len(words) + 1].astype(np.int64)
    data = np.zeros(ends[-1] - ends[0] + 3, np.uint8)  # three more, so that bytes behind the last block can be read
    if content is not None:
        data[:-3] = np.frombuffer(content, np.uint8)[ends[0] : ends[-1]]
    lengths = np.diff(ends)
    order = np.argsort(-lengths, kind="stable")  # the rows that still have a block are always the first ones
    starts, lengths = (ends[:-1] - ends[0])[order], lengths[order]
    blocks = lengths // 4
    hashes = np.array(seeds, np.uint32)[order]
    for block in range(blocks[0] if len(blocks) else 0):
        active = slice(0, np.searchsorted(-blocks, -block))
        at = starts[active] + 4 * block
        word = sum(data[at + n].astype(np.uint32) << np.uint32(8 * n) for n in range(4))
        hashes[active] = _rotated(hashes[active] ^ _scrambled(word), 13) * np.uint32(5) + np.uint32(0xE6546B64)
    at, rest = starts + 4 * blocks, lengths % 4
    tail = np.zeros(len(at), np.uint32)
    for n in range(3):
        tail |= np.where(rest > n, data[at + n], 0).astype(np.uint32) << np.uint32(8 * n)
    hashes ^= _scrambled(tail) ^ lengths.astype(np.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        hashes = (hashes ^ (hashes >> np.uint32(shift))) * np.uint32(factor)
    result = np.empty_like(hashes)
    result[order] = hashes ^ (hashes >> np.uint32(16))
    return result


def _scrambled(word: np.ndarray) -> np.ndarray:
    return _rotated(word * np.uint32(0xCC9E2D51), 15) * np.uint32(0x1B873593)


def _rotated(x: np.ndarray, bits: int) -> np.ndarray:
    return (x << np.uint32(bits)) | (x >> np.uint32(32 - bits))
