"""Every optimizer in every dtype, at gradients from zero to the largest: updates are those of formulas in float64."""

import ml_dtypes
import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import nn, optim

RATE, STEPS = 0.125, 3
BF16 = ml_dtypes.bfloat16
DTYPES = {"float16": np.float16, "bfloat16": BF16, "float32": np.float32, "float64": np.float64}


def mean(memory, name, value, decay):
    memory[name] = decay * memory.get(name, 0.0) + (1 - decay) * value
    return memory[name]


def adam(t, x, g, memory, eps=1e-8, eps_root=0.0, nesterov=False):
    m, v = mean(memory, "m", g, 0.9), mean(memory, "v", g * g, 0.999)
    unbiased = m / (1 - 0.9**t)
    if nesterov:
        unbiased = 0.9 * m / (1 - 0.9 ** (t + 1)) + 0.1 * g / (1 - 0.9**t)
    return unbiased / (np.sqrt(v / (1 - 0.999**t) + eps_root) + eps)


def amsgrad(t, x, g, memory):
    m, v = mean(memory, "m", g, 0.9), mean(memory, "v", g * g, 0.999)
    memory["largest"] = np.maximum(memory.get("largest", 0.0), v / (1 - 0.999**t))
    return m / (1 - 0.9**t) / (np.sqrt(memory["largest"]) + 1e-8)


def adamax(t, x, g, memory):
    m = mean(memory, "m", g, 0.9)
    memory["u"] = np.maximum(np.abs(g) + 1e-8, 0.999 * memory.get("u", 0.0))
    return m / (1 - 0.9**t) / memory["u"]


def adabelief(t, x, g, memory):
    m = mean(memory, "m", g, 0.9)
    v = memory["v"] = 0.999 * memory.get("v", 0.0) + 0.001 * (g - m) ** 2 + 1e-16
    return m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-16)


def radam(t, x, g, memory):
    # In the first five steps the second moment is not used.
    assert t < 5
    mean(memory, "v", g * g, 0.999)
    return mean(memory, "m", g, 0.9) / (1 - 0.9**t)


def rmsprop(t, x, g, memory):
    return g / np.sqrt(mean(memory, "v", g * g, 0.9) + 1e-8)


def centered(t, x, g, memory):
    m, v = mean(memory, "m", g, 0.9), mean(memory, "v", g * g, 0.9)
    return g / np.sqrt(v - m * m + 1e-8)


def adagrad(t, x, g, memory):
    memory["v"] = memory.get("v", 0.1) + g * g
    return g / np.sqrt(memory["v"] + 1e-7)


def adadelta(t, x, g, memory):
    v = mean(memory, "v", g * g, 0.9)
    step = np.sqrt(memory.get("x", 0.0) + 1e-6) / np.sqrt(v + 1e-6) * g
    mean(memory, "x", step * step, 0.9)
    return step


def lion(t, x, g, memory):
    direction = np.sign(0.1 * g + 0.9 * memory.get("m", 0.0))
    mean(memory, "m", g, 0.99)
    return direction + 1e-3 * x


def momentum(t, x, g, memory):
    memory["m"] = g + 0.9 * memory.get("m", 0.0)
    return memory["m"]


def nesterov(t, x, g, memory):
    return g + 0.9 * momentum(t, x, g, memory)


def trusted(x, u, factor=1.0):
    norm = np.linalg.norm(u)
    return u * (factor * np.linalg.norm(x) / norm if norm else 1.0)


def lars(t, x, g, memory):
    return momentum(t, x, trusted(x, g, 0.001), memory)


#: Optimizers, and the formula of each update without the factor of minus the learning rate.
FORMULAS = {
    "sgd": (optim.sgd(RATE), lambda t, x, g, m: g),
    "momentum": (optim.sgd(RATE, momentum=0.9), momentum),
    "nesterov": (optim.sgd(RATE, momentum=0.9, nesterov=True), nesterov),
    "sign_sgd": (optim.sign_sgd(RATE), lambda t, x, g, m: np.sign(g)),
    "adam": (optim.adam(RATE), adam),
    "nadam": (optim.nadam(RATE), lambda *a: adam(*a, nesterov=True)),
    "adamw": (optim.adamw(RATE, weight_decay=0.25), lambda t, x, g, m: adam(t, x, g, m) + 0.25 * x),
    "nadamw": (optim.nadamw(RATE, weight_decay=0.25), lambda t, x, g, m: adam(t, x, g, m, nesterov=True) + 0.25 * x),
    "amsgrad": (optim.amsgrad(RATE), amsgrad),
    "adamax": (optim.adamax(RATE), adamax),
    "adabelief": (optim.adabelief(RATE), adabelief),
    "radam": (optim.radam(RATE), radam),
    "rmsprop": (optim.rmsprop(RATE), rmsprop),
    "rmsprop, centered": (optim.rmsprop(RATE, centered=True), centered),
    "adagrad": (optim.adagrad(RATE), adagrad),
    "adadelta": (optim.adadelta(RATE), adadelta),
    "lion": (optim.lion(RATE), lion),
    "lamb": (optim.lamb(RATE), lambda t, x, g, m: trusted(x, adam(t, x, g, m, 1e-6))),
    "lars": (optim.lars(RATE), lars),
    "a chain": (optim.chain(optim.clip(np.inf), optim.scale_by_adam(), optim.scale(-RATE)), adam),
}

#: Sizes of gradients. Squares of the largest still are float32 numbers.
SIZES = {
    "float16": {"zero": 0.0, "tiny": 6e-8, "small": 1e-4, "normal": 1.0, "huge": 3e4},
    "bfloat16": {"zero": 0.0, "tiny": 1e-30, "small": 1e-9, "normal": 1.0, "huge": 1e18},
    "float32": {"zero": 0.0, "tiny": 1e-30, "small": 1e-9, "normal": 1.0, "huge": 1e18},
    "float64": {"zero": 0.0, "tiny": 1e-200, "small": 1e-9, "normal": 1.0, "huge": 1e150},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMULAS)
def test_updates_are_those_of_the_formula(name, dtype):
    optimizer, formula = FORMULAS[name]
    kind = DTYPES[dtype]
    rounding = float(ml_dtypes.finfo(kind).eps)
    smallest = float(ml_dtypes.finfo(kind).smallest_subnormal)
    update = fdl.jit(optimizer.update)
    for size, scale in SIZES[dtype].items():
        # Norms of tiny leaves become zero in float32, and with them the ratio one.
        if name in ("lars", "lamb") and size == "tiny" and dtype != "float16":
            continue
        x = np.array([0.5, -1.0, 2.0, 4.0]).astype(kind)
        state, memory = optimizer.init(fnp.asarray(x)), {}
        for t in range(1, STEPS + 1):
            g = (scale * np.array([1.0, -0.5, 2.0, 0.0]) * (1 if size == "tiny" else (-1) ** t / t)).astype(kind)
            given, wide = fnp.asarray(g), g.astype(np.float64)
            made, state = update(given, state, fnp.asarray(x))
            with np.errstate(all="ignore"):
                expected = -RATE * formula(t, x.astype(np.float64), wide, memory)
            assert made.dtype == kind
            found = np.asarray(made).astype(np.float64)
            assert np.isfinite(found).all(), (size, t)
            # Float32 and float64 compute in their own precision; those of 16 bits are rounded at the end alone.
            few = 1 if np.dtype(kind).itemsize == 2 else 64
            near = np.abs(found - expected) <= few * rounding * np.abs(expected) + smallest
            assert near.all(), (size, t, found, expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_largest_gradients_give_no_nan(dtype):
    # Squares overflow float32 as well: the step is zero. Bfloat16 goes as far as float32; means need some room.
    largest = {"float16": 65504.0, "bfloat16": 1e38}[dtype]
    for name, (optimizer, _) in FORMULAS.items():
        x = fnp.asarray(np.ones(3, DTYPES[dtype]))
        g = fnp.asarray(np.array([largest, -largest, 0.0]).astype(DTYPES[dtype]))
        state = optimizer.init(x)
        for _ in range(2):
            made, state = optimizer.update(g, state, x)
            assert not np.isnan(np.asarray(made).astype(np.float32)).any(), name


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_dtype_that_was_chosen_is_kept(dtype):
    chosen = optim.adam(0.1, mu_dtype=dtype).init({"w": fnp.ones(2, dtype)})
    assert chosen[0].mu["w"].dtype == dtype and chosen[0].nu["w"].dtype == np.float32


def test_rows_of_16_bit_tables():
    optimizer = optim.by_rows(optim.adam(0.1))
    params, ids = fnp.ones((4, 2), "float16"), fnp.array([2, 2])
    state = optimizer.init(params)
    for _ in range(3):
        params, state = optim.catch_up(optimizer, params, state, ids)
        grads = fdl.grad(lambda p: (p[ids] * 1e-4).sum(), sparse=True)(params)
        updates, state = optimizer.update(grads, state, params)
        params = optim.apply_updates(params, updates)
    params, _ = optim.catch_up(optimizer, params, state)
    # A constant gradient moves by the learning rate in each step.
    np.testing.assert_allclose(np.asarray(params), [[1, 1], [1, 1], [0.7, 0.7], [1, 1]], rtol=2e-3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_norms_of_16_bit_gradients(dtype):
    g = {"w": fnp.full(8, 3e4, dtype), "b": fnp.full(2, 1e-4, dtype)}
    expected = np.sqrt(sum((np.asarray(x).astype(np.float64) ** 2).sum() for x in g.values()))
    np.testing.assert_allclose(optim.global_norm(g), expected, rtol=1e-6)
    clipped, _ = optim.clip_by_global_norm(1.0).update(g, optim.EmptyState())
    np.testing.assert_allclose(np.asarray(clipped["w"]).astype(float), 8**-0.5, rtol=1e-2)
    small, _ = optim.clip_by_block_rms(1e-4).update(g, optim.EmptyState())
    np.testing.assert_allclose(np.asarray(small["w"]).astype(float), 1e-4, rtol=1e-2)
    summed, _ = optim.scale_by_trust_ratio().update(g, optim.EmptyState(), g)
    assert np.isfinite(np.asarray(summed["w"]).astype(float)).all()


def standardized(x, axes, epsilon):
    centered = x - x.mean(axes, keepdims=True)
    return centered / np.sqrt((centered**2).mean(axes, keepdims=True) + epsilon)


#: Functions whose squares, sums of exponentials or epsilons do not fit into 16 bits, and their formulas.
FUNCTIONS = {
    "layer_norm": (
        lambda x: nn.layer_norm(nn.init_layer_norm(4, dtype=x.dtype), x, epsilon=1e-8),
        lambda x: standardized(x, (-1,), 1e-8),
    ),
    "rms_norm": (
        lambda x: nn.rms_norm(nn.init_rms_norm(4, dtype=x.dtype), x, epsilon=1e-8),
        lambda x: x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-8),
    ),
    "group_norm": (
        lambda x: nn.group_norm(nn.init_group_norm(4, dtype=x.dtype), x[None], 2, epsilon=1e-8)[0],
        lambda x: standardized(x.reshape(3, 2, 2), (0, 2), 1e-8).reshape(3, 4),
    ),
    "batch_norm": (
        lambda x: nn.batch_norm(*nn.init_batch_norm(4, dtype=x.dtype), x, training=True, epsilon=1e-8)[0],
        lambda x: standardized(x, (0,), 1e-8),
    ),
    "standardize": (lambda x: nn.standardize(x, epsilon=1e-8), lambda x: standardized(x, (-1,), 1e-8)),
    "cosine_similarity": (
        lambda x: nn.cosine_similarity(x, x[::-1], 1e-8),
        lambda x: (x * x[::-1]).sum(-1) / np.maximum(np.sqrt((x * x).sum(-1) * (x[::-1] ** 2).sum(-1)), 1e-16),
    ),
}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("scale", [0.0, 1e-4, 1.0, 1e4])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_with_an_epsilon(name, scale, dtype, rng):
    function, formula = FUNCTIONS[name]
    x = (scale * rng.normal(size=(3, 4))).astype(DTYPES[dtype])
    made = function(fnp.asarray(x))
    assert made.dtype == dtype
    rounding = float(ml_dtypes.finfo(DTYPES[dtype]).eps)
    np.testing.assert_allclose(
        np.asarray(made).astype(np.float64), formula(x.astype(np.float64)), rtol=2 * rounding, atol=2 * rounding
    )
    # Compiled, with its gradient, which no epsilon of zero may turn into NaN.
    gradient = fdl.jit(fdl.grad(lambda x: function(x).astype(np.float32).sum()))(fnp.asarray(x))
    assert not np.isnan(np.asarray(gradient).astype(np.float32)).any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sums_of_exponentials_beyond_16_bits(dtype):
    x = fnp.zeros(70000, dtype)
    np.testing.assert_allclose(float(nn.logsumexp(x)), np.log(70000), rtol=1e-2)
    np.testing.assert_allclose(float(nn.log_softmax(x)[0]), -np.log(70000), rtol=1e-2)
    np.testing.assert_allclose(float(nn.softmax(x)[0]), 1 / 70000, rtol=1e-2)
    assert nn.softmax(x).dtype == nn.log_softmax(x).dtype == nn.logsumexp(x).dtype == dtype


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_flat_vectors_of_spark(dtype):
    from fdl_spark.compute.update import Update

    # A constant gradient moves by the learning rate in each step, a gradient of zero does not move.
    flat = np.ones(4, DTYPES[dtype])
    gradient = np.array([1e-4, -1e-4, 0.0, 2e4]).astype(DTYPES[dtype])
    update = Update(optim.adam(0.125), {"w": flat}, True)
    leaves = update.initial(flat)
    for _ in range(2):
        kinds = [leaf.dtype for leaf in leaves]
        flat, leaves = update(flat, gradient, leaves)
        assert [leaf.dtype for leaf in leaves] == kinds and flat.dtype == DTYPES[dtype]
    np.testing.assert_allclose(flat.astype(np.float64), [0.75, 1.25, 1.0, 0.75], rtol=1e-2)
