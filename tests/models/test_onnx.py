"""Every model as an ONNX file, computed by ONNX Runtime for other numbers of rows than the example's."""

import inspect
from typing import Any

import numpy as np
import pytest

import fdl
from fdl import random, tree
from fdl.core.interpret import interpret
from fdl.interop import to_onnx
from tests.models.case import Case
from tests.models.cases import CASES


@pytest.mark.parametrize("case", CASES, ids=str)
def test_onnx_runtime_computes_the_same(case: Case) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    made = case.module.init(random.key(0), case.config)
    has_state = "state" in inspect.signature(case.module.apply).parameters
    params, *state = made if has_state else (made,)
    # Layers that begin as zeros would hide others.
    params = tree.map(lambda x: np.asarray(x) + rng.normal(scale=0.05, size=x.shape).astype(np.float32), params)

    def apply(params: Any, *inputs: Any) -> Any:
        outputs = case.module.apply(params, *state, *inputs, config=case.config)
        return outputs[0] if has_state else outputs

    def inputs(rows: int) -> tuple[np.ndarray, ...]:
        batch = case.batch(rng, rows)
        return tuple([np.asarray(batch[name]) for name in case.inputs])

    session = runtime.InferenceSession(to_onnx(apply, params, inputs(2)), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    for rows in (1, 5):
        given = inputs(rows)
        program = fdl.make_program(apply)(params, *given)
        wanted = interpret(program, [np.asarray(leaf) for leaf in tree.leaves((params, *given))])
        found = session.run(None, dict(zip(names, given, strict=True)))
        for got, want in zip(found, wanted, strict=True):
            assert (got.shape, got.dtype) == (want.shape, want.dtype)
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * abs(want).max())
