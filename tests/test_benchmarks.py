"""The benchmarked models learn in fdl; their agreement with other frameworks is checked by the benchmark itself."""

from importlib import import_module

import numpy as np
import pytest

import fdl
from benchmarks import kernels, ncf, ncf_lazy, peaks, report
from benchmarks.models import MODELS
from benchmarks.worker import functional_step

#: What makes a model small enough for a test.
SMALL = {
    "inception": {"SIZE": 32, "MODULES": {"3a": (192, 16, 12, 16, 4, 8, 8), "4a": (48, 16, 12, 16, 4, 8, 8)}},
    "resnet": {"BLOCKS": [(16, 64, 2)]},
    "lstm": {"VOCABULARY": 100, "HIDDEN": 32, "LENGTH": 5},
    "convlstm": {"HIDDEN": 8, "LENGTH": 3},
    "transformer": {"DEPTH": 1},
    "keywords": {"DEPTH": 1},
}


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("ncf")])
def test_steps_lower_the_loss(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _, compute = name.partition("+")
    model = import_module(f"benchmarks.{name}")
    for attribute, value in SMALL.get(name, {}).items():
        monkeypatch.setattr(model, attribute, value)
    step = functional_step(model, fdl, size=8, compute=compute)
    losses = [float(step()) for _ in range(4)]
    assert losses[3] < losses[0], losses


def test_shares_of_peaks_follow_from_operations_and_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    for measured, most in {"peak_flops": 1e12, "peak_bytes": 1e11}.items():
        monkeypatch.setattr(f"fdl.compile.profile.peak.{measured}", lambda threads, most=most: most)
    title, milliseconds, flops, of_peak, moved, of_bandwidth, at_bounds = peaks.row("tiny")
    assert title == report.title("tiny")
    # The products of 32 rows and 4-32-32-2, and of their gradients but that by the input; the rest comes on top.
    products = 2 * 32 * (3 * (32 * 32 + 32 * 2) + 2 * 4 * 32)
    work = float(flops) * float(milliseconds) * 1e6
    assert 0.95 * products < work < 1.5 * products
    assert float(of_peak.rstrip(" %")) == pytest.approx(float(flops) / 10, abs=0.51)
    assert float(of_bandwidth.rstrip(" %")) == pytest.approx(float(moved), abs=0.56)
    assert float(at_bounds.rstrip(" %")) >= max(float(of_peak.rstrip(" %")), float(of_bandwidth.rstrip(" %"))) - 1


def test_exact_and_lazy_steps_of_neumf_lower_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {"user_mf": (50, 64), "item_mf": (30, 64), "user_mlp": (50, 128), "item_mlp": (30, 128)}
    for name, value in {"USERS": 50, "ITEMS": 30, "BATCH": 64, "BATCHES": 1, "TABLES": tables}.items():
        monkeypatch.setattr(ncf, name, value)
    exact, lazy = ncf.step("fdl"), ncf_lazy.step("fdl")
    losses = [(float(exact()), float(lazy())) for _ in range(3)]  # type: ignore[arg-type]
    assert np.all(np.diff(losses, axis=0) < 0), losses
    np.testing.assert_allclose(*np.transpose(losses), rtol=1e-4)


def test_transposed_products_are_products_of_the_transposed() -> None:
    case = kernels.matmul(5, 3, 4, 2, transposed="xy")
    x, y = case.inputs()
    expected = np.einsum("bkm,bnk->bmn", x, y)
    np.testing.assert_allclose(case.functional(fdl, x, y), expected, rtol=1e-5)
    assert case.work == 2 * 2 * 5 * 3 * 4


def test_gradients_of_convolutions_are_adjoint() -> None:
    cases = kernels.convolutions(2, 6, 3, 3, 4, 2)
    x, w = cases["forward"].inputs()
    _, dy = cases["data"].inputs()
    whole = np.sum(np.asarray(cases["forward"].functional(fdl, x, w)) * dy)
    np.testing.assert_allclose(np.sum(np.asarray(cases["data"].functional(fdl, w, dy)) * x), whole, rtol=1e-4)
    np.testing.assert_allclose(np.sum(np.asarray(cases["weights"].functional(fdl, x, dy)) * w), whole, rtol=1e-4)


def test_tables_compare_with_the_best_peer() -> None:
    numbers = {"fdl": {"step": 1.0}, "torch": {"step": 3.0}, "jax": {"step": 4.0}, "numpy": {"left out": "slow"}}
    assert report.ratios(numbers) == (3.0, 4.0)
    text = report.comparison({"sort_1M": {"1": numbers}}, report.KERNELS, "1", "kernel", lambda _: lambda n: "x")
    header, _, row, mean = text.splitlines()
    assert [cell.strip() for cell in row.split("|")[1:-1]] == ["sort_1M", "x", "", "x", "x", "3.00", "4.00"]
    assert len({len(header), len(row), len(mean)}) == 1


def test_every_kernel_has_a_unit() -> None:
    known = [family for families in kernels.FAMILIES.values() for family in families]
    assert {kernels.family(name) for name in kernels.cases()} == set(known)
