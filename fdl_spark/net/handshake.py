"""Mutual authentication: both ends prove that they hold the run's secret, before either of them reads anything else.

    listener -> connector   MAGIC, flags, nonce of 32 bytes
    connector -> listener   MAGIC, flags, nonce of 32 bytes, HMAC(secret, "connector", transcript)
    listener -> connector   1, HMAC(secret, "listener", transcript); or 0 and zeros, and the end

The transcript is all of both sides that came before, and the listener's address as each side knows it. So a proof
serves once (nonces), for one end (roles), and at one listener (address); and the connector, which speaks second, knows
from the third message that it was let in. All sizes are fixed.
"""

import hmac
import secrets
from dataclasses import dataclass

from fdl_spark.errors import ArgumentError
from fdl_spark.net.cipher import derive

MAGIC = b"fdl-net\x01"  # the last byte is the protocol's version
SECRET = 32
NONCE = 32
PROOF = 32
OPENING = len(MAGIC) + 1 + NONCE
ANSWER = OPENING + PROOF
VERDICT = 1 + PROOF
PLAIN, ENCRYPTED = b"\0", b"\1"
REFUSED = bytes(VERDICT)


class Refused(Exception):
    """The other end does not prove that it belongs to the run; the message says what it said instead."""


def new_secret() -> bytes:
    """A secret for one run."""
    return secrets.token_bytes(SECRET)


def check_secret(secret: bytes) -> None:
    """Raise unless a secret is one."""
    if not isinstance(secret, bytes) or len(secret) < SECRET:
        raise ArgumentError(f"the secret of a run must be at least {SECRET} bytes, as new_secret() makes them")


@dataclass(frozen=True)
class Keys:
    """The keys of an encrypted connection, None of one that is not.

    Attributes:
      sending, receiving: 32 bytes each.
    """

    sending: bytes
    receiving: bytes


class Side:
    """What both ends have in common.

    Args:
      secret: the run's secret.
      address: the listener's address.
      encrypt: whether the connection will be encrypted; both ends must agree.
    """

    def __init__(self, secret: bytes, address: str, encrypt: bool):
        self._secret, self._address, self._encrypt = secret, address.encode(), encrypt
        self._transcript = b""
        self._salt = b""

    def _opening(self) -> bytes:
        return MAGIC + (ENCRYPTED if self._encrypt else PLAIN) + secrets.token_bytes(NONCE)

    def _check(self, opening: bytes) -> None:
        if opening[: len(MAGIC) - 1] != MAGIC[:-1]:
            raise Refused("what answers there does not speak fdl's protocol")
        if opening[: len(MAGIC)] != MAGIC:
            raise Refused(
                f"the protocol's version is {opening[len(MAGIC) - 1]} there, {MAGIC[-1]} here: install one fdl"
            )
        if (opening[len(MAGIC) : len(MAGIC) + 1] == ENCRYPTED) != self._encrypt:
            raise Refused("only one of the two ends encrypts")

    def _agree(self, listener: bytes, connector: bytes) -> None:
        self._transcript = listener + connector + self._address
        self._salt = listener[-NONCE:] + connector[-NONCE:]

    def _proof(self, role: bytes) -> bytes:
        return hmac.digest(self._secret, b"fdl " + role + b" " + self._transcript, "sha256")

    def _key(self, sender: bytes) -> bytes:
        return derive(self._secret, self._salt, b"fdl key of " + sender + b" " + self._transcript)


class ListenerSide(Side):
    """The listener's end of one handshake."""

    def __init__(self, secret: bytes, address: str, encrypt: bool):
        super().__init__(secret, address, encrypt)
        self.opening = self._opening()

    def verdict(self, answer: bytes) -> bytes:
        """What to send back; raises Refused if the connector is not let in."""
        self._check(answer)
        self._agree(self.opening, answer[:OPENING])
        if not hmac.compare_digest(answer[OPENING:], self._proof(b"connector")):
            raise Refused("it does not have the run's secret")
        return b"\1" + self._proof(b"listener")

    def keys(self) -> Keys | None:
        """The keys of the connection."""
        return Keys(self._key(b"listener"), self._key(b"connector")) if self._encrypt else None


class ConnectorSide(Side):
    """The connector's end of one handshake."""

    def answer(self, opening: bytes) -> bytes:
        """What to send back; raises Refused if the listener is of another kind."""
        self._check(opening)
        mine = self._opening()
        self._agree(opening, mine)
        return mine + self._proof(b"connector")

    def check(self, verdict: bytes) -> None:
        """Raise Refused unless the listener let us in and holds the secret."""
        if verdict == REFUSED:
            raise Refused("it is of another run: the secrets or addresses differ")
        if not hmac.compare_digest(verdict, b"\1" + self._proof(b"listener")):
            raise Refused("it does not have the run's secret")

    def keys(self) -> Keys | None:
        """The keys of the connection."""
        return Keys(self._key(b"connector"), self._key(b"listener")) if self._encrypt else None
