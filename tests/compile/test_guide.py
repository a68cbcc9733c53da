"""`docs/compiler.md` says what the compiler does today."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from fdl.compile.listing import STAGES, listing
from fdl.compile.llvm.target import host_target
from fdl.errors import PlatformError

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "compiler.md").read_text()
BLOCKS = re.findall(r"^```(\w+)(?: (\w+))?(?: ([\w-]+))?\n(.*?)^```$", GUIDE, re.M | re.S)


@pytest.fixture(scope="module")
def lowered() -> Any:
    (code,) = [text for language, *_, text in BLOCKS if language == "python"]
    names: dict[str, Any] = {}
    exec(compile(code, "example.py", "exec"), names)
    return names["lowered"]


def test_all_stages_are_told() -> None:
    assert {stage for language, stage, *_ in BLOCKS if language == "listing"} == set(STAGES) - {"asm"}


@pytest.mark.parametrize(
    "stage, cpu, text", [(s, c, t) for language, s, c, t in BLOCKS if language == "listing"], ids=lambda x: str(x)[:20]
)
def test_listings_are_those_of_the_compiler(lowered: Any, stage: str, cpu: str, text: str) -> None:
    """Each run of lines between dots is a run of lines of the listing, in the same order."""
    try:
        target = host_target(cpu or None)
    except PlatformError:
        pytest.skip(f"no {cpu} processor")
    found = str(listing(lowered.traced.computed, lowered.traced.may_overwrite, stage, target)) + "\n"
    for part in re.split(r"^\.\.\.\n", text, flags=re.M):
        assert part in found, part
        found = found[found.index(part) + len(part) :]


def test_files_and_decisions_exist() -> None:
    for link in re.findall(r"\]\(([^)]+)\)", GUIDE):
        assert (ROOT / "docs" / link).exists(), link
    compiler = ROOT / "fdl" / "compile"
    for name in re.findall(r"`([\w/]+(?:\.py|/))`", GUIDE):
        places = [ROOT, compiler, compiler / "schedule", compiler / "passes"]
        assert any((place / name).exists() for place in places), name


def test_all_decisions_on_the_compiler_are_listed() -> None:
    listed = set(re.findall(r"decisions/(\d{3})-", GUIDE))
    about = {path.name[:3] for path in (ROOT / "docs" / "decisions").glob("0*.md") if "fdl/compile" in path.read_text()}
    assert about <= listed, about - listed


def test_the_glossary_has_all_classes_of_schedules() -> None:
    glossary = GUIDE[GUIDE.index("## Glossary") : GUIDE.index("## Decisions")]
    files = [path for stage in ("ir", "schedule") for path in (ROOT / "fdl" / "compile" / stage).glob("*.py")]
    classes = {
        node.name for path in files for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)
    }
    missing = {name for name in classes if not name.startswith("_") and f"`{name}`" not in glossary}
    assert not missing
