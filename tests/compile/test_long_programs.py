"""Programs of many leaves and operations: what compiles them is linear in their length, and does not recurse."""

import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from benchmarks.first_calls import KINDS
from fdl import lax
from fdl.compile import pipeline
from fdl.compile.codegen import tape
from fdl.compile.llvm.target import host_target
from fdl.compile.runtime.cache import ObjectCache

OPERATIONS = 700


@pytest.fixture(autouse=True)
def as_users_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted is the compiler, without its verifier; every program is compiled."""
    monkeypatch.setattr(fdl.config, "debug_compiler", False)
    monkeypatch.setattr(pipeline, "default_cache", lambda: ObjectCache(None))


def calls(run: Callable[[], Any]) -> int:
    """How many functions are called, those written in C included."""
    count = 0

    def seen(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        run()
    finally:
        sys.setprofile(before)
    return count


def loops(xp: Any, n: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """n / 10 scans and as many branches."""

    def run(x: Any) -> Any:
        for i in range(n // 10):
            x, _ = lax.scan(lambda c, _: (fnp.sin(c), None), x, None, length=3)
            x = lax.cond(x.sum() > i, lambda x: x * 2, lambda x: x - 1, x)
        return x

    return run, (np.ones(3, "f"),)


@pytest.mark.parametrize("kind", [*KINDS.values(), loops])
def test_calls_grow_like_the_program(kind: Callable[..., Any]) -> None:
    def first_call(n: int) -> Any:
        function, arguments = kind(fdl, n)
        return fdl.jit(function)(*arguments)

    first_call(20)
    size = 400 if kind is loops else 160
    short, long = (calls(lambda n=n: first_call(n)) for n in (size, 2 * size))
    assert long <= 2.2 * short


def test_results_take_the_memory_of_the_donated_leaves_that_they_are_made_of() -> None:
    function, arguments = KINDS["adam"](fdl, 70)
    program = fdl.make_program(function)(*arguments)
    donate = tuple(70 * [True] + 70 * [False] + 140 * [True])
    expected = {n: n if n < 70 else n + 70 for n in range(210)}
    assert dict(pipeline.build_archive(program, donate).reused) == expected


@pytest.fixture
def shallow() -> Iterator[None]:
    """No more than 400 frames on top of the test's: fewer than the operations of a program."""
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + 400)
    yield
    sys.setrecursionlimit(before)


def deep(x: Any) -> Any:
    for _ in range(OPERATIONS // 2):
        x = fnp.sin(x) * 1.01
    return x


def cheap(x: Any) -> Any:
    """What a backward loop would rather compute again."""
    for n in range(OPERATIONS // 2):
        x = (x + 1.5) * (0.5 + n % 3)
    return x


def scanned(body: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: lax.scan(lambda c, _: (body(c), c), x, None, length=2)[1].sum()


DEEP: dict[str, Callable[..., Any]] = {
    "chain": deep,
    "gradient": fdl.grad(lambda x: deep(x).sum()),
    "batched gradient": fdl.vmap(fdl.grad(lambda x: deep(x).sum())),
    "jvp": lambda x: fdl.jvp(deep, (x,), (x,)),
    "second order": lambda x: fdl.jvp(fdl.grad(lambda x: cheap(x).sum()), (x,), (x,)),
    "gradient of a scan": fdl.grad(scanned(deep)),
    "gradient of a cheap scan": fdl.grad(scanned(cheap)),
    "checkpoint": fdl.grad(lambda x: fdl.checkpoint(deep)(x).sum()),
    "branch": fdl.grad(lambda x: lax.cond(x.sum() > 0, deep, cheap, x).sum()),
    "while": lambda x: lax.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, deep(s[1])), (0, x))[1],
    "moves": lambda x: [x := fnp.flip(x[::-1].reshape(2, 2, 1), 0).reshape(4) for _ in range(OPERATIONS)][-1],
}


@pytest.mark.parametrize("name", DEEP)
def test_long_chains_do_not_recurse(name: str, shallow: None) -> None:
    function, x = DEEP[name], np.full((4, 1) if "batched" in name else 4, 0.25, "f")
    found = fdl.jit(function)(x)
    assert np.isfinite(np.asarray(fdl.tree.leaves(found)[0])).all()
    program = fdl.make_program(function)(x)
    assert pickle.loads(pickle.dumps(program)).digest == program.digest
    assert str(program)


def test_numbers_and_offsets_of_operands_keep_apart() -> None:
    """The word of an operand holds both: more leaves than 16 bits count, and arenas of more than 4 GiB."""
    assert 2**tape.NUMBER_BITS > 10**6
    assert 2 ** (63 - tape.NUMBER_BITS) > 2**38
    assert host_target().tuning.tape_steps > 0
