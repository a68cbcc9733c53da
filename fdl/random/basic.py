"""Uniform numbers and bits, and the distributions that are functions of them."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import dtypes
from fdl.array import as_array
from fdl.composite import composite
from fdl.docstrings import fill_docstring
from fdl.dtypes import WEAK, as_dtype
from fdl.errors import DtypeError, ShapeError
from fdl.numpy._operands import is_sequence
from fdl.ops.arithmetic import add, max_, mul, nextafter, rem, stop_gradient, sub
from fdl.ops.complex import complex_
from fdl.ops.convert import convert
from fdl.ops.quantile import normal_quantile
from fdl.ops.random_bits import MANTISSA, random_bits, unit_interval
from fdl.ops.select import clamp
from fdl.ops.shape import broadcast_in_dim, full_like
from fdl.ops.special import erf, erf_inv
from fdl.random.keys import Array, split, typed

Shape = Sequence[int]

_ARGUMENTS = {"key": "one key.", "shape": "of the result.", "dtype": "a real floating dtype; None is float32."}
_RESULT = "An array of that shape and dtype."
#: Decorators of functions that draw: they complete the docstring.
documented = fill_docstring(_ARGUMENTS, _RESULT)
documented_by_parameters = fill_docstring(
    _ARGUMENTS | {"shape": "of the result; None is the common shape of the parameters."}, _RESULT
)


@documented
@composite
def bits(key: Any, shape: Shape = (), dtype: Any = None) -> Array:
    """Random unsigned integers over their whole range.

    Args:
        dtype: uint8, uint16, uint32 (the default) or uint64.

    Returns:
        An array of that shape and dtype; element i depends on the key and i only.

    Raises:
        DtypeError: the dtype is none of them.

    >>> from fdl.random import key
    >>> bits(key(0), (2,)).dtype.name
    'uint32'
    """
    dtype = dtypes.uint32 if dtype is None else as_dtype(dtype)
    if dtype not in dtypes.UNSIGNED:
        raise DtypeError(f"random.bits makes unsigned integers, got dtype {dtype}")
    return random_bits(typed(key, "bits")[0], 8 * dtype.itemsize, to_shape(shape))


@documented
@composite
def uniform(key: Any, shape: Shape = (), dtype: Any = None, minval: Any = 0.0, maxval: Any = 1.0) -> Array:
    """Uniform numbers in [minval, maxval).

    Args:
        minval: lower end; broadcasts to the shape.
        maxval: upper end; broadcasts to the shape.

    Raises:
        DtypeError: the dtype is not real floating.

    >>> from fdl.random import key
    >>> uniform(key(0), (2, 3)).shape
    (2, 3)
    """
    dtype, shape = floating("uniform", dtype), to_shape(shape)
    floats = unit_interval(typed(key, "uniform")[0], shape, dtype)
    if type(minval) is float and type(maxval) is float and (minval, maxval) == (0.0, 1.0):
        return floats
    low, high = fitted("uniform", shape, dtype, minval, maxval)
    return max_(low, add(mul(floats, sub(high, low)), low))


@documented
@composite
def normal(key: Any, shape: Shape = (), dtype: Any = None) -> Array:
    """Standard normal numbers.

    Args:
        dtype: a floating or complex dtype, by default float32; complex numbers have variance 1 in total.

    Raises:
        DtypeError: the dtype is neither floating nor complex.

    >>> from fdl.random import key
    >>> normal(key(0), (2, 3)).shape
    (2, 3)
    """
    dtype, shape = inexact("normal", dtype), to_shape(shape)
    key, _ = typed(key, "normal")
    if dtype.kind != "c":
        return _normal_real(key, shape, dtype)
    part = np.empty(0, dtype).real.dtype
    re, im = (_normal_real(k, shape, part) for k in split(key))
    return complex_(re, im) / np.asarray(2**0.5, dtype)


def _normal_real(key: Array, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    low = np.nextafter(np.array(-1, dtype), np.array(0, dtype))
    span = (np.array(1, dtype) - low).astype(dtype)
    u = unit_interval(key, shape, dtype)
    u = add(mul(u, full_like(u, span)), full_like(u, low))
    return _from_symmetric(u)


def _from_symmetric(u: Array) -> Array:
    """Normal numbers from uniform ones in (-1, 1)."""
    if u.type.dtype == dtypes.float32:
        return normal_quantile(u)
    return mul(full_like(u, np.sqrt(2)), erf_inv(u))


@documented_by_parameters
@composite
def truncated_normal(key: Any, lower: Any, upper: Any, shape: Shape | None = None, dtype: Any = None) -> Array:
    """Standard normal numbers under the condition that they lie in (lower, upper).

    Args:
        lower: lower end; broadcasts with `upper`.
        upper: upper end.
        shape: of the result; None is the common shape of the ends.

    Raises:
        DtypeError: the dtype is not real floating.
        ShapeError: the ends do not broadcast to the shape.

    >>> from fdl.random import key
    >>> x = truncated_normal(key(0), -1.0, 2.0, (100,))
    >>> bool(fnp.all((x > -1) & (x < 2)))
    True
    """
    dtype = floating("truncated_normal", dtype)
    shape = broadcast_shape("truncated_normal", shape, lower, upper)
    lower, upper = fitted("truncated_normal", shape, dtype, lower, upper)
    root = np.asarray(np.sqrt(2), dtype)
    ends = erf(lower / root), erf(upper / root)
    found = _from_symmetric(uniform(key, shape, dtype, *ends))
    inner = nextafter(stop_gradient(lower), full_like(lower, np.inf))
    return clamp(inner, found, nextafter(stop_gradient(upper), full_like(upper, -np.inf)))


@documented
@composite
def randint(key: Any, shape: Shape, minval: Any, maxval: Any, dtype: Any = None) -> Array:
    """Uniform integers in [minval, maxval).

    Args:
        minval: lower end, an integer or integer array that broadcasts to the shape.
        maxval: upper end, excluded. Where it is not above minval, the result is minval.
        dtype: an integer dtype, by default int32.

    Raises:
        DtypeError: the dtype is not an integer one.

    >>> from fdl.random import key
    >>> int(randint(key(0), (), 3, 4))
    3
    """
    dtype, shape = as_dtype(int if dtype is None else dtype), to_shape(shape)
    if dtype not in dtypes.INTEGER:
        raise DtypeError(f"random.randint makes integers, got dtype {dtype}")
    key, _ = typed(key, "randint")
    wide = dtype if dtype.itemsize >= 4 else dtypes.int32
    low, high = (_integer(v, shape) for v in (minval, maxval))
    if wide != dtype:
        low, high = (fnp.clip(v, np.iinfo(dtype).min, np.iinfo(dtype).max + i) for i, v in enumerate((low, high)))
    return convert(_randint(key, shape, low, high, wide), dtype)


def _randint(key: Array, shape: tuple[int, ...], low: Array, high: Array, dtype: np.dtype) -> Array:
    width = 8 * dtype.itemsize
    largest = np.iinfo(dtype).max
    beyond = high > largest if np.iinfo(high.type.dtype).max > largest else fnp.zeros_like(high, bool)
    low, high = _clipped(low, dtype), _clipped(high, dtype)
    unsigned = np.dtype(f"uint{width}")
    empty = high <= low
    span = fnp.where(empty, full_like(low, 1), sub(high, low)).astype(unsigned)
    span = fnp.where(beyond & ~empty, span + np.asarray(1, unsigned), span)
    above, below = (random_bits(k, width, shape) for k in split(key))
    # A word of twice the width modulo the span, from its halves; the whole range has span 0 and needs no reduction.
    base = rem(full_like(span, 1 << (width // 2)), span)
    base = rem(mul(base, base), span)
    offset = rem(add(mul(rem(above, span), base), rem(below, span)), span)
    offset = fnp.where(span == 0, below, offset)
    return add(low, convert(offset, dtype))


def _integer(value: Any, shape: tuple[int, ...]) -> Array:
    value = as_array(value, "a bound of randint")
    value = value if value.type.dtype in dtypes.INTEGER else convert(value, as_dtype(int))
    return expanded("randint", value, shape)


def _clipped(value: Array, dtype: np.dtype) -> Array:
    """`value` in another integer dtype, clipped to its range."""
    here, there = np.iinfo(value.type.dtype), np.iinfo(dtype)
    low, high = max(here.min, there.min), min(here.max, there.max)
    return convert(clamp(full_like(value, low), value, full_like(value, high)), dtype)


@documented_by_parameters
@composite
def bernoulli(key: Any, p: Any = 0.5, shape: Shape | None = None, mode: str = "low") -> Array:
    """Booleans that are true with probability p.

    Args:
        p: probability, a float or floating array.
        shape: of the result; None is that of p.
        mode: "high" resolves probabilities below 2**-23.

    Returns:
        An array of booleans.

    Raises:
        DtypeError: p is not floating.
        ValueError: the mode is unknown.

    >>> from fdl.random import key
    >>> bernoulli(key(0), 1.0, (2,)).tolist()
    [True, True]
    """
    p = as_array(p, "p")
    if p.type.dtype not in dtypes.FLOATING:
        raise DtypeError(f"random.bernoulli needs a floating probability p, got {p.type}")
    if mode not in ("low", "high"):
        raise ValueError(f"random.bernoulli takes mode 'low' or 'high', got {mode!r}")
    dtype, shape = p.type.dtype, broadcast_shape("bernoulli", shape, p)
    if mode == "low":
        return fnp.less(uniform(key, shape, dtype), p)
    coarse, fine = uniform(key, (2, *shape), dtype)
    return fine * 2.0 ** -MANTISSA[dtype] < p - coarse


@documented
@composite
def rademacher(key: Any, shape: Shape = (), dtype: Any = None) -> Array:
    """-1 or 1 with probability one half each.

    Args:
        dtype: an integer or floating dtype; None is int32.

    >>> from fdl.random import key
    >>> sorted(set(rademacher(key(0), (100,)).tolist()))
    [-1, 1]
    """
    dtype = as_dtype(int if dtype is None else dtype)
    signs = bernoulli(key, 0.5, to_shape(shape)).astype(dtype)
    return (2 * signs - 1).astype(dtype)


@documented
@composite
def exponential(key: Any, shape: Shape = (), dtype: Any = None) -> Array:
    """Exponential numbers of rate one.

    >>> from fdl.random import key
    >>> bool(fnp.all(exponential(key(0), (100,)) >= 0))
    True
    """
    return -fnp.log1p(-uniform(key, shape, floating("exponential", dtype)))


@documented
@composite
def laplace(key: Any, shape: Shape = (), dtype: Any = None) -> Array:
    """Laplace numbers with location zero and scale one.

    >>> from fdl.random import key
    >>> laplace(key(0), (2, 3)).shape
    (2, 3)
    """
    dtype = floating("laplace", dtype)
    u = uniform(key, shape, dtype, -1.0 + float(fnp.finfo(dtype).epsneg), 1.0)
    return fnp.sign(u) * fnp.log1p(-fnp.abs(u))


@documented
@composite
def logistic(key: Any, shape: Shape = (), dtype: Any = None) -> Array:
    """Logistic numbers with location zero and scale one.

    >>> from fdl.random import key
    >>> logistic(key(0), (2, 3)).shape
    (2, 3)
    """
    dtype = floating("logistic", dtype)
    u = uniform(key, shape, dtype, float(fnp.finfo(dtype).tiny), 1.0)
    return fnp.log(u) - fnp.log1p(-u)


@documented
@composite
def cauchy(key: Any, shape: Shape = (), dtype: Any = None) -> Array:
    """Cauchy numbers with location zero and scale one.

    >>> from fdl.random import key
    >>> cauchy(key(0), (2, 3)).shape
    (2, 3)
    """
    dtype = floating("cauchy", dtype)
    u = uniform(key, shape, dtype, float(fnp.finfo(dtype).eps), 1.0)
    return fnp.tan(np.pi * (u - 0.5))


@documented
@composite
def gumbel(key: Any, shape: Shape = (), dtype: Any = None, mode: str | None = None) -> Array:
    """Gumbel numbers with location zero and scale one.

    Args:
        mode: "low" (the default), or "high" for twice the bits in the upper tail.

    Raises:
        ValueError: the mode is unknown.

    >>> from fdl.random import key
    >>> gumbel(key(0), (2, 3)).shape
    (2, 3)
    """
    dtype = floating("gumbel", dtype)
    info = fnp.finfo(dtype)
    if mode in (None, "low"):
        return -fnp.log(-fnp.log(uniform(key, shape, dtype, float(info.tiny), 1.0)))
    if mode not in ("high", "highest"):
        raise ValueError(f"random.gumbel takes mode 'low' or 'high', got {mode!r}")
    coarse, fine = uniform(key, (2, *to_shape(shape)), dtype)
    u = fnp.where(coarse >= 0.5, coarse, coarse + 2.0 ** -MANTISSA[dtype] * fine + float(info.tiny))
    return -fnp.log(-fnp.log1p(-u))


def to_shape(shape: Any) -> tuple[int, ...]:
    """A shape argument as a tuple of ints."""
    try:
        found = tuple(operator.index(n) for n in (shape if is_sequence(shape) else (shape,)))
    except TypeError:
        raise ShapeError(f"a shape is a sequence of integers known beforehand, got {shape!r}") from None
    if any(not 0 <= n < 2**63 for n in found):
        raise ShapeError(f"a shape has no negative extents and none above 2**63, got {shape!r}")
    return found


def floating(name: str, dtype: Any) -> np.dtype:
    """A real floating dtype, float by default."""
    found = as_dtype(float if dtype is None else dtype)
    if found not in dtypes.FLOATING:
        raise DtypeError(f"random.{name} makes real floating numbers, got dtype {found}")
    return found


def inexact(name: str, dtype: Any) -> np.dtype:
    """A floating or complex dtype, float by default."""
    found = as_dtype(float if dtype is None else dtype)
    if found not in dtypes.INEXACT:
        raise DtypeError(f"random.{name} makes floating or complex numbers, got dtype {found}")
    return found


def broadcast_shape(name: str, shape: Shape | None, *parameters: Any) -> tuple[int, ...]:
    """The shape of a draw whose parameters must broadcast to it; None is their common shape."""
    common = fnp.broadcast_shapes(*(fnp.shape(p) for p in parameters))
    if shape is None:
        return common
    shape = to_shape(shape)
    lead = len(shape) - len(common)
    if lead < 0 or any(n not in (1, m) for n, m in zip(common, shape[lead:], strict=True)):
        raise ShapeError(f"random.{name}: parameters of common shape {common} do not broadcast to shape={shape}")
    return shape


def expanded(name: str, x: Array, shape: tuple[int, ...]) -> Array:
    """`x` broadcast to the shape of the draw."""
    skip = len(shape) - x.type.ndim
    if skip < 0 or any(n not in (1, m) for n, m in zip(x.type.shape, shape[skip:], strict=True)):
        raise ShapeError(f"random.{name}: a parameter {x.type} does not broadcast to shape={shape}")
    return broadcast_in_dim(x, shape, tuple(range(skip, len(shape))))


def fitted(name: str, shape: tuple[int, ...], dtype: np.dtype, *parameters: Any) -> list[Array]:
    """The parameters in the dtype and shape of the draw."""
    found = []
    for p in parameters:
        # Numbers of Python have all their digits.
        p = as_array(np.asarray(p, dtype) if WEAK.get(type(p)) in (int, float) else p, f"a parameter of random.{name}")
        found.append(expanded(name, p if p.type.dtype == dtype else convert(p, dtype), shape))
    return found
