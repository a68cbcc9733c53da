"""The application: joined batches, limits, states and metrics, called as a server would call it."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import export
from fdl.errors import ServeError
from fdl.serve import application
from tests.serve.client import Answer, call, post, served

RNG = np.random.default_rng(0)
W, X = RNG.normal(size=(5, 3)).astype(np.float32), RNG.normal(size=(64, 5)).astype(np.float32)
#: Seconds that no test waits for.
NEVER = 600.0
ROW, NUMBER = fdl.ShapeDtypeStruct((1, 5), "float32"), fdl.ShapeDtypeStruct((1,), "float32")


def tanh(params: Any, x: Any) -> Any:
    return fnp.tanh(x @ params)


def samples(answer: Answer) -> dict[str, float]:
    """The samples of Prometheus' text."""
    lines = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z_]+(\{[a-z]+="[^"]*"\})? [-+.e\d]+', line) for line in lines)
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_rows_of_requests_are_joined_and_nothing_is_compiled_again() -> None:
    traced = list[int]()

    def counted(params: Any, x: Any) -> Any:
        traced.append(x.shape[0])
        return tanh(params, x)

    app = application(counted, W, ROW, batch_sizes=[4, 16], max_delay_ms=1000 * NEVER, timeout=NEVER)

    async def talk() -> None:
        before, rows = len(traced), [1, 3, 0, 5, 2, 5]  # 16 together: the batch is full and does not wait
        places = [slice(end - count, end) for count, end in zip(rows, np.cumsum(rows), strict=True)]
        answers = await asyncio.gather(*(post(app, X[place].tolist()) for place in places))
        for place, answer in zip(places, answers, strict=True):
            found = np.array(answer.json, np.float32).reshape(-1, 3)
            np.testing.assert_allclose(found, np.tanh(X[place] @ W), rtol=1e-5, atol=1e-6)
        large = await post(app, X[:37].tolist())  # more than fit into a batch: 16 + 16 + 5
        np.testing.assert_allclose(large.json, np.tanh(X[:37] @ W), rtol=1e-5, atol=1e-6)
        assert len(traced) == before and {*traced} == {4, 16}
        told = samples(await call(app, "/metrics"))
        assert told["fdl_serve_batch_requests_count"] == 2 and told["fdl_serve_batch_requests_sum"] == 7
        assert told["fdl_serve_batch_rows_count"] == 4 and told["fdl_serve_batch_rows_sum"] == 16 + 37
        assert told['fdl_serve_requests_total{code="200"}'] == told["fdl_serve_request_seconds_count"] == 7
        assert told["fdl_serve_queue_depth"] == told["fdl_serve_errors_total"] == 0 and told["fdl_serve_ready"] == 1

    served(app, talk)


def test_bits_of_one_size_do_not_depend_on_other_requests() -> None:
    app = application(tanh, W, ROW, batch_sizes=[8], max_delay_ms=0)

    async def talk() -> None:
        alone = [(await post(app, X[i : i + 1].tolist())).body for i in range(20)]
        together = await asyncio.gather(*(post(app, X[i : i + 1].tolist()) for i in range(20)))
        assert alone == [answer.body for answer in together]

    served(app, talk)


def test_one_bad_request_of_a_batch_does_not_spoil_the_others() -> None:
    def checked(x: Any) -> Any:
        fdl.debug.check(fnp.all(x >= 0), "x must not be negative, got {x}", x=x.min())
        return fnp.sqrt(x)

    app = application(checked, None, np.ones(1, np.float32), batch_sizes=[4], max_delay_ms=1000 * NEVER)

    async def talk() -> None:
        good, bad, last = await asyncio.gather(post(app, [4]), post(app, [-2]), post(app, [9, 16]))
        assert (good.json, last.json) == ([2], [3, 4])
        assert bad.status == 422 and "x must not be negative, got -2" in bad.json["error"]

    served(app, talk)


def test_a_function_that_fails_is_told_without_its_reasons(caplog: pytest.LogCaptureFixture) -> None:
    def failing(x: np.ndarray) -> np.ndarray:
        if x[0]:
            raise ZeroDivisionError("a secret")
        return x

    app = application(lambda x: fdl.pure_callback(failing, x, x), None, NUMBER, max_batch=1)

    async def talk() -> None:
        answer = await post(app, [1])
        assert answer.status == 500 and b"secret" not in answer.body
        assert (await post(app, [0])).json == [0]

    served(app, talk)
    assert "a secret" in caplog.text


def test_queue_and_time_are_limited() -> None:
    app = application(tanh, W, ROW, batch_sizes=[8], max_delay_ms=1000 * NEVER, max_queue=2, timeout=0.2)

    async def talk() -> None:
        row = X[:1].tolist()
        late, later, refused = await asyncio.gather(post(app, row), post(app, row), post(app, row))
        assert (late.status, later.status, refused.status) == (504, 504, 503)
        assert refused.headers["retry-after"] == "1" and "2 requests wait already" in refused.json["error"]
        app.timeout = NEVER
        assert (await post(app, X[:8].tolist())).status == 200  # those that were late are not in the queue any more
        told = samples(await call(app, "/metrics"))
        assert told['fdl_serve_requests_total{code="503"}'] == 1 and told["fdl_serve_errors_total"] == 3
        assert told["fdl_serve_requests_in_flight"] == 0

    served(app, talk)


def test_bodies_are_limited() -> None:
    app = application(tanh, W, ROW, batch_sizes=[8], max_delay_ms=0, max_body=100)

    async def talk() -> None:
        json = {"content_type": "application/json"}
        told = await call(app, "/predict", b"[" + b" " * 100, **json)
        counted = await call(app, "/predict", [b" " * 60, b" " * 60], **json)
        assert (told.status, counted.status) == (413, 413) and told.headers["connection"] == "close"
        assert (await call(app, "/predict", [b"[[1,2,", b"3,4,5]]"], **json)).status == 200
        assert (await call(app, "/predict", b"[]", content_encoding="gzip", **json)).status == 415

    served(app, talk)


def test_paths_and_methods() -> None:
    app = application(tanh, W, ROW, max_batch=2)

    async def talk() -> None:
        assert (await call(app, "/model")).json["inputs"] == {"input": "float32[rows, 5]"}
        assert (await call(app, "/health", method="HEAD")).body == b""
        assert (await call(app, "/predict")).headers["allow"] == "POST"
        assert (await call(app, "/other")).status == 404

    served(app, talk)


def test_health_follows_the_life_of_the_application() -> None:
    """Requests that are in flight when the server leaves are answered, however long batches would wait."""
    app = application(tanh, W, ROW, batch_sizes=[8], max_delay_ms=1000 * NEVER, timeout=NEVER)

    async def early() -> tuple[Answer, Answer]:
        answers = await call(app, "/health"), await post(app, X[:1].tolist())
        while app.state == "starting":
            await asyncio.sleep(0.001)
        return answers

    async def whole() -> None:
        health, refused = await early()
        assert (health.status, health.json) == (503, {"status": "starting"})
        assert refused.status == 503 and refused.headers["retry-after"] == "1"
        assert (await call(app, "/health")).json == {"status": "ready"}
        waiting = [asyncio.create_task(post(app, X[i : i + 1].tolist())) for i in range(3)]
        while samples(await call(app, "/metrics"))["fdl_serve_queue_depth"] < 3:
            await asyncio.sleep(0)
        app.stop()
        stopping = await call(app, "/health")
        assert (stopping.status, stopping.json) == (503, {"status": "stopping"})
        assert stopping.headers["connection"] == "close"
        new = await post(app, X[3:4].tolist())
        await app.close()
        for i, answer in enumerate([*await asyncio.gather(*waiting), new]):
            np.testing.assert_allclose(answer.json, np.tanh(X[i : i + 1] @ W), rtol=1e-5, atol=1e-6)
        assert (await post(app, X[:1].tolist())).status == 503
        assert app.metrics.accepted == app.metrics.answered.total() == 6

    asyncio.run(whole())


def test_exported_functions_and_programs(tmp_path: Path) -> None:
    model = export.export(tanh, W, fdl.ShapeDtypeStruct((4, 5), "float32"))
    export.save(tmp_path / "model.safetensors", model)
    program = export.program(lambda x, scale: {"s": (x * scale).sum()}, np.ones(3, np.float32), np.float32(2))
    rows = application(tmp_path, max_delay_ms=0)  # a folder, as of models of fdl_spark.ml
    whole = application(program)
    assert repr(whole) == "<application: 0 float32[3], 1 float32 -> s float32; each request is a batch>"

    async def ask_rows() -> None:
        answer = await post(rows, X[:6].tolist())
        assert np.array(answer.json, np.float32).tobytes() == np.asarray(model(X[:6])).tobytes()

    async def ask_whole() -> None:
        assert (await post(whole, {"0": [1, 2, 3], "1": 4})).json == {"s": 24}
        assert (await post(whole, {"0": [1, 2], "1": 4})).status == 422

    served(rows, ask_rows)
    served(whole, ask_whole)


def test_a_function_that_does_not_compile_is_not_ready(caplog: pytest.LogCaptureFixture) -> None:
    def failing(x: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError

    app = application(lambda x: fdl.pure_callback(failing, x, x), None, np.ones(1, np.float32), max_batch=1)

    async def talk() -> None:
        assert (await call(app, "/health")).json == {"status": "failed"}
        assert (await post(app, [1])).status == 503

    served(app, talk)
    assert app.failure is not None and "cannot be computed" in caplog.text


def test_computing_does_not_stop_the_event_loop() -> None:
    def slow(x: np.ndarray) -> np.ndarray:
        while x[0] and not heard:
            time.sleep(0.001)
        return x

    heard = list[Answer]()
    app = application(lambda x: fdl.pure_callback(slow, x, x), None, NUMBER, max_batch=1)

    async def talk() -> None:
        waiting = asyncio.create_task(post(app, [1]))
        await asyncio.sleep(0.01)
        heard.append(await call(app, "/health"))
        assert (await waiting).json == [1]

    served(app, talk)


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((tanh, W), {}, r"application\(tanh\) needs an example"),
        ((3, None, ROW), {}, "takes a function, or what fdl.export.load gives; got int"),
        ((lambda x: x.sum(), None, ROW), {}, r"result of 32 rows has shape \(\); it must have a row for each"),
        ((lambda x: {"a": x, "b": x[:1]}, None, ROW), {}, r"result\['b'\] of 32 rows"),
        ((lambda x: None, None, ROW), {}, "returns no arrays"),
        ((lambda x: x["a"], None, {"a": ROW, "b": fdl.ShapeDtypeStruct((), "int32")}), {}, "all with rows first"),
        ((lambda x: x["a.b"], None, {"a.b": ROW, "a": {"b": ROW}}), {}, "must have different names"),
        (
            (fdl.random.split, None, fdl.random.key(0)),
            {"join": False},
            "bodies hold booleans and numbers",
        ),
        ((tanh, W, ROW), {"max_queue": 0}, "max_queue must be an integer of at least 1, got 0"),
        ((tanh, W, ROW), {"timeout": 0}, "timeout must be above 0"),
        ((tanh, W, ROW), {"batch_sizes": [0, 4]}, "batch sizes must be at least 1"),
        ((export.export(tanh, W, ROW), W), {}, "an exported function has its parameters"),
    ],
)
def test_what_cannot_be_served_is_told(arguments: Any, options: Any, said: str) -> None:
    with pytest.raises(ServeError, match=said):
        application(*arguments, **options)
