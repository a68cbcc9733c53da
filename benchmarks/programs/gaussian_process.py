"""Gaussian process regression: hyper-parameters by their gradients and by Newton's method, a Student-t likelihood by
Laplace's approximation, and draws from the posterior."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np
from jax import lax, random
from jax.scipy.linalg import cho_factor, cho_solve, solve_triangular

TOLERANCE = 5e-3  # of every printed number, relative


@partial(jax.tree_util.register_dataclass, data_fields=["amplitude", "length", "noise"], meta_fields=["kind"])
@dataclass
class Kernel:
    """Logarithms of the hyper-parameters."""

    amplitude: jax.Array
    length: jax.Array
    noise: jax.Array
    kind: str = "matern52"

    def __call__(self, x, y):
        scaled = (x - y) / jnp.exp(self.length)
        squared = jnp.sum(scaled**2)
        if self.kind == "rbf":
            return jnp.exp(2 * self.amplitude - 0.5 * squared)
        distance = jnp.sqrt(5 * jnp.where(squared > 0, squared, 1.0))
        value = (1 + distance + distance**2 / 3) * jnp.exp(-distance)
        return jnp.exp(2 * self.amplitude) * jnp.where(squared > 0, value, 1.0)

    def matrix(self, xs, ys):
        return jax.vmap(lambda x: jax.vmap(lambda y: self(x, y))(ys))(xs)


def negative_log_likelihood(kernel, x, y):
    covariance = kernel.matrix(x, x) + (jnp.exp(2 * kernel.noise) + 1e-5) * jnp.eye(len(x))
    factor, lower = cho_factor(covariance, lower=True)
    weights = cho_solve((factor, lower), y)
    log_det = 2 * jnp.log(jnp.diagonal(factor)).sum()
    return 0.5 * (y @ weights + log_det + len(x) * jnp.log(2 * jnp.pi))


@jax.jit
def fit(kernel, x, y):
    """Gradient descent with a line search by halving."""
    value_and_grad = jax.value_and_grad(negative_log_likelihood)

    def step(kernel, _):
        value, grads = value_and_grad(kernel, x, y)
        slope = sum(jnp.vdot(g, g) for g in jax.tree.leaves(grads))

        def moved(rate):
            return jax.tree.map(lambda p, g: p - rate * g, kernel, grads)

        def too_long(rate):
            worse = negative_log_likelihood(moved(rate), x, y) > value - 0.1 * rate * slope
            return worse & (rate > 1e-6)

        return moved(lax.while_loop(too_long, lambda rate: rate / 2, 0.125)), value

    return lax.scan(step, kernel, length=40)


def posterior(kernel, x, y, new):
    covariance = kernel.matrix(x, x) + (jnp.exp(2 * kernel.noise) + 1e-5) * jnp.eye(len(x))
    factor = jnp.linalg.cholesky(covariance)
    cross = solve_triangular(factor, kernel.matrix(x, new), lower=True)
    mean = cross.T @ solve_triangular(factor, y, lower=True)
    return mean, kernel.matrix(new, new) - cross.T @ cross


def laplace(covariance, y, steps=12):
    """The mode of a posterior with a Student-t likelihood, and the approximate log evidence."""

    def log_likelihood(f):
        return jsp.stats.t.logpdf(y, 4.0, f, 0.2).sum()

    def step(f, _):
        gradient = jax.grad(log_likelihood)(f)
        curvature = jnp.full_like(f, 5 / 7 / 0.2**2)  # Fisher's information: the likelihood is not concave
        root = jnp.sqrt(curvature)
        inner = jnp.eye(len(f)) + root[:, None] * covariance * root
        target = curvature * f + gradient
        a = target - root * jsp.linalg.solve(inner, root * (covariance @ target), assume_a="pos")
        return f + 0.5 * (covariance @ a - f), jnp.linalg.slogdet(inner)[1]

    f, log_dets = lax.scan(step, jnp.zeros_like(y), None, steps)
    prior = 0.5 * f @ jnp.linalg.solve(covariance, f)
    return f, log_likelihood(f) - prior - 0.5 * log_dets[-1]


def main():
    rng = np.random.default_rng(3)
    x = np.sort(rng.uniform(-2, 2, size=(32, 1)), axis=0)
    y = np.sin(3 * x[:, 0]) + 0.1 * rng.normal(size=32)
    x, y = jnp.asarray(x, dtype=jnp.float32), jnp.asarray(y, dtype=jnp.float32)
    for kind in ("rbf", "matern52"):
        kernel = Kernel(jnp.zeros(()), jnp.zeros(1), jnp.array(-1.0), kind)
        kernel, values = fit(kernel, x, y)
        print(kind, f"{values[0]:.4f} {values[-1]:.4f}", f"{kernel.noise:.3f} {kernel.length[0]:.3f}")
    hessian = jax.hessian(lambda v: negative_log_likelihood(Kernel(v[0], v[1:2], v[2]), x, y))
    point = jnp.array([kernel.amplitude, kernel.length[0], kernel.noise])
    print("curvature", *[f"{v:.2f}" for v in jnp.linalg.eigvalsh(hessian(point))])
    new = jnp.linspace(-2, 2, 9)[:, None]
    mean, covariance = posterior(kernel, x, y, new)
    print("mean", *[f"{v:.2f}" for v in mean[1::2]])
    draws = random.multivariate_normal(random.key(0), mean, covariance + 1e-4 * jnp.eye(9), (2000,), method="svd")
    print("draws close", bool(jnp.abs(draws.mean(0) - mean).max() < 0.05), draws.shape)
    outliers = y.at[jnp.array([5, 20])].add(3.0)
    mode, evidence = jax.jit(laplace)(kernel.matrix(x, x) + 1e-3 * jnp.eye(32), outliers)
    print("laplace", f"{evidence:.2f}", f"{mode.max():.3f}")
    sensitivity = jax.grad(lambda c: laplace(c, outliers)[1])(kernel.matrix(x, x) + 1e-3 * jnp.eye(32))
    assert jnp.isfinite(sensitivity).all()


if __name__ == "__main__":
    main()
