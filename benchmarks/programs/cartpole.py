"""Policy gradients on the cart and pole: the environment is a function stepped in a scan, episodes restart by select,
environments are vmapped, and advantages come from generalized advantage estimation and PPO's clipped objective."""

from typing import NamedTuple

import jax
from jax import lax, nn, random
from jax import numpy as jnp

TOLERANCE = 2e-2  # of every printed number, relative: the actions that are drawn depend on the last digits

ENVIRONMENTS, HORIZON, UPDATES = 16, 64, 12


class Environment(NamedTuple):
    x: jax.Array
    velocity: jax.Array
    angle: jax.Array
    spin: jax.Array
    time: jax.Array


class Transition(NamedTuple):
    observation: jax.Array
    action: jax.Array
    log_prob: jax.Array
    value: jax.Array
    reward: jax.Array
    done: jax.Array


def reset(key):
    return Environment(*random.uniform(key, (4,), minval=-0.05, maxval=0.05), jnp.int32(0))


def observe(env):
    return jnp.array([env.x, env.velocity, env.angle, env.spin])


def step_environment(env, action):
    force = jnp.where(action == 1, 10.0, -10.0)
    sine, cosine = jnp.sin(env.angle), jnp.cos(env.angle)
    push = (force + 0.05 * env.spin**2 * sine) / 1.1
    spin_rate = (9.8 * sine - cosine * push) / (0.5 * (4.0 / 3.0 - 0.1 * cosine**2 / 1.1))
    rate = push - 0.05 * spin_rate * cosine / 1.1
    env = Environment(
        x=env.x + 0.02 * env.velocity,
        velocity=env.velocity + 0.02 * rate,
        angle=env.angle + 0.02 * env.spin,
        spin=env.spin + 0.02 * spin_rate,
        time=env.time + 1,
    )
    done = (jnp.abs(env.x) > 2.4) | (jnp.abs(env.angle) > 12 * jnp.pi / 180) | (env.time >= 200)
    return env, jnp.float32(1.0), done


def init(key):
    orthogonal = nn.initializers.orthogonal
    k1, k2, k3 = random.split(key, 3)
    return {
        "hidden": {"kernel": orthogonal(2**0.5)(k1, (4, 32)), "bias": jnp.zeros((32,))},
        "policy": {"kernel": orthogonal(0.01)(k2, (32, 2)), "bias": jnp.zeros((2,))},
        "value": {"kernel": orthogonal(1.0)(k3, (32, 1)), "bias": jnp.zeros((1,))},
    }


def dense(p, x):
    return x @ p["kernel"] + p["bias"]


def act(params, observation):
    h = nn.tanh(dense(params["hidden"], observation))
    return nn.log_softmax(dense(params["policy"], h)), dense(params["value"], h).squeeze(-1)


def rollout(params, env, key):
    def step(env, key):
        key_action, key_reset = random.split(key)
        observation = observe(env)
        log_probs, value = act(params, observation)
        action = random.categorical(key_action, log_probs)
        new, reward, done = step_environment(env, action)
        new = jax.tree.map(lambda a, b: lax.select(done, a, b), reset(key_reset), new)
        return new, Transition(observation, action, log_probs[action], value, reward, done)

    env, path = lax.scan(step, env, random.split(key, HORIZON), unroll=2)
    return env, path, act(params, observe(env))[1]


def advantages(path, last, discount=0.99, trace=0.95):
    def back(carry, t):
        advantage, following = carry
        alive = 1.0 - t.done
        delta = t.reward + discount * following * alive - t.value
        advantage = delta + discount * trace * alive * advantage
        return (advantage, t.value), advantage

    return lax.scan(back, (jnp.zeros_like(last), last), path, reverse=True)[1]


def objective(params, path, advantage):
    log_probs, value = jax.vmap(act, (None, 0))(params, path.observation)
    chosen = jnp.take_along_axis(log_probs, path.action[:, None], 1)[:, 0]
    ratio = jnp.exp(chosen - path.log_prob)
    target = advantage + path.value
    scaled = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    gain = jnp.minimum(ratio * scaled, jnp.clip(ratio, 0.8, 1.2) * scaled).mean()
    entropy = -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1).mean()
    error = 0.5 * jnp.mean((value - target) ** 2)
    return -gain + 0.5 * error - 0.01 * entropy, {"entropy": entropy, "error": error}


@jax.jit
def update(carry, key):
    params, momentum, envs = carry
    key_roll, key_shuffle = random.split(key)
    envs, path, last = jax.vmap(rollout, in_axes=(None, 0, 0))(params, envs, random.split(key_roll, ENVIRONMENTS))
    advantage = jax.vmap(advantages)(path, last)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (path, advantage))

    def epoch(carry, key):
        order = random.permutation(key, ENVIRONMENTS * HORIZON).reshape(4, -1)

        def minibatch(carry, indices):
            params, momentum = carry
            part = jax.tree.map(lambda x: jnp.take(x, indices, axis=0), flat)
            (_, aux), grads = jax.value_and_grad(objective, has_aux=True)(params, *part)
            momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, grads)
            return (jax.tree.map(lambda p, m: p - 3e-3 * m, params, momentum), momentum), aux

        return lax.scan(minibatch, carry, order)

    (params, momentum), aux = lax.scan(epoch, (params, momentum), random.split(key_shuffle, 2))
    return (params, momentum, envs), jax.tree.map(jnp.mean, aux) | {"episodes": path.done.sum()}


def main():
    key_init, key_env, key_run = random.split(random.key(0), 3)
    params = init(key_init)
    envs = jax.vmap(reset)(random.split(key_env, ENVIRONMENTS))
    carry = (params, jax.tree.map(jnp.zeros_like, params), envs)
    carry, first = update(carry, random.key(1))
    print("first", {name: round(float(value), 4) for name, value in sorted(first.items())})
    carry, metrics = lax.scan(update, carry, random.split(key_run, UPDATES))
    episodes = metrics["episodes"]
    assert episodes[-3:].sum() < 0.8 * episodes[:3].sum(), episodes
    print("improved", bool(episodes[-1] < episodes[0]))

    def fall(env):
        """How many steps an environment stands when pushed to and fro."""

        def standing(state):
            return ~state[1]

        def push(state):
            env, done, count = state
            env, _, done = step_environment(env, count % 2)
            return env, done, count + 1

        return lax.while_loop(standing, push, (env, jnp.bool_(False), 0))[2]

    print("fall", *jax.vmap(fall)(jax.vmap(reset)(random.split(key_env, 5))).tolist())
    slope = jax.jacfwd(
        lambda a: observe(
            lax.fori_loop(0, 10, lambda i, e: step_environment(e, i % 2)[0], reset(key_env)._replace(angle=a))
        )
    )(0.02)
    print("slope", *[f"{v:.4f}" for v in slope])


if __name__ == "__main__":
    main()
