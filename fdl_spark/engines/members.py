"""What a worker process holds of the runs that it is a rank of, from one group of a run to the next.

A worker that is idle is told nothing: Spark gives the tasks that could tell it that a run is over to any other one. It
sees that the driver has hung up; where ranks cannot reach the driver, that another rank has. A thread waits for this,
asleep in the kernel, for as long as the process holds anything of a run whose group is over.
"""

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fdl_spark.compute.table_gradient import Pair
from fdl_spark.compute.update import Leaves
from fdl_spark.engines.rows import Memory
from fdl_spark.net.connection import Connection
from fdl_spark.net.exchange import Room
from fdl_spark.net.mesh import Mesh

KEPT_RUNS = 2
IDLE_SECONDS = 600.0  # after which a run is over whose driver cannot hang up
HANG_UP = getattr(select, "POLLRDHUP", 0)  # the end of a connection; `poll` itself adds errors, and both ends' end


@dataclass
class Member:
    """What a process holds of a run.

    Attributes:
      mesh: its connections to the others.
      hub: its connection to the driver.
      room: its memory.
      done: how many steps its parameters and state are of; -1 if they are not to be trusted.
      slice: number of the slice whose state it holds; None for none.
      longest: seconds of the longest gradient that a rank has computed.
      weights: the parameters; their leaves, if there are tables.
      leaves: of the optimizer's state of the slice.
      kept: what its shards keep, by their numbers.
      received: memory for the rows that others send.
      rooms: memory for the sums of rows of each table.
      since: when its last group ended.
    """

    mesh: Mesh = field(default_factory=Mesh)
    hub: Connection | None = None
    room: Room | None = None
    done: int = -1
    slice: int | None = None
    longest: float = 0.0
    weights: Any = field(default_factory=lambda: np.empty(0, np.float32))
    leaves: Leaves = field(default_factory=list)
    kept: dict[int, Leaves] = field(default_factory=dict)
    received: Memory = field(default_factory=dict)
    rooms: dict[int, Pair] = field(default_factory=dict)
    since: float = 0.0

    @property
    def lines(self) -> list[Connection]:
        """The connections of which the first that ends says that the run is over."""
        return [self.hub] if self.hub is not None else [link.connection for link in self.mesh.links.values()]

    def is_over(self) -> bool:
        """Whether nobody will ask for this any more."""
        poller = select.poll()
        for line in self.lines:
            poller.register(line, HANG_UP)
        return bool(poller.poll(0)) or (self.hub is None and time.monotonic() > self.since + IDLE_SECONDS)

    def close(self) -> None:
        """Hang up, and give up the memory that is shared."""
        self.mesh.close()
        if self.hub is not None:
            self.hub.close()
        if self.room is not None:
            self.room.close()


_members: dict[str, Member] = {}  # by run, of groups that are over, the one that ended first in front
_lock = threading.Lock()
_bell: socket.socket | None = None  # wakes the thread that watches; None if there is none


@contextmanager
def taking_part(run: str) -> Iterator[Member]:
    """The process's member of a run, a new one if need be, for a group; nothing is kept if that fails."""
    with _lock:
        member = _members.pop(run, None)
        while member is None and len(_members) >= KEPT_RUNS:
            _members.pop(next(iter(_members))).close()
    member = member or Member()
    try:
        yield member
    except BaseException:
        member.close()
        with _lock:
            _ring()
        raise
    with _lock:
        member.since, _members[run] = time.monotonic(), member
        if _bell is None:
            _start()
        else:
            _ring()


def forget(run: str) -> bool:
    """Let go of a run; whether there was anything of it."""
    with _lock:
        member = _members.pop(run, None)
        if member is not None:
            member.close()
            _ring()
    return member is not None


def _start() -> None:
    """Start the thread."""
    global _bell
    bell, rung = socket.socketpair()
    thread = threading.Thread(target=_let_go, args=(rung,), name="fdl: wait for the ends of runs", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the process may have no more threads: what it keeps it then keeps for longer
        bell.close()
        rung.close()
    else:
        _bell = bell


def _ring() -> None:
    """Let the thread look at what is kept now."""
    if _bell is not None:
        with suppress(OSError):  # a thread that has ended
            _bell.send(b"!")


def _let_go(rung: socket.socket) -> None:
    """Let go of runs that are over, until none is kept."""
    global _bell
    while True:
        poller = select.poll()
        poller.register(rung, select.POLLIN)
        with _lock:
            for run in [run for run, member in _members.items() if member.is_over()]:
                _members.pop(run).close()
            if not _members and _bell is not None:
                rung.close()
                _bell.close()
                _bell = None
                return
            for line in [line for member in _members.values() for line in member.lines]:
                poller.register(line, HANG_UP)
        if any(place == rung.fileno() for place, _ in poller.poll(1e3 * IDLE_SECONDS)):
            rung.recv(64)
