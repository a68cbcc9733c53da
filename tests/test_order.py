"""Tests do not depend on their order."""

import numpy as np
import pytest

RANDOM = np.random.default_rng(3)


@pytest.mark.parametrize("time", ["first", "second"])
def test_generators_of_a_module_start_anew_in_each_test(time):
    assert RANDOM.random() == np.random.default_rng(3).random()
