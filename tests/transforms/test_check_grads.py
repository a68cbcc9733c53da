"""Tolerances of check_grads by dtype."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.test_util import check_grads


@fdl.custom_jvp
def wrong(x):
    return fnp.sin(x)


wrong.defjvp(lambda primals, tangents: (wrong(*primals), 1.05 * tangents[0] * fnp.cos(primals[0])))


@pytest.mark.parametrize("other", [{"float64": 1e-12}, {}])
def test_tolerances_by_dtype_are_those_of_the_arguments(other):
    x = (np.ones(2, np.float32),)
    check_grads(wrong, x, 1, atol={np.float32: 1.0} | other, rtol={np.float32: 1.0})
    with pytest.raises(AssertionError, match="jvp differs"):
        check_grads(wrong, x, 1, atol={np.float32: 1e-3} | other, rtol={np.float32: 1e-3})
    check_grads(fnp.sin, x, 1, atol=other, rtol=other)  # others have the default
