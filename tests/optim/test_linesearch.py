"""Line searches and L-BFGS: the conditions that steps meet, and minima that are known."""

import numpy as np
import pytest
from scipy import optimize

import fdl
import fdl.numpy as fnp
from fdl import lax, optim


def rosenbrock(w, scale=1.0):
    return scale * fnp.sum(100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2)


START = np.array([0.2, 1.2, 0.8, 1.3])


def minimize(optimizer, loss, start, steps, **extra):
    """Parameters, and the state, after a scan of steps; with the values on the way."""

    @fdl.jit
    def run(w, state):
        def step(carry, _):
            w, state = carry
            value, grad = fdl.value_and_grad(loss)(w, **extra)
            updates, state = optimizer.update(grad, state, w, value=value, grad=grad, value_fn=loss, **extra)
            return (optim.apply_updates(w, updates), state), value

        return lax.scan(step, (w, state), length=steps)

    w = fnp.asarray(start)
    return run(w, optimizer.init(w))


@pytest.mark.parametrize("search", ["zoom", "backtracking"])
def test_lbfgs_finds_the_minimum_within_a_scan(search):
    line = {"zoom": "zoom", "backtracking": optim.scale_by_backtracking_linesearch(25)}[search]
    (w, _), values = minimize(optim.lbfgs(memory_size=5, linesearch=line), rosenbrock, START, 60, scale=0.5)
    np.testing.assert_allclose(w, 1, atol=1e-6)
    assert values[-1] < 1e-12 and (np.diff(np.asarray(values)) <= 1e-12).all()


def test_lbfgs_of_a_tree_in_float32():
    def loss(p):
        return fnp.sum((p["w"] - 3) ** 4) + fnp.sum((p["b"] - p["w"][0]) ** 2)

    p, optimizer = {"w": fnp.zeros(3), "b": fnp.ones((2, 2))}, optim.lbfgs()
    state, fresh = optimizer.init(p), optim.value_and_grad_from_state(loss)
    for _ in range(12):
        value, grad = fresh(p, state=state)
        updates, state = fdl.jit(lambda g, s, p, v: optimizer.update(g, s, p, value=v, grad=g, value_fn=loss))(
            grad, state, p, value
        )
        p = optim.apply_updates(p, updates)
    assert p["w"].dtype == np.float32 and loss(p).item() < 1e-3
    value, grad = fresh(p, state=state)  # what the search kept is what is there
    np.testing.assert_allclose(value, loss(p), rtol=1e-5)
    np.testing.assert_allclose(grad["w"], fdl.grad(loss)(p)["w"], rtol=1e-4, atol=1e-6)


def test_the_two_loops_are_the_matrix_of_the_definition(rng):
    """Nocedal, Wright (2006), eq. 7.16, with the newest pairs."""
    memory, n = 3, 4
    xs, gs = rng.normal(size=(6, n)), rng.normal(size=(6, n))
    transformation = optim.scale_by_lbfgs(memory)
    state = transformation.init(fnp.asarray(xs[0]))
    for x, g in zip(xs, gs, strict=True):
        found, state = transformation.update(fnp.asarray(g), state, fnp.asarray(x))
    s, y = np.diff(xs, axis=0)[-memory:], np.diff(gs, axis=0)[-memory:]
    h = np.eye(n) * (s[-1] @ y[-1]) / (y[-1] @ y[-1])
    for a, b in zip(s, y, strict=True):
        v = np.eye(n) - np.outer(b, a) / (a @ b)
        h = v.T @ h @ v + np.outer(a, a) / (a @ b)
    np.testing.assert_allclose(found, h @ gs[-1], rtol=1e-8)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_zoom_meets_the_conditions_of_wolfe(scale):
    search = optim.scale_by_zoom_linesearch(40, curv_rtol=0.4, approx_dec_rtol=None, stepsize_precision=0.0)
    w = fnp.asarray(START)
    value, grad = fdl.value_and_grad(rosenbrock)(w)
    direction = -scale * grad
    updates, state = search.update(direction, search.init(w), w, value=value, grad=grad, value_fn=rosenbrock)
    step, after = state.learning_rate.item(), fdl.value_and_grad(rosenbrock)(w + updates)
    slope, flat = (grad @ direction).item(), (after[1] @ direction).item()
    assert after[0] <= value + 1e-4 * step * slope and abs(flat) <= 0.4 * abs(slope)
    np.testing.assert_allclose(updates, step * np.asarray(direction))
    np.testing.assert_allclose([state.value, *state.grad], [after[0], *after[1]], rtol=1e-12)
    assert state.info.curvature_error == 0 == state.info.decrease_error


def test_backtracking_takes_the_first_step_that_is_short_enough():
    search = optim.scale_by_backtracking_linesearch(50, slope_rtol=0.1, decrease_factor=0.5, store_grad=True)
    w = fnp.asarray(START)
    value, grad = fdl.value_and_grad(rosenbrock)(w)
    updates, state = search.update(-grad, search.init(w), w, value=value, grad=grad, value_fn=rosenbrock)
    rates = 0.5 ** np.arange(50)
    enough = [
        optimize.rosen(START - r * np.asarray(grad)) <= value.item() - 0.1 * r * (grad @ grad).item() for r in rates
    ]
    assert state.learning_rate == rates[np.argmax(enough)]
    np.testing.assert_allclose(state.grad, optimize.rosen_der(np.asarray(w + updates)), rtol=1e-10)


@pytest.mark.parametrize("make", [optim.scale_by_zoom_linesearch, optim.scale_by_backtracking_linesearch])
def test_a_search_without_success_takes_no_step_into_what_is_not_finite(make):
    def loss(w):
        return fnp.where(w > 0.5, fnp.nan, -w).sum()

    search, w = make(4), fnp.zeros(1)
    updates, _ = search.update(fnp.array([1e6]), search.init(w), w, value=0.0, grad=fnp.array([-1.0]), value_fn=loss)
    assert np.isfinite(loss(w + updates))


def test_vmap_of_searches_is_a_loop():
    optimizer = optim.lbfgs(linesearch=optim.scale_by_zoom_linesearch(8))
    starts = np.stack([START, -START])

    def one(w):
        value, grad = fdl.value_and_grad(rosenbrock)(w)
        return optimizer.update(grad, optimizer.init(w), w, value=value, grad=grad, value_fn=rosenbrock)[0]

    np.testing.assert_allclose(fdl.vmap(one)(starts), np.stack([one(fnp.asarray(w)) for w in starts]), rtol=1e-9)


def test_what_is_missing_is_said():
    with pytest.raises(ValueError, match=r"scale_by_backtracking_linesearch\(store_grad=True\)"):
        optim.value_and_grad_from_state(rosenbrock)(START, state=optim.adam(1.0).init(START))
    with pytest.raises(ValueError, match="'zoom' as linesearch, got 'armijo'"):
        optim.lbfgs(linesearch="armijo")
