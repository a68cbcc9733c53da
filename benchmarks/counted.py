"""Small cases whose instructions `benchmarks.compare` counts: kernels, training steps, and calls that are all overhead.

    python -m benchmarks.counted FOLDER     run every case of the fdl in FOLDER; under callgrind, count each by itself

Sizes are small, and such that whole vectors, tiles and blocks run as well as their rests. What is counted is code that
fdl compiles for one level of processors, and the interpreter around it. Libraries that choose their code by the
processor, as BLAS does for the eager product, see the processor that valgrind shows them, which is the same everywhere.
"""

import ctypes
import gc
import importlib
import mmap
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import fdl
import fdl.lax as lax
import fdl.numpy as fnp
from benchmarks import functional, kernels
from benchmarks.worker import functional_step

Run = Callable[[], Any]

#: Sizes of the training steps: a batch, and what else makes a model small.
STEPS: dict[str, tuple[int, dict[str, Any]]] = {
    "tiny": (32, {}),
    "mlp": (7, {}),
    "lenet": (4, {}),
    "resnet": (1, {"BLOCKS": [(16, 64, 2)]}),
    "inception": (1, {"SIZE": 32, "MODULES": {"3a": (192, 16, 12, 16, 4, 8, 8)}, "POOLED": ("3a",)}),
    "keywords": (2, {"DEPTH": 1}),
    "lstm": (4, {"VOCABULARY": 200, "HIDDEN": 48, "LENGTH": 4}),
    "convlstm": (1, {"HIDDEN": 8, "LENGTH": 1}),
    "transformer": (2, {"DEPTH": 1, "LENGTH": 24, "VOCABULARY": 80}),
    "per_example": (4, {}),
}


def kernel_cases() -> dict[str, Run]:
    """Jitted functions of arrays, each with its operands."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return fnp.asarray(rng.standard_normal(shape, np.float32))

    def below(bound: int, count: int) -> Any:
        return fnp.asarray(rng.integers(0, bound, count).astype(np.int32))

    def with_gradient(function: Callable[..., Any], *operands: Any) -> Run:
        return partial(
            fdl.jit(fdl.value_and_grad(lambda *a: (function(*a) ** 2).sum(), tuple(range(len(operands))))), *operands
        )

    def jitted(function: Callable[..., Any], *operands: Any) -> Run:
        return partial(fdl.jit(function), *operands)

    def kernel(case: kernels.Case) -> Run:
        return jitted(partial(case.functional, fdl), *map(fnp.asarray, case.inputs()))

    conv = kernels.convolutions(2, 15, 16, 3, 24, 1)
    rows, key = normal(61, 250), fdl.random.key(0)
    halves = rows.astype("bfloat16")
    bytes_ = fnp.asarray(rng.integers(0, 255, (2, 63, 65, 3)).astype(np.uint8))
    spd = normal(50, 6, 6)
    spd = spd @ spd.swapaxes(1, 2) + 6 * fnp.eye(6)
    init, update = functional.adam(fdl, 1e-3)
    weights = {"w": normal(200, 130), "b": normal(130)}
    state = init(weights)
    return {
        "matmul 96": kernel(kernels.matmul(96, 96, 96)),
        "matmul 61x67x53": kernel(kernels.matmul(61, 67, 53)),
        "matmul 1x300x301": kernel(kernels.matmul(1, 300, 301)),
        "matmul 33 of 7x8x9": kernel(kernels.matmul(7, 8, 9, 33)),
        "matmul transposed": kernel(kernels.matmul(64, 65, 66, transposed="xy")),
        "matmul float64": jitted(lambda x: x @ x.T, rows.astype("float64")),
        "matmul bfloat16": jitted(lambda x: x @ x.T, halves),
        "conv 3x3": kernel(conv["forward"]),
        "conv 3x3 data gradient": kernel(conv["data"]),
        "conv 3x3 filter gradient": kernel(conv["weights"]),
        "conv 1x1": kernel(kernels.convolutions(2, 14, 40, 1, 24, 1)["forward"]),
        "max pool and gradient": with_gradient(lambda x: functional.max_pool(fdl, x, 3, 2), normal(2, 21, 21, 8)),
        "softmax and gradient": with_gradient(fdl.nn.softmax, rows),
        "layer norm and gradient": with_gradient(partial(kernels.layer_norm, fdl), rows, normal(250), normal(250)),
        "gelu chain and gradient": with_gradient(lambda x: fdl.nn.gelu(x * 2 + 1) * fnp.tanh(x), rows),
        "erf, log, sin": jitted(lambda x: lax.erf(x) + fnp.log(x * x + 1) * fnp.sin(x), rows),
        "add bfloat16": jitted(lambda x: x + x * x, halves),
        "sum of narrow rows": jitted(lambda x: x.sum(1), normal(3000, 6)),
        "sum of wide rows": jitted(lambda x: x.sum(1), normal(9, 3001)),
        "sum of columns": jitted(lambda x: x.sum(0), normal(300, 70)),
        "max of narrow rows": jitted(lambda x: x.max(1), normal(2000, 10)),
        "argmax": jitted(lambda x: x.argmax(1), rows),
        "gather rows": jitted(lambda x, i: x[i], rows, below(61, 301)),
        "gather columns": jitted(lambda x, i: x[:, i], rows, below(250, 101)),
        "segment sum": jitted(lambda x, i: fnp.zeros(40).at[i].add(x), normal(5000), below(40, 5000)),
        "sort": jitted(fnp.sort, normal(5000)),
        "sort of rows": jitted(fnp.sort, rows),
        "top 5": jitted(lambda x: lax.top_k(x, 5), rows),
        "cumulative sum": jitted(lambda x: fnp.cumsum(x, 1), rows),
        "random normal": jitted(lambda k: fdl.random.normal(k, (8001,)), key),
        "random integers": jitted(lambda k: fdl.random.randint(k, (8001,), 0, 1000), key),
        "cholesky of 50 6x6": jitted(fnp.linalg.cholesky, spd),
        "rfft of 33 rows of 120": jitted(fnp.fft.rfft, normal(33, 120)),
        "attention": with_gradient(fdl.nn.dot_product_attention, *(normal(2, 40, 3, 16) for _ in range(3))),
        "scan": jitted(lambda x: lax.scan(lambda c, y: ((c * 0.5 + y), c.sum()), fnp.zeros(250), x), rows),
        "adam": jitted(update, weights, state, weights),
        "transpose": jitted(lambda x: x.T, normal(130, 250)),
        "transpose of uint8 images": jitted(lambda x: x.transpose(0, 3, 1, 2), bytes_),
        "flip, pad, join": jitted(lambda x: fnp.concatenate([x[:, ::-1], fnp.pad(x, ((0, 0), (3, 4)))], 1), rows),
    }  # fmt: skip


def call_cases() -> dict[str, Run]:
    """Calls on small arrays, which are all overhead."""
    x, key = fnp.ones((4, 4)), fdl.random.key(0)
    double = fdl.jit(lambda x: 2 * x)
    slope = fdl.grad(lambda w: fnp.tanh(w @ w).sum())
    return {
        "call of a jitted function": lambda: double(x),
        "eager add": lambda: x + x,
        "eager matmul": lambda: x @ x,
        "eager sum": lambda: x.sum(),
        "eager reshape": lambda: x.reshape(16),
        "eager index": lambda: x[1],
        "eager concatenate": lambda: fnp.concatenate([x, x]),
        "eager softmax": lambda: fdl.nn.softmax(x),
        "eager random normal": lambda: fdl.random.normal(key, (3,)),
        "eager gradient": lambda: slope(x),
    }


def step_cases() -> dict[str, Run]:
    """Training steps of the benchmarked models, made small."""
    found = {}
    for name, (batch, sizes) in STEPS.items():
        model = importlib.import_module(f"benchmarks.{name}")
        for attribute, value in sizes.items():
            setattr(model, attribute, value)
        found[f"step: {name}"] = functional_step(model, fdl, batch)
    return found


#: Calls before those that are counted: the first compiles or loads, the second has native code check its arguments.
WARM = 2
#: How often kernels and calls that are all overhead are called, so that what surrounds them is little beside them.
REPEATED = 10


def cases() -> dict[str, tuple[int, Run]]:
    """Name to the number of calls to count, and the call."""
    found = {name: (REPEATED, run) for name, run in (kernel_cases() | call_cases()).items()}
    return found | {name: (1, run) for name, run in step_cases().items()}


class Callgrind:
    """Requests to callgrind, which is told by an instruction sequence that does nothing elsewhere.

    The sequence and the numbers are those of valgrind.h and callgrind.h, for x86-64.
    """

    ZERO, DUMP, START, STOP = (0x43540000 + number for number in (1, 3, 4, 5))
    CODE = bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._memory.write(self.CODE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(address)

    def request(self, number: int, argument: bytes | None = None) -> None:
        text = ctypes.create_string_buffer(argument or b"")
        words = (ctypes.c_uint64 * 6)(number, ctypes.addressof(text) if argument else 0)
        self._call(ctypes.addressof(words))

    def count(self, name: str, run: Run, times: int) -> None:
        """Have callgrind write the instructions of so many calls under this name.

        As many calls before are not counted: the interpreter adapts its bytecode in them.
        """
        self.request(self.START)
        for number in (self.ZERO, self.DUMP):
            for _ in range(times):
                run()
            self.request(number, name.encode())
        self.request(self.STOP)


def main() -> None:
    """Run all cases."""
    folder = Path(sys.argv[1]).resolve()
    assert Path(fdl.__file__).resolve().is_relative_to(folder), f"{fdl.__file__} is not in {folder}"
    callgrind = Callgrind()
    found = cases()
    for _, run in found.values():  # all before the first count, as callgrind translates all code anew at each start
        for _ in range(WARM):
            run()
    gc.collect()
    gc.disable()
    for name, (times, run) in found.items():
        callgrind.count(name, run, times)


if __name__ == "__main__":
    main()
