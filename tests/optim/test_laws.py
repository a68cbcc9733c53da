"""Laws of all optimizers and transformations on one table; formulas are in test_optimizers and test_precision."""

import inspect
import io
import pickle

import ml_dtypes
import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import optim, tree

RATE, STEPS = 0.125, 3
DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float64": np.float64}


def falling(count):
    return RATE / (1.0 + count)


def masked_adam():
    return optim.masked(optim.adam(RATE), lambda params: tree.map(lambda p: fnp.ndim(p) > 1, params))


def two_kinds():
    kinds = {"fast": optim.sgd(RATE, 0.5), "slow": optim.adam(RATE)}
    return optim.multi_transform(
        kinds, lambda params: tree.map(lambda p: "fast" if fnp.ndim(p) > 1 else "slow", params)
    )


#: By public name; after a comma stands what is special. All but those below are element-wise.
CASES = {
    "sgd": optim.sgd(RATE),
    "sgd, momentum": optim.sgd(RATE, 0.9),
    "sgd, nesterov": optim.sgd(falling, 0.9, nesterov=True),
    "sign_sgd": optim.sign_sgd(RATE),
    "adam": optim.adam(RATE),
    "adam, nesterov": optim.adam(falling, nesterov=True, eps_root=1e-8),
    "nadam": optim.nadam(RATE),
    "adamw": optim.adamw(RATE, weight_decay=0.25),
    "nadamw": optim.nadamw(falling, weight_decay=falling),
    "amsgrad": optim.amsgrad(RATE),
    "adamax": optim.adamax(RATE),
    "adabelief": optim.adabelief(RATE),
    "radam": optim.radam(RATE, b2=0.9, threshold=4.0),
    "adagrad": optim.adagrad(RATE),
    "adadelta": optim.adadelta(RATE, weight_decay=0.25),
    "rmsprop": optim.rmsprop(RATE, momentum=0.9),
    "rmsprop, centered": optim.rmsprop(RATE, centered=True, bias_correction=True, eps=1.0),
    "lion": optim.lion(RATE),
    "lamb": optim.lamb(RATE, weight_decay=0.25),
    "lars": optim.lars(RATE, trust_coefficient=0.1),
    "add_decayed_weights": optim.add_decayed_weights(0.25),
    "add_decayed_weights, schedule": optim.add_decayed_weights(falling),
    "by_path": optim.by_path({"*b": optim.sgd(RATE, 0.5), "*": optim.adam(RATE)}),
    "by_rows": optim.by_rows(optim.adam(RATE), False),
    "centralize": optim.centralize(),
    "chain": optim.chain(optim.clip(0.5), optim.trace(0.9), optim.scale(-RATE)),
    "chain, whole": optim.chain(optim.adam(RATE), optim.clip_by_global_norm(0.5)),
    "clip": optim.clip(0.5),
    "clip_by_block_norm": optim.clip_by_block_norm(0.5),
    "clip_by_block_rms": optim.clip_by_block_rms(0.5),
    "clip_by_global_norm": optim.clip_by_global_norm(0.5),
    "ema": optim.ema(0.9),
    "identity": optim.identity(),
    "lookahead": optim.lookahead(optim.sgd(RATE, 0.5), 2, 0.5),
    "lookahead, whole": optim.lookahead(optim.lamb(RATE), 2, 0.5),
    "keep_params_nonnegative": optim.keep_params_nonnegative(),
    "masked": masked_adam(),
    "multi_steps": optim.multi_steps(optim.adam(RATE), 2),
    "multi_transform": two_kinds(),
    "params_ema": optim.params_ema(0.9),
    "scale": optim.scale(-RATE),
    "scale_by_adadelta": optim.scale_by_adadelta(),
    "scale_by_adam": optim.scale_by_adam(),
    "scale_by_adamax": optim.scale_by_adamax(),
    "scale_by_amsgrad": optim.scale_by_amsgrad(),
    "scale_by_belief": optim.scale_by_belief(),
    "scale_by_learning_rate": optim.scale_by_learning_rate(falling),
    "scale_by_lion": optim.scale_by_lion(),
    "scale_by_radam": optim.scale_by_radam(),
    "scale_by_rms": optim.scale_by_rms(),
    "scale_by_rss": optim.scale_by_rss(),
    "scale_by_schedule": optim.scale_by_schedule(falling),
    "scale_by_stddev": optim.scale_by_stddev(eps=1.0, bias_correction=True),
    "scale_by_trust_ratio": optim.scale_by_trust_ratio(),
    "set_to_zero": optim.set_to_zero(),
    "stateless": optim.stateless(lambda updates, params: tree.map(lambda g, p: g * p, updates, params), True),
    "trace": optim.trace(0.9),
    "zero_nans": optim.zero_nans(),
}
#: Those with fewer laws, as each case costs time: all dtypes under jit, a loop for vmap, empty trees, rows, descent.
MORE = {
    "adafactor": optim.adafactor(RATE, min_dim_size_to_factor=2),
    "adamaxw": optim.adamaxw(RATE),
    "adan": optim.adan(RATE),
    "ademamix": optim.ademamix(RATE),
    "adopt": optim.adopt(RATE),
    "dog": optim.dog(init_step=("distance", RATE)),
    "dowg": optim.dowg(init_estim_sq_dist=RATE),
    "fromage": optim.fromage(RATE),
    "muon": optim.muon(RATE),
    "noisy_sgd": optim.noisy_sgd(RATE, eta=0.0),
    "novograd": optim.novograd(RATE),
    "optimistic_adam": optim.optimistic_adam(RATE),
    "optimistic_adam_v2": optim.optimistic_adam_v2(falling),
    "optimistic_gradient_descent": optim.optimistic_gradient_descent(RATE),
    "cocob": optim.cocob(),
    "madgrad": optim.madgrad(RATE),
    "scale_by_cocob": optim.scale_by_cocob(),
    "scale_by_madgrad": optim.scale_by_madgrad(RATE),
    "prodigy": optim.prodigy(estim_lr0=RATE),
    "rprop": optim.rprop(RATE),
    "schedule_free": optim.schedule_free(optim.sgd(RATE), RATE),
    "schedule_free_adamw": optim.schedule_free_adamw(RATE),
    "schedule_free_sgd": optim.schedule_free_sgd(RATE),
    "signum": optim.signum(RATE),
    "sm3": optim.sm3(RATE),
    "yogi": optim.yogi(RATE),
    "adaptive_grad_clip": optim.adaptive_grad_clip(0.1),
    "add_noise": optim.add_noise(0.0, 0.5),
    "apply_every": optim.apply_every(2),
    "apply_if_finite": optim.apply_if_finite(optim.adam(RATE), 2),
    "conditionally_mask": optim.conditionally_mask(optim.adam(RATE), lambda step: step > 0),
    "conditionally_transform": optim.conditionally_transform(optim.adam(RATE), lambda step: step > 0),
    "flatten": optim.flatten(optim.trace(0.9)),
    "freeze": optim.freeze(lambda params: tree.map(lambda p: fnp.ndim(p) > 1, params)),
    "monitor": optim.monitor({"norm": optim.global_norm}),
    "named_chain": optim.named_chain(("clip", optim.clip(0.5)), ("adam", optim.adam(RATE))),
    "normalize": optim.normalize(),
    "normalize_by_update_norm": optim.normalize_by_update_norm(2.0),
    "sam": optim.sam(optim.sgd(RATE), optim.sgd(0.01)),
    "scale_by_adan": optim.scale_by_adan(),
    "scale_by_ademamix": optim.scale_by_ademamix(),
    "scale_by_adopt": optim.scale_by_adopt(nesterov=True),
    "scale_by_factored_rms": optim.scale_by_factored_rms(),
    "scale_by_muon": optim.scale_by_muon(adaptive=True),
    "scale_by_novograd": optim.scale_by_novograd(weight_decay=0.1),
    "scale_by_optimistic_gradient": optim.scale_by_optimistic_gradient(),
    "scale_by_param_block_norm": optim.scale_by_param_block_norm(),
    "scale_by_param_block_rms": optim.scale_by_param_block_rms(),
    "scale_by_rprop": optim.scale_by_rprop(RATE),
    "scale_by_sign": optim.scale_by_sign(),
    "scale_by_sm3": optim.scale_by_sm3(),
    "scale_by_yogi": optim.scale_by_yogi(),
    "selective_transform": optim.selective_transform(optim.adam(RATE), freeze_mask=lambda params: False),
    "snapshot": optim.snapshot("norm", optim.global_norm),
    "with_extra_args_support": optim.with_extra_args_support(optim.adam(RATE)),
}
OPTIMIZERS_TOO = list(MORE)[: list(MORE).index("adaptive_grad_clip")]
ALIASES = ["inject_hyperparams", "inject_stateful_hyperparams", "partition"]
#: Those whose updates need more than gradients; see test_variants and test_linesearch.
WITH_EXTRA_ARGUMENTS = [
    "differentially_private_aggregate", "dpsgd", "hutchinson_estimator_diag_hessian", "lbfgs", "measure_with_ema",
    "polyak_sgd", "reduce_on_plateau", "scale_by_backtracking_linesearch", "scale_by_lbfgs", "scale_by_polyak",
    "scale_by_sophia", "scale_by_zoom_linesearch", "sophia",
]  # fmt: skip
NOT_ELEMENTWISE = [
    "lamb", "lars", "by_path", "by_rows", "centralize", "chain, whole", "clip_by_block_norm", "clip_by_block_rms",
    "clip_by_global_norm", "lookahead, whole", "masked", "multi_transform", "scale_by_trust_ratio",
]  # fmt: skip
ELEMENTWISE = [name for name in CASES if name not in NOT_ELEMENTWISE]
OPTIMIZERS = list(CASES)[: list(CASES).index("add_decayed_weights")]
#: Those under which a gradient that is Rows stays Rows.
KEEPS_ROWS = [
    "sgd", "sign_sgd", "clip", "clip_by_block_norm", "clip_by_block_rms", "clip_by_global_norm", "identity",
    "params_ema", "scale",
    "scale_by_learning_rate", "scale_by_schedule", "scale_by_trust_ratio", "set_to_zero", "zero_nans",
]  # fmt: skip


def shaped(kind, seed=0):
    """A leaf with two axes and one with one, not near zero."""
    rng = np.random.default_rng(seed)
    return {name: (rng.choice([-1, 1], s) * rng.uniform(0.3, 2, s)).astype(kind) for name, s in SHAPES.items()}


SHAPES = {"w": (3, 2), "b": (4,)}


def steps(update, optimizer, params, gradients):
    """The updates of all steps, and the last state."""
    state, made = optimizer.init(params), []
    for g in gradients:
        updates, state = update(g, state, params)
        made.append(updates)
    return made, state


def leaves(values):
    return [np.asarray(leaf) for leaf in tree.leaves(values)]


def same(found, expected, rtol=0.0, atol=0.0):
    found, expected = leaves(found), leaves(expected)
    assert [x.shape for x in found] == [x.shape for x in expected]
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x.astype(np.float64), y.astype(np.float64), rtol, atol)


def dtypes_of(values):
    return [leaf.dtype for leaf in leaves(values)]


def makers():
    """The public functions that return a transformation."""
    functions = [(name, getattr(optim, name)) for name in optim.__all__]
    return [n for n, f in functions if inspect.isfunction(f) and "GradientTransformation" in str(
        inspect.signature(f).return_annotation)]  # fmt: skip


def test_the_table_is_complete():
    names = {name.split(",")[0] for name in CASES | MORE}
    assert sorted({*makers()} - {*ALIASES, *WITH_EXTRA_ARGUMENTS}) == sorted(names)
    assert len(makers()) > 100 and [name for name in CASES if CASES[name].elementwise] == ELEMENTWISE


@pytest.mark.parametrize("name", CASES)
def test_every_dtype_rounds_the_updates_of_float64(name):
    """All dtypes beside each other in one tree, eager and compiled; their states keep their dtypes."""
    optimizer = CASES[name]
    params = {dtype: shaped(kind) for dtype, kind in DTYPES.items()}
    gradients = [{dtype: shaped(kind, seed) for dtype, kind in DTYPES.items()} for seed in range(1, STEPS + 1)]
    given = [tree.map(fnp.asarray, x) for x in (params, *gradients)]
    wide = [tree.map(lambda x: fnp.asarray(x.astype(np.float64)), x) for x in (params, *gradients)]
    expected, _ = steps(optimizer.update, optimizer, wide[0], wide[1:])
    for update in (optimizer.update, fdl.jit(optimizer.update)):
        found, state = steps(update, optimizer, given[0], given[1:])
        assert dtypes_of(state) == dtypes_of(optimizer.init(given[0]))
        assert all(kind in (np.float32, np.float64, np.int32) for kind in dtypes_of(state))
        for updates, exact in zip(found, expected, strict=True):
            for dtype, kind in DTYPES.items():
                assert dtypes_of(updates[dtype]) == [np.dtype(kind)] * 2
                # Those of 16 bits compute in float32 and round once.
                few = 1 if np.dtype(kind).itemsize == 2 else 64
                rounding = few * float(ml_dtypes.finfo(kind).eps)
                if name in ("clip_by_global_norm", "chain, whole"):  # of a norm that all leaves share
                    rounding = max(rounding, 64 * float(np.finfo(np.float32).eps))
                same(updates[dtype], exact[dtype], rounding, rounding * RATE)


@pytest.mark.parametrize("name", CASES)
def test_vmap_is_a_loop(name):
    optimizer, seeds = CASES[name], (0, 5)
    problems = [([tree.map(fnp.asarray, shaped(np.float64, s + i)) for i in range(STEPS)]) for s in seeds]
    stacked = tree.map(lambda *x: fnp.stack(x), *problems)

    def run(params, gradients):
        return steps(optimizer.update, optimizer, params, gradients)

    found = fdl.vmap(run)(stacked[0], stacked[1:])
    for i, (params, *gradients) in enumerate(problems):
        same(tree.map(lambda x, i=i: x[i], found), run(params, gradients), 1e-12, 1e-14)


@pytest.mark.parametrize("name", CASES)
def test_masked_sees_the_chosen_leaves_alone(name):
    optimizer = CASES[name]
    params, *gradients = [tree.map(fnp.asarray, shaped(np.float32, seed)) for seed in range(STEPS + 1)]
    if optimizer.catch_up is not None:
        with pytest.raises(ValueError, match="have to catch up"):
            optim.masked(optimizer, {"w": True, "b": False})
        return
    masked = optim.masked(optimizer, {"w": True, "b": False})
    found, _ = steps(masked.update, masked, params, gradients)
    alone, _ = steps(optimizer.update, optimizer, {"w": params["w"]}, [{"w": g["w"]} for g in gradients])
    for updates, expected, g in zip(found, alone, gradients, strict=True):
        same(updates, {"w": expected["w"], "b": g["b"]})


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_means_any_part_gives_the_same(name):
    optimizer = CASES[name]
    params, *gradients = [fnp.asarray(shaped(np.float32, seed)["b"]) for seed in range(STEPS + 1)]
    whole, _ = steps(optimizer.update, optimizer, params, gradients)
    part, _ = steps(optimizer.update, optimizer, params[1:3], [g[1:3] for g in gradients])
    same([u[1:3] for u in whole], part)


@pytest.mark.parametrize("name", CASES)
def test_rows_stand_for_the_array_that_they_are(name):
    optimizer = CASES[name]
    params = fnp.asarray(shaped(np.float64)["w"])
    rows = [fdl.Rows(fnp.array([2, 0, 2]), fnp.asarray(shaped(np.float64, seed)["w"]), (3, 2)) for seed in (1, 2)]
    found, _ = steps(optimizer.update, optimizer, params, rows)
    expected, _ = steps(optimizer.update, optimizer, params, [r.dense() for r in rows])
    assert all(isinstance(u, fdl.Rows) for u in found) == (name in KEEPS_ROWS)
    same([fnp.asarray(u) for u in found], expected, 1e-12)


@pytest.mark.parametrize("name", CASES)
def test_by_rows_takes_the_steps_of_all_rows(name):
    """Some rows get no gradient in some steps, and are caught up."""
    optimizer = CASES[name]
    if name not in ELEMENTWISE:
        with pytest.raises(ValueError, match="needs an element-wise optimizer"):
            optim.by_rows(optimizer)
        return
    sparse = optim.by_rows(optimizer)
    first = dense = table = fnp.asarray(shaped(np.float64)["w"])
    state, its = sparse.init(first), optimizer.init(first)
    for ids in ([0, 2, 2], [1], [2, 0]):
        values = fnp.asarray(shaped(np.float64, len(ids))["w"])[: len(ids)]
        rows = fdl.Rows(fnp.array(ids), values, (3, 2))
        table, state = optim.catch_up(sparse, table, state, fnp.array(ids))
        updates, state = sparse.update(rows, state, table)
        table = optim.apply_updates(table, updates)
        updates, its = optimizer.update(rows.dense(), its, dense)
        dense = optim.apply_updates(dense, updates)
    table, _ = optim.catch_up(sparse, table, state)
    same(table, dense, 1e-10, 1e-12)


@pytest.mark.parametrize("name", CASES)
def test_a_state_that_was_written_and_read_goes_on(name):
    """As bytes of arrays in the structure of a new state, and pickled."""
    optimizer = CASES[name]
    params, *gradients = [tree.map(fnp.asarray, shaped(np.float32, seed)) for seed in range(STEPS + 1)]
    _, state = steps(optimizer.update, optimizer, params, gradients[:-1])
    file = io.BytesIO()
    np.savez(file, *leaves(state))
    file.seek(0)
    with np.load(file, allow_pickle=False) as read:
        arrays = [read[key] for key in read.files]
    expected = optimizer.update(gradients[-1], state, params)
    for again in (tree.unflatten(tree.structure(optimizer.init(params)), arrays), pickle.loads(pickle.dumps(state))):
        found = optimizer.update(gradients[-1], again, params)
        assert tree.structure(found) == tree.structure(expected)
        same(found, expected)


@pytest.mark.parametrize("name", CASES)
def test_nothing_to_update(name):
    """An empty tree, and a leaf without elements, which changes nothing for the others."""
    optimizer = CASES[name]
    made, _ = steps(optimizer.update, optimizer, {}, [{}, {}])
    assert made == [{}, {}]
    params, *gradients = [tree.map(fnp.asarray, shaped(np.float32, seed)) for seed in range(STEPS + 1)]
    empty = {"nothing": fnp.zeros((0, 2))}
    expected, _ = steps(optimizer.update, optimizer, params, gradients)
    found, _ = steps(optimizer.update, optimizer, params | empty, [g | empty for g in gradients])
    assert all(updates.pop("nothing").shape == (0, 2) for updates in found)
    same(found, expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_descend(name):
    """Adadelta's first steps have the size of its epsilon."""
    optimizer = CASES[name]
    target = tree.map(fnp.asarray, shaped(np.float32))

    def loss(p):
        return sum(fnp.sum((p[k] - target[k]) ** 2) for k in target)

    @fdl.jit
    def step(params, state):
        updates, state = optimizer.update(fdl.grad(loss)(params), state, params)
        return optim.apply_updates(params, updates), state

    params = tree.map(lambda x: 0.5 * x, target)
    first, state = loss(params).item(), optimizer.init(params)
    for _ in range(10):
        params, state = step(params, state)
    assert loss(params).item() < (0.999 if name == "adadelta" else 0.9) * first


def lower(optimizer, target):
    """Whether ten steps bring a quadratic down."""

    def loss(p):
        return sum(fnp.sum((p[k] - target[k]) ** 2) for k in target)

    params = tree.map(lambda x: 0.5 * x, target)
    first, state = loss(params).item(), optimizer.init(params)
    for _ in range(10):
        updates, state = optimizer.update(tree.map(lambda p, t: 2 * (p - t), params, target), state, params)
        params = optim.apply_updates(params, updates)
    return loss(params).item() < 0.9 * first


@pytest.mark.parametrize("name", MORE)
def test_more_optimizers_keep_the_laws(name):
    """Optimizers compiled; float32 and bfloat16 as float64; vmap; leaves that are rows or have no elements."""
    optimizer, kinds = MORE[name], ("bfloat16", "float32")
    params, *gradients = [shaped(np.float64, seed) for seed in range(3)]
    wide = [tree.map(fnp.asarray, x) for x in (params, *gradients)]
    for kind in kinds:
        given = [tree.map(lambda x, k=kind: fnp.asarray(x.astype(DTYPES[k])), x) for x in (params, *gradients)]
        exact = [tree.map(lambda x: x.astype(np.float64), x) for x in given]
        expected, _ = steps(optimizer.update, optimizer, exact[0], exact[1:])
        update = fdl.jit(optimizer.update) if kind == "bfloat16" and name in OPTIMIZERS_TOO else optimizer.update
        found, state = steps(update, optimizer, given[0], given[1:])
        assert dtypes_of(state) == dtypes_of(optimizer.init(given[0]))
        assert dtypes_of(found) == [np.dtype(DTYPES[kind])] * 4
        rounding = (2 if kind == "bfloat16" else 256) * float(ml_dtypes.finfo(DTYPES[kind]).eps)
        same(found, expected, rounding, rounding * RATE)
    expected, _ = steps(optimizer.update, optimizer, wide[0], wide[1:])
    assert steps(optimizer.update, optimizer, {}, [{}])[0] == [{}]
    empty = {"nothing": fnp.zeros((0, 2))}
    found, _ = steps(optimizer.update, optimizer, wide[0] | empty, [g | empty for g in wide[1:]])
    assert all(updates.pop("nothing").shape == (0, 2) for updates in found)
    same(found, expected, 1e-12)
    if optimizer.elementwise:
        rows = [fdl.Rows(fnp.array([2, 0, 2]), fnp.asarray(shaped(np.float64, seed)["w"]), (3, 2)) for seed in (1, 2)]
        found, _ = steps(optimizer.update, optimizer, wide[0]["w"], rows)
        expected, _ = steps(optimizer.update, optimizer, wide[0]["w"], [r.dense() for r in rows])
        same([fnp.asarray(u) for u in found], expected, 1e-12)
    if name in OPTIMIZERS_TOO:
        assert lower(optimizer, wide[0])
