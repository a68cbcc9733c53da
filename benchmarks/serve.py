"""Load on `fdl.serve` over loopback: requests/s, latencies, what joining requests brings, what a shutdown loses.

    python -m benchmarks.serve --requests 2000 --connections 32 --rounds 3 --width 1024

Two servers of one multilayer perceptron, 784-1024-1024-10 or wider, run side by side: one computes up to 32 rows
together, the other each request alone. Clients with one row a request, as NumPy's files, take turns on them, so that a
noisy moment touches both; medians of the rounds are compared. Every answer is compared with NumPy's. At the end both
servers get a SIGTERM under load, and answers are counted on both sides.
"""

import argparse
import asyncio
import io
import logging
import re
import signal
import statistics
import sys
import time
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

import fdl
from benchmarks import arrays
from fdl import nn, serve

INPUTS, OUTPUTS = 784, 10
SERVERS = {"joined": [1, 2, 8, 32], "alone": [1]}


def network(width: int) -> list[dict[str, np.ndarray]]:
    """The parameters, the same in every process."""
    rng = np.random.default_rng(0)
    return [arrays.layer(rng, n, m) for n, m in pairwise((INPUTS, width, width, OUTPUTS))]


def apply(layers: Any, x: Any) -> Any:
    for layer in layers[:-1]:
        x = nn.relu(x @ layer["w"] + layer["b"])
    return x @ layers[-1]["w"] + layers[-1]["b"]


def expected(layers: Any, x: np.ndarray) -> np.ndarray:
    """What `apply` computes, by NumPy."""
    for layer in layers[:-1]:
        x = np.maximum(x @ layer["w"] + layer["b"], 0)
    return x @ layers[-1]["w"] + layers[-1]["b"]


def run_server(name: str, width: int) -> None:
    """Serve until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    example = fdl.ShapeDtypeStruct((1, INPUTS), "float32")
    options: dict[str, Any] = {"batch_sizes": SERVERS[name], "max_delay_ms": 0, "max_queue": 4096}
    quiet = {"log_level": "warning"}
    serve.run(apply, network(width), example, port=0, drain_seconds=0.5, uvicorn_options=quiet, **options)


@dataclass
class Load:
    """What clients saw: seconds of each answered request, and requests whose connection ended before their answer."""

    latencies: list[float] = field(default_factory=list)
    lost: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        p50, p99 = np.quantile(self.latencies, [0.5, 0.99]) * 1000
        return f"{len(self.latencies) / self.seconds:8.0f} requests/s   p50 {p50:7.2f} ms   p99 {p99:7.2f} ms"


async def ask(port: int, requests: list[bytes], answers: np.ndarray, load: Load, most: int) -> None:
    """Send requests over one connection, one after the other, until the server says that it leaves."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    closing, number = False, 0
    while number < most and not closing:
        began, which = time.perf_counter(), number % len(requests)
        number += 1
        try:
            writer.write(requests[which])
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = re.search(r"content-length: (\d+)", head)
            body = await reader.readexactly(int(length[1]) if length else 0)
        except (asyncio.IncompleteReadError, ConnectionError):
            load.lost += 1
            break
        load.latencies.append(time.perf_counter() - began)
        closing = "connection: close" in head
        if not head.startswith("http/1.1 200"):
            raise SystemExit(f"{head}{body!r}")
        found = np.load(io.BytesIO(body), allow_pickle=False)
        np.testing.assert_allclose(found, answers[which : which + 1], rtol=1e-3, atol=1e-3)
    writer.close()


async def put_load(port: int, requests: list[bytes], answers: np.ndarray, connections: int, most: int) -> Load:
    """The load of some connections with at most so many requests each."""
    load, began = Load(), time.perf_counter()
    await asyncio.gather(*(ask(port, requests, answers, load, most) for _ in range(connections)))
    load.seconds = time.perf_counter() - began
    return load


async def start(name: str, width: int) -> tuple[Process, int]:
    """A server that is ready, and its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.serve", "--server", name, "--width", str(width), stderr=PIPE
    )
    assert process.stderr is not None
    port = 0
    while line := (await process.stderr.readline()).decode():
        if match := re.search(r"listening at http://127.0.0.1:(\d+)", line):
            port = int(match[1])
        if line.startswith("ready"):
            return process, port
    raise SystemExit("a server has not started")


async def measure(requests: int, connections: int, rounds: int, width: int) -> None:
    """Print the rounds, the ratio, and what the shutdown lost."""
    rows = np.random.default_rng(1).normal(size=(64, INPUTS)).astype(np.float32)
    answers, messages = expected(network(width), rows), []
    for i in range(len(rows)):
        file = io.BytesIO()
        np.save(file, rows[i : i + 1])
        body = file.getvalue()
        head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-npy\r\ncontent-length: {len(body)}"
        messages.append(f"{head}\r\n\r\n".encode() + body)
    servers = {name: await start(name, width) for name in SERVERS}
    sent, rates = dict.fromkeys(servers, 0), {name: list[float]() for name in servers}
    try:
        for _ in range(rounds):
            for name, (_, port) in servers.items():
                load = await put_load(port, messages, answers, connections, -(-requests // connections))
                print(f"{name:8}{load}", flush=True)
                rates[name].append(len(load.latencies) / load.seconds)
                sent[name] += len(load.latencies)
        medians = {name: statistics.median(values) for name, values in rates.items()}
        print(f"joined / alone: {medians['joined'] / medians['alone']:.2f}")
        for name, (process, port) in servers.items():
            running = asyncio.create_task(put_load(port, messages, answers, connections, sys.maxsize))
            await asyncio.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            load = await running
            told = re.search(r"answered (\d+) of (\d+) requests", (await process.communicate())[1].decode())
            assert told is not None
            total = sent[name] + len(load.latencies)
            print(f"{name}: SIGTERM under load: {total} answers came, {load.lost} were lost; the server {told[0]}")
    finally:
        for process, _ in servers.values():
            if process.returncode is None:
                process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description="Put load on fdl.serve.")
    parser.add_argument("--requests", type=int, default=2000, help="of a round")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=1024, help="of the hidden layers")
    parser.add_argument("--server", choices=SERVERS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.server is not None:
        run_server(asked.server, asked.width)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end, too
        asyncio.run(measure(asked.requests, asked.connections, asked.rounds, asked.width))


if __name__ == "__main__":
    main()
