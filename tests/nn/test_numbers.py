"""Rates, scales and deviations of layers and initializers are checked where they are given, by name."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import nn, random
from fdl.errors import DtypeError, LeafError, RangeError, ShapeError
from fdl.nn import initializers

KEY = random.key(0)
#: function, argument: the call, a number that it takes, numbers outside of its range.
CASES = {
    ("dropout", "rate"): (lambda rate: nn.dropout(KEY, rate, fnp.ones(3)), 0.5, [-0.1, 1.0, 2]),
    ("uniform", "scale"): (lambda scale: initializers.uniform(scale), -0.5, []),
    ("normal", "stddev"): (lambda stddev: initializers.normal(stddev), 0.5, [-0.5]),
    ("truncated_normal", "stddev"): (lambda stddev: initializers.truncated_normal(stddev), 0.5, [-0.5]),
    ("truncated_normal", "lower"): (lambda lower: initializers.truncated_normal(1.0, lower=lower), -3, []),
    ("truncated_normal", "upper"): (lambda upper: initializers.truncated_normal(1.0, upper=upper), 3, []),
    ("variance_scaling", "scale"): (lambda scale: initializers.variance_scaling(scale, "fan_in", "normal"), 2, [-1]),
    ("orthogonal", "scale"): (lambda scale: initializers.orthogonal(scale), -1.0, []),
    ("delta_orthogonal", "scale"): (lambda scale: initializers.delta_orthogonal(scale), 1.0, []),
}


@pytest.mark.parametrize(("name", "argument"), CASES)
def test_what_is_no_number_of_the_range_is_refused_by_name(name, argument):
    call, _, outside = CASES[name, argument]
    for value, error in [
        *((v, DtypeError) for v in ("0.5", None, [0.5], 1j, abs)),
        *((v, ShapeError) for v in (np.ones(2), fnp.ones((1, 1)))),
        *((v, RangeError) for v in (np.nan, fnp.asarray(np.nan), *outside, *map(np.float32, outside))),
    ]:
        with pytest.raises(error, match=rf"^{name}: {argument} must be .*, got "):
            call(value)


@pytest.mark.parametrize(("name", "argument"), CASES)
def test_numbers_and_arrays_of_no_axes_are_taken(name, argument):
    call, number, _ = CASES[name, argument]
    for value in (number, np.float64(number), np.asarray(number), fnp.asarray(number)):
        assert call(value) is not None


def test_a_traced_rate_of_dropout():
    x = np.ones(100, np.float32)
    found = fdl.jit(lambda rate: nn.dropout(KEY, rate, x))(0.5)
    np.testing.assert_array_equal(found, nn.dropout(KEY, 0.5, x))


def test_names_and_constants():
    with pytest.raises(ValueError, match="variance_scaling takes the modes fan_in, .*, got 'fan_both'"):
        initializers.variance_scaling(1.0, "fan_both", "normal")
    with pytest.raises(ValueError, match="takes 'truncated_normal', 'normal' or 'uniform', got 'cauchy'"):
        initializers.variance_scaling(1.0, "fan_in", "cauchy")
    with pytest.raises((LeafError, DtypeError)):
        initializers.constant("3")
    assert initializers.constant([1.0, 2.0])(KEY, (2, 2)).tolist() == [[1, 2], [1, 2]]
