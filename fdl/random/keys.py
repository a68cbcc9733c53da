"""Random keys: making, splitting and taking them apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fdl import dtypes
from fdl.array import as_array, as_operand
from fdl.composite import composite
from fdl.config import config
from fdl.core.trace import Value
from fdl.core.types import Array
from fdl.errors import DtypeError, RangeError, ShapeError
from fdl.numpy._operands import shape_tuple
from fdl.ops.bitwise import shift_right_logical
from fdl.ops.convert import convert
from fdl.ops.random_bits import key_unwrap, key_wrap, random_fold_in, random_split
from fdl.ops.shape import full_like, reshape
from fdl.ops.slicing import concatenate

_IMPLEMENTATIONS = (None, "threefry2x32", "fry")


def key(seed: Any, *, impl: str | None = None, dtype: Any = None) -> Array:
    """A typed random key. Source of the generator: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).

    Args:
        seed: an integer or an integer scalar. The same seed gives the same key everywhere; of one with more than 32
            bits the low ones count where `fdl.config.enable_x64` is off, as in JAX.
        impl: None or "threefry2x32", the only generator.
        dtype: the same as the dtype of keys, or its name; only one of both is given.

    Returns:
        A scalar array of dtype key.

    Raises:
        DtypeError: the seed is not an integer.
        ValueError: there is no such generator, or both are given.

    >>> key_data(key(42)).tolist()
    [0, 42]
    """
    return key_wrap(_seed_words(seed, _generator(impl, dtype)))


def PRNGKey(seed: Any, *, impl: str | None = None) -> Array:
    """A random key in its old form, two numbers; every function here takes both forms.

    Args:
        seed: an integer or an integer scalar.
        impl: None or "threefry2x32".

    Returns:
        uint32[2].

    Raises:
        DtypeError: the seed is not an integer.

    >>> PRNGKey(42).tolist()
    [0, 42]
    """
    return _seed_words(seed, impl)


def _seed_words(seed: Any, impl: str | None) -> Array:
    _check_generator(impl)
    seed = dtypes.python_number(seed)
    if type(seed) is int:
        if not -(2**63) <= seed < 2**64:
            raise RangeError(f"the seed of a random key has 64 bits, so that {seed} is none; take it modulo 2**64")
        # Seeds of 32 bits fill the low word only, whatever their sign, and all do where there are no integers of 64.
        high = 0 if -(2**31) <= seed < 2**32 or not config.enable_x64 else seed >> 32
        return as_array(np.array([high & 0xFFFFFFFF, seed & 0xFFFFFFFF], np.uint32))
    seed = as_array(seed, "the seed")
    if seed.type.dtype not in dtypes.INTEGER or seed.type.shape:
        raise DtypeError(f"the seed of a random key is an integer scalar, got {seed.type}; use vmap for several")
    low = convert(seed, dtypes.uint32)
    wide = seed.type.dtype.itemsize == 8
    high = convert(shift_right_logical(seed, full_like(seed, 32)), dtypes.uint32) if wide else full_like(low, 0)
    return concatenate([reshape(high, (1,)), reshape(low, (1,))], 0)


def _generator(impl: str | None, dtype: Any) -> str | None:
    if dtype is None:
        return impl
    if impl is not None:
        raise ValueError(f"the generator of a random key is its impl or its dtype, got both: {impl!r} and {dtype!r}")
    return None if isinstance(dtype, np.dtype) and dtype == dtypes.key else str(dtype)


def _check_generator(impl: str | None) -> None:
    if impl not in _IMPLEMENTATIONS:
        why = "; that one is XLA's own, and its numbers depend on the device" if "rbg" in str(impl) else ""
        raise ValueError(f"fdl.random has one generator, threefry2x32; got impl={impl!r}{why}")


def key_data(keys: Any) -> Array:
    """The words of keys.

    Args:
        keys: key[...].

    Returns:
        uint32[..., 2].

    >>> key_data(key(7)).tolist()
    [0, 7]
    """
    keys = as_operand(keys, "keys")
    return key_unwrap(keys) if keys.type.dtype == dtypes.key else keys


def wrap_key_data(key_bits_array: Any, *, impl: str | None = None, dtype: Any = None) -> Array:
    """Keys from their words.

    Args:
        key_bits_array: uint32[..., 2].
        impl: None or "threefry2x32".
        dtype: the same as the dtype of keys, or its name.

    Returns:
        key[...].

    Raises:
        ValueError: there is no such generator, or both are given.

    >>> key_data(wrap_key_data(PRNGKey(7))).tolist()
    [0, 7]
    """
    _check_generator(_generator(impl, dtype))
    return key_wrap(as_array(key_bits_array, "key_bits_array"))


def key_impl(keys: Any) -> str:
    """The name of the generator of keys.

    Args:
        keys: key[...].

    Returns:
        "threefry2x32".

    Raises:
        DtypeError: they are no keys.

    >>> key_impl(key(0))
    'threefry2x32'
    """
    typed(keys, "key_impl", batched=True)
    return "threefry2x32"


def key_dtype(impl: str | None = None) -> np.dtype:
    """The dtype of keys.

    Args:
        impl: None or "threefry2x32", the only generator.

    Raises:
        ValueError: another generator.

    >>> key_dtype("threefry2x32") == key(0).dtype
    True
    """
    _check_generator(impl)
    return dtypes.key


@composite
def split(key: Any, num: int | Sequence[int] = 2) -> Array:
    """New keys from one.

    Args:
        key: one key. Do not use it again.
        num: how many keys, or the shape of an array of them.

    Returns:
        An array of keys of shape `num`; uint32[num, 2] if the key is in the old form. Key i depends on `key` and i
        only.

    Raises:
        DtypeError: the argument is no key.
        ShapeError: it is several keys.

    >>> split(key(0), 3).shape
    (3,)
    """
    shape = shape_tuple("random.split", num)
    one, old = typed(key, "split")
    keys = random_split(one, shape)
    return key_unwrap(keys) if old else keys


def fold_in(key: Any, data: Any) -> Array:
    """A new key from a key and a number.

    Args:
        key: one key.
        data: an integer scalar, taken modulo 2**32.

    Returns:
        One key: the one at position `data` of :func:`split`.

    Raises:
        DtypeError: the first argument is no key, or `data` no integer.
        ShapeError: it is several keys.

    >>> bool((key_data(fold_in(key(0), 2)) == key_data(split(key(0), 3)[2])).all())
    True
    """
    one, old = typed(key, "fold_in")
    data = dtypes.python_number(data)
    if type(data) is int:
        if not -(2**31) <= data < 2**32:
            raise RangeError(f"fold_in takes data of 32 bits, so that {data} is none; take it modulo 2**32")
        data = np.array(data & 0xFFFFFFFF, np.uint32)
    data = as_array(data, "data")
    if data.type.dtype not in dtypes.INTEGER or data.type.shape:
        raise DtypeError(f"fold_in takes an integer scalar as data, got {data.type}; use vmap for several")
    found = _folded(one, data)
    return key_unwrap(found) if old else found


@composite
def _folded(one: Array, data: Array) -> Array:
    return random_fold_in(one, convert(data, dtypes.uint32))


def clone(key: Any) -> Array:
    """The same key, to be used once more on purpose: `config.debug_key_reuse` takes it for a new one.

    Args:
        key: one key, or several.

    Returns:
        The same key.

    >>> key_data(clone(key(7))).tolist()
    [0, 7]
    """
    found, old = typed(key, "clone", batched=True)
    found = key_wrap(key_unwrap(found))
    return key_unwrap(found) if old else found


def typed(key: Any, name: str, batched: bool = False) -> tuple[Array, bool]:
    """The typed key behind an argument of the function `name`, and whether it came in the old form."""
    if not isinstance(key, Value):
        if isinstance(key, int):
            raise DtypeError(
                f"{name} needs a random key, got the number {key!r}; make a key with fdl.random.key({key!r})"
            )
        key = as_array(key, f"the key of {name}")
    old = key.type.dtype == dtypes.uint32 and key.type.shape[-1:] == (2,)
    if old:
        key = key_wrap(key)
    elif key.type.dtype != dtypes.key:
        raise DtypeError(f"{name} needs a random key, got {key.type}; make one with fdl.random.key")
    if key.type.shape and not batched:
        raise ShapeError(f"{name} takes a single random key, got {key.type}; use fdl.vmap to map over keys")
    return key, old
