"""Train each model with fdl, PyTorch and JAX side by side and write the tables into benchmarks/README.md.

    python -m benchmarks.run [--models mlp lenet transformer] [--threads 1 2] [--rounds 9] [--seconds 0.4] [--dry]

Blocks of steps alternate between the frameworks, so that a noisy moment touches all of them, and medians are compared.
Before anything is timed, the losses of three steps from the same parameters and data must agree.
"""

import argparse
import contextlib
import importlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- table begins -->", "<!-- table ends -->"
TOLERANCE = 1e-4
MODELS = ["mlp", "lenet", "transformer"]
FRAMEWORKS = {
    "mlp": ["fdl", "torch", "torch.compile", "jax"],
    "lenet": ["fdl", "torch", "torch channels_last", "torch.compile channels_last", "jax"],
    "transformer": ["fdl", "torch", "torch.compile", "jax"],
}


class Worker:
    """A process in which one framework trains one model."""

    def __init__(self, model: str, framework: str, threads: int, cache: str) -> None:
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "FDL_NUM_THREADS": str(threads),
            "FDL_CACHE_DIR": f"{cache}/fdl",
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": f"{cache}/jax",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "TORCHINDUCTOR_CACHE_DIR": f"{cache}/torch",
        }
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by close)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", model, framework, str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment,
        )  # fmt: skip
        self.name = framework
        self.ready = self.answer()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise RuntimeError(f"{self.name} failed:\n{self.log.read()[-2000:]}")
        return json.loads(line)

    def ask(self, request: str) -> Any:
        assert self.process.stdin is not None
        print(request, file=self.process.stdin, flush=True)
        return self.answer()

    def close(self) -> None:
        self.process.communicate()
        self.log.close()


@contextlib.contextmanager
def workers(model: str, threads: int, cache: str) -> Iterator[list[Worker]]:
    """One worker for each framework that works here; fdl must."""
    started: list[Worker] = []
    try:
        for framework in FRAMEWORKS[model]:
            try:
                started.append(Worker(model, framework, threads, cache))
            except RuntimeError as error:
                if framework == "fdl":
                    raise
                print(f"left out: {error}", file=sys.stderr)
        yield started
    finally:
        for worker in started:
            worker.close()


def check_losses(team: list[Worker]) -> None:
    """Raise unless every framework computed the losses that fdl did."""
    ours = team[0].ready["losses"]
    for worker in team[1:]:
        theirs = worker.ready["losses"]
        if not all(math.isclose(a, b, rel_tol=TOLERANCE) for a, b in zip(ours, theirs, strict=True)):
            raise AssertionError(f"losses differ: fdl {ours}, {worker.name} {theirs}")


def measure(model: str, threads: int, rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """For each framework: seconds of a step, of the first call cold and with a warm disk cache, bytes at the peak."""
    with tempfile.TemporaryDirectory() as cache:
        with workers(model, threads, cache) as team:
            check_losses(team)
            cold = {worker.name: worker.ready["first"] for worker in team}
        with workers(model, threads, cache) as team:
            check_losses(team)
            counts = {worker.name: max(1, round(seconds / worker.ask("block 10"))) for worker in team}
            blocks: dict[str, list[float]] = {worker.name: [] for worker in team}
            for worker in team:
                worker.ask(f"block {counts[worker.name]}")
            for _ in range(rounds):
                for worker in team:
                    time.sleep(0.02)  # the previous framework's threads stop spinning
                    blocks[worker.name].append(worker.ask(f"block {counts[worker.name]}"))
            return {
                worker.name: {
                    "step": statistics.median(blocks[worker.name]),
                    "cold": cold[worker.name],
                    "warm": worker.ready["first"],
                    "peak": worker.ask("memory"),
                }
                for worker in team
            }


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def report(results: dict[tuple[str, int], dict[str, dict[str, float]]]) -> str:
    """The tables in markdown."""
    names = list(dict.fromkeys(name for models in FRAMEWORKS.values() for name in models))
    steps, costs = [], []
    ratios: list[float] = []
    for (model, threads), result in results.items():
        title = importlib.import_module(f"benchmarks.{model}").TITLE
        best = min(numbers["step"] for name, numbers in result.items() if name != "fdl")
        ratios.append(best / result["fdl"]["step"])
        cells = [f"{result[name]['step'] * 1e3:.3g}" if name in result else "" for name in names]
        steps.append([title, str(threads), *cells, f"{ratios[-1]:.2f}"])
        for name, numbers in result.items():
            cost = [f"{numbers['cold']:.2f}", f"{numbers['warm']:.2f}", f"{numbers['peak'] / 2**20:.0f}"]
            costs.append([title, str(threads), name, *cost])
    mean = statistics.geometric_mean(ratios)
    parts = [
        f"{cpu()}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("fdl", "torch", "jax")),
        "Milliseconds of a training step (median of alternated blocks), and the best peer's over fdl's: "
        f"above 1 fdl is faster; geometric mean {mean:.2f}.",
        table(["model", "threads", *names, "best peer / fdl"], steps),
        "Seconds of the first call, with an empty and a warm disk cache; MiB above the idle process while training.",
        table(["model", "threads", "framework", "first call, cold", "first call, warm", "peak MiB"], costs),
    ]
    return "\n\n".join(parts)


def cpu() -> str:
    """The processor's name."""
    with open("/proc/cpuinfo") as lines:
        return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Measure, print the tables and write them between the README's markers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.4, help="of one block")
    parser.add_argument("--dry", action="store_true", help="print the tables, leave the README as it is")
    options = parser.parse_args()
    results = {}
    for threads in options.threads:
        for model in options.models:
            print(f"{model}, {threads} threads", file=sys.stderr)
            results[model, threads] = measure(model, threads, options.rounds, options.seconds)
    text = report(results)
    print(text)
    if not options.dry:
        before, rest = README.read_text().split(BEGIN)
        README.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
