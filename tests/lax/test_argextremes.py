"""Who has the largest value, versions for platforms, and functions as two passes."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax


def test_where_the_largest_and_the_smallest_are() -> None:
    x = fnp.array([[3, 1], [5, 5], [2, 5]])
    for run in (lambda f: f, fdl.jit):
        largest = run(fdl.vmap(lambda x: lax.pargmax(x, "i"), axis_name="i"))(x)
        np.testing.assert_array_equal(largest, [[1, 1]] * 3)
        smallest = run(fdl.vmap(lambda x: lax.pargmin(x, "i"), axis_name="i"))(x)
        np.testing.assert_array_equal(smallest, [[2, 0]] * 3)


def test_versions_for_platforms() -> None:
    assert lax.platform_dependent(1, tpu=lambda x: 0, default=lambda x: x + 1) == 2
    with pytest.raises(NotImplementedError, match=r"versions for \['cuda', 'tpu'\] only"):
        lax.platform_dependent(1, tpu=abs, cuda=abs)


def test_forward_and_backward_passes_compile_once() -> None:
    traces = []

    def f(x, scale, w):
        traces.append(1)
        return (fnp.tanh(x @ w) * scale), w.sum()

    fwd, bwd = fdl.fwd_and_bwd(f, (0, 2), has_aux=True)
    x, w = fnp.ones((2, 3)), fnp.arange(6.0).reshape(3, 2)
    for step in range(3):
        y, residuals, aux = fwd(x * step, 2.0, w)
        dx, dw = bwd(residuals, fnp.ones_like(y))
    assert len(traces) == 1 and float(aux) == 15.0
    assert dx.shape == x.shape
    expected = fdl.grad(lambda w: f(x * 2, 2.0, w)[0].sum())(w)
    np.testing.assert_allclose(dw, expected, rtol=1e-6)
    plain = fdl.fwd_and_bwd(lambda x: x * x, 0, jitted=False)
    assert float(plain[1](plain[0](3.0)[1], 1.0)) == 6.0
