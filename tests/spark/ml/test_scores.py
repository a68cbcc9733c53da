"""The numbers that tasks compute for the columns of a model, in dtypes that hold them."""

import numpy as np
import pytest

import fdl.numpy as fnp
from fdl_spark.ml.inputs import Inputs
from fdl_spark.ml.scores import class_scores, plain_numbers

X = Inputs(("x",), single=True)


def same(params, x):
    return x


@pytest.mark.parametrize(
    "dtype, value, kept",
    [
        ("int32", 2**24 + 1, "float64"),
        ("int64", 2**53 - 1, "float64"),
        ("uint32", 2**32 - 1, "float64"),
        ("float64", 0.1, "float64"),
        ("float32", 0.1, "float32"),
        ("int16", 2**15 - 1, "float32"),
        ("bool", True, "float32"),
    ],
)
def test_numbers_are_kept_exactly(dtype, value, kept):
    found = np.asarray(plain_numbers(same, X, None, {"x": np.array([[value, 0]], dtype)}))
    assert found.dtype == kept
    assert found[0, 0] == np.array(value, dtype)


def test_the_class_is_exact_in_any_dtype_of_logits():
    """A float16 counts to 2,048 and a bfloat16 to 256 only."""
    for dtype in (fnp.bfloat16, np.float16, np.float32):
        logits = np.zeros((1, 4000), fnp.dtype(dtype))
        logits[0, 3333] = 1
        found = np.asarray(class_scores(same, X, None, None, {"x": logits}))
        assert found.dtype == np.float32
        assert found[0, -1] == 3333
