"""The shape of the source: imports point down the list of layers, and a file holds one concept."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ["fdl", "fdl_spark", "tests", "examples", "benchmarks"]
SOURCES = sorted(path for package in ("fdl", "fdl_spark") for path in (ROOT / package).rglob("*.py"))
LIMIT = 600

# From the top to the bottom; a module belongs to the first entry that is a prefix of its name. What is named nowhere
# (fdl.numpy, fdl.lax, fdl.nn, fdl.optim, ...) is vocabulary. `fdl` itself re-exports everything and stands above it.
VOCABULARY = "fdl.*"
LAYERS = [
    ["fdl_spark"],
    ["fdl"],
    [VOCABULARY],
    ["fdl.api"],
    ["fdl.compile"],
    ["fdl.control"],
    ["fdl.transforms"],
    ["fdl.ops"],
    ["fdl.array"],
    ["fdl.core"],
    ["fdl.tree", "fdl.tree_util", "fdl.dtypes", "fdl.errors", "fdl.config", "fdl.threads", "fdl.trust"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
PRIVATE_TO_FDL = ["fdl.api", "fdl.control", "fdl.transforms", "fdl.compile", "fdl.ops", "fdl.core"]


# The stages of the compiler and the folders of fdl_spark, from the top to the bottom: each imports those below it only.
STAGES = {
    "fdl.compile": [
        "profile", "pipeline", "listing", "runtime", "codegen", "schedule", "passes", "kernels", "lowerings",
        "loopnest", "ir", "llvm", "fallback",
    ],
    "fdl_spark": [
        "daemon", "training", "applying", "checkpoints", "engines", "net", "compute", "data", "spark", "arguments",
        "cost", "errors", "history",
    ],
}  # fmt: skip

# Packages that still have circles inside; a circle that crosses their borders, or is elsewhere, is an error.
CIRCLES = [
    {"fdl.ops"},
    {"fdl.numpy", "fdl.fft", "fdl.lax", "fdl.linalg"},
    {"fdl.api.jit", "fdl.api.explain"},
]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in SOURCES}


def layer(module: str) -> str:
    if module.split(".")[0] == "fdl_spark":
        return "fdl_spark"
    if module == "fdl":
        return "fdl"
    head = ".".join(module.split(".")[:2])
    return head if head in RANK else VOCABULARY


def imported(path: Path, types: bool = False) -> Iterator[tuple[int, str]]:
    """(line, module) of every import of ours in a file, wherever it stands; under TYPE_CHECKING only for `types`."""
    tree = ast.parse(path.read_text())
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    only_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in only_types and not types:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            names = [
                f"{source}.{alias.name}" if f"{source}.{alias.name}" in MODULES else source for alias in node.names
            ]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] in ("fdl", "fdl_spark"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path: Path) -> None:
    mine = layer(module_name(path))
    upward = [
        f"{path.relative_to(ROOT)}:{line} ({mine}) imports {name} ({layer(name)})"
        for line, name in imported(path)
        if RANK[layer(name)] < RANK[mine]
    ]
    assert not upward, "\n".join(upward)


@pytest.mark.parametrize("package", STAGES)
def test_a_package_imports_down_its_stages(package: str) -> None:
    """Imports for types count too."""

    def stage(module: str) -> int | None:
        head = module.removeprefix(f"{package}.").split(".")[0] if module.startswith(f"{package}.") else None
        return None if head is None else STAGES[package].index(head)

    upward = [
        f"{module_name(path)}:{line} imports {name}"
        for path in SOURCES
        if (mine := stage(module_name(path))) is not None
        for line, name in imported(path, types=True)
        if (other := stage(name)) is not None and other < mine
    ]
    assert not upward, "\n".join(upward)


def test_imports_have_no_circles() -> None:
    """Imports for types and inside of functions count: whoever reads one file of a circle has to read all."""
    graph = {
        module_name(path): {name for _, name in imported(path, types=True)} & MODULES - {module_name(path)}
        for path in SOURCES
    }
    reached: dict[str, set[str]] = {}
    for start in graph:
        found, waiting = set[str](), [start]
        while waiting:
            new = graph[waiting.pop()] - found
            found |= new
            waiting += new
        reached[start] = found
    circles = [
        {start} | {other for other in reached[start] if start in reached[other]}
        for start in graph
        if start in reached[start]
    ]
    known = [{m for m in MODULES if any(m == p or m.startswith(f"{p}.") for p in group)} for group in CIRCLES]
    assert not [sorted(circle) for circle in circles if not any(circle <= group for group in known)]


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if p.is_relative_to(ROOT / "fdl_spark")], ids=lambda path: path.name
)
def test_fdl_spark_uses_only_the_public_fdl(path: Path) -> None:
    private = [f"{path.name}:{line} imports {name}" for line, name in imported(path) if layer(name) in PRIVATE_TO_FDL]
    assert not private, "\n".join(private)


def test_private_names_are_used_where_they_are_defined() -> None:
    found = [f"{path.relative_to(ROOT)}:{line} uses {name}" for path in SOURCES for line, name in private_names(path)]
    assert not found, "\n".join(found)


def private_names(path: Path) -> Iterator[tuple[int, str]]:
    """(line, name) of each private name of another module of ours, imported or taken as the module's attribute.

    Private modules (`fdl.numpy._operands`) are hidden from users only.
    """
    tree, modules = ast.parse(path.read_text()), dict[str, str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            for alias in node.names:
                if node.module in MODULES and f"{node.module}.{alias.name}" not in MODULES and is_private(alias.name):
                    yield node.lineno, f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            module = modules.get(ast.unparse(node.value), "")
            if module in MODULES and f"{module}.{node.attr}" not in MODULES:
                yield node.lineno, f"{module}.{node.attr}"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_files_are_short() -> None:
    everything = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in everything}
    assert {name: length for name, length in lengths.items() if length > LIMIT} == {}
