"""A neural ordinary differential equation: a vector field learned from a spiral by odeint's adjoint, an event found by
bisection, and a continuous normalizing flow with Hutchinson's estimate of the trace."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax, random
from jax.experimental.ode import odeint

TOLERANCE = 5e-3  # of every printed number, relative


def spiral(y, t, matrix):
    return (y**3) @ matrix


TRUE_MATRIX = jnp.array([[-0.1, 2.0], [-2.0, -0.1]])


def initialize(key):
    keys = random.split(key)
    return [
        {"w": jax.nn.initializers.lecun_normal()(k, (m, n)), "b": jnp.zeros(n)}
        for k, m, n in zip(keys, (2, 24), (24, 2), strict=True)
    ]


def network(params, x):
    first, second = params
    return jnp.tanh(x @ first["w"] + first["b"]) @ second["w"] + second["b"]


def length(tree):
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))


def field(y, t, params):
    return network(params, y**3)


@jax.jit
def loss_fn(params, starts, times, targets):
    paths = jax.vmap(lambda y: odeint(field, y, times, params, rtol=1e-5, atol=1e-6))(starts)
    return jnp.mean(jnp.abs(paths - targets))


def batch(key, path, times, size=8, length=6):
    indices = random.choice(key, len(times) - length, (size,), replace=False)
    windows = path[indices[:, None] + jnp.arange(length)]
    return windows[:, 0], times[:length], windows


def train():
    times = jnp.linspace(0.0, 8.0, 120)
    path = odeint(spiral, jnp.array([2.0, 0.0]), times, TRUE_MATRIX)
    print("spiral", *[f"{v:.4f}" for v in path[-1]])
    params = initialize(random.PRNGKey(0))

    @jax.jit
    def step(params, momentum, key):
        value, grads = jax.value_and_grad(loss_fn)(params, *batch(key, path, times))
        scale = 0.05 / jnp.maximum(1.0, length(grads))
        momentum = jax.tree.map(lambda m, g: 0.9 * m + scale * g, momentum, grads)
        return jax.tree.map(jnp.subtract, params, momentum), momentum, value

    momentum = jax.tree.map(jnp.zeros_like, params)
    for index in range(25):
        params, momentum, value = step(params, momentum, random.fold_in(random.PRNGKey(1), index))
        if index in (0, 24):
            print(f"loss {value:.4f}")
    return params, path


def crossing(y):
    """The time at which the spiral's first coordinate changes sign, differentiable by the implicit function theorem."""

    def height(t):
        def runge_kutta(_, y):
            dt = t / 32
            a = spiral(y, 0, TRUE_MATRIX)
            b = spiral(y + dt / 2 * a, 0, TRUE_MATRIX)
            return y + dt / 2 * (b + spiral(y + dt * b, 0, TRUE_MATRIX))

        return lax.fori_loop(0, 32, runge_kutta, y)[0]

    def solve(f, initial):
        def halve(_, bracket):
            low, high = bracket
            middle = (low + high) / 2
            return lax.cond(f(middle) > 0, lambda: (middle, high), lambda: (low, middle))

        return sum(lax.fori_loop(0, 22, halve, (jnp.zeros_like(initial) + 1e-3, initial))) / 2

    return lax.custom_root(height, jnp.array(1.0), solve, lambda g, y: y / g(1.0))


def augmented(state, t, params, noise):
    y, _ = state
    velocity, pullback = jax.vjp(lambda y: field(y, t, params), y)
    (row,) = pullback(noise)
    return velocity, -jnp.vdot(row, noise)


def log_prob(params, y, noise):
    times = jnp.array([0.0, 0.5])
    (ends, changes) = odeint(augmented, (y, jnp.zeros(())), times, params, noise)
    return jax.scipy.stats.multivariate_normal.logpdf(ends[-1], jnp.zeros(2), jnp.eye(2)) - changes[-1]


def main():
    params, path = train()
    start = jnp.array([1.5, 0.3])
    time, slope = jax.value_and_grad(crossing)(start)
    print(f"crossing {time:.4f} gradient", *[f"{v:.4f}" for v in slope])
    step = 1e-2
    difference = (crossing(start.at[0].add(step)) - crossing(start.at[0].add(-step))) / (2 * step)
    assert abs(difference - slope[0]) < 2e-2 * abs(slope[0]), (difference, slope)
    noise = random.rademacher(random.PRNGKey(3), (6, 2), jnp.float32)
    value, grads = jax.value_and_grad(lambda p: jax.vmap(partial(log_prob, p))(0.5 * path[:60:10], noise).mean())(
        params
    )
    print(f"log_prob {value:.4f} gradient {length(grads):.3f}")


if __name__ == "__main__":
    main()
