"""Differentiable physics: orbits under a symplectic integrator and their sensitivity, a heat source found through a
checkpointed finite-difference solver, and a spectral solver of Korteweg and de Vries's equation."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

TOLERANCE = 2e-3  # of every printed number, relative


@jax.tree_util.register_pytree_node_class
class Bodies:
    """Positions and velocities (n, 2) of bodies with masses (n,)."""

    def __init__(self, position, velocity, mass):
        self.position, self.velocity, self.mass = position, velocity, mass

    def tree_flatten(self):
        return (self.position, self.velocity, self.mass), None

    @classmethod
    def tree_unflatten(cls, aux, children):
        return cls(*children)

    def energy(self):
        kinetic = 0.5 * jnp.sum(self.mass * jnp.sum(self.velocity**2, axis=1))
        pairs = jnp.array(list(itertools.combinations(range(len(self.mass)), 2)))
        i, j = pairs.T
        distance = jnp.linalg.norm(self.position[i] - self.position[j], axis=-1)
        return kinetic - jnp.sum(self.mass[i] * self.mass[j] / distance)


def acceleration(bodies):
    offset = bodies.position[None] - bodies.position[:, None]
    squared = jnp.sum(offset**2, axis=-1)
    own = jnp.eye(len(bodies.mass), dtype=bool)
    cubed = jnp.where(own, 1.0, squared) ** 1.5
    return jnp.sum(jnp.where(own, 0.0, bodies.mass / cubed)[..., None] * offset, axis=1)


@functools.partial(jax.jit, static_argnums=(1, 2))
def simulate(bodies, steps, every):
    dt = 0.01

    def verlet(_, bodies):
        half = bodies.velocity + 0.5 * dt * acceleration(bodies)
        moved = Bodies(bodies.position + dt * half, half, bodies.mass)
        return Bodies(moved.position, half + 0.5 * dt * acceleration(moved), bodies.mass)

    def record(bodies, _):
        bodies = lax.fori_loop(0, every, verlet, bodies)
        return bodies, (bodies.position, bodies.energy())

    return lax.scan(jax.checkpoint(record), bodies, None, length=steps // every)


def orbits():
    bodies = Bodies(
        jnp.array([[0.0, 0.0], [1.0, 0.0], [-1.5, 0.2]]), jnp.array([[0.0, 0.0], [0.0, 1.0], [0.1, -0.8]]),
        jnp.array([1.0, 0.01, 0.02]),
    )  # fmt: skip
    last, (path, energy) = simulate(bodies, 400, 20)
    print("orbit", *[f"{v:.5f}" for v in last.position.ravel()], path.shape)
    assert jnp.ptp(energy) < 1e-3 * abs(energy[0])

    def miss(velocity):
        start = Bodies(bodies.position, bodies.velocity.at[1].set(velocity), bodies.mass)
        return jnp.sum((simulate(start, 200, 20)[0].position[1] - jnp.array([0.5, -1.2])) ** 2)

    velocity = bodies.velocity[1]
    for _ in range(12):
        velocity = velocity - 0.02 * jax.grad(miss)(velocity)
    print(f"aim {miss(bodies.velocity[1]):.4f} {miss(velocity):.5f}", *[f"{v:.4f}" for v in velocity])


def laplacian(u):
    padded = jnp.pad(u, 1, mode="edge")
    return padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2] - 4 * u


def heat(source, steps=60):
    step = functools.partial(jax.checkpoint, policy=jax.checkpoint_policies.nothing_saveable)(
        lambda u, _: (u + 0.2 * laplacian(u) + 0.05 * source, None)
    )
    return lax.scan(step, jnp.zeros_like(source), None, length=steps)[0]


def inverse_heat():
    grid = np.stack(np.meshgrid(np.arange(24), np.arange(24), indexing="xy"), -1)
    target = heat(jnp.asarray(np.exp(-((grid - [8, 15]) ** 2).sum(-1) / 8.0)))
    sensors = target[::4, ::4]

    def loss(raw):
        return (
            jnp.sum((heat(jax.nn.softplus(raw))[::4, ::4] - sensors) ** 2) + 1e-4 * jnp.abs(jnp.diff(raw, axis=0)).sum()
        )

    @jax.jit
    def descend(raw):
        def step(carry, _):
            raw, velocity = carry
            value, slope = jax.value_and_grad(loss)(raw)
            velocity = 0.9 * velocity - 0.3 * slope
            return (raw + velocity, velocity), value

        return lax.scan(step, (raw, jnp.zeros_like(raw)), None, length=60)

    (raw, _), values = descend(jnp.full((24, 24), -3.0))
    where = jnp.unravel_index(jnp.argmax(heat(jax.nn.softplus(raw))), raw.shape)
    print(f"heat {target.sum():.3f} loss {values[0]:.4f} {values[-1]:.5f}", *map(int, where))


def korteweg_de_vries(amplitude, n=64, steps=300, dt=2e-4):
    """A soliton on a periodic interval, in Fourier space with an integrating factor and Runge and Kutta's steps."""
    length = 16.0
    x = jnp.linspace(-length / 2, length / 2, n, endpoint=False)
    wave = 2 * jnp.pi * jnp.fft.rfftfreq(n, length / n)
    u = 0.5 * amplitude / jnp.cosh(0.5 * jnp.sqrt(amplitude) * x) ** 2
    half = jnp.exp(0.5j * wave**3 * dt)

    def rate(v):
        return -3j * wave * jnp.fft.rfft(jnp.fft.irfft(v, n) ** 2)

    def step(v, _):
        a = rate(v)
        b = rate(half * (v + 0.5 * dt * a))
        c = rate(half * v + 0.5 * dt * b)
        d = rate(half**2 * v + dt * half * c)
        return half**2 * v + dt / 6 * (half**2 * a + 2 * half * (b + c) + d), None

    v, _ = lax.scan(step, jnp.fft.rfft(u), None, length=steps)
    return x, u, jnp.fft.irfft(v, n)


def soliton():
    x, before, after = jax.jit(korteweg_de_vries)(4.0)
    print(f"soliton {before.sum():.4f} {after.sum():.4f} {jnp.max(after):.4f} at {x[jnp.argmax(after)]:.3f}")
    speed, slope = jax.jvp(
        lambda a: jnp.vdot(x, korteweg_de_vries(a)[2]) / korteweg_de_vries(a)[2].sum(), (4.0,), (1.0,)
    )
    reverse = jax.grad(lambda a: jnp.vdot(x, korteweg_de_vries(a)[2]) / korteweg_de_vries(a)[2].sum())(4.0)
    assert abs(slope - reverse) < 1e-3 * abs(slope)
    print(f"centre {speed:.4f} slope {slope:.4f}")


if __name__ == "__main__":
    orbits()
    inverse_heat()
    soliton()
