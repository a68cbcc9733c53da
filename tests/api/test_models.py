"""Whole models in float64: gradients against finite differences at 1e-6, compiled against eager."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, nn, random, tree
from tests.api.check import assert_close, direction, dot, slope

F64 = {"dtype": "float64"}


def keys(count):
    return random.split(random.key(0), count)


def convolutional(rng):
    """Two convolutions, one strided and grouped, batch norm, pooling, a dense layer, cross entropy."""
    k = keys(3)
    scale, stats = nn.init_batch_norm(4, **F64)
    params = {
        "conv1": nn.init_conv(k[0], 2, 4, (3, 3), **F64),
        "conv2": nn.init_conv(k[1], 4, 6, (3, 2), groups=2, **F64),
        "norm": scale,
        "dense": nn.init_dense(k[2], 6 * 2 * 2, 3, **F64),
    }
    images, labels = fnp.asarray(rng.normal(size=(3, 8, 7, 2))), fnp.array([0, 2, 1])

    def loss(params):
        x = nn.gelu(nn.conv(params["conv1"], images))
        x, _ = nn.batch_norm(params["norm"], stats, x, training=True)
        x = nn.conv(params["conv2"], x, strides=2, padding="VALID", groups=2)
        x = nn.avg_pool(nn.softplus(x), (2, 2), (1, 1))
        logits = nn.dense(params["dense"], x.reshape(3, -1))
        return nn.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return loss, params


def transformer(rng):
    """An embedding, a pre-norm attention block with a causal mask, a feed-forward layer, tied logits."""
    k = keys(4)
    params = {
        "embedding": nn.init_embedding(k[0], 7, 8, **F64),
        "norms": [nn.init_layer_norm(8, **F64), nn.init_layer_norm(8, **F64)],
        "attention": nn.init_multi_head_attention(k[1], 8, 2, **F64),
        "up": nn.init_dense(k[2], 8, 12, **F64),
        "down": nn.init_dense(k[3], 12, 8, **F64),
    }
    tokens = rng.integers(0, 7, size=(2, 5)).astype(np.int32)

    def block(params, x):
        x = x + nn.multi_head_attention(
            params["attention"], nn.layer_norm(params["norms"][0], x), heads=2, is_causal=True
        )
        return x + nn.dense(params["down"], nn.silu(nn.dense(params["up"], nn.layer_norm(params["norms"][1], x))))

    def loss(params):
        x = block(params, nn.embedding(params["embedding"], tokens[:, :-1]))
        logits = x @ params["embedding"]["w"].T
        return nn.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

    return loss, params


def recurrent(rng):
    """An LSTM by scan over a batch, checkpointed, with a readout of its last state and of every step."""
    k = keys(2)
    params = {"cell": nn.init_lstm(k[0], 3, 4, **F64), "out": nn.init_dense(k[1], 4, 2, **F64)}
    inputs, targets = fnp.asarray(rng.normal(size=(6, 2, 3))), fnp.asarray(rng.normal(size=(6, 2, 2)))

    def loss(params):
        cell = fdl.checkpoint(nn.lstm_cell)
        (hidden, _), steps = lax.scan(
            lambda c, x: cell(params["cell"], c, x), nn.lstm_carry((2,), 4, "float64"), inputs
        )
        return fnp.mean((nn.dense(params["out"], steps) - targets) ** 2) + fnp.sum(hidden**2)

    return loss, params


def ruled(rng):
    """Per-example losses under vmap with custom rules, a cond and dropout of a fixed key."""

    @fdl.custom_vjp
    def norm(x):
        return fnp.sqrt(fnp.sum(x * x))

    norm.defvjp(lambda x: (norm(x), x), lambda x, g: (g * x / norm(x),))
    params = {"w": fnp.asarray(rng.normal(size=(3, 5))), "b": fnp.asarray(rng.normal(size=5))}
    inputs = fnp.asarray(rng.normal(size=(4, 3)))

    def one(params, key, x):
        hidden = nn.dropout(key, 0.5, nn.dense(params, x))
        return lax.cond(x[0] > 0, norm, lambda h: nn.logsumexp(h), hidden + 0.1)

    def loss(params):
        return fdl.jit(fdl.vmap(one, in_axes=(None, 0, 0)))(params, keys(4), inputs).sum()

    return loss, params


MODELS = pytest.mark.parametrize("make", [convolutional, transformer, recurrent, ruled], ids=lambda f: f.__name__)


@MODELS
def test_the_gradient_is_the_finite_difference(rng, make):
    loss, params = make(rng)
    loss = fdl.jit(loss)
    # Every leaf by itself: an error in a small one cannot hide behind the others.
    gradient = fdl.jit(fdl.grad(loss))(params)
    leaves, structure = tree.flatten(params)
    for number, leaf in enumerate(leaves):
        along = [np.zeros(v.shape) for v in leaves]
        along[number] = direction(leaf)
        along = tree.unflatten(structure, along)
        assert dot(gradient, along) == pytest.approx(float(slope(loss, (params,), (along,))), abs=1e-6, rel=1e-6)


@MODELS
def test_compiled_and_eager_agree(rng, make):
    loss, params = make(rng)
    with fdl.disable_jit():
        expected = fdl.value_and_grad(loss)(params)
    assert_close(fdl.jit(fdl.value_and_grad(loss))(params), expected, 1e-10)


@MODELS
def test_hessian_vector_products(rng, make):
    loss, params = make(rng)
    along = tree.map(fnp.asarray, direction(params, 1))
    gradient = fdl.grad(loss)
    if make in (convolutional, recurrent):
        forward = fdl.jit(lambda p: fdl.jvp(gradient, (p,), (along,))[1])(params)
        assert_close(forward, slope(fdl.jit(gradient), (params,), (along,)), 1e-5)
        return
    # Reverse over reverse; the backward rule of `ruled` calls a custom_vjp function, which has no forward mode.
    other = direction(params, 2)
    found = fdl.jit(
        fdl.grad(lambda p: tree.reduce(fnp.add, tree.map(lambda g, d: fnp.sum(g * d), gradient(p), along)))
    )(params)
    expected = slope(fdl.jit(gradient), (params,), (other,))
    assert dot(found, other) == pytest.approx(dot(expected, along), rel=1e-5, abs=1e-6)


def test_a_float32_step_with_relu_and_max_pool_is_the_same_compiled(rng):
    k = keys(2)
    params = {"conv": nn.init_conv(k[0], 1, 4, (3, 3)), "dense": nn.init_dense(k[1], 4 * 4 * 4, 10)}
    images, labels = fnp.asarray(rng.normal(size=(6, 8, 8, 1)), dtype="float32"), fnp.arange(6)

    def loss(params, images, labels):
        x = nn.max_pool(nn.relu(nn.conv(params["conv"], images)), (2, 2))
        logits = nn.dense(params["dense"], x.reshape(len(images), -1))
        return nn.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def step(params, images, labels):
        value, gradient = fdl.value_and_grad(loss)(params, images, labels)
        return tree.map(lambda p, g: p - 0.1 * g, params, gradient), value

    eager, compiled = (params, None), (params, None)
    jitted = fdl.jit(step, donate_argnums=0)
    compiled = (tree.map(lambda p: p + 0, params), None)
    for _ in range(3):
        eager, compiled = step(eager[0], images, labels), jitted(compiled[0], images, labels)
        assert_close(compiled, eager, 1e-5)
    assert all(leaf.dtype == np.float32 for leaf in tree.leaves(compiled))
    mapped = fdl.vmap(lambda x, y: loss(params, x[None], y[None]))(images, labels)
    assert_close(mapped.mean(), loss(params, images, labels), 1e-5)
