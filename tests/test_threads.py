"""How many threads there are, and that calls with several of them are right in all surroundings."""

import math
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import threads
from fdl.compile.runtime.pool import the_pool

ROWS = 512


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    before = threads._chosen
    yield
    threads._chosen = before


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


class TestNumber:
    def test_set_num_threads_is_what_get_num_threads_returns(self) -> None:
        fdl.set_num_threads(3)
        assert fdl.get_num_threads() == 3

    @pytest.mark.parametrize("count", [0, -1])
    def test_less_than_one_thread_is_an_error(self, count: int) -> None:
        with pytest.raises(ValueError, match="at least one"):
            fdl.set_num_threads(count)

    @pytest.mark.parametrize("count", [1.0, "2", True, None])
    def test_no_integer_is_an_error(self, count: Any) -> None:
        with pytest.raises(TypeError, match="integer"):
            fdl.set_num_threads(count)

    @pytest.mark.parametrize(
        ("variables", "expected"),
        [
            ({"FDL_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
            ({"OMP_NUM_THREADS": "5,2"}, 5),
            ({"FDL_NUM_THREADS": "many", "OMP_NUM_THREADS": "0"}, None),
            ({}, None),
        ],
    )
    def test_environment(self, variables: dict[str, str], expected: int | None, monkeypatch: Any) -> None:
        for name in ("FDL_NUM_THREADS", "OMP_NUM_THREADS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(threads, "_affinity", lambda: 7)
        monkeypatch.setattr(threads, "quota", lambda: 6.5)
        assert threads._default.__wrapped__() == (expected or 7)

    def test_all_processors_without_a_quota(self, monkeypatch: Any) -> None:
        for name in ("FDL_NUM_THREADS", "OMP_NUM_THREADS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(threads, "_affinity", lambda: 5)
        monkeypatch.setattr(threads, "quota", lambda: math.inf)
        assert threads._default.__wrapped__() == 5

    def test_no_more_than_the_quota(self, monkeypatch: Any) -> None:
        for name in ("FDL_NUM_THREADS", "OMP_NUM_THREADS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(threads, "_affinity", lambda: 7)
        monkeypatch.setattr(threads, "quota", lambda: 1.5)
        assert threads._default.__wrapped__() == 2


class TestQuota:
    def test_version_2_takes_the_least_of_all_groups_above(self, tmp_path: Path) -> None:
        root = write(
            tmp_path,
            {
                "proc/self/cgroup": "0::/a/b",
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000",
                "sys/fs/cgroup/a/cpu.max": "150000 100000",
                "sys/fs/cgroup/cpu.max": "max 100000",
            },
        )
        assert threads.quota(root) == 1.5

    def test_version_1(self, tmp_path: Path) -> None:
        root = write(
            tmp_path,
            {
                "proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/x\n0::/",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "25000",
            },
        )
        assert threads.quota(root) == 2.0

    def test_version_1_inside_a_container_shows_the_group_as_the_root(self, tmp_path: Path) -> None:
        root = write(
            tmp_path,
            {
                "proc/self/cgroup": "4:cpu:/docker/0123",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
        )
        assert threads.quota(root) == 3.0

    @pytest.mark.parametrize("text", ["max 100000", "-1 100000", "rubbish", "", "100 0"])
    def test_no_limit(self, text: str, tmp_path: Path) -> None:
        root = write(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": text})
        assert threads.quota(root) == math.inf

    def test_no_control_groups(self, tmp_path: Path) -> None:
        assert threads.quota(tmp_path) == math.inf


@fdl.jit
def layer(x: Any, w: Any) -> Any:
    """Long enough for several threads."""
    return fnp.tanh(x @ w).sum(axis=0)


def operands() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(size=(ROWS, 256)).astype("f"), random.normal(size=(256, 256)).astype("f") / 16


def expected() -> np.ndarray:
    x, w = (a.astype(float) for a in operands())
    return np.tanh(x @ w).sum(axis=0)


def check(result: Any) -> None:
    np.testing.assert_allclose(np.asarray(result), expected(), rtol=1e-4, atol=1e-3)


def in_child(queue: Any) -> None:
    check(layer(*operands()))
    queue.put(fdl.get_num_threads())


class TestPool:
    def test_threads_are_reserved_once(self) -> None:
        pool = the_pool()
        assert pool.reserve(3) == 3
        assert pool.reserve(2) == 2
        assert the_pool() is pool

    def test_same_bits_for_any_number_of_threads(self) -> None:
        fdl.set_num_threads(1)
        alone = np.asarray(layer(*operands()))
        for count in (2, 3, 8):
            fdl.set_num_threads(count)
            for _ in range(3):
                np.testing.assert_array_equal(np.asarray(layer(*operands())), alone)

    def test_a_forked_child_has_threads_of_its_own(self) -> None:
        fdl.set_num_threads(2)
        check(layer(*operands()))
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        child = context.Process(target=in_child, args=(queue,))
        child.start()
        assert queue.get(timeout=600) == 2
        child.join(600)
        assert child.exitcode == 0
        check(layer(*operands()))

    def test_several_python_threads_at_once(self) -> None:
        fdl.set_num_threads(2)
        results: list[Any] = []

        def call() -> None:
            for _ in range(5):
                results.append(np.asarray(layer(*operands())))

        callers = [threading.Thread(target=call) for _ in range(3)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert len(results) == 15
        check(results[0])
        for result in results:
            np.testing.assert_array_equal(result, results[0])

    def test_a_host_call_may_run_a_compiled_function(self) -> None:
        fdl.set_num_threads(2)

        def again(x: np.ndarray, w: np.ndarray) -> np.ndarray:
            return np.asarray(layer(x, w))

        @fdl.jit
        def outer(x: Any, w: Any) -> Any:
            total = layer(x, w)
            inner = fdl.pure_callback(again, fdl.ShapeDtypeStruct((256,), "float32"), x, w)
            return total + inner, total - inner

        total, difference = outer(*operands())
        check(total / 2)
        assert not np.asarray(difference).any()

    def test_an_exception_of_a_host_call_leaves_the_threads_ready(self) -> None:
        fdl.set_num_threads(2)

        def fail(x: np.ndarray) -> np.ndarray:
            raise LookupError("the callback's own")

        @fdl.jit
        def outer(x: Any, w: Any) -> Any:
            total = layer(x, w)
            bad = fdl.pure_callback(fail, fdl.ShapeDtypeStruct((256,), "float32"), total)
            return fnp.tanh(x @ (w + bad))

        for _ in range(3):
            with pytest.raises(LookupError, match="the callback's own"):
                outer(*operands())
        check(layer(*operands()))

    def test_an_exception_inside_a_loop(self) -> None:
        fdl.set_num_threads(3)
        seen = []

        def fail(i: np.ndarray, x: np.ndarray) -> np.ndarray:
            seen.append(int(i))
            if i == 2:
                raise LookupError("third")
            return x

        @fdl.jit
        def outer(x: Any, w: Any) -> Any:
            def body(carry: Any, i: Any) -> Any:
                following = fnp.tanh(carry @ w)
                kind = fdl.ShapeDtypeStruct(following.shape, "float32")
                return fdl.pure_callback(fail, kind, i, following), None

            return fdl.lax.scan(body, x, fnp.arange(5))[0]

        with pytest.raises(LookupError, match="third"):
            outer(*operands())
        assert seen == [0, 1, 2]

    def test_the_process_ends(self, tmp_path: Path) -> None:
        program = (
            "import numpy as np, fdl; fdl.set_num_threads(2);"
            "print(fdl.jit(lambda x: (x @ x).sum())(np.ones((256, 256), 'f')))"
        )
        root = Path(fdl.__file__).parent.parent
        environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=600, env=environment, check=True
        )
        assert float(done.stdout) == 256.0**3
