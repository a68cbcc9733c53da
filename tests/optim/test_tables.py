"""by_rows: exact steps equal dense ones, lazy steps leave rows without a gradient alone."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import optim
from fdl.errors import TreeError

ROWS, WIDTH, STEPS = 23, 5, 9


def schedule(count):
    return 0.1 / (1.0 + count)


OPTIMIZERS = {
    "momentum": optim.sgd(schedule, 0.9),
    "adam schedule": optim.adam(optim.warmup_cosine_decay_schedule(0.0, 0.1, 3, 8)),
    "nadam": optim.nadam(0.1),
    "decay schedule": optim.adamw(0.1, weight_decay=schedule),
    "amsgrad": optim.amsgrad(0.1),
    "rmsprop": optim.rmsprop(0.1, momentum=0.9),
    "lion": optim.lion(0.1),
    "half moments": optim.adam(0.1, mu_dtype=fnp.bfloat16),
}


def parameters(dtype=np.float32):
    rng = np.random.default_rng(0)
    return {
        "table": fnp.array(rng.normal(size=(ROWS, WIDTH)).astype(dtype)),
        "w": fnp.array(rng.normal(size=WIDTH).astype(dtype)),
    }


def batches(seed=1, steps=STEPS):
    """Ids with duplicates; some rows are met often, some never."""
    rng = np.random.default_rng(seed)
    return [np.minimum(rng.geometric(0.2, size=7) - 1, ROWS - 4).astype(np.int32) for _ in range(steps)]


def loss(params, ids):
    return ((params["table"][ids] @ params["w"] - 1.0) ** 2).sum()


def train(optimizer, sparse, params, ids, compiled=True, before=()):
    """Parameters and state after a step on each of the batches."""
    if sparse is not None:
        optimizer = optim.by_rows(optimizer, {"table": True, "w": False}, lazy=sparse == "lazy")
    optimizer = optim.chain(*before, optimizer)

    def step(params, state, ids):
        if sparse == "exact":
            params, state = optim.catch_up(optimizer, params, state, {"table": ids, "w": None})
        grads = fdl.grad(loss, sparse=sparse is not None)(params, ids)
        updates, state = optimizer.update(grads, state, params)
        return optim.apply_updates(params, updates), state

    if compiled:
        step = fdl.jit(step, donate_argnums=(0, 1))
    state = optimizer.init(params)
    for batch in ids:
        params, state = step(params, state, batch)
    return optim.catch_up(optimizer, params, state)


def close(found, expected, tolerance=2e-6):
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], tolerance, tolerance, err_msg=name)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_exact_steps_equal_dense_steps(name):
    optimizer = OPTIMIZERS[name]
    expected = train(optimizer, None, parameters(np.float64), batches(), compiled=False)[0]
    found = train(optimizer, "exact", parameters(np.float64), batches())[0]
    close(found, expected, {"half moments": 1e-2, "adam schedule": 1e-7}.get(name, 1e-10))


@pytest.mark.parametrize("width", [(1,), (3, 45), (128,)])
@pytest.mark.parametrize("sparse", ["exact", "lazy"])
def test_wide_rows_of_large_tables(width, sparse):
    """Rows of whole vectors and of what is left behind them, more than one thread divides; moments of two dtypes."""
    rng = np.random.default_rng(0)
    extent, params = 700, {"table": rng.normal(size=(700, *width)).astype(np.float32)}
    optimizer = optim.by_rows(optim.adamw(0.1, mu_dtype=fnp.bfloat16), lazy=sparse == "lazy")
    rows = [rng.permutation(extent)[:300].astype(np.int32) for _ in range(3)]
    rows[1][7], rows[2][8] = -1, extent
    values = [rng.normal(size=(300, *width)).astype(np.float32) for _ in rows]

    def step(params, state, rows, values):
        params, state = optim.catch_up(optimizer, params, state, {"table": rows})
        gradient = {"table": fdl.Rows(rows, values, params["table"].shape, True)}
        updates, state = optimizer.update(gradient, state, params)
        return optim.apply_updates(params, updates), state

    made = []
    for run in (fdl.jit(step, donate_argnums=(0, 1)), step):
        found, state = fdl.tree.map(fnp.array, params), optimizer.init(params)
        for each in zip(rows, values, strict=True):
            found, state = run(found, state, *map(fnp.asarray, each))
        made.append(optim.catch_up(optimizer, found, state)[0]["table"])
    np.testing.assert_allclose(*made, 1e-5, 1e-5)
    if sparse == "lazy":
        return
    expected, state = params, (dense := optim.adamw(0.1, mu_dtype=fnp.bfloat16)).init(params)
    for each in zip(rows, values, strict=True):
        gradient = {"table": fdl.Rows(*map(fnp.asarray, each), (extent, *width), True).dense()}
        updates, state = dense.update(gradient, state, expected)
        expected = optim.apply_updates(expected, updates)
    np.testing.assert_allclose(made[0], expected["table"], 2e-2, 2e-2)


@pytest.mark.parametrize("sparse", ["exact", "lazy"])
def test_a_step_of_rows_has_a_derivative(sparse):
    """By the learning rate, as tuning of hyperparameters takes it; against finite differences in double precision."""
    params = parameters(np.float64)
    gradient = {"table": fdl.Rows(fnp.array([1, 5, ROWS]), fnp.ones((3, WIDTH), "f8"), (ROWS, WIDTH), True)}
    gradient["w"] = fnp.ones(WIDTH, "f8")

    def after(rate, scale):
        optimizer = optim.by_rows(optim.adamw(rate), {"table": True, "w": False}, lazy=sparse == "lazy")
        scaled = {"table": gradient["table"] * scale, "w": gradient["w"]}
        updates, _ = optimizer.update(scaled, optimizer.init(params), params)
        return (optim.apply_updates(params, updates)["table"] ** 2).sum()

    fdl.test_util.check_grads(after, (fnp.array(0.3, "f8"), fnp.array(1.5, "f8")), order=1)


def test_exact_steps_without_compiling():
    close(
        train(optim.adamw(0.1), "exact", parameters(), batches(steps=4), compiled=False)[0],
        train(optim.adamw(0.1), None, parameters(), batches(steps=4), compiled=False)[0],
    )


def test_a_missed_step_has_the_bits_of_a_dense_one():
    """One row gets one gradient, and then none."""
    optimizer = optim.adamw(schedule, weight_decay=0.1)
    ids = [np.array([3], np.int32)] + [np.zeros(0, np.int32)] * 40
    found, expected = (train(optimizer, kind, parameters(), ids)[0]["table"] for kind in ("exact", None))
    np.testing.assert_array_equal(found, expected)


def test_more_steps_than_the_history_holds(monkeypatch):
    monkeypatch.setattr(optim.tables, "MOST_MISSED", 8)
    expected = train(optim.adam(schedule), None, parameters(), batches(steps=30), compiled=False)[0]
    close(train(optim.adam(schedule), "exact", parameters(), batches(steps=30))[0], expected, 1e-5)


@pytest.mark.parametrize("clip", [optim.clip_by_global_norm(0.5), optim.clip(0.1)])
def test_clipping_goes_before(clip):
    """Many duplicates, so that a norm of the rows one by one would be another one."""
    ids = [np.array([2, 2, 2, 5], np.int32)] * 3
    expected = train(optim.adam(0.1), None, parameters(), ids, False, [clip])[0]
    close(train(optim.adam(0.1), "exact", parameters(), ids, before=[clip])[0], expected)


def test_lazy_adam_is_a_loop_over_the_rows_with_a_gradient():
    rate, b1, b2, eps = 0.1, 0.9, 0.999, 1e-8
    params = parameters(np.float64)
    table, w = (np.array(params[name]) for name in ("table", "w"))
    m, v, mw, vw = np.zeros_like(table), np.zeros_like(table), np.zeros_like(w), np.zeros_like(w)
    ids = batches()

    def adam(x, m, v, g, t):
        m[...] = b1 * m + (1 - b1) * g
        v[...] = b2 * v + (1 - b2) * g * g
        x -= rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)

    for t, batch in enumerate(ids, 1):
        error = 2 * (table[batch] @ w - 1.0)
        of_table, of_w = np.zeros_like(table), error @ table[batch]
        np.add.at(of_table, batch, error[:, None] * w)
        for row in np.unique(batch):
            adam(table[row], m[row], v[row], of_table[row], t)
        adam(w, mw, vw, of_w, t)
    found, state = train(optim.adam(rate), "lazy", params, ids)
    np.testing.assert_allclose(found["table"], table, 1e-10)
    np.testing.assert_allclose(found["w"], w, 1e-10)
    assert int(state[0].count) == len(ids)


def test_a_dense_gradient_of_a_table_is_taken_too():
    optimizer = optim.adam(0.1, sparse={"table": True, "w": False})
    dense, params = optim.adam(0.1), parameters()
    expected, found, state, its = params, params, optimizer.init(params), dense.init(params)
    for batch in batches(steps=4):
        grads = fdl.grad(loss)(expected, batch)
        updates, its = dense.update(grads, its, expected)
        expected = optim.apply_updates(expected, updates)
        found, state = optim.catch_up(optimizer, found, state)
        updates, state = optimizer.update(fdl.grad(loss)(found, batch), state, found)
        found = optim.apply_updates(found, updates)
    close(found, expected)


def test_rows_that_were_not_caught_up_become_nan():
    optimizer = optim.adam(0.1, sparse=True)
    table = fnp.ones((4, 2))
    state = optimizer.init(table)
    for row in (0, 1, 0):
        grads = fdl.grad(lambda t, row=row: t[fnp.array([row])].sum(), sparse=True)(table)
        if row == 1:
            table, state = optim.catch_up(optimizer, table, state, fnp.array([row]))
        updates, state = optimizer.update(grads, state, table)
        table = optim.apply_updates(table, updates)
    assert np.isnan(np.asarray(table)).all(1).tolist() == [True, False, False, False]


def test_lookups_are_found_in_the_loss():
    """Whatever way they take; the step that uses them equals a dense one."""

    def of_two(params, ids):
        first = fdl.vmap(lambda i: params["tables"][0][i])(ids)
        second = fdl.jit(lambda t: fnp.take(t, ids % 4, axis=0))(params["tables"][1])
        return ((first @ params["w"] - second.sum(1)) ** 2).sum() + params["tables"][2].sum()

    kinds = {"tables": True, "w": False}
    tables = [parameters()["table"][:n] for n in (ROWS, 4, 3)]
    params, ids = {"tables": tables, "w": fnp.ones(WIDTH)}, fnp.array([3, 17, 3])
    rows = fdl.jit(optim.lookups(of_two, kinds))(params, ids)
    assert [r.tolist() for r in rows["tables"]] == [[3, 17, 3], [3, 1, 3], [0, 1, 2]] and rows["w"] is None
    exact, dense = optim.adam(0.1, sparse=kinds), optim.adam(0.1)
    found, expected, state, its = params, params, exact.init(params), dense.init(params)
    for batch in batches(steps=3):
        found, state = optim.catch_up(exact, found, state, optim.lookups(of_two, kinds)(found, batch))
        updates, state = exact.update(fdl.grad(of_two, sparse=kinds)(found, batch), state, found)
        found = optim.apply_updates(found, updates)
        updates, its = dense.update(fdl.grad(of_two)(expected, batch), its, expected)
        expected = optim.apply_updates(expected, updates)
    found, _ = optim.catch_up(exact, found, state)
    for one, other in zip(fdl.tree.leaves(found), fdl.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, 2e-5, 2e-6)


def test_no_rows_and_rows_out_of_bounds():
    params = parameters()
    grads = {"table": fdl.Rows(fnp.array([ROWS, -1, 2]), fnp.ones((3, WIDTH)), (ROWS, WIDTH)), "w": fnp.zeros(WIDTH)}
    optimizer = optim.adam(0.1, sparse={"table": True, "w": False})
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    after = optim.apply_updates(params, updates)["table"]
    changed = (np.asarray(after) != np.asarray(params["table"])).any(1)
    assert np.flatnonzero(changed).tolist() == [2]
    none = train(optim.adam(0.1), "exact", parameters(), [np.zeros(0, np.int32)] * 2)[0]
    np.testing.assert_array_equal(none["table"], params["table"])


def test_a_step_touches_no_whole_table():
    """Compiled, neither the code of a step nor its memory know how long the table is."""
    from fdl.compile.ir.steps import LoopNest
    from fdl.compile.passes.order import prepared
    from fdl.compile.schedule.planner import make_plan

    rows = 10**9

    def of_rows(table, ids):
        return (table[ids] ** 2).sum()

    for lazy in (True, False):
        optimizer = optim.adam(schedule, sparse=True, lazy=lazy)

        def step(table, state, ids, optimizer=optimizer):
            table, state = optim.catch_up(optimizer, table, state, ids)
            grads = fdl.grad(of_rows, sparse=True)(table, ids)
            updates, state = optimizer.update(grads, state, table)
            return optim.apply_updates(table, updates), state

        table = fdl.ShapeDtypeStruct((rows, 4), np.float32)
        state = fdl.eval_shape(optimizer.init, table)
        program = fdl.make_program(step)(table, state, fdl.ShapeDtypeStruct((7,), np.int32))
        donate = tuple(t.shape != (7,) for t in program.input_types)
        plan = make_plan(prepared(program), donate)
        # A 1024th of the table is visited: one int32 for each of its rows.
        assert plan.arena_bytes < (10**5 if lazy else 4 * 4 * rows / 1024)
        for single in plan.steps:
            if isinstance(single, LoopNest):
                assert np.prod(single.loops.extents) < rows
        whole = [v for single in plan.steps for v in single.outputs if v.type.shape[:1] == (rows,)]
        assert len(whole) >= 3 and all(plan.slots[v].kind == "input" for v in whole)


@pytest.mark.parametrize("kind", [None, "exact"])
def test_the_bits_do_not_depend_on_the_number_of_threads(kind):
    """Enough rows that threads divide them; the dense gradient begins as zeros that all threads write."""
    rng = np.random.default_rng(0)
    table, results = rng.normal(size=(3000, 32)).astype(np.float32), []
    ids = [np.minimum(rng.geometric(0.002, 2000), 2999).astype(np.int32) for _ in range(4)]
    before = fdl.get_num_threads()
    try:
        for threads in (1, 2):
            fdl.set_num_threads(threads)
            params = {"table": fnp.array(table), "w": fnp.ones(32)}
            results.append(train(optim.adam(schedule), kind, params, ids)[0]["table"])
    finally:
        fdl.set_num_threads(before)
    np.testing.assert_array_equal(*results)


def test_mistakes():
    with pytest.raises(ValueError, match="element-wise"):
        optim.by_rows(optim.lamb(0.1))
    with pytest.raises(ValueError, match="follows exact by_rows"):
        optim.chain(optim.adam(0.1, sparse=True), optim.scale(2.0))
    with pytest.raises(ValueError, match="hide that rows have to catch up"):
        optim.masked(optim.adam(0.1, sparse=True), True)
    assert optim.chain(optim.adam(0.1, sparse=True, lazy=True), optim.scale(2.0)).catch_up is None
    optimizer = optim.adam(0.1, sparse={"table": True, "w": False})
    params = parameters()
    with pytest.raises(TreeError, match="give None for parameters that are no tables"):
        optim.catch_up(optimizer, params, optimizer.init(params), {"table": fnp.array([1])})


def test_lookups_without_a_gradient_are_found_too():
    """Rows that a step reads must be up to date, whatever it does with them."""

    def of_all(params, ids):
        table = params["table"]
        return (table[ids] @ params["w"]).sum(), table[fdl.lax.stop_gradient(ids) + 1].sum()

    def of_one(params, ids):
        return fdl.lax.stop_gradient(params["table"])[ids].sum()

    params, ids, kinds = parameters(), fnp.array([3, 17, 3]), {"table": True, "w": False}
    rows = fdl.jit(optim.lookups(of_all, kinds))(params, ids)["table"]
    assert rows.tolist() == [3, 17, 3, 4, 18, 4]
    assert set(ids.tolist()) <= set(optim.lookups(of_one, kinds)(params, ids)["table"].tolist())
    assert optim.lookups(lambda p, i: p["table"], kinds)(params, ids)["table"].tolist() == list(range(ROWS))
    assert optim.lookups(lambda p, i: p["w"], kinds)(params, ids)["table"].tolist() == []
