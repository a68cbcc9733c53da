"""The connections of a process to all others of its run, which are kept from group to group."""

import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from fdl_spark.net.address import UNIX, host_key
from fdl_spark.net.connection import Connection, Unreachable
from fdl_spark.net.exchange import Link, Room
from fdl_spark.net.meeting import Meeting, Message
from fdl_spark.net.secure import Listener, connect
from fdl_spark.net.shared import receive_segment, send_segment


@dataclass(frozen=True)
class Terms:
    """How the processes of a run connect.

    Attributes:
      secret: proves that a process belongs to the run.
      encrypted: whether what goes between hosts is encrypted.
      timeout: seconds after which one that says nothing is lost.
      connecting: seconds after which one that does not answer a call cannot be reached.
    """

    secret: bytes
    encrypted: bool
    timeout: float
    connecting: float


@dataclass
class Mesh:
    """What a process knows of the others.

    Attributes:
      token: names the process within the run.
      links: to the others, by their tokens.
    """

    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    links: dict[str, Link] = field(default_factory=dict)

    def greeting(self) -> Message:
        """What the others need to know of this process."""
        return {"token": self.token, "host": host_key(), "name": socket.gethostname(), "links": list(self.links)}

    def join(
        self,
        rank: int,
        here: list[Message],
        meeting: Meeting,
        terms: Terms,
        address: Callable[[], str],
        room: Room,
        view: Callable[[int, Any], Room],
    ) -> dict[int, Link]:
        """Connect with all other ranks: by what is left of earlier groups, and anew where one of two has lost it.

        Args:
          rank: this process's.
          here: the greetings of all ranks.
          meeting: where they meet.
          terms: how they connect.
          address: gives this host's name or address for the others.
          room: this process's memory; others of the host see it if it is shared.
          view: makes the Room of another rank from its Segment.

        Returns:
          The links by rank.

        Raises:
          Unreachable: two ranks cannot connect.
          PeerLost: a rank has gone.
        """
        tokens = [message["token"] for message in here]
        missing = [
            (i, j)
            for j in range(len(here))
            for i in range(j)
            if tokens[j] not in here[i]["links"] or tokens[i] not in here[j]["links"]
        ]
        lost = {tokens[i if j == rank else j] for i, j in missing if rank in (i, j)}
        for token in [token for token in self.links if token in lost or token not in tokens]:
            self.links.pop(token).close()
        if missing:
            for peer, connection in self._connections(rank, here, missing, meeting, terms, address):
                connection.name, connection.host = f"rank {peer}", here[peer]["name"]
                self.links[tokens[peer]] = _link(connection, peer, room, view, terms.timeout)
        return {peer: self.links[token] for peer, token in enumerate(tokens) if peer != rank}

    def close(self) -> None:
        """Hang up."""
        for link in self.links.values():
            link.close()
        self.links = {}

    def _connections(
        self,
        rank: int,
        here: list[Message],
        missing: list[tuple[int, int]],
        meeting: Meeting,
        terms: Terms,
        address: Callable[[], str],
    ) -> Iterator[tuple[int, Connection]]:
        """New connections, with the rank at the other end: of a pair, the lower rank listens."""
        mine = here[rank]["host"]
        callers = [j for i, j in missing if i == rank]
        with ExitStack() as open_listeners:
            listeners = {}
            if any(here[j]["host"] == mine for j in callers):
                listeners["near"] = open_listeners.enter_context(Listener(UNIX, terms.secret))
            if any(here[j]["host"] != mine for j in callers):
                far = Listener(address(), terms.secret, encrypt=terms.encrypted)
                listeners["far"] = open_listeners.enter_context(far)
            places = meeting.gather({kind: listener.address for kind, listener in listeners.items()})
            for i, j in missing:
                if j == rank:
                    place = places[i]["near" if here[i]["host"] == mine else "far"]
                    connection = connect(
                        place,
                        terms.secret,
                        terms.connecting,
                        encrypt=terms.encrypted,
                        name=f"rank {i} ({here[i]['name']})",
                    )
                    connection.send_message({"rank": rank}, timeout=terms.timeout)
                    yield i, connection
            for kind, listener in listeners.items():
                expected = {j for j in callers if (here[j]["host"] == mine) == (kind == "near")}
                while expected:
                    try:  # they call others before, and if they cannot reach this one, they say so
                        connection = listener.accept(2 * terms.connecting)
                    except TimeoutError as error:
                        late = min(expected)
                        raise Unreachable(f"rank {late}", here[late]["name"], f"has not called: {error}") from None
                    peer = connection.receive_message(timeout=terms.timeout)["rank"]
                    expected.discard(peer)
                    yield peer, connection


def _link(connection: Connection, peer: int, room: Room, view: Callable[[int, Any], Room], timeout: float) -> Link:
    """Take a connection up; two processes of one host see each other's memory, if both have memory to be seen."""
    if not connection.same_host:
        return Link(connection)
    connection.send_message({"shared": room.shared is not None}, timeout=timeout)
    if not connection.receive_message(timeout=timeout)["shared"] or room.shared is None:
        return Link(connection)
    send_segment(connection, room.shared)
    return Link(connection, view(peer, receive_segment(connection)))
