"""A number that leaves fdl while it is being differentiated would take its gradient with it: that raises."""

import array
import copy
import decimal
import fractions
import json
import math
import operator
import pickle
import re
import statistics
import struct
from typing import Any

import numba
import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.errors import ConcretizationError

ELEMENT = np.zeros(2)


def _write(v: Any) -> None:
    ELEMENT[0] = v


#: Ways for a number to leave, all of which took the value and left the derivative.
LEAVE = {
    "float": float,
    "complex": complex,
    "item": lambda v: v.item(),
    "tolist": lambda v: v.tolist(),
    "math.exp": math.exp,
    "math.hypot": lambda v: math.hypot(v, 1.0),
    "math.fsum": lambda v: math.fsum([v]),
    "math.floor": math.floor,
    "sum of floats": lambda v: sum(float(e) ** 2 for e in fnp.stack([v, v])),
    "statistics": lambda v: statistics.fmean([v, v]),
    "fractions": fractions.Fraction,
    "decimal": decimal.Decimal,
    "np.asarray": np.asarray,
    "np.array of a list": lambda v: np.array([v, v]),
    "np.float64": np.float64,
    "np.exp": np.exp,
    "np.add": lambda v: np.add(1.0, v),
    "np.full": lambda v: np.full(3, v),
    "np.dot": lambda v: np.dot(np.ones(2), fnp.stack([v, v])),
    "a NumPy method": lambda v: np.ones(3).clip(v),
    "an element": _write,
    "a slice": lambda v: ELEMENT.__setitem__(slice(None), v),
    "in place": lambda v: np.add(ELEMENT, v, out=ELEMENT),
    "fill": lambda v: ELEMENT.fill(v),
    "np.random": lambda v: np.random.default_rng(0).normal(v),
    "DLPack": np.from_dlpack,
    "memoryview": memoryview,
    "bytes": bytes,
    "array.array": lambda v: array.array("d", [v]),
    "struct": lambda v: struct.pack("d", v),
    "pickle": pickle.dumps,
    "json": json.dumps,
    "f-string": lambda v: f"{v:.2f}",
    "f-string without a type": lambda v: f"{v:.3}",
    "percent": lambda v: "%f" % v,  # noqa: UP031
    "fdl.numpy.save": lambda v: fnp.save("unwritten", v),
    "device_get": fdl.device_get,
    "arange": lambda v: fnp.arange(v, v + 3),
    "numba": numba.njit(lambda x: x * 2),
    "numba.vectorize": numba.vectorize(["float64(float64)"])(lambda x: x * 2),
}

#: Ways to differentiate `f` at a number; the derivative of the rule too.
TRANSFORMS = {
    "grad": lambda f: fdl.grad(f)(1.5),
    "value_and_grad": lambda f: fdl.value_and_grad(f)(1.5),
    "jvp": lambda f: fdl.jvp(f, (1.5,), (1.0,)),
    "vjp": lambda f: fdl.vjp(f, 1.5),
    "linearize": lambda f: fdl.linearize(f, 1.5),
    "hessian": lambda f: fdl.hessian(f)(1.5),
    "jacrev": lambda f: fdl.jacrev(f)(1.5),
    "vmap of grad": lambda f: fdl.vmap(fdl.grad(f))(np.ones(2)),
    "grad of vmap": lambda f: fdl.grad(lambda x: fdl.vmap(f)(x).sum())(np.ones(2)),
    "jit of grad": lambda f: fdl.jit(fdl.grad(f))(1.5),
    "grad of jit": lambda f: fdl.grad(fdl.jit(f))(1.5),
    "grad of checkpoint": lambda f: fdl.grad(fdl.checkpoint(f))(1.5),
    "grad without jit": lambda f: _without_jit(fdl.grad(fdl.jit(f))),
    "a rule's derivative": lambda f: fdl.grad(_with_rule(f))(1.5),
}


def _without_jit(f: Any) -> Any:
    with fdl.disable_jit():
        return f(1.5)


def _with_rule(f: Any) -> Any:
    square = fdl.custom_jvp(lambda x: x * x)
    square.defjvp(lambda primals, tangents: (primals[0] * primals[0], f(tangents[0])))
    return square


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("way", LEAVE)
def test_a_number_that_leaves_raises(way: str, transform: str) -> None:
    def f(v: Any) -> Any:
        LEAVE[way](v)
        return v * 1.0

    # Those that turn our error into one of their own say so with a TypeError, a ValueError or struct.error.
    with pytest.raises((TypeError, ValueError, struct.error, numba.TypingError)):
        TRANSFORMS[transform](f)


@pytest.mark.parametrize("way", ["float", "complex", "item", "tolist", "math.exp", "DLPack"])
def test_the_error_says_where_and_what_to_do(way: str) -> None:
    def loss(weight: Any) -> Any:
        doubled = weight * 2.0
        LEAVE[way](doubled)
        return doubled

    with pytest.raises(ConcretizationError) as error:
        fdl.grad(loss)(1.5)
    text = str(error.value)
    assert re.search(r"was needed at test_severed\.py:\d+ \(", text)
    assert "made by" in text and "(loss)" in text and "being differentiated" in text
    assert all(cure in text for cure in ("fdl.numpy", "stop_gradient", "has_aux", "fdl.debug.print"))


def test_the_first_examples() -> None:
    with pytest.raises(ConcretizationError, match=r"float\(\) was needed"):
        fdl.grad(lambda x: sum(float(v) ** 2 for v in x))(np.array([1.0, 2.0]))
    with pytest.raises(ConcretizationError, match=r"argument w of"):
        fdl.value_and_grad(lambda w: math.log1p(math.exp(w)))(0.3)


#: What has no derivative to lose: control flow, integers, text for people, and what stop_gradient lets go.
STAY = {
    "if": lambda v: 1 if v > 0 else 2,
    "if on a number": lambda v: 1 if v else 2,
    "bool": bool,
    "int": int,
    "round": round,
    "max": lambda v: max(v, 1.0),
    "sorted": lambda v: sorted([v, 1.0]),
    "in": lambda v: v in [1.0, 2.0],
    "an index": lambda v: [1, 2, 3][(v > 0).astype(int)],
    "operator.index": lambda v: operator.index(v.astype(int)),
    "float of a comparison": lambda v: float(v > 0),
    "item of an integer": lambda v: v.astype(int).item(),
    "np.asarray of an integer": lambda v: np.asarray(fnp.floor(v).astype(int)),
    "flatnonzero": fnp.flatnonzero,
    "cond": lambda v: fdl.lax.cond(v, lambda: 1.0, lambda: 2.0),
    "a mask": lambda v: fnp.stack([v, v])[np.array([True, False])],
    "stop_gradient": lambda v: float(fdl.lax.stop_gradient(v)),
    "NumPy after stop_gradient": lambda v: np.exp(fdl.lax.stop_gradient(v * 2)),
    "repr": repr,
    "str": str,
    "width": lambda v: f"{v:>40}",
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "debug": lambda v: fdl.debug.callback(lambda _: None, v),
}


@pytest.mark.parametrize("way", STAY)
def test_what_may_stay(way: str) -> None:
    def f(v: Any) -> Any:
        STAY[way](v)
        return v * v

    assert fdl.grad(f)(1.5) == 3.0
    assert fdl.jvp(f, (1.5,), (1.0,))[1] == 3.0
    assert fdl.linearize(f, 1.5)[1](1.0) == 3.0
    assert fdl.hessian(f)(1.5) == 2.0


def test_a_copied_tracer_keeps_its_derivative() -> None:
    assert fdl.grad(lambda x: copy.deepcopy(x) * copy.copy({"x": x})["x"])(3.0) == 6.0


def test_a_traced_value_shows_its_number() -> None:
    shown = []
    fdl.grad(lambda x: shown.append(f"{x}") or x * x)(1.5)
    assert "f32[]" in shown[0] and "1.5" in shown[0]
