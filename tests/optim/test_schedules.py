"""Schedules at the steps where their definition fixes them."""

import math

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import optim


def values(schedule, counts):
    return [float(schedule(fnp.asarray(c, "int32"))) for c in counts]


CASES = [
    (optim.constant_schedule(0.5), {0: 0.5, 100: 0.5}),
    (optim.linear_schedule(1.0, 0.0, 10, 5), {0: 1.0, 5: 1.0, 10: 0.5, 15: 0.0, 50: 0.0}),
    (optim.polynomial_schedule(2.0, 1.0, 2.0, 10), {0: 2.0, 5: 1.25, 10: 1.0, 11: 1.0}),
    (optim.polynomial_schedule(2.0, 1.0, 2.0, 0), {0: 2.0, 9: 2.0}),
    (optim.exponential_decay(1.0, 10, 0.5), {0: 1.0, 5: math.sqrt(0.5), 20: 0.25}),
    (optim.exponential_decay(1.0, 10, 0.5, 3, True, 0.3), {3: 1.0, 12: 1.0, 13: 0.5, 40: 0.3}),
    (optim.cosine_decay_schedule(2.0, 10, 0.1), {0: 2.0, 5: 1.1, 10: 0.2, 30: 0.2}),
    (optim.warmup_constant_schedule(0.0, 1.0, 4), {0: 0.0, 1: 0.25, 4: 1.0, 9: 1.0}),
    (optim.warmup_cosine_decay_schedule(0.0, 1.0, 4, 12, 0.2), {0: 0.0, 2: 0.5, 4: 1.0, 8: 0.6, 12: 0.2, 20: 0.2}),
    (optim.warmup_exponential_decay_schedule(0.0, 1.0, 4, 2, 0.5), {2: 0.5, 4: 1.0, 6: 0.5, 8: 0.25}),
    (optim.piecewise_constant_schedule(1.0, {3: 0.5, 6: 0.1}), {0: 1.0, 2: 1.0, 3: 0.5, 5: 0.5, 6: 0.05}),
    (optim.piecewise_interpolate_schedule("linear", 1.0, {4: 3.0, 6: 0.5}), {0: 1.0, 2: 2.0, 4: 3.0, 5: 2.25, 9: 1.5}),
    (optim.piecewise_interpolate_schedule("cosine", 1.0, {4: 3.0}), {0: 1.0, 2: 2.0, 4: 3.0}),
    (optim.linear_onecycle_schedule(100, 1.0), {0: 0.04, 30: 1.0, 85: 0.04, 100: 4e-6}),
    (optim.cosine_onecycle_schedule(100, 1.0), {0: 0.04, 30: 1.0, 100: 4e-6}),
    (optim.join_schedules([optim.constant_schedule(1.0), lambda c: c * 1.0], [3]), {2: 1.0, 3: 0.0, 7: 4.0}),
    (
        optim.sgdr_schedule(
            [{"init_value": 0.0, "peak_value": v, "warmup_steps": 2, "decay_steps": 6} for v in (1.0, 0.5)]
        ),
        {0: 0.0, 2: 1.0, 4: 0.5, 6: 0.0, 8: 0.5, 10: 0.25, 12: 0.0},
    ),
]


@pytest.mark.parametrize(("schedule", "expected"), CASES)
def test_fixed_points(schedule, expected):
    np.testing.assert_allclose(values(schedule, expected), list(expected.values()), rtol=1e-5, atol=1e-7)


def test_schedules_work_under_jit_and_with_python_counts():
    schedule = optim.warmup_cosine_decay_schedule(0.0, 1.0, 4, 12)
    assert fdl.jit(schedule)(fnp.asarray(2, "int32")).item() == 0.5
    assert float(schedule(2)) == 0.5


def test_a_schedule_as_learning_rate_counts_steps():
    optimizer = optim.sgd(optim.linear_schedule(1.0, 0.0, 4))
    params = fnp.zeros((), "float64")
    state, rates = optimizer.init(params), []
    for _ in range(5):
        update, state = optimizer.update(fnp.ones((), "float64"), state)
        rates.append(-update.item())
    assert rates == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_bad_arguments():
    with pytest.raises(ValueError, match="positive decay_steps"):
        optim.cosine_decay_schedule(1.0, 0)
    with pytest.raises(ValueError, match="'linear' or 'cosine'"):
        optim.piecewise_interpolate_schedule("cubic", 1.0)
