"""NeuMF on ids like those of MovieLens-20M, batch 2048 with 4 negatives for a positive, Adam.

He et al., "Neural collaborative filtering", 2017, at the sizes of MLPerf v0.5: 31.8 million parameters, nearly all of
them in four tables. The steps are those that dense gradients make; see `ncf_lazy` for the other kind. Every step has
another batch, since a step that costs what it touches would otherwise gain by it.
"""

import importlib
from collections.abc import Callable, Mapping
from itertools import cycle, pairwise
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks import functional

TITLE = "NeuMF, ml-20m sizes, batch 2048, Adam"
USERS, ITEMS = 138_493, 26_744
FACTORS, LAYERS = 64, (256, 256, 128, 64)
BATCH, BATCHES = 2048, 256
RATE = 5e-4
TABLES = {"user_mf": (USERS, FACTORS), "item_mf": (ITEMS, FACTORS), "user_mlp": (USERS, 128), "item_mlp": (ITEMS, 128)}


def inputs() -> tuple[dict, list[tuple]]:
    """(parameters, batches of users, items and labels) as NumPy arrays."""
    rng = np.random.default_rng(0)
    return parameters(rng), [batch(rng) for _ in range(BATCHES)]


def parameters(rng: np.random.Generator) -> dict:
    """Four tables and the layers, as NumPy arrays."""
    layers = [
        {"w": (rng.standard_normal((m, n)) * np.sqrt(2 / m)).astype(np.float32), "b": np.zeros(n, np.float32)}
        for m, n in [*pairwise(LAYERS), (FACTORS + LAYERS[-1], 1)]
    ]
    tables = {name: rng.standard_normal(shape, np.float32) * np.float32(0.01) for name, shape in TABLES.items()}
    return {"tables": tables, "layers": layers}


def batch(rng: np.random.Generator) -> tuple:
    """Users and liked items by a power law, other items evenly."""
    labels = (rng.random(BATCH) < 0.2).astype(np.float32)
    liked, others = ITEMS * rng.random(BATCH) ** 3, ITEMS * rng.random(BATCH)
    users = (USERS * rng.random(BATCH) ** 2).astype(np.int32)
    return users, np.where(labels > 0, liked, others).astype(np.int32), labels


def functional_loss(xp: ModuleType):
    """loss(params, batch) for fdl or jax."""
    numpy, nn = xp.numpy, xp.nn

    def loss(params, batch):
        users, items, labels = batch
        tables, (*hidden, last) = params["tables"], params["layers"]
        x = numpy.concatenate([tables["user_mlp"][users], tables["item_mlp"][items]], axis=1)
        for layer in hidden:
            x = nn.relu(x @ layer["w"] + layer["b"])
        x = numpy.concatenate([tables["user_mf"][users] * tables["item_mf"][items], x], axis=1)
        logits = (x @ last["w"] + last["b"])[:, 0]
        return numpy.mean(nn.softplus(logits) - labels * logits)

    return loss


def fdl_step(fdl: ModuleType, lazy: bool) -> Callable[[], object]:
    """A step of fdl that costs the rows looked up: exact, or with rows left alone that have no gradient."""
    optim, loss, kinds = fdl.optim, functional_loss(fdl), {"tables": True, "layers": False}
    optimizer = optim.adam(RATE, sparse=kinds, lazy=lazy)

    def train(params, state, batch):
        if not lazy:
            rows = optim.lookups(loss, kinds)(params, batch)
            params, state = optim.catch_up(optimizer, params, state, rows)
        value, grads = fdl.value_and_grad(loss, sparse=kinds)(params, batch)
        updates, state = optimizer.update(grads, state, params)
        return optim.apply_updates(params, updates), state, value

    params, batches = fdl.tree.map(fdl.numpy.asarray, inputs())
    return stepped(fdl.jit(train, donate_argnums=(0, 1)), params, optimizer.init(params), batches)


def jax_step(jax: ModuleType) -> Callable[[], object]:
    """A step of JAX, which knows dense gradients only."""
    loss = functional_loss(jax)
    init, update = functional.adam(jax, RATE)

    def train(params, state, batch):
        value, grads = jax.value_and_grad(loss)(params, batch)
        state, params = update(grads, state, params)
        return params, state, value

    params, batches = jax.tree.map(jax.numpy.asarray, inputs())
    return stepped(jax.jit(train, donate_argnums=(0, 1)), params, init(params), batches)


def stepped(train: Callable, params: object, state: object, batches: list) -> Callable[[], object]:
    held, following = [params, state], cycle(batches)

    def step():
        held[0], held[1], value = train(*held, next(following))
        return value

    return step


def torch_parameters(torch: ModuleType, params: dict) -> tuple[dict, list[tuple]]:
    """(tables by name, weights and biases of the layers) as tensors that require gradients."""
    tables = {name: torch.tensor(t, requires_grad=True) for name, t in params["tables"].items()}
    layers = [
        (torch.tensor(p["w"].T.copy(), requires_grad=True), torch.tensor(p["b"], requires_grad=True))
        for p in params["layers"]
    ]
    return tables, layers


def torch_loss(torch: ModuleType, tables: Mapping[str, Any], layers: list[tuple], sparse: bool) -> Callable:
    """loss(users, items, labels); the gradients of tables are sparse or dense."""
    F = torch.nn.functional

    def loss(users, items, labels):
        def read(name: str, ids):
            return F.embedding(ids, tables[name], sparse=sparse)

        x = torch.cat([read("user_mlp", users), read("item_mlp", items)], 1)
        for w, b in layers[:-1]:
            x = F.relu(F.linear(x, w, b))
        x = torch.cat([read("user_mf", users) * read("item_mf", items), x], 1)
        return F.binary_cross_entropy_with_logits(F.linear(x, *layers[-1])[:, 0], labels)

    return loss


def torch_step(torch: ModuleType, compiled: bool, sparse: bool) -> Callable[[], object]:
    """A step of PyTorch with fused dense Adam, or with SparseAdam for the tables."""
    params, batches = inputs()
    tables, layers = torch_parameters(torch, params)
    dense = [leaf for layer in layers for leaf in layer]
    if sparse:
        optimizers = [torch.optim.SparseAdam(tables.values(), lr=RATE), torch.optim.Adam(dense, lr=RATE, fused=True)]
    else:
        optimizers = [torch.optim.Adam([*tables.values(), *dense], lr=RATE, fused=True)]
    loss = torch_loss(torch, tables, layers, sparse)
    loss = torch.compile(loss) if compiled else loss
    following = cycle(
        [
            (torch.tensor(u, dtype=torch.int64), torch.tensor(i, dtype=torch.int64), torch.tensor(y))
            for u, i, y in batches
        ]
    )

    def step():
        for optimizer in optimizers:
            optimizer.zero_grad()
        value = loss(*next(following))
        value.backward()
        for optimizer in optimizers:
            optimizer.step()
        return value.detach()

    return step


def step(framework: str, lazy: bool = False) -> Callable[[], object]:
    """The step of a framework: of `fdl`, `jax`, `torch` or `torch.compile`."""
    module = importlib.import_module(framework.split(".")[0])
    if framework == "fdl":
        return fdl_step(module, lazy)
    return jax_step(module) if framework == "jax" else torch_step(module, "compile" in framework, lazy)
