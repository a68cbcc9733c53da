"""Gradients without jit: derivatives that are prepared for each operation have the bits of those that are not."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import nn
from fdl.api import differentiate
from fdl.transforms import prepared
from fdl.transforms.forward import JVPInterpreter

FUNCTIONS = {
    "product": lambda x: fnp.tanh(x @ x.T).sum(),
    "softmax": lambda x: -nn.log_softmax(x)[0, 1],
    "repeated use": lambda x: fnp.sum(x * x * fnp.exp(x) + x),
    "decision on a value": lambda x: fnp.sum(x**3) if (x[0, 0] > 0) else fnp.sum(fnp.sin(x)),
    "jitted part": lambda x: fdl.jit(lambda y: y * fnp.cos(y))(fnp.sinh(x)).sum(),
    "own rule": lambda x: fnp.sum(nn.relu(fnp.sqrt(x * x + 1) - 1.5)),
    "loop": lambda x: fdl.lax.fori_loop(0, 3, lambda i, y: y * 0.5 + fnp.sin(y), x).sum(),
    "sorted": lambda x: (fnp.sort(x, axis=0) * fnp.arange(4.0)).sum(),
    "sliced": lambda x: fnp.concatenate([x[1:, ::2], x[:-1, ::-2]]).max(axis=1).sum() + x[fnp.array([0, 0, 1])].mean(),
    "no derivative": lambda x: fnp.sum(fnp.round(x)) + x[0, 0],
    "linear algebra": lambda x: fnp.linalg.det(x.T @ x + fnp.eye(4)),
    "gradient inside": lambda x: fnp.sum(fdl.grad(lambda y: fnp.sum(fnp.tanh(y) ** 2))(x) ** 2),
    "one value twice": lambda x: fnp.sum(x + x) * fnp.sum(x),
    "nothing read": lambda x: fnp.sum(fnp.ones(3)),
    "batched": lambda x: fdl.vmap(lambda row: fnp.dot(row, fnp.exp(row)))(x).sum(),
    "complex": lambda x: fnp.abs(fnp.fft.fft(x + 1j * x[::-1])).sum(),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("shape", [(3, 4), (1, 4), (40, 4), (300, 4)], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_bits_of_unprepared_derivatives(name, shape, dtype, rng, monkeypatch):
    if dtype == "float16" and name in ("complex", "linear algebra"):
        pytest.skip("not defined for 16 bits")
    if shape[0] == 1 and name == "sliced":
        pytest.skip("reads row 1")
    x = fnp.asarray(rng.normal(size=shape) * 0.5).astype(dtype)
    found = [fdl.value_and_grad(FUNCTIONS[name])(x) for _ in range(4)]
    monkeypatch.setattr(differentiate, "PreparedJVP", JVPInterpreter)
    expected = fdl.value_and_grad(FUNCTIONS[name])(x)
    for parts in found:
        for part, other in zip(parts, expected, strict=True):
            assert (part.shape, part.dtype) == (other.shape, other.dtype)
            assert np.asarray(part).tobytes() == np.asarray(other).tobytes()


def test_several_arguments_and_a_result_that_is_one(rng):
    x, y = (fnp.asarray(rng.normal(size=(3, 2))) for _ in range(2))

    def function(parts, z, flag):
        return fnp.sum(parts["x"] * fnp.sin(z)) if flag else parts["x"][0, 0], (parts, "aux")

    for _ in range(4):
        (by_parts, by_z), aux = fdl.grad(function, argnums=(0, 1), has_aux=True)({"x": x, "unused": y}, y, True)
        np.testing.assert_allclose(by_parts["x"], np.sin(y), 1e-6)
        np.testing.assert_allclose(by_z, np.asarray(x) * np.cos(y), 1e-6)
        assert not np.any(by_parts["unused"]) and by_parts["unused"].shape == y.shape and aux[1] == "aux"
        (by_parts, by_z), _ = fdl.grad(function, argnums=(0, 1), has_aux=True)({"x": x}, y, False)
        assert np.sum(by_parts["x"]) == 1 and not np.any(by_z)
        assert fdl.grad(lambda x: x)(2.0) == 1


def test_a_rule_is_prepared_once(monkeypatch):
    made = []
    original = prepared.prepared
    monkeypatch.setattr(prepared, "prepared", lambda *args: made.append(args[0]) or original(*args))
    monkeypatch.setattr(prepared, "_rules", {})
    for _ in range(3):
        fdl.grad(lambda x: fnp.sum(fnp.tanh(fnp.tanh(x))))(fnp.ones(5))
    assert sorted(made) == ["sum", "tanh"]


def test_operands_are_left_as_they_were():
    x = fnp.ones((2, 3))
    first = fdl.grad(lambda x: fnp.reshape(x, (6,))[0] * 1.0)(x)
    moved = fdl.jit(lambda x: x + 1, donate_argnums=0)(first)
    assert moved.sum() == 7 and x.sum() == 6
    assert np.array_equal(fdl.grad(lambda x: fnp.reshape(x, (6,))[0] * 1.0)(x), [[1, 0, 0], [0, 0, 0]])


def test_sums_of_many_cotangents():
    x = fnp.arange(3.0)
    gradient = fdl.grad(lambda x: sum(fnp.sum(x * float(n)) for n in range(5)))(x)
    assert gradient.tolist() == [10.0, 10.0, 10.0]
