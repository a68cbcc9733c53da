"""Compiled Fourier transforms against NumPy's in double precision, and the laws that hold of them."""

from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.compile import pipeline
from fdl.compile.kernels.fourier import lowering
from fdl.compile.kernels.fourier.factors import FewRoots, radices
from fdl.compile.kernels.fourier.layout import PairLayout
from fdl.compile.kernels.fourier.roots import roots
from fdl.core.trace import trace_program
from fdl.core.types import TensorType

KINDS = ["fft", "ifft", "rfft", "irfft"]


def sample(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, kind: str = "fft") -> np.ndarray:
    x = rng.normal(size=shape)
    if kind.startswith("irfft"):
        return getattr(np.fft, kind[1:])(x).astype(dtype)
    return (x if kind.startswith("rfft") else x + 1j * rng.normal(size=shape)).astype(dtype)


def dtype_of(kind: str, bits: int) -> str:
    return f"float{bits}" if kind.startswith("rfft") else f"complex{2 * bits}"


def exact(kind: str, x: np.ndarray, **arguments: Any) -> np.ndarray:
    wide = x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
    return getattr(np.fft, kind)(wide, **arguments)


def check(found: Any, expected: np.ndarray, bits: int) -> None:
    """The relative error in the Euclidean norm is a few units in the last place."""
    found = np.asarray(found)
    assert found.shape == expected.shape
    tolerance = 3 * float(np.finfo(f"float{bits}").eps)
    assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)


def check_all(rng: np.random.Generator, kind: str, bits: int, shapes: list[tuple[int, ...]]) -> None:
    """Transforms of the last axis of arrays of these shapes, compiled as one program."""
    xs = [sample(rng, shape, dtype_of(kind, bits), kind) for shape in shapes]
    lengths = [{"n": shape[-1]} if kind == "irfft" else {} for shape in shapes]

    def computed(xs: list[Any]) -> list[Any]:
        return [getattr(fnp.fft, kind)(x, **n) for x, n in zip(xs, lengths, strict=True)]

    for x, y, n in zip(xs, fdl.jit(computed)(xs), lengths, strict=True):
        check(y, exact(kind, x, **n), bits)


def python_calls(kind: str, lengths: tuple[int, ...], dtype: str, shape: tuple[int, ...]) -> int:
    """How many operations of a compiled transform are left to Python."""
    operation = lowering.Fft(kind, lengths)
    program, _ = trace_program(lambda x: [operation(x)], [TensorType(shape, np.dtype(dtype))])
    return len(pipeline.build_archive(program, ()).hosts)


@pytest.mark.parametrize(("kind", "bits"), [("fft", 32), ("fft", 64), ("ifft", 32), ("rfft", 64), ("irfft", 64)])
def test_short_and_smooth_lengths(rng: np.random.Generator, kind: str, bits: int) -> None:
    shapes = [(3, n) for n in (2, 4, 7, 9, 16, 26, 60)]  # rows fill the lanes
    shapes += [(64,), (100,), (2, 210), (1000,), (2, 1024), (1155,)]  # a row fills them
    check_all(rng, kind, bits, shapes)


def test_every_length_to_64(rng: np.random.Generator) -> None:
    """Every length in one of the kinds, half of them in each width; those with a large prime factor too."""
    for start, kind in enumerate(KINDS):
        check_all(rng, kind, 32 + 32 * (start % 2), [(2, n) for n in range(2 + start, 65, 4)])


@pytest.mark.parametrize("kind", KINDS)
def test_long_rows_in_two_stages(rng: np.random.Generator, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowering, "SHORT", 256)
    bits = 32 if kind == "fft" else 64
    check_all(rng, kind, bits, [(2, 9600), (1, 1 << 12)])


def test_65536_points(rng: np.random.Generator) -> None:
    check_all(rng, "fft", 32, [(1 << 16,)])


@pytest.mark.parametrize("kind", ["fftn", "ifftn", "rfftn", "irfftn"])
def test_several_axes(rng: np.random.Generator, kind: str) -> None:
    for bits, shape in ((32, (16, 30)), (64, (3, 4, 5)), (32, (2, 9, 1, 17))):
        axes = tuple(range(1 - (len(shape) < 4), len(shape)))
        x = sample(rng, shape, dtype_of(kind, bits), kind)
        arguments = {"s": [shape[a] for a in axes], "axes": axes}
        x = x if kind != "irfftn" else exact("rfftn", rng.normal(size=shape), axes=axes).astype(x.dtype)
        found = fdl.jit(lambda x, kind=kind, arguments=arguments: getattr(fnp.fft, kind)(x, **arguments))(x)
        check(found, exact(kind, x, **arguments), bits)


def test_batches_and_operands_of_other_strides(rng: np.random.Generator) -> None:
    for shape in ((0, 12), (1, 12), (8, 12), (2, 0, 64), (2, 9, 5), (17, 30)):
        check_all(rng, "fft", 32, [shape])
    x = sample(rng, (24, 6, 9), "complex64")
    found = fdl.jit(lambda x: (fnp.fft.fft(x, axis=0), fnp.fft.fft(x.T[::2, 1:]), fnp.fft.fft2(x, axes=(2, 0))))(x)
    wide = x.astype(np.complex128)
    for y, expected in zip(
        found, (np.fft.fft(wide, axis=0), np.fft.fft(wide.T[::2, 1:]), np.fft.fft2(wide, axes=(2, 0))), strict=True
    ):
        check(y, expected, 32)


def test_what_python_computes() -> None:
    assert python_calls("fft", (12,), "complex64", (3, 12)) == 0
    assert python_calls("rfft", (10, 12), "float64", (3, 10, 12)) == 0
    assert python_calls("irfft", (1 << 20,), "complex64", (1 + (1 << 19),)) == 0
    assert python_calls("fft", (17,), "complex64", (17,)) == 1  # a large prime factor


@pytest.mark.parametrize("n", [12, 64])
def test_a_row_with_nan_leaves_other_rows_alone(rng: np.random.Generator, n: int) -> None:
    x = sample(rng, (5, n), "complex64")
    expected = exact("fft", x)
    x[1, 3], x[4, 0] = np.nan, np.inf
    found = np.asarray(fdl.jit(fnp.fft.fft)(x))
    check(found[[0, 2, 3]], expected[[0, 2, 3]], 32)
    assert not np.isfinite(found[[1, 4]]).any()


def test_inverse_and_parseval(rng: np.random.Generator) -> None:
    x = rng.normal(size=(3, 240))
    back, spectrum = fdl.jit(lambda x: (fnp.fft.irfft(fnp.fft.rfft(x)), fnp.fft.fft(x)))(x)
    np.testing.assert_allclose(back, x, atol=1e-14)
    np.testing.assert_allclose((np.abs(spectrum) ** 2).sum(1), 240 * (x**2).sum(1), rtol=1e-14)


def test_imaginary_parts_of_real_frequencies_do_not_count(rng: np.random.Generator) -> None:
    for n in (12, 64, 15):
        x = sample(rng, (2, n), "complex128", "irfft")
        other = x.copy()
        other[:, 0] += 1j
        if n % 2 == 0:
            other[:, -1] -= 3j
        f = fdl.jit(lambda x, n=n: fnp.fft.irfft(x, n))
        np.testing.assert_array_equal(f(x), f(other))


@pytest.mark.parametrize("n", [30, 128])
def test_gradients_vmap_and_scans(rng: np.random.Generator, n: int) -> None:
    x = rng.normal(size=(4, n))
    energy = fdl.jit(fdl.grad(lambda x: (abs(fnp.fft.rfft(x)) ** 2).sum()))
    twice = np.r_[1, np.full(n // 2 - 1, 2), 1]  # Parseval counts inner frequencies twice
    half = np.fft.irfft(np.fft.rfft(x) / twice, n=n)
    np.testing.assert_allclose(energy(x), 2 * n * half, atol=1e-10)
    np.testing.assert_allclose(fdl.jit(fdl.vmap(fnp.fft.fft, 1))(x), np.fft.fft(x, axis=0).T, atol=1e-12)
    smooth = fdl.jit(lambda x: fdl.lax.scan(lambda c, _: (fnp.fft.ifft(fnp.fft.fft(c) * 0.5), c[0]), x + 0j, length=3))
    last, firsts = smooth(x[0])
    np.testing.assert_allclose(last, x[0] / 8, atol=1e-14)
    np.testing.assert_allclose(firsts, x[0, 0] * np.array([1, 0.5, 0.25]), atol=1e-14)


def test_threads_give_the_same_bits(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowering, "SHORT", 256)
    xs = [rng.normal(size=shape).astype(np.float32) for shape in ((37, 30), (40, 128), (1, 1 << 15), (64, 66))]

    def computed(xs: list[Any]) -> list[Any]:
        return [*map(fnp.fft.rfft, xs), fnp.fft.irfft(fnp.fft.rfft(xs[2])), fnp.fft.irfft2(fnp.fft.rfft2(xs[3]))]

    before = fdl.get_num_threads()
    try:
        results = []
        for threads in (1, 3):
            fdl.set_num_threads(threads)
            results.append([np.asarray(y) for y in fdl.jit(computed)(xs)])
    finally:
        fdl.set_num_threads(before)
    for one, three in zip(*results, strict=True):
        np.testing.assert_array_equal(one, three)


def test_donated_operands(rng: np.random.Generator) -> None:
    x = sample(rng, (6, 96), "complex64")
    expected = exact("fft2", x)
    check(fdl.jit(fnp.fft.fft2, donate_argnums=0)(fnp.array(x)), expected, 32)


@pytest.mark.parametrize("cpu", ["x86-64", "x86-64-v3:512"])
def test_other_vector_widths(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, cpu: str) -> None:
    monkeypatch.setenv("FDL_CPU", cpu)
    check_all(rng, "fft", 32, [(5, 12), (3, 256)])
    check_all(rng, "irfft", 64, [(5, 12), (3, 256)])


def test_roots_of_unity() -> None:
    n = 1000
    turns = 2 * np.longdouble("3.14159265358979323846264338327950288") * np.arange(n).astype(np.longdouble) / n
    expected = np.cos(turns) - 1j * np.sin(turns)
    assert np.abs(roots(n, np.arange(n)) - expected).max() < 3e-16
    assert roots(8, np.arange(0, 8, 2)).tolist() == [1, -1j, -1, 1j]
    few = FewRoots(n)
    low, high = np.split(few.table().reshape(-1, 2) @ [1, 1j], [few.low])
    products = low[np.arange(n) % few.low] * high[np.arange(n) // few.low]
    assert np.abs(products - expected).max() < 1e-15


def test_lengths_of_passes() -> None:
    for n in range(1, 500):
        found = radices(n)
        large = any(n % p == 0 for p in range(17, n + 1) if all(p % d for d in range(2, p)))
        assert (found is None) == large
        assert found is None or np.prod(found) == n


@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lanes_hold_each_number_once(dtype: str, lanes: int) -> None:
    assert sorted(PairLayout(np.dtype(dtype), lanes).order) == list(range(lanes))
