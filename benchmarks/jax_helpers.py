"""Helpers of `jax._src.test_util` for parameters, messages and meshes, written anew; see jax_test_util.py."""

import contextlib
import io
import re
import sys
import unittest
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl.testing import parameterized

import fdl
from fdl import tree
from fdl.dtypes import as_dtype


class _Flag(NamedTuple):
    """A flag of the command line."""

    value: Any


TEST_NUM_THREADS, TEST_WITH_PERSISTENT_COMPILATION_CACHE = _Flag(0), _Flag(False)
NUM_GENERATED_CASES = _Flag(3)


def _implementation(name: str, compiled: Any) -> Any:
    def jit(f: Any, *args: Any, **kwargs: Any) -> Any:
        return compiled(f, *args, **kwargs)

    vars(jit)["_name"] = name
    return jit


JIT_IMPLEMENTATION = [_implementation("jit", fdl.jit), _implementation("noop", lambda f, *_, **__: f)]


def sanitize_test_name(text: str) -> str:
    return re.sub(r"\W+", "_", text).strip("_")


def parameterized_filterable(
    *,
    kwargs: Sequence[dict[str, Any]],
    testcase_name: Callable[..., str] | None = None,
    one_containing: str | None = None,
) -> Callable[..., Any]:
    """A decorator that runs a test for each dictionary, under a name of letters and digits."""

    def name(case: dict[str, Any]) -> str:
        if testcase_name is not None:
            text = str(testcase_name(case))
        else:
            text = case.get("testcase_name") or "_".join(f"{k}={case[k]}" for k in sorted(case))
        return sanitize_test_name(text)

    return parameterized.named_parameters(*[{**case, "testcase_name": f"_{name(case)}"} for case in kwargs])


def check_raises(thunk: Callable[[], Any], err_type: Any, msg: str) -> None:
    try:
        thunk()
    except err_type as error:
        assert str(error).startswith(msg), f"{error} does not match {msg}"
    else:
        raise AssertionError(f"{err_type.__name__} not raised")


def check_raises_regexp(thunk: Callable[[], Any], err_type: Any, pattern: str) -> None:
    try:
        thunk()
    except err_type as error:
        assert re.match(pattern, str(error)), f"{error} does not match {pattern}"
    else:
        raise AssertionError(f"{err_type.__name__} not raised")


def format_shape_dtype_string(shape: Any, dtype: Any) -> str:
    name = getattr(np.dtype(dtype), "name", str(dtype)) if dtype is not None else "None"
    if not isinstance(shape, (tuple, list)):
        return f"{name}{shape}" if np.ndim(shape) == 0 and not isinstance(shape, int) else f"{name}[{shape}]"
    return f"{name}[{','.join(map(str, shape))}]"


def check_eq(xs: Any, ys: Any, err_msg: str = "") -> None:
    tree.map(lambda x, y: np.testing.assert_array_equal(np.asarray(x), np.asarray(y), err_msg), xs, ys)


def _check_dtypes_match(xs: Any, ys: Any) -> None:
    def check(x: Any, y: Any) -> None:
        a, b = (as_dtype(getattr(v, "dtype", None) or np.asarray(v).dtype) for v in (x, y))
        assert a == b, f"dtype {a} is not {b}"

    tree.map(check, xs, ys)


def rand_like(rng: Any, x: Any) -> Any:
    shape, dtype = np.shape(x), np.dtype(as_dtype(getattr(x, "dtype", None) or np.asarray(x).dtype))
    drawn = rng.randn(*shape) + (1j * rng.randn(*shape) if dtype.kind == "c" else 0)
    return np.asarray(drawn).astype(dtype)


@contextlib.contextmanager
def capture_stdout() -> Iterator[Callable[[], str]]:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        yield text.getvalue


@contextlib.contextmanager
def capture_stderr() -> Iterator[Callable[[], str]]:
    text = io.StringIO()
    with contextlib.redirect_stderr(text):
        yield text.getvalue


@contextlib.contextmanager
def global_config_context(**settings: Any) -> Iterator[None]:
    config = sys.modules["jax"].config
    before = {name: getattr(config, name) for name in settings}
    try:
        for name, value in settings.items():
            config.update(name, value)
        yield
    finally:
        for name, value in before.items():
            config.update(name, value)


def iter_eqns(jaxpr: Any) -> Iterator[Any]:
    from fdl.as_jax.jaxpr import subjaxprs

    yield from jaxpr.eqns
    for inner in subjaxprs(jaxpr):
        yield from iter_eqns(inner)


def pytest_mark_if_available(marker: str) -> Callable[..., Any]:
    return lambda test: test


def create_mesh(shape: Sequence[int], names: Sequence[str], *args: Any, axis_types: Any = None, **kwargs: Any) -> Any:
    if any(extent != 1 for extent in shape):
        raise unittest.SkipTest("one device")
    import jax

    return jax.make_mesh(tuple(shape), tuple(names))


def with_explicit_mesh(sizes: Sequence[int], names: Sequence[str], *args: Any, **kwargs: Any) -> Callable[..., Any]:
    """A decorator of tests that take a mesh."""

    def decorate(test: Any) -> Any:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            import jax

            mesh = create_mesh(sizes, names)
            with jax.set_mesh(mesh):
                return test(*arguments, **options, mesh=mesh)

        return wrapped

    return decorate


def complex_plane_sample(dtype: Any, size_re: int = 10, size_im: int | None = None) -> Any:
    """Infinite, extreme, small and zero parts, along both axes, in all pairs."""
    limits = np.finfo(dtype)

    def parts(count: int) -> Any:
        if count == 0:
            return np.array([-np.inf, 0.0, np.inf], limits.dtype)
        powers = np.linspace(np.log10(limits.max), np.log10(limits.tiny), count)
        with np.errstate(over="ignore"):
            half = (10.0**powers).astype(limits.dtype)
        half[0] = limits.max
        half[-1] = limits.tiny
        return np.concatenate([[-np.inf], -half, [0.0], half[::-1], [np.inf]]).astype(limits.dtype)

    real, imag = parts(size_re), parts(size_re if size_im is None else size_im)
    plane = np.empty((len(imag), len(real)), dtype)
    plane.real, plane.imag = real[None, :], imag[:, None]
    return plane
