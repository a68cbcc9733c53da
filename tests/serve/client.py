"""A client of an ASGI application in the same process: what a server would hand to it, without sockets."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

from fdl.serve import Application


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def call(
    app: Application, path: str, body: bytes | list[bytes] | None = None, method: str = "", **headers: str
) -> Answer:
    """The answer to a request; a body of several pieces comes in as many messages, without its length being told."""
    pieces = [body] if isinstance(body, bytes) else body or [b""]
    told = {"content-length": str(len(body))} if isinstance(body, bytes) else {}
    pairs = {**told, **{name.replace("_", "-"): value for name, value in headers.items()}}
    messages = [
        {"type": "http.request", "body": piece, "more_body": i + 1 < len(pieces)} for i, piece in enumerate(pieces)
    ]
    sent = list[dict[str, Any]]()

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "path": path,
        "method": method or ("GET" if body is None else "POST"),
        "headers": [(name.encode(), value.encode()) for name, value in pairs.items()],
    }
    await app(scope, receive, send)
    if not sent:
        return Answer(0, {}, b"")
    start, *rest = sent
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    content = b"".join(message["body"] for message in rest)
    assert int(found["content-length"]) == len(content) or scope["method"] == "HEAD"
    return Answer(start["status"], found, content)


async def post(app: Application, value: Any, **headers: str) -> Answer:
    return await call(app, "/predict", json.dumps(value).encode(), content_type="application/json", **headers)


def served(app: Application, talk: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """What `talk` returns, in the life of an application: started, ready, and shut down at the end."""

    async def live() -> Any:
        messages = asyncio.Queue[dict[str, Any]]()
        answers = asyncio.Queue[dict[str, Any]]()
        send: Callable[[dict[str, Any]], Awaitable[None]] = answers.put
        life = asyncio.create_task(app({"type": "lifespan"}, messages.get, send))
        await messages.put({"type": "lifespan.startup"})
        assert await answers.get() == {"type": "lifespan.startup.complete"}
        while app.state == "starting":
            await asyncio.sleep(0.001)
        try:
            return await talk()
        finally:
            await messages.put({"type": "lifespan.shutdown"})
            assert await answers.get() == {"type": "lifespan.shutdown.complete"}
            await life

    return asyncio.run(live())
