"""Cases as calls of one framework, and their results as NumPy arrays."""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.cases.case import Array, Case


def make(case: Case, framework: str) -> Callable[[], Any] | None:
    """The case as a function of no arguments; None if the framework has no such thing."""
    operands = case.operands(np.random.default_rng(0))
    if framework == "torch":
        return None if case.torch is None else _torch(case, operands)
    xp = importlib.import_module(framework)
    if framework == "jax":
        wide = any(np.asarray(x).dtype in (np.float64, np.complex128) for x in operands)
        xp.config.update("jax_enable_x64", wide)
    arrays = [xp.numpy.asarray(x) for x in operands]
    function = partial(case.functional, xp)
    if case.gradient:
        shape = xp.eval_shape(function, *arrays)
        arrays.append(xp.numpy.asarray(_cotangent(shape.shape).astype(shape.dtype)))
        function = partial(_gradient, xp, function, case.wrt)
    return partial(xp.jit(function) if case.jit else function, *arrays)


def _cotangent(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(1).standard_normal(shape, np.float32)


def _gradient(xp: Any, function: Callable[..., Any], wrt: tuple[int, ...], *given: Any) -> Any:
    *operands, cotangent = given

    def of_chosen(*chosen: Any) -> Any:
        all_operands = list(operands)
        for index, value in zip(wrt, chosen, strict=True):
            all_operands[index] = value
        return function(*all_operands)

    return xp.vjp(of_chosen, *(operands[i] for i in wrt))[1](cotangent)


def _torch(case: Case, operands: Any) -> Callable[[], Any]:
    import torch

    assert case.torch is not None
    tensors = [_tensor(torch, np.asarray(x), case.narrow) for x in operands]
    torch.set_grad_enabled(case.gradient)
    function = partial(case.torch, torch, *tensors)
    if not case.gradient:
        return function
    leaves = [tensors[i].requires_grad_() for i in case.wrt]
    result = function()
    cotangent = torch.from_numpy(np.array(_cotangent(tuple(result.shape)))).to(result.dtype)
    return lambda: torch.autograd.grad(function(), leaves, cotangent)


def _tensor(torch: Any, x: Array, narrow: bool) -> Any:
    name = x.dtype.name
    if name == "bfloat16":
        return torch.from_numpy(x.astype(np.float32)).bfloat16()
    if name == "uint32":
        x = x.astype(np.int64)
    made = torch.from_numpy(np.array(x))
    return made if narrow or name in ("float16", "float32", "float64", "complex64") else made.long()


def as_numpy(case: Case, result: Any) -> list[Array]:
    """All results, in the form in which they must be the same for all frameworks."""
    results = list(result) if isinstance(result, (tuple, list)) else [result]
    arrays = []
    for x in results:
        if hasattr(x, "detach"):
            x = x.detach()
            x = x.float() if x.dtype.itemsize == 2 and x.dtype.is_floating_point else x
        array = np.asarray(x)
        arrays.append(array.astype(np.complex128 if array.dtype.kind == "c" else np.float64))
    return list(arrays) if case.gradient else case.check(arrays)


def agree(case: Case, ours: list[Array], theirs: list[Array]) -> bool:
    """Whether results have the same shapes and are equal to the case's tolerance."""
    return len(ours) == len(theirs) and all(
        a.shape == b.shape
        and bool(np.abs(a - b).max(initial=0) <= case.tolerance * max(1e-30, np.abs(a).max(initial=0)))
        for a, b in zip(ours, theirs, strict=True)
    )
