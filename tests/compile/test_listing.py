"""The stages of the compiler as text."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.compile import pipeline
from fdl.compile.listing import STAGES, Listing
from fdl.compile.schedule import planner
from tests.compile.test_fallback import failing, inject

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


def attention(q: Any, k: Any, v: Any) -> Any:
    return fdl.nn.softmax(q @ k.mT) @ v


def loops(x: Any) -> Any:
    total, rows = lax.scan(lambda c, row: (fnp.tanh(c + row), c.sum()), x[0], x)
    return lax.cond(total.sum() > 0, lambda t: t + 1, lambda t: fnp.sort(t), total), rows


PROGRAMS = {
    "elementwise": lambda x: fnp.exp(x) * 2,
    "epilogue": lambda x: fnp.maximum(x @ x.T + 1, 0),
    "group": lambda x: attention(x[None], x[None], x[None]),
    "gradient": fdl.grad(lambda x: (fdl.nn.softmax(x @ x.T) ** 2).sum()),
    "control flow": loops,
    "padding": lambda x: fnp.pad(x, 1) + fnp.arange(6),
    "views": lambda x: x.T[::-1] @ x[:, ::2],
    "nothing": lambda x: x[:0],
    "complex": lambda x: fnp.fft.fft(x),
    "host": lambda x: fdl.pure_callback(lambda a: a + 1, x, x),
    "random": lambda x: x + fdl.random.normal(fdl.random.key(0), x.shape),
    "16 bits": lambda x: (x.astype("bfloat16") @ x.T.astype("bfloat16")).sum(),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_stage_prints(name: str) -> None:
    lowered = fdl.jit(PROGRAMS[name]).lower(X)
    texts = {stage: lowered.as_text(stage) for stage in STAGES}
    assert len({texts[stage] for stage in ("optimized", "schedule", "llvm", "asm")}) == 4
    assert all(text == lowered.as_text(stage) for stage, text in texts.items())
    assert texts["schedule"].count("\n") <= texts["loops"].count("\n")
    assert "define" in texts["llvm"] and "run" in texts["asm"]


def test_names_are_those_of_the_optimized_program() -> None:
    lowered = fdl.jit(lambda x: (fnp.exp(x) + 1).sum(axis=1)).lower(X)
    optimized, schedule = lowered.as_text("optimized"), lowered.as_text("schedule")
    (name,) = re.findall(r"(\w+):f32\[3\] in output 0", schedule)
    assert f"{name}:f32[3] = sum[axes=(1)]" in optimized
    assert f"return {name}" in optimized and f"return {name}" in schedule


def test_loops_say_what_is_computed() -> None:
    text = fdl.jit(lambda x: fnp.pad(x[0], (1, 0)).cumsum() + fnp.maximum(x, 0).max()).lower(X).as_text("loops")
    assert "load a[i] if" not in text and re.search(r"load \w+\[i - 1\] if 0 <= i - 1 < 4", text)
    assert re.search(r"%\d+ if 0 <= i - 1 < 4 else %\d+", text)
    assert re.search(r"max %\d+ -> \w+\[0\]", text) and "for i in 12:  # reduced" in text


def test_loops_compute_what_they_say() -> None:
    """A listing read by a small interpreter of its own gives what the program gives."""
    text = fdl.jit(lambda x: (x * 3 + x[::-1]).sum(axis=0)).lower(X).as_text("loops")
    (extents,) = [tuple(map(int, re.findall(r"for \w in (\d+)", text)))]
    memory = {"a": X.ravel()}
    result: dict[int, float] = {}
    for index in np.ndindex(*extents):
        where, values = dict(zip("ijkl", index, strict=False)), dict[str, float]()

        def at(affine: str, where: dict[str, int] = where) -> int:
            return int(eval(re.sub(r"(\d) ([a-z])", r"\1*\2", affine), {}, where))

        for line in text.splitlines():
            match line.split():
                case [number, "=", "load", *place]:
                    name, affine = re.fullmatch(r"(\w+)\[(.*)\]", " ".join(place)).groups()  # type: ignore[union-attr]
                    values[number] = float(memory[name][at(affine)])
                case [number, "=", "mul", left, right, ":f32"]:
                    values[number] = values[left] * values[right]
                case [number, "=", "add", left, right, ":f32"]:
                    values[number] = values[left] + values[right]
                case [number, "=", constant] if constant.endswith(":f32"):
                    values[number] = float(constant.removesuffix(":f32"))
                case ["sum", number, "->", *place]:
                    affine = re.fullmatch(r"\w+\[(.*)\]", " ".join(place)).group(1)  # type: ignore[union-attr]
                    result[at(affine)] = result.get(at(affine), 0.0) + values[number]
    expected = (X * 3 + X[::-1]).sum(axis=0)
    np.testing.assert_allclose([result[n] for n in range(4)], expected, rtol=1e-5, atol=1e-6)


def test_a_stage_that_is_none() -> None:
    with pytest.raises(ValueError, match="stage='hlo': must be one of 'traced', 'optimized'"):
        fdl.jit(fnp.sin).lower(X).as_text("hlo")


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.deepest, self.text = 0, ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        self.deepest = max(self.deepest, self.open.count("details"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("stage", STAGES)
def test_notebooks_unfold_it(stage: str) -> None:
    text = fdl.jit(PROGRAMS["control flow"]).lower(X).as_text(stage)
    reader = Reader()
    reader.feed(text._repr_html_())
    assert reader.open == [] and reader.deepest >= (3 if stage == "loops" else 1)
    assert reader.text == "".join(text.splitlines())


def test_colours_are_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    text = fdl.jit(PROGRAMS["group"]).lower(X).as_text("loops")
    assert repr(text) == str(text) == text
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert "\033[36mf32[3,4]\033[0m" in repr(text)
    assert re.sub(r"\033\[\d+m", "", repr(text)) == text
    assert isinstance(text, Listing) and "\033" not in str(text)


def test_all_stages_of_all_programs_are_dumped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fdl.config, "dump", str(tmp_path / "new"))
    f = fdl.jit(lambda x: x * 2.125 + 1)
    f(X)
    f(X[:2])
    f(X)
    folders = sorted((tmp_path / "new").iterdir())
    assert len(folders) == 2
    for folder in folders:
        names = sorted(path.name for path in folder.iterdir())
        assert names == [f"{number}-{stage}.txt" for number, stage in enumerate(STAGES, 1)]
    texts = {folder: (folder / "1-traced.txt").read_text() for folder in folders}
    assert {str(f.lower(x).as_text()) + "\n" for x in (X, X[:2])} == set(texts.values())


def test_a_stage_that_fails_is_dumped_as_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program: Any = fdl.make_program(lambda x: x * 2.25)(X)
    monkeypatch.setattr(fdl.config, "dump", str(tmp_path))
    monkeypatch.setattr(fdl.config, "debug_compiler", False)
    assert planner.SCHEDULING
    inject(monkeypatch, "split", failing())
    with pytest.warns(fdl.errors.CompilerWarning):
        (result,) = pipeline.compile_program(program).run([X])
    np.testing.assert_array_equal(result, X * np.float32(2.25))
    (folder,) = tmp_path.iterdir()
    assert "Traceback" in (folder / "3-schedule.txt").read_text()
    assert "program(" in (folder / "2-optimized.txt").read_text()


def test_programs_are_listings_in_notebooks_and_long_ones_are_folded() -> None:
    lowered = fdl.jit(lambda x: x + 1).lower(X)
    assert repr(lowered).startswith("<lowered <lambda>: <Program (f32[3,4]) -> (f32[3,4])")
    short = lowered.traced.program
    assert short._repr_html_() == lowered._repr_html_() == Listing(short)._repr_html_()
    assert "<details open>" in short._repr_html_()
    long = fdl.make_program(lambda x: sum(x * x for _ in range(40)))(X)
    assert "<details>" in long._repr_html_() and "<details open>" not in long._repr_html_()
