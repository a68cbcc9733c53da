"""Listening and connecting, for processes that hold the run's secret and for nobody else."""

import errno
import os
import selectors
import socket
import struct
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from fdl_spark.errors import ArgumentError
from fdl_spark.net import address as addresses
from fdl_spark.net.address import EVERYWHERE, UNIX
from fdl_spark.net.cipher import EncryptedConnection, check_available
from fdl_spark.net.connection import TIMEOUT, Connection, Unreachable
from fdl_spark.net.handshake import (
    ANSWER,
    OPENING,
    REFUSED,
    VERDICT,
    ConnectorSide,
    Keys,
    ListenerSide,
    Refused,
    check_secret,
)

HANDSHAKE = 5.0  # seconds that a handshake may take, however busy the other end is
PENDING = 64  # handshakes under way at most; the oldest is dropped
BACKLOG = 1024
PAUSES = (0.005, 0.2)  # seconds between attempts to connect, at first and at last
HUNG_UP, TOO_MANY = "they hung up", "there were too many at once"
BUSY = (BlockingIOError, ConnectionResetError, BrokenPipeError)  # its queue was full, or it hung up
OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener:
    """A place where processes that hold the run's secret can connect.

    Handshakes go on while `accept` or `try_accept` runs, side by side and with a deadline each; whoever says nothing,
    or something else, takes no thread and no place from others.

    Args:
      place: an address or name of this host, for TCP at a port that is free there; or "unix", for a Unix socket in a
        private folder.
      secret: the run's secret.
      encrypt: whether TCP connections are encrypted.
      published: the host that others connect to, if it is not `place` (behind a network's translation of addresses).
      handshake: seconds that one may take.

    Attributes:
      address: what to connect to.
      refused: how many connections were not let in, by reason.

    Raises:
      ArgumentError: the place means all addresses of the host, or is none of them.
      ClusterError: nothing here can encrypt.
    """

    def __init__(
        self,
        place: str,
        secret: bytes,
        *,
        encrypt: bool = False,
        published: str | None = None,
        handshake: float = HANDSHAKE,
    ):
        check_secret(secret)
        self._secret, self._encrypt, self._handshake = secret, encrypt and place != UNIX, handshake
        if self._encrypt:
            check_available()
        self.refused: Counter[str] = Counter()
        self._folder: Path | None = None
        self._socket = self._listen(place)
        if place == UNIX:
            self.address = addresses.text(UNIX, self._socket.getsockname())
        else:
            host, port = self._socket.getsockname()[:2]
            self.address = addresses.text("tcp", published or host, port)
        self._pending: dict[socket.socket, _Pending] = {}  # the oldest first
        self._ready: deque[Connection] = deque()
        self._lock, self._closing = threading.Lock(), False
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def _listen(self, place: str) -> socket.socket:
        if place == UNIX:
            self._folder = addresses.private_folder()
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            where: Any = str(self._folder / addresses.SOCKET)
        else:
            if place in EVERYWHERE:
                raise ArgumentError(f"{place!r} means all addresses of this host; name the one that peers connect to")
            try:
                family, *_, where = socket.getaddrinfo(place, 0, type=socket.SOCK_STREAM)[0]
            except OSError as error:
                raise ArgumentError(f"{place!r} is no address or name of this host ({error})") from error
            sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.bind(where)
            sock.listen(BACKLOG)
            sock.setblocking(False)
        except OSError as error:
            sock.close()
            self._remove_folder()
            raise ArgumentError(f"cannot listen at {place!r} on {socket.gethostname()} ({error})") from error
        return sock

    def fileno(self) -> int:
        """A descriptor that is readable when `try_accept` has something to do; of connections that it returned, and of
        deadlines, it knows nothing."""
        return self._selector.fileno()

    def accept(self, timeout: float) -> Connection:
        """The next connection of a process that holds the secret.

        Args:
          timeout: seconds to wait for one.

        Raises:
          TimeoutError: nobody came; the message says who was not let in, and why.
          OSError: the listener is closed, also by another thread meanwhile.
        """
        end = time.monotonic() + timeout
        while True:
            rest = end - time.monotonic()
            found = self._step(max(0.0, rest))
            if found is not None:
                return found
            if rest <= 0:
                refused = ", ".join(f"{count} because {reason}" for reason, count in self.refused.items())
                also = f"; connections that were not let in: {refused}" if refused else ""
                raise TimeoutError(f"nobody connected to {self.address} within {timeout:g} s{also}")

    def try_accept(self) -> Connection | None:
        """The next connection, or None if none is there now; go on with all handshakes as far as they can go."""
        return self._step(0.0)

    def close(self) -> None:
        """Stop listening and leave nothing behind; connections that were accepted stay. Closing twice does nothing."""
        self._closing = True
        with suppress(OSError):
            self._wake.send(b"x")
        with self._lock:  # a thread in `accept` leaves it first
            if self._socket.fileno() < 0:
                return
            self._selector.close()
            for sock in (self._socket, self._wake, self._woken, *self._pending):
                sock.close()
            for connection in self._ready:
                connection.close()
            self._pending.clear()
            self._ready.clear()
            self._remove_folder()

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _remove_folder(self) -> None:
        if self._folder is not None:
            addresses.remove(self._folder)

    def _step(self, wait: float) -> Connection | None:
        with self._lock:
            if self._closing:
                raise OSError(errno.EBADF, f"the listener at {self.address} is closed")
            if self._ready:
                return self._ready.popleft()
            if self._pending:
                oldest = next(iter(self._pending.values()))
                wait = min(wait, max(0.0, oldest.end - time.monotonic()))
            for key, _ in self._selector.select(wait):
                if key.fileobj is self._socket:
                    self._accept_all()
                elif key.fileobj is not self._woken and key.fileobj in self._pending:
                    self._go_on(self._pending[key.fileobj])
            self._drop_late()  # after what had come was read: nobody is late because this process was busy
            return self._ready.popleft() if self._ready else None

    def _accept_all(self) -> None:
        for _ in range(PENDING):
            try:
                sock, _ = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in OUT_OF_DESCRIPTORS:
                    if not self._pending:
                        raise
                    self._drop(next(iter(self._pending)), TOO_MANY)
                    continue
                return  # it was gone before it was accepted
            self._begin(sock)

    def _begin(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if not _same_user(sock):
            self.refused["they are of another user"] += 1
            sock.close()
            return
        side = ListenerSide(self._secret, self.address, self._encrypt)
        try:
            sock.sendall(side.opening)  # into an empty buffer: it does not wait
        except OSError:
            self.refused[HUNG_UP] += 1
            sock.close()
            return
        if len(self._pending) >= PENDING:
            self._drop(next(iter(self._pending)), TOO_MANY)
        self._pending[sock] = _Pending(sock, side, time.monotonic() + self._handshake)
        self._selector.register(sock, selectors.EVENT_READ)

    def _go_on(self, pending: "_Pending") -> None:
        sock = pending.sock
        try:
            part = sock.recv(ANSWER - len(pending.answer))
            pending.answer += part
            if not part:
                self._drop(sock, HUNG_UP)
            elif len(pending.answer) == ANSWER:
                sock.sendall(pending.side.verdict(pending.answer))
                self._selector.unregister(sock)
                del self._pending[sock]
                self._ready.append(_connection(sock, self._peer(sock), pending.side.keys()))
        except BlockingIOError:
            pass
        except Refused as error:
            with suppress(OSError):
                sock.sendall(REFUSED)
            self._drop(sock, str(error))
        except OSError:
            self._drop(sock, HUNG_UP)

    def _peer(self, sock: socket.socket) -> str:
        return socket.gethostname() if self._folder is not None else str(sock.getpeername()[0])

    def _drop_late(self) -> None:
        now = time.monotonic()
        for late in [sock for sock, pending in self._pending.items() if pending.end <= now]:
            self._drop(late, "they said nothing" if not self._pending[late].answer else "they were too slow")

    def _drop(self, sock: socket.socket, reason: str) -> None:
        self.refused[reason] += 1
        self._selector.unregister(sock)
        del self._pending[sock]
        sock.close()


class _Pending:
    """A handshake under way."""

    def __init__(self, sock: socket.socket, side: ListenerSide, end: float):
        self.sock, self.side, self.end, self.answer = sock, side, end, b""


def connect(
    address: str,
    secret: bytes,
    timeout: float = TIMEOUT,
    *,
    retry_until: float | None = None,
    encrypt: bool = False,
    name: str = "the listener",
) -> Connection:
    """Connect to a Listener.

    Args:
      address: the listener's.
      secret: the run's secret.
      timeout: seconds until the listener must have let us in; if it hangs up before, because it is busy with others, it
        is tried again.
      retry_until: a value of `time.monotonic()` until which a listener that is not there is tried again.
      encrypt: whether a TCP connection is encrypted, as the listener's are.
      name: who is there, for messages.

    Raises:
      Unreachable: nobody listens there, or not one that holds the secret, or it did not answer in time.
      ArgumentError: the address is none.
      ClusterError: nothing here can encrypt.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> from fdl_spark.net.handshake import new_secret
    >>> secret = new_secret()
    >>> with Listener("127.0.0.1", secret) as listener, ThreadPoolExecutor(1) as pool:
    ...     connecting = pool.submit(connect, listener.address, secret)
    ...     with listener.accept(10) as theirs, connecting.result() as mine:
    ...         mine.send_message({"rank": 1})
    ...         print(theirs.receive_message())
    {'rank': 1}
    """
    check_secret(secret)
    kind, where = addresses.parse(address)
    host = socket.gethostname() if kind == UNIX else where[0]
    encrypt = encrypt and kind != UNIX
    if encrypt:
        check_available()
    end = time.monotonic() + timeout
    pause, longest = PAUSES
    while True:
        rest = end - time.monotonic()
        try:
            return _attempt(kind, where, host, ConnectorSide(secret, address, encrypt), max(rest, 1e-3), name)
        except Refused as error:
            raise Unreachable(name, host, f"at {address} cannot be used: {error}") from None
        except OSError as error:
            again = end if isinstance(error, BUSY) else min(end, retry_until if retry_until is not None else 0.0)
            if time.monotonic() + pause >= again:
                reason = error.strerror or str(error)
                here = socket.gethostname()
                raise Unreachable(name, host, f"at {address} cannot be reached from {here} ({reason})") from None
        time.sleep(pause)
        pause = min(2 * pause, longest)


def _attempt(kind: str, where: Any, host: str, side: ConnectorSide, timeout: float, name: str) -> Connection:
    end = time.monotonic() + timeout
    if kind == UNIX:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        family, *_, where = socket.getaddrinfo(where[0], where[1], type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(where)
        if kind != UNIX and sock.getsockname() == sock.getpeername():
            # TCP's simultaneous opening: nobody listens, and the kernel had chosen that very port for this end.
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        if not _same_user(sock):
            raise Refused("it is of another user")
        sock.sendall(side.answer(_exactly(sock, OPENING, end)))
        side.check(_exactly(sock, VERDICT, end))
        return _connection(sock, host, side.keys(), name)
    except BaseException:
        sock.close()
        raise


def _exactly(sock: socket.socket, size: int, end: float) -> bytes:
    content = b""
    while len(content) < size:
        sock.settimeout(max(end - time.monotonic(), 1e-3))
        part = sock.recv(size - len(content))
        if not part:
            raise ConnectionResetError(errno.ECONNRESET, "it hung up during the handshake")
        content += part
    return content


def _connection(sock: socket.socket, host: str, keys: Keys | None, name: str = "a peer") -> Connection:
    if keys is None:
        return Connection(sock, host, name)
    return EncryptedConnection(sock, host, keys.sending, keys.receiving, name)


def _same_user(sock: socket.socket) -> bool:
    """Whether the other end of a Unix socket is a process of this user, as far as the system tells."""
    if sock.family != getattr(socket, "AF_UNIX", None) or not hasattr(socket, "SO_PEERCRED"):
        return True
    _, user, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return user == os.geteuid()
