"""What JAX's test files ask of `jax._src.test_util`: parameters, random operands, comparisons. Written anew for fdl.

A plugin of pytest (``-p benchmarks.jax_test_util``), which benchmarks/jax_tests.py loads under JAX's name. Other
private modules of JAX that the files import are stand-ins, whose names raise when they are used.
"""

import contextlib
import functools
import importlib
import math
import os
import random
import sys
import unittest
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
from absl.testing import absltest, parameterized
from numpy.testing import assert_allclose, assert_array_equal

import fdl
import fdl.numpy as fnp
from benchmarks import jax_forwards, jax_helpers, jax_operands, jax_private
from fdl import tree
from fdl.core.trace import Value
from fdl.dtypes import ALL as FDL_DTYPES
from fdl.dtypes import as_dtype, result_type
from fdl.test_util import check_grads as check_grads  # the same arguments as JAX's
from fdl.test_util import check_jvp as check_jvp
from fdl.test_util import check_vjp as check_vjp

CASES = int(os.environ.get("JAX_TESTS_CASES", "3"))  # drawn of each product of parameters
_UNITS = {"bfloat16": 1e-2, "float16": 1e-3, "float32": 1e-6, "float64": 1e-15, "complex64": 1e-6, "complex128": 1e-15}

_GRADIENT_UNITS = {
    "bfloat16": 1e-1, "float16": 1e-2, "float32": 2e-3, "float64": 1e-5, "complex64": 1e-3, "complex128": 1e-5,
}  # fmt: skip


class Missing(Exception):
    """A test uses a part of JAX that is private."""


class _Private:
    """Stands for a private name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("dtype", "shape"):
            raise AttributeError(name)
        return _private(self._name, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if sys._getframe(1).f_code.co_name in ("<module>", "<listcomp>") or "Test" in sys._getframe(1).f_code.co_name:
            return _Private(f"{self._name}()")  # while the file is read
        if self._name.endswith((".cache_clear", ".runtime_tokens.clear")):
            return None
        raise Missing(f"reads {self._name}")

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __setitem__(self, key: Any, value: Any) -> None:
        """Rules of derivatives and batches that a file adds to JAX's tables."""

    def __mro_entries__(self, bases: Any) -> tuple[type, ...]:
        return (type(self._name.rpartition(".")[2], (), {}),)  # as the base of a class

    @property
    def __name__(self) -> str:
        return self._name.rpartition(".")[2]


class _PrivateModule(ModuleType):
    __path__ = []  # noqa: RUF012 importlib reads it

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _private(self.__name__, name)


def _private(module: str, name: str) -> Any:
    """A private name: written anew, or one that raises when it is used."""
    whole = f"{module}.{name}"
    if jax_forwards.released(whole) or whole.removeprefix("jax._src.") in jax_forwards.PUBLIC:
        return importlib.import_module(whole)
    known = jax_private.NAMES.get(module.removeprefix("jax._src."), {})
    if name in known:
        return known[name]
    try:
        return jax_forwards.forward(module, name)
    except AttributeError:
        return _Private(f"{module}.{name}")


class _Dtypes:
    """Groups of dtypes, without 64 bits unless they are enabled."""

    _groups: ClassVar[dict[str, str]] = {
        "floating": "float32 float64", "all_floating": "bfloat16 float16 float32 float64", "integer": "int32 int64",
        "all_integer": "int8 int16 int32 int64", "unsigned": "uint32 uint64", "complex": "complex64 complex128",
        "all_unsigned": "uint8 uint16 uint32 uint64", "boolean": "bool",
    }  # fmt: skip

    def __getattr__(self, name: str) -> list[Any]:
        parts = {
            "inexact": "floating complex", "all_inexact": "all_floating complex",
            "numeric": "floating integer unsigned complex",
            "all": "all_floating all_integer all_unsigned complex boolean", "custom_floats": "",
        }.get(name)  # fmt: skip
        if parts is not None:
            return [dtype for part in parts.split() for dtype in getattr(self, part)]
        return self.supported(
            [ml_dtypes.bfloat16 if t == "bfloat16" else np.dtype(t).type for t in self._groups[name].split()]
        )

    def supported(self, dtypes: Sequence[Any]) -> list[Any]:
        """Those that arrays can have now."""
        return [t for t in dtypes if np.dtype(t) in FDL_DTYPES and as_dtype(t) == np.dtype(t)]


dtypes = _Dtypes()


# Parameters
def _cases(options: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    draw = random.Random(zlib.adler32(name.encode()))
    return options if len(options) <= CASES else draw.sample(options, CASES)


def sample_product_testcases(*args: Any, **kwargs: Any) -> list[dict[str, Any]]:
    """Some of the products of dictionaries and values."""
    groups = [list(arg) for arg in args] + [[{key: v} for v in values] for key, values in kwargs.items()]
    sizes = [len(group) for group in groups]
    draw = random.Random(zlib.adler32(repr((sorted(kwargs), sizes)).encode()))
    count = math.prod(sizes)
    numbers = range(count) if count <= CASES else draw.sample(range(count), CASES)
    found = []
    for number in numbers:
        case: dict[str, Any] = {}
        for group in groups:
            number, place = divmod(number, len(group))
            case |= group[place]
        found.append(case)
    return found


def sample_product(*args: Any, **kwargs: Any) -> Callable[..., Any]:
    """A decorator that runs a test for some of the products."""
    return parameterized.parameters(*sample_product_testcases(*args, **kwargs))


def _or_missing(decorator: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator of tests; without parameters, which private names made, the test fails."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        def none(test: Any) -> Any:
            def fail(self: Any) -> None:
                raise Missing("reads parameters")

            return functools.update_wrapper(fail, test, ("__name__",), ())

        try:
            return decorator(*args, **kwargs)
        except parameterized.NoTestsError:
            return none

    return wrapped


parameterized.parameters = _or_missing(parameterized.parameters)
parameterized.named_parameters = _or_missing(parameterized.named_parameters)


# Tolerances
def default_tolerance() -> dict[Any, float]:
    return {np.dtype(name): unit for name, unit in _UNITS.items()}


def tolerance(dtype: Any = None, tol: Any = None) -> float:
    unit = _UNITS.get(str(np.dtype(dtype)), 0.0)
    if isinstance(tol, dict):
        return float({np.dtype(k): v for k, v in tol.items()}.get(np.dtype(dtype), unit))
    return unit if tol is None else float(tol)


def default_gradient_tolerance() -> dict[Any, float]:
    return {np.dtype(k): v for k, v in _GRADIENT_UNITS.items()}


def num_float_bits(dtype: Any) -> int:
    return int(fnp.finfo(as_dtype(dtype)).bits)


def join_tolerance(a: Any, b: Any) -> Any:
    def full(t: Any) -> dict[Any, float]:
        if isinstance(t, dict):
            return default_tolerance() | {np.dtype(k): v for k, v in t.items()}
        return {k: max(v, t or 0) for k, v in default_tolerance().items()}

    return {k: max(v, full(b)[k]) for k, v in full(a).items()}


def to_default_dtype(x: Any) -> Any:
    x = np.asarray(x)
    kind = {"b": bool, "i": int, "u": np.uint32, "f": float, "c": complex}.get(x.dtype.kind)
    return x if kind is None or x.dtype == ml_dtypes.bfloat16 else x.astype(as_dtype(kind))


def with_jax_dtype_defaults(func: Callable[..., Any], use_defaults: Any = True) -> Callable[..., Any]:
    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        found = func(*args, **kwargs)
        if isinstance(use_defaults, bool):
            return tree.map(to_default_dtype, found) if use_defaults else found
        return tree.map(lambda x, yes: to_default_dtype(x) if yes else x, found, use_defaults)

    return wrapped


def promote_like_jnp(fun: Callable[..., Any], inexact: bool = False) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = tree.flatten(args)
        dtype = result_type(*leaves) if leaves else None
        if inexact and dtype is not None and dtype.kind not in "fcV":
            dtype = as_dtype(float)
        return fun(*tree.unflatten(structure, [np.asarray(x).astype(dtype) for x in leaves]), **kwargs)

    return wrapped


# Conditions
def test_device_matches(devices: Sequence[str]) -> bool:
    return "cpu" in devices


def device_under_test() -> str:
    return "cpu"


def _no(*args: Any, **kwargs: Any) -> bool:
    return False


is_device_rocm = is_device_cuda = is_device_tpu = is_device_tpu_at_least = is_optimized_build = _no
is_cuda_compute_capability_at_least = is_cuda_version_at_least = is_cloud_tpu = is_cloud_tpu_at_least = _no


def skip_on_devices(*devices: str, **kwargs: Any) -> Callable[..., Any]:
    return unittest.skip("not on the CPU") if "cpu" in devices else lambda test: test


def run_on_devices(*devices: str, **kwargs: Any) -> Callable[..., Any]:
    return (lambda test: test) if "cpu" in devices else unittest.skip("not on the CPU")


def _as_it_is(*args: Any, **kwargs: Any) -> Any:
    return lambda test: test


request_cpu_devices = _as_it_is


def skip_on_flag(flag: str, value: Any) -> Any:
    """A decorator of tests that have no meaning while a flag has a value."""

    def decorated(test: Any) -> Any:
        @functools.wraps(test)
        def run(self: Any, *args: Any, **kwargs: Any) -> None:
            if getattr(sys.modules["jax"].config, flag, None) == value:
                raise unittest.SkipTest(f"{flag} is {value}")
            test(self, *args, **kwargs)

        return run

    return decorated


def thread_unsafe_test(*args: Any, **kwargs: Any) -> Any:
    return lambda test: test


thread_unsafe_test_class = thread_unsafe_test


def with_config(**settings: Any) -> Callable[..., Any]:
    """A decorator of classes: settings for the time of each test."""

    def decorate(cls: Any) -> Any:
        cls._settings = {**getattr(cls, "_settings", {}), **settings}
        return cls

    return decorate


@contextlib.contextmanager
def ignore_warning(*, message: str = "", category: Any = Warning, **kwargs: Any) -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=message, category=category, **kwargs)
        yield


@contextlib.contextmanager
def strict_promotion_if_dtypes_match(dtypes: Sequence[Any]) -> Iterator[None]:
    yield


def parse_version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())


def numpy_version() -> tuple[int, ...]:
    return parse_version(np.__version__)


def check_close(xs: Any, ys: Any, atol: Any = None, rtol: Any = None, err_msg: str = "") -> None:
    case = JaxTestCase()
    tree.map(lambda x, y: case.assertAllClose(x, y, check_dtypes=False, atol=atol, rtol=rtol), xs, ys)


class JaxTestLoader(absltest.TestLoader):
    """The loader that files name when they run by themselves."""


class JaxTestCase(parameterized.TestCase):
    """Comparisons with NumPy, and of compiled with eager calls."""

    _settings: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        super().setUp()
        self._rng = np.random.RandomState(zlib.adler32(self._testMethodName.encode()))
        self.enterContext(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        config = sys.modules["jax"].config
        for name, value in self._settings.items():
            old = getattr(config, name)
            config.update(name, value)
            self.addCleanup(config.update, name, old)

    def rng(self) -> Any:
        return self._rng

    def assertDtypesMatch(self, x: Any, y: Any, *, canonicalize_dtypes: bool = True) -> None:
        def of(v: Any) -> np.dtype:
            found = (
                fnp.result_type(v)
                if isinstance(v, (bool, int, float, complex))
                else np.dtype(getattr(v, "dtype", None) or np.asarray(v).dtype)
            )
            return as_dtype(found) if canonicalize_dtypes and found.kind in "biufc" else found

        self.assertEqual(of(x), of(y))

    def assertArraysEqual(self, x: Any, y: Any, *, check_dtypes: bool = True, err_msg: str = "", **kwargs: Any) -> None:
        if check_dtypes:
            self.assertDtypesMatch(x, y)
        if hasattr(x, "dtype") and x.dtype == fdl.dtypes.key:
            x, y = (np.asarray(v) for v in (x, y))
        assert_array_equal(np.asarray(x), np.asarray(y), err_msg)

    def assertArraysAllClose(
        self, x: Any, y: Any, *, check_dtypes: bool = True, atol: Any = None, rtol: Any = None, err_msg: str = ""
    ) -> None:
        self.assertEqual(np.shape(x), np.shape(y))
        if check_dtypes:
            self.assertDtypesMatch(x, y)
        a, b = (np.asarray(v) for v in (x, y))
        low = [max(tolerance(d, t) for d in (a.dtype, b.dtype)) for t in (atol, rtol)]
        wide: list[Any] = [v.astype(np.float32) if v.dtype == ml_dtypes.bfloat16 else v for v in (a, b)]
        assert_allclose(wide[0], wide[1], atol=low[0], rtol=low[1], err_msg=err_msg)

    def assertAllClose(
        self,
        x: Any,
        y: Any,
        *,
        check_dtypes: bool = True,
        atol: Any = None,
        rtol: Any = None,
        canonicalize_dtypes: bool = True,
        err_msg: str = "",
    ) -> None:
        if isinstance(x, dict):
            self.assertEqual(set(x), set(y))
            for key in x:
                self.assertAllClose(x[key], y[key], check_dtypes=check_dtypes, atol=atol, rtol=rtol)
        elif isinstance(x, (list, tuple)) and not hasattr(x, "__array__"):
            self.assertEqual(len(x), len(y))
            for a, b in zip(x, y, strict=True):
                self.assertAllClose(a, b, check_dtypes=check_dtypes, atol=atol, rtol=rtol)
        elif x is None or isinstance(x, str):
            self.assertEqual(x, y)
        else:
            self.assertArraysAllClose(x, y, check_dtypes=check_dtypes, atol=atol, rtol=rtol, err_msg=err_msg)

    def _CheckAgainstNumpy(
        self, numpy_reference_op: Any, lax_op: Any, args_maker: Any, check_dtypes: bool = True, tol: Any = None,
        atol: Any = None, rtol: Any = None, canonicalize_dtypes: bool = True,
    ) -> None:  # fmt: skip
        args = args_maker()
        found, expected = lax_op(*args), numpy_reference_op(*args)
        options = {"atol": tol if atol is None else atol, "rtol": tol if rtol is None else rtol}
        self.assertAllClose(expected, found, check_dtypes=check_dtypes, **options)

    def _CompileAndCheck(
        self, fun: Any, args_maker: Any, *, check_dtypes: bool = True, tol: Any = None, rtol: Any = None,
        atol: Any = None, check_cache_misses: bool = True,
    ) -> None:  # fmt: skip
        args = args_maker()
        options = {"atol": tol if atol is None else atol, "rtol": tol if rtol is None else rtol}
        eager, compiled = fun(*args), fdl.jit(fun)(*args)
        self.assertAllClose(eager, compiled, check_dtypes=check_dtypes, **options)

    def _GetArgsMaker(self, rng: Any, shapes: Any, dtypes: Any, np_arrays: bool = True) -> Any:
        def make() -> list[Any]:
            made = [rng(shape, dtype or as_dtype(float)) for shape, dtype in zip(shapes, dtypes, strict=True)]
            return (
                made if np_arrays else [fnp.asarray(a) if isinstance(a, np.generic | np.ndarray) else a for a in made]
            )

        return make

    def assertNoWarnings(self) -> Any:
        return ignore_warning()

    @contextlib.contextmanager
    def assertDeprecationWarnsOrRaises(self, deprecation_id: str, message: str) -> Iterator[None]:
        raise Missing("expects a deprecation of JAX's")
        yield


class BufferDonationTestCase(JaxTestCase):
    """Not compared."""


def __getattr__(name: str) -> Any:
    if name.startswith(("__", "pytest_", "hook")) and not hasattr(jax_helpers, name):
        raise AttributeError(name)
    for module in (jax_helpers, jax_operands):
        if name in vars(module):
            return vars(module)[name]
    return _Private(f"jax._src.test_util.{name}")


class _Setting:
    """A setting as ``jax._src.config`` has it: its value, and a context in which it is another."""

    def __init__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
        self._name = name

    @property
    def value(self) -> Any:
        return getattr(sys.modules["jax"].config, f"jax_{self._name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        import jax

        if self._name == "update":
            return jax.config.update(*args)
        known = getattr(jax, self._name, None)
        return known(*args, **kwargs) if known is not None else ignore_warning()


def _setting(name: str) -> Any:
    return jax_private.NAMES["config"].get(name) or _Setting(name)


class _PrivateFinder:
    """Makes a stand-in of every private module that fdl does not have."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        return ModuleSpec(fullname, self, is_package=True) if fullname.startswith("jax._src.") else None  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> ModuleType:
        return _PrivateModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        if path := jax_forwards.released(module.__name__):
            jax_forwards.execute(path, module)
        parent, _, name = module.__name__.rpartition(".")
        setattr(sys.modules[parent], name, module)


def install() -> None:
    """Put the stand-ins where test files import them from."""
    import jax
    import jax._src

    from fdl.as_jax.names import MODULES

    known = {name for name in MODULES if name.startswith("jax._src.")}
    private = _PrivateFinder()
    finder = next(f for f in sys.meta_path if type(f).__module__ == "fdl.as_jax.finder")
    find = finder.find_spec

    def find_spec(fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname.startswith("jax._src.") and fullname not in known:
            return private.find_spec(fullname, path, target)
        try:
            return find(fullname, path, target)
        except ImportError:
            if not fullname.startswith("jax.experimental."):
                raise
            return ModuleSpec(fullname, private, is_package=True)  # type: ignore[arg-type]

    vars(finder)["find_spec"] = find_spec
    source = sys.modules["jax._src"]
    stand_in = ModuleType("jax._src.config")
    stand_in.parse_flags_with_absl = lambda: None  # type: ignore[attr-defined]
    stand_in.__getattr__ = _setting  # type: ignore[method-assign]
    for name, value in (("_impl", lambda key: jax_private.THREEFRY), ("_base_array", fdl.random.key_data)):
        setattr(Value, name, property(value))
    for name in "BCSR COO CSC CSR CuSparseEfficiencyWarning coo_todense_p csr_todense_p todense_p".split():
        vars(importlib.import_module("jax.experimental.sparse"))[name] = _Private(f"jax.experimental.sparse.{name}")
    jax_private.NAMES["jax.experimental.sparse.test_util"] = {"SparseTestCase": JaxTestCase}
    vars(jax)["ds"] = _Private("jax.ds")
    named = sys.modules["jax._src"].dtypes
    canonical = named.canonicalize_dtype

    def canonicalize_dtype(dtype: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return canonical(dtype)
        except fdl.errors.DtypeError:
            return np.dtype("V1") if args else None

    named.canonicalize_dtype = canonicalize_dtype
    for name, module in (("test_util", sys.modules[__name__]), ("config", stand_in)):
        sys.modules[f"jax._src.{name}"] = module
        setattr(source, name, module)
    kind: Any = type(source)
    kind.__getattr__ = _submodule(kind.__getattr__)


def _submodule(before: Callable[..., Any]) -> Callable[..., Any]:
    def get(self: Any, name: str) -> Any:
        if self.__name__.startswith("jax._src") and not name.startswith("__"):
            try:
                return before(self, name)
            except AttributeError:
                if self.__name__ == "jax._src":
                    return importlib.import_module(f"{self.__name__}.{name}")
                return _private(self.__name__, name)
        if name.endswith("_p"):  # a primitive of JAX's
            with contextlib.suppress(AttributeError):
                return before(self, name)
            return _Private(f"{self.__name__}.{name}")
        return before(self, name)

    return get


install()
