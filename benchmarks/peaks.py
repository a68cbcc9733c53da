"""Which share of what the processor can do at most a training step of fdl reaches.

    python -m benchmarks.peaks [--models mlp lenet ...] [--threads 1]

Prints a table in markdown: milliseconds of a step; operations a second, and their share of the most float32
multiplications and additions that were measured; bytes a second between kernels, every element counted once, and their
share of the bandwidth of a copy; and the share of the time that would do if every kernel ran at whichever of the two
bounds it. Products and convolutions by fewer multiplications count as direct ones. NeuMF, whose step is made of several
calls, is left out.
"""

import argparse
import importlib
import os

import fdl
from benchmarks import models, report
from benchmarks.worker import functional_training

HEADER = ["model", "ms", "GFLOP/s", "of peak", "GB/s", "of bandwidth", "at the bounds"]


def row(model: str) -> list[str]:
    """The cells of a model's row; its name may end in ``+bfloat16``."""
    name, _, compute = model.partition("+")
    train, arguments = functional_training(importlib.import_module(f"benchmarks.{name}"), fdl, compute=compute)
    found = fdl.profile(train)(*arguments)
    moved = sum(kernel.bytes for kernel in found.kernels)
    bound = sum(max(k.flops / found.peak_flops, k.bytes / found.peak_bytes) for k in found.kernels)
    rates = [(found.flops / found.seconds, found.peak_flops), (moved / found.seconds, found.peak_bytes)]
    cells = [cell for rate, peak in rates for cell in (f"{rate / 1e9:.3g}", f"{100 * rate / peak:.0f} %")]
    return [report.title(model), f"{1e3 * found.seconds:.3g}", *cells, f"{100 * bound / found.seconds:.0f} %"]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [model for model in models.MODELS if not model.startswith("ncf")]
    parser.add_argument("--models", nargs="+", choices=known, default=known)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    fdl.set_num_threads(options.threads)
    peaks = fdl.profile(lambda x: x + 1)(fdl.numpy.ones(1000))
    rows = [row(model) for model in options.models]
    print(f"{report.cpu()}: {peaks.peak_flops / 1e9:.0f} GFLOP/s, {peaks.peak_bytes / 1e9:.1f} GB/s at most\n")
    print(report.table(HEADER, rows))


if __name__ == "__main__":
    main()
