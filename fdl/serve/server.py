"""Serving an application with uvicorn, until a signal ends it."""

import asyncio
import logging
import signal
import socket
from typing import Any

from fdl.errors import ServeError
from fdl.serve.asgi import Application, application

log = logging.getLogger("fdl.serve")


def run(
    model: Any,
    params: Any = None,
    example: Any = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    drain_seconds: float = 1.0,
    uvicorn_options: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    """Serve a function over HTTP until SIGTERM or SIGINT, with uvicorn.

    After the signal ``/health`` answers 503 and connections are closed after their next answer, for `drain_seconds`.
    Then no more connections are accepted, what was accepted is answered, and the function returns. A second signal
    skips the rest of the drain, a third one the answers.

    Args:
        model, params, example: as of `application`; or an Application.
        host: the address to listen at. Only this machine reaches the default; there is neither encryption nor a check
            of who asks, unless `uvicorn_options` or a proxy bring them.
        port: the port; 0 lets the system choose, and the log tells which.
        drain_seconds: how long load balancers have to notice that the server leaves.
        uvicorn_options: of `uvicorn.Config`, such as ``ssl_keyfile``.
        **options: of `application`.

    Raises:
        ImportError: uvicorn, of the extra ``serve``, is missing.
        ServeError: the function cannot be served, or compiling it failed.
        OSError: the address cannot be listened at.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise ImportError("fdl.serve.run needs uvicorn: pip install 'fdl[serve]'") from error
    if isinstance(model, Application):
        if params is not None or example is not None or options:
            raise ServeError("an Application has its parameters, example and options: leave them out")
        app = model
    else:
        app = application(model, params, example, **options)
    if not drain_seconds >= 0:
        raise ServeError(f"drain_seconds must be at least 0, got {drain_seconds!r}")
    listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    config = {
        "access_log": False,
        "server_header": False,
        "ws": "none",
        "lifespan": "on",
        "timeout_graceful_shutdown": app.timeout + 5,
        **(uvicorn_options or {}),
    }
    with listening:
        server = uvicorn.Server(uvicorn.Config(app, **config))

        def leave(number: int, frame: Any) -> None:
            if app.state in ("stopping", "failed") or not server.started:
                server.force_exit, server.should_exit = server.should_exit, True
                return
            log.info("%s: leaving in %g seconds", signal.Signals(number).name, drain_seconds)
            app.stop()
            asyncio.get_running_loop().call_later(drain_seconds, setattr, server, "should_exit", True)

        server.handle_exit = leave
        app.on_failure = lambda: setattr(server, "should_exit", True)
        address = f"[{host}]" if ":" in host else host
        log.info("listening at http://%s:%d", address, listening.getsockname()[1])
        server.run(sockets=[listening])
    if app.failure is not None:
        raise ServeError(f"the function cannot be computed: {app.failure}") from app.failure
