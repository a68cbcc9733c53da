"""`python -m fdl.serve model.safetensors --port 8000` serves what `fdl.export.save` wrote."""

import argparse
import logging

from fdl.errors import FdlError
from fdl.serve.asgi import application
from fdl.serve.server import run


def main(arguments: list[str] | None = None) -> None:
    """Serve the file that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m fdl.serve", description="Serve an exported function over HTTP.")
    parser.add_argument("model", help="a file that fdl.export.save wrote, or the folder of a model of fdl_spark.ml")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0: any (default: %(default)s)")
    parser.add_argument("--max-delay-ms", type=float, default=2.0, help="wait of a batch (default: %(default)s)")
    parser.add_argument("--max-queue", type=int, default=256, help="requests in flight (default: %(default)s)")
    parser.add_argument("--max-rows", type=int, default=4096, help="of a request (default: %(default)s)")
    parser.add_argument("--max-body", type=int, default=16 << 20, help="bytes of a body (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds of a request (default: %(default)s)")
    parser.add_argument("--drain-seconds", type=float, default=1.0, help="after a signal (default: %(default)s)")
    asked = vars(parser.parse_args(arguments))
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("fdl.serve").setLevel(logging.INFO)
    model, host, port, drain = (asked.pop(name) for name in ("model", "host", "port", "drain_seconds"))
    try:
        app = application(model, **asked)
        run(app, host=host, port=port, drain_seconds=drain, uvicorn_options={"log_level": "warning"})
    except (FdlError, OSError, ImportError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
