"""Random bits from keys: Threefry-2x32 with 20 rounds, used as a counter-based generator.

A key is two 32-bit words. Everything here is one function of (key, 64-bit counter) to two words,

    word0, word1 = threefry2x32(key, (counter >> 32, counter & 0xffffffff)),

so element i of a draw depends on the key and on i alone: parts of an array can be drawn anywhere, in any order.

That is JAX's layout of today. In its older one, `jax_threefry_partitionable=False`, the 32-bit counters 0 .. n - 1 of a
draw of n words are cut in two halves (a zero is appended to an odd number), which are the two counters of each call:
element i then depends on n, too. Operations hold as `halves` that they draw so.

Method: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
"""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from fdl import dtypes
from fdl.config import config
from fdl.core.primitive import Primitive
from fdl.core.types import TensorType
from fdl.errors import DtypeError, ShapeError
from fdl.ops.elementwise import Unary, check_elementwise
from fdl.ops.shape import all_batched

#: Bits of the mantissa by dtype.
MANTISSA = {dtypes.bfloat16: 7, dtypes.float16: 10, dtypes.float32: 23, dtypes.float64: 52}
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
_WORD = 0xFFFFFFFF
_BLOCK, _FEW = 1 << 14, 8


class RandomPrimitive(Primitive, abstract=True):
    """No operand is differentiable."""

    exact = True
    lowering_kind = "random"

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return self(*primals), None


class RandomBits(RandomPrimitive):
    """Unsigned integers of ``width`` bits; the result has the shape of the keys followed by ``shape``.

    Element (k, i), where i is the row-major index within ``shape``, comes from the words of key k at counter i:
    ``word0 << 32 | word1`` for 64 bits, else the low bits of ``word0 ^ word1``. In halves, the elements are parts of
    one sequence of words, of which the low bits are the first; one of 64 bits is a word of the first half of the
    sequence and one of the second.
    """

    shape: tuple[int, ...]
    width: int
    halves: bool = False

    @property
    def words(self) -> int:
        """How many words are drawn for one key in halves."""
        return -(-prod(self.shape) * self.width // 32)

    def result(self, *types: TensorType) -> TensorType:
        (keys,) = types
        _check_keys(self, keys)
        _check_count(self, self.words if self.halves else 0)
        return TensorType(keys.shape + self.shape, np.dtype(f"uint{self.width}"))

    def reference(self, keys: np.ndarray) -> np.ndarray:
        if self.halves:
            words = _halves(keys, self.words)
            if self.width == 64:
                first, second = np.split(words.astype(np.uint64), 2, axis=-1)
                bits = first << np.uint64(32) | second
            else:
                bits = words.astype("<u4").view(f"<u{self.width // 8}")[:, : prod(self.shape)]
            return bits.astype(f"uint{self.width}").reshape(keys.shape + self.shape)
        out = np.empty((keys.size, prod(self.shape)), f"uint{self.width}")
        for columns, word0, word1 in _blocks(keys, out.shape[1]):
            if self.width == 64:
                out[:, columns] = word0.astype(np.uint64) << np.uint64(32) | word1
            else:
                out[:, columns] = (word0 ^ word1).astype(out.dtype)
        return out.reshape(keys.shape + self.shape)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return self(args[0])

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for width in (8, 16, 32, 64):
            for halves in (False, True):
                yield RandomBits((3, 5), width, halves), _draw_keys(rng, (2,))
        yield RandomBits((), 32), _draw_keys(rng, ())
        yield RandomBits((0, 2), 32), _draw_keys(rng, (3,))


class RandomSplit(RandomPrimitive):
    """New keys in the shape of the keys followed by ``shape``: key i has the words at counter i.

    In halves, it has two words next to each other of the sequence.
    """

    shape: tuple[int, ...]
    halves: bool = False

    @property
    def words(self) -> int:
        """How many words are drawn for one key."""
        return 2 * prod(self.shape)

    def result(self, *types: TensorType) -> TensorType:
        (keys,) = types
        _check_keys(self, keys)
        _check_count(self, self.words if self.halves else 0)
        return TensorType(keys.shape + self.shape, dtypes.key)

    def reference(self, keys: np.ndarray) -> np.ndarray:
        if self.halves:
            words = _halves(keys, self.words).reshape(*keys.shape, *self.shape, 2)
            return as_keys(words[..., 0], words[..., 1])
        out = np.empty((keys.size, prod(self.shape)), dtypes.key)
        for columns, word0, word1 in _blocks(keys, out.shape[1]):
            out["word0"][:, columns], out["word1"][:, columns] = word0, word1
        return out.reshape(keys.shape + self.shape)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return self(args[0])

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield RandomSplit((4,)), _draw_keys(rng, (2,))
        yield RandomSplit((2, 3)), _draw_keys(rng, ())
        yield RandomSplit((2, 3), halves=True), _draw_keys(rng, (2,))


class RandomFoldIn(RandomPrimitive):
    """Elementwise: the key made of the words of a key at counter ``data`` (uint32)."""

    def result(self, *types: TensorType) -> TensorType:
        keys, data = types
        _check_keys(self, keys)
        if data.dtype != dtypes.uint32 or data.shape != keys.shape:
            raise ShapeError(f"random_fold_in needs one uint32 per key, got {keys} and {data}")
        return keys

    def reference(self, keys: np.ndarray, data: np.ndarray) -> np.ndarray:
        return as_keys(*threefry2x32(keys["word0"], keys["word1"], np.zeros_like(data), data))

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return self(*all_batched(size, args, batched))

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for shape in ((), (3,)):
            yield RandomFoldIn(), _draw_keys(rng, shape), rng.integers(0, 2**32, shape, np.uint32)


class UnitInterval(Unary):
    """Uniform numbers in [0, 1) from uniform bits: the highest bits as the mantissa of a number in [1, 2), minus one.

    Bits are as wide as the float, but for bfloat16, which needs eight only.
    """

    exact = True
    domain = dtypes.UNSIGNED
    dtype: np.dtype

    @property
    def mantissa(self) -> int:
        """Bits of the mantissa."""
        return MANTISSA[self.dtype]

    def result(self, *types: TensorType) -> TensorType:
        check_elementwise(self, types, 1, self.domain)
        if self.dtype not in MANTISSA or 8 * types[0].dtype.itemsize != bit_width(self.dtype):
            raise DtypeError(f"unit_interval makes {self.dtype} from other bits than {types[0]}")
        return TensorType(types[0].shape, self.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        one = np.ones((), self.dtype)
        wide = x.astype(f"uint{8 * self.dtype.itemsize}")
        wide = np.asarray((wide >> wide.dtype.type(8 * x.dtype.itemsize - self.mantissa)) | one.view(wide.dtype))
        return np.asarray(wide.view(self.dtype) - one)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return self(*primals), None

    def lower(self, build: Any, x: Any) -> Any:
        one = np.ones((), self.dtype)
        unsigned = np.dtype(f"uint{8 * self.dtype.itemsize}")
        wide = build.convert(x, unsigned)
        shift = build.constant(8 * x.dtype.itemsize - self.mantissa, unsigned, x.lanes)
        wide = build.or_(build.shift_right_logical(wide, shift), build.constant(one.view(unsigned), unsigned, x.lanes))
        return build.sub(build.bitcast(wide, self.dtype), build.constant(one, self.dtype, x.lanes))

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for dtype in MANTISSA:
            bits = np.dtype(f"uint{bit_width(dtype)}")
            yield UnitInterval(dtype), rng.integers(0, np.iinfo(bits).max, (3, 5), bits, endpoint=True)


class KeyWrap(RandomPrimitive):
    """Keys from their words: uint32[..., 2] to key[...]."""

    def result(self, *types: TensorType) -> TensorType:
        (data,) = types
        if data.dtype != dtypes.uint32 or data.shape[-1:] != (2,):
            raise ShapeError(f"a random key is made of uint32[..., 2], got {data}")
        return TensorType(data.shape[:-1], dtypes.key)

    def reference(self, data: np.ndarray) -> np.ndarray:
        return as_keys(data[..., 0], data[..., 1])

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return self(args[0])

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield KeyWrap(), rng.integers(0, 2**32, (3, 2), np.uint32)
        yield KeyWrap(), rng.integers(0, 2**32, (2,), np.uint32)


class KeyUnwrap(RandomPrimitive):
    """The words of keys: key[...] to uint32[..., 2]."""

    def result(self, *types: TensorType) -> TensorType:
        (keys,) = types
        _check_keys(self, keys)
        return TensorType((*keys.shape, 2), dtypes.uint32)

    def reference(self, keys: np.ndarray) -> np.ndarray:
        return np.stack([keys["word0"], keys["word1"]], axis=-1)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return self(args[0])

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield KeyUnwrap(), _draw_keys(rng, (3,))
        yield KeyUnwrap(), _draw_keys(rng, ())


def threefry2x32(
    key0: np.ndarray, key1: np.ndarray, count0: np.ndarray, count1: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The two output words of Threefry-2x32 with 20 rounds; uint32 arrays that broadcast."""
    keys = (key0, key1, key0 ^ key1 ^ np.uint32(PARITY))
    x0, x1 = np.asarray(count0 + keys[0]), np.asarray(count1 + keys[1])
    x0, x1 = (np.array(x) for x in np.broadcast_arrays(x0, x1))
    spare = np.empty_like(x1)
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            np.add(x0, x1, out=x0)
            np.right_shift(x1, np.uint32(32 - rotation), out=spare)
            np.left_shift(x1, np.uint32(rotation), out=x1)
            np.bitwise_or(x1, spare, out=x1)
            np.bitwise_xor(x1, x0, out=x1)
        np.add(x0, keys[(group + 1) % 3], out=x0)
        np.add(x1, keys[(group + 2) % 3] + np.uint32(group + 1), out=x1)
    return x0, x1


def _threefry_of_one(key0: int, key1: int, count0: int, count1: int) -> tuple[int, int]:
    """The same for one counter, in Python's integers: quicker than a hundred NumPy calls."""
    keys = (key0, key1, key0 ^ key1 ^ PARITY)
    x0, x1 = (count0 + key0) & _WORD, (count1 + key1) & _WORD
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x0 = (x0 + x1) & _WORD
            x1 = ((x1 << rotation | x1 >> (32 - rotation)) & _WORD) ^ x0
        x0 = (x0 + keys[(group + 1) % 3]) & _WORD
        x1 = (x1 + keys[(group + 2) % 3] + group + 1) & _WORD
    return x0, x1


def _blocks(keys: np.ndarray, count: int) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Both words for every key (rows) at counters 0 .. count - 1, in blocks of columns that stay in cache."""
    if keys.size * count <= _FEW:
        found = [[_threefry_of_one(key[0], key[1], 0, i) for i in range(count)] for key in keys.ravel().tolist()]
        words = np.array(found, np.uint32).reshape(keys.size, count, 2)
        yield slice(0, count), words[..., 0], words[..., 1]
        return
    key0, key1 = keys["word0"].reshape(-1, 1), keys["word1"].reshape(-1, 1)
    step = max(1, _BLOCK // max(1, keys.size))
    for start in range(0, count, step):
        counter = np.arange(start, min(count, start + step), dtype=np.uint64)
        high, low = (counter >> np.uint64(32)).astype(np.uint32), counter.astype(np.uint32)
        yield slice(start, start + step), *threefry2x32(key0, key1, high, low)


def pair_counters(pairs: int, words: int) -> np.ndarray:
    """The 64-bit counters of all pairs of `words` words that are drawn in halves."""
    high = np.arange(pairs, dtype=np.uint64)
    low = high + np.uint64(pairs)
    return high << np.uint64(32) | np.where(low < words, low, np.uint64(0))


def _halves(keys: np.ndarray, words: int) -> np.ndarray:
    """So many words for every key (rows), drawn in halves."""
    pairs = (words + 1) // 2
    counter = pair_counters(pairs, words)
    high, low = (counter >> np.uint64(32)).astype(np.uint32), counter.astype(np.uint32)
    found = threefry2x32(keys["word0"].reshape(-1, 1), keys["word1"].reshape(-1, 1), high, low)
    return np.concatenate(found, axis=-1)[:, :words]


def as_keys(word0: np.ndarray, word1: np.ndarray) -> np.ndarray:
    out = np.empty(np.shape(word0), dtypes.key)
    out["word0"], out["word1"] = word0, word1
    return out


def _draw_keys(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return as_keys(*rng.integers(0, 2**32, (2, *shape), np.uint32))


def _check_keys(operation: Primitive, keys: TensorType) -> None:
    if keys.dtype != dtypes.key:
        raise DtypeError(
            f"{operation.name} needs random keys, got {keys}; make them with fdl.random.key or wrap_key_data"
        )


def _check_count(operation: Primitive, words: int) -> None:
    if words >= 2**32:
        raise ShapeError(
            f"{operation.name} draws {words} words for one key, but the layout of threefry_partitionable=False counts "
            "them in 32 bits; draw fewer, or set it to True"
        )


def random_bits(keys: Any, width: int, shape: Sequence[int]) -> Any:
    """Unsigned integers of 8, 16, 32 or 64 bits, of shape ``keys.shape + shape``."""
    return RandomBits(tuple(shape), width, not config.threefry_partitionable)(keys)


def bit_width(dtype: np.dtype) -> int:
    """How many random bits a uniform number of a dtype is made of."""
    return 8 if MANTISSA[dtype] < 8 else 8 * dtype.itemsize


def unit_interval(keys: Any, shape: Sequence[int], dtype: np.dtype) -> Any:
    """Uniform numbers in [0, 1), of shape ``keys.shape + shape``."""
    return UnitInterval(dtype)(random_bits(keys, bit_width(dtype), shape))


def random_split(keys: Any, shape: Sequence[int]) -> Any:
    """New keys of shape ``keys.shape + shape``."""
    return RandomSplit(tuple(shape), not config.threefry_partitionable)(keys)


random_fold_in, key_wrap, key_unwrap = RandomFoldIn(), KeyWrap(), KeyUnwrap()
