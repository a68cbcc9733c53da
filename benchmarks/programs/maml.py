"""Model-agnostic meta-learning of sines: the inner loop is a scan of gradient steps, the outer one differentiates
through it, with learned rates for each parameter; first and second order are compared."""

import functools
import operator

import jax
import jax.numpy as jnp
from jax import grad, jit, lax, random, value_and_grad, vmap
from jax.tree_util import tree_leaves, tree_map, tree_map_with_path, tree_reduce, tree_structure, tree_unflatten

TOLERANCE = 5e-3  # of every printed number, relative

SIZES = (1, 24, 24, 1)


def init(key):
    def layer(key, fan_in, fan_out):
        bound = jnp.sqrt(6.0 / (fan_in + fan_out))
        return {"w": random.uniform(key, (fan_in, fan_out), jnp.float32, -bound, bound), "b": jnp.zeros(fan_out)}

    keys = random.split(key, len(SIZES) - 1)
    return {f"layer{i}": layer(k, m, n) for i, (k, m, n) in enumerate(zip(keys, SIZES, SIZES[1:], strict=False))}


def net(params, x):
    for name in sorted(params):
        x = x @ params[name]["w"] + params[name]["b"]
        if name != max(params):
            x = jnp.tanh(x)
    return x


def mse(params, x, y):
    return jnp.mean(jnp.square(net(params, x) - y))


def task(key):
    """Ten points to adapt to and ten to be judged by, of one sine."""
    key_amplitude, key_phase, key_x = random.split(key, num=3)
    amplitude = random.uniform(key_amplitude, minval=0.5, maxval=3.0)
    phase = random.uniform(key_phase, minval=0.0, maxval=jnp.pi)
    x = random.uniform(key_x, (2, 10, 1), minval=-4.0, maxval=4.0)
    return x, amplitude * jnp.sin(x + phase)


def adapt(meta, x, y, steps, first_order=False):
    params, log_rates = meta

    def step(params, _):
        loss, gradient = value_and_grad(mse)(params, x, y)
        if first_order:
            gradient = lax.stop_gradient(gradient)
        return tree_map(lambda p, r, g: p - jnp.exp(r) * g, params, log_rates, gradient), loss

    return lax.scan(step, params, xs=None, length=steps)


def outer_loss(meta, key, steps=3, first_order=False):
    x, y = task(key)
    params, _ = adapt(meta, x[0], y[0], steps, first_order)
    return mse(params, x[1], y[1])


@functools.partial(jit, static_argnames=("first_order",))
def meta_step(meta, opt_state, key, first_order=False):
    def batch_loss(meta):
        return vmap(functools.partial(outer_loss, first_order=first_order), in_axes=(None, 0))(
            meta, random.split(key, 8)
        ).mean()

    loss, gradient = value_and_grad(batch_loss)(meta)
    norm = jnp.sqrt(tree_reduce(operator.add, tree_map(lambda g: jnp.sum(g * g), gradient)))
    gradient = tree_map(lambda g: g * jnp.minimum(1.0, 10.0 / norm), gradient)
    m, v, t = opt_state
    t = t + 1
    m = tree_map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
    v = tree_map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
    correct = jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    meta = tree_map(lambda p, m, v: p - 2e-3 * correct * m / (jnp.sqrt(v) + 1e-8), meta, m, v)
    return meta, (m, v, t), loss


def hessian_vector(params, x, y, vector):
    return jax.jvp(grad(lambda p: mse(p, x, y)), (params,), (vector,))[1]


def main():
    key, key_init = random.split(random.PRNGKey(11))
    params = init(key_init)
    rates = tree_map_with_path(lambda path, p: jnp.full(p.shape, -4.0 if path[-1].key == "w" else -3.0), params)
    for first_order in (True, False):
        meta = (params, rates)
        zeros = tree_map(jnp.zeros_like, meta)
        state = (zeros, zeros, 0)
        for index in range(31):
            meta, state, loss = meta_step(meta, state, random.fold_in(key, index), first_order=first_order)
            if index % 15 == 0:
                print("first" if first_order else "second", f"order {index} {loss:.4f}")
    x, y = task(random.PRNGKey(99))
    _, losses = adapt(meta, x[0], y[0], 6)
    print("adapting", *[f"{v:.4f}" for v in losses])
    leaves = tree_leaves(params)
    keys = tree_unflatten(tree_structure(params), list(random.split(key, len(leaves))))
    vector = tree_map(lambda p, k: random.normal(k, p.shape), params, keys)
    product = hessian_vector(params, x[0], y[0], vector)
    reverse = grad(lambda p: tree_reduce(operator.add, tree_map(jnp.vdot, grad(mse)(p, x[0], y[0]), vector)))(params)
    assert all(map(functools.partial(jnp.allclose, rtol=1e-3, atol=1e-3), tree_leaves(product), tree_leaves(reverse)))
    print(
        f"curvature {sum(jnp.vdot(a, b) for a, b in zip(tree_leaves(product), tree_leaves(vector), strict=True)):.3f}"
    )
    third = grad(grad(grad(lambda t: outer_loss((tree_map(lambda p: t * p, params), rates), key))))(1.0)
    print(f"third {third:.3f}")


if __name__ == "__main__":
    main()
