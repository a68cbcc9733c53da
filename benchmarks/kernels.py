"""Single kernels of fdl and its peers: products, convolutions, fused loops, sorting, random numbers, moves."""

import fnmatch
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.team import Team

FRAMEWORKS = ["fdl", "numpy", "torch", "torch channels_last", "torch.compile", "jax"]
SECONDS = 0.05
#: Largest difference of results, relative to their largest element.
TOLERANCE = 1e-4

#: The unit of a table, and the families of kernels in it.
FAMILIES = {
    "GFLOP/s": ["matmul", "conv"],
    "GB/s": ["fused", "random", "cumsum", "gather"],
    "million elements/s": ["sort"],
}


@dataclass(frozen=True)
class Case:
    """One kernel on one set of operands.

    Attributes:
        work: floating-point operations, bytes moved, or elements.
        inputs: makes the operands as NumPy arrays.
        functional: of (module, *operands), for fdl and JAX.
        numpy, torch: of (module, *operands); None if there is no such function.
        fused: whether torch.compile could do better than PyTorch.
        images: whether PyTorch's operands are images and filters, to be tried in both memory formats.
        check: puts a result into a form in which it must be the same for all.
    """

    work: int
    inputs: Callable[[], tuple[np.ndarray, ...]]
    functional: Callable[..., Any]
    numpy: Callable[..., Any] | None = None
    torch: Callable[..., Any] | None = None
    fused: bool = False
    images: bool = False
    check: Callable[[np.ndarray], np.ndarray] = lambda result: result


def normal(*shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(shape, np.float32) for shape in shapes)


def matmul(m: int, k: int, n: int, batch: int = 0, transposed: str = "") -> Case:
    """x @ y; `transposed` names the operands that lie transposed in memory."""
    a, b = (k, m) if "x" in transposed else (m, k), (n, k) if "y" in transposed else (k, n)
    lead = (batch,) if batch else ()

    def product(xp: ModuleType, x: Any, y: Any) -> Any:
        return (x.swapaxes(-1, -2) if "x" in transposed else x) @ (y.swapaxes(-1, -2) if "y" in transposed else y)

    work = 2 * m * k * n * max(batch, 1)
    return Case(work, partial(normal, (*lead, *a), (*lead, *b)), product, product, product)


def convolutions(batch: int, size: int, features: int, window: int, outputs: int, stride: int) -> dict[str, Case]:
    """Forward, gradient of the images and of the filters."""
    x, w, end = (batch, size, size, features), (window, window, features, outputs), -(-size // stride)
    y, pad = (batch, end, end, outputs), window // 2
    work = 2 * prod(y) * prod(w[:3])

    def conv(xp: ModuleType, x: Any, w: Any) -> Any:
        numbers, pads = ("NHWC", "HWIO", "NHWC"), ((pad, pad), (pad, pad))
        return xp.lax.conv_general_dilated(x, w, (stride, stride), pads, dimension_numbers=numbers)

    def data(xp: ModuleType, w: Any, dy: Any) -> Any:
        return xp.vjp(lambda x: conv(xp, x, w), xp.numpy.zeros(x, "float32"))[1](dy)[0]

    def weights(xp: ModuleType, x: Any, dy: Any) -> Any:
        return xp.vjp(lambda w: conv(xp, x, w), xp.numpy.zeros(w, "float32"))[1](dy)[0]

    def backward(torch: ModuleType, x: Any, w: Any, dy: Any, mask: list[bool]) -> Any:
        strides, pads = [stride, stride], [pad, pad]
        return torch.ops.aten.convolution_backward(dy, x, w, None, strides, pads, [1, 1], False, [0, 0], 1, mask)

    def torch_data(torch: ModuleType, w: Any, dy: Any) -> Any:
        shape = batch, features, size, size
        memory = torch.channels_last if dy.is_contiguous(memory_format=torch.channels_last) else None
        like = torch.empty(shape, memory_format=memory or torch.contiguous_format)
        return backward(torch, like, w, dy, [True, False, False])[0]

    def torch_weights(torch: ModuleType, x: Any, dy: Any) -> Any:
        like = torch.empty(outputs, features, window, window)
        return backward(torch, x, like, dy, [False, True, False])[1]

    def torch_forward(torch: ModuleType, x: Any, w: Any) -> Any:
        return torch.nn.functional.conv2d(x, w, stride=stride, padding=pad)

    case = partial(Case, work, images=True)
    return {
        "forward": case(partial(normal, x, w), conv, torch=torch_forward),
        "data": case(partial(normal, w, y), data, torch=torch_data),
        "weights": case(partial(normal, x, y), weights, torch=torch_weights),
    }


def fused(shapes: list[tuple[int, ...]], moved: int, functional: Any, torch: Any, **more: Any) -> Case:
    """A function of float32 arrays that moves the elements of so many arrays of the first shape."""
    return Case(4 * moved * prod(shapes[0]), partial(normal, *shapes), functional, torch=torch, fused=True, **more)


def with_gradient(case: Case) -> Case:
    """The function and its gradient for all operands but the last, the cotangent; reads and writes twice as much."""
    functional, torch = case.functional, case.torch
    assert torch is not None

    def both(xp: ModuleType, *operands: Any) -> Any:
        result, pull = xp.vjp(partial(functional, xp), *operands[:-1])
        return result, *pull(operands[-1])[::-1]

    def torch_both(module: ModuleType, *operands: Any) -> Any:
        leaves = [x.requires_grad_() for x in operands[:-1]]
        result = torch(module, *leaves)
        return result, *module.autograd.grad(result, leaves, operands[-1])[::-1]

    def inputs() -> tuple[np.ndarray, ...]:
        operands = case.inputs()
        return *operands, normal(operands[0].shape)[0]

    return replace(case, work=2 * case.work, inputs=inputs, functional=both, torch=torch_both)


def layer_norm(xp: ModuleType, x: Any, scale: Any, shift: Any) -> Any:
    mean = xp.numpy.mean(x, axis=-1, keepdims=True)
    variance = xp.numpy.mean((x - mean) ** 2, axis=-1, keepdims=True)
    return (x - mean) / xp.numpy.sqrt(variance + 1e-5) * scale + shift


def cross_entropy(xp: ModuleType, x: Any, labels: Any) -> Any:
    return -xp.numpy.mean(xp.numpy.take_along_axis(xp.nn.log_softmax(x), labels[:, None], axis=-1))


def cross_entropy_gradient(xp: ModuleType, x: Any, labels: Any) -> Any:
    return xp.value_and_grad(partial(cross_entropy, xp))(x, labels)


def torch_cross_entropy(torch: ModuleType, x: Any, labels: Any) -> Any:
    return torch.nn.functional.cross_entropy(x, labels.long())


def torch_cross_entropy_gradient(torch: ModuleType, x: Any, labels: Any) -> Any:
    loss = torch_cross_entropy(torch, x.requires_grad_(), labels)
    return loss, *torch.autograd.grad(loss, [x])


def logits() -> tuple[np.ndarray, ...]:
    return normal((1024, 10_000))[0], np.random.default_rng(1).integers(0, 10_000, 1024).astype(np.int32)


def shuffled(count: int) -> tuple[np.ndarray, ...]:
    """Different numbers, so that there is one right order."""
    return (np.random.default_rng(0).permutation(count).astype(np.float32),)


def lookups() -> tuple[np.ndarray, ...]:
    return normal((100_000, 64))[0], np.random.default_rng(1).integers(0, 100_000, 65_536).astype(np.int32)


def moments(result: np.ndarray) -> np.ndarray:
    """What random numbers of one distribution have in common, to one part in a hundred."""
    result = result.astype(np.float64)
    scale = np.abs(result).max()
    return np.round([(result / scale).mean() * 10, result.std() / scale if result.min() >= 0 else result.std()], 1)


def random(work: int, functional: Any, numpy: Any, torch: Any, check: Any = moments) -> Case:
    return Case(work, tuple, functional, numpy, torch, check=check)


def cases() -> dict[str, Case]:
    """All kernels by name; the first word is the family."""
    found = {f"matmul_{n}": matmul(n, n, n) for n in (64, 256, 512, 1024, 2048)}
    found |= {
        "matmul_32x1024x1024": matmul(32, 1024, 1024),
        "matmul_1024x1024x32": matmul(1024, 1024, 32),
        "matmul_20x650x2600": matmul(20, 650, 2600),
        "matmul_1000x16x1000": matmul(1000, 16, 1000),
        "matmul_1x2048x2048": matmul(1, 2048, 2048),
        "matmul_2048x2048x1": matmul(2048, 2048, 1),
        "matmul_batch_32_of_64x32x64": matmul(64, 32, 64, 32),
        "matmul_batch_256_of_16": matmul(16, 16, 16, 256),
        "matmul_1024_x_transposed": matmul(1024, 1024, 1024, transposed="x"),
        "matmul_1024_y_transposed": matmul(1024, 1024, 1024, transposed="y"),
    }
    layers = {
        "inception_7x7_3_64_stride_2": (16, 224, 3, 7, 64, 2),
        "inception_3x3_64_192": (16, 56, 64, 3, 192, 1),
        "inception_1x1_256_128": (16, 28, 256, 1, 128, 1),
        "inception_5x5_32_96": (16, 28, 32, 5, 96, 1),
        "inception_3x3_160_320": (16, 14, 160, 3, 320, 1),
        "resnet_3x3_16_16": (128, 32, 16, 3, 16, 1),
        "resnet_3x3_16_32_stride_2": (128, 32, 16, 3, 32, 2),
        "resnet_3x3_64_64": (128, 8, 64, 3, 64, 1),
    }
    for name, sizes in layers.items():
        found |= {f"conv_{name}_{part}": case for part, case in convolutions(*sizes).items()}
    rows = (4096, 1024)
    gelu = fused([rows], 2, lambda xp, x: xp.nn.gelu(x), lambda t, x: t.nn.functional.gelu(x, approximate="tanh"))
    norm = fused(
        [rows, (1024,), (1024,)], 2, layer_norm, lambda t, x, s, b: t.nn.functional.layer_norm(x, (1024,), s, b)
    )
    softmax = fused([rows], 2, lambda xp, x: xp.nn.softmax(x), lambda t, x: x.softmax(-1))
    entropy = Case(4 * 1024 * 10_000, logits, cross_entropy, torch=torch_cross_entropy, fused=True)
    pulled = replace(
        entropy, work=2 * entropy.work, functional=cross_entropy_gradient, torch=torch_cross_entropy_gradient
    )
    sums = fused(
        [(65_536, 64)], 1, lambda xp, x: x.sum(0), lambda t, x: x.sum(0), numpy=lambda np, x: x.sum(0)
    )  # fmt: skip
    found |= {
        "fused_gelu": gelu,
        "fused_gelu_and_gradient": with_gradient(gelu),
        "fused_layer_norm": norm,
        "fused_layer_norm_and_gradient": with_gradient(norm),
        "fused_softmax": softmax,
        "fused_softmax_and_gradient": with_gradient(softmax),
        "fused_cross_entropy": entropy,
        "fused_cross_entropy_and_gradient": pulled,
        "fused_column_sums": sums,
    }
    million, many = 1_000_000, 4_000_000
    found |= {
        "sort_1M": Case(
            million, partial(shuffled, million), lambda xp, x: xp.numpy.sort(x), lambda np, x: np.sort(x),
            lambda t, x: t.sort(x)[0],
        ),
        "sort_arguments_1M": Case(
            million, partial(shuffled, million), lambda xp, x: xp.numpy.argsort(x), lambda np, x: np.argsort(x),
            lambda t, x: t.argsort(x),
        ),
        "sort_rows_of_1000": Case(
            million, lambda: (shuffled(million)[0].reshape(1000, 1000),), lambda xp, x: xp.numpy.sort(x),
            lambda np, x: np.sort(x), lambda t, x: t.sort(x)[0],
        ),
        "sort_top_10_of_1M": Case(
            million, partial(shuffled, million), lambda xp, x: xp.lax.top_k(x, 10), None,
            lambda t, x: t.topk(x, 10),
        ),
        "sort_permutation_1M": random(
            million, lambda xp: xp.random.permutation(xp.random.key(0), million),
            lambda np: np.random.permutation(million), lambda t: t.randperm(million), np.sort,
        ),
        "random_normal_4M": random(
            4 * many, lambda xp: xp.random.normal(xp.random.key(0), (many,)),
            lambda np: np.random.default_rng(0).standard_normal(many, np.float32), lambda t: t.randn(many),
        ),
        "random_uniform_4M": random(
            4 * many, lambda xp: xp.random.uniform(xp.random.key(0), (many,)),
            lambda np: np.random.default_rng(0).random(many, np.float32), lambda t: t.rand(many),
        ),
        "random_bits_4M": random(
            4 * many, lambda xp: xp.random.bits(xp.random.key(0), (many,)),
            lambda np: np.random.default_rng(0).integers(0, 2**32, many, np.uint32),
            lambda t: t.randint(0, 2**32, (many,), dtype=t.uint32),
        ),
        "cumsum_rows": Case(
            8 * 4096 * 1024, partial(normal, rows), lambda xp, x: xp.numpy.cumsum(x, 1),
            lambda np, x: np.cumsum(x, 1), lambda t, x: x.cumsum(1),
        ),
        "cumsum_columns": Case(
            8 * 4096 * 1024, partial(normal, rows), lambda xp, x: xp.numpy.cumsum(x, 0),
            lambda np, x: np.cumsum(x, 0), lambda t, x: x.cumsum(0),
        ),
        "gather_rows_of_64": Case(
            8 * 65_536 * 64, lookups, lambda xp, x, i: x[i], lambda np, x, i: np.take(x, i, 0),
            lambda t, x, i: t.nn.functional.embedding(i, x),
        ),
    }  # fmt: skip
    return found


def family(name: str) -> str:
    return name.split("_")[0]


def rate(name: str, numbers: dict[str, Any]) -> str:
    """Work per second in the family's unit."""
    scale = 1e6 if family(name) == "sort" else 1e9
    value = cases()[name].work / numbers["step"] / scale
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def make(name: str, framework: str) -> Callable[[], Any] | None:
    """The kernel as a function of no arguments; None if the framework has no such thing."""
    case = cases()[name]
    operands = case.inputs()
    if framework in ("fdl", "jax"):
        xp = importlib.import_module(framework)
        function = xp.jit(partial(case.functional, xp))
        return partial(function, *map(xp.numpy.asarray, operands))
    if framework == "numpy":
        return None if case.numpy is None else partial(case.numpy, np, *operands)
    if (
        case.torch is None
        or ("compile" in framework and not case.fused)
        or ("channels_last" in framework and not case.images)
    ):
        return None
    import torch

    tensors = [torch.tensor(x) for x in operands]
    if case.images:
        memory = torch.channels_last if "channels_last" in framework else torch.contiguous_format
        tensors = [t.permute(*_torch_order(t, case)).contiguous(memory_format=memory) for t in tensors]
    function = partial(case.torch, torch)
    return partial(torch.compile(function) if "compile" in framework else function, *tensors)


def _torch_order(tensor: Any, case: Case) -> tuple[int, ...]:
    """NCHW from NHWC, OIHW from HWIO: filters are the operands with small windows in front."""
    return (3, 2, 0, 1) if tensor.shape[0] == tensor.shape[1] < 8 else (0, 3, 1, 2)


def as_numpy(name: str, framework: str, result: Any) -> np.ndarray:
    """The last of the results, in the layout of NumPy, in a form that is the same for all frameworks."""
    case = cases()[name]
    result = result[-1] if isinstance(result, (tuple, list)) else result
    if framework.startswith("torch"):
        result = result.detach()
        if case.images:
            result = result.permute(2, 3, 1, 0) if name.endswith("weights") else result.permute(0, 2, 3, 1)
    return case.check(np.asarray(result))


def agree(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether results are equal to `TOLERANCE`."""
    scale = max(float(np.abs(ours).max()), 1e-30)
    return ours.shape == theirs.shape and bool(np.abs(ours - theirs).max() <= TOLERANCE * scale)


def measure(
    patterns: list[str], threads: int, rounds: int, limit: float, place: str
) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """Names of the kernels that match one of the patterns, with the numbers of every framework that has it.

    `place` is a directory for disk caches and results.
    """
    names = [name for name in cases() if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    with Team(FRAMEWORKS, threads, place) as team:
        for name in names:
            answers = team.each(f"kernel {name} {place}/{{name}}.npy", limit)
            numbers = {framework: answer for framework, answer in answers.items() if answer is not None}
            made = [framework for framework, answer in numbers.items() if "first" in answer]
            results = {framework: np.load(f"{place}/{framework.replace(' ', '_')}.npy") for framework in made}
            for framework, result in results.items():
                if not agree(results["fdl"], result):
                    numbers[framework] = {"left out": "another result"}
            right = [framework for framework in made if "first" in numbers[framework]]
            for framework, step in team.alternate(right, rounds, SECONDS).items():
                numbers[framework]["step"] = step
            yield name, numbers
