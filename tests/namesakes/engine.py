"""Each public function against its namesake in NumPy or SciPy, on drawn arguments, one row of a table each.

A row says how arguments are drawn, what the oracle is (the function of the same name by default), and which of fdl's
rules gives the dtype of the result. The oracle gets the same numbers in 64 bits. Where NumPy raises an error, so must
fdl. Every few examples the call is repeated under jit. NAMESAKES_EXAMPLES=200 draws more than CI does.
"""

import os
import warnings
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np

import fdl
from fdl.dtypes import COMPLEX, FLOATING, INTEGER, bfloat16, default_dtype, is_inexact, promote_integer, result_type
from tests.namesakes.draws import Draw

EXAMPLES = int(os.environ.get("NAMESAKES_EXAMPLES", "10"))
#: One of so many examples is repeated under jit.
JITTED = 5
RAISED = (ValueError, TypeError, IndexError, ArithmeticError, NotImplementedError, np.linalg.LinAlgError)


@dataclass(frozen=True)
class Call:
    """Arguments of one call; arrays are NumPy's."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def call(*args: Any, **kwargs: Any) -> Call:
    """The arguments of one call."""
    return Call(args, kwargs)


@dataclass(frozen=True)
class Row:
    """How one function is compared.

    Attributes:
        name: of the function, with the module in front of a dot if the table has several.
        function: fdl's.
        oracle: the namesake, or a few lines of NumPy.
        draw: makes the arguments.
        kind: how the numbers are given to the oracle and which dtype the result has: "common" (in 64 bits if they are
            floats), "inexact" (integers as the default float), "sum" (short integers widened), "raw" (as they are).
        promoted: whether the positional arguments are converted to their common dtype first.
        dtype: of all leaves of the result, if it is not that of `kind`; None is not compared.
        ulps: how many units in the last place of the result's dtype an element may be off.
        near: whether `ulps` count in units of the largest operand instead, as in sums.
        zeros: whether signs of zero are compared.
        jit: whether the call works under jit.
        static: places and names of arguments that jit must know.
        lenient: whether fdl may return something where the oracle raises.
        refuses: calls that fdl does not take, by a decision that its documentation states.
        examples: how many, relative to the others.
    """

    name: str
    function: Callable[..., Any]
    oracle: Callable[..., Any]
    draw: Callable[[Draw], Call]
    kind: str = "common"
    promoted: bool = False
    dtype: Any = "kind"
    ulps: float = 4
    near: bool = False
    zeros: bool = True
    jit: bool = True
    static: tuple[Any, ...] = ()
    lenient: bool = False
    refuses: Callable[[Call], bool] | None = None
    examples: float = 1

    def __str__(self) -> str:
        return self.name


@dataclass
class Table:
    """The rows of one module.

    Attributes:
        module: fdl's.
        namesake: the module of the oracles.
        rows: by name.
        excluded: functions without a row, with the reason.
    """

    module: Any
    namesake: Any
    rows: dict[str, Row] = field(default_factory=dict)
    excluded: dict[str, str] = field(default_factory=dict)

    def row(self, names: str, draw: Callable[[Draw], Call], oracle: Callable[..., Any] | None = None, **settings: Any):
        """Add a row for each of the names."""
        for name in names.split():
            found = getattr(self.namesake, name, None) if oracle is None else oracle
            assert found is not None, f"{name} has no namesake; give an oracle"
            assert name not in self.rows, f"{name} has two rows"
            self.rows[name] = Row(name, getattr(self.module, name), found, draw, **settings)

    def exclude(self, names: str, reason: str) -> None:
        """State why functions have no row."""
        self.excluded |= dict.fromkeys(names.split(), reason)

    def missing(self) -> list[str]:
        """Public functions with neither."""
        public = getattr(self.module, "__all__", None) or [n for n in vars(self.module) if not n.startswith("_")]
        functions = [n for n in public if _is_function(getattr(self.module, n))]
        return [n for n in functions if n not in self.rows and n not in self.excluded]


def _is_function(thing: Any) -> bool:
    return callable(thing) and not isinstance(thing, type) and not hasattr(thing, "__path__")


def run(row: Row) -> None:
    """Compare one row on all its examples."""
    count = 0

    @hypothesis.settings(
        max_examples=max(2, round(EXAMPLES * row.examples)),
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.given(st.data())
    def check(data: Any) -> None:
        nonlocal count
        count += 1
        compare(row, row.draw(Draw(data, zlib.crc32(row.name.encode()))), row.jit and count % JITTED == 2)

    check()


def compare(row: Row, given: Call, jitted: bool) -> None:
    """Hold one call to the oracle."""
    shown = f"{row.name}(*{given.args}, **{given.kwargs})"
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            args = _promoted(row, given) if row.promoted else given.args
            where = {k: given.kwargs[k] for k in ("where",) if k in given.kwargs}
            expected = row.oracle(*_lifted(row, args), **_lifted(row, given.kwargs) | where)
        except RAISED as error:
            expected = error
    if row.refuses is not None and row.refuses(given):
        expected = NotImplementedError("documented")
    for how in ("eager", "jit") if jitted else ("eager",):
        try:
            found = _under_jit(row, given) if how == "jit" else row.function(*given.args, **given.kwargs)
        except RAISED as error:
            if isinstance(expected, Exception):
                continue
            raise AssertionError(
                f"{how} {shown}: raised {type(error).__name__}: {error}; expected {expected}"
            ) from error
        except Exception as error:
            raise AssertionError(f"{how} {shown}: raised {type(error).__name__}: {error}") from error
        if isinstance(expected, Exception):
            assert row.lenient, f"{how} {shown}: returned {found}, where the namesake raises {expected!r}"
            continue
        _hold(row, given, found, expected, f"{how} {shown}")


def _under_jit(row: Row, given: Call) -> Any:
    """The call with all arrays traced that may be."""
    fixed = fdl.tree.map(lambda x: x, (given.args, given.kwargs))
    leaves, structure = fdl.tree.flatten((given.args, given.kwargs))
    kept = {id(leaf) for s in row.static for leaf in fdl.tree.leaves(_argument(given, s))}
    traced = [i for i, leaf in enumerate(leaves) if isinstance(leaf, np.ndarray) and id(leaf) not in kept]
    del fixed

    def f(arrays: list[Any]) -> Any:
        filled = list(leaves)
        for i, array in zip(traced, arrays, strict=True):
            filled[i] = array
        args, kwargs = fdl.tree.unflatten(structure, filled)
        return row.function(*args, **kwargs)

    return fdl.jit(f)([leaves[i] for i in traced])


def _argument(given: Call, key: Any) -> Any:
    if isinstance(key, int):
        return given.args[key] if key < len(given.args) else ()
    return given.kwargs.get(key, ())


def numbers(values: Any) -> list[Any]:
    """All arrays and numbers among (nested) arguments."""
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, (list, tuple)):
        return [n for v in values for n in numbers(v)]
    return [values] if isinstance(values, (np.ndarray, np.generic, bool, int, float, complex)) else []


def common(given: Call) -> np.dtype:
    """The dtype in which the positional operands meet, by fdl's lattice."""
    return result_type(*numbers(given.args))


def own(given: Call) -> np.dtype:
    """The dtype of the first argument, or in which its entries meet."""
    return result_type(*numbers(given.args[0]))


def result_of(row: Row, given: Call) -> Any:
    """The dtype that the result must have; None is not compared."""
    if row.dtype != "kind":
        return row.dtype(given) if callable(row.dtype) and not isinstance(row.dtype, type) else row.dtype
    if "dtype" in given.kwargs and given.kwargs["dtype"] is not None:
        return np.dtype(given.kwargs["dtype"]) if given.kwargs["dtype"] is not float else default_dtype(float)
    found = common(given) if row.promoted else own(given)
    if row.kind == "inexact":
        return found if is_inexact(found) else default_dtype(float)
    return promote_integer(found) if row.kind == "sum" else found


def _promoted(row: Row, given: Call) -> list[Any]:
    """The positional arguments in their common dtype."""
    dtype = common(given)
    dtype = dtype if row.kind != "inexact" or is_inexact(dtype) else default_dtype(float)
    with np.errstate(all="ignore"):
        return [np.asarray(a).astype(dtype) for a in given.args]


def _lifted(row: Row, values: Any) -> Any:
    """The arguments for the oracle: what the result's dtype can hold, in 64 bits."""
    if row.kind == "raw":
        return values
    if isinstance(values, dict):
        return {k: _lifted(row, v) for k, v in values.items()}
    if type(values) in (list, tuple):
        return type(values)(_lifted(row, v) for v in values)
    if not isinstance(values, np.ndarray):
        return values
    if row.kind == "inexact" and not is_inexact(values.dtype):
        values = values.astype(default_dtype(float))
    if row.kind == "sum" and values.dtype.kind in "biu":
        return values.astype(promote_integer(values.dtype))
    if values.dtype in FLOATING:
        return values.astype(np.float64)
    return values.astype(np.complex128) if values.dtype in COMPLEX else values


def _hold(row: Row, given: Call, found: Any, expected: Any, shown: str, dtype: Any = "rule") -> None:
    dtype = result_of(row, given) if isinstance(dtype, str) else dtype
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), f"{shown}: keys {list(found)}, expected {list(expected)}"
        expected, found = list(expected.values()), [found[k] for k in expected]
    if isinstance(expected, (tuple, list)):
        found = list(found)
        assert len(found) == len(expected), f"{shown}: {len(found)} results, expected {len(expected)}"
        dtypes = dtype if isinstance(dtype, tuple) else (dtype,) * len(expected)
        for i, (f, e, d) in enumerate(zip(found, expected, dtypes, strict=True)):
            _hold(row, given, f, e, f"{shown}, result {i}", d)
        return
    _hold_leaf(row, given, found, expected, dtype, shown)


def _hold_leaf(row: Row, given: Call, found: Any, expected: Any, dtype: Any, shown: str) -> None:
    got, want = np.asarray(found), np.asarray(expected)
    assert got.shape == want.shape, f"{shown}: shape {got.shape}, expected {want.shape}"
    assert dtype is None or got.dtype == dtype, f"{shown}: dtype {got.dtype}, expected {dtype}"
    failure = f"{shown}\n  found    {got.tolist()}\n  expected {want.tolist()}"
    if got.dtype in INTEGER or got.dtype == bool:
        with np.errstate(all="ignore"):
            assert np.array_equal(got, want.astype(got.dtype) if want.dtype != got.dtype else want), failure
        return
    if got.dtype in COMPLEX:
        want = want.astype(np.complex128)
        if row.zeros:
            assert _close(row, given, got.real, want.real, np.abs(want)), failure
            assert _close(row, given, got.imag, want.imag, np.abs(want)), failure
        else:  # where a part is infinite or NaN the other one is free
            usual = np.isfinite(want)
            assert np.array_equal(np.isnan(got), np.isnan(want)) and np.array_equal(np.isinf(got), np.isinf(want)), (
                failure
            )
            assert _close(row, given, got[usual].real, want[usual].real, np.abs(want[usual])), failure
            assert _close(row, given, got[usual].imag, want[usual].imag, np.abs(want[usual])), failure
        return
    assert _close(row, given, got, want.astype(np.float64), None), failure


def _close(row: Row, given: Call, got: np.ndarray, want: np.ndarray, modulus: np.ndarray | None) -> bool:
    """Whether numbers agree to so many units in the last place, infinities, NaN and signs of zero included."""
    eps = 2.0**-7 if got.dtype == bfloat16 else float(np.finfo(got.dtype).eps)
    least = 2.0**-133 if got.dtype == bfloat16 else float(np.finfo(got.dtype).smallest_subnormal)
    with np.errstate(all="ignore"):
        rounded = want.astype(got.dtype).astype(np.float64)
        got = got.astype(np.float64)
        same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
        scale = np.abs(rounded if modulus is None else np.maximum(modulus, np.abs(rounded)))
        if row.near:
            operands = [np.abs(np.asarray(n).astype(np.complex128)) for n in numbers((given.args, given.kwargs))]
            finite = [o[np.isfinite(o)].max(initial=0.0) for o in operands if o.size]
            scale = np.maximum(scale, max([1.0, *finite]))
        close = np.isfinite(got) & np.isfinite(rounded) & (np.abs(got - want) <= row.ulps * (eps * scale + least))
        ok = bool(np.all(same | close))
        if row.zeros and ok:
            both = (got == 0) & (rounded == 0)
            ok = bool(np.array_equal(np.signbit(got[both]), np.signbit(rounded[both])))
    return ok


def names(tables: Iterable[Table]) -> list[Any]:
    """All rows, for parametrize."""
    return [row for table in tables for row in table.rows.values()]
