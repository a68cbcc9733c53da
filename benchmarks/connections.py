"""What connections between two processes of one host cost: `python -m benchmarks.connections`.

Each exchange is one of two ranks: both send so many bytes to the other and add what they receive to their own. Printed
are the fastest of some exchanges, and the processor time of both ranks together: the latter means something on a busy
machine too.
"""

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from fdl_spark.net import shared
from fdl_spark.net.connection import Connection, as_bytes
from fdl_spark.net.handshake import new_secret
from fdl_spark.net.secure import Listener, connect
from fdl_spark.net.shared import Segment, receive_segment, send_segment

SIZES = {100_000: 300, 4_000_000: 60, 28_000_000: 15}  # bytes: exchanges
ROUND_TRIPS = 3000
KINDS = {"unix": ("unix", False), "tcp": ("127.0.0.1", False), "encrypted tcp": ("127.0.0.1", True)}


def both_ways(link: Connection, mine: np.ndarray, theirs: np.ndarray) -> None:
    """Send an array and receive another at the same time."""
    outgoing, incoming = as_bytes(mine), as_bytes(theirs)
    while outgoing.nbytes or incoming.nbytes:
        sent = link.try_send(outgoing) if outgoing.nbytes else 0
        received = link.try_receive(incoming) if incoming.nbytes else 0
        outgoing, incoming = outgoing[sent:], incoming[received:]
        if not sent and not received:
            link.wait(reading=bool(incoming.nbytes), writing=bool(outgoing.nbytes))


def by_socket(link: Connection, size: int) -> Callable[[], None]:
    mine, theirs = np.ones(size // 4, np.float32), np.zeros(size // 4, np.float32)
    total = np.empty_like(mine)

    def exchange() -> None:
        both_ways(link, mine, theirs)
        np.add(mine, theirs, out=total)

    return exchange


def by_memory(link: Connection, size: int) -> Callable[[], None]:
    """The array is copied into shared memory and the peer told so; it must not change before the peer has read it."""
    segment = Segment.create(size)
    send_segment(link, segment)
    seen = receive_segment(link)
    mine, theirs = np.ones(size // 4, np.float32), seen.array(np.float32, size // 4)
    place, total = segment.array(np.float32, size // 4), np.empty_like(mine)
    token = bytearray(1)

    def exchange() -> None:
        np.copyto(place, mine)
        link.send(b"x")
        link.receive_into(token)
        np.add(mine, theirs, out=total)
        link.send(b"x")
        link.receive_into(token)

    return exchange


def round_trips(link: Connection, first: bool) -> None:
    message = bytearray(64)
    for _ in range(ROUND_TRIPS):
        if first:
            link.send(message)
            link.receive_into(message)
        else:
            link.receive_into(message)
            link.send(message)


def rank(link: Connection, first: bool) -> dict[str, tuple[float, float]]:
    """(seconds of the fastest, processor seconds of the mean) of each exchange, by what it was."""
    found = {}
    wall, cpu = time.perf_counter(), time.process_time()
    round_trips(link, first)
    found["round trip"] = (time.perf_counter() - wall) / ROUND_TRIPS, (time.process_time() - cpu) / ROUND_TRIPS
    makers = {"socket": by_socket} | ({"memory": by_memory} if link.same_host and shared.available() else {})
    for size, count in SIZES.items():
        for name, maker in makers.items():
            exchange = maker(link, size)
            exchange()
            cpu, fastest = time.process_time(), float("inf")
            for _ in range(count):
                wall = time.perf_counter()
                exchange()
                fastest = min(fastest, time.perf_counter() - wall)
            found[f"{name} {size / 1e6:g} MB"] = fastest, (time.process_time() - cpu) / count
    return found


def main() -> None:
    """Print a line for each kind of connection and size."""
    if len(sys.argv) > 1:
        secret = bytes.fromhex(sys.stdin.readline())
        with connect(sys.argv[1], secret, encrypt=sys.argv[2] == "True") as link:
            link.send_message(rank(link, False))
        return
    for kind, (place, encrypt) in KINDS.items():
        secret = new_secret()
        with Listener(place, secret, encrypt=encrypt) as listener:
            command = [sys.executable, "-m", "benchmarks.connections", listener.address, str(encrypt)]
            with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as peer:
                assert peer.stdin is not None
                peer.stdin.write(secret.hex() + "\n")
                peer.stdin.close()
                with listener.accept(60) as link:
                    mine, theirs = rank(link, True), link.receive_message()
        for name, (fastest, processor) in mine.items():
            both = processor + theirs[name][1]
            print(
                f"{kind:13s} {name:16s} {1e3 * fastest:8.3f} ms at best, {1e3 * both:8.3f} ms of processor", flush=True
            )


if __name__ == "__main__":
    main()
