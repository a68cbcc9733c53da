"""Optimizers against their published formulas in float64, and how transformations combine."""

import pickle

import cloudpickle
import numpy as np
import pytest

import fdl.numpy as fnp
from fdl import optim, tree

STEPS, RATE = 5, 0.1


@pytest.fixture
def problem(rng):
    """Parameters, and a gradient per step, as vectors of float64."""
    return rng.normal(size=6), rng.normal(size=(STEPS, 6))


def run(optimizer, params, gradients):
    """The parameters after steps with the given gradients."""
    state = optimizer.init(params)
    for g in gradients:
        updates, state = optimizer.update(g, state, params)
        params = optim.apply_updates(params, updates)
    return params


def check(optimizer, problem, step):
    """Compare with ``step(t, params, gradient, memory)`` returning the update, t = 1, 2, ..., memory a dict."""
    params, gradients = problem
    expected, memory = params.copy(), {}
    for t, g in enumerate(gradients, 1):
        expected = expected + step(t, expected, g, memory)
    found = run(optimizer, fnp.asarray(params), map(fnp.asarray, gradients))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def decayed(memory, name, value, decay):
    memory[name] = decay * memory.get(name, 0.0) + (1 - decay) * value
    return memory[name]


def adam_direction(t, g, memory, eps=1e-8):
    m, v = decayed(memory, "m", g, 0.9), decayed(memory, "v", g * g, 0.999)
    return (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + eps)


def test_sgd(problem):
    check(optim.sgd(RATE), problem, lambda t, x, g, memory: -RATE * g)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum(problem, nesterov):
    def step(t, x, g, memory):
        memory["m"] = g + 0.9 * memory.get("m", 0.0)
        return -RATE * (g + 0.9 * memory["m"] if nesterov else memory["m"])

    check(optim.sgd(RATE, 0.9, nesterov), problem, step)


def test_adam(problem):
    check(optim.adam(RATE), problem, lambda t, x, g, memory: -RATE * adam_direction(t, g, memory))


def test_adamw(problem):
    check(
        optim.adamw(RATE, weight_decay=0.2),
        problem,
        lambda t, x, g, memory: -RATE * (adam_direction(t, g, memory) + 0.2 * x),
    )


def test_nadam(problem):
    def step(t, x, g, memory):
        m, v = decayed(memory, "m", g, 0.9), decayed(memory, "v", g * g, 0.999)
        ahead = 0.9 * m / (1 - 0.9 ** (t + 1)) + 0.1 * g / (1 - 0.9**t)
        return -RATE * ahead / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)

    check(optim.nadam(RATE), problem, step)


def test_amsgrad(problem):
    def step(t, x, g, memory):
        m, v = decayed(memory, "m", g, 0.9), decayed(memory, "v", g * g, 0.999)
        memory["top"] = np.maximum(memory.get("top", 0.0), v / (1 - 0.999**t))
        return -RATE * m / (1 - 0.9**t) / (np.sqrt(memory["top"]) + 1e-8)

    check(optim.amsgrad(RATE), problem, step)


def test_adamax(problem):
    def step(t, x, g, memory):
        memory["u"] = np.maximum(0.999 * memory.get("u", 0.0), np.abs(g) + 1e-8)
        return -RATE * decayed(memory, "m", g, 0.9) / (1 - 0.9**t) / memory["u"]

    check(optim.adamax(RATE), problem, step)


def test_adabelief(problem):
    def step(t, x, g, memory):
        m = decayed(memory, "m", g, 0.9)
        s = decayed(memory, "s", (g - m) ** 2, 0.999)
        return -RATE * m / (1 - 0.9**t) / (np.sqrt(s / (1 - 0.999**t)) + 1e-16)

    check(optim.adabelief(RATE), problem, step)


def test_radam(problem):
    limit = 2 / (1 - 0.9) - 1

    def step(t, x, g, memory):
        m, v = decayed(memory, "m", g, 0.9) / (1 - 0.9**t), decayed(memory, "v", g * g, 0.9) / (1 - 0.9**t)
        length = limit - 2 * t * 0.9**t / (1 - 0.9**t)
        if length < 4:
            return -RATE * m
        ratio = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
        return -RATE * np.sqrt(ratio) * m / (np.sqrt(v) + 1e-8)

    params, gradients = problem
    check(optim.radam(RATE, b2=0.9, threshold=4.0), (params, np.tile(gradients, (3, 1))), lambda t, *a: step(t, *a))


def test_adagrad(problem):
    def step(t, x, g, memory):
        memory["s"] = memory.get("s", 0.1) + g * g
        return -RATE * g / np.sqrt(memory["s"] + 1e-7)

    check(optim.adagrad(RATE), problem, step)


def test_adadelta(problem):
    def step(t, x, g, memory):
        s = decayed(memory, "s", g * g, 0.9)
        update = np.sqrt(memory.get("x", 0.0) + 1e-6) / np.sqrt(s + 1e-6) * g
        decayed(memory, "x", update**2, 0.9)
        return -RATE * update

    check(optim.adadelta(RATE), problem, step)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_rmsprop(problem, centered, inside):
    def step(t, x, g, memory):
        v, m = decayed(memory, "v", g * g, 0.9), decayed(memory, "m", g, 0.9)
        v = v - m * m if centered else v
        memory["p"] = 0.8 * memory.get("p", 0.0) - RATE * g / (np.sqrt(v + 1e-3) if inside else np.sqrt(v) + 1e-3)
        return memory["p"]

    check(optim.rmsprop(RATE, eps=1e-3, eps_in_sqrt=inside, centered=centered, momentum=0.8), problem, step)


def test_lion(problem):
    def step(t, x, g, memory):
        direction = np.sign(0.9 * memory.get("m", 0.0) + 0.1 * g)
        decayed(memory, "m", g, 0.99)
        return -RATE * (direction + 0.3 * x)

    check(optim.lion(RATE, weight_decay=0.3), problem, step)


def test_lamb_scales_each_leaf_by_its_trust_ratio(problem):
    def step(t, x, g, memory):
        direction = adam_direction(t, g, memory, 1e-6) + 0.1 * x
        return -RATE * direction * np.linalg.norm(x) / np.linalg.norm(direction)

    check(optim.lamb(RATE, weight_decay=0.1), problem, step)


def test_lars(problem):
    def step(t, x, g, memory):
        direction = g + 0.1 * x
        direction = direction * 0.001 * np.linalg.norm(x) / np.linalg.norm(direction)
        memory["p"] = 0.9 * memory.get("p", 0.0) - RATE * direction
        return memory["p"]

    check(optim.lars(RATE, weight_decay=0.1), problem, step)


def test_states_are_arrays_and_counts_int32():
    params = {"w": fnp.ones((2,), "bfloat16")}
    state = optim.adam(optim.linear_schedule(1.0, 0.0, 10), mu_dtype="float32").init(params)
    assert state[0].count.dtype == np.int32 and state[0].mu["w"].dtype == np.float32
    updates, state = optim.adam(1.0, mu_dtype="float32").update({"w": fnp.ones((2,), "bfloat16")}, state, params)
    assert state[0].count.item() == 1
    assert str(optim.apply_updates(params, updates)["w"].dtype) == "bfloat16"


def test_a_transformation_is_a_pair_and_pickles():
    init, update = optim.adam(RATE)
    assert callable(init) and callable(update)
    again = pickle.loads(cloudpickle.dumps(optim.adamw(RATE)))
    assert again.elementwise and run(again, fnp.ones(2), [fnp.ones(2)]).shape == (2,)


def test_clipping():
    g = {"a": fnp.array([3.0, 0.0]), "b": fnp.array([-4.0])}
    apply = lambda t: t.update(g, t.init(g), g)[0]  # noqa: E731
    assert optim.global_norm(g).item() == 5
    clipped = apply(optim.clip_by_global_norm(1.0))
    np.testing.assert_allclose(np.concatenate(tree.leaves(clipped)), [0.6, 0, -0.8], rtol=1e-6)
    assert tree.map(lambda x: x.tolist(), apply(optim.clip_by_global_norm(6.0))) == {"a": [3.0, 0.0], "b": [-4.0]}
    assert apply(optim.clip(2.0))["b"].tolist() == [-2.0]
    rms = apply(optim.clip_by_block_rms(1.0))
    np.testing.assert_allclose(rms["a"], np.array([3.0, 0.0]) / np.sqrt(4.5), rtol=1e-6)
    assert apply(optim.keep_params_nonnegative())["b"].tolist() == [4.0]


def test_masked_and_multi_transform():
    params = {"w": fnp.ones(2), "deep": {"b": fnp.ones(2)}}
    g = tree.map(lambda p: 2 * p, params)
    only_w = optim.masked(optim.scale(-1.0), {"w": True, "deep": False})
    updates, _ = only_w.update(g, only_w.init(params), params)
    assert updates["w"].tolist() == [-2.0, -2.0] and updates["deep"]["b"].tolist() == [2.0, 2.0]
    labels = lambda p: {"w": "fast", "deep": "frozen"}  # noqa: E731
    split = optim.multi_transform({"fast": optim.sgd(1.0, 0.5), "frozen": optim.set_to_zero()}, labels)
    state = split.init(params)
    for factor in (1.0, 1.5):
        updates, state = split.update(g, state, params)
        assert updates["w"].tolist() == [-2.0 * factor] * 2 and updates["deep"]["b"].tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match=r"no transformation for the labels.*slow"):
        optim.multi_transform({"fast": optim.sgd(1.0)}, {"w": "slow", "deep": "fast"}).init(params)


def test_multi_steps_uses_the_mean_gradient(problem):
    params, gradients = problem
    optimizer = optim.multi_steps(optim.sgd(RATE), 2)
    found = run(optimizer, fnp.asarray(params), map(fnp.asarray, gradients[:4]))
    np.testing.assert_allclose(found, params - RATE * gradients[:4].sum(0) / 2, rtol=1e-12)


def test_zero_nans_ema_and_incremental_update():
    bad = {"w": fnp.array([fnp.nan, 1.0])}
    zero = optim.zero_nans()
    assert zero.update(bad, zero.init(bad))[0]["w"].tolist() == [0.0, 1.0]
    average = optim.ema(0.9)
    g = {"w": fnp.ones(1)}
    np.testing.assert_allclose(average.update(g, average.init(g))[0]["w"], [1.0], rtol=1e-6)
    assert optim.incremental_update({"w": 1.0}, {"w": 0.0}, 0.25) == {"w": 0.25}


def test_parameters_are_asked_for():
    optimizer = optim.adamw(RATE)
    params = fnp.ones(1)
    with pytest.raises(ValueError, match=r"update\(grads, state, params\)"):
        optimizer.update(params, optimizer.init(params))
