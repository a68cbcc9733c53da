"""What has no native code: every pair of an operation and a dtype that compiled programs leave to Python, and no other.

A rule that is wrong by a typo would otherwise make its operation a call of its own reference, which the tests that
compare the two could not see.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from fdl import dtypes
from fdl.compile import fallback, pipeline
from fdl.compile.llvm.build import Build
from fdl.compile.lowerings.elementwise import is_lowerable
from fdl.core.primitive import registry
from fdl.core.program import Equation, Program, Var
from fdl.core.types import TensorType
from fdl.dtypes import short_name
from fdl.errors import CompilerError, DtypeError
from fdl.ops.elementwise import Unary
from tests.compile.test_pipeline_samples import samples

#: Elementwise operations by the dtypes of their last operands (of a Convert: or results) that they have no code for.
ELEMENTWISE = {
    "c64 c128": """
        Abs Acos Acosh Add Asin Asinh Atan Atanh Convert Cos Cosh Div Eq Exp Exp2 Expm1 Ge Gt IntegerPow Le Log Log1p
        LogGamma Logistic LogisticDensity Lt Max Min Mul Ne Neg Pow Psi Rsqrt Sign Sin Sinh Sqrt StopGradient Sub Tan
        Tanh Wofz
    """,
    "c128": "Imag Real Select",
    "f64": "Complex",
    "c64": "Bitcast",
    "bf16 f16 f32 f64": """
        BesselGap BesselJ Beta BetaDensity Betainc BetaincInv Ci Dawsn DawsnDerivative DigammaStep
        Erfcx ErfcxDerivative Exp1 Expi Expn FresnelCos FresnelSin Gamma GammaDensity Hyp1f1
        Hyp1f1Derivative Hyp2f1 Hyp2f1Derivative I0
        I0e I1 I1e Igamma IgammaGradA IgammaInv Igammac IgammacInv OwensT Poch Polygamma Si Spence Zeta
        ZetaDerivative
    """,
    "key": "Eq Ne StopGradient",
}

#: Other operations by the dtypes of the first operands (or the result, without any) of samples that Python computes.
OTHERS = {
    "bool empty": "All_ Any_ ReduceAnd ReduceOr ReduceXor",
    "f64 empty": "Lu Prod ReduceMax ReduceMin Sum",
    "c64 c128": """
        ConvGeneral Cumprod Cumsum DotGeneral Iota Prod ReduceMax ReduceMin ReduceWindow Sort
    """,
    "c128": "Conj Sum TriangularSolve",
    "f64": """
        ConvGeneral Cumlogsumexp GammaSensitivity Ndtri Nextafter
    """,
    "bf16 f16 f32": "Cumlogsumexp Nextafter",
    "f32": "Reinterpret",
    "i8 i16 u8 u16": "ConvGeneral DotGeneral",
    "i32 i64 u32 u64": "ConvGeneral",
    "bool": "DotGeneral ReduceWindow",
    "u8 u64": "Reinterpret",
    "i32": "Callback",
}


def listed(table: dict[str, str]) -> set[tuple[str, str]]:
    """Pairs of a name and a dtype."""
    pairs = set()
    for kinds, names in table.items():
        each = [kinds] if kinds.endswith("empty") else kinds.split()
        pairs |= {(name, kind) for name in names.split() for kind in each}
    return pairs


def differences(found: set[tuple[str, str]], table: dict[str, str]) -> str:
    """What to do about a list that is not right."""
    new, gone = found - listed(table), listed(table) - found
    text = f"these lost their native code, or are new without any: {sorted(new)}; " if new else ""
    return text + (f"these are gone or have native code now, take them from the list: {sorted(gone)}" if gone else "")


def kind(dtype: Any) -> str:
    return "key" if dtype == dtypes.key else short_name(dtype)


def elementwise() -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    """(name, operation, dtypes of operands): the samples' operations on all dtypes that they take."""
    for name in sorted(registry):
        seen = set()
        for operation, arrays in samples(name):
            if operation.lowering_kind != "elementwise" or operation.effect or operation.multiple:
                continue
            own = tuple(a.dtype for a in arrays)
            for dtype in (*dtypes.ALL, dtypes.key):
                # Operands of the first one's dtype change; others, like the condition of a select, stay; or all change.
                for trial in (tuple(dtype if d == own[0] else d for d in own), (dtype,) * len(own)):
                    if (operation, trial) in seen or not takes(operation, trial):
                        continue
                    seen.add((operation, trial))
                    yield name, operation, trial


def takes(operation: Any, types: tuple[Any, ...]) -> bool:
    try:
        operation.result(*(TensorType((3,), d) for d in types))
    except DtypeError:
        return False
    return True


def test_elementwise_operations_without_native_code() -> None:
    found, count = set(), 0
    for name, operation, types in elementwise():
        count += 1
        if not is_lowerable(operation, types):
            result = operation.result(*(TensorType((), d) for d in types)).dtype
            converts = name == "Convert" and types[0].kind != "c"
            found.add((name, kind(result if converts else types[-1])))
    assert count > 600
    assert not differences(found, ELEMENTWISE)


def test_other_operations_without_native_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "compile_object", lambda *_: b"")
    found, count = set(), 0
    for name in sorted(registry):
        for operation, arrays in samples(name):
            if operation.lowering_kind == "elementwise" or operation.effect:
                continue
            inputs = tuple(Var(TensorType(a.shape, a.dtype)) for a in arrays)
            result = operation.result(*(v.type for v in inputs))
            outputs = tuple(Var(t) for t in (result if operation.multiple else (result,)))
            program = Program(inputs, (Equation(operation, inputs, outputs),), outputs)
            count += 1
            for host in pipeline.build_archive(program, ()).hosts:
                type = (*host.operands, *host.results)[0]
                found.add((name, kind(type.dtype) + " empty" * (type.size == 0)))
    assert count > 250
    assert not differences(found, OTHERS)


@pytest.mark.parametrize("error", [AttributeError, TypeError, ValueError, NameError, KeyError])
def test_mistake_in_a_rule_is_no_absence_of_code(error: type[Exception]) -> None:
    class Mistaken(Unary, abstract=True):
        def lower(self, build: Build, x: Any) -> Any:
            raise error("a typo")

    operation = object.__new__(Mistaken)
    with pytest.raises(error, match="a typo"):
        is_lowerable(operation, (dtypes.float32,))


@pytest.mark.parametrize("error", [NotImplementedError, DtypeError])
def test_rule_that_says_that_there_is_no_code(error: type[Exception]) -> None:
    class Without(Unary, abstract=True):
        def lower(self, build: Build, x: Any) -> Any:
            raise error("none")

    assert not is_lowerable(object.__new__(Without), (dtypes.float32,))


def test_mistake_in_a_rule_stops_the_compiler_in_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    import fdl
    from fdl.ops.sigmoid import Tanh

    is_lowerable.cache_clear()
    monkeypatch.setattr(Tanh, "lower", lambda self, build, x: build.tahn(x))
    with pytest.raises(CompilerError, match="in its pass 'loops'.*tahn"):
        fdl.jit(lambda x: fdl.numpy.tanh(x) + 0.625)(1.0)
    assert "loops" in fallback.NATIVE
    is_lowerable.cache_clear()
