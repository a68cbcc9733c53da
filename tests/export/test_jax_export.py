"""Functions exported in JAX's way."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.as_jax.export import deserialize, export
from fdl.errors import ExportError


def test_exported_functions_come_back_from_bytes() -> None:
    w = fnp.arange(6.0).reshape(3, 2)

    @fdl.jit
    def f(x, scale):
        return {"out": fnp.tanh(x["a"] @ w) * scale}

    x = {"a": fnp.ones((4, 3))}
    made = export(f)(x, np.float32(2))
    assert made.fun_name == "f" and made.platforms == ("cpu",)
    assert [str(t) for t in made.in_avals] == ["f32[4,3]", "f32[]"]
    assert [str(t) for t in made.out_avals] == ["f32[4,2]"]
    assert made.in_tree == fdl.tree.structure(((x, 0), {}))
    again = deserialize(made.serialize())
    np.testing.assert_array_equal(again.call(x, fnp.float32(2))["out"], f(x, np.float32(2))["out"])
    slope = fdl.grad(lambda s: again.call(x, s)["out"].sum())(fnp.float32(2))
    np.testing.assert_allclose(slope, fnp.tanh(x["a"] @ w).sum(), rtol=1e-6)
    with pytest.raises(ExportError):
        again.call({"a": fnp.ones((5, 3))}, fnp.float32(2))
    with pytest.raises(ExportError, match="CPU only"):
        export(f, platforms=["tpu"])
