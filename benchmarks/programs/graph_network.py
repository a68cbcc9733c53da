"""A graph network: messages by gathering, aggregation by segment sums and softmax over segments, a jraph-like batch of
padded graphs, trained to predict a property of random molecules; then PageRank as a sparse matrix."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as onp
from jax import random
from jax.experimental import sparse
from jax.ops import segment_max, segment_sum

TOLERANCE = 5e-3  # of every printed number, relative: steps are divided by roots of small numbers


class Graphs(NamedTuple):
    """Several graphs as one: features of nodes, pairs of nodes, and the graph of each node."""

    nodes: jax.Array
    senders: jax.Array
    receivers: jax.Array
    graph: jax.Array
    mask: jax.Array


def make(seed, count, most=8):
    """Random graphs padded to `most` nodes each, and the number of their triangles."""
    rng = onp.random.RandomState(seed)
    senders, receivers, features, graph, mask, targets = [], [], [], [], [], []
    for index in range(count):
        size = rng.randint(4, most + 1)
        adjacent = onp.triu(rng.rand(size, size) < 0.5, 1)
        adjacent = adjacent | adjacent.T
        s, r = onp.nonzero(adjacent)
        senders.append(s + index * most)
        receivers.append(r + index * most)
        features.append(onp.eye(most)[onp.minimum(adjacent.sum(0), most - 1)])
        features.append(onp.zeros((most - size, most)))
        mask += [True] * size + [False] * (most - size)
        graph += [index] * most
        targets.append(onp.trace(onp.linalg.matrix_power(adjacent.astype(int), 3)) / 6)
    arrays = [onp.concatenate(part) for part in (features, senders, receivers)]
    graphs = Graphs(*arrays, onp.array(graph), onp.array(mask))
    return jax.tree_util.tree_map(jnp.asarray, graphs), jnp.asarray(targets, dtype=jnp.float32)


def linear(key, m, n):
    return {"w": random.truncated_normal(key, -2, 2, (m, n)) / jnp.sqrt(m), "b": jnp.zeros(n)}


def init(key, features, width=24, rounds=2):
    keys = random.split(key, 4 * rounds + 2)
    layers = [
        {"message": linear(keys[4 * i], 2 * width, width), "score": linear(keys[4 * i + 1], 2 * width, 1),
         "node": linear(keys[4 * i + 2], 2 * width, width)}
        for i in range(rounds)
    ]  # fmt: skip
    return {"embed": linear(keys[-2], features, width), "layers": layers, "read": linear(keys[-1], width, 1)}


def dense(p, x):
    return jnp.matmul(x, p["w"]) + p["b"]


def segment_softmax(scores, segments, count):
    highest = segment_max(scores, segments, num_segments=count)
    exps = jnp.exp(scores - jax.lax.stop_gradient(highest)[segments])
    return exps / segment_sum(exps, segments, num_segments=count)[segments]


def layer_norm(x):
    return jax.nn.standardize(x, axis=-1, epsilon=1e-5)


def apply(params, graphs, count):
    total = graphs.nodes.shape[0]
    h = jax.nn.relu(dense(params["embed"], graphs.nodes))
    for layer in params["layers"]:
        pairs = jnp.concatenate([h[graphs.senders], h[graphs.receivers]], axis=1)
        weights = segment_softmax(dense(layer["score"], pairs)[:, 0], graphs.receivers, total)
        messages = jax.nn.leaky_relu(dense(layer["message"], pairs), 0.1) * (0.5 + weights[:, None])
        received = segment_sum(messages, graphs.receivers, total)
        h = layer_norm(h + dense(layer["node"], jnp.hstack([h, received])))
    h = jnp.where(graphs.mask[:, None], jax.nn.softplus(dense(params["read"], h)), 0.0)
    return segment_sum(h[:, 0], graphs.graph, count, indices_are_sorted=True)


@jax.jit
def train_step(params, square, graphs, targets):
    def loss_fn(params):
        error = apply(params, graphs, targets.shape[0]) - targets
        return jnp.mean(jnp.where(jnp.abs(error) < 1, 0.5 * error**2, jnp.abs(error) - 0.5)), error

    (loss, error), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
    square = jax.tree.map(lambda s, g: 0.95 * s + 0.05 * g * g, square, grads)
    params = jax.tree.map(lambda p, s, g: p - 3e-3 * g / (jnp.sqrt(s) + 1e-3), params, square, grads)
    return params, square, loss, jnp.median(jnp.abs(error))


def page_rank(graphs, damping=0.85):
    count = graphs.nodes.shape[0]
    degree = jnp.zeros(count).at[graphs.senders].add(1.0)
    values = 1 / degree[graphs.senders]
    indices = jnp.stack([graphs.receivers, graphs.senders], axis=-1)
    matrix = sparse.BCOO((values, indices), shape=(count, count))
    start = jnp.ones(count) / count

    def step(rank):
        new = damping * (matrix @ rank) + (1 - damping) / count
        return new + (1 - new.sum()) / count

    rank = jax.lax.fori_loop(0, 50, lambda _, r: step(r), start)
    dense = matrix.todense()
    assert jnp.allclose(dense @ rank, matrix @ rank, atol=1e-6)
    return rank


def main():
    graphs, targets = make(0, 32)
    print("edges", graphs.senders.size, "triangles", int(targets.sum()), graphs.nodes.dtype, graphs.senders.dtype)
    params = init(random.PRNGKey(2), graphs.nodes.shape[1])
    square = jax.tree.map(jnp.zeros_like, params)
    for index in range(61):
        params, square, loss, median = train_step(params, square, graphs, targets)
        if index % 20 == 0:
            print(f"step {index} loss {loss:.4f} median {median:.4f}")
    order = random.permutation(random.PRNGKey(4), graphs.senders.size)
    shuffled = graphs._replace(senders=graphs.senders[order], receivers=graphs.receivers[order])
    assert jnp.allclose(apply(params, graphs, 32), apply(params, shuffled, 32), atol=1e-3)
    rank = page_rank(graphs)
    top, where = jax.lax.top_k(rank, 3)
    print("rank", *[f"{v:.5f}" for v in top], *where.tolist())
    isolated = jnp.setdiff1d(jnp.arange(256), graphs.receivers)
    print(
        "isolated",
        isolated.size,
        "degrees",
        jnp.bincount(jnp.bincount(graphs.receivers, length=256), length=8).tolist(),
    )


if __name__ == "__main__":
    main()
