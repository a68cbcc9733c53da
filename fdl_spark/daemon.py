"""The parent of Spark's Python workers (`spark.python.daemon.module`): imports once, freezes the collector, forks.

pyspark's own daemon runs `gc.collect()` after every task, which costs 16 ms with a worker's modules loaded and about
nothing once they are frozen; and what is imported here, fdl's compiler with LLVM too, is shared by all workers instead
of being imported by each.
"""

import gc
import importlib
import os
import socket
from contextlib import suppress

import pyspark.daemon

import fdl
from fdl_spark.spark.quiet import ignore_pandas_warning

PRELOAD = ("pyspark.worker", "numpy", "numpy.ma", "fdl", "fdl.nn", "fdl.optim", "fdl_spark.compute.worker")

PRIVATE = 0o077  # whoever can connect to the daemon's Unix socket, which has no password, can run code in a worker

serve = pyspark.daemon.worker
inherited_umask: int | None = None


def serve_quietly(sock: socket.socket, authenticated: bool) -> int:
    """Serve tasks; when the JVM hangs up, because the session ended, there is nobody to send a traceback to."""
    if inherited_umask is not None:
        os.umask(inherited_umask)  # files that the user's functions write are as they are without this daemon
    try:
        return serve(sock, authenticated)
    except (BrokenPipeError, ConnectionResetError):
        return 1


def close_folders() -> None:
    """Keep other users out of the executor's local directories, whose files of rows Spark lets everyone read; a shuffle
    service that serves them belongs to their group."""
    for folder in os.environ.get("SPARK_LOCAL_DIRS", "").split(","):
        with suppress(OSError):  # it is not there, or not this user's
            os.chmod(folder, os.stat(folder).st_mode & 0o7770)


def load_compiler() -> None:
    """Compile and call something small, as the compiler is imported when it is first used."""
    with suppress(Exception):  # a worker that uses it says what is wrong
        increment = fdl.jit(lambda x: x + 1)
        for _ in range(3):
            increment(1.0)


if __name__ == "__main__":
    pyspark.daemon.worker = serve_quietly
    inherited_umask = os.umask(PRIVATE)
    close_folders()
    ignore_pandas_warning()
    for name in PRELOAD:
        importlib.import_module(name)
    load_compiler()
    gc.collect()
    gc.freeze()
    pyspark.daemon.manager()
