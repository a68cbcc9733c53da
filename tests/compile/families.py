"""One small program for every family of kernels, with rows of a length that leaves a tail of vectors."""

from collections.abc import Callable
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax, nn

FLOATS = ("float32", "float64", "bfloat16", "float16")
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
DTYPES = (*FLOATS, *INTEGERS, "bool")


def values(dtype: str, *shape: int) -> Any:
    """Small whole numbers, so that every order of adding them gives the same; a few of them repeat."""
    numbers = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape) * 7 % 5
    return fnp.asarray(numbers, dtype) if dtype != "bool" else fnp.asarray(numbers % 2 == 0)


def _conv(x: Any, k: Any, groups: int = 1) -> Any:
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=groups)


Family = tuple[Callable[..., Any], Callable[[str, int], tuple[Any, ...]], tuple[str, ...]]

ROWS = lambda d, n: (values(d, 5, n),)  # noqa: E731
NUMBERS = (*FLOATS, *INTEGERS)

#: name: (program, its operands for a dtype and a length of rows, dtypes).
FAMILIES: dict[str, Family] = {
    "elementwise": (lambda x: (x + x, x == x[::-1]), ROWS, NUMBERS),
    "logical": (lambda x: (x & x[::-1], ~x), ROWS, ("bool", *INTEGERS)),
    "narrowed": (lambda x: tuple(x.astype(d) for d in ("int8", "int16", "int32", "bfloat16")), ROWS, DTYPES),
    "widened": (lambda x: tuple(x.astype(d) for d in ("int64", "float32", "float64", "uint16")), ROWS, DTYPES),
    "transpose": (lambda x: x.T, ROWS, DTYPES),
    "sum of rows": (lambda x: (x.sum(1), x.max(1)), ROWS, NUMBERS),
    "sum of columns": (lambda x: (x.sum(0), x.min(0)), ROWS, NUMBERS),
    "softmax": (lambda x: (nn.softmax(x), nn.softmax(x, 0)), lambda d, n: (values(d, 40, n),), FLOATS),
    "product": (lambda a, b: a @ b, lambda d, n: (values(d, 5, 40), values(d, 40, n)), NUMBERS),
    "product of column": (lambda a, b: a @ b, lambda d, n: (values(d, 1, n), values(d, n, 1)), NUMBERS),
    "product transposed": (lambda a, b: a @ b.T, lambda d, n: (values(d, 5, 40), values(d, n, 40)), NUMBERS),
    "product with epilogue": (
        lambda a, b, c: nn.relu(a @ b + c),
        lambda d, n: (values(d, 7, 40), values(d, 40, n), values(d, n)),
        FLOATS,
    ),
    "batched product": (lambda a, b: a @ b, lambda d, n: (values(d, 3, 4, 6), values(d, 3, 6, n)), FLOATS),
    "convolution": (_conv, lambda d, n: (values(d, 2, 4, 5, 3), values(d, 3, 3, 3, n)), FLOATS),
    "convolution of channels": (_conv, lambda d, n: (values(d, 1, 4, 5, n), values(d, 3, 3, n, 2)), FLOATS),
    "depthwise convolution": (
        lambda x, k: _conv(x, k, x.shape[-1]),
        lambda d, n: (values(d, 2, 4, 5, n), values(d, 3, 3, 1, n)),
        FLOATS,
    ),
    "pooling": (
        lambda x: (nn.max_pool(x, (2, 2), (1, 1)), nn.avg_pool(x, (2, 2), (1, 1))),
        lambda d, n: (values(d, 2, 4, 5, n),),
        FLOATS,
    ),
    "sort": (lambda x: (fnp.sort(x), fnp.argsort(x)), ROWS, NUMBERS),
    "prefixes": (lambda x: (fnp.cumsum(x, 1), fnp.cumsum(x, 0)), ROWS, NUMBERS),
    "moves": (
        lambda x, i: (
            fnp.concatenate([x, x[:1]]), x[i], x.at[i].set(x[:3]), fnp.pad(x, 1), lax.dynamic_slice(x, i[:2], (2, 1))
        ),
        lambda d, n: (values(d, 5, n), fnp.asarray([4, 0, 2])),
        DTYPES,
    ),
    "added rows": (
        lambda x, i: x.at[i].add(x[:3]),
        lambda d, n: (values(d, 5, n), fnp.asarray([4, 0, 4])),
        NUMBERS,
    ),
    "functions": (lambda x: (fnp.exp(x), fnp.tanh(x), fnp.cbrt(x), fnp.sin(x)), ROWS, FLOATS),
    "recurrence": (
        lambda x: lax.scan(lambda c, row: (c + row, c * row), x[0], x),
        ROWS,
        NUMBERS,
    ),
}  # fmt: skip
