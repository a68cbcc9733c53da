"""How the tasks of a barrier job find each other: every rank says something, and hears what all said.

Spark's own `BarrierTaskContext.allGather` does this, but sleeps for up to a second. Where the tasks can reach the
driver they meet at its listener in milliseconds, over connections that outlive a job.
"""

import json
import selectors
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pyspark import BarrierTaskContext

from fdl_spark.net.connection import Connection, PeerLost
from fdl_spark.net.secure import Listener

Message = dict[str, Any]
LONGEST = 64 << 20  # bytes of a message of a rank that has proved who it is
HUB_SECONDS = 5.0  # for a message to or from a rank that has begun to speak


class Meeting(ABC):
    """A place where all ranks of a group meet."""

    @abstractmethod
    def gather(self, message: Message) -> list[Message]:
        """What all ranks say, by rank; each says something."""


class BarrierMeeting(Meeting):
    """Meets through Spark's scheduler, which takes up to a second."""

    def gather(self, message: Message) -> list[Message]:
        return [json.loads(text) for text in BarrierTaskContext.get().allGather(json.dumps(message))]


class HubMeeting(Meeting):
    """Meets at a hub.

    Args:
      connection: to the hub.
      rank: this rank.
      group: number of the group, in case a message of an earlier group that failed is still on its way.
      timeout: seconds to wait for the slowest rank.
    """

    def __init__(self, connection: Connection, rank: int, group: int, timeout: float):
        self.connection, self.rank, self.group, self.timeout = connection, rank, group, timeout

    def gather(self, message: Message) -> list[Message]:
        self.connection.send_message({"group": self.group, "rank": self.rank, "says": message}, timeout=self.timeout)
        while True:
            answer = self.connection.receive_message(LONGEST, timeout=self.timeout)
            if answer.get("group") == self.group and "all" in answer:
                return answer["all"]


class LinkMeeting(Meeting):
    """Meets over the connections of an earlier group, where tasks cannot reach the driver.

    Args:
      rank: this rank.
      connections: to all other ranks, whatever their numbers are now.
      group: number of the group.
      timeout: seconds to wait for a rank; one whose process has not come back does not answer.
    """

    def __init__(self, rank: int, connections: list[Connection], group: int, timeout: float):
        self.rank, self.connections, self.group, self.timeout = rank, connections, group, timeout

    def gather(self, message: Message) -> list[Message]:
        said = {self.rank: message}
        for connection in self.connections:
            connection.send_message({"group": self.group, "rank": self.rank, "says": message}, timeout=self.timeout)
        for connection in self.connections:
            answer = connection.receive_message(LONGEST, timeout=self.timeout)
            if answer["group"] != self.group:
                raise connection.lost(f"is in group {answer['group']}, not {self.group}")
            said[answer["rank"]] = answer["says"]
        return [said[rank] for rank in range(len(said))]


class Hub:
    """The listener's side of `HubMeeting`, on the driver: it also hears what ranks report while they work.

    Args:
      listener: where ranks connect; they stay connected from group to group.
    """

    def __init__(self, listener: Listener):
        self.listener = listener
        self._connections: list[Connection] = []
        self._said: dict[int, tuple[Connection, Message]] = {}
        self.group = self.ranks = 0
        self._bell, self._rung = socket.socketpair()

    def open(self, group: int, ranks: int) -> None:
        """Let the ranks of a group meet from now on, as often as they want to."""
        self.group, self.ranks, self._said = group, ranks, {}

    def hear(self, patience: float) -> list[Message]:
        """What ranks report, apart from what they say to each other; empty if nobody says anything.

        Args:
          patience: seconds to wait for somebody.
        """
        heard = []
        for connection, message in self._hear(patience):
            if message.get("group") != self.group:
                continue
            if "says" in message:
                self._said[message["rank"]] = connection, message["says"]
            else:
                heard.append(message)
        if self.ranks and len(self._said) == self.ranks:
            answer = {"all": [self._said[rank][1] for rank in range(self.ranks)]}
            listeners = [connection for connection, _ in self._said.values()]
            self._said = {}
            for connection in listeners:
                self._say(connection, answer)
        return heard

    def tell(self, message: Message) -> None:
        """Say something to everybody."""
        for connection in list(self._connections):
            self._say(connection, message)

    def wake(self) -> None:
        """Let whoever is in `hear` come back, from any thread."""
        with suppress(OSError):
            self._bell.send(b"!")

    def close(self) -> None:
        """Stop listening and hang up."""
        self.listener.close()
        self._bell.close()
        self._rung.close()
        for connection in self._connections:
            connection.close()
        self._connections = []

    def _hear(self, patience: float) -> Iterator[tuple[Connection, Message]]:
        with selectors.DefaultSelector() as selector:
            selector.register(self.listener, selectors.EVENT_READ)
            selector.register(self._rung, selectors.EVENT_READ)
            for connection in self._connections:
                selector.register(connection, selectors.EVENT_READ)
            ready = [key.fileobj for key, _ in selector.select(patience)]
        for place in ready:
            if place is self._rung:
                self._rung.recv(64)
            elif isinstance(place, Connection):
                try:
                    yield place, place.receive_message(LONGEST, timeout=HUB_SECONDS)
                except PeerLost:
                    self._hang_up(place)
            else:
                while (accepted := self.listener.try_accept()) is not None:
                    self._connections.append(accepted)

    def _say(self, connection: Connection, message: Message) -> None:
        try:
            connection.send_message({"group": self.group, **message}, timeout=HUB_SECONDS)
        except PeerLost:
            self._hang_up(connection)

    def _hang_up(self, connection: Connection) -> None:
        connection.close()
        if connection in self._connections:
            self._connections.remove(connection)
