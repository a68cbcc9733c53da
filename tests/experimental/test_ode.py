"""Solutions of differential equations against SciPy's, and their derivatives."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import fdl
import fdl.numpy as fnp
from fdl.errors import ShapeError
from fdl.experimental.ode import odeint

TIMES = np.array([0.0, 0.4, 1.1, 2.5, 2.6])
START = np.array([1.0, 0.3])
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def pendulum(y, t, k):
    return fnp.stack([y[1], -k * fnp.sin(y[0]) - 0.1 * y[1] + 0.2 * fnp.cos(t)])


def by_scipy(start, times, k):
    """Another method, of order 8."""

    def f(t, y):
        return [y[1], -k * np.sin(y[0]) - 0.1 * y[1] + 0.2 * np.cos(t)]

    options = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-12}
    return solve_ivp(f, (times[0], times[-1]), start, t_eval=times, **options).y.T


def test_solutions_are_those_of_scipy() -> None:
    found = fdl.jit(lambda y, t, k: odeint(pendulum, y, t, k, **EXACT))(START, TIMES, np.asarray(2.0))
    np.testing.assert_allclose(found, by_scipy(START, TIMES, 2.0), atol=1e-7)
    loose = odeint(pendulum, START, TIMES, np.asarray(2.0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(loose, found, atol=1e-2)
    assert np.abs(np.asarray(loose - found)).max() > 1e-8


@pytest.mark.parametrize("adjoint", [True, False])
def test_derivatives_are_those_of_the_solution(adjoint) -> None:
    weight = np.arange(10.0).reshape(5, 2) / 10

    def loss(y, t, k):
        return (odeint(pendulum, y, t, k, adjoint=adjoint, mxstep=100, **EXACT) * weight).sum()

    k, step = np.asarray(2.0), 1e-5
    by_start, by_time, by_k = fdl.jit(fdl.grad(loss, (0, 1, 2)))(START, TIMES, k)

    def numeric(change):
        return sum(s * (by_scipy(*change(s * step)) * weight).sum() for s in (1, -1)) / (2 * step)

    for n in range(2):
        expected = numeric(lambda d, n=n: (START + d * np.eye(2)[n], TIMES, 2.0))
        np.testing.assert_allclose(by_start[n], expected, rtol=1e-4)
    np.testing.assert_allclose(by_k, numeric(lambda d: (START, TIMES, 2.0 + d)), rtol=1e-4)
    for n in (0, 2, 4):
        expected = numeric(lambda d, n=n: (START, TIMES + d * np.eye(5)[n], 2.0))
        np.testing.assert_allclose(by_time[n], expected, rtol=1e-3, atol=1e-6)


def test_second_derivatives_by_adjoints_of_adjoints() -> None:
    def last(rate):
        return odeint(lambda y, t, rate: -rate * y, np.asarray(1.0), np.array([0.0, 1.3]), rate, **EXACT)[-1]

    found = fdl.jit(fdl.grad(fdl.grad(last)))(np.asarray(0.7))
    np.testing.assert_allclose(found, 1.3**2 * np.exp(-0.7 * 1.3), rtol=1e-6)


def test_forward_mode_through_the_steps() -> None:
    def last(rate):
        return odeint(lambda y, t: -rate * y, np.asarray(1.0), TIMES, adjoint=False, mxstep=64)[-1]

    value, slope = fdl.jvp(last, (np.asarray(0.7),), (np.asarray(1.0),))
    np.testing.assert_allclose([value, slope], [np.exp(-0.7 * 2.6), -2.6 * np.exp(-0.7 * 2.6)], rtol=1e-6)


def test_trees_closures_and_batches() -> None:
    def solve(rate, start):
        def f(y, t, scale):
            return {"a": -rate * y["a"], "b": scale * fnp.ones(2)}

        return odeint(f, {"a": start, "b": fnp.zeros(2)}, TIMES.astype(np.float32), 3)

    found = solve(np.float32(0.5), fnp.float32(2))
    np.testing.assert_allclose(found["a"], 2 * np.exp(-0.5 * TIMES), rtol=1e-5)
    np.testing.assert_allclose(found["b"], 3 * np.stack([TIMES, TIMES], 1), rtol=1e-5)
    rates = fnp.array([0.5, 1.0, 4.0])
    slopes = fdl.jit(fdl.vmap(fdl.grad(lambda rate: solve(rate, fnp.float32(2))["a"][-1])))(rates)
    np.testing.assert_allclose(slopes, -2 * 2.6 * np.exp(-2.6 * np.asarray(rates)), rtol=1e-3)


def test_what_cannot_be_reached_is_nan() -> None:
    found = odeint(lambda y, t: -y, 1.0, TIMES.astype(np.float32), mxstep=5)
    assert not np.isnan(found[0]) and np.isnan(found[-1])
    blown = odeint(lambda y, t: y * y, 1.0, fnp.array([0.0, 0.5, 2.0]), rtol=1e-5, atol=1e-5)  # a pole at 1
    np.testing.assert_allclose(blown[1], 2.0, rtol=1e-4)
    assert np.isnan(blown[2])


def test_one_time_and_wrong_times() -> None:
    np.testing.assert_array_equal(odeint(lambda y, t: y, fnp.ones(2), fnp.array([0.0])), [[1, 1]])
    with pytest.raises(ShapeError, match="times with one axis"):
        odeint(lambda y, t: y, 1.0, 2.0)
    with pytest.raises(ShapeError, match="floating-point values"):
        odeint(lambda y, t: y, 1, fnp.array([0.0, 1.0]))
