# mypy: ignore-errors
"""The first examples of JAX's libraries, as their documentation has them, run under `fdl.install_as_jax`::

    python -m fdl.as_jax -m benchmarks.quick_starts flax.linen haiku

Each prints what it came to in a few words, or raises.
"""

import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.solver_quick_starts import SOLVERS


def data():
    """Points of two half moons, and which one each is of."""
    rng = np.random.default_rng(0)
    angle, label = rng.uniform(0, np.pi, 256), rng.integers(0, 2, 256)
    x = np.stack([np.cos(angle) * (1 - 2 * label) + label, np.sin(angle) * (1 - 2 * label) + 0.3 * label], 1)
    return (x + rng.normal(0, 0.1, x.shape)).astype(np.float32), label


def fell(losses) -> str:
    """What a training came to."""
    first, last = float(losses[0]), float(losses[-1])
    assert last < 0.4 * first, (first, last)
    return f"loss {first:.3f} to {last:.3f}"


def optax() -> str:
    """Fit a line by adam, with a schedule and clipped gradients."""
    import optax

    x, y = jnp.linspace(0, 1, 32), 3 * jnp.linspace(0, 1, 32) - 1
    params = {"w": jnp.array(0.0), "b": jnp.array(0.0)}
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(0.1, 300)))
    state = optimizer.init(params)

    def loss(p):
        return optax.l2_loss(p["w"] * x + p["b"], y).mean()

    @jax.jit
    def step(p, state):
        value, grads = jax.value_and_grad(loss)(p)
        updates, state = optimizer.update(grads, state, p)
        return optax.apply_updates(p, updates), state, value

    losses = []
    for _ in range(200):
        params, state, value = step(params, state)
        losses.append(value)
    return fell(losses)


def chex() -> str:
    """A dataclass as a tree, assertions, and a limit to the number of traces."""
    import chex

    @chex.dataclass
    class Parameters:
        x: chex.ArrayDevice
        y: chex.ArrayDevice

    found = jax.tree.map(lambda v: 2 * v, Parameters(x=jnp.ones((2, 2)), y=jnp.ones((1, 2))))
    chex.assert_trees_all_close(found, Parameters(x=2 * jnp.ones((2, 2)), y=2 * jnp.ones((1, 2))))
    chex.assert_shape((found.x, found.y), [(2, 2), (1, 2)])
    chex.clear_trace_counter()
    traced_once = jax.jit(chex.assert_max_traces(lambda v: v + 1, n=1))
    traced_once(jnp.ones(2)), traced_once(jnp.zeros(2))
    try:
        traced_once(jnp.ones(3))
    except AssertionError:
        return "assertions hold, and fail where they should"
    raise RuntimeError("a second trace was not noticed")


def linen() -> str:
    """Classify with a network of linen, batch norm and dropout included, by a TrainState."""
    import flax.linen as nn
    import optax
    from flax.training import train_state

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = nn.relu(nn.Dense(32)(x))
            x = nn.BatchNorm(use_running_average=not train)(x)
            x = nn.Dropout(0.1, deterministic=not train)(x)
            return nn.Dense(2)(nn.relu(nn.Dense(32)(x)))

    x, labels = data()
    model = Network()
    variables = model.init(jax.random.key(0), x, train=False)
    state = train_state.TrainState.create(apply_fn=model.apply, params=variables["params"], tx=optax.adam(0.01))

    @jax.jit
    def step(state, statistics, key):
        def loss(params):
            logits, updates = state.apply_fn(
                {"params": params, "batch_stats": statistics}, x, train=True, mutable=["batch_stats"],
                rngs={"dropout": key},
            )  # fmt: skip
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updates["batch_stats"]

        (value, statistics), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        return state.apply_gradients(grads=grads), statistics, value

    statistics, losses = variables["batch_stats"], []
    for key in jax.random.split(jax.random.key(1), 100):
        state, statistics, value = step(state, statistics, key)
        losses.append(value)
    return fell(losses)


def nnx() -> str:
    """Classify with a network of nnx and its optimizer."""
    import optax
    from flax import nnx

    class Network(nnx.Module):
        def __init__(self, rngs):
            self.first, self.last = nnx.Linear(2, 32, rngs=rngs), nnx.Linear(32, 2, rngs=rngs)

        def __call__(self, x):
            return self.last(nnx.relu(self.first(x)))

    x, labels = data()
    model = Network(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(0.01), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        def loss(model):
            return optax.softmax_cross_entropy_with_integer_labels(model(x), labels).mean()

        value, grads = nnx.value_and_grad(loss)(model)
        optimizer.update(model, grads)
        return value

    return fell([step(model, optimizer) for _ in range(200)])


def haiku() -> str:
    """Classify with a perceptron of Haiku, by its own gradient descent."""
    import haiku as hk

    def network(x):
        return hk.nets.MLP([32, 32, 2])(x)

    x, labels = data()
    model = hk.without_apply_rng(hk.transform(network))
    params = model.init(jax.random.PRNGKey(42), x)

    @jax.jit
    def step(params):
        def loss(params):
            return -jnp.mean(jax.nn.log_softmax(model.apply(params, x))[jnp.arange(len(x)), labels])

        value, grads = jax.value_and_grad(loss)(params)
        return jax.tree_util.tree_map(lambda p, g: p - 0.5 * g, params, grads), value

    losses = []
    for _ in range(200):
        params, value = step(params)
        losses.append(value)
    return fell(losses)


def distrax() -> str:
    """Sample, score and transform distributions, under jit and grad."""
    import distrax

    mu, sigma = jnp.array([-1.0, 0.0, 1.0]), jnp.array([0.1, 0.2, 0.3])
    normal = distrax.MultivariateNormalDiag(loc=mu, scale_diag=sigma)
    samples, scores = jax.jit(lambda key: normal.sample_and_log_prob(seed=key, sample_shape=(2000,)))(jax.random.key(0))
    np.testing.assert_allclose(samples.mean(0), mu, atol=0.05)
    np.testing.assert_allclose(scores, normal.log_prob(samples), atol=1e-5)
    log_normal = distrax.Transformed(distrax.Normal(0.0, 1.0), distrax.Lambda(jnp.exp))
    np.testing.assert_allclose(
        jax.grad(log_normal.log_prob)(2.0), -(np.log(2.0) + 1) / 2, rtol=1e-5
    )  # of -log(x) - log(x)^2 / 2
    assert (
        distrax.Categorical(probs=jnp.array([0.1, 0.9])).kl_divergence(distrax.Categorical(probs=jnp.array([0.5, 0.5])))
        > 0.3
    )
    return "samples, densities and their gradients agree"


def mctx() -> str:
    """Search for the best arm of a bandit with Gumbel MuZero."""
    import mctx

    rewards = jnp.array([0.1, 0.9, 0.3, 0.5])

    def step(params, key, action, embedding):
        batch = action.shape[0]
        return (
            mctx.RecurrentFnOutput(
                reward=rewards[action],
                discount=jnp.zeros(batch),
                prior_logits=jnp.zeros((batch, 4)),
                value=jnp.zeros(batch),
            ),
            embedding,
        )

    root = mctx.RootFnOutput(prior_logits=jnp.zeros((8, 4)), value=jnp.zeros(8), embedding=jnp.zeros(8))

    @jax.jit
    def search(key):
        return mctx.gumbel_muzero_policy(
            params=(), rng_key=key, root=root, recurrent_fn=step, num_simulations=32, max_num_considered_actions=4
        )

    found = search(jax.random.PRNGKey(0))
    assert (found.action == 1).mean() > 0.7, found.action
    return f"the best action found in {(found.action == 1).sum()} of 8 searches"


#: By what `import` calls a library.
QUICK_STARTS: dict[str, Callable[[], str]] = {
    "chex": chex,
    "distrax": distrax,
    "flax.linen": linen,
    "flax.nnx": nnx,
    "haiku": haiku,
    "mctx": mctx,
    "optax": optax,
} | SOLVERS

if __name__ == "__main__":
    for name in sys.argv[1:] or QUICK_STARTS:
        print(f"{name}: {QUICK_STARTS[name]()}", flush=True)
