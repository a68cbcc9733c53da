"""Further optimizers against the rules of their papers in NumPy's float64."""

import functools

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import optim, tree
from fdl.errors import ShapeError

STEPS, RATE = 20, 0.1


@pytest.fixture
def problem(rng):
    return rng.normal(size=(4, 3)), rng.normal(size=(STEPS, 4, 3))


def check(optimizer, problem, step, rtol=1e-6, **extra):
    """Compare with ``step(t, params, gradient, memory)`` returning the update, t = 1, 2, ..., memory a dict."""
    params, gradients = problem
    expected, memory = params.copy(), {}
    found, state = fnp.asarray(params), optimizer.init(fnp.asarray(params))
    update = fdl.jit(functools.partial(optimizer.update, **extra))
    for t, g in enumerate(gradients, 1):
        expected = expected + step(t, expected, g, memory)
        made, state = update(fnp.asarray(g), state, found)
        found = optim.apply_updates(found, made)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-9)


def decayed(memory, name, value, decay, first=0.0):
    memory[name] = decay * memory.get(name, first) + (1 - decay) * value
    return memory[name]


def test_yogi(problem):
    def step(t, x, g, memory):
        m, v = decayed(memory, "m", g, 0.9, 1e-6), memory.get("v", 1e-6)
        v = memory["v"] = v - (1 - 0.999) * np.sign(v - g * g) * g * g
        return -RATE * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-3)

    check(optim.yogi(RATE), problem, step)


def test_adan(problem):
    def step(t, x, g, memory):
        d = g - memory.get("g", g)
        memory["g"] = g
        m, v, n = (
            decayed(memory, k, y, b) / (1 - b**t)
            for k, y, b in (("m", g, 0.98), ("v", d, 0.92), ("n", (g + 0.08 * d) ** 2, 0.99))
        )
        return -RATE * ((m + 0.08 * v) / (np.sqrt(n + 1e-8) + 1e-8) + 0.1 * x)

    check(optim.adan(RATE, weight_decay=0.1), problem, step)


def test_novograd(problem):
    def step(t, x, g, memory):
        square = np.sum(g * g)
        memory["v"] = square if t == 1 else 0.25 * memory["v"] + 0.75 * square
        unit = g / (np.sqrt(memory["v"]) + 1e-6) + 0.1 * x
        memory["m"] = unit if t == 1 else 0.9 * memory["m"] + unit
        return -RATE * memory["m"]

    check(optim.novograd(RATE, weight_decay=0.1), problem, step)


def test_rprop(problem):
    def step(t, x, g, memory):
        size, last = memory.get("size", np.full_like(g, RATE)), memory.get("last", np.zeros_like(g))
        sign = np.sign(g * last)
        size = np.where(sign > 0, np.minimum(1.2 * size, 50.0), np.where(sign < 0, np.maximum(0.5 * size, 1e-6), size))
        memory["size"], memory["last"] = size, np.where(sign < 0, 0.0, g)
        return -size * np.sign(memory["last"])

    check(optim.rprop(RATE), problem, step)


def test_ademamix(problem):
    def step(t, x, g, memory):
        m, v = decayed(memory, "m", g, 0.9) / (1 - 0.9**t), decayed(memory, "v", g * g, 0.999) / (1 - 0.999**t)
        return -RATE * (m + 5 * decayed(memory, "slow", g, 0.9999)) / (np.sqrt(v) + 1e-8)

    check(optim.ademamix(RATE), problem, step)
    check(optim.ademamix(RATE, alpha=lambda count: 5.0, b3=lambda count: 0.9999), problem, step)


def test_adopt(problem):
    def step(t, x, g, memory):
        if t == 1:
            memory["v"] = g * g
            return np.zeros_like(g)
        bound = (t - 1) ** 0.25
        unit = np.clip(g / np.maximum(np.sqrt(memory["v"]), 1e-6), -bound, bound)
        memory["v"] = 0.99 * memory["v"] + 0.01 * g * g
        return -RATE * decayed(memory, "m", unit, 0.9)

    check(optim.adopt(RATE, b2=0.99), problem, step)


def test_optimistic_gradient_descent(problem):
    def step(t, x, g, memory):
        old, memory["g"] = memory.get("g", g), g
        return -RATE * (2 * g - old)

    check(optim.optimistic_gradient_descent(RATE), problem, step)


@pytest.mark.parametrize("factored", [False, True])
def test_adafactor(problem, factored):
    def step(t, x, g, memory):
        decay, square = 1 - t**-0.8, g * g + 1e-30
        if factored:
            row, column = decayed(memory, "r", square.mean(1), decay), decayed(memory, "c", square.mean(0), decay)
            v = row[:, None] * column / row.mean()
        else:
            v = decayed(memory, "v", square, decay)
        u = g / np.sqrt(v)
        u = u / max(1.0, np.sqrt(np.mean(u * u)))
        return -(RATE * u * max(np.sqrt(np.mean(x * x)), 1e-3) + 0.01 * x)

    optimizer = optim.adafactor(RATE, min_dim_size_to_factor=3, factored=factored, weight_decay_rate=0.01)
    check(optimizer, problem, step, 1e-5)


def test_the_state_of_adafactor_is_rows_and_columns():
    state = optim.scale_by_factored_rms().init({"w": fnp.zeros((300, 200)), "b": fnp.zeros(300)})
    assert sum(x.size for x in tree.leaves(state)) == 1 + 300 + 200 + 300


def test_sm3(problem):
    def step(t, x, g, memory):
        rows, columns = memory.get("r", np.zeros(4)), memory.get("c", np.zeros(3))
        v = np.minimum(rows[:, None], columns) + g * g
        memory["r"], memory["c"] = v.max(1), v.max(0)
        return -RATE * decayed(memory, "m", g / np.sqrt(v + 1e-8), 0.9)

    check(optim.sm3(RATE), problem, step)


def newton_schulz(x):
    x = x.T / np.linalg.norm(x)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T


def test_muon(problem):
    def step(t, x, g, memory):
        m = decayed(memory, "m", g, 0.95)
        ahead = 0.95 * m / (1 - 0.95 ** (t + 1)) + 0.05 * g / (1 - 0.95**t)
        return -RATE * newton_schulz(ahead)

    check(optim.muon(RATE), problem, step, 1e-5)
    singular = np.linalg.svd(optim.scale_by_muon().update(problem[1][0], optim.scale_by_muon().init(problem[0]))[0])[1]
    assert singular.min() > 0.5 and singular.max() < 1.3  # where the quintic polynomial leaves them


def test_schedule_free_sgd(problem):
    def step(t, y, g, memory):
        z, x = memory.get("z", y), memory.get("x", y)
        z = memory["z"] = z - RATE * g
        x = memory["x"] = (1 - 1 / t) * x + z / t
        return 0.9 * x + 0.1 * z - y

    check(optim.schedule_free_sgd(RATE), problem, step, 1e-5)
    params, gradients = problem
    optimizer, state = optim.schedule_free_sgd(RATE), optim.schedule_free_sgd(RATE).init(fnp.asarray(params))
    at, zs = fnp.asarray(params), []
    for g in gradients[:3]:
        updates, state = optimizer.update(fnp.asarray(g), state, at)
        at = optim.apply_updates(at, updates)
        zs.append(np.asarray(state.z))
    np.testing.assert_allclose(optim.schedule_free_eval_params(state, at), np.mean(zs, 0), rtol=1e-6)
    with pytest.raises(TypeError, match="needs the state of schedule_free, got tuple"):
        optim.schedule_free_eval_params((state,), at)


def quadratic(w):
    return 0.5 * (w * w).sum()


@pytest.mark.parametrize("opaque", [False, True])
def test_sam_descends_with_the_gradient_of_the_point_above(rng, opaque):
    """With the gradient w, the point above is w + rho w / |w|."""
    climb = optim.chain(optim.normalize(), optim.sgd(0.05))
    optimizer = optim.sam(optim.sgd(RATE), climb, opaque_mode=opaque)
    w = expected = rng.normal(size=3)
    state = optimizer.init(fnp.asarray(w))
    w = fnp.asarray(w)
    for _ in range(3):
        expected = expected - RATE * (expected + 0.05 * expected / np.linalg.norm(expected))
        for _ in range(1 if opaque else 2):
            extra = {"grad_fn": lambda p, i: fdl.grad(quadratic)(p)} if opaque else {}
            updates, state = optimizer.update(fdl.grad(quadratic)(w), state, w, **extra)
            w = optim.apply_updates(w, updates)
    np.testing.assert_allclose(w, expected, rtol=1e-6)


def test_prodigy(problem):
    def step(t, x, g, memory):
        x0, d = memory.setdefault("x0", x), memory.get("d", 0.1)
        rate = d * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        b3 = np.sqrt(0.999)
        memory["top"] = b3 * memory.get("top", 0.0) + d / 0.1 * rate * np.sum(g * (x0 - x))
        memory["s"] = b3 * memory.get("s", 0.0) + rate * d / 0.1 * g
        m, v = decayed(memory, "m", d * g, 0.9), decayed(memory, "v", d * d * g * g, 0.999)
        memory["d"] = max(d, memory["top"] / np.abs(memory["s"]).sum())
        return -rate * m / (np.sqrt(v) + d * 1e-8)

    check(optim.prodigy(estim_lr0=0.1), problem, step, 1e-4)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_madgrad(problem, momentum):
    def step(t, x, g, memory):
        x0, weight = memory.setdefault("x0", x), (RATE + 1e-6) * np.sqrt(t)
        memory["v"] = memory.get("v", 0.0) + weight * g * g
        memory["s"] = memory.get("s", 0.0) + weight * g
        return (1 - momentum) * (x0 - memory["s"] / (np.cbrt(memory["v"]) + 1e-6) - x)

    check(optim.madgrad(RATE, momentum), problem, step, 1e-5)


def test_cocob(problem):
    def step(t, x, g, memory):
        x0 = memory.setdefault("x0", x)
        m = memory["m"] = np.maximum(memory.get("m", 1e-8), np.abs(g))
        a = memory["a"] = memory.get("a", 0.0) + np.abs(g)
        r = memory["r"] = np.maximum(memory.get("r", 0.0) - g * (x - x0), 0)
        s = memory["s"] = memory.get("s", 0.0) - g
        return x0 - x + s / (m * np.maximum(a + m, 100 * m)) * (m + r)

    check(optim.cocob(), problem, step)


def test_dog_and_dowg(problem):
    def dog(t, x, g, memory):
        far = memory["far"] = max(memory.get("far", 0.5), np.linalg.norm(x - memory.setdefault("x0", x)))
        memory["s"] = memory.get("s", 0.0) + np.sum(g * g)
        return -far / np.sqrt(memory["s"] + 1e-8) * g

    def dowg(t, x, g, memory):
        far = memory["far"] = max(memory.get("far", 0.25), np.sum((x - memory.setdefault("x0", x)) ** 2))
        memory["s"] = memory.get("s", 0.0) + far * np.sum(g * g)
        return -far / (np.sqrt(memory["s"]) + 1e-4) * g

    check(optim.dog(init_step=("distance", 0.5)), problem, dog, 1e-5)
    check(optim.dowg(init_estim_sq_dist=0.25), problem, dowg, 1e-5)
    with pytest.raises(ValueError, match="'distance' | 'heuristic'"):
        optim.dog(init_step=("size", 1.0))


def test_polyak_steps_need_the_value(problem):
    check(optim.polyak_sgd(9.0, f_min=1.0), problem, lambda t, x, g, memory: -2.0 * g / np.sum(g * g), value=3.0)
    optimizer = optim.polyak_sgd(0.5, variant="sps+", f_min=5.0)
    assert optimizer.update(fnp.ones(2), optimizer.init(fnp.ones(2)), value=3.0)[0].tolist() == [0, 0]


def test_plateaus_shrink_updates():
    """One better value, two that are not, one of cooldown, and two again."""
    optimizer = optim.reduce_on_plateau(0.5, patience=2, cooldown=1, accumulation_size=2, rtol=0.1)
    state, scales = optimizer.init(fnp.zeros(1)), []
    for value in [1.0] * 12:
        updates, state = optimizer.update(fnp.ones(1), state, value=fnp.asarray(value))
        scales.append(updates.item())
    assert scales == [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]


def test_sophia_divides_by_the_diagonal():
    """Of a quadratic the estimate is exact; the first step knows no curvature yet and is clipped."""
    h = np.array([1.0, 200.0])
    optimizer, w = optim.scale_by_sophia(0.0, 0.0, gamma=1.0, update_interval=1), fnp.array([0.5, 0.5])
    state = optimizer.init(w)
    for expected in ([1.0, 1.0], [0.5, 0.5]):
        updates, state = optimizer.update(h * w, state, w, obj_fn=lambda w: 0.5 * (h * w * w).sum())
        np.testing.assert_allclose(updates, expected, rtol=1e-6)
    np.testing.assert_allclose(optim.hvp(lambda w: (w**3).sum(), w, w), 6 * np.asarray(w) ** 2, rtol=1e-6)


def test_noise_has_the_variance_it_should_and_the_key_decides():
    t, w = optim.add_noise(4.0, 2.0, key=1), fnp.zeros(20_000)
    state = t.init(w)
    spreads = []
    for _ in range(3):
        updates, state = t.update(w, state)
        spreads.append(np.asarray(updates).std())
    np.testing.assert_allclose(spreads, [2.0, 1.0, 2 / 3], rtol=0.03)
    other = optim.add_noise(4.0, 2.0, key=fdl.random.key(1))
    assert np.array_equal(t.update(w, t.init(w))[0], other.update(w, other.init(w))[0])


def test_private_gradients_are_clipped_one_by_one(rng):
    grads = {"w": rng.normal(size=(5, 2, 2)), "b": rng.normal(size=(5, 3))}
    norms = np.sqrt((grads["w"] ** 2).sum((1, 2)) + (grads["b"] ** 2).sum(1))
    factors = np.minimum(1, 1.5 / norms)
    found, clipped = optim.per_example_global_norm_clip(grads, 1.5)
    np.testing.assert_allclose(found["b"], (factors[:, None] * grads["b"]).sum(0))
    assert clipped.item() == (norms > 1.5).sum()
    t = optim.differentially_private_aggregate(1.5, 0.0, key=1)
    updates, _ = t.update(grads, t.init(found))
    np.testing.assert_allclose(updates["w"], np.einsum("e,eij->ij", factors, grads["w"]) / 5)
    each, _ = optim.per_example_layer_norm_clip(grads, 1.5)
    bound = 1.5 / np.sqrt(2)
    factors = np.minimum(1, bound / np.linalg.norm(grads["b"], axis=1))
    np.testing.assert_allclose(each["b"], (factors[:, None] * grads["b"]).sum(0))
    with pytest.raises(ShapeError, match=r"needs gradients \[examples"):
        optim.per_example_global_norm_clip({"w": np.ones((2, 2)), "b": np.ones(3)}, 1.0)


def test_units_are_clipped_by_their_own_norm(rng):
    w, g = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    found = optim.adaptive_grad_clip(0.2).update(g, (), w)[0]
    most, size = 0.2 * np.linalg.norm(w, axis=0), np.linalg.norm(g, axis=0)
    np.testing.assert_allclose(found, g * np.minimum(1, most / size), rtol=1e-6)


def test_steps_that_are_not_finite_are_left_out_for_a_while():
    optimizer = optim.apply_if_finite(optim.sgd(1.0, 0.5), 2)
    state, made = optimizer.init(fnp.zeros(1)), []
    for g in (1.0, np.nan, np.inf, np.nan, 1.0):
        updates, state = fdl.jit(optimizer.update)(fnp.array([g]), state)
        made.append(updates.item())
    assert made[:3] == [-1.0, 0.0, 0.0] and np.isnan(made[3])  # the third in a row goes through
    assert state.total_notfinite.item() == 3 and state.notfinite_count.item() == 0


def test_gradients_that_are_left_out_of_a_mean():
    steps = optim.MultiSteps(optim.sgd(1.0), 2, should_skip_update_fn=optim.skip_not_finite)
    state, made = steps.init(fnp.zeros(1)), []
    for g in (1.0, np.inf, 3.0, 5.0):
        updates, state = steps.update(fnp.array([g]), state)
        made.append((updates.item(), steps.has_updated(state).item()))
    assert made == [(0.0, False), (0.0, False), (-2.0, True), (0.0, False)]
    growing = optim.multi_steps(optim.sgd(1.0), lambda updates: updates + 1, use_grad_mean=False)
    state, made = growing.init(fnp.zeros(1)), []
    for _ in range(6):
        updates, state = growing.update(fnp.ones(1), state)
        made.append(updates.item())
    assert made == [-1, 0, -2, 0, 0, -3]


def test_hyperparameters_are_in_the_state_and_take_effect():
    optimizer = optim.inject_hyperparams(optim.adamw)(learning_rate=optim.linear_schedule(1.0, 0.0, 4), b1=0.5)
    params = fnp.ones(2)
    state, update = optimizer.init(params), fdl.jit(optimizer.update)
    for expected in (1.0, 0.75, 0.5):
        _, state = update(fnp.ones(2), state, params)
        assert state.hyperparams["learning_rate"].item() == expected and state.hyperparams["b1"].item() == 0.5
    state = optim.tree.set(state, b1=fnp.asarray(0.25))
    assert update(fnp.ones(2), state, params)[1].hyperparams["b1"].item() == 0.25
    with pytest.raises(ValueError, match="static_args has"):
        optim.inject_hyperparams(optim.sgd, static_args="rate")


def test_frozen_leaves_have_no_state():
    params = {"w": fnp.ones(2), "b": fnp.ones(3)}
    optimizer = optim.selective_transform(optim.adam(0.1), freeze_mask={"w": True, "b": False})
    sizes = [x.size for x in tree.leaves(optimizer.init(params))]
    assert sorted(sizes) == [1, 3, 3]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("contrib", "use the same names in fdl.optim itself"),
        ("momo", "use polyak_sgd"),
        ("adamW", "did you mean adamw"),
        ("xyzzy", "no attribute 'xyzzy'$"),
    ],
)
def test_names_that_do_not_exist_say_what_to_use(name, message):
    with pytest.raises(AttributeError, match=message):
        getattr(optim, name)


def test_losses_have_their_names_here_too():
    assert optim.softmax_cross_entropy is fdl.nn.softmax_cross_entropy is optim.losses.softmax_cross_entropy


def test_trees(rng):
    x, y = ({"w": rng.normal(size=(2, 3)), "b": rng.normal(size=2)} for _ in range(2))
    flat = [np.concatenate([t["b"], t["w"].ravel()]) for t in (x, y)]
    t = optim.tree
    assert t.norm(x).item() == pytest.approx(np.linalg.norm(flat[0]))
    assert t.norm(x, 1).item() == pytest.approx(np.abs(flat[0]).sum())
    assert t.norm(x, "inf", squared=True).item() == pytest.approx(np.abs(flat[0]).max() ** 2)
    assert t.vdot(x, y).item() == pytest.approx(flat[0] @ flat[1])
    assert (t.sum(x).item(), t.max(x).item(), t.min(x).item()) == pytest.approx(
        (flat[0].sum(), flat[0].max(), flat[0].min())
    )
    np.testing.assert_allclose(t.add_scale(x, 2.0, y)["w"], x["w"] + 2 * y["w"])
    np.testing.assert_allclose(t.add(x, y, x)["b"], 2 * x["b"] + y["b"])
    np.testing.assert_allclose(t.div(t.mul(x, y), y)["b"], t.sub(x, t.zeros_like(x))["b"])
    assert t.allclose(x, x) and not t.allclose(x, y) and t.size(x) == 8
    assert optim.tree_utils.tree_norm is t.norm
    z = {"w": np.array([3 + 4j])}
    assert t.norm(z).item() == 5 and t.vdot(z, z).item() == 25
    with pytest.raises(ValueError, match="'highest' or 'lowest'"):
        t.dtype({"w": np.ones(1), "b": np.ones(1, np.float32)})
    with pytest.raises(KeyError, match="several entries"):
        t.get(optim.chain(optim.adam(1.0), optim.scale_by_adam()).init(fnp.zeros(1)), "mu")
    assert t.get(optim.adam(1.0).init(fnp.zeros(1)), "ScaleByAdamState").count.item() == 0


@pytest.mark.parametrize("name", ["simplex", "l1_sphere", "l1_ball", "l2_sphere", "l2_ball", "linf_ball", "box"])
def test_projections_are_the_nearest_points_of_the_set(rng, name):
    """No point of the set, of many, is nearer; what lies in the set stays."""
    x = rng.normal(size=(3,)) * 2
    inside = {
        "simplex": lambda: rng.dirichlet(np.ones(3)),
        "l1_sphere": lambda: rng.dirichlet(np.ones(3)) * rng.choice([-1, 1], 3),
        "l1_ball": lambda: rng.uniform() * rng.dirichlet(np.ones(3)) * rng.choice([-1, 1], 3),
        "l2_sphere": lambda: (v := rng.normal(size=3)) / np.linalg.norm(v),
        "l2_ball": lambda: rng.uniform() * (v := rng.normal(size=3)) / np.linalg.norm(v),
        "linf_ball": lambda: rng.uniform(-1, 1, 3),
        "box": lambda: rng.uniform(-0.5, 1, 3),
    }[name]
    project = getattr(optim, f"projection_{name}")
    project = functools.partial(project, lower=-0.5, upper=1.0) if name == "box" else project
    found = np.concatenate(tree.leaves(tree.map(np.asarray, project({"a": x[:1], "b": x[1:]}))))
    others = np.stack([inside() for _ in range(300)])
    assert np.linalg.norm(found - x) <= np.linalg.norm(others - x, axis=1).min() + 1e-9
    np.testing.assert_allclose(project(others[0]), others[0], atol=1e-6)


def test_projections_onto_planes(rng):
    x, a = rng.normal(size=(2, 4))
    on = np.asarray(optim.projection_hyperplane(x, a, 0.5))
    assert on @ a == pytest.approx(0.5)
    np.testing.assert_allclose((on - x) / a, ((on - x) / a)[0])
    np.testing.assert_allclose(optim.projection_halfspace(x, a, x @ a + 1), x)
    np.testing.assert_allclose(
        optim.projection_halfspace(x, a, x @ a - 1), optim.projection_hyperplane(x, a, x @ a - 1)
    )
    np.testing.assert_allclose(optim.projection_vector(x, a), a * (x @ a) / (a @ a))
