"""Laws that every primitive obeys, checked on the samples that each class offers."""

import importlib
import pickle
import pkgutil
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.control
import fdl.ext
import fdl.ops
from fdl.array import as_array
from fdl.core.interpret import evaluate, interpret
from fdl.core.primitive import Linear, Primitive, registry
from fdl.core.trace import trace_program
from fdl.core.types import TensorType
from fdl.core.verify import verify
from fdl.dtypes import is_inexact
from fdl.errors import DifferentiationError
from fdl.transforms.batch import batch_values
from fdl.transforms.forward import jvp_values
from fdl.transforms.linearize import linearize_values
from fdl.transforms.transpose import backward

for package in (fdl.ops, fdl.control, fdl.ext):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)

WIDE = (np.float64, np.complex128)
TOLERANCE = {2: 2e-2, 4: 2e-5, 8: 1e-10, 16: 1e-10}

# Their derivative is zero by definition, not by calculus.
CONSTANT = {"StopGradient", "Nextafter"}

# They hold functions of the user, which equal only themselves.
HOLD_FUNCTIONS = {"CustomJvp", "CustomVjp", "NumbaCall", "NumbaScalar"}


def stands_alone(name: str) -> bool:
    """Whether operations of the class can be applied outside of a transform that binds an axis or runs backwards."""
    return "axis_name" not in registry[name].__dataclass_fields__ and name != "CustomDerivative"


CLASSES = sorted(filter(stands_alone, registry))


def samples(name: str) -> Iterator[tuple[Primitive, tuple[np.ndarray, ...]]]:
    """Operations and operands of the class, and what to print if a law does not hold."""
    cls = registry[name]
    blank = object.__new__(cls)  # parameters play no part in the choice of samples
    for operation, *arrays in cls.samples(blank, np.random.default_rng(0)):
        yield operation, tuple(np.asarray(a) for a in arrays)


def type_of(x: np.ndarray) -> TensorType:
    return TensorType(x.shape, x.dtype)


def close(found: Any, expected: Any, where: str, tolerance: float | None = None) -> None:
    """Equal shapes, dtypes and (for floats: nearly) values."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), where
    if not is_inexact(expected.dtype):
        np.testing.assert_array_equal(found, expected, where)
        return
    part = np.empty(0, expected.dtype).real.dtype.itemsize
    bound = TOLERANCE[part] if tolerance is None else tolerance
    kind = np.complex128 if expected.dtype.kind == "c" else np.float64
    np.testing.assert_allclose(found.astype(kind), expected.astype(kind), bound, bound, err_msg=where)


def apply(operation: Primitive) -> Any:
    """The operation as a function to a sequence."""
    return lambda *xs: list(operation(*xs)) if operation.multiple else [operation(*xs)]


def says(operation: Primitive, arrays: tuple[np.ndarray, ...]) -> str:
    return f"{operation} of {', '.join(str(type_of(a)) for a in arrays)}"


@pytest.mark.parametrize("name", CLASSES)
def test_there_are_samples(name: str) -> None:
    operations = [operation for operation, _ in samples(name)]
    assert operations and all(type(o) is registry[name] for o in operations)


@pytest.mark.parametrize("name", CLASSES)
def test_reference_has_the_type_that_result_says(name: str) -> None:
    for operation, arrays in samples(name):
        result = operation.result(*map(type_of, arrays))
        outs = evaluate(operation, arrays)
        assert [type_of(np.asarray(o)) for o in outs] == list(result if operation.multiple else (result,)), says(
            operation, arrays
        )


@pytest.mark.parametrize("name", CLASSES)
def test_operands_are_left_alone(name: str) -> None:
    for operation, arrays in samples(name):
        before = [a.copy() for a in arrays]
        evaluate(operation, arrays)
        for a, b in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", CLASSES)
def test_operations_are_values(name: str) -> None:
    for operation, _ in samples(name):
        again = pickle.loads(pickle.dumps(operation))
        if name not in HOLD_FUNCTIONS:
            assert again == operation and hash(again) == hash(operation) and repr(again) == repr(operation)


@pytest.mark.parametrize("name", CLASSES)
def test_programs_of_it_verify(name: str) -> None:
    for operation, arrays in samples(name):
        program, captured = trace_program(apply(operation), [type_of(a) for a in arrays])
        verify(program)
        assert not captured
        again = pickle.loads(pickle.dumps(program))
        assert again == program or name in HOLD_FUNCTIONS


def smooth_samples(name: str) -> Iterator[tuple[Primitive, tuple[np.ndarray, ...], list[int]]]:
    """Samples to differentiate, with the numbers of the operands that have tangents."""
    for operation, arrays in samples(name):
        wide = [i for i, a in enumerate(arrays) if a.dtype in WIDE and (np.abs(a) < 1e6).all()]
        inexact = [i for i, a in enumerate(arrays) if is_inexact(a.dtype)]
        if wide and wide == inexact:
            yield operation, arrays, wide


def choices(active: list[int]) -> list[list[int]]:
    """All operands at once, then one after the other."""
    return [active] if len(active) == 1 else [active, *([i] for i in active)]


def tangents_of(arrays: tuple[np.ndarray, ...], chosen: list[int]) -> list[np.ndarray | None]:
    rng = np.random.default_rng(1)
    found: list[np.ndarray | None] = []
    for i, a in enumerate(arrays):
        t = rng.normal(size=a.shape) + (1j * rng.normal(size=a.shape) if a.dtype.kind == "c" else 0)
        found.append(np.asarray(t) if i in chosen else None)
    return found


def finite_differences(
    operation: Primitive, arrays: tuple[np.ndarray, ...], tangents: list[Any], h: float = 1e-4
) -> list[np.ndarray]:
    """Directional derivative by the central stencil of fourth order."""

    def at(step: float) -> list[np.ndarray]:
        moved = [a if t is None else a + step * t for a, t in zip(arrays, tangents, strict=True)]
        return [np.asarray(o) for o in evaluate(operation, moved)]

    with np.errstate(all="ignore"):
        return [_stencil(values, h) for values in zip(at(h), at(-h), at(2 * h), at(-2 * h), strict=True)]


def _stencil(values: tuple[np.ndarray, ...], h: float) -> np.ndarray:
    a, b, c, d = values
    return (8 * (a - b) - (c - d)) / (12 * h) if a.dtype in WIDE else np.zeros(a.shape)


@pytest.mark.parametrize("name", [n for n in CLASSES if n not in CONSTANT])
def test_jvp_agrees_with_finite_differences(name: str) -> None:
    for operation, arrays, active in smooth_samples(name):
        for chosen in choices(active):
            tangents = tangents_of(arrays, chosen)
            try:
                outs, dots = jvp_values(
                    apply(operation), arrays, [None if t is None else as_array(t) for t in tangents]
                )
            except DifferentiationError:
                assert len(active) > 1
                continue
            where = f"{says(operation, arrays)}, by operands {chosen}"
            for out, reference in zip(outs, evaluate(operation, arrays), strict=True):
                close(out.concrete(), reference, where)
            for out, dot, expected in zip(outs, dots, finite_differences(operation, arrays, tangents), strict=True):
                if out.type.dtype in WIDE:
                    found = np.zeros(out.type.shape, out.type.dtype) if dot is None else dot.concrete()
                    finite = np.isfinite(out.concrete())
                    close(found[finite], expected.astype(found.dtype)[finite], where, 1e-6)


@pytest.mark.parametrize("name", [n for n in CLASSES if n not in CONSTANT])
def test_derivatives_have_derivatives(name: str) -> None:
    for operation, arrays, active in smooth_samples(name):
        tangents = tangents_of(arrays, active)
        lifted = [None if t is None else as_array(t) for t in tangents]

        def derivative(*xs: Any, operation: Primitive = operation, lifted: list[Any] = lifted) -> list[Any]:
            return [d for d in jvp_values(apply(operation), xs, lifted)[1] if d is not None]

        def at(step: float, arrays: Any = arrays, tangents: Any = tangents, derivative: Any = derivative) -> list[Any]:
            moved = [a if t is None else a + step * t for a, t in zip(arrays, tangents, strict=True)]
            return [d.concrete() for d in derivative(*moved)]

        try:
            firsts, seconds = jvp_values(derivative, arrays, lifted)
        except DifferentiationError:
            continue
        h = 1e-5
        with np.errstate(all="ignore"):
            expected = [_stencil(values, h) for values in zip(at(h), at(-h), at(2 * h), at(-2 * h), strict=True)]
        for first, second, slope in zip(firsts, seconds, expected, strict=True):
            if first.type.dtype in WIDE:
                found = np.zeros(first.type.shape, first.type.dtype) if second is None else second.concrete()
                finite = np.isfinite(first.concrete())
                close(found[finite], slope.astype(found.dtype)[finite], says(operation, arrays), 1e-5)


def pairing(xs: list[Any], ys: list[Any]) -> float:
    """Real part of the sum of products: the pairing of tangents and cotangents, without conjugation."""
    return sum(
        float(np.sum(x * np.asarray(y, np.result_type(y, np.float64))).real) for x, y in zip(xs, ys, strict=True)
    )


@pytest.mark.parametrize("name", CLASSES)
def test_transpose_passes_the_dot_product_test(name: str) -> None:
    rng = np.random.default_rng(2)
    for operation, arrays, active in smooth_samples(name):
        for chosen in choices(active):
            try:
                check_transpose(operation, arrays, chosen, rng)
            except DifferentiationError:
                continue  # such an error is a rule, too


def check_transpose(
    operation: Primitive, arrays: tuple[np.ndarray, ...], chosen: list[int], rng: np.random.Generator
) -> None:
    """The derivative by the chosen operands, and its transpose, give the same pairing of tangents and cotangents."""
    where = f"{says(operation, arrays)}, by operands {chosen}"
    flags = [i in chosen for i in range(len(arrays))]
    _, program, residuals, _ = linearize_values(apply(operation), [as_array(a) for a in arrays], flags)
    tangents = [t for t in tangents_of(arrays, chosen) if t is not None]
    operands = [r.concrete() for r in residuals]
    dots = interpret(program, operands + tangents)
    cotangents = [
        np.asarray(rng.normal(size=d.shape) + (1j if d.dtype.kind == "c" else 0)).astype(d.dtype) for d in dots
    ]
    arguments = [as_array(o) for o in operands] + [Linear(type_of(t)) for t in tangents]
    found = backward(program, arguments, [as_array(c) for c in cotangents])[len(operands) :]
    for cotangent, tangent in zip(found, tangents, strict=True):
        assert cotangent is None or cotangent.type == type_of(tangent), where
    pulled = [np.zeros_like(t) if c is None else c.concrete() for c, t in zip(found, tangents, strict=True)]
    bound = max((TOLERANCE[np.empty(0, d.dtype).real.dtype.itemsize] for d in dots if is_inexact(d.dtype)), default=0)
    left, right = pairing(pulled, tangents), pairing(cotangents, dots)
    np.testing.assert_allclose(left, right, max(bound, 1e-9), max(bound, 1e-9), err_msg=where)


def variants(x: np.ndarray, count: int) -> np.ndarray:
    """Other operands of the kind of `x`, stacked along a new leading axis."""
    rng = np.random.default_rng(3)
    if is_inexact(x.dtype):
        with np.errstate(all="ignore"):
            return np.stack([(x * np.asarray(s).astype(x.dtype)).astype(x.dtype) for s in (1, 0.9, 1.05)[:count]])
    if x.ndim == 0 and x.dtype.kind in "iu":
        return np.stack([(x + np.asarray(i).astype(x.dtype)).astype(x.dtype) for i in range(count)])
    if x.ndim == 0 and x.dtype.kind == "b":
        return np.stack([x, ~x, x][:count])
    return np.stack([x] + [rng.permutation(x.reshape(-1)).reshape(x.shape) for _ in range(count - 1)])


@pytest.mark.parametrize("name", CLASSES)
def test_vmap_agrees_with_a_loop(name: str) -> None:
    size = 3
    for operation, arrays in samples(name):
        stacks = [variants(a, size) for a in arrays]
        combinations = [c for c in product((True, False), repeat=len(arrays)) if any(c)]
        for batched in combinations if len(combinations) < 16 else [combinations[0], *combinations[3::5]]:
            values = [as_array(s if b else s[1]) for s, b in zip(stacks, batched, strict=True)]
            with np.errstate(all="ignore"):
                outs, flags = batch_values(apply(operation), size, values, batched)
                loop = [
                    evaluate(operation, [s[i] if b else s[1] for s, b in zip(stacks, batched, strict=True)])
                    for i in range(size)
                ]
            for number, (out, flag) in enumerate(zip(outs, flags, strict=True)):
                expected = np.stack([np.asarray(one[number]) for one in loop])
                found = out.concrete()
                close(
                    found if flag else np.stack([found] * size),
                    expected,
                    f"{says(operation, arrays)}, batched {batched}",
                )


@pytest.mark.parametrize("name", CLASSES)
def test_vmap_of_an_empty_batch(name: str) -> None:
    for operation, arrays in samples(name):
        values = [as_array(np.zeros((0, *a.shape), a.dtype)) for a in arrays]
        if not values:
            continue
        outs, flags = batch_values(apply(operation), 0, values, [True] * len(values))
        result = operation.result(*map(type_of, arrays))
        for out, flag, one in zip(outs, flags, result if operation.multiple else (result,), strict=True):
            assert out.type == (one.with_shape((0, *one.shape)) if flag else one), says(operation, arrays)
