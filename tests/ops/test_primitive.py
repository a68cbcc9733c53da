"""A class without all of its rules is refused, and says which are missing."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fdl.array import as_array
from fdl.core.primitive import Primitive, registry
from fdl.core.types import TensorType
from fdl.errors import DtypeError, PrimitiveError, ShapeError
from fdl.ops.arithmetic import add, mul
from fdl.ops.elementwise import Unary
from fdl.ops.shape import Sum
from fdl.ops.slicing import Pad


def rules(*names: str) -> dict[str, Any]:
    return {name: lambda *args: None for name in names}


def test_missing_rules_are_named_in_order() -> None:
    with pytest.raises(PrimitiveError, match=r"primitive Half lacks the rules jvp, batch, samples"):
        type("Half", (Primitive,), rules("result", "reference"))
    with pytest.raises(PrimitiveError, match=r"primitive Almost lacks the rule samples"):
        type("Almost", (Primitive,), rules("result", "reference", "jvp", "batch"))
    assert "Half" not in registry and "Almost" not in registry


def test_linear_classes_need_a_transpose() -> None:
    with pytest.raises(PrimitiveError, match="lacks the rule transpose"):
        type("Line", (Primitive,), rules("result", "reference", "jvp", "batch", "samples") | {"linear": True})


def test_elementwise_classes_need_code() -> None:
    with pytest.raises(PrimitiveError, match="primitive Wave lacks the rules reference, lower"):
        type("Wave", (Unary,), {})


def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(PrimitiveError, match="two primitives are called Sum"):
        type("Sum", (Primitive,), rules("result", "reference", "jvp", "batch", "samples"))
    assert registry["Sum"] is Sum


def test_a_complete_class_works_at_once() -> None:
    class TwiceForTest(Unary):
        """x + x."""

        def reference(self, x: np.ndarray) -> np.ndarray:
            return x + x

        def derivative(self, index: int, out: Any, x: Any) -> Any:
            return as_array(np.full(x.type.shape, 2.0))

        def lower(self, build: Any, x: Any) -> Any:
            return build.add(x, x)

        def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
            yield self, rng.normal(size=3)

    try:
        np.testing.assert_array_equal(TwiceForTest()(np.array([1.5, -2.0])), [3.0, -4.0])
        assert repr(TwiceForTest()) == "twice_for_test"
    finally:
        del registry["TwiceForTest"]


def test_operations_are_values_that_print() -> None:
    assert Sum((0, 2)) == Sum((0, 2)) != Sum((0,))
    assert repr(Pad((1,), (0,), (2,))) == "pad[low=(1) high=(0) interior=(2)]"
    with pytest.raises(AttributeError):
        Sum((0,)).axes = (1,)  # type: ignore[misc]


def test_elementwise_operands_must_agree() -> None:
    x = np.ones((2, 3))
    with pytest.raises(ShapeError, match=r"add needs operands of one shape, got f64\[2,3\], f64\[3\]"):
        add(x, np.ones(3))
    with pytest.raises(DtypeError, match=r"mul needs operands of one dtype, got f64\[2,3\], f32\[2,3\]"):
        mul(x, x.astype(np.float32))
    assert add.result(*[TensorType((2,), np.dtype("int8"))] * 2) == TensorType((2,), np.dtype("int8"))
