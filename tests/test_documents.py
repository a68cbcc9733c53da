"""What the documents say is true: code runs, links and names exist, decisions have their form; so do the examples."""

import builtins
import doctest
import importlib
import importlib.util
import re
import tomllib
from pathlib import Path

import numba
import numpy as np
import pytest

import fdl
from examples import kepler, lstm, per_example_gradients
from fdl import optim
from fdl.core.primitive import registry
from tests.test_layering import STAGES

ROOT = Path(__file__).parent.parent
FOLDERS = ["fdl", "fdl_spark", "tests", "examples", "benchmarks", "docs"]
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md"))
DOCS = ROOT / "docs"
DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").rglob("*.md"))


def blocks(document: str) -> list[str]:
    """The Python blocks of a document."""
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


def code(document: str) -> str:
    """The first Python block of a document."""
    return blocks(document)[0]


# README. Each of its blocks is run by one test: the second, which trains on Spark, by tests/spark/test_readme.py.

FIRST, _TRAIN, PROFILE, TABLES, NUMBA = blocks("README.md")


def test_readme_example_recovers_the_weights(capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict = {}
    exec(FIRST, scope)
    np.testing.assert_allclose(np.asarray(scope["w"]), [1.0, -2.0, 0.5], atol=1e-2)
    assert capsys.readouterr().out


def test_readme_profiles_and_explains(capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict = {"fdl": fdl, "step": fdl.jit(lambda w: fdl.numpy.tanh(w)), "w": fdl.numpy.ones(3)}
    scope["step"](scope["w"])
    before = fdl.get_num_threads()
    try:
        exec(PROFILE, scope)
        assert fdl.get_num_threads() == 2
    finally:
        fdl.set_num_threads(before)
    said = capsys.readouterr().out
    assert "tanh" in said
    assert "argument w: dtype float16 now, float32 before" in said


def test_readme_trains_tables_by_their_rows() -> None:
    def loss(params: dict, batch: fdl.Array) -> fdl.Array:
        return ((params["embedding"][batch] @ params["dense"]) ** 2).mean()

    scope: dict = {"fdl": fdl, "optim": optim, "loss": loss}
    exec(TABLES, scope)
    dense = optim.adam(1e-3)
    start = {"embedding": fdl.random.normal(fdl.random.key(0), (10, 4)), "dense": fdl.numpy.ones((4, 2))}
    params, state = start, scope["optimizer"].init(start)
    expected, moments = start, dense.init(start)
    for batch in ([1, 2, 2], [7, 1, 0], [3, 3, 9]):
        params, state, value = scope["train"](params, state, fdl.numpy.array(batch))
        reference, gradients = fdl.value_and_grad(loss)(expected, fdl.numpy.array(batch))
        updates, moments = dense.update(gradients, moments, expected)
        expected = optim.apply_updates(expected, updates)
        np.testing.assert_allclose(np.asarray(value), np.asarray(reference), rtol=1e-6)
    params, _ = optim.catch_up(scope["optimizer"], params, state)
    for name in start:
        np.testing.assert_allclose(np.asarray(params[name]), np.asarray(expected[name]), rtol=1e-6)


def test_readme_calls_numba() -> None:
    x = np.array([0.5, -1.0, 2.0])
    f = numba.njit(lambda x: x * x if x > 0 else 0.0)

    @numba.njit
    def sort(x: np.ndarray) -> np.ndarray:  # compiles faster than NumPy's
        y = x.copy()
        for i in range(len(y)):
            for j in range(i, 0, -1):
                if y[j] < y[j - 1]:
                    y[j - 1], y[j] = y[j], y[j - 1]
        return y

    scope = {"f": f, "sort": sort, "g": lambda x: x.sum(), "x": x}
    exec(NUMBA, scope)
    np.testing.assert_array_equal(np.asarray(scope["y"]), [0.25, 0, 4])
    np.testing.assert_array_equal(np.asarray(scope["z"]), [-1, 0.5, 2])
    h = scope["h"]
    assert numba.njit(lambda x: 2 * h(x))(x) == 3.0


def test_extras_exist() -> None:
    """`fdl[name]`, as pip takes it."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        name.strip()
        for path in [*DOCUMENTS, ROOT / "CHANGELOG.md", *SOURCES]
        for names in re.findall(r"(?:fdl|'\.)\[([a-z, ]+)\]'", path.read_text())
        for name in names.split(",")
    }
    assert named and named <= set(extras), named - set(extras)


#: Pages with examples, which go on from each other within a page.
EXAMPLES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if "\n>>> " in path.read_text())


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_pages(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, tried = doctest.testfile(str(DOCS / name), module_relative=False, optionflags=flags)
    assert tried and not failed


# Links and names.


def test_links_lead_somewhere() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {link}"
        for path in [*DOCUMENTS, ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md"]
        for link in re.findall(r"\]\(([^)#\s]+)\)", path.read_text())
        if not link.startswith("http") and not (path.parent / link).exists() and not is_of_the_reference(link)
    ]
    assert not broken, broken


def is_of_the_reference(link: str) -> bool:
    """Whether a link leads to the page of a module, which the site's build makes."""
    page = re.fullmatch(r"(?:\.\./)*reference/([\w.]+)\.rst", link)
    return page is not None and importlib.util.find_spec(page[1]) is not None


#: Words of other systems, which documents may name and sources need not.
ELSEWHERE = {"movw", "vpextrw"}
PATHS = {str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).rglob("*")} | {
    path.name for path in ROOT.iterdir()
}
WORDS = {
    word
    for path in [*SOURCES, ROOT / "pyproject.toml", ROOT / ".ci" / "run"]
    if path.suffix != ".md" and path != Path(__file__)
    for word in re.findall(r"[^\W\d]\w*", path.read_text())
} | set(dir(builtins))


def is_path(name: str) -> bool:
    """Whether a path is one of the repository, or the end of one."""
    name = name.rstrip("/")
    return name in PATHS or any(path.endswith(f"/{name}") for path in PATHS)


def is_name(name: str) -> bool:
    """Whether a dotted name, as ``fdl.optim.adam``, leads to a module or to what is in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def exists(span: str) -> bool:
    """Whether what a document names is there: a path, a module to run, a dotted name, a word of the sources."""
    if re.fullmatch(r"[\w-]+(/[\w-]+)*\.(py|md|toml)|([\w-]+/)+|(fdl|fdl_spark|tests|docs|benchmarks)/[\w/-]+", span):
        return is_path(span)
    if module := re.fullmatch(r"python -m ([\w.]+)( .*)?", span):
        path = module[1].replace(".", "/")
        return is_path(f"{path}.py") or is_path(f"{path}/__main__.py")
    if dotted := re.match(r"((?:fdl|fdl_spark|optim|lax|nn)(?:\.\w+)+)(?:\(|$)", span):
        return is_name(dotted[1] if dotted[1].startswith("fdl") else f"fdl.{dotted[1]}")
    word = re.match(r"([^\W\d]\w*)(?:\.([^\W\d]\w*))?(?:[(=].*)?$", span)
    if word is None or (word[2] and not word[1][0].isupper()):
        return True  # code, or a name of another system, as `spark.setting`
    return {w for w in word.groups() if w} <= WORDS | ELSEWHERE


def named(text: str) -> list[str]:
    """What a document names in backticks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_names_in_documents_exist(path: Path) -> None:
    assert not [span for span in named(path.read_text()) if not exists(span)]


def test_names_that_do_not_exist_are_found() -> None:
    right = named(
        "`fdl/array.py` `compile/` `fdl.optim.adam` `optim.adam(x)` `Rows.dense` `python -m tests.fuzz --jobs 2`"
    )
    wrong = named("`fdl/no.py` `nowhere/` `fdl.optim.no` `optim.no(x)` `NothingSuch.at` `python -m tests.nothing`")
    assert all(map(exists, right)) and not any(map(exists, wrong))


# Decisions.

HEAD = re.compile(
    r"# (?P<number>\d{3}): (?P<title>[A-Z].*)\n\n"
    r"Date: (?P<date>20\d\d-\d\d-\d\d)\. "
    r"Status: (?P<status>accepted(, amended (by \d{3} on )?20\d\d-\d\d-\d\d)?|superseded by \d{3})\.\n\n"
)


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.name)
def test_decisions_have_their_form_and_are_listed(path: Path) -> None:
    """``# NNN: Title``, date and status, a file named by number and title, and a row of docs/decisions/README.md."""
    head = HEAD.match(path.read_text())
    assert head, f"{path.name} must begin as docs/decisions/README.md says, with number, title, date and status"
    slug = re.sub(r"[^a-z0-9]+", "-", head["title"].lower()).strip("-")
    assert path.name == f"{head['number']}-{slug}.md"
    row = f"| [{head['number']}]({path.name}) | {head['title']} | {head['date']} | {head['status']} | "
    rows = (path.parent / "README.md").read_text().splitlines()
    assert any(r.startswith(row) and len(r) > len(row) for r in rows), (
        f"docs/decisions/README.md lacks {row} one line |"
    )


def test_decisions_are_in_order() -> None:
    rows = re.findall(r"^\| \[(\d{3})\]\((.*?)\)", (ROOT / "docs" / "decisions" / "README.md").read_text(), re.M)
    assert rows == [(path.name[:3], path.name) for path in DECISIONS]


def test_decisions_that_are_mentioned_exist() -> None:
    numbers = {path.name[:3] for path in DECISIONS}
    mentioned = {
        (str(path.relative_to(ROOT)), number)
        for path in [*SOURCES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
        for found in re.findall(r"[Dd]ecisions?[ /](\d{3}(?:(?:, | and )\d{3})*)|by (\d{3}) on", path.read_text())
        for number in re.findall(r"\d{3}", " ".join(found))
    }
    assert mentioned
    assert not {(path, number) for path, number in mentioned if number not in numbers}


@pytest.mark.parametrize("number, package", [("038", "fdl.compile"), ("043", "fdl_spark")])
def test_decisions_on_folders_have_the_order_that_is_held(number: str, package: str) -> None:
    (path,) = (path for path in DECISIONS if path.name.startswith(number))
    listed = [
        name
        for line in re.findall(r"^    (\w.*)", path.read_text(), re.M)
        for name in re.findall(r"^\w+(?=\.py|/)|(?<=  )\w+(?=\.py)", line)
    ]
    assert listed == STAGES[package]


# CONTRIBUTING.


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


# Examples.


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
    loss, said = lstm.main(steps=100)
    assert loss < 0.2
    assert said == lstm.TEXT[len("the step is") + lstm.TEXT.index("the step is") :][: len(said)]
    assert "nats" in capsys.readouterr().out
