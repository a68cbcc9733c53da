"""A convolutional classifier with batch normalization's running statistics, dropout keys, augmentation by image
operations and dynamic slices, label smoothing, an exponential average of the weights, and saliency maps."""

import itertools
from collections import OrderedDict
from functools import partial

import jax
import jax.image
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from jax.nn.initializers import he_normal, zeros

TOLERANCE = 5e-3  # of every printed number, relative

SIDE, CLASSES = 16, 4
DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def dataset(rng, count):
    """Noisy images of one of four textures."""
    labels = rng.integers(0, CLASSES, count)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    textures = np.stack([np.sin(rows), np.sin(columns), np.sin(rows + columns), np.sin(rows) * np.sin(columns)])
    images = textures[labels][..., None] * [1.0, 0.5, -0.5] + 0.5 * rng.standard_normal((count, SIDE, SIDE, 3))
    return images.astype("float32"), labels


def init(key):
    params, stats = OrderedDict(), {}
    channels = [3, 8, 16]
    for index, (m, n) in enumerate(itertools.pairwise(channels)):
        key, sub = random.split(key)
        params[f"conv{index}"] = {
            "kernel": he_normal()(sub, (3, 3, m, n)),
            "scale": jnp.ones(n),
            "offset": jnp.zeros(n),
        }
        stats[f"conv{index}"] = {"mean": jnp.zeros(n), "var": jnp.ones(n)}
    key, depth, sub = random.split(key, 3)
    params["depthwise"] = {"kernel": he_normal()(depth, (3, 3, 1, 16))}
    params["head"] = {"kernel": zeros(sub, (16, CLASSES)), "bias": zeros(sub, (CLASSES,))}
    return params, stats


def batch_norm(p, s, x, train):
    if not train:
        mean, var, new = s["mean"], s["var"], s
    else:
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        new = jax.tree.map(lambda old, now: 0.9 * old + 0.1 * now, s, {"mean": mean, "var": var})
    return (x - mean) * lax.rsqrt(var + 1e-5) * p["scale"] + p["offset"], new


def apply(params, stats, x, key=None):
    new_stats = {}
    for name in stats:
        p = params[name]
        x = lax.conv_general_dilated(
            x, p["kernel"], window_strides=(1, 1), padding="SAME", dimension_numbers=DIMENSIONS
        )
        x, new_stats[name] = batch_norm(p, stats[name], x, train=key is not None)
        x = jax.nn.elu(x)
        x = lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4
    x = x + lax.conv_general_dilated(
        x, params["depthwise"]["kernel"], (1, 1), [(1, 1), (1, 1)], dimension_numbers=DIMENSIONS, feature_group_count=16
    )
    x = jnp.max(x, axis=(1, 2))
    if key is not None:
        x = jnp.where(random.bernoulli(key, 0.8, x.shape), x / 0.8, 0.0)
    return x @ params["head"]["kernel"] + params["head"]["bias"], new_stats


def augment(key, image):
    key_flip, key_crop, key_zoom, key_cut, key_colour = random.split(key, 5)
    image = lax.cond(random.bernoulli(key_flip), lambda x: x[:, ::-1], lambda x: x, image)
    padded = jnp.pad(image, [(2, 2), (2, 2), (0, 0)], mode="reflect")
    row, column = random.randint(key_crop, (2,), 0, 5)
    image = lax.dynamic_slice(padded, (row, column, 0), (SIDE, SIDE, 3))
    zoom = random.uniform(key_zoom, (2,), minval=0.9, maxval=1.1)
    image = jax.image.scale_and_translate(image, image.shape, (0, 1), zoom, jnp.zeros(2), "linear", antialias=False)
    start = random.randint(key_cut, (2,), 0, SIDE - 4)
    image = lax.dynamic_update_slice(image, jnp.zeros((4, 4, 3)), (*start, 0))
    return image * (1 + 0.1 * random.normal(key_colour, (3,)))


def loss_fn(params, stats, images, labels, key):
    logits, stats = apply(params, stats, images, key)
    targets = 0.9 * jax.nn.one_hot(labels, CLASSES) + 0.1 / CLASSES
    penalty = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params) if leaf.ndim > 1)
    return -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(logits), -1)) + 1e-4 * penalty, (stats, logits)


@partial(jax.jit, donate_argnames=("params", "momentum"))
def train_step(params, momentum, average, stats, images, labels, key, rate):
    key_augment, key_drop = random.split(key)
    images = jax.vmap(augment)(random.split(key_augment, images.shape[0]), images)
    (loss, (stats, logits)), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, stats, images, labels, key_drop)
    momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, grads)
    params = jax.tree.map(lambda p, m, g: p - rate * (g + 0.9 * m), params, momentum, grads)
    average = jax.tree.map(lambda a, p: a * 0.9 + p * (1 - 0.9), average, params)
    return params, momentum, average, stats, loss, (logits.argmax(-1) == labels).mean()


def main():
    images, labels = dataset(np.random.default_rng(0), 96)
    params, stats = init(random.key(1))
    momentum, average = jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.copy, params)
    print("parameters", sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(params)))
    key = random.key(2)
    print("augmented", f"{jax.vmap(augment)(random.split(key, 96), jnp.asarray(images)).std():.5f}")
    for epoch in range(4):
        order = random.permutation(random.fold_in(key, epoch), 96)
        for indices in jnp.split(order, 3):
            key, sub = random.split(key)
            rate = 0.05 * 0.5 * (1 + np.cos(np.pi * epoch / 4))
            params, momentum, average, stats, loss, accuracy = train_step(
                params, momentum, average, stats, images[indices], labels[np.asarray(indices)], sub, rate
            )
        print(f"epoch {epoch} loss {loss:.4f} accuracy {accuracy:.3f}")
    logits, _ = jax.jit(apply)(average, stats, images)
    print(f"average {jnp.mean(jnp.argmax(logits, -1) == labels):.3f}", f"{jnp.abs(logits).mean():.4f}")
    saliency = jax.vmap(jax.grad(lambda x, y: apply(params, stats, x[None])[0][0, y]))(
        jnp.asarray(images[:4]), labels[:4]
    )
    small = jax.image.resize(saliency, (4, 8, 8, 3), method="cubic")
    print(f"saliency {jnp.abs(saliency).sum():.3f} {jnp.linalg.norm(small):.4f}")


if __name__ == "__main__":
    main()
