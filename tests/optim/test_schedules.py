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
    (optim.inverse_time_decay(1.0, 10, 0.5), {0: 1.0, 10: 1 / 1.5, 20: 0.5, 60: 0.25}),
    (optim.inverse_time_decay(1.0, 10, 0.5, 3, True), {3: 1.0, 12: 1.0, 13: 1 / 1.5}),
    (optim.inverse_time_decay(2.0, 0, 0.5), {0: 2.0, 60: 2.0}),
    (optim.natural_exp_decay(1.0, 10, 0.5), {0: 1.0, 10: math.exp(-0.5), 15: math.exp(-0.75)}),
    (optim.natural_exp_decay(1.0, 10, 0.5, staircase=True), {9: 1.0, 10: math.exp(-0.5), 19: math.exp(-0.5)}),
    (optim.epoch_schedule(lambda epoch: 1.0 / epoch, 4, 3), {0: 1.0, 3: 1.0, 4: 0.5, 11: 1 / 3, 99: 1 / 3}),
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


RATE, EPOCH = 0.5, 7  # the learning rate, and steps of an epoch
STEPS = np.arange(60)
EPOCHS = STEPS // EPOCH + 1  # BigDL counts them from one


def decay(epoch):
    return 2.0 if epoch >= 6 else 1.0 if epoch >= 3 else 0.0


#: BigDL's names: the schedule that docs/controls.md gives for it, and what its source computes.
BIGDL = {
    "Default": (optim.inverse_time_decay(RATE, 1, 0.1), RATE / (1 + STEPS * 0.1)),
    "Poly": (optim.polynomial_schedule(RATE, 0.0, 0.5, 40), RATE * (1 - np.minimum(STEPS, 40) / 40) ** 0.5),
    "Step": (optim.exponential_decay(RATE, 9, 0.3, staircase=True), RATE * 0.3 ** (STEPS // 9)),
    "MultiStep": (
        optim.piecewise_constant_schedule(RATE, {5: 0.3, 20: 0.3}),
        RATE * 0.3 ** ((STEPS >= 5).astype(int) + (STEPS >= 20)),
    ),
    "Exponential": (optim.exponential_decay(RATE, 9, 0.3), RATE * 0.3 ** (STEPS / 9)),
    "NaturalExp": (optim.natural_exp_decay(RATE, 9, 0.3, staircase=True), RATE * np.exp(-0.3 * (STEPS // 9))),
    "EpochDecay": (
        optim.epoch_schedule(lambda epoch: RATE * 0.1 ** decay(epoch), EPOCH, 9),
        RATE * 0.1 ** np.vectorize(decay)(EPOCHS),
    ),
    "EpochStep": (
        optim.epoch_schedule(lambda epoch: RATE * 0.3 ** (epoch // 2), EPOCH, 9),
        RATE * 0.3 ** (EPOCHS // 2),
    ),
    "EpochSchedule": (
        optim.epoch_schedule(lambda epoch: 0.1 if epoch <= 3 else 0.01, EPOCH, 9),
        np.where(EPOCHS <= 3, 0.1, 0.01),
    ),
    "PolyEpochDecay": (
        optim.epoch_schedule(lambda epoch: RATE * max(0, 1 - epoch / 5) ** 2, EPOCH, 9),
        RATE * (1 - np.minimum(EPOCHS, 5) / 5) ** 2,
    ),
    "Warmup": (optim.linear_schedule(RATE, RATE + 0.01 * 60, 60), RATE + 0.01 * STEPS),
    "EpochDecayWithWarmUp": (
        optim.join_schedules(
            [
                optim.linear_schedule(RATE, RATE + 0.01 * 10, 10),
                lambda step: optim.epoch_schedule(lambda e: (RATE + 0.1) * 0.1 ** decay(e), EPOCH, 9)(step + 10),
            ],
            [10],
        ),
        np.where(STEPS < 10, RATE + 0.01 * STEPS, (RATE + 0.1) * 0.1 ** np.vectorize(decay)(EPOCHS)),
    ),
    "SequentialSchedule": (
        optim.join_schedules(
            [optim.linear_schedule(0.1, RATE, 20), optim.polynomial_schedule(RATE, 0.0, 2.0, 30)], [20]
        ),
        np.where(STEPS < 20, 0.1 + (RATE - 0.1) * STEPS / 20, RATE * (1 - np.clip(STEPS - 20, 0, 30) / 30) ** 2),
    ),
}


@pytest.mark.parametrize("name", BIGDL)
def test_bigdl_by_name(name):
    """Its fourteenth, Plateau, goes by a metric: see tests/spark/test_controls.py."""
    schedule, expected = BIGDL[name]
    np.testing.assert_allclose(values(schedule, STEPS), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(fdl.vmap(schedule)(fnp.asarray(STEPS, "int32")), expected, rtol=1e-5, atol=1e-7)


def test_a_function_of_the_epoch_may_be_any():
    with pytest.raises(TypeError, match="rate_of"):
        optim.epoch_schedule(0.1, 4, 3)
    with pytest.raises(ValueError, match=r"rate_of\(2\)"):
        optim.epoch_schedule(lambda epoch: 1.0 if epoch < 2 else math.nan, 4, 3)
