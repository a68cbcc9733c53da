"""Encrypted connections: AES-256-GCM in records, under a key of each connection and direction."""

import hashlib
import hmac
import socket
import struct
from typing import Any

from fdl_spark.errors import ClusterError
from fdl_spark.net.connection import TIMEOUT, Connection, advance

RECORD = 1 << 17  # bytes of plaintext that a record has at most
HEADER = struct.Struct(">I")
TAG = 16
FRAME = HEADER.size + RECORD + TAG
RECORDS_OF_A_KEY = 1 << 20  # 128 GiB, far below what makes AES-GCM's blocks tell anything


def check_available() -> None:
    """Raise ClusterError, which says what to install, if nothing here can encrypt."""
    _aes(bytes(32))


def _aes(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ClusterError(
            f"Spark's network encryption is on, so that tasks must encrypt what they send to each other, which needs "
            f"the package cryptography on {socket.gethostname()} ({error}): `pip install cryptography` on the driver "
            f'and on all executors, or use sync="shuffle", whose bytes travel through Spark'
        ) from error
    return AESGCM(key)


def derive(key: bytes, salt: bytes, info: bytes, size: int = 32) -> bytes:
    """HKDF-SHA256 (RFC 5869): a key for one use from a secret.

    Args:
      key: the secret.
      salt: what is random about the use.
      info: what the use is.
      size: bytes of the result.
    """
    extracted = hmac.digest(salt or bytes(32), key, hashlib.sha256)
    result = block = b""
    while len(result) < size:
        block = hmac.digest(extracted, block + info + bytes([len(result) // 32 + 1]), hashlib.sha256)
        result += block
    return result[:size]


class Direction:
    """The key of one direction of a connection, and how many records it has sealed or opened."""

    def __init__(self, key: bytes):
        self._key, self._aes, self._count = key, _aes(key), 0

    def seal(self, plain: Any, frame: memoryview) -> None:
        """Encrypt into a frame that has room for the header, the text and the tag."""
        HEADER.pack_into(frame, 0, len(plain))
        self._aes.encrypt_into(self._nonce(), plain, bytes(frame[: HEADER.size]), frame[HEADER.size :])

    def open(self, frame: memoryview, plain: memoryview) -> bool:
        """Decrypt a frame; False if it is not what the peer has sealed as this record."""
        from cryptography.exceptions import InvalidTag

        try:
            self._aes.decrypt_into(self._nonce(), frame[HEADER.size :], bytes(frame[: HEADER.size]), plain)
        except InvalidTag:
            return False
        return True

    def _nonce(self) -> bytes:
        if self._count == RECORDS_OF_A_KEY:
            self._key, self._count = derive(self._key, b"", b"fdl next key"), 0
            self._aes = _aes(self._key)
        self._count += 1
        return self._count.to_bytes(12, "big")


class EncryptedConnection(Connection):
    """A connection whose bytes only the peer can read, and none can change, leave out, repeat or put in.

    Args:
      sending, receiving: keys of 32 bytes.
    """

    def __init__(
        self,
        sock: socket.socket,
        host: str,
        sending: bytes,
        receiving: bytes,
        name: str = "a peer",
        timeout: float = TIMEOUT,
    ):
        super().__init__(sock, host, name, timeout)
        self._sending, self._receiving = Direction(sending), Direction(receiving)
        self._sealed = memoryview(bytearray(FRAME))
        self._start = self._stop = 0  # what has not been sent yet of the frame that is sealed
        self._taken = 0  # how many bytes that frame holds; 0 if none is on its way
        self._frame = memoryview(bytearray(FRAME))
        self._here = 0  # how many bytes of the next frame have been received
        self._opened = memoryview(b"")  # what was opened and not asked for yet

    def try_send(self, *buffers: memoryview) -> int:
        rest, done = list(buffers), 0
        while True:
            if not self._taken:
                if not rest:
                    return done
                plain = _first_bytes(rest, RECORD)
                self._taken, self._start, self._stop = len(plain), 0, HEADER.size + len(plain) + TAG
                self._sending.seal(plain, self._sealed[: self._stop])
            self._start += super().try_send(self._sealed[self._start : self._stop])
            if self._start < self._stop:
                return done  # the next call begins with the bytes of this record
            rest = advance(rest, self._taken)
            done += self._taken
            self._taken = 0

    def try_receive(self, view: memoryview) -> int:
        done = 0
        while done < len(view):
            if not self._opened:
                plain = self._next_record(view[done:])
                if plain is None:
                    break
                if plain.obj is view.obj:  # it is where it was asked for
                    done += len(plain)
                    continue
                self._opened = plain
            count = min(len(self._opened), len(view) - done)
            view[done : done + count] = self._opened[:count]
            self._opened = self._opened[count:]
            done += count
        return done

    def _next_record(self, view: memoryview) -> memoryview | None:
        """What the next record holds, put into the view if it has room, or None if it is not here yet.

        No byte of a record is received before the one in front of it is opened: whoever waits for a message, which is
        a record, may wait for the descriptor.
        """
        if not self._receive_up_to(HEADER.size):
            return None
        (size,) = HEADER.unpack_from(self._frame)
        if not 0 < size <= RECORD:
            raise self.lost(f"sent an encrypted record of {size} bytes, where {RECORD} is the limit")
        if not self._receive_up_to(HEADER.size + size + TAG):
            return None
        plain = view[:size] if size <= len(view) else memoryview(bytearray(size))
        if not self._receiving.open(self._frame[: self._here], plain):
            raise self.lost("sent bytes that are not authentic: they were changed on their way")
        self._here = 0
        return plain

    def _receive_up_to(self, size: int) -> bool:
        """Whether so many bytes of the next frame are here."""
        while self._here < size:
            received = super().try_receive(self._frame[self._here : size])
            if not received:
                return False
            self._here += received
        return True


def _first_bytes(buffers: list[memoryview], size: int) -> memoryview | bytes:
    """The first bytes of buffers, copied only if they are of several."""
    if len(buffers) == 1 or len(buffers[0]) >= size:
        return buffers[0][:size]
    parts: list[memoryview] = []
    for view in buffers:
        parts.append(view[:size])
        size -= len(parts[-1])
        if not size:
            break
    return b"".join(parts)
