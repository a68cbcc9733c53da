"""Functions as a service: an ASGI application that answers over HTTP, and a server for it.

``POST /predict`` computes the rows of a body (JSON, NumPy, Arrow); rows of requests that wait at the same time are
computed together. ``GET /health``, ``/metrics`` and ``/model`` tell the state, Prometheus' metrics, and what the
function takes and gives. A body is data: no code of it runs.

>>> import asyncio, json, fdl, fdl.numpy as fnp
>>> params = {"w": fnp.array([[1.0], [2.0]])}
>>> app = fdl.serve.application(lambda params, x: x @ params["w"], params, fdl.ShapeDtypeStruct((1, 2), "float32"))
>>> print(app)
<application: input float32[rows, 2] -> output float32[rows, 1]; batches of 1, 2, 8, 32 rows>

``fdl.serve.run(app, port=8000)`` serves it, and ``python -m fdl.serve model.safetensors --port 8000`` serves a file
that `fdl.export.save` wrote.
"""

from fdl.serve.asgi import Application, application
from fdl.serve.server import run

__all__ = ["Application", "application", "run"]


def __dir__() -> list[str]:
    return __all__
