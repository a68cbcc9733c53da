"""One framework training one model in a process of its own, told what to do over a pipe.

A process each keeps thread pools, allocators and peak memory apart; the parent alternates blocks between them.
Started as `python -m benchmarks.worker MODEL FRAMEWORK THREADS`; reads one request a line, answers one JSON line.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from types import ModuleType

STEPS_CHECKED = 3


def functional_step(model: ModuleType, xp: ModuleType) -> Callable[[], object]:
    """A training step in JAX's vocabulary: `xp` is fdl or jax."""
    loss = model.functional_loss(xp)
    init, update = model.functional_optimizer(xp)
    params, batch = xp.tree.map(xp.numpy.asarray, model.inputs())

    def train(params, state, batch):
        value, grads = xp.value_and_grad(loss)(params, batch)
        state, params = update(grads, state, params)
        return params, state, value

    train = xp.jit(train, donate_argnums=(0, 1))
    held = [params, init(params)]

    def step():
        held[0], held[1], value = train(*held, batch)
        return value

    return step


def torch_step(model: ModuleType, channels_last: bool, compiled: bool) -> Callable[[], object]:
    """A training step in eager PyTorch, or with its loss under torch.compile."""
    import torch

    leaves, batch = model.torch_inputs(torch, channels_last)
    optimizer = model.torch_optimizer(torch, list(leaves.values()))
    loss = model.torch_loss(torch, channels_last)
    if compiled:
        loss = torch.compile(loss)

    def step():
        optimizer.zero_grad()
        value = loss(leaves, batch)
        value.backward()
        optimizer.step()
        return value.detach()

    return step


def load(framework: str, threads: int) -> Callable[[ModuleType], Callable[[], object]]:
    """Import the framework, which is not part of any measurement, and return the maker of its step."""
    if framework in ("fdl", "jax"):
        xp = importlib.import_module(framework)
        return lambda model: functional_step(model, xp)
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    return lambda model: torch_step(model, "channels_last" in framework, "compile" in framework)


def status(field: str) -> int:
    """Bytes of one field of this process's status: VmRSS now, VmHWM at the highest."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


def main() -> None:
    """Serve requests until the parent closes the pipe."""
    name, framework, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the frameworks print is not an answer
    model = importlib.import_module(f"benchmarks.{name}")
    make = load(framework, threads)
    idle = status("VmRSS")

    start = time.perf_counter()
    step = make(model)
    losses = [float(step())]  # type: ignore[arg-type]
    first = time.perf_counter() - start
    losses += [float(step()) for _ in range(STEPS_CHECKED - 1)]  # type: ignore[arg-type]
    print(json.dumps({"first": first, "losses": losses}), file=answers)

    for line in sys.stdin:
        request, *arguments = line.split()
        if request == "block":  # mean seconds of a step over a number of steps, the last one awaited
            count = int(arguments[0])
            start = time.perf_counter()
            for _ in range(count):
                value = step()
            float(value)  # type: ignore[arg-type]
            answer = (time.perf_counter() - start) / count
        else:  # bytes above the idle process while it trains, compilation left out
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
            for _ in range(5):
                float(step())  # type: ignore[arg-type]
            answer = status("VmHWM") - idle
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
