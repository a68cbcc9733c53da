"""A random program: layers in a row, a loss, and what is done with both (gradients, updates, batches of programs)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import fdl
import fdl.numpy as fnp
from fdl import lax, nn, optim, random, tree
from tests.fuzz.layers import EXTENTS, LAYERS, Choices

#: Values, parameters and operations that a program may have, so that its interpreter takes about a second.
LARGEST = 120_000

DTYPES = ("float64",) * 10 + ("float32",) * 7 + ("bfloat16", "float16")
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "sgd": lambda: optim.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": lambda: optim.adam(1e-2),
    "adamw": lambda: optim.adamw(1e-2, weight_decay=0.1),
    "clipped": lambda: optim.chain(optim.clip_by_global_norm(0.5), optim.rmsprop(1e-2)),
    "lamb": lambda: optim.lamb(1e-2),
    "adagrad": lambda: optim.adagrad(0.1),
}


@dataclass(frozen=True)
class Recipe:
    """What makes a program: equal recipes make equal programs, on any machine.

    Attributes:
        seed: of parameters and data.
        dtype: of parameters and data.
        shape: of the input.
        layers: names of layers, each with the seed of its choices.
        loss: how a number is made of the last layer's result.
        mode: what is done with the loss.
    """

    seed: int
    dtype: str
    shape: tuple[int, ...]
    layers: tuple[tuple[str, int], ...]
    loss: str
    mode: str


def random_recipe(seed: int) -> Recipe:
    """The recipe of a seed."""
    rng = np.random.default_rng(seed)

    def pick(options: Any) -> Any:
        return options[int(rng.integers(len(options)))]

    batch = pick((1, 2, 3, 7, 8, 16, 31, 33, 64, 100, 257, 784, 0) if rng.random() < 0.8 else (32, 64, 128))
    rank = pick((1, 1, 2, 3))
    if rank == 1:
        inner: tuple[int, ...] = (pick((*EXTENTS, 784, 1024)),)
    elif rank == 2:
        inner = (pick((1, 2, 3, 7, 16, 31, 64)), pick((1, 3, 8, 16, 31, 64)))
    else:
        inner = (pick((4, 7, 14, 28)), pick((4, 7, 8, 28)), pick((1, 3, 4, 8, 16)))
    if rng.random() < 0.02:
        inner = (*inner[:-1], 0)
    while batch * int(np.prod(inner)) > LARGEST // 2:
        batch //= 2
    names = list(LAYERS)
    common = ["dense", "dense", "activation", "norm", "convolution", "convolution", "attention", "recurrent"]
    layers = tuple((pick(names + common), int(rng.integers(1 << 30))) for _ in range(int(rng.integers(1, 7))))
    return Recipe(seed, pick(DTYPES), (batch, *inner), layers, pick(list(LOSSES)), pick(list(MODES)))


def rows(y: Any) -> Any:
    """What belongs to each example as one row."""
    return y.reshape(y.shape[0], math.prod(y.shape[1:]))


def picked(y: Any, labels: Any) -> Any:
    """Minus the logarithms of the probabilities of the labels; there is nothing to pick from no columns."""
    if not y.shape[1]:
        return fnp.sum(y)
    return -fnp.sum(nn.log_softmax(y)[fnp.arange(y.shape[0]), labels % y.shape[1]])


LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "squares": lambda y, labels: fnp.mean(y * y),
    "sum": lambda y, labels: fnp.sum(y),
    "mean": lambda y, labels: fnp.mean(y),
    "cross entropy": lambda y, labels: fnp.mean(
        nn.softmax_cross_entropy_with_integer_labels(rows(y), labels % max(1, rows(y).shape[1]))
    ),
    "picked log-probability": lambda y, labels: picked(rows(y), labels),
    "huber": lambda y, labels: fnp.mean(nn.huber_loss(y, fnp.ones_like(y))),
    "logsumexp": lambda y, labels: nn.logsumexp(y),
    "weighted": lambda y, labels: fnp.sum(y * fnp.cos(fnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)),
    "binary": lambda y, labels: fnp.mean(
        nn.sigmoid_binary_cross_entropy(y, (labels % 2).astype(y.dtype).reshape(-1, *[1] * (y.ndim - 1)))
    ),
}


@dataclass(frozen=True)
class Built:
    """A program: `function(*arguments)`; `layers` are those that had a meaning."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    layers: tuple[tuple[str, int], ...]


def build(recipe: Recipe) -> Built:
    """The program of a recipe, without layers that have no meaning for what they are given or make too much of it."""
    rng = np.random.default_rng(recipe.seed + 1)
    x = rng.normal(size=recipe.shape).astype(recipe.dtype)
    labels = rng.integers(0, 1 << 20, recipe.shape[0]).astype(np.int32)
    key = random.key(recipe.seed)
    now: Any = fdl.ShapeDtypeStruct(x.shape, x.dtype)
    params, applied, used = [], [], []
    for name, seed in recipe.layers:
        made = LAYERS[name](Choices([seed, recipe.seed], recipe.dtype), now)
        if made is None:
            continue
        after = fdl.eval_shape(made.apply, made.params, now, key)
        size = sum(leaf.size for leaf in tree.leaves(made.params))
        if after.size > LARGEST or size > 3 * LARGEST or len(after.shape) > 4 or len(after.shape) < 2:
            continue
        now = after
        params.append(made.params)
        applied.append(made.apply)
        used.append((name, seed))

    def predict(params: Any, x: Any, key: Any) -> Any:
        for n, (p, apply) in enumerate(zip(params, applied, strict=True)):
            x = apply(p, x, random.fold_in(key, n))
        return x

    def loss(params: Any, x: Any, labels: Any, key: Any) -> Any:
        return LOSSES[recipe.loss](predict(params, x, key), labels)

    return Built(*MODES[recipe.mode](predict, loss, params, x, labels, key), tuple(used))


def _forward(predict: Any, loss: Any, *arguments: Any) -> Any:
    def both(params: Any, x: Any, labels: Any, key: Any) -> Any:
        return predict(params, x, key), loss(params, x, labels, key)

    return both, arguments


def _gradient(predict: Any, loss: Any, *arguments: Any) -> Any:
    return fdl.value_and_grad(loss, (0, 1)), arguments


def _update(name: str) -> Callable[..., Any]:
    def make(predict: Any, loss: Any, params: Any, *data: Any) -> Any:
        optimizer = OPTIMIZERS[name]()

        def step(params: Any, state: Any, *data: Any) -> Any:
            value, gradients = fdl.value_and_grad(loss)(params, *data)
            updates, state = optimizer.update(gradients, state, params)
            return optim.apply_updates(params, updates), state, value

        return step, (params, optimizer.init(tree.map(fnp.asarray, params)), *data)

    return make


def _per_example(reduce: Callable[[Any], Any]) -> Callable[..., Any]:
    """A gradient for every example, as in training with differential privacy."""

    def make(predict: Any, loss: Any, params: Any, x: Any, labels: Any, key: Any) -> Any:
        def gradients(params: Any, x: Any, labels: Any, key: Any) -> Any:
            def one(params: Any, x: Any, label: Any, key: Any) -> Any:
                return loss(params, x[None], label[None], key)

            keys = random.split(key, x.shape[0])
            return reduce(fdl.vmap(fdl.value_and_grad(one), (None, 0, 0, 0))(params, x, labels, keys))

        few = max(1, LARGEST // max(1, sum(leaf.size for leaf in tree.leaves(params)))) if params else len(x)
        return gradients, (params, x[: 4 * few], labels[: 4 * few], key)

    return make


def _mean(values: Any) -> Any:
    return tree.map(lambda leaf: leaf.mean(0), values)


def _clipped(values: Any) -> Any:
    loss, gradients = values
    squares = sum((fnp.sum(rows(g) ** 2, 1) for g in tree.leaves(gradients)), 0 * loss)
    scale = fnp.minimum(1, 1 / fnp.sqrt(squares + 1e-3))
    return loss, tree.map(lambda g: fnp.mean(g * scale.reshape(-1, *[1] * (g.ndim - 1)), 0), gradients)


def _hessian_vector(predict: Any, loss: Any, params: Any, *data: Any) -> Any:
    def product(params: Any, *data: Any) -> Any:
        along = tree.map(lambda p: fnp.cos(fnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params)
        return fdl.jvp(lambda params: fdl.grad(loss)(params, *data), (params,), (along,))

    return product, (params, *data)


def _forward_mode(predict: Any, loss: Any, params: Any, x: Any, labels: Any, key: Any) -> Any:
    def both(params: Any, x: Any, labels: Any, key: Any) -> Any:
        value, along = fdl.jvp(lambda x: predict(params, x, key), (x,), (fnp.ones_like(x),))
        back = fdl.vjp(lambda x: predict(params, x, key), x)[1](value)
        return value, along, back

    return both, (params, x, labels, key)


def _rematerialized(predict: Any, loss: Any, *arguments: Any) -> Any:
    return fdl.value_and_grad(fdl.checkpoint(loss)), arguments


def _ensemble(predict: Any, loss: Any, params: Any, *data: Any) -> Any:
    """Gradients of several sets of parameters at once."""
    several = tree.map(lambda p: np.stack([p, 0.5 * p, -p]).astype(p.dtype), params)
    return fdl.vmap(fdl.value_and_grad(loss), (0, None, None, None), axis_size=3), (several, *data)


def _monte_carlo(predict: Any, loss: Any, params: Any, x: Any, labels: Any, key: Any) -> Any:
    """The mean of the loss over keys."""

    def mean(params: Any, x: Any, labels: Any, key: Any) -> Any:
        keys = random.split(key, 5)
        return fnp.mean(fdl.vmap(loss, (None, None, None, 0))(params, x, labels, keys))

    return fdl.value_and_grad(mean), (params, x, labels, key)


def _training(predict: Any, loss: Any, params: Any, x: Any, labels: Any, key: Any) -> Any:
    """Steps of gradient descent inside a scan."""

    def train(params: Any, x: Any, labels: Any, key: Any) -> Any:
        def step(params: Any, key: Any) -> Any:
            value, gradients = fdl.value_and_grad(loss)(params, x, labels, key)
            return tree.map(lambda p, g: p - (0.1 * g).astype(p.dtype), params, gradients), value

        return lax.scan(step, params, random.split(key, 3))

    return train, (params, x, labels, key)


MODES: dict[str, Callable[..., Any]] = {
    "forward": _forward,
    "gradient": _gradient,
    "per-example gradients": _per_example(lambda values: values),
    "mean of per-example gradients": _per_example(_mean),
    "clipped per-example gradients": _per_example(_clipped),
    "Hessian-vector product": _hessian_vector,
    "forward mode": _forward_mode,
    "checkpointed gradient": _rematerialized,
    "ensemble": _ensemble,
    "Monte Carlo": _monte_carlo,
    "training": _training,
} | {name: _update(name) for name in OPTIMIZERS}


def smaller(recipe: Recipe) -> list[Recipe]:
    """Recipes that differ in one part, which is simpler."""
    found = [replace(recipe, layers=recipe.layers[:n] + recipe.layers[n + 1 :]) for n in range(len(recipe.layers))]
    for mode in ("forward", "gradient"):
        if recipe.mode not in ("forward", mode):
            found.append(replace(recipe, mode=mode))
    if recipe.loss != "squares":
        found.append(replace(recipe, loss="squares"))
    if recipe.dtype != "float64":
        found.append(replace(recipe, dtype="float64"))
    for axis, extent in enumerate(recipe.shape):
        for less in (1, 3, extent // 2, extent - 1):
            if 0 < less < extent:
                found.append(replace(recipe, shape=(*recipe.shape[:axis], less, *recipe.shape[axis + 1 :])))
    return found
