"""What the README and CONTRIBUTING show is true, and the examples do what they say."""

import re
from pathlib import Path

import numpy as np
import pytest

import fdl
from examples import kepler, lstm, per_example_gradients
from fdl.core.primitive import registry

ROOT = Path(__file__).parent.parent


def code(document: str) -> str:
    """The first Python block of a document."""
    found = re.search(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    assert found, f"{document} has no Python block"
    return found[1]


def test_readme_example_recovers_the_weights(capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict = {}
    exec(code("README.md"), scope)
    np.testing.assert_allclose(np.asarray(scope["w"]), [1.0, -2.0, 0.5], atol=1e-2)
    assert capsys.readouterr().out


def test_contributing_example_is_a_whole_op() -> None:
    scope: dict = {"__name__": "contributed", "np": np}
    preamble = """
from fdl.dtypes import FLOATING
from fdl.ops.arithmetic import abs_, add, div, mul
from fdl.ops.elementwise import Unary
from fdl.ops.precision import in_float32
from fdl.ops.shape import full_like
"""
    try:
        exec(preamble + code("CONTRIBUTING.md"), scope)
        x = np.linspace(-2.0, 2.0, 8)
        softsign = scope["softsign"]
        np.testing.assert_allclose(np.asarray(fdl.jit(softsign)(x)), x / (1 + np.abs(x)), rtol=1e-15)
        slope = fdl.jit(fdl.vmap(fdl.grad(softsign)))(x)
        np.testing.assert_allclose(np.asarray(slope), 1 / (1 + np.abs(x)) ** 2, rtol=1e-14)
    finally:
        registry.pop("Softsign", None)


def test_kepler_solves_the_equation_and_its_derivative(capsys: pytest.CaptureFixture[str]) -> None:
    mean_anomaly, e, E, slope = (np.asarray(x, np.float64) for x in kepler.main())
    np.testing.assert_allclose(E - e * np.sin(E), mean_anomaly, atol=5e-6)
    np.testing.assert_allclose(slope, 1 / (1 - e * np.cos(E)), rtol=1e-5)
    assert len(capsys.readouterr().out.splitlines()) == len(E)


def test_clipping_bounds_what_one_example_can_do(capsys: pytest.CaptureFixture[str]) -> None:
    plain, clipped = per_example_gradients.main()
    assert clipped <= 1 < 100 < plain
    assert "clipped" in capsys.readouterr().out


def test_lstm_learns_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    loss, said = lstm.main()
    assert loss < 0.2
    assert said == lstm.TEXT[len("the step is") + lstm.TEXT.index("the step is") :][: len(said)]
    assert "nats" in capsys.readouterr().out
