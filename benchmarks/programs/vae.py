"""A variational autoencoder with a flow of affine couplings as its prior, trained on drawn digits-like stripes."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import random
from jax.flatten_util import ravel_pytree
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm

TOLERANCE = 2e-3  # of every printed number, relative

SIDE, LATENT, HIDDEN = 12, 4, 48


def stripes(key, count):
    """Binary images of one stripe each, of random angle and place."""
    key_angle, key_shift = random.split(key)
    angles = random.uniform(key_angle, (count,), maxval=math.pi)
    shifts = random.uniform(key_shift, (count,), minval=-0.3, maxval=0.3)
    grid = jnp.stack(jnp.meshgrid(jnp.linspace(-1, 1, SIDE), jnp.linspace(-1, 1, SIDE), indexing="ij"))

    def one(angle, shift):
        normal = jnp.array([jnp.cos(angle), jnp.sin(angle)])
        return (jnp.abs(jnp.tensordot(normal, grid, axes=1) - shift) < 0.25).astype(jnp.float32)

    return jax.vmap(one)(angles, shifts).reshape(count, -1)


def init_mlp(key, sizes):
    return [
        (random.normal(k, (m, n)) * math.sqrt(2 / m), jnp.zeros((n,)))
        for k, m, n in zip(random.split(key, len(sizes) - 1), sizes[:-1], sizes[1:], strict=True)
    ]


def mlp(params, x, activation=jax.nn.swish):
    *hidden, (w, b) = params
    for weights, bias in hidden:
        x = activation(jnp.dot(x, weights) + bias)
    return jnp.dot(x, w) + b


def init(key):
    key_encoder, key_decoder, *keys_flow = random.split(key, 6)
    return {
        "encoder": init_mlp(key_encoder, (SIDE * SIDE, HIDDEN, 2 * LATENT)),
        "decoder": init_mlp(key_decoder, (LATENT, HIDDEN, SIDE * SIDE)),
        "flow": [jax.tree.map(lambda x: 0.1 * x, init_mlp(k, (LATENT // 2, 16, LATENT))) for k in keys_flow],
    }


def couple(params, z, inverse=False):
    """Affine couplings of the halves, and the logarithm of the determinant of their Jacobian."""
    log_det = 0.0
    for index, layer in reversed(list(enumerate(params))) if inverse else enumerate(params):
        first, second = jnp.split(z, 2, axis=-1)
        if index % 2:
            first, second = second, first
        log_scale, shift = jnp.split(mlp(layer, first, jnp.tanh), 2, axis=-1)
        log_scale = jnp.tanh(log_scale)
        second = (second - shift) * jnp.exp(-log_scale) if inverse else second * jnp.exp(log_scale) + shift
        log_det += (-1 if inverse else 1) * log_scale.sum(-1)
        z = jnp.concatenate([second, first] if index % 2 else [first, second], axis=-1)
    return z, log_det


def log_prior(params, z):
    base, log_det = couple(params["flow"], z, inverse=True)
    return norm.logpdf(base).sum(-1) + log_det


def log_weight(params, key, image):
    """log p(x, z) - log q(z | x) of one draw of z."""
    mean, log_std = jnp.split(mlp(params["encoder"], image), 2)
    z = mean + jnp.exp(log_std) * random.normal(key, mean.shape, mean.dtype)
    logits = mlp(params["decoder"], z)
    likelihood = jnp.sum(image * jax.nn.log_sigmoid(logits) + (1 - image) * jax.nn.log_sigmoid(-logits))
    return likelihood + log_prior(params, z) - norm.logpdf(z, mean, jnp.exp(log_std)).sum()


def negative_elbo(params, key, images):
    keys = random.split(key, images.shape[0])
    return -jnp.mean(jax.vmap(log_weight, in_axes=(None, 0, 0))(params, keys, images))


@functools.partial(jax.jit, static_argnums=3)
def importance(params, key, images, samples=32):
    """The importance weighted bound of each image, (n,)."""

    def one(key, image):
        weights = jax.vmap(log_weight, (None, 0, None))(params, random.split(key, samples), image)
        return logsumexp(weights) - jnp.log(samples)

    return jax.vmap(one)(random.split(key, len(images)), images)


def main():
    key = random.key(1)
    key, key_init, key_data = random.split(key, 3)
    params = init(key_init)
    images = stripes(key_data, 128)
    print("pixels", float(images.mean()))
    flat, unravel = ravel_pytree(params)
    print("parameters", flat.size)

    @jax.jit
    def step(flat, velocity, key):
        loss, grads = jax.value_and_grad(lambda f: negative_elbo(unravel(f), key, images))(flat)
        grads = grads / jnp.maximum(1.0, jnp.linalg.norm(grads) / 20)
        velocity = 0.9 * velocity + grads
        return flat - 2e-3 * velocity, velocity, loss

    velocity = jnp.zeros_like(flat)
    for index in range(60):
        flat, velocity, loss = step(flat, velocity, random.fold_in(key, index))
        if index in (0, 20, 59):
            print(f"elbo {-loss:.4f}")
    params = unravel(flat)
    print(f"importance {importance(params, key, images[:16], 32).mean():.4f}")
    z = random.normal(key, (5, LATENT))
    there, log_det = couple(params["flow"], z)
    back, log_det_back = couple(params["flow"], there, inverse=True)
    jacobians = jax.vmap(jax.jacfwd(lambda z: couple(params["flow"], z)[0]))(z)
    assert jnp.allclose(back, z, atol=1e-5)
    assert jnp.allclose(log_det, -log_det_back, atol=1e-5)
    assert jnp.allclose(jnp.linalg.slogdet(jacobians)[1], log_det, atol=1e-4)
    print(f"log determinant {log_det.sum():.5f}")


if __name__ == "__main__":
    main()
