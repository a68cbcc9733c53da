"""Random operands of JAX's test files, by the names of `jax._src.test_util`; see jax_test_util.py."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fdl.dtypes import as_dtype


class _Shape:
    """A scalar that is no array: of NumPy's classes or of Python's."""

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> int:
        raise IndexError(index)


NUMPY_SCALAR_SHAPE, PYTHON_SCALAR_SHAPE = _Shape(), _Shape()


def is_valid_shape(shape: Any, dtype: Any) -> bool:
    """Whether there are scalars of Python of that dtype."""
    return shape is not PYTHON_SCALAR_SHAPE or np.dtype(dtype) in {
        np.dtype(as_dtype(t)) for t in (bool, int, float, complex)
    }


def _dims_of_shape(shape: Any) -> tuple[int, ...]:
    return (
        ()
        if isinstance(shape, _Shape)
        else tuple(np.atleast_1d(shape).tolist())
        if np.ndim(shape) == 0
        else tuple(shape)
    )


def _in_shape(value: Any, shape: Any, dtype: Any) -> Any:
    if shape is NUMPY_SCALAR_SHAPE:
        return np.dtype(dtype).type(value)
    if shape is PYTHON_SCALAR_SHAPE:
        return np.asarray(value).item()
    return np.asarray(value).astype(dtype)


def _rand(
    rand: Callable[..., Any], shape: Any, dtype: Any, scale: float = 1.0, post: Callable[[Any], Any] = lambda x: x
) -> Any:
    dims = _dims_of_shape(shape)
    values = scale * rand(*dims)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * scale * rand(*dims)
    elif np.dtype(dtype) == bool:
        values = np.asarray(values) > 0
    elif np.dtype(dtype).kind == "u":
        values = np.abs(values)
    return _in_shape(post(np.asarray(values).astype(dtype)), shape, dtype)


def _maker(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    function.__name__ = name
    return function


def rand_default(rng: Any, scale: float = 3) -> Any:
    return functools.partial(_rand, rng.randn, scale=scale)


def rand_nonzero(rng: Any) -> Any:
    return functools.partial(_rand, rng.randn, scale=3, post=lambda x: np.where(x == 0, np.array(1, x.dtype), x))


def rand_positive(rng: Any) -> Any:
    return functools.partial(
        _rand,
        rng.rand,
        scale=2,
        post=lambda x: (
            np.where(x == 0, np.array(1, x.dtype), x)
            if x.dtype.kind in "iu"
            else x + np.array(0 if x.dtype == bool else 1, x.dtype) * (x.dtype != bool)
        ),
    )


def rand_small(rng: Any) -> Any:
    return functools.partial(_rand, rng.randn, scale=1e-3)


def rand_not_small(rng: Any, offset: float = 10.0) -> Any:
    return functools.partial(
        _rand, rng.randn, scale=3, post=lambda x: x + np.where(x > 0, offset, -offset).astype(x.dtype)
    )


def rand_small_positive(rng: Any) -> Any:
    return functools.partial(_rand, rng.rand, scale=2e-5)


def rand_uniform(rng: Any, low: float = 0.0, high: float = 1.0) -> Any:
    return functools.partial(_rand, lambda *dims: rng.uniform(low, high, dims))


def rand_bool(rng: Any) -> Any:
    return lambda shape, dtype: _in_shape(rng.rand(*_dims_of_shape(shape)) < 0.5, shape, dtype)


def rand_int(rng: Any, low: int = 0, high: int | None = None) -> Any:
    def draw(shape: Any, dtype: Any) -> Any:
        end = np.iinfo(dtype).max if high is None and low == 0 else high
        kind = np.dtype(dtype) if np.dtype(dtype).kind in "iu" else np.dtype(np.int64)
        return _in_shape(rng.randint(low, end, _dims_of_shape(shape), kind), shape, dtype)

    return draw


def rand_unique_int(rng: Any, high: int | None = None) -> Any:
    return lambda shape, dtype: rng.choice(
        np.arange(high or math.prod(shape)), size=_dims_of_shape(shape), replace=False
    ).astype(dtype)


def rand_indices_unique_along_axis(rng: Any) -> Any:
    """Indices into an axis, of which no two along `axis` are the same, some of them negative."""

    def values(dim: int, shape: Any, axis: int, allow_negative: bool = True) -> Any:
        drawn = rng.rand(*(dim if i == axis % len(shape) else n for i, n in enumerate(shape)))
        found = np.take(np.argsort(drawn, axis), np.arange(shape[axis]), axis)
        return found - dim * (rng.rand(*shape) < 0.5) if allow_negative else found

    return values


def rand_fullrange(rng: Any, standardize_nans: bool = False) -> Any:
    def values(shape: Any, dtype: Any) -> Any:
        size = math.prod(_dims_of_shape(shape)) * np.dtype(dtype).itemsize
        found = rng.randint(0, 256, size, np.uint8)
        if np.dtype(dtype) == bool:
            found = found % 2
        return _in_shape(found.view(dtype).reshape(_dims_of_shape(shape)), shape, dtype)

    return values


def _sprinkled(*special: float) -> Callable[..., Any]:
    """Random numbers, some of which are special ones."""

    def make(rng: Any) -> Any:
        def values(shape: Any, dtype: Any) -> Any:
            x = np.asarray(rand_default(rng)(_dims_of_shape(shape), dtype))
            if x.dtype.kind in "iub" and not np.isfinite(special).all():
                return _in_shape(x, shape, dtype)
            chosen = rng.choice(np.array(special), size=x.shape).astype(dtype)
            return _in_shape(np.where(rng.rand(*x.shape) < 0.2, chosen, x), shape, dtype)

        return values

    return make


rand_some_inf, rand_some_nan = _sprinkled(math.inf, -math.inf), _sprinkled(math.nan)
rand_some_inf_and_nan, rand_some_zero = _sprinkled(math.inf, -math.inf, math.nan), _sprinkled(0.0)


def rand_some_equal(rng: Any) -> Any:
    def values(shape: Any, dtype: Any) -> Any:
        x = np.asarray(rand_default(rng, 100)(_dims_of_shape(shape), dtype))
        same = x.ravel()[0] if x.size else 0
        return _in_shape(np.where(rng.rand(*x.shape) < 0.5, np.array(same, x.dtype), x), shape, dtype)

    return values
