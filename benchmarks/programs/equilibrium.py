"""Implicit layers: a deep equilibrium model with Anderson's iteration by custom_vjp, a bilevel choice of ridge
penalties through custom_linear_solve, and optimal transport by Sinkhorn's iteration with custom_jvp."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax, random
from jax.scipy.sparse.linalg import cg, gmres

TOLERANCE = 2e-3  # of every printed number, relative

WIDTH, MEMORY = 16, 4


def anderson(f, x, tolerance=1e-5, limit=60):
    """Fixed point of f by Anderson's iteration with a memory of MEMORY."""
    n = x.size
    points, images = jnp.zeros((MEMORY, n)), jnp.zeros((MEMORY, n))
    points, images = points.at[0].set(x), images.at[0].set(f(x))
    points, images = points.at[1].set(images[0]), images.at[1].set(f(images[0]))

    def going(carry):
        k, _, _, residual = carry
        return jnp.logical_and(k < limit, residual > tolerance)

    def step(carry):
        k, points, images, _ = carry
        used = jnp.arange(MEMORY) < jnp.minimum(k, MEMORY)
        differences = jnp.where(used[:, None], images - points, 0)
        gram = differences @ differences.T + 1e-6 * jnp.eye(MEMORY)
        ones = used.astype(x.dtype)
        gram = jnp.where(used[:, None] & used[None], gram, jnp.eye(MEMORY))
        weights = jnp.linalg.solve(gram, ones) * ones
        weights /= weights.sum()
        new = weights @ images
        image = f(new)
        points = points.at[k % MEMORY].set(new)
        images = images.at[k % MEMORY].set(image)
        return k + 1, points, images, jnp.linalg.norm(image - new) / (1e-5 + jnp.linalg.norm(image))

    k, _, images, _ = lax.while_loop(going, step, (2, points, images, jnp.inf))
    return images[(k - 1) % MEMORY]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def fixed_point(f, args, x):
    return anderson(lambda x: f(args, x), x)


def fixed_point_fwd(f, args, x):
    solution = fixed_point(f, args, x)
    return solution, (args, solution)


def fixed_point_bwd(f, residuals, cotangent):
    args, solution = residuals
    _, pull = jax.vjp(lambda a, x: f(a, x), args, solution)
    adjoint = anderson(lambda u: cotangent + pull(u)[1], cotangent)
    return pull(adjoint)[0], jnp.zeros_like(solution)


fixed_point.defvjp(fixed_point_fwd, fixed_point_bwd)


def cell(args, z):
    params, x = args
    return jnp.tanh(params["w"] @ z + params["u"] @ x + params["b"])


def model(params, x):
    z = fixed_point(cell, (params, x), jnp.zeros(WIDTH))
    return params["out"] @ z


def train(key):
    keys = random.split(key, 4)
    params = {
        "w": 0.5 * random.orthogonal(keys[0], WIDTH),
        "u": random.normal(keys[1], (WIDTH, 2)),
        "b": jnp.zeros(WIDTH),
        "out": random.normal(keys[2], (WIDTH,)) / WIDTH**0.5,
    }
    xs = random.uniform(keys[3], (32, 2), minval=-1.0)
    ys = jnp.prod(xs, axis=-1)

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        return jnp.mean((jax.vmap(model, (None, 0))(params, xs) - ys) ** 2)

    for index in range(40):
        value, grads = loss(params)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        if index % 13 == 0:
            print(f"equilibrium {index} {value:.5f}")
    unrolled = jax.grad(lambda p: lax.fori_loop(0, 60, lambda _, z: cell((p, xs[0]), z), jnp.zeros(WIDTH)) @ p["out"])(
        params
    )
    implicit = jax.grad(model)(params, xs[0])
    jax.tree.map(close, unrolled, implicit)


def close(a, b):
    assert jnp.allclose(a, b, atol=1e-3), jnp.abs(a - b).max()


def ridge(log_penalty, x, y):
    """Weights of ridge regression by a symmetric solver of our own."""

    def matvec(w):
        return x.T @ (x @ w) + jnp.exp(log_penalty) * w

    def solve(matvec, b):
        return cg(matvec, b, tol=1e-6, maxiter=100)[0]

    return lax.custom_linear_solve(matvec, x.T @ y, solve, symmetric=True)


def bilevel(key):
    key_x, key_w, key_noise = random.split(key, 3)
    x = random.normal(key_x, (40, 8))
    y = x @ random.laplace(key_w, (8,)) + 2 * random.normal(key_noise, (40,))

    def validation(log_penalty):
        return jnp.mean((x[20:] @ ridge(log_penalty, x[:20], y[:20]) - y[20:]) ** 2)

    penalty = jnp.zeros(8)
    for _ in range(10):
        penalty = penalty - 0.3 * jax.jit(jax.grad(validation))(penalty)
    print(f"ridge {validation(jnp.zeros(8)):.4f} {validation(penalty):.4f}")
    forward = jax.jacfwd(validation)(penalty)
    close(forward, jax.jacrev(validation)(penalty))
    print("hessian", f"{jnp.linalg.norm(jax.hessian(validation)(penalty)):.4f}")
    b = jnp.ones(8)
    a = x[:8] + 6 * jnp.eye(8)
    solution, _ = gmres(lambda v: a @ v, b, tol=1e-6)
    close(a @ solution, b)


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def sinkhorn(cost, a, b, epsilon):
    """The entropic cost of transport: its derivatives are the plan and the potentials."""
    return transport(cost, a, b, epsilon)[0]


def transport(cost, a, b, epsilon):
    def step(potentials, _):
        f, g = potentials
        f = epsilon * (jnp.log(a) - jax.nn.logsumexp((g[None, :] - cost) / epsilon, axis=1))
        g = epsilon * (jnp.log(b) - jax.scipy.special.logsumexp((f[:, None] - cost) / epsilon, axis=0))
        return (f, g), jnp.abs(jnp.exp((f[:, None] + g - cost) / epsilon).sum(1) - a).sum()

    (f, g), errors = lax.scan(step, (jnp.zeros_like(a), jnp.zeros_like(b)), length=80)
    plan = jnp.exp((f[:, None] + g - cost) / epsilon)
    return f @ a + g @ b, plan, f, g, errors


@sinkhorn.defjvp
def sinkhorn_jvp(epsilon, primals, tangents):
    cost, a, b = primals
    cost_dot, a_dot, b_dot = tangents
    value, plan, f, g, _ = transport(cost, a, b, epsilon)
    return value, jnp.vdot(plan, cost_dot) + f @ a_dot + g @ b_dot


def match(key):
    key_x, key_y = random.split(key)
    x = random.ball(key_x, 2, shape=(12,))
    y = random.normal(key_y, (16, 2)) * 0.3 + 1.0
    weights = jnp.full(12, 1 / 12), jnp.full(16, 1 / 16)

    def loss(x):
        cost = jnp.sum((x[:, None] - y) ** 2, axis=-1)
        return sinkhorn(cost, *weights, 0.1)

    step = jax.jit(lambda x: (loss(x), x - 2.0 * jax.grad(loss)(x)))
    values = []
    for _ in range(15):
        value, x = step(x)
        values.append(value.item())
    print("sinkhorn", f"{values[0]:.4f} {values[5]:.4f} {values[-1]:.4f}")
    assert jnp.allclose(x.mean(0), y.mean(0), atol=0.05)


def main():
    keys = random.split(random.key(5), 3)
    train(keys[0])
    bilevel(keys[1])
    match(keys[2])


if __name__ == "__main__":
    main()
