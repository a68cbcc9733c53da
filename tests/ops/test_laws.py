"""Laws that every primitive obeys, checked on the samples that each class offers."""

import importlib
import pickle
import pkgutil
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
import scipy.stats

import fdl
import fdl.control
import fdl.ext
import fdl.ops
import fdl.sparse
from fdl.array import as_array
from fdl.control.higher import Higher
from fdl.core.interpret import evaluate, interpret
from fdl.core.primitive import Linear, Primitive, registry
from fdl.core.trace import trace_program
from fdl.core.types import TensorType
from fdl.core.verify import verify
from fdl.dtypes import is_inexact
from fdl.errors import DifferentiationError
from fdl.ops.quantile import NormalQuantile
from fdl.transforms.batch import batch_values
from fdl.transforms.forward import jvp_values
from fdl.transforms.linearize import linearize_values
from fdl.transforms.transpose import backward

for package in (fdl.ops, fdl.control, fdl.sparse, fdl.ext):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)

WIDE = (np.float64, np.complex128)
TOLERANCE = {2: 2e-2, 4: 2e-5, 8: 1e-10, 16: 1e-10}

# Their derivative is zero by definition, not by calculus.
CONSTANT = {"StopGradient", "Nextafter"}

# They hold functions of the user, which equal only themselves.
HOLD_FUNCTIONS = {"CustomJvp", "CustomVjp", "CustomVmap", "NumbaCall", "NumbaScalar"}


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


#: Classes of which no sample has operands to differentiate by: they take integers, booleans or keys; NormalQuantile and
#: Replay take float32, by which finite differences tell little (the former is held to its formula below).
NO_DERIVATIVE = set(
    """
    All_ And Any_ Callback Check Clz DebugCheck Distinct Effect Failing IoCallback Iota KeyUnwrap KeyWrap
    NormalQuantile Not Or PopulationCount Progress RandomBits RandomFoldIn RandomSplit ReduceAnd ReduceOr ReduceXor
    Reinterpret Replay ShiftLeft ShiftRightArithmetic ShiftRightLogical UnitInterval Xor
    """.split()
)

#: Classes whose results are no floating-point numbers: their derivatives are zero by being absent.
NO_NUMBERS = set("ArgMax ArgMin Bitcast Eq Ge Gt IsFinite Le Lt Ne".split())

#: Classes whose derivative is zero, and absent, wherever there is one.
PIECEWISE_CONSTANT = set("Ceil Floor Round".split())

#: Classes that refuse to be differentiated forward (of a CustomVjp the reverse mode is held by tests/api), or backward.
NO_FORWARD = set(
    "CustomVjp GammaSensitivity HouseholderQr Hyp1f1Derivative Hyp2f1Derivative NumbaCall Psi ZetaDerivative".split()
)
NO_BACKWARD = NO_FORWARD | {"While", "_Keep"}

#: Classes without operands, which vmap could batch.
NO_OPERANDS = {"Iota", "Effect", "Check", "DebugCheck", "Failing", "Progress"}

#: What a class says that has no derivative (by some operand), by the law that meets it.
NO_JVP = {
    "Betainc": "no derivative by a and b",
    "BetaincInv": "no derivative by a and b",
    "CustomVjp": "forward-mode differentiation",
    "Expn": "no derivative by its order",
    "GammaSensitivity": "no second derivative",
    "HouseholderQr": "have no derivative rule",
    "Hyp1f1Derivative": "no second derivative",
    "Hyp2f1Derivative": "no second derivative",
    "IgammaGradA": "no second derivative by a",
    "NumbaCall": "cannot see inside",
    "Polygamma": "no derivative by its order",
    "Psi": "no derivative",
    "Scatter": "needs unique_indices=True",
    "ZetaDerivative": "no second derivative",
}
NO_SECOND = NO_JVP | {
    "Eig": "eigenvectors have no derivative rule",
    "Hyp1f1": "no second derivative",
    "Hyp2f1": "no second derivative",
    "Igamma": "no second derivative by a",
    "IgammaInv": "no second derivative by a",
    "Igammac": "no second derivative by a",
    "IgammacInv": "no second derivative by a",
    "LogGamma": "no derivative",
    "Zeta": "no second derivative by x",
}
NO_TRANSPOSE = NO_JVP | dict.fromkeys(("While", "_Keep"), "reverse-mode differentiation of while_loop")


class Tally:
    """What a law has checked for a class: it must not hold for want of anything to check.

    Args:
        name: of the class.
        refusals: what the classes say that may refuse to be differentiated.
        nothing: classes for which the law has nothing to check.
    """

    def __init__(self, name: str, refusals: dict[str, str], nothing: set[str]) -> None:
        self.name, self.refusals, self.nothing = name, refusals, nothing
        self.checked = self.refused = 0

    def refuse(self, error: DifferentiationError) -> None:
        """An error that is a rule, too, if it is listed."""
        assert self.name in self.refusals and self.refusals[self.name] in str(error), error
        self.refused += 1

    def settle(self) -> None:
        """After all samples: the lists name this class if, and only if, it belongs there."""
        assert (self.refused > 0) == (self.name in self.refusals), "the class is to be listed, or not any more"
        assert (self.checked == 0) == (self.name in self.nothing), f"{self.checked} checks of {self.name}"


def apply(operation: Primitive) -> Any:
    """The operation as a function to a sequence."""
    return lambda *xs: list(operation(*xs)) if operation.multiple else [operation(*xs)]


def says(operation: Primitive, arrays: tuple[np.ndarray, ...]) -> str:
    return f"{operation} of {', '.join(str(type_of(a)) for a in arrays)}"


@pytest.mark.parametrize("name", CLASSES)
def test_references_for_types_have_the_bits_of_references(name: str) -> None:
    for operation, arrays in samples(name):
        prepared = operation.reference_for(*map(type_of, arrays))
        if prepared == operation.reference:
            continue
        for given in (arrays, [a.copy("F") for a in arrays], [np.flip(np.flip(a).copy()) for a in arrays]):
            with np.errstate(all="ignore"):
                found, expected = np.asarray(prepared(*given)), np.asarray(operation.reference(*given))
            assert (found.shape, found.dtype, found.tobytes()) == (expected.shape, expected.dtype, expected.tobytes())


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
    tally = Tally(name, NO_JVP, NO_DERIVATIVE | NO_NUMBERS | NO_FORWARD)
    for operation, arrays, active in smooth_samples(name):
        for chosen in choices(active):
            tangents = tangents_of(arrays, chosen)
            try:
                outs, dots = jvp_values(
                    apply(operation), arrays, [None if t is None else as_array(t) for t in tangents]
                )
            except DifferentiationError as error:
                tally.refuse(error)
                continue
            where = f"{says(operation, arrays)}, by operands {chosen}"
            for out, reference in zip(outs, evaluate(operation, arrays), strict=True):
                close(out.concrete(), reference, where)
            for out, dot, expected in zip(outs, dots, finite_differences(operation, arrays, tangents), strict=True):
                if out.type.dtype in WIDE:
                    found = np.zeros(out.type.shape, out.type.dtype) if dot is None else dot.concrete()
                    finite = np.isfinite(out.concrete())
                    close(found[finite], expected.astype(found.dtype)[finite], where, 1e-6)
                    tally.checked += np.count_nonzero(finite)
    tally.settle()


@pytest.mark.parametrize("name", [n for n in CLASSES if n not in CONSTANT])
def test_derivatives_have_derivatives(name: str) -> None:
    tally = Tally(name, NO_SECOND, NO_DERIVATIVE | NO_NUMBERS | PIECEWISE_CONSTANT | NO_FORWARD | {"Eig", "LogGamma"})
    for operation, arrays, active in smooth_samples(name):
        for chosen in choices(active):
            try:
                tally.checked += check_second_derivative(operation, arrays, chosen)
                break  # by all operands together, which is as good as by each
            except DifferentiationError as error:
                tally.refuse(error)
    tally.settle()


def check_second_derivative(operation: Primitive, arrays: tuple[np.ndarray, ...], chosen: list[int]) -> int:
    """The derivative of the derivative agrees with finite differences of it; returns how many numbers did."""
    tangents = tangents_of(arrays, chosen)
    lifted = [None if t is None else as_array(t) for t in tangents]

    def derivative(*xs: Any) -> list[Any]:
        return [d for d in jvp_values(apply(operation), xs, lifted)[1] if d is not None]

    def at(step: float) -> list[Any]:
        moved = [a if t is None else a + step * t for a, t in zip(arrays, tangents, strict=True)]
        return [d.concrete() for d in derivative(*moved)]

    firsts, seconds = jvp_values(derivative, arrays, lifted)
    h, count = 1e-5, 0
    with np.errstate(all="ignore"):
        expected = [_stencil(values, h) for values in zip(at(h), at(-h), at(2 * h), at(-2 * h), strict=True)]
    for first, second, slope in zip(firsts, seconds, expected, strict=True):
        if first.type.dtype in WIDE:
            found = np.zeros(first.type.shape, first.type.dtype) if second is None else second.concrete()
            finite = np.isfinite(first.concrete())
            close(found[finite], slope.astype(found.dtype)[finite], says(operation, arrays), 1e-5)
            count += int(np.count_nonzero(finite))
    return count


def test_derivative_of_normal_quantile() -> None:
    """One over the density of the normal distribution at the quantile, times the half by which u is scaled."""
    u = np.linspace(-0.999, 0.999, 101, dtype=np.float32)
    _, (dot,) = jvp_values(apply(NormalQuantile()), [u], [as_array(np.ones_like(u))])
    density = scipy.stats.norm.pdf(scipy.stats.norm.ppf((u.astype(np.float64) + 1) / 2))
    np.testing.assert_allclose(dot.concrete(), 0.5 / density, 2e-4)


def is_nonlinear(operation: Primitive, arrays: tuple[np.ndarray, ...], chosen: list[int]) -> bool:
    """Whether an example shows that it is not linear (but for a constant) in the chosen operands together.

    Linear is over real numbers. Results that are not finite show nothing, nor do those of narrow dtypes, which round.
    """
    rng = np.random.default_rng(4)

    def combined(*points: tuple[float, list[Any]]) -> list[np.ndarray]:
        moved = [a if i not in chosen else sum(f * p[i] for f, p in points) for i, a in enumerate(arrays)]
        with np.errstate(all="ignore"):
            found = evaluate(operation, [np.asarray(m) for m in moved])
        return [np.asarray(f, float) if f.dtype.kind in "iub" else np.asarray(f) for f in map(np.asarray, found)]

    def scaled() -> list[Any]:
        return [np.asarray(a * rng.uniform(0.5, 2, a.shape)) if i in chosen else a for i, a in enumerate(arrays)]

    def drawn() -> list[Any]:
        return [t if i in chosen else arrays[i] for i, t in enumerate(tangents_of(arrays, chosen))]

    thrice = [3 * a if i in chosen else a for i, a in enumerate(arrays)]
    # Linear but for a constant is what keeps sums whose weights add up to one; means stay where a logarithm is defined.
    for p, x, y in ((0.5, list(arrays), thrice), (0.5, scaled(), scaled()), (2, scaled(), drawn())):
        for whole, first, second in zip(combined((p, x), (1 - p, y)), combined((1, x)), combined((1, y)), strict=True):
            if whole.dtype not in WIDE:
                continue
            with np.errstate(all="ignore"):
                expected = p * first + (1 - p) * second
            finite = np.isfinite(whole) & np.isfinite(expected)
            size = np.abs(np.stack([first, second]))[:, finite].max(initial=1.0)
            if not np.allclose(whole[finite], expected[finite], 1e-9, 1e-9 * size):
                return True
    return False


#: Not declared to be linear, and yet not seen to be anything else: the derivative is zero by definition, operand and
#: result differ by the last bit, all of the samples are finite, the function of the sample is linear.
SEEMS_LINEAR = {"StopGradient", "Nextafter", "IsFinite", "NumbaCall"}


@pytest.mark.parametrize("name", [n for n in CLASSES if not issubclass(registry[n], Higher)])
def test_linear_in_the_operands_that_it_says(name: str) -> None:
    """And, by some sample, in no others and in no more of them together."""
    shown: dict[tuple[Any, ...], bool] = {}
    for operation, arrays in samples(name):
        wide = [i for i, a in enumerate(arrays) if a.dtype in WIDE and a.size and np.isfinite(a).all()]
        groups = operation.linear_groups([type_of(a) for a in arrays])
        if not wide or any(is_inexact(a.dtype) and i not in wide for i, a in enumerate(arrays)):
            continue
        for group in groups:
            assert all(is_inexact(arrays[i].dtype) for i in group), f"{says(operation, arrays)}: {group}"
            assert not is_nonlinear(operation, arrays, [i for i in group if i in wide]), says(operation, arrays)
        kind = getattr(operation, "kind", getattr(operation, "dtype", None)) if name in VARIED else None
        for chosen in [[i] for i in wide] + [[i, j] for i in wide for j in wide if i < j]:
            if not any(set(chosen) <= set(group) for group in groups):
                key = (kind, *chosen)
                shown[key] = shown.get(key, False) or is_nonlinear(operation, arrays, chosen)
    missing = [key for key, found in shown.items() if not found]
    assert bool(missing) == (name in SEEMS_LINEAR), f"{name} is linear in {missing}, which it does not say"


#: Classes that are linear or not by a parameter.
VARIED = {"Convert", "ReduceWindow", "Scatter"}


def pairing(xs: list[Any], ys: list[Any]) -> float:
    """Real part of the sum of products: the pairing of tangents and cotangents, without conjugation."""
    return sum(
        float(np.sum(x * np.asarray(y, np.result_type(y, np.float64))).real) for x, y in zip(xs, ys, strict=True)
    )


@pytest.mark.parametrize("name", CLASSES)
def test_transpose_passes_the_dot_product_test(name: str) -> None:
    nothing = NO_DERIVATIVE | NO_NUMBERS | PIECEWISE_CONSTANT | CONSTANT | NO_BACKWARD
    rng, tally = np.random.default_rng(2), Tally(name, NO_TRANSPOSE, nothing)
    for operation, arrays, active in smooth_samples(name):
        for chosen in choices(active):
            try:
                tally.checked += check_transpose(operation, arrays, chosen, rng)
            except DifferentiationError as error:
                tally.refuse(error)
    tally.settle()


def check_transpose(
    operation: Primitive, arrays: tuple[np.ndarray, ...], chosen: list[int], rng: np.random.Generator
) -> int:
    """The derivative by the chosen operands, and its transpose, give the same pairing of tangents and cotangents.

    Returns how many numbers the cotangents are that were found.
    """
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
    return sum(int(np.size(c)) for c in cotangents if is_inexact(c.dtype))


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
    size, tally = 3, Tally(name, {}, NO_OPERANDS)
    for operation, arrays in samples(name):
        stacks = [variants(a, size) for a in arrays]
        combinations = [c for c in product((True, False), repeat=len(arrays)) if any(c)]
        for batched in combinations if len(combinations) < 16 else [combinations[0], *combinations[3::5]]:
            values = [as_array(s if b else s[1, ...]) for s, b in zip(stacks, batched, strict=True)]
            with np.errstate(all="ignore"):
                outs, flags = batch_values(apply(operation), size, values, batched)
                loop = [
                    evaluate(operation, [s[i, ...] if b else s[1, ...] for s, b in zip(stacks, batched, strict=True)])
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
                tally.checked += expected.size
    tally.settle()


@pytest.mark.parametrize("name", CLASSES)
def test_vmap_of_an_empty_batch(name: str) -> None:
    tally = Tally(name, {}, NO_OPERANDS)
    for operation, arrays in samples(name):
        values = [as_array(np.zeros((0, *a.shape), a.dtype)) for a in arrays]
        if not values:
            continue
        outs, flags = batch_values(apply(operation), 0, values, [True] * len(values))
        result = operation.result(*map(type_of, arrays))
        for out, flag, one in zip(outs, flags, result if operation.multiple else (result,), strict=True):
            assert out.type == (one.with_shape((0, *one.shape)) if flag else one), says(operation, arrays)
            tally.checked += 1
    tally.settle()
