"""Physics-informed networks: derivatives by jvp of jvp, hessians, jets and Taylor coefficients, L-BFGS-like descent by
Gauss and Newton's method on the residuals, and a deconvolution of a signal in the frequencies."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import hessian, jacfwd, jacrev, jvp, lax, random, vmap
from jax.experimental.jet import jet
from jax.flatten_util import ravel_pytree

TOLERANCE = 1e-2  # of every printed number, relative

WIDTH = 12


def init(key, inputs):
    k1, k2, k3 = random.split(key, 3)
    glorot = jax.nn.initializers.glorot_normal()
    return (
        (glorot(k1, (inputs, WIDTH)), random.normal(k1, (WIDTH,))),
        (glorot(k2, (WIDTH, WIDTH)), jnp.zeros(WIDTH)),
        (glorot(k3, (WIDTH, 1)), jnp.zeros(1)),
    )


def network(params, *coordinates):
    h = jnp.stack(coordinates)
    for w, b in params[:-1]:
        h = jnp.tanh(h @ w + b)
    w, b = params[-1]
    return (h @ w + b)[0]


def second(f, x):
    """f''(x) by forward mode over forward mode."""
    one = jnp.ones_like(x)
    return jvp(lambda x: jvp(f, (x,), (one,))[1], (x,), (one,))[1]


def poisson(key):
    """u'' = -sin(x) * pi**2-like source on [0, 1], by damped Gauss-Newton steps on all the residuals."""
    params = init(key, 1)
    flat, unravel = ravel_pytree(params)
    xs = jnp.linspace(0.0, 1.0, 24)

    def residuals(flat):
        u = partial(network, unravel(flat))
        inside = vmap(lambda x: second(u, x) + jnp.pi**2 * jnp.sin(jnp.pi * x))(xs)
        return jnp.append(inside / len(xs) ** 0.5, 10 * jnp.array([u(0.0), u(1.0)]))

    @jax.jit
    def step(flat, damping):
        r, pull = jax.vjp(residuals, flat)
        jacobian = jacrev(residuals)(flat)
        gram = jacobian @ jacobian.T + damping * jnp.eye(len(r))
        new = flat - pull(jnp.linalg.solve(gram, r))[0]
        better = jnp.sum(residuals(new) ** 2) < r @ r
        return lax.select(better, new, flat), jnp.where(better, damping / 3, damping * 4), r @ r

    damping = jnp.asarray(1.0)
    for index in range(20):
        flat, damping, value = step(flat, damping)
        if index in (0, 1):
            print(f"poisson {index} {value:.4f}")
    solution = vmap(partial(network, unravel(flat)))(xs)
    error = jnp.abs(solution - jnp.sin(jnp.pi * xs)).max()
    print("solved", bool(error < 2e-2), f"middle {solution[12]:.2f}")
    return unravel(flat)


def burgers(key):
    """u_t + u u_x = 0.05 u_xx, by gradient descent with Fourier features for the periodic coordinate."""
    params = init(key, 3)

    def u(params, t, x):
        return -jnp.sin(x) * jnp.exp(-t) + t * network(params, t, jnp.sin(x), jnp.cos(x))

    def residual(params, t, x):
        u_t, u_x = jax.grad(u, argnums=(1, 2))(params, t, x)
        u_xx = hessian(u, argnums=2)(params, t, x)
        return u_t + u(params, t, x) * u_x - 0.05 * u_xx

    @jax.jit
    def step(carry, key):
        params, momentum = carry
        t, x = random.uniform(key, (2, 64)) * jnp.array([[1.0], [2 * jnp.pi]])
        loss, grads = jax.value_and_grad(lambda p: jnp.mean(vmap(residual, (None, 0, 0))(p, t, x) ** 2))(params)
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, grads)
        return (jax.tree.map(lambda p, m: p - 5e-3 * m, params, momentum), momentum), loss

    (params, _), losses = lax.scan(step, (params, jax.tree.map(jnp.zeros_like, params)), random.split(key, 120))
    print("burgers", *[f"{v:.4f}" for v in losses[::40]])
    grid = jnp.linspace(0, 2 * jnp.pi, 7)
    print("field", *[f"{v:.3f}" for v in vmap(partial(u, params, 0.5))(grid)[1:3]])


def taylor(params):
    """Derivatives up to the fourth order of a network, by jet and by nested jvp; a laplacian in one pass."""
    u = partial(network, params)
    _, coefficients = jet(u, (0.3,), ([1.0, 0.0, 0.0, 0.0],))
    nested, f = [], u
    for _ in range(4):
        f = (lambda g: lambda x: jvp(g, (x,), (1.0,))[1])(f)
        nested.append(f(0.3))
    assert jnp.allclose(jnp.array(coefficients), jnp.array(nested), rtol=2e-2, atol=2e-2), (coefficients, nested)
    print(
        "jet of sine",
        *[f"{v:.4f}" for v in jet(lambda x: jnp.exp(jnp.sin(x)) / (1 + x**2), (0.5,), ([1.0, 0.0, 0.0],))[1]],
    )

    def potential(x):
        return jnp.log1p(jnp.sum(x**2)) * jnp.cos(x[0] * x[1])

    point = jnp.array([0.5, -1.0, 2.0])
    by_jet = sum(jet(potential, (point,), ((e, jnp.zeros(3)),))[1][1] for e in jnp.eye(3))
    print(f"laplacian {by_jet:.5f} {jnp.trace(jacfwd(jacrev(potential))(point)):.5f}")
    tangent = jax.linearize(jax.grad(potential), point)[1]
    columns = vmap(tangent)(jnp.eye(3))
    print("condition", f"{jnp.linalg.cond(columns):.4f}", *[f"{v:.4f}" for v in jnp.linalg.eigvalsh(columns)])


def deconvolve(key):
    """A sparse signal from its blurred sum by proximal gradients, with convolutions by FFT and directly."""
    places = random.choice(key, 128, (6,), replace=False)
    signal = jnp.zeros(128).at[places].set(jnp.linspace(1, 2, 6))
    blur = jnp.exp(-0.5 * jnp.square(jnp.arange(-8, 9) / 2.0))
    blurred = jnp.convolve(signal, blur, mode="same")
    by_fft = jax.scipy.signal.fftconvolve(signal, blur, mode="same")
    assert jnp.allclose(blurred, by_fft, atol=1e-4)
    forward = partial(jnp.convolve, v=blur, mode="same")
    adjoint = jax.linear_transpose(forward, signal)

    def step(carry, k):
        x, z = carry
        z = z - 0.04 * adjoint(forward(z) - blurred)[0]
        new = jnp.sign(z) * jax.nn.relu(jnp.abs(z) - 0.002)
        return (new, new + k / (k + 3) * (new - x)), jnp.sum((forward(new) - blurred) ** 2)

    (x, _), errors = jax.jit(lambda: lax.scan(step, (jnp.zeros(128),) * 2, jnp.arange(80.0)))()
    print(f"sparse {errors[0]:.4f} {errors[20]:.4f} mass {x.sum():.3f} of {signal.sum():.3f}")
    spectrum = jnp.abs(jnp.fft.fftshift(jnp.fft.fft(blurred))) ** 2
    frequencies, power = jax.scipy.signal.welch(blurred, nperseg=32)
    print(f"spectrum {spectrum.sum():.2f} peak {frequencies[jnp.argmax(power)]:.4f} {power.sum():.4f}")


if __name__ == "__main__":
    keys = random.split(random.key(21), 3)
    trained = poisson(keys[0])
    burgers(keys[1])
    taylor(trained)
    deconvolve(keys[2])
