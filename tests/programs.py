"""Programs that must work: what each returns, under every transform."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fdl
import fdl.numpy as fnp
from fdl import test_util, tree


def assert_returns(found: Any, expected: Any, tolerance: float = 1e-6) -> None:
    """The leaves, their shapes and the kinds of their dtypes are those of `expected`."""
    leaves, others = tree.leaves(found), [np.asarray(e) for e in tree.leaves(expected)]
    assert len(leaves) == len(others)
    for leaf, other in zip(leaves, others, strict=True):
        value = np.asarray(leaf)
        assert (value.shape, value.dtype.kind) == (other.shape, other.dtype.kind)
        np.testing.assert_allclose(value, other, rtol=tolerance, atol=tolerance)


def check_program(function: Callable[..., Any], args: Sequence[Any], expected: Any, tolerance: float = 1e-6) -> None:
    """``function(*args)`` gives `expected` eagerly, compiled and for each of a batch; its derivatives are right."""
    args = [np.asarray(a) for a in args]
    assert_returns(function(*map(fnp.asarray, args)), expected, tolerance)
    assert_returns(fdl.jit(function)(*args), expected, tolerance)
    if not args:
        return
    batched = fdl.jit(fdl.vmap(function))(*(np.stack([a, a, a]) for a in args))
    assert_returns(batched, tree.map(lambda e: np.stack([np.asarray(e)] * 3), expected), tolerance)
    smooth = tree.leaves(expected) and all(np.asarray(e).dtype.kind == "f" for e in tree.leaves(expected))
    if smooth and all(a.dtype == np.float64 and np.isfinite(a).all() for a in args):
        test_util.check_grads(function, tuple(args), order=1)
