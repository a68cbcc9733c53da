"""A connection to one other process of the run: a stream of bytes whose errors name the peer.

The socket never blocks. What waits, waits in `poll`, so that the same connection serves a caller that sends and
receives one thing after the other and a loop that moves bytes of all peers at once.
"""

import json
import os
import select
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

TIMEOUT = 60.0  # seconds without progress
SILENCE = 30.0  # seconds after which a host that does not acknowledge counts as gone
LENGTH = struct.Struct(">Q")
MESSAGE_LIMIT = 1 << 20
UNIX_BUFFER = 2 << 20  # bytes
DESCRIPTOR = b"D"  # the byte that a descriptor travels with
VECTORS = 64  # buffers of one system call; the kernel's limit is 1,024


class PeerLost(Exception):
    """Another process of the run cannot be reached any more, or does not say what it must.

    Args:
      name: who it is, such as "rank 3".
      host: where it is.
      what: what happened.
    """

    def __init__(self, name: str, host: str, what: str):
        super().__init__(name, host, what)
        self.name, self.host, self.what = name, host, what

    def __str__(self) -> str:
        return f"{self.name} on {self.host} {self.what}"


class Unreachable(PeerLost):
    """No connection to another process of the run can be made: between here and there is a firewall, say."""


class Connection:
    """An open connection, authenticated by whoever made it.

    Args:
      sock: the socket, of TCP or Unix.
      host: where the peer is, for messages.
      name: who the peer is, for messages; may be set when it is known.
      timeout: seconds that a wait lasts at most without any progress.
    """

    def __init__(self, sock: socket.socket, host: str, name: str = "a peer", timeout: float = TIMEOUT):
        self.host, self.name, self.timeout = host, name, timeout
        self._socket = sock
        sock.setblocking(False)
        self.same_host = sock.family == getattr(socket, "AF_UNIX", None)
        if self.same_host:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNIX_BUFFER)  # the kernel has a limit of its own
        else:
            _set_tcp_options(sock)

    def fileno(self) -> int:
        """The descriptor, for a selector; -1 when closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close; the peer gets what was sent, then the end of the stream. Closing twice does nothing."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self._socket.close()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lost(self, what: str) -> PeerLost:
        """The error that says what happened to this peer."""
        return PeerLost(self.name, self.host, what)

    # Without waiting

    def try_send(self, *buffers: memoryview) -> int:
        """Send as much as goes without waiting.

        The next call must begin with the bytes after those that were taken: an encrypted connection may have encrypted
        them already.

        Args:
          buffers: views of bytes, as `as_bytes` makes them; none empty.

        Returns:
          How many bytes were taken.

        Raises:
          PeerLost: the connection is broken.
        """
        try:
            if len(buffers) == 1:
                return self._socket.send(buffers[0])
            return self._socket.sendmsg(buffers[:VECTORS])
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._broken(error) from None

    def try_receive(self, view: memoryview) -> int:
        """Receive as much as is there without waiting.

        Bytes may be here although the descriptor is not readable: try first, wait only when there was nothing.

        Args:
          view: where to put them, not empty.

        Returns:
          How many bytes were received; 0 if none are there.

        Raises:
          PeerLost: the connection is broken, or the peer closed it.
        """
        try:
            received = self._socket.recv_into(view)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._broken(error) from None
        if not received:
            raise self.lost("closed the connection")
        return received

    def check(self) -> None:
        """Raise PeerLost if the peer's host has not answered for a while, although there is something to answer.

        The kernel's own limit (TCP_USER_TIMEOUT) would also end connections to a peer that computes and does not read.
        """
        if self.same_host or not hasattr(socket, "TCP_INFO"):
            return
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 60)
        if len(info) == 60:
            unanswered = info[2] + info[3]  # retransmissions and probes that no acknowledgement followed
            (milliseconds,) = struct.unpack_from("=I", info, 56)  # since the last acknowledgement
            if unanswered >= 2 and milliseconds > 1e3 * SILENCE:
                raise self.lost(f"has not acknowledged anything for {milliseconds / 1e3:.0f} s; is the host gone?")

    # With waiting

    def send(self, *buffers: Any, timeout: float | None = None) -> None:
        """Send buffers, one after the other, and return when the kernel has them all.

        Args:
          buffers: contiguous arrays or bytes.
          timeout: seconds without progress, if not those of the connection.

        Raises:
          PeerLost: the connection is broken, or nothing could be sent for so long.
        """
        rest = [view for view in map(as_bytes, buffers) if view.nbytes]
        while rest:
            sent = self.try_send(*rest)
            if sent:
                rest = advance(rest, sent)
            else:
                self.wait(timeout=timeout, writing=True)

    def receive_into(self, buffer: Any, timeout: float | None = None) -> None:
        """Fill a buffer.

        Args:
          buffer: contiguous array or bytearray.
          timeout: seconds without progress, if not those of the connection.

        Raises:
          PeerLost: the connection is broken, the peer closed it, or nothing came for so long.
        """
        view = as_bytes(buffer)
        while view.nbytes:
            received = self.try_receive(view)
            if received:
                view = view[received:]
            else:
                self.wait(timeout=timeout, reading=True)

    def send_message(self, value: Any, timeout: float | None = None) -> None:
        """Send one value that JSON can say."""
        content = json.dumps(value).encode()
        self.send(LENGTH.pack(len(content)), content, timeout=timeout)

    def receive_message(self, limit: int = MESSAGE_LIMIT, timeout: float | None = None) -> Any:
        """Receive the value that the peer sent by `send_message`.

        Args:
          limit: bytes that it may have.
          timeout: seconds without progress, if not those of the connection.

        Raises:
          PeerLost: as `receive_into`; or the message is too long, or is not JSON.
        """
        header = bytearray(LENGTH.size)
        self.receive_into(header, timeout)
        (size,) = LENGTH.unpack(header)
        if size > limit:
            raise self.lost(f"sent a message that claims {size} bytes, where at most {limit} are allowed")
        content = bytearray(size)
        self.receive_into(content, timeout)
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self.lost(f"sent a message that is not JSON ({error})") from None

    def wait(self, *, reading: bool = False, writing: bool = False, timeout: float | None = None) -> None:
        """Wait until the kernel has or takes bytes of this connection; a loop over many has a selector instead.

        Raises:
          PeerLost: neither happened for so long, or the peer's host is gone.
        """
        timeout = self.timeout if timeout is None else timeout
        end = time.monotonic() + timeout
        poll = select.poll()
        poll.register(self._socket, select.POLLIN * reading | select.POLLOUT * writing)
        while True:
            rest = end - time.monotonic()
            if poll.poll(1e3 * max(0.0, min(rest, 1.0))):
                return
            if rest <= 0:
                raise self.lost(f"{'sent' if reading else 'took'} nothing for {timeout:g} s")
            self.check()

    # Descriptors, on one host

    def send_descriptor(self, fd: int, timeout: float | None = None) -> None:
        """Hand an open descriptor to the peer at the other end of a Unix socket; it takes one byte of the stream."""
        while True:
            try:
                socket.send_fds(self._socket, [DESCRIPTOR], [fd])
                return
            except BlockingIOError:
                self.wait(timeout=timeout, writing=True)
            except OSError as error:
                raise self._broken(error) from None

    def receive_descriptor(self, timeout: float | None = None) -> int:
        """The descriptor that the peer sent by `send_descriptor`; it is the caller's to close.

        Raises:
          PeerLost: the connection is broken, or the peer sent something else.
        """
        while True:
            try:
                content, fds, flags, _ = socket.recv_fds(self._socket, 1, 1, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
                break
            except BlockingIOError:
                self.wait(timeout=timeout, reading=True)
            except OSError as error:
                raise self._broken(error) from None
        if not content:
            raise self.lost("closed the connection")
        if content != DESCRIPTOR or len(fds) != 1 or flags & socket.MSG_CTRUNC:
            for fd in fds:
                os.close(fd)
            raise self.lost("sent something else where it must hand over shared memory")
        os.set_inheritable(fds[0], False)
        return fds[0]

    def _broken(self, error: OSError) -> PeerLost:
        if self._socket.fileno() < 0:
            return self.lost("was disconnected from here: the connection is closed")
        return self.lost(f"is disconnected ({error.strerror or error})")


def as_bytes(buffer: Any) -> memoryview:
    """The bytes of a contiguous array or buffer, not copied.

    >>> as_bytes(np.zeros((2, 3), np.float32)).nbytes, as_bytes(np.zeros((0, 3))).nbytes
    (24, 0)
    """
    if isinstance(buffer, np.ndarray):  # some dtypes, such as bfloat16, have no buffer of their own
        if not buffer.flags.c_contiguous:
            raise ValueError(f"an array to send or receive must be contiguous; its strides are {buffer.strides}")
        return buffer.reshape(-1).view(np.uint8).data if buffer.size else memoryview(b"")
    view = memoryview(buffer)
    return view.cast("B") if view.nbytes else memoryview(b"")


def advance(buffers: Sequence[memoryview], count: int) -> list[memoryview]:
    """What is left of buffers without their first `count` bytes."""
    for index, view in enumerate(buffers):
        if count < view.nbytes:
            return [view[count:], *buffers[index + 1 :]]
        count -= view.nbytes
    return []


def _set_tcp_options(sock: socket.socket) -> None:
    """No waiting for more to send, and probes that notice a host that is gone while nothing is on its way to it.

    Sizes of buffers are left to the kernel, which makes them larger as a connection needs it, unless they are set.
    """
    wanted = {"TCP_NODELAY": 1, "TCP_KEEPIDLE": 10, "TCP_KEEPALIVE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in wanted.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
