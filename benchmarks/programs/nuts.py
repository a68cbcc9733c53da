"""The No-U-Turn sampler: trees grow by doubling in a while_loop, checkpoints of the momentum decide where they turn,
the step size adapts by dual averaging, and chains are vmapped."""

from collections import namedtuple
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax, random, vmap

TOLERANCE = 0.1  # of every printed number, relative: chains part after some hundred leapfrog steps

DIMENSION, DEPTH = 3, 6
State = namedtuple("State", "q p g energy")
Tree = namedtuple("Tree", "left right proposal log_weight total turning diverging accept count")


def data(key):
    key_x, key_y = random.split(key)
    x = random.normal(key_x, (60, DIMENSION - 1))
    x = jnp.c_[jnp.ones(60), x]
    return x, random.bernoulli(key_y, jax.nn.sigmoid(x @ jnp.array([0.5, -1.0, 2.0])))


def log_density(q, x, y):
    logits = x @ q
    return jnp.sum(jnp.where(y, logits, 0) - jnp.logaddexp(0.0, logits)) - 0.5 * jnp.sum(q**2) / 4


def leapfrog(potential, state, step):
    p = state.p - 0.5 * step * state.g
    q = state.q + step * p
    value, g = jax.value_and_grad(potential)(q)
    p = p - 0.5 * step * g
    return State(q, p, g, value + 0.5 * p @ p)


def turned(left_p, right_p, total):
    centre = total - 0.5 * (left_p + right_p)
    return (left_p @ centre <= 0) | (right_p @ centre <= 0)


def subtree(potential, key, start, step, direction, depth, energy):
    """2**depth leapfrog steps from start, in one direction; checkpoints hold the even leaves' momenta."""
    first = Tree(start, start, start, -jnp.inf, jnp.zeros(DIMENSION), False, False, 0.0, 0)
    first = jax.tree.map(jnp.asarray, first)
    checkpoints = jnp.zeros((2, DEPTH, DIMENSION))

    def going(carry):
        tree, _, _ = carry
        return (tree.count < 2**depth) & ~tree.turning & ~tree.diverging

    def grow(carry):
        tree, (momenta, totals), key = carry
        key, key_take = random.split(key)
        state = leapfrog(potential, tree.right, step * direction)
        weight = energy - state.energy
        weight = jnp.where(jnp.isnan(weight), -jnp.inf, weight)
        log_weight = jnp.logaddexp(tree.log_weight, weight)
        take = jnp.log(random.uniform(key_take)) < weight - log_weight
        total = tree.total + state.p
        leaf = tree.count
        slot_most = lax.population_count(leaf >> 1)
        ones = lax.population_count(~leaf & (leaf + 1) - 1)
        slot_least = slot_most - ones + 1
        even = leaf % 2 == 0
        momenta = jnp.where(even, momenta.at[slot_most].set(state.p), momenta)
        totals = jnp.where(even, totals.at[slot_most].set(total), totals)

        def check(slot):
            return turned(momenta[slot], state.p, total - totals[slot] + momenta[slot])

        slots = jnp.arange(DEPTH)
        inside = (slots >= slot_least) & (slots <= slot_most)
        turning = ~even & jnp.any(vmap(check)(slots) & inside)
        proposal = jax.tree.map(lambda new, old: jnp.where(take, new, old), state, tree.proposal)
        left = jax.tree.map(lambda new, old: jnp.where(leaf == 0, new, old), state, tree.left)
        accept = tree.accept + jnp.minimum(1.0, jnp.exp(weight))
        tree = Tree(left, state, proposal, log_weight, total, turning, weight < -1000, accept, leaf + 1)
        return tree, jnp.stack([momenta, totals]), key

    return lax.while_loop(going, grow, (first, checkpoints, key))[0]


def transition(potential, key, q, step):
    key_p, key = random.split(key)
    p = random.normal(key_p, q.shape)
    value, g = jax.value_and_grad(potential)(q)
    start = State(q, p, g, value + 0.5 * p @ p)
    tree = jax.tree.map(jnp.asarray, Tree(start, start, start, 0.0, p, False, False, 0.0, 0))

    def going(carry):
        tree, depth, _ = carry
        return (depth < DEPTH) & ~tree.turning & ~tree.diverging

    def double(carry):
        tree, depth, key = carry
        key, key_direction, key_tree, key_take = random.split(key, 4)
        forward = random.bernoulli(key_direction)
        edge = lax.cond(forward, lambda t: t.right, lambda t: t.left, tree)
        new = subtree(potential, key_tree, edge, step, jnp.where(forward, 1.0, -1.0), depth, start.energy)
        valid = ~new.turning & ~new.diverging
        take = valid & (jnp.log(random.uniform(key_take)) < new.log_weight - tree.log_weight)
        select = partial(jax.tree.map, lambda a, b: jnp.where(take, a, b))
        left = jax.tree.map(lambda a, b: jnp.where(forward, a, b), tree.left, new.right)
        right = jax.tree.map(lambda a, b: jnp.where(forward, a, b), new.right, tree.right)
        total = tree.total + new.total
        turning = new.turning | turned(left.p, right.p, total)
        tree = Tree(
            left, right, select(new.proposal, tree.proposal), jnp.logaddexp(tree.log_weight, new.log_weight), total,
            turning, new.diverging, tree.accept + new.accept, tree.count + new.count,
        )  # fmt: skip
        return tree, depth + 1, key

    tree, depth, _ = lax.while_loop(going, double, (tree, 0, key))
    return tree.proposal.q, tree.accept / tree.count, depth


def sample(potential, key, q, warmup, draws):
    def adapt(carry, inputs):
        q, log_step, average, error = carry
        index, key = inputs
        q, accept, _ = transition(potential, key, q, jnp.exp(log_step))
        eta = 1 / (index + 10)
        error = (1 - eta) * error + eta * (0.8 - accept)
        log_step = jnp.log(1.0) - jnp.sqrt(index) / 0.05 * error
        weight = index**-0.75
        return (q, log_step, weight * log_step + (1 - weight) * average, error), accept

    key_warm, key_draw = random.split(key)
    inputs = (jnp.arange(1.0, warmup + 1), random.split(key_warm, warmup))
    (q, _, average, _), _ = lax.scan(adapt, (q, jnp.log(0.1), 0.0, 0.0), inputs)

    def draw(q, key):
        q, accept, depth = transition(potential, key, q, jnp.exp(average))
        return q, (q, accept, depth)

    return lax.scan(draw, q, random.split(key_draw, draws))[1], jnp.exp(average)


def main():
    key, key_data = random.split(random.PRNGKey(7))
    x, y = data(key_data)
    potential = jax.tree_util.Partial(lambda x, y, q: -log_density(q, x, y), x, y)
    run = jax.jit(vmap(lambda key, q: sample(potential, key, q, 150, 400)))
    (draws, accepted, depths), steps = run(random.split(key, 4), jnp.zeros((4, DIMENSION)))
    print("shape", *draws.shape, "ones", int(y.sum()))
    print("mean", *[f"{v:.3f}" for v in draws.mean((0, 1))])
    print("deviation", *[f"{v:.3f}" for v in draws.std((0, 1))])
    within, between = draws.var(1, ddof=1).mean(0), draws.mean(1).var(0, ddof=1)
    print("r_hat", f"{jnp.sqrt(1 + between / within).max():.2f}")
    assert 0.7 < accepted.mean() < 0.95, accepted.mean()
    assert depths.max() <= DEPTH and (steps > 0).all()
    mode = jnp.zeros(DIMENSION)
    for _ in range(8):
        mode = mode - jnp.linalg.solve(jax.hessian(potential)(mode), jax.grad(potential)(mode))
    print("mode", *[f"{v:.5f}" for v in mode])


if __name__ == "__main__":
    main()
