"""What the ranks of a group send each other in a step: a reduce-scatter along the fixed tree, then an all-gather.

    rank r --- slice q of the sums at r's nodes ---> rank q: sum over all shards --- a new slice q ---> all ranks

Every rank sends to and receives from all others at once, from one thread, and adds up whatever pairs of pieces have
arrived. Ranks of one host read each other's slices from shared memory, and send only word that they are ready.
"""

import json
import select
import struct
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fdl_spark.compute.tree_sum import Node, root
from fdl_spark.history.clock import Clock
from fdl_spark.net.connection import Connection, as_bytes
from fdl_spark.net.shared import Segment

PIECE = 1 << 16  # elements that are added up at once: they stay in a core's cache
LENGTH = struct.Struct("<I")
LONGEST_HEADER = 64 << 20

Message = dict[str, Any]
Receiver = Generator[memoryview, None, None]  # yields a buffer to fill, and goes on when it is full


class Room:
    """Memory that a rank fills for its peers: the sums at its nodes, and its slice.

    Args:
      nodes: how many nodes it has.
      size: elements of the flat vector.
      slots: elements of its slice, at most.
      dtype: of the parameters.
      rounded: whether the sums are bfloat16, as their bits.
      shared: a Segment for it, if peers of this host are to read it.
    """

    def __init__(
        self, nodes: int, size: int, slots: int, dtype: np.dtype, rounded: bool = False, shared: Segment | None = None
    ):
        self.shared, self.dtype = shared, dtype
        sent = np.dtype(np.uint16) if rounded else dtype
        if shared is None:
            self.parts, self.slice = np.empty((nodes, size), sent), np.empty(slots, dtype)
        else:
            self.slice = shared.array(dtype, slots)
            self.parts = shared.array(sent, nodes * size, slots * dtype.itemsize).reshape(nodes, size)

    @staticmethod
    def bytes(nodes: int, size: int, slots: int, dtype: np.dtype, rounded: bool = False) -> int:
        """The size of its Segment."""
        return slots * dtype.itemsize + nodes * size * (2 if rounded else dtype.itemsize)

    def close(self) -> None:
        """Give up what is shared, once nobody here uses it any more."""
        if self.shared is not None:
            self.shared.close()


@dataclass
class Link:
    """A way to another rank.

    Attributes:
      connection: to it.
      room: its memory, if it is on this host.
    """

    connection: Connection
    room: Room | None = None

    def close(self) -> None:
        """Hang up, and let go of the other's memory."""
        self.connection.close()
        if self.room is not None:
            self.room.close()


class SliceSum:
    """The sum of one slice over all shards, added up along the tree as pieces of it arrive.

    Args:
      parts: the slice at each of the nodes that cover the shards which take part; some may not be filled yet.
      shards: number of shards.
      present: whether a node has a shard that takes part.
      size: elements of the slice.
      dtype: of the sum; parts of another one are the bits of bfloat16.
      spare: arrays of that size and dtype for sums of parts that are read-only; new memory costs more than adding up.
    """

    def __init__(
        self,
        parts: Mapping[Node, np.ndarray],
        shards: int,
        present: Callable[[Node], bool],
        size: int,
        dtype: np.dtype,
        spare: Sequence[np.ndarray] = (),
    ):
        self._parts, self._shards, self._present, self._spare = parts, shards, present, list(spare)
        self._arrays = {n: part if part.dtype == dtype else np.empty(size, dtype) for n, part in parts.items()}
        self._waiting: set[tuple[Node, int]] = set()
        self._root, self.size = root(shards), size

    @property
    def total(self) -> np.ndarray:
        """The sum, when all pieces of all parts have arrived."""
        return self._arrays[self._root]

    def pieces(self) -> Iterator[slice]:
        """The pieces of the slice."""
        for start in range(0, self.size, PIECE):
            yield slice(start, min(start + PIECE, self.size))

    def arrived(self, node: Node, piece: slice) -> None:
        """Add up what can be added up now that a piece of the slice at a node is there."""
        if self._arrays[node] is not self._parts[node]:
            bits = self._parts[node][piece].astype(np.uint32)
            np.left_shift(bits, 16, out=self._arrays[node][piece].view(np.uint32))
        while node != self._root:
            level, index = node
            parent, sibling = (level + 1, index // 2), (level, index ^ 1)
            if sibling[1] << level < self._shards and self._present(sibling):
                if (sibling, piece.start) not in self._waiting:
                    self._waiting.add((node, piece.start))
                    return
                self._waiting.discard((sibling, piece.start))
                left, right = (self._arrays[level, 2 * parent[1] + side] for side in (0, 1))
                if parent not in self._arrays:
                    mine = [array for array in (left, right) if array.flags.writeable]
                    if not mine:
                        mine = [self._spare.pop() if self._spare else np.empty_like(left)]
                    self._arrays[parent] = mine[0]
                np.add(left[piece], right[piece], out=self._arrays[parent][piece])
            else:
                self._arrays[parent] = self._arrays[node]
            node = parent


class Exchange:
    """The exchanges of one rank with its peers.

    Args:
      rank: this rank.
      links: to the others, by rank.
      nodes: the nodes of each rank.
      cuts: where the flat vector is cut into slices.
      owners: the rank that sums up and updates each slice.
      shards: number of shards.
      room: this rank's memory.
      timeout: seconds to wait for any progress.
    """

    def __init__(
        self,
        rank: int,
        links: Mapping[int, Link],
        nodes: Sequence[Sequence[Node]],
        cuts: Sequence[int],
        owners: Sequence[int],
        shards: int,
        room: Room,
        timeout: float,
    ):
        self.rank, self.links, self.nodes, self.shards = rank, links, nodes, shards
        self.room, self.timeout = room, timeout
        self.bounds = dict(zip(owners, pairwise(cuts), strict=True))
        start, stop = self.bounds.get(rank, (0, 0))
        self._received = {
            node: np.empty(stop - start, room.parts.dtype)
            for peer, link in links.items()
            if link.room is None
            for node in nodes[peer]
        }

    def reduce_scatter(
        self,
        message: Message,
        present: Callable[[Node], bool],
        clock: Clock,
        rows: Any = None,
        own: Mapping[Node, np.ndarray] | None = None,
    ) -> tuple[dict[int, Message], np.ndarray | None]:
        """Send the sums at this rank's nodes, which are in its room, and sum up its slice.

        Args:
          message: what to tell all ranks.
          present: whether a node has a shard that takes part in this step.
          clock: books the time as "send", "wait" and "sum".
          rows: the RowsSwap of gradients that have rows of tables; what it counts is in the message, as "rows".
          own: this rank's slice of the sums at its nodes, where it is not in the room, as nobody else reads it.

        Returns:
          What all ranks told, by rank, and the sum of the slice; None if this rank owns none.
        """
        header = json.dumps(message).encode()
        mine = self.bounds.get(self.rank)
        told = {self.rank: message}
        total = self._slice_sum(mine, present, own or {}) if mine else None

        def receive(peer: int) -> Receiver:
            length = bytearray(LENGTH.size)
            yield memoryview(length)
            (size,) = LENGTH.unpack(length)
            if size > LONGEST_HEADER:
                raise self.links[peer].connection.lost(f"sent a message that claims {size} bytes")
            text = bytearray(size)
            yield memoryview(text)
            try:
                told[peer] = json.loads(text)
            except ValueError as error:
                raise self.links[peer].connection.lost(f"sent a message that is not JSON ({error})") from None
            if rows is not None:
                yield from rows.receive(peer, told[peer].get("rows"), self.links[peer].connection.lost)
            if total is None:
                return
            shared = self.links[peer].room is not None
            for node in self.nodes[peer]:
                if not present(node):
                    continue
                for piece in total.pieces():
                    if not shared:
                        yield as_bytes(self._received[node][piece])
                    with clock.taking("sum", "wait"):
                        total.arrived(node, piece)

        outgoing = {}
        for peer, link in self.links.items():
            outgoing[peer] = [memoryview(LENGTH.pack(len(header)) + header), *(rows.buffers() if rows else ())]
            if link.room is None and peer in self.bounds:
                start, stop = self.bounds[peer]
                outgoing[peer] += [
                    as_bytes(self.room.parts[n, start:stop])
                    for n, node in enumerate(self.nodes[self.rank])
                    if present(node)
                ]
        clock.lap("wait")
        self._swap(outgoing, {peer: receive(peer) for peer in self.links}, clock, "wait", own=total, present=present)
        return told, None if total is None else total.total

    def all_gather(self, into: np.ndarray, clock: Clock) -> None:
        """Send this rank's slice, which is in its room, and receive the others'.

        Args:
          into: the flat vector.
          clock: books the time as "gather".
        """

        def receive(peer: int) -> Receiver:
            start, stop = self.bounds[peer]
            room = self.links[peer].room
            if room is None:
                yield as_bytes(into[start:stop])
                return
            yield memoryview(bytearray(1))
            into[start:stop] = room.slice[: stop - start]

        outgoing: dict[int, list[memoryview]] = {}
        if self.rank in self.bounds:
            start, stop = self.bounds[self.rank]
            into[start:stop] = self.room.slice[: stop - start]
            for peer, link in self.links.items():
                shared = link.room is not None
                outgoing[peer] = [memoryview(b"\0") if shared else as_bytes(self.room.slice[: stop - start])]
        incoming = {peer: receive(peer) for peer in self.links if peer in self.bounds}
        self._swap(outgoing, incoming, clock, "gather")

    def _slice_sum(
        self, bounds: tuple[int, int], present: Callable[[Node], bool], own: Mapping[Node, np.ndarray]
    ) -> SliceSum:
        start, stop = bounds
        parts = {node: array for node, array in self._received.items() if present(node)}
        for rank, room in self._rooms():
            for n, node in enumerate(self.nodes[rank]):
                if present(node):
                    parts[node] = room.parts[n, start:stop]
        spare = self.room.parts[: len(own), start:stop] if self.room.parts.dtype == self.room.dtype else ()
        return SliceSum({**parts, **own}, self.shards, present, stop - start, self.room.dtype, list(spare))

    def _rooms(self) -> Iterator[tuple[int, Room]]:
        yield self.rank, self.room
        for peer, link in self.links.items():
            if link.room is not None:
                yield peer, link.room

    def _swap(
        self,
        outgoing: Mapping[int, list[memoryview]],
        incoming: Mapping[int, Receiver],
        clock: Clock,
        phase: str,
        own: SliceSum | None = None,
        present: Callable[[Node], bool] = lambda node: True,
    ) -> None:
        """Send to and receive from all peers at once."""
        sending = {peer: deque(buffer for buffer in buffers if buffer.nbytes) for peer, buffers in outgoing.items()}
        receiving = {}
        for peer, receiver in incoming.items():
            buffer = _next_buffer(receiver)
            if buffer is not None:
                receiving[peer] = receiver, buffer
        send_phase = "send" if phase == "wait" else phase
        self._push(sending)
        clock.lap(send_phase)
        if own is not None:
            for node in self.nodes[self.rank]:
                if present(node):
                    for piece in own.pieces():
                        own.arrived(node, piece)
            clock.lap("sum")
        while sending or receiving:
            moved = self._push(sending)
            if moved:
                clock.lap(send_phase)
            moved |= self._pull(receiving)
            if not moved:
                self._poll(sending, receiving)
            clock.lap(phase)

    def _push(self, sending: dict[int, deque[memoryview]]) -> bool:
        moved = False
        for peer in list(sending):
            buffers, connection = sending[peer], self.links[peer].connection
            while buffers:
                count = connection.try_send(buffers[0])
                if not count:
                    break
                moved = True
                if count < buffers[0].nbytes:
                    buffers[0] = buffers[0][count:]
                else:
                    buffers.popleft()
            if not buffers:
                del sending[peer]
        return moved

    def _pull(self, receiving: dict[int, tuple[Receiver, memoryview]]) -> bool:
        moved = False
        for peer in list(receiving):
            receiver, buffer = receiving[peer]
            connection = self.links[peer].connection
            while True:
                count = connection.try_receive(buffer)
                if not count:
                    receiving[peer] = receiver, buffer
                    break
                moved = True
                buffer = buffer[count:]
                if not buffer.nbytes:
                    following = _next_buffer(receiver)
                    if following is None:
                        del receiving[peer]
                        break
                    buffer = following
        return moved

    def _poll(self, sending: Mapping[int, Any], receiving: Mapping[int, Any]) -> None:
        """Wait until a connection can be read or written to.

        Raises:
          PeerLost: none can for too long.
        """
        poller = select.poll()
        for peer in sending.keys() | receiving.keys():
            events = (select.POLLOUT if peer in sending else 0) | (select.POLLIN if peer in receiving else 0)
            poller.register(self.links[peer].connection.fileno(), events)
        end = time.monotonic() + self.timeout
        while not poller.poll(1e3):
            for peer in sending.keys() | receiving.keys():
                self.links[peer].connection.check()
            if time.monotonic() > end:
                raise self.links[min(receiving or sending)].connection.lost(f"said nothing for {self.timeout:.0f} s")


def _next_buffer(receiver: Receiver) -> memoryview | None:
    """The next buffer that has any bytes, or None at the end."""
    for buffer in receiver:
        if buffer.nbytes:
            return buffer
    return None
