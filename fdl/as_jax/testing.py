"""What the test suites of libraries take from JAX's own tests."""

from typing import Any

import numpy as np

from fdl import tree
from fdl.dtypes import dtype_of, is_inexact

#: How far two numbers of a dtype may lie apart, per element, if a test does not say.
TOLERANCES = {
    "bfloat16": 1e-2,
    "float16": 1e-3,
    "float32": 1e-6,
    "complex64": 1e-6,
    "float64": 1e-15,
    "complex128": 1e-15,
}


def check_close(xs: Any, ys: Any, atol: Any = None, rtol: Any = None, err_msg: str = "") -> None:
    """Raise unless two trees have the same shapes and almost the same numbers.

    Args:
        xs, ys: trees of arrays.
        atol, rtol: bounds for one element, which are multiplied by the number of elements; or by dtype, in a dict.
        err_msg: what the error begins with.

    Raises:
        AssertionError: they are not close.

    >>> check_close({"x": np.ones(2, "float32")}, {"x": 1 + 1e-7 * np.ones(2, "float32")})
    """

    def compare(x: Any, y: Any) -> None:
        x, y = np.asarray(x), np.asarray(y)
        assert x.shape == y.shape, f"{err_msg} shapes {x.shape} and {y.shape} differ"
        bounds = {"atol": _bound(atol, x, y) * x.size, "rtol": _bound(rtol, x, y) * y.size}
        x, y = (v.astype(np.float32) if is_inexact(v.dtype) and v.dtype.itemsize < 4 else v for v in (x, y))
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(x, y, **bounds, err_msg=err_msg)

    tree.map(compare, xs, ys)


def _bound(given: Any, x: Any, y: Any) -> float:
    named = {str(np.dtype(k)): v for k, v in given.items()} if isinstance(given, dict) else {}
    if given is not None and not named:
        return float(given)
    return max(float(named.get(str(dtype_of(v)), TOLERANCES.get(str(dtype_of(v)), 0.0))) for v in (x, y))
