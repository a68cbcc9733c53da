"""The resident engine's exchange between two network namespaces of this machine, and what the model says of it.

    python -m benchmarks.spark.network [--gigabits 1 10] [--delays 0 0.1 1] [--sizes 0.1 4 28] [--steps 30] [--write]

Needs root, `ip` and `tc`. The namespaces are joined by a pair of virtual Ethernet devices whose rate a token bucket
limits; where there is a delay, by two TUN devices and a process that hands each packet on when it would have arrived.
Everything is removed at the end; addresses exist inside the namespaces only.
"""

import argparse
import ctypes
import fcntl
import heapq
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.report import table
from benchmarks.spark.report import BEGIN_NETWORK, END_NETWORK, milliseconds, write
from benchmarks.spark.side import ROOT
from fdl_spark.cost import Cluster, Constants, predict
from fdl_spark.history.clock import Clock
from fdl_spark.net.connection import Connection
from fdl_spark.net.exchange import Exchange, Link, Room

RESULTS = Path(__file__).with_name("network.json")
ADDRESSES, PORT = ("10.77.0.1", "10.77.0.2"), 4077
MTU = 60_000  # of the TUN devices: few large packets, since a process hands them on
JUMBO, BURST = 9_000, 70_000  # of the Ethernet; so many bytes pass at once, whatever the rate
GBIT = 1e9 / 8
TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextmanager
def hosts(gigabits: float, delay: float) -> Iterator[list[str]]:
    """Two namespaces whose link has a rate and a delay in seconds each way."""
    names = [f"fdl-{os.getpid()}-{n}" for n in range(2)]
    with ExitStack() as ends:
        for name in names:
            ip("netns", "add", name)
            ends.callback(ip, "netns", "del", name)
            ip("-n", name, "link", "set", "lo", "up")
        if delay:
            relay = start(names[0], "relay", *names, str(gigabits * GBIT), str(delay))
            ends.callback(stop, relay)
            assert relay.stdout is not None
            relay.stdout.readline()
        else:
            ip("link", "add", "link0", "netns", names[0], "type", "veth", "peer", "name", "link0", "netns", names[1])
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "link0")
            ip("-n", name, "link", "set", "link0", "mtu", str(MTU if delay else JUMBO), "up")
            if not delay:
                limit = ["rate", f"{gigabits}gbit", "burst", str(BURST), "latency", "100ms"]
                tc = ["tc", "-n", name, "qdisc", "add", "dev", "link0", "root", "tbf", *limit]
                subprocess.run(tc, check=True, capture_output=True)
        yield names


def start(namespace: str, *arguments: str) -> subprocess.Popen:
    """This module in a namespace."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "FDL_NUM_THREADS": "1"}
    command = ["ip", "netns", "exec", namespace, sys.executable, "-m", "benchmarks.spark.network", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)


def stop(process: subprocess.Popen) -> None:
    process.kill()
    process.communicate()


def rank(number: int, size: float, steps: int) -> None:
    """One of two ranks; the first one says the seconds of each exchange."""
    if number == 0:
        with socket.create_server((ADDRESSES[0], PORT)) as server:
            sock, _ = server.accept()
    else:
        for _ in range(200):
            try:
                sock = socket.create_connection((ADDRESSES[0], PORT), 10)
                break
            except OSError:
                time.sleep(0.1)
    elements = int(size // 8) * 2
    cuts = [0, elements // 2, elements]
    room = Room(1, elements, elements // 2, np.dtype(np.float32))
    weights = np.zeros(elements, np.float32)
    times = []
    with Connection(sock, ADDRESSES[1 - number], f"rank {1 - number}") as connection:
        links = {1 - number: Link(connection)}
        exchange = Exchange(number, links, [[(0, 0)], [(0, 1)]], cuts, [0, 1], 2, room, 60.0)
        for step in range(steps):
            room.parts[0] = number + step
            clock = Clock(["send", "wait", "sum", "gather"])
            started = time.perf_counter()
            _, total = exchange.reduce_scatter({"step": step}, lambda _: True, clock)
            assert total is not None
            room.slice[: len(total)] = total
            exchange.all_gather(weights, clock)
            times.append(time.perf_counter() - started)
            assert weights[0] == weights[-1] == 2 * step + 1, "the exchange is wrong"
    if number == 0:
        print(json.dumps(times[steps // 5 :]))


def relay(names: list[str], rate: float, delay: float) -> None:
    """Hand packets to the other namespace: each occupies the link for its bytes, and arrives after the delay."""
    devices = []
    library = ctypes.CDLL(None, use_errno=True)
    for name in names:
        with open(f"/run/netns/{name}") as namespace:
            if library.setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter {name}")
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"link0", IFF_TUN | IFF_NO_PI))
        devices.append(device)
    print("ready", flush=True)
    other = dict(zip(devices, reversed(devices), strict=True))
    free = dict.fromkeys(devices, 0.0)
    order = count()
    waiting: list[tuple[float, int, int, bytes]] = []
    while True:
        now = time.perf_counter()
        while waiting and waiting[0][0] <= now:
            _, _, device, packet = heapq.heappop(waiting)
            with suppress(OSError):  # the other end is not up yet: the packet is lost, as on any network
                os.write(device, packet)
        rest = max(0.0, waiting[0][0] - time.perf_counter()) if waiting else 1.0
        for device in select.select(devices, [], [], rest)[0]:
            packet = os.read(device, MTU + 64)
            free[device] = max(free[device], time.perf_counter()) + len(packet) / rate
            heapq.heappush(waiting, (free[device] + delay, next(order), other[device], packet))


def measure(size: float, gigabits: float, delay: float, steps: int) -> float:
    """Median seconds of an exchange of so many bytes of parameters."""
    with hosts(gigabits, delay) as names:
        ranks = [start(name, "rank", str(n), str(size), str(steps)) for n, name in enumerate(names)]
        try:
            out, _ = ranks[0].communicate(timeout=180)
        finally:
            for process in ranks:
                stop(process)
    return median(json.loads(out))


def predicted(size: float, gigabits: float, delay: float, constants: Constants) -> float:
    """What the model says of it: a step without computing, scheduling and update."""
    cluster = Cluster(hosts=2, cores=1, bandwidth=gigabits * GBIT, latency=delay)
    phases = predict("resident", 2, size, 0.0, constants, cluster=cluster, group=10**9)
    return phases["messages"] + phases["bytes"] + phases["network"]


def report(found: list[dict[str, float]], constants: Constants) -> str:
    """A table of what was measured and what is predicted."""
    rows = []
    for point in found:
        said = predicted(point["size"], point["gigabits"], point["delay"], constants)
        rows.append(
            [
                f"{point['size'] / 1e6:g}", f"{point['gigabits']:g}", f"{point['delay'] * 1e3:g}",
                milliseconds(point["seconds"]), milliseconds(said), f"{100 * (said / point['seconds'] - 1):+.0f} %",
            ]
        )  # fmt: skip
    return table(["MB", "Gbit/s", "delay, ms", "measured ms", "predicted ms", ""], rows)


def main() -> None:
    """Measure all cases."""
    if sys.argv[1:2] == ["rank"]:
        return rank(int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
    if sys.argv[1:2] == ["relay"]:
        return relay(sys.argv[2:4], float(sys.argv[4]), float(sys.argv[5]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabits", nargs="+", type=float, default=[1, 10])
    parser.add_argument("--delays", nargs="+", type=float, default=[0, 0.1, 1], help="milliseconds, each way")
    parser.add_argument("--sizes", nargs="+", type=float, default=[0.1, 4, 28], help="megabytes")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--write", action="store_true", help="keep the numbers and write the table of the README")
    options = parser.parse_args()
    found = []
    for gigabits in options.gigabits:
        for delay in options.delays:
            for size in options.sizes:
                case = {"size": size * 1e6, "gigabits": gigabits, "delay": delay / 1e3}
                found.append(case | {"seconds": measure(**case, steps=options.steps)})
                print(found[-1], file=sys.stderr)
    text = report(found, Constants())
    print(text)
    if options.write:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
        write(text, BEGIN_NETWORK, END_NETWORK)


if __name__ == "__main__":
    main()
