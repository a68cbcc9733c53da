"""State-space models: Kalman's filter and the Rauch-Tung-Striebel smoother in sequence and by associative_scan, the
noise's scale by maximum likelihood with BFGS, hidden Markov models, and a bootstrap particle filter."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jax import lax, random, vmap
from jax.scipy.optimize import minimize
from jax.scipy.stats import multivariate_normal

TOLERANCE = 5e-3  # of every printed number, relative


class Model(NamedTuple):
    transition: jax.Array
    process: jax.Array
    observation: jax.Array
    noise: jax.Array


def tracking(log_scale, dt=0.2):
    """A point with position and velocity in the plane; its position is observed."""
    block = jnp.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
    transition = jsl.block_diag(*[jnp.array([[1.0, dt], [0.0, 1.0]])] * 2)
    observation = jnp.zeros((2, 4)).at[(0, 1), (0, 2)].set(1.0)
    return Model(
        transition, jnp.exp(log_scale[0]) * jnp.kron(jnp.eye(2), block), observation, jnp.exp(log_scale[1]) * jnp.eye(2)
    )


def generate(model, key, steps):
    roots = jnp.linalg.cholesky(model.process + 1e-7 * jnp.eye(4)), jnp.linalg.cholesky(model.noise)

    def step(x, key):
        key_process, key_noise = random.split(key)
        x = model.transition @ x + roots[0] @ random.normal(key_process, (4,))
        return x, (x, model.observation @ x + roots[1] @ random.normal(key_noise, (2,)))

    return lax.scan(step, jnp.zeros(4), random.split(key, steps))[1]


def sequential(model, ys):
    def step(carry, y):
        mean, cov = carry
        mean = model.transition @ mean
        cov = model.transition @ cov @ model.transition.T + model.process
        innovation = model.observation @ cov @ model.observation.T + model.noise
        expected = model.observation @ mean
        gain = jsl.solve(innovation, model.observation @ cov, assume_a="pos").T
        likelihood = multivariate_normal.logpdf(y, expected, innovation)
        carry = mean + gain @ (y - expected), cov - gain @ innovation @ gain.T
        return carry, (*carry, likelihood)

    _, (means, covs, likelihoods) = lax.scan(step, (jnp.zeros(4), jnp.eye(4)), ys)
    return means, covs, likelihoods.sum()


def filter_element(model, y, first):
    """The element of Särkkä and García-Fernández's parallel filter for one observation."""
    f, q, h, r = model
    start = first[..., None, None]
    prior = jnp.where(start, f @ f.T + q, q)
    innovation = h @ prior @ h.T + r
    gain = jnp.linalg.solve(innovation, h @ prior).T
    a = jnp.where(start, 0.0, f - gain @ h @ f)
    c = prior - gain @ innovation @ gain.T
    weighted = f.T @ h.T @ jnp.linalg.inv(innovation)
    return a, gain @ y, c, jnp.where(first, 0.0, weighted @ y), jnp.where(start, 0.0, weighted @ h @ f)


@vmap
def combine_filter(first, second):
    a1, b1, c1, eta1, j1 = first
    a2, b2, c2, eta2, j2 = second
    eye = jnp.eye(a1.shape[-1])
    inverse = a2 @ jnp.linalg.inv(eye + c1 @ j2)
    other = a1.T @ jnp.linalg.inv(eye + j2 @ c1)
    return (
        inverse @ a1, inverse @ (b1 + c1 @ eta2) + b2, inverse @ c1 @ a2.T + c2,
        other @ (eta2 - j2 @ b1) + eta1, other @ j2 @ a1 + j1,
    )  # fmt: skip


@jax.jit
def parallel(model, ys):
    first = jnp.arange(len(ys)) == 0
    elements = vmap(filter_element, in_axes=(None, 0, 0))(model, ys, first)
    _, means, covs, _, _ = lax.associative_scan(combine_filter, elements)
    return means, covs


def smooth(model, means, covs):
    def element(mean, cov, last):
        predicted = model.transition @ cov @ model.transition.T + model.process
        gain = jnp.linalg.solve(predicted, model.transition @ cov).T
        gain = jnp.where(last, jnp.zeros_like(gain), gain)
        return gain, mean - gain @ model.transition @ mean, cov - gain @ predicted @ gain.T

    @vmap
    def combine(later, earlier):
        e, g, cov = earlier
        e2, g2, cov2 = later
        return e @ e2, e @ g2 + g, e @ cov2 @ e.T + cov

    last = jnp.arange(len(means)) == len(means) - 1
    elements = vmap(element)(means, covs, last)
    return lax.associative_scan(combine, elements, reverse=True)[1:]


def forward_backward(log_initial, log_transition, log_emissions):
    """Marginals of a hidden Markov model by products in the semiring of logarithms."""

    def product(a, b):
        return jax.nn.logsumexp(a[..., :, :, None] + b[..., None, :, :], axis=-2)

    steps = log_transition + log_emissions[1:, None, :]
    alphas = lax.associative_scan(product, steps)
    alpha = jax.nn.logsumexp((log_initial + log_emissions[0])[:, None] + alphas, axis=1)
    return jax.nn.logsumexp(alpha[-1])


def particles(model, key, ys, count=512):
    def step(carry, inputs):
        cloud, total = carry
        y, key = inputs
        key_move, key_pick = random.split(key)
        cloud = cloud @ model.transition.T + random.multivariate_normal(key_move, jnp.zeros(4), model.process, (count,))
        weights = multivariate_normal.logpdf(y, cloud @ model.observation.T, model.noise)
        total = total + jax.nn.logsumexp(weights) - jnp.log(count)
        cumulative = jnp.cumsum(jax.nn.softmax(weights))
        points = (jnp.arange(count) + random.uniform(key_pick)) / count
        return (cloud[jnp.clip(jnp.searchsorted(cumulative, points), 0, count - 1)], total), None

    return lax.scan(step, (random.normal(key, (count, 4)), 0.0), (ys, random.split(key, len(ys))))[0][1]


def main():
    model = tracking(jnp.array([0.0, -2.0]))
    states, ys = generate(model, random.PRNGKey(0), 64)
    print("states", f"{jnp.abs(states).mean():.4f}", f"{ys.std():.4f}")
    means, covs, likelihood = jax.jit(sequential)(model, ys)
    print(f"likelihood {likelihood:.3f}", *[f"{v:.4f}" for v in means[-1]])
    also, also_covs = parallel(model, ys)
    assert jnp.allclose(also, means, atol=2e-3)
    assert jnp.allclose(also_covs, covs, atol=2e-3)
    smoothed, smoothed_covs = jax.jit(smooth)(model, also, also_covs)
    print(f"errors {jnp.square(means - states).mean():.4f} {jnp.square(smoothed - states).mean():.4f}")
    print(
        f"uncertainty {jnp.trace(covs, axis1=1, axis2=2).mean():.4f} {jnp.einsum('nii->n', smoothed_covs).mean():.4f}"
    )
    found = minimize(
        lambda v: -sequential(tracking(v), ys)[2] / 64, jnp.array([1.0, 0.0]), method="BFGS", options={"maxiter": 20}
    )
    print("scales", *[f"{v:.2f}" for v in found.x])
    estimate = jax.jit(particles)(model, random.PRNGKey(4), ys)
    print("particles near", bool(abs(estimate - likelihood) < 10))
    logits = random.normal(random.PRNGKey(8), (3, 3))
    evidence, slope = jax.value_and_grad(
        lambda t: forward_backward(
            jnp.log(jnp.ones(3) / 3), jax.nn.log_softmax(t, axis=-1), random.gumbel(random.PRNGKey(9), (20, 3))
        )
    )(logits)
    print(f"markov {evidence:.4f}", *[f"{v:.3f}" for v in jnp.diag(slope)])


if __name__ == "__main__":
    main()
