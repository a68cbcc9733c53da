"""One framework in a process of its own, told over a pipe what to load, to time and to measure.

A process each keeps thread pools, allocators and peak memory apart; the parent alternates blocks between them.
Started as `python -m benchmarks.worker FRAMEWORK THREADS`; reads one request a line, answers one JSON line:

    model NAME        build a training step, run three; their losses and the seconds of the first call. NAME+bfloat16
                      is the same in mixed precision
    kernel NAME FILE  build a kernel, run it, save its result; seconds of the first call, or null
    operation FAMILY NAME FILE  the same of a case of benchmarks.cases, whose names are quoted as in addresses
    block COUNT       mean seconds of a call over COUNT, the last one awaited
    memory            bytes above the idle process while it runs
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import numpy as np

STEPS_CHECKED = 3


def functional_training(
    model: ModuleType, xp: ModuleType, size: int | None = None, compute: str = ""
) -> tuple[Callable[..., Any], list[Any]]:
    """A training step in JAX's vocabulary, `xp` being fdl or jax, and its parameters, state and batch, which has `size`
    examples or as many as the model says; with `compute`, of fdl, in mixed precision."""
    if hasattr(model, "functional_gradient"):
        gradient = model.functional_gradient(xp)
    else:
        loss = model.functional_loss(xp)
        gradient = xp.value_and_grad(xp.nn.mixed_precision(loss, compute) if compute else loss)
    init, update = model.functional_optimizer(xp)
    params, batch = xp.tree.map(xp.numpy.asarray, model.inputs(size or model.BATCH))

    def train(params, state, batch):
        value, grads = gradient(params, batch)
        state, params = update(grads, state, params)
        return params, state, value

    return xp.jit(train, donate_argnums=(0, 1)), [params, init(params), batch]


def functional_step(model: ModuleType, xp: ModuleType, size: int | None = None, compute: str = "") -> Callable[[], Any]:
    """Steps of `functional_training`, one after the other."""
    train, held = functional_training(model, xp, size, compute)

    def step():
        held[0], held[1], value = train(*held)
        return value

    return step


def torch_step(model: ModuleType, channels_last: bool, compiled: bool, compute: str = "") -> Callable[[], Any]:
    """A training step in eager PyTorch, or with its loss (its gradient, if it has one) under torch.compile; with
    `compute`, under autocast."""
    import torch

    leaves, batch = model.torch_inputs(torch, channels_last)
    optimizer = model.torch_optimizer(torch, list(leaves.values()))
    explicit = hasattr(model, "torch_gradient")
    function = (model.torch_gradient if explicit else model.torch_loss)(torch, channels_last)
    if compiled:
        function = torch.compile(function)

    def step():
        optimizer.zero_grad()
        if explicit:
            value, grads = function(leaves, batch)
            for name, leaf in leaves.items():
                leaf.grad = grads[name]
        else:
            with torch.autocast("cpu", getattr(torch, compute or "bfloat16"), enabled=bool(compute)):
                value = function(leaves, batch)
            value.backward()
        optimizer.step()
        return value.detach()

    return step


def model_step(name: str, framework: str) -> Callable[[], Any]:
    name, _, compute = name.partition("+")
    model = importlib.import_module(f"benchmarks.{name}")
    if hasattr(model, "step"):  # it takes more than a loss to say
        return model.step(framework)
    if framework in ("fdl", "jax"):
        return functional_step(model, importlib.import_module(framework), compute=compute)
    return torch_step(model, "channels_last" in framework, "compile" in framework, compute)


def status(field: str) -> int:
    """Bytes of one field of this process's status: VmRSS now, VmHWM at the highest."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


class Service:
    """Answers requests; `run` is what has been loaded."""

    def __init__(self, framework: str, threads: int) -> None:
        self.framework = framework
        module = importlib.import_module(framework.split()[0].split(".")[0])  # no measurement includes the import
        if module.__name__ == "torch":
            module.set_num_threads(threads)
        self.idle = status("VmRSS")
        self.run: Callable[[], Any] = lambda: None
        self.wait: Callable[[Any], Any] = float

    def model(self, name: str) -> dict[str, Any]:
        start = time.perf_counter()
        self.run = model_step(name, self.framework)
        losses = [float(self.run())]
        first = time.perf_counter() - start
        losses += [float(self.run()) for _ in range(STEPS_CHECKED - 1)]
        return {"first": first, "losses": losses}

    def kernel(self, name: str, file: str) -> dict[str, Any] | None:
        from benchmarks import kernels

        made = kernels.make(name, self.framework)
        if made is None:
            return None
        return self._first(made, lambda result: np.save(file, kernels.as_numpy(name, self.framework, result)))

    def operation(self, family: str, name: str, file: str) -> dict[str, Any] | None:
        from benchmarks import cases
        from benchmarks.cases import calls

        case = cases.of(unquote(family))[unquote(name)]
        try:
            made = calls.make(case, self.framework)
        except Exception as error:
            return {"left out": repr(error)[:200]}
        if made is None:
            return None
        return self._first(made, lambda result: np.savez(file, *calls.as_numpy(case, result)))

    def _first(self, made: Callable[[], Any], save: Callable[[Any], Any]) -> dict[str, Any]:
        self.run, self.wait = made, getattr(sys.modules.get(self.framework), "block_until_ready", lambda x: x)
        start = time.perf_counter()
        try:
            self.wait(self.run())
        except Exception as error:  # this one kernel fails, not the framework
            return {"left out": repr(error)[:200]}
        first = time.perf_counter() - start
        save(self.run())
        return {"first": first}

    def block(self, count: str) -> float:
        start = time.perf_counter()
        for _ in range(int(count)):
            value = self.run()
        self.wait(value)
        return (time.perf_counter() - start) / int(count)

    def memory(self) -> int:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        self.block("3")
        return status("VmHWM") - self.idle


def main() -> None:
    """Serve requests until the parent closes the pipe."""
    framework, threads = sys.argv[1], int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the frameworks print is not an answer
    service = Service(framework, threads)
    # After the import, so that a team is imported on all cores; thread pools are made when they are first needed.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    print(json.dumps("ready"), file=answers)
    for line in sys.stdin:
        request, *arguments = line.split()
        print(json.dumps(getattr(service, request)(*arguments)), file=answers)


if __name__ == "__main__":
    main()
