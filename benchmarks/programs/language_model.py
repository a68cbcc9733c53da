"""A transformer language model in the style of a research repository: parameters are dicts and tuples, blocks are
rematerialized by a policy that saves named values, layers are scanned, AdamW and the training loop are written out,
and text is sampled with a cache of keys and values."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax, random
from jax.ad_checkpoint import checkpoint_name
from jax.nn import initializers

TOLERANCE = 2e-3  # of every printed number, relative

TEXT = "the quick brown fox jumps over the lazy dog and the small cat sleeps under the warm sun " * 6
VOCABULARY = sorted(set(TEXT))
TOKENS = jnp.array([VOCABULARY.index(c) for c in TEXT], jnp.int32)
LENGTH, WIDTH, HEADS, LAYERS = 24, 32, 4, 3


class TrainState(NamedTuple):
    params: Any
    mean: Any
    square: Any
    step: jax.Array


def init_block(key):
    keys = random.split(key, 4)
    dense = initializers.variance_scaling(1.0, "fan_in", "truncated_normal")
    return {
        "qkv": dense(keys[0], (WIDTH, 3 * WIDTH)),
        "out": dense(keys[1], (WIDTH, WIDTH)) / jnp.sqrt(2 * LAYERS),
        "up": dense(keys[2], (WIDTH, 4 * WIDTH)),
        "down": dense(keys[3], (4 * WIDTH, WIDTH)),
        "scales": (jnp.ones(WIDTH), jnp.ones(WIDTH)),
    }


def init(key):
    key_embed, key_position, key_blocks = random.split(key, 3)
    return {
        "embed": 0.02 * random.normal(key_embed, (len(VOCABULARY), WIDTH)),
        "position": 0.02 * random.normal(key_position, (LENGTH, WIDTH)),
        "blocks": jax.vmap(init_block)(random.split(key_blocks, LAYERS)),
        "scale": jnp.ones(WIDTH),
    }


def rms_norm(x, scale):
    return x * lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6) * scale


def attend(q, k, v, mask):
    scores = jnp.einsum("...qhd,...khd->...hqk", q, k) / jnp.sqrt(q.shape[-1]).astype(q.dtype)
    weights = jax.nn.softmax(scores, axis=-1, where=mask)
    return jnp.einsum("...hqk,...khd->...qhd", weights, v)


def split_heads(block, x):
    qkv = rms_norm(x, block["scales"][0]) @ block["qkv"]
    return [part.reshape(*part.shape[:-1], HEADS, -1) for part in jnp.split(qkv, 3, axis=-1)]


def feed_forward(block, x):
    return jax.nn.gelu(rms_norm(x, block["scales"][1]) @ block["up"]) @ block["down"]


@partial(jax.checkpoint, policy=jax.checkpoint_policies.save_only_these_names("attended"), prevent_cse=False)
def apply_block(x, block):
    mask = jnp.tril(jnp.ones((x.shape[-2], x.shape[-2]), bool))
    attended = checkpoint_name(attend(*split_heads(block, x), mask).reshape(x.shape), "attended")
    x = x + attended @ block["out"]
    return x + feed_forward(block, x)


def apply(params, tokens):
    x = params["embed"][tokens] + params["position"]
    x, _ = lax.scan(lambda x, block: (apply_block(x, block), None), x, params["blocks"])
    return rms_norm(x, params["scale"]) @ params["embed"].T


def cross_entropy(params, tokens, targets):
    log_probs = jax.nn.log_softmax(apply(params, tokens))
    return -jnp.take_along_axis(log_probs, targets[..., None], axis=-1).mean()


def clip(grads, limit):
    norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree_util.tree_leaves(grads)))
    return jax.tree_util.tree_map(lambda g: g * jnp.minimum(1.0, limit / norm), grads), norm


@partial(jax.jit, donate_argnums=0)
def train_step(state, key):
    starts = random.randint(key, (8,), 0, TOKENS.size - LENGTH - 1)
    windows = jax.vmap(lambda s: lax.dynamic_slice_in_dim(TOKENS, s, LENGTH + 1))(starts)
    loss, grads = jax.value_and_grad(cross_entropy)(state.params, windows[:, :-1], windows[:, 1:])
    grads, norm = clip(grads, 1.0)
    step = state.step + 1
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state.mean, grads)
    square = jax.tree.map(lambda s, g: 0.99 * s + 0.01 * g**2, state.square, grads)
    rate = 3e-3 * jnp.minimum(1.0, step / 10)

    def update(p, m, s):
        return p - rate * (m / (1 - 0.9**step) / (jnp.sqrt(s / (1 - 0.99**step)) + 1e-8) + 1e-4 * p)

    return TrainState(jax.tree.map(update, state.params, mean, square), mean, square, step), (loss, norm)


@partial(jax.jit, static_argnames="count")
def generate(params, prompt, count):
    cache = jnp.zeros((LAYERS, 2, LENGTH, HEADS, WIDTH // HEADS))

    def layer(x, inputs, position):
        block, (keys, values) = inputs
        q, k, v = split_heads(block, x[None])
        keys = lax.dynamic_update_slice(keys, k, (position, 0, 0))
        values = lax.dynamic_update_slice(values, v, (position, 0, 0))
        x = x + attend(q, keys, values, jnp.arange(LENGTH) <= position).reshape(WIDTH) @ block["out"]
        return x + feed_forward(block, x), jnp.stack([keys, values])

    def step(carry, position):
        token, cache = carry
        x = params["embed"][token] + params["position"][position]
        x, cache = lax.scan(partial(layer, position=position), x, (params["blocks"], cache))
        logits = rms_norm(x, params["scale"]) @ params["embed"].T
        known = position + 1 < prompt.size
        token = jnp.where(known, prompt[jnp.minimum(position + 1, prompt.size - 1)], jnp.argmax(logits))
        return (token.astype(jnp.int32), cache), (token, logits)

    return lax.scan(step, (prompt[0], cache), jnp.arange(count))[1]


def main():
    key_init, key_train = random.split(random.PRNGKey(0))
    params = init(key_init)
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = TrainState(params, zeros, jax.tree.map(jnp.copy, zeros), jnp.zeros((), jnp.int32))
    print("parameters", sum(leaf.size for leaf in jax.tree.leaves(params)))
    for index, key in enumerate(random.split(key_train, 40)):
        state, (loss, norm) = train_step(state, key)
        if index % 13 == 0:
            print(f"step {index}: loss {loss:.5f} norm {norm:.4f}")
    prompt = TOKENS[:6]
    tokens, logits = generate(state.params, prompt, count=LENGTH)
    full = apply(state.params, jnp.concatenate([prompt[:1], tokens[:-1].astype(jnp.int32)]))
    assert jnp.allclose(logits, full, rtol=1e-3, atol=1e-3), "the cache and the whole sequence disagree"
    print(
        "mean logit",
        f"{jnp.abs(full).mean():.4f}",
        "entropy",
        f"{-(jax.nn.softmax(full) * jax.nn.log_softmax(full)).sum(-1).mean():.4f}",
    )


if __name__ == "__main__":
    main()
