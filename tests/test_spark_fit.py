"""The fit of the cost model finds constants again from noisy steps, and says what it cannot find."""

from dataclasses import replace
from math import exp

import numpy as np
import pytest

from benchmarks.spark import model
from benchmarks.spark.fit import FREE, PRIOR, Point, fit, refusals
from fdl_spark.cost import Constants


def steps(truth: Constants, noise: float, seed: int = 0, cases=None) -> list[Point]:
    """Steps of the benchmark's cases on a machine that is as the model says, but for the noise."""
    rng = np.random.default_rng(seed)
    points = []
    for case, held_out in cases or model.cases():
        slices, size = case.slices or 1, case.size
        compute, update = 1e-10 * size, truth.update_byte * size / case.ranks
        point = Point(case.engine, case.ranks, size, slices, 50, compute, update, 1.0, held_out)
        points.append(replace(point, step=point.predicted(truth) * exp(noise * rng.standard_normal())))
    return points


def scaled(seed: int) -> Constants:
    """Constants that are up to four times their priors, or a quarter."""
    rng = np.random.default_rng(seed)
    return replace(PRIOR, **{name: getattr(PRIOR, name) * 4 ** rng.uniform(-1, 1) for name in FREE})


@pytest.mark.parametrize("seed", range(2))
def test_exact_steps_give_their_constants_nearly(seed):
    """Not quite: what steps tell least is drawn to its prior."""
    truth = scaled(seed)
    found = fit(steps(truth, 0.0), truth.sum_byte)
    for name, error in found.errors.items():
        off = abs(np.log(getattr(found.constants, name) / getattr(truth, name)))
        assert off < (0.1 if error < 0.2 else 0.5), name
    assert {"job", "stage", "message", "driver_byte", "worker_byte", "exchange_byte"} <= set(found.errors)
    assert not found.bound
    assert not refusals(found, steps(truth, 0.0))


@pytest.mark.parametrize("seed", range(3))
def test_noisy_steps_give_their_constants_within_the_stated_errors(seed):
    truth = scaled(seed)
    points = steps(truth, 0.1, seed)
    found = fit(points, truth.sum_byte)
    for name, error in found.errors.items():
        off = abs(np.log(getattr(found.constants, name) / getattr(truth, name)))
        assert off < 4 * max(error, 0.02), name
    assert not refusals(found, points)


def test_steps_that_are_far_off_hardly_count():
    truth = scaled(1)
    points = [replace(p, step=p.step * (10 if n % 20 == 0 else 1)) for n, p in enumerate(steps(truth, 0.02))]
    found = fit(points, truth.sum_byte)
    for name in ("job", "worker_byte"):
        assert getattr(found.constants, name) == pytest.approx(getattr(truth, name), rel=0.3), name


def test_what_the_steps_do_not_tell_is_held_at_its_prior():
    """Steps of one engine tell nothing of what only another one does."""
    truth = replace(scaled(2), message=PRIOR.message, exchange_byte=PRIOR.exchange_byte)
    points = [point for point in steps(truth, 0.05) if point.engine != "resident"]
    found = fit(points, truth.sum_byte)
    assert {"message", "exchange_byte"} <= set(found.held)
    assert found.constants.message == PRIOR.message


def test_a_model_that_does_not_hold_is_refused():
    truth = scaled(3)
    rng = np.random.default_rng(3)
    points = [replace(point, step=10 ** rng.uniform(-3, 0)) for point in steps(truth, 0.0)]
    assert any("held-out" in reason for reason in refusals(fit(points, truth.sum_byte), points))
    fitted = [point for point in points if not point.held_out]
    assert "no point was held out" in refusals(fit(fitted, truth.sum_byte), fitted)


def test_a_constant_at_its_bound_is_refused():
    truth = replace(PRIOR, job=1000 * PRIOR.job)
    points = steps(truth, 0.0)
    found = fit(points, truth.sum_byte)
    assert "job" in found.bound
    assert any(reason.startswith("job is at an end") for reason in refusals(found, points))


def test_held_out_steps_are_not_fitted():
    truth = scaled(4)
    points = steps(truth, 0.05)
    other = [replace(p, step=9.0) if p.held_out else p for p in points]
    assert fit(points, truth.sum_byte) == fit(other, truth.sum_byte)
