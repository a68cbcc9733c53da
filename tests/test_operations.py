"""The cases of single operations compute what they are called, and their tables count what they say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fdl
from benchmarks import cases, operations
from benchmarks.cases import calls, case


def results(family: str, name: str) -> list[np.ndarray]:
    chosen = cases.of(family)[name]
    run = calls.make(chosen, "fdl")
    assert run is not None
    return calls.as_numpy(chosen, run())


def operands(family: str, name: str) -> list[np.ndarray]:
    return list(cases.of(family)[name].operands(np.random.default_rng(0)))


def test_names_are_unique_within_a_family() -> None:
    for family, make in cases.FAMILIES.items():
        assert len(make()) == len(cases.of(family)), family


def test_every_case_says_what_is_differentiated() -> None:
    for family in cases.FAMILIES:
        for chosen in cases.of(family).values():
            assert not chosen.gradient or (chosen.name.endswith(", gradient") and chosen.jit), chosen.name


@pytest.mark.parametrize(
    ("family", "name", "expected"),
    [
        ("batched matmul", "64 of 7x9x5", lambda x, y: x @ y),
        ("gather", "x[i, j] 1000", lambda x, i, j: x[i, j]),
        ("copies", "transpose 100x100", lambda x: x.T),
        ("sorts and sets", "sort 1k", np.sort),
        ("calls", "two arrays", lambda x, y: x * y),
        ("eager", "softmax 4x4", lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
        ("linear algebra", "inv 4x4", np.linalg.inv),
        ("FFT", "rfft 256", np.fft.rfft),
    ],
)
def test_cases_compute_what_they_are_called(family: str, name: str, expected: Any) -> None:
    (found,) = results(family, name)
    np.testing.assert_allclose(found, expected(*operands(family, name)), rtol=1e-4, atol=1e-5)


def test_gradients_are_by_the_cotangent() -> None:
    left, right = results("batched matmul", "64 of 7x9x5, gradient")
    x, y = operands("batched matmul", "64 of 7x9x5")
    cotangent = np.random.default_rng(1).standard_normal((64, 7, 5), np.float32)
    np.testing.assert_allclose(left, cotangent @ y.swapaxes(1, 2), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(right, x.swapaxes(1, 2) @ cotangent, rtol=1e-4, atol=1e-4)


def test_other_results_are_not_compared() -> None:
    chosen = case.Case("x", case.normal((3,)), lambda _, x: x, None, tolerance=1e-3)
    one = [np.array([100.0, 1.0])]
    assert calls.agree(chosen, one, [np.array([100.05, 1.0])])
    assert not calls.agree(chosen, one, [np.array([100.2, 1.0])])
    assert not calls.agree(chosen, one, [np.array([100.0, np.nan])])
    assert not calls.agree(chosen, one, [np.array([[100.0, 1.0]])])
    assert not calls.agree(chosen, one, one * 2)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    cases_ = {
        "a family": {"x": {"fdl": {"step": 1.5e-6}}, 'y "z"': {"torch": {"left out": "another result"}}},
        "b": {"c": {}},
    }
    results = {"machine": {"processor": "p"}, "threads": 1, "cases": cases_}
    operations.write(tmp_path / "results.json", results)
    assert json.loads((tmp_path / "results.json").read_text()) == results


def test_tables_have_means_the_worst_case_and_what_is_slower() -> None:
    def times(ours: float, torch: float, jax: float) -> dict[str, Any]:
        return {"fdl": {"step": ours}, "torch": {"step": torch}, "jax": {"step": jax}}

    found = {
        "sort 1M": times(1.0, 4.0, 2.0),
        "argsort 1M": times(1.0, 0.5, 3.0),
        "sort 1M, gradient": times(1.0, 0.97, 1.0),
        "sort 1k": {"fdl": {"step": 1.0}, "torch": {"left out": "another result"}},
        "no such case": times(1.0, 0.1, 0.1),
    }
    machine = {"processor": "a processor", "fdl": fdl.__version__}
    text = operations.tables({"machine": machine, "threads": 1, "cases": {"sorts and sets": found}})
    heading, families, slower = text.split("\n\n")
    count = sum(len(cases.of(family)) for family in cases.FAMILIES)
    assert (
        heading
        == f"a processor, one thread; fdl {fdl.__version__}; 3 of {count} cases measured, 3 beside jax, 3 beside torch"
    )
    family, total = ([cell.strip() for cell in line.split("|")[1:-1]] for line in families.splitlines()[2:])
    assert family == ["sorts and sets", "3", "1.00", "0.97", "2", "1", "argsort 1M: 0.50"]
    assert total == ["all", "3", "1.00", "0.97", "2", "1", ""]
    (row,) = slower.splitlines()[2:]
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        "sorts and sets",
        "argsort 1M",
        "1,000,000",
        "500,000",
        "torch",
        "0.50",
    ]
