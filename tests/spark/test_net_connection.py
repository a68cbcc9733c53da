"""Streams of bytes arrive whole or raise an error that names the peer; encrypted ones, unread and unchanged."""

import json
import os
import pickle
import random
import select
import selectors
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdl_spark.data.sharded import encrypts_network
from fdl_spark.errors import ClusterError
from fdl_spark.net import cipher, connection
from fdl_spark.net.cipher import FRAME, HEADER, RECORD, TAG, EncryptedConnection, check_available, derive
from fdl_spark.net.connection import LENGTH, Connection, PeerLost, advance, as_bytes
from fdl_spark.net.handshake import new_secret
from fdl_spark.net.secure import Listener, connect

KINDS = ("plain", "encrypted")


def join(kind, one, two, timeout=300.0):
    """Connections over two sockets, as a handshake would have made them."""
    if kind == "plain":
        return Connection(one, "here", "rank 0", timeout), Connection(two, "there", "rank 1", timeout)
    first, second = new_secret(), new_secret()
    return (
        EncryptedConnection(one, "here", first, second, "rank 0", timeout),
        EncryptedConnection(two, "there", second, first, "rank 1", timeout),
    )


def make_pair(kind, buffer=None, timeout=300.0):
    ends = join(kind, *socket.socketpair(), timeout)
    if buffer is not None:
        for end in ends:
            end._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    return ends


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def ends(kind):
    mine, theirs = make_pair(kind)
    with mine, theirs:
        yield mine, theirs


SIZES = st.lists(st.one_of(st.integers(0, 300), st.integers(0, 3 * RECORD)), max_size=6)


@settings(max_examples=30)
@given(
    kind=st.sampled_from(KINDS), sent=SIZES, cut=SIZES, seed=st.integers(0, 2**32), buffer=st.sampled_from([1, 1 << 20])
)
def test_pieces_of_any_size_become_one_stream(kind, sent, cut, seed, buffer):
    """One thread sends and receives by turns, whatever both sides' pieces are, as the exchange does."""
    content = random.Random(seed).randbytes(sum(sent))
    starts = np.cumsum([0, *sent])
    pieces = [memoryview(content)[start : start + size] for start, size in zip(starts, sent, strict=False)]
    rest = [piece for piece in pieces if piece.nbytes]
    got = bytearray(len(content))
    view, cut = memoryview(got), [*cut, len(content)]
    idle = 0
    mine, theirs = make_pair(kind, buffer)
    with mine, theirs:
        while view.nbytes:
            taken = mine.try_send(*rest) if rest else 0
            rest = advance(rest, taken)
            while cut[0] == 0 and len(cut) > 1:
                cut.pop(0)
            received = theirs.try_receive(view[: min(cut[0], len(view)) or len(view)])
            view = view[received:]
            cut[0] -= received
            idle = 0 if taken or received else idle + 1
            assert idle < 1000  # the rest of a record, in pieces as small as the kernel likes
        assert not rest
        assert got == content
        assert theirs.try_receive(memoryview(bytearray(1))) == 0


@settings(max_examples=30)
@given(kind=st.sampled_from(KINDS), sizes=SIZES)
def test_waiting_calls(kind, sizes):
    arrays = [np.random.default_rng(size).integers(0, 255, size, np.uint8) for size in sizes]
    mine, theirs = make_pair(kind, 1)
    with mine, theirs, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(lambda: [mine.send(*arrays), mine.send(), mine.send_message(sizes)])
        for array in arrays:
            got = np.full_like(array, 3)
            theirs.receive_into(got)
            np.testing.assert_array_equal(got, array)
        assert theirs.receive_message() == sizes
        sending.result()


@pytest.mark.parametrize("encrypt", [False, True])
@pytest.mark.parametrize("place", ["unix", "127.0.0.1"])
def test_all_ranks_exchange_from_one_thread(place, encrypt):
    """A loop over a selector, the same for every kind of connection: no rank waits for another's turn."""
    ranks, size, secret = 4, 400_000, new_secret()
    with ExitStack() as stack:
        links = {}
        pool = stack.enter_context(ThreadPoolExecutor(1))
        for low in range(ranks):
            listener = stack.enter_context(Listener(place, secret, encrypt=encrypt))
            for high in range(low + 1, ranks):
                connecting = pool.submit(connect, listener.address, secret, 10, encrypt=encrypt)
                links[low, high] = stack.enter_context(listener.accept(10))
                links[high, low] = stack.enter_context(connecting.result())
        sends = {(a, b): [as_bytes(np.full(size, 10 * a + b, np.int32))] for a, b in links}
        results = {pair: np.zeros(size, np.int32) for pair in links}
        receives = {pair: as_bytes(array) for pair, array in results.items()}
        loop = stack.enter_context(selectors.DefaultSelector())
        for pair, link in links.items():
            loop.register(link, selectors.EVENT_READ | selectors.EVENT_WRITE, pair)
        turns = 0
        while loop.get_map():
            for key, _ in loop.select(10):
                pair, link = key.data, key.fileobj
                if sends[pair]:
                    sends[pair] = advance(sends[pair], link.try_send(*sends[pair]))
                while receives[pair].nbytes and (received := link.try_receive(receives[pair])):
                    receives[pair] = receives[pair][received:]
                if not receives[pair].nbytes and not sends[pair]:
                    loop.unregister(link)
                elif not sends[pair]:
                    loop.modify(link, selectors.EVENT_READ, pair)
            turns += 1
            assert turns < 100_000
        for (a, b), array in results.items():
            np.testing.assert_array_equal(array, 10 * b + a)


def test_arrays_of_any_kind(ends):
    mine, theirs = ends
    values = [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(5).astype(ml_dtypes.bfloat16),
        np.float64(2.5).reshape(()),
        np.zeros((0, 3)),
        np.array([True, False]),
    ]
    for value in values:
        mine.send(value)
        got = np.ones_like(value)
        theirs.receive_into(got)
        np.testing.assert_array_equal(got, value)
    with pytest.raises(ValueError, match="contiguous"):
        mine.send(np.zeros((4, 4))[:, 1])
    with pytest.raises((ValueError, TypeError, BufferError), match=r"(?i)read.only|writ"):
        mine.send(b"abc")
        theirs.receive_into(b"abc")


def test_a_message_that_is_there_can_be_waited_for(ends):
    """After any message, the descriptor tells whether another one has come."""
    mine, theirs = ends
    for number in range(5):
        mine.send_message({"number": number, "text": "x" * 1000 * number})
    for number in range(5):
        assert select.select([theirs], [], [], 10)[0]
        assert theirs.receive_message()["number"] == number
    assert not select.select([theirs], [], [], 0)[0]


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1, 1 << 60, (1 << 64) - 1])
def test_a_message_that_claims_to_be_long(ends, size):
    """It is refused by what it says, before any memory is taken for it."""
    mine, theirs = ends
    mine.send(LENGTH.pack(size))
    if size > 1 << 20:
        with pytest.raises(
            PeerLost, match=f"rank 1 on there sent a message that claims {size} bytes, .* {1 << 20} are"
        ):
            theirs.receive_message()
    else:
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(mine.send, b" " * (size - 1) + b"7")
            assert theirs.receive_message() == 7
            sending.result()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'"\xed\xa0"', pickle.dumps({"a": 1}), b"1" * 9999]
)
def test_a_message_that_is_not_json(ends, content):
    mine, theirs = ends
    mine.send(LENGTH.pack(len(content)), content)
    with pytest.raises(PeerLost, match="rank 1 on there sent a message that is not JSON"):
        theirs.receive_message()


def test_a_message_must_be_sayable(ends):
    mine, theirs = ends
    with pytest.raises(TypeError):
        mine.send_message({1, 2})
    mine.send_message(None)
    assert theirs.receive_message() is None


def test_the_end_of_a_stream(ends):
    mine, theirs = ends
    mine.send(b"abc")
    mine.close()
    mine.close()
    got = bytearray(4)
    with pytest.raises(PeerLost, match="rank 1 on there closed the connection") as caught:
        theirs.receive_into(got)
    assert got == b"abc\0"
    assert (caught.value.name, caught.value.host) == ("rank 1", "there")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(PeerLost, match="rank 1 on there is disconnected"):
        theirs.send(bytes(1 << 20))
    with pytest.raises(PeerLost, match="rank 0 on here was disconnected from here"):
        mine.send(b"x")
    with pytest.raises(PeerLost, match="rank 0 on here was disconnected from here"):
        mine.receive_into(bytearray(1))


def test_a_reset(kind):
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        two, _ = server.accept()
    mine, theirs = join(kind, one, two)
    with mine, theirs:
        theirs.send(b"unread")
        mine._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        mine._socket.close()
        with pytest.raises(PeerLost, match=r"rank 1 on there is disconnected \(Connection reset by peer\)"):
            theirs.receive_into(bytearray(1))


def test_waits_have_an_end(kind):
    mine, theirs = make_pair(kind, timeout=0.05)
    with mine, theirs:
        with pytest.raises(PeerLost, match="rank 1 on there sent nothing for 0.05 s"):
            theirs.receive_into(bytearray(1))
        with pytest.raises(PeerLost, match="rank 0 on here took nothing for 0.05 s"):
            mine.send(bytes(1 << 24))
        with pytest.raises(PeerLost, match="rank 1 on there sent nothing for 0.01 s"):
            theirs.name = "rank 1"
            while True:
                theirs.receive_into(bytearray(RECORD), timeout=0.01)


@pytest.mark.parametrize("milliseconds", [0, 29_000, 31_000, 4_000_000])
@pytest.mark.parametrize("unanswered", [(0, 0), (1, 0), (0, 1), (2, 0), (0, 3), (7, 0)])
def test_a_host_that_is_gone(monkeypatch, milliseconds, unanswered):
    """As Linux tells it: something was sent more than once, and no acknowledgement came for long."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        two, _ = server.accept()
    mine, theirs = join("plain", one, two)
    with mine, theirs:
        theirs.check()

        class Told:
            def getsockopt(self, *_):
                return bytes([1, 0, *unanswered]) + bytes(52) + struct.pack("=I", milliseconds)

        real, theirs._socket = theirs._socket, Told()
        try:
            if sum(unanswered) >= 2 and milliseconds > 30_000:
                with pytest.raises(PeerLost, match="rank 1 on there has not acknowledged anything for .* host gone"):
                    theirs.check()
            else:
                theirs.check()
        finally:
            theirs._socket = real


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="Linux tells how a connection is")
def test_a_peer_that_computes_is_not_gone(monkeypatch):
    """It reads nothing, its buffers are full, and the kernel's probes are answered."""
    monkeypatch.setattr(connection, "SILENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one = socket.create_connection(server.getsockname())
        two, _ = server.accept()
    mine, theirs = join("plain", one, two)
    with mine, theirs:
        with pytest.raises(PeerLost, match="took nothing for 0.1 s"):
            mine.send(bytes(1 << 24), timeout=0.1)
        for _ in range(40):
            time.sleep(0.02)
            mine.check()


def test_options_of_tcp():
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        two, _ = server.accept()
    mine, theirs = join("plain", one, two)
    with mine, theirs:
        assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_KEEPIDLE"):
            idle, interval, count = (
                one.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
            )
            assert idle + interval * count == 30
        assert not mine.same_host


# Encryption


def test_keys_are_those_of_rfc_5869():
    """Its test cases 1, 2 and 3 (appendix A)."""
    okm = derive(bytes([11] * 22), bytes(range(13)), bytes(range(0xF0, 0xFA)), 42)
    assert okm.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    okm = derive(bytes(range(80)), bytes(range(0x60, 0xB0)), bytes(range(0xB0, 0x100)), 82)
    assert okm.hex() == (
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
        "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
    )
    okm = derive(bytes([11] * 22), b"", b"", 42)
    assert okm.hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"


class Middle:
    """A host between two encrypted connections that sees all that passes, from `mine` to `theirs`."""

    def __init__(self, stack):
        one, self.left = socket.socketpair()
        self.right, two = socket.socketpair()
        self.mine, self.theirs = join("encrypted", one, two)
        for closed in (self.mine, self.theirs, self.left, self.right):
            stack.enter_context(closed)
        self.left.setblocking(False)

    def record(self, content):
        """What travels when `content` is sent."""
        self.mine.send(content)
        return self.left.recv(FRAME)

    def deliver(self, *frames):
        self.right.sendall(b"".join(frames))

    def receive(self, size):
        got = bytearray(size)
        self.theirs.receive_into(got)
        return bytes(got)


@pytest.fixture
def middle():
    with ExitStack() as stack:
        yield Middle(stack)


def test_nobody_reads_what_passes(middle):
    text = b"the gradient of the loss by the weights " * 50
    first, second = middle.record(text), middle.record(text)
    assert len(first) == HEADER.size + len(text) + TAG
    assert first != second
    for frame in (first, second):
        assert not any(text[at : at + 4] in frame for at in range(40))
    middle.deliver(first, second)
    assert middle.receive(2 * len(text)) == 2 * text


def refuse(middle):
    with pytest.raises(PeerLost, match="rank 1 on there sent (bytes that are not authentic|an encrypted record of)"):
        middle.receive(100)


def test_every_bit_counts(middle):
    content = os.urandom(100)
    frame = middle.record(content)
    for bit in range(8 * len(frame) + 1):
        with ExitStack() as stack:
            other = Middle(stack)
            other.theirs._receiving = cipher.Direction(middle.mine._sending._key)
            changed = bytearray(frame)
            if bit < 8 * len(frame):
                changed[bit // 8] ^= 1 << bit % 8
            other.deliver(bytes(changed))
            other.right.shutdown(socket.SHUT_WR)
            if changed == frame:
                assert other.receive(100) == content
                continue
            with pytest.raises(PeerLost, match="not authentic|encrypted record of|closed the connection"):
                other.receive(100)


def test_records_are_neither_repeated_nor_left_out_nor_swapped():
    for wrong in ((0, 0), (1, 0), (1,), (2, 1, 0)):
        with ExitStack() as stack:
            middle = Middle(stack)
            frames = [middle.record(bytes([number]) * 50) for number in range(3)]
            middle.deliver(*(frames[number] for number in wrong))
            refuse(middle)


def test_a_record_of_the_other_direction_is_refused(middle):
    frame = middle.record(b"x" * 50)
    middle.left.setblocking(True)
    middle.left.sendall(frame)
    with pytest.raises(PeerLost, match="not authentic"):
        middle.mine.receive_into(bytearray(50))


@pytest.mark.parametrize("size", [0, RECORD + 1, 1 << 31, (1 << 32) - 1])
def test_a_record_that_claims_to_be_long(middle, size):
    middle.deliver(HEADER.pack(size), bytes(100))
    refuse(middle)


def test_a_stream_that_is_cut_between_records_has_an_end_that_shows(middle):
    middle.deliver(middle.record(b"x" * 50))
    middle.right.shutdown(socket.SHUT_WR)
    with pytest.raises(PeerLost, match="closed the connection"):
        middle.receive(100)


def test_no_key_seals_two_records_alike(monkeypatch):
    """The pair of key and nonce is never repeated, also when keys are replaced."""
    monkeypatch.setattr(cipher, "RECORDS_OF_A_KEY", 3)
    used = []
    real = cipher.Direction._nonce

    def watched(self):
        nonce = real(self)
        used.append((id(self), self._key, nonce))
        return nonce

    monkeypatch.setattr(cipher.Direction, "_nonce", watched)
    mine, theirs = make_pair("encrypted")
    with mine, theirs:
        for number in range(20):
            for sender, receiver in ((mine, theirs), (theirs, mine)):
                sender.send_message(number)
                assert receiver.receive_message() == number
    assert len(used) == 80 and len(set(used)) == 80
    assert len({(key, nonce) for _, key, nonce in used}) == 40  # each by who sealed it and who opened it
    assert len({key for _, key, _ in used}) == 14


def test_every_connection_has_keys_of_its_own():
    secret = new_secret()
    with ExitStack() as stack:
        listener = stack.enter_context(Listener("127.0.0.1", secret, encrypt=True))
        pool = stack.enter_context(ThreadPoolExecutor(1))
        keys = set()
        for _ in range(5):
            connecting = pool.submit(connect, listener.address, secret, 10, encrypt=True)
            one = stack.enter_context(listener.accept(10))
            two = stack.enter_context(connecting.result())
            assert one._sending._key == two._receiving._key and two._sending._key == one._receiving._key
            keys |= {one._sending._key, two._sending._key}
        assert len(keys) == 10 and secret not in keys


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    import builtins

    real = builtins.__import__

    def missing(name, *arguments, **named):
        if name.startswith("cryptography"):
            raise ImportError("No module named 'cryptography'")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ClusterError, match="pip install cryptography"):
        check_available()
    with pytest.raises(ClusterError, match="pip install cryptography"):
        Listener("127.0.0.1", new_secret(), encrypt=True)
    with pytest.raises(ClusterError, match="pip install cryptography"):
        connect("tcp:127.0.0.1:9", new_secret(), 1, encrypt=True)
    Listener("unix", new_secret(), encrypt=True).close()


@pytest.mark.parametrize(
    ("settings", "encrypted"),
    [
        ({}, False),
        ({"spark.network.crypto.enabled": "true"}, True),
        ({"spark.network.crypto.enabled": " TRUE "}, True),
        ({"spark.network.crypto.enabled": "false", "spark.io.encryption.enabled": "true"}, False),
        ({"spark.authenticate": "true"}, False),
        ({"spark.ssl.rpc.enabled": "true"}, True),
        ({"spark.ssl.enabled": "true"}, True),
        ({"spark.ssl.ui.enabled": "true"}, False),
        ({"spark.authenticate.enableSaslEncryption": "true"}, True),
    ],
)
def test_encryption_follows_sparks(settings, encrypted):
    assert encrypts_network(settings.get) is encrypted


def test_messages_are_json_on_the_wire():
    mine, theirs = make_pair("plain")
    with mine, theirs:
        mine.send_message({"step": 3})
        content = theirs._socket.recv(100)
        assert json.loads(content[LENGTH.size :]) == {"step": 3}
