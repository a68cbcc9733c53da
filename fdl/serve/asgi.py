"""The ASGI application: paths, limits and states of a served function.

https://asgi.readthedocs.io/en/latest/specs/www.html
"""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import numpy as np

from fdl import export
from fdl.errors import CheckError, ServeError
from fdl.serve import bodies
from fdl.serve.batching import Batcher
from fdl.serve.metrics import CONTENT_TYPE, Metrics
from fdl.serve.refusal import Refusal
from fdl.serve.served import Served, default_sizes, served
from fdl.serve.signature import checked

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

log = logging.getLogger("fdl.serve")

_PATHS = {"/predict": ("POST",), "/health": ("GET", "HEAD"), "/metrics": ("GET", "HEAD"), "/model": ("GET", "HEAD")}
#: Bodies of so many bytes are read on another thread, so that the event loop goes on.
_LARGE = 1 << 16
#: The status that is counted where the client has gone before it was answered, as nginx logs it.
_GONE = 499
_JSON = "application/json"


class Application:
    """An ASGI 3 application that serves a function; `application` makes it.

    Attributes:
        state: "starting" until the function is compiled, then "ready"; "stopping" after `stop`; "stopped"; or "failed".
        failure: the exception that compiling ended with, or None.
        metrics: what ``GET /metrics`` tells.
        on_failure: called when the function could not be compiled.
    """

    def __init__(
        self, function: Served, max_delay: float, max_queue: int, max_rows: int, max_body: int, timeout: float
    ) -> None:
        self._function, self._max_delay = function, max_delay
        self.max_queue, self.max_rows, self.max_body, self.timeout = max_queue, max_rows, max_body, timeout
        self.state = "starting"
        self.failure: BaseException | None = None
        self.on_failure: Callable[[], None] = lambda: None
        self._batcher: Batcher | None = None
        self._tasks = list[asyncio.Task[None]]()
        self.metrics = Metrics(
            lambda: len(self._batcher.waiting) if self._batcher else 0, lambda: self.state in ("ready", "stopping")
        )

    def __repr__(self) -> str:
        ins, outs = (
            ", ".join(f"{type.name} {type}" for type in types)
            for types in (self._function.inputs, self._function.outputs)
        )
        sizes = self._function.sizes
        how = f"batches of {', '.join(map(str, sizes))} rows" if sizes else "each request is a batch"
        return f"<application: {ins} -> {outs}; {how}>"

    def stop(self) -> None:
        """Tell clients to go elsewhere: ``/health`` answers 503, and connections are closed after their next answer.

        Requests are still answered, and batches wait for no others.
        """
        if self.state in ("starting", "ready"):
            self.state = "stopping"
            if self._batcher is not None:
                self._batcher.hurry()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request, or the life of the server, as ASGI defines it."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            self._start()
            await self._serve(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})

    # The life of the application.

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _start(self) -> None:
        if self._batcher is None and self.state != "stopped":
            self._batcher = Batcher(self._function, self.metrics, self._max_delay)
            self._tasks = [asyncio.create_task(self._warm_up(self._batcher)), asyncio.create_task(self._batcher.work())]

    async def _warm_up(self, batcher: Batcher) -> None:
        try:
            await batcher.warm_up()
        except Exception as error:
            log.exception("the function cannot be computed")
            self.state, self.failure = "failed", error
            self.on_failure()
        else:
            self.state = "ready" if self.state == "starting" else self.state
            log.info("ready: %r", self)

    async def close(self) -> None:
        """Answer the requests that are in flight, and end the thread that computes."""
        self.stop()
        while self.metrics.in_flight:
            await asyncio.sleep(0.01)
        self.state = "failed" if self.failure else "stopped"
        if self._batcher is not None:
            self._tasks[1].cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.to_thread(self._batcher.thread.shutdown)
        log.info("answered %d of %d requests", self.metrics.answered.total(), self.metrics.accepted)

    # Requests.

    async def _serve(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        path, method = scope["path"].removeprefix(scope.get("root_path", "")), scope["method"]
        predicting = path == "/predict" and method == "POST"
        began = asyncio.get_running_loop().time()
        status = _GONE
        self.metrics.accepted += predicting
        try:
            try:
                if predicting:
                    status, headers, body = 200, *await self._predict(scope, receive)
                else:
                    status, headers, body = self._told(path, method)
            except Refusal as refusal:
                status, headers = refusal.status, {"content-type": _JSON, **refusal.headers}
                body = json.dumps(refusal.details).encode()
            except ConnectionResetError:
                status = _GONE
                return
            except Exception:
                log.exception("a request failed")
                status, headers = 500, {"content-type": _JSON}
                body = json.dumps({"error": "the function failed; the log of the server tells why"}).encode()
            headers["content-length"] = str(len(body))
            if self.state != "ready" and self.state != "starting":
                headers["connection"] = "close"
            pairs = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
            try:
                async with asyncio.timeout(self.timeout):
                    await send({"type": "http.response.start", "status": status, "headers": pairs})
                    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
            except TimeoutError:  # a client that does not read its answer
                status = _GONE
        finally:
            if predicting:
                self.metrics.answered[status] += 1
                self.metrics.seconds.observe(asyncio.get_running_loop().time() - began)

    def _told(self, path: str, method: str) -> tuple[int, dict[str, str], bytes]:
        """The answer to a request that computes nothing."""
        if path not in _PATHS:
            raise Refusal(404, f"there are {', '.join(_PATHS)}")
        if method not in _PATHS[path]:
            raise Refusal(405, f"{path} takes {', '.join(_PATHS[path])}", {"allow": ", ".join(_PATHS[path])})
        if path == "/metrics":
            return 200, {"content-type": CONTENT_TYPE}, self.metrics.text().encode()
        if path == "/health":
            status = 200 if self.state == "ready" else 503
            return status, {"content-type": _JSON}, json.dumps({"status": self.state}).encode()
        function = self._function
        value = {
            "inputs": {type.name: str(type) for type in function.inputs},
            "outputs": {type.name: str(type) for type in function.outputs},
            "batch_sizes": list(function.sizes),
            "formats": list(bodies.FORMATS),
            "max_rows": self.max_rows,
            "max_body": self.max_body,
        }
        return 200, {"content-type": _JSON}, json.dumps(value).encode()

    async def _predict(self, scope: MutableMapping[str, Any], receive: Receive) -> tuple[dict[str, str], bytes]:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self._batcher is None or self.state in ("starting", "failed", "stopped") or not self.metrics.ready():
            raise Refusal(503, f"the server is {self.state}", {"retry-after": "1", "connection": "close"})
        if self.metrics.in_flight > self.max_queue:
            raise Refusal(503, f"{self.max_queue} requests wait already", {"retry-after": "1", "connection": "close"})
        try:
            if headers.get("content-encoding", "identity") != "identity":
                raise Refusal(415, "bodies must have no Content-Encoding")
            sent = bodies.sent(headers.get("content-type"))
            answer = bodies.accepted(headers.get("accept"), sent)
        except Refusal as refusal:
            refusal.headers["connection"] = "close"  # the body is not read
            raise
        doing = "read"
        try:
            async with asyncio.timeout(self.timeout):
                body = await self._body(headers, receive)
                doing = "computed"
                arrays = await _perhaps_elsewhere(len(body) > _LARGE, self._read, sent, body)
                outputs = await self._batcher.submit(arrays)
        except TimeoutError:
            late = f"the request was not {doing} within {self.timeout} seconds"
            raise Refusal(408 if doing == "read" else 504, late, {"connection": "close"}) from None
        except CheckError as error:
            raise Refusal(422, str(error)) from None
        large = sum(x.nbytes for x in outputs) > _LARGE
        types, bare = self._function.outputs, self._function.bare[1]
        return {"content-type": answer.media_type}, await _perhaps_elsewhere(large, answer.write, types, bare, outputs)

    def _read(self, sent: bodies.BodyFormat, body: bytes) -> list[np.ndarray]:
        types = self._function.inputs
        return checked(types, sent.read(types, self._function.bare[0], body, self.max_body), self.max_rows)

    async def _body(self, headers: dict[str, str], receive: Receive) -> bytes:
        """The whole body of a request.

        Raises:
            Refusal: it has too many bytes.
            ConnectionResetError: the client has gone.
        """
        too_long = Refusal(413, f"the body has more than {self.max_body} bytes", {"connection": "close"})
        told = headers.get("content-length", "")
        if told.isdecimal() and (len(told) > 18 or int(told) > self.max_body):
            raise too_long
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.max_body:
                raise too_long
            if not message.get("more_body", False):
                return b"".join(parts)


async def _perhaps_elsewhere(large: bool, function: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.to_thread(function, *arguments) if large else function(*arguments)


def application(
    model: Any,
    params: Any = None,
    example: Any = None,
    *,
    join: bool = True,
    batch_sizes: Sequence[int] | None = None,
    max_batch: int = 32,
    max_delay_ms: float = 2.0,
    max_queue: int = 256,
    max_rows: int = 4096,
    max_body: int = 16 << 20,
    timeout: float = 30.0,
) -> Application:
    """An ASGI application that serves a function.

    Rows of requests that wait at the same time are joined along axis 0 and padded by copies of the last row to one of a
    few numbers of rows, which are compiled before ``/health`` says ready. Each row of a result must depend on its row
    of the batch only: else one client's rows change what another one is answered.

    Args:
        model: a function (params, batch) -> pytree of arrays; an Exported or ExportedProgram; or the path of a file or
            folder, which `fdl.export.load` reads. An ExportedProgram is called with whole batches of its own shapes.
        params: pytree of arrays; None if the function takes the batch alone.
        example: pytree of arrays or ShapeDtypeStructs, with any number of rows first. An Exported has its own.
        join: whether axis 0 is that of rows. If not, each request is a whole batch, of the shapes of the example.
        batch_sizes: the numbers of rows to compile for; None chooses a few up to `max_batch`. With one size the bits of
            an answer do not depend on the requests beside it. An Exported has one size, its `rows`.
        max_batch: the most rows that are computed at once.
        max_delay_ms: how many milliseconds the first request of a batch waits for others.
        max_queue: how many requests may be read, wait or be computed at the same time; others are answered 503.
        max_rows: the most rows of one request; 413.
        max_body: the most bytes of a body, and of what is decompressed of it; 413.
        timeout: seconds for reading a body and computing it; 408 and 504.

    Returns:
        The Application: for `fdl.serve.run`, or any server of ASGI.

    Raises:
        ServeError: the function or a limit cannot be served so.
        ExportError: the file is damaged.
        OSError: the file cannot be read.

    >>> import fdl
    >>> batch = {"x": fdl.ShapeDtypeStruct((1, 3), "float32")}
    >>> application(lambda batch: {"sum": batch["x"].sum(axis=1)}, None, batch, batch_sizes=[16])
    <application: x float32[rows, 3] -> sum float32[rows]; batches of 16 rows>
    """
    limits = {"max_batch": max_batch, "max_queue": max_queue, "max_rows": max_rows, "max_body": max_body}
    for name, value in limits.items():
        if not isinstance(value, int) or value < 1:
            raise ServeError(f"{name} must be an integer of at least 1, got {value!r}")
    if not timeout > 0 or not max_delay_ms >= 0:
        raise ServeError(f"timeout must be above 0 and max_delay_ms at least 0, got {timeout!r} and {max_delay_ms!r}")
    if isinstance(model, str | os.PathLike):
        model = export.load(model)
    own = isinstance(model, export.Exported | export.ExportedProgram)
    sizes = batch_sizes if own or batch_sizes is not None else default_sizes(max_batch)
    function = served(model, params, example, sizes, join)
    return Application(function, max_delay_ms / 1000, max_queue, max_rows, max_body, timeout)
