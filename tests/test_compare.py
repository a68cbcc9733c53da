"""The comparison of counted instructions decides as it says; no test here needs callgrind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import compare, counted

HERE = {"python": "3.11", "llvmlite": "1"}
DUMP = """version: 1
creator: callgrind-3.19.0
pid: 7
part: 3
desc: Trigger: Client Request: sum of 3: rows
events: Ir
summary: 1234567

totals: 1234777
"""


def test_files_of_callgrind_are_read() -> None:
    assert compare.parsed(DUMP) == ("sum of 3: rows", 1234567)
    with pytest.raises(AssertionError, match="not a file of callgrind's"):
        compare.parsed(DUMP.replace("desc: Trigger", "desc: Stop"))


def test_cases_beyond_the_threshold_are_slower_and_others_are_not_shown() -> None:
    old = {"same": 1000, "above": 1000, "below": 1000, "less": 1000, "gone": 5}
    new = {"same": 1029, "above": 1031, "below": 1030, "less": 500, "new": 7}
    text, slower = compare.compare(old, new, 3.0)
    assert slower == ["above"]
    first, second, *rest = text.splitlines()
    assert first.startswith("less") and first.endswith("-50.0 %")
    assert second.startswith("above") and second.endswith("+3.1 %")
    assert [line.split()[0] for line in rest] == ["new", "gone", "4"]
    mean = (1.029 * 1.031 * 1.03 * 0.5) ** 0.25
    assert f"4 cases, geometric mean of new / old {mean:.4f}" in rest[-1]


def test_sides_without_a_common_case_are_compared() -> None:
    assert compare.compare({"a": 1}, {"b": 1}, 3.0)[1] == []


@pytest.fixture
def counted_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Counting is replaced by a list of what would have been counted."""
    asked: list[str] = []
    monkeypatch.setattr(compare, "made_with", lambda: HERE)
    monkeypatch.setattr(compare, "obstacle", lambda: "")

    def pretend(what: object) -> compare.Counts:
        asked.append(str(what))
        return compare.Counts(HERE, {"case": 100})

    monkeypatch.setattr(compare, "count", pretend)
    monkeypatch.setattr(compare, "count_revision", pretend)
    return asked


def test_kept_counts_are_read_where_they_were_made_alike(counted_here: list[str], tmp_path: Path) -> None:
    compare.save(tmp_path / "kept.json", compare.Counts(HERE, {"case": 90}))
    assert compare.resolve(str(tmp_path / "kept.json")) == compare.Counts(HERE, {"case": 90})
    assert counted_here == []


def test_counts_made_otherwise_are_counted_from_the_revision_that_wrote_them(
    counted_here: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept.json"
    compare.save(kept, compare.Counts(HERE | {"llvmlite": "0"}, {"case": 90}))
    asked = []

    def git(*arguments: str) -> str:
        asked.append(arguments)
        return "f" * 40

    monkeypatch.setattr(compare, "git", git)
    assert compare.resolve(str(kept)) == compare.Counts(HERE, {"case": 100})
    assert counted_here == ["f" * 40] and asked[0][-1] == str(kept)
    assert "kept.json was made with another llvmlite '0', here '1': counting ffffffffffff" in capsys.readouterr().out

    monkeypatch.setattr(compare, "git", lambda *arguments: "")
    assert compare.resolve(str(kept)) is None
    assert "nothing to compare with" in capsys.readouterr().out


def test_revisions_and_folders_are_counted(counted_here: list[str], tmp_path: Path) -> None:
    compare.resolve("abc123")
    compare.resolve(str(tmp_path))
    assert counted_here == ["abc123", str(tmp_path)]


@pytest.mark.parametrize(("before", "status"), [(100, 0), (98, 0), (97, 1)])
def test_the_status_tells_whether_a_case_is_slower(
    before: int, status: int, counted_here: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare.save(tmp_path / "old.json", compare.Counts(HERE, {"case": before}))
    monkeypatch.setattr(sys, "argv", ["compare", str(tmp_path / "old.json")])
    assert compare.main() == status


def test_a_machine_without_valgrind_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["compare"])
    assert compare.main() == 0
    assert capsys.readouterr().out == "instructions are not counted: valgrind is not installed\n"


def test_the_fdl_of_another_folder_is_not_counted_for_that_of_this_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.counted", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=compare.ROOT)
    assert done.returncode and f"is not in {tmp_path}" in done.stderr


def test_kept_counts_are_of_the_cases_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted, "functional_step", lambda model, fdl, batch: model)  # nothing is initialised
    monkeypatch.setattr(counted, "setattr", lambda *_: None, raising=False)  # sizes of the models stay
    kept = json.loads(compare.KEPT.read_text())["instructions"]
    assert list(kept) == list(counted.cases())
    assert min(kept.values()) > 50_000  # so that what surrounds a call is little beside it
