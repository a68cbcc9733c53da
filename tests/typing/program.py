"""A user's program, which mypy and pyright check, strictly; it is not run. What is wrong in it has to be told."""

from collections.abc import Callable
from typing import Any, assert_type

import numpy as np

import fdl
import fdl.numpy as fnp
from fdl import lax, nn, optim, random, tree


def loss(params: dict[str, fdl.Array], x: fdl.Array, scale: float = 1.0) -> fdl.Array:
    return fnp.mean((x @ params["w"]) ** 2) * scale


params = {"w": fnp.ones(3)}
x = fnp.asarray(np.ones((4, 3)))

# Arrays
assert_type(x, fdl.Array)
assert_type(x + 1, fdl.Array)
assert_type(2 * x, fdl.Array)
assert_type(x[0], fdl.Array)
assert_type(x.sum(), fdl.Array)
assert_type(x.T, fdl.Array)
assert_type(x.shape, tuple[int, ...])
assert_type(x.at[0].set(1.0), fdl.Array)
assert_type(x == 1, fdl.Array)
assert_type(-x, fdl.Array)
assert_type(x.astype("float32"), fdl.Array)
assert_type(float(x[0, 0]), float)

# Vocabulary
assert_type(fnp.sin(x), fdl.Array)
assert_type(fnp.where(x > 0, x, 0), fdl.Array)
assert_type(fnp.concatenate([x, x]), fdl.Array)
assert_type(fnp.linalg.norm(x), fdl.Array)
assert_type(fnp.add(x, 1), fdl.Array)
assert_type(fnp.einsum("ij,ij->i", x, x), fdl.Array)
assert_type(nn.relu(x), fdl.Array)
assert_type(nn.softmax(x), fdl.Array)
assert_type(nn.softmax_cross_entropy(x, x), fdl.Array)
assert_type(lax.add(x, x), fdl.Array)
assert_type(lax.exp(x), fdl.Array)
assert_type(lax.dynamic_slice(x, (0, 0), (1, 1)), fdl.Array)
assert_type(random.key(0), fdl.Array)
assert_type(random.normal(random.key(0), (2,)), fdl.Array)
assert_type(random.split(random.key(0)), fdl.Array)
state = optim.adam(1e-3).init(params)
assert_type(optim.global_norm(params), fdl.Array)
assert_type(tree.leaves(params), list[Any])

# Transforms keep the signature
jitted: Callable[[dict[str, fdl.Array], fdl.Array, float], fdl.Array] = fdl.jit(loss)
assert_type(fdl.jit(loss)(params, x), fdl.Array)
fdl.jit(loss).lower(params, x).compile()
grad_of_loss: Callable[[dict[str, fdl.Array], fdl.Array, float], Any] = fdl.grad(loss)
assert_type(fdl.value_and_grad(loss)(params, x), tuple[fdl.Array, Any])
vmap_of_loss: Callable[[dict[str, fdl.Array], fdl.Array, float], fdl.Array] = fdl.vmap(loss)
checkpoint_of_loss: Callable[[dict[str, fdl.Array], fdl.Array, float], fdl.Array] = fdl.checkpoint(loss)


@fdl.jit
def step(w: fdl.Array, g: fdl.Array) -> tuple[fdl.Array, fdl.Array]:
    return w - g, g


@fdl.jit(static_argnames="n")
def power(w: fdl.Array, n: int) -> fdl.Array:
    return w**n


@fdl.jit(donate_argnums=0)
def halve(w: fdl.Array) -> fdl.Array:
    return w / 2


@fdl.custom_vjp
def clip(w: fdl.Array, limit: float) -> fdl.Array:
    return w


assert_type(step(x, x), tuple[fdl.Array, fdl.Array])
assert_type(power(x, n=2), fdl.Array)
assert_type(halve(x), fdl.Array)
assert_type(clip(x, 1.0), fdl.Array)


# Control flow: the types that bodies and branches return
def total(carry: fdl.Array, x: fdl.Array) -> tuple[fdl.Array, dict[str, fdl.Array]]:
    return carry + x, {"seen": x}


assert_type(lax.scan(total, 0.0, x[0]), tuple[fdl.Array, dict[str, fdl.Array]])
assert_type(lax.cond(True, fnp.sin, fnp.cos, x), fdl.Array)
assert_type(lax.fori_loop(0, 3, lambda i, v: clip(v, 1.0), x), fdl.Array)
assert_type(lax.while_loop(lambda v: v[0] < 1, lambda v: clip(v, 1.0), x), fdl.Array)

# What is wrong is told
lax.scan(clip, x, x)  # type: ignore[arg-type]
step(x)  # type: ignore[call-arg]
fdl.grad(loss)(params)  # type: ignore[call-arg]
fdl.jit(loss)(params, "x")  # type: ignore[arg-type]
fdl.vmap(3)  # type: ignore[arg-type]
