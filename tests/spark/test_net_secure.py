"""Only processes that hold the run's secret get a connection, whatever others send, and nothing is left behind."""

import itertools
import os
import socket
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from fdl_spark.errors import ArgumentError
from fdl_spark.net import address, handshake
from fdl_spark.net.connection import PeerLost
from fdl_spark.net.handshake import ANSWER, MAGIC, NONCE, OPENING, VERDICT, ConnectorSide, ListenerSide, new_secret
from fdl_spark.net.secure import PENDING, Listener, connect

SECRET = bytes(range(32))
LONG = 300.0  # seconds for what does come, on a busy machine too
PLACES = {"unix": ("unix", False), "tcp": ("127.0.0.1", False), "encrypted": ("127.0.0.1", True)}


@pytest.fixture(params=PLACES)
def place(request):
    return PLACES[request.param]


def dial(to):
    """A socket that knows the address and nothing else."""
    kind, where = address.parse(to)
    sock = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(LONG)
    sock.connect(where)
    return sock


def receive(sock, size):
    content = b""
    while len(content) < size and (part := sock.recv(size - len(content))):
        content += part
    return content


def pair(stack, place, encrypt, **arguments):
    """A listener and both ends of a connection to it."""
    listener = stack.enter_context(Listener(place, SECRET, encrypt=encrypt))
    with ThreadPoolExecutor(1) as pool:
        connecting = pool.submit(connect, listener.address, SECRET, LONG, encrypt=encrypt, **arguments)
        accepted = stack.enter_context(listener.accept(LONG))
        return listener, accepted, stack.enter_context(connecting.result())


def test_both_ends_of_a_connection(place):
    with ExitStack() as stack:
        _, theirs, mine = pair(stack, *place)
        mine.send_message({"rank": 3, "text": "Straße"})
        assert theirs.receive_message() == {"rank": 3, "text": "Straße"}
        theirs.send(b"", b"bytes", memoryview(b""), bytearray(b" more"))
        content = bytearray(10)
        mine.receive_into(content)
        assert content == b"bytes more"
        assert mine.same_host == theirs.same_host == (place[0] == "unix")


def with_another_secret(to, encrypt):
    with pytest.raises(PeerLost, match=r"the listener on \S+ at \S+ cannot be used: it is of another run"):
        connect(to, new_secret(), 10, encrypt=encrypt)


def with_another_opinion_on_encryption(to, encrypt):
    with pytest.raises(PeerLost, match="only one of the two ends encrypts"):
        connect(to, SECRET, LONG, encrypt=not encrypt)


def with_garbage(to, encrypt):
    with dial(to) as sock:
        sock.sendall(os.urandom(100_000))


def with_less_than_an_answer(to, encrypt):
    with dial(to) as sock:
        sock.sendall(MAGIC + bytes(5))


def with_a_reflected_opening(to, encrypt):
    with dial(to) as sock:
        opening = receive(sock, OPENING)
        sock.sendall(opening + opening[-NONCE:])
        assert receive(sock, VERDICT) == bytes(VERDICT)


def with_proof_of_the_other_role(to, encrypt):
    """What a listener would say, were it asked: a listener must not be usable to answer for a connector."""
    with dial(to) as sock:
        side = ConnectorSide(SECRET, to, encrypt)
        answer = side.answer(receive(sock, OPENING))
        sock.sendall(answer[:OPENING] + side._proof(b"listener"))
        assert receive(sock, VERDICT) == bytes(VERDICT)


def with_a_replayed_answer(to, encrypt):
    with dial(to) as sock:
        answer = ConnectorSide(SECRET, to, encrypt).answer(receive(sock, OPENING))
    with dial(to) as sock:
        receive(sock, OPENING)
        sock.sendall(answer)
        assert receive(sock, VERDICT) == bytes(VERDICT)


def with_an_answer_to_another_listener(to, encrypt):
    """Whoever lures a process to another place cannot pass on what it says there."""
    with dial(to) as sock:
        sock.sendall(ConnectorSide(SECRET, "tcp:127.0.0.1:9", encrypt).answer(receive(sock, OPENING)))
        assert receive(sock, VERDICT) == bytes(VERDICT)


def with_a_newer_version(to, encrypt):
    with dial(to) as sock:
        answer = ConnectorSide(SECRET, to, encrypt).answer(receive(sock, OPENING))
        sock.sendall(MAGIC[:-1] + bytes([MAGIC[-1] + 1]) + answer[len(MAGIC) :])
        assert receive(sock, VERDICT) == bytes(VERDICT)


STRANGERS = {name: function for name, function in globals().items() if name.startswith("with_")}


CASES = set(itertools.product(PLACES, STRANGERS)) - {("unix", "with_another_opinion_on_encryption")}


@pytest.mark.parametrize(("kind", "stranger"), sorted(CASES))
def test_a_stranger_is_not_let_in(kind, stranger):
    host, encrypt = PLACES[kind]
    with Listener(host, SECRET, encrypt=encrypt) as listener, ThreadPoolExecutor(1) as pool:
        strange = pool.submit(STRANGERS[stranger], listener.address, encrypt)
        while not strange.done():
            assert listener.try_accept() is None
            time.sleep(0.001)
        strange.result()
        friend = pool.submit(connect, listener.address, SECRET, LONG, encrypt=encrypt)
        with listener.accept(LONG) as accepted, friend.result() as connected:
            connected.send_message("hello")
            assert accepted.receive_message() == "hello"
        while not listener.refused:  # the end of a connection may be seen later
            assert listener.try_accept() is None
            time.sleep(0.001)


def test_one_byte_changed_anywhere_is_refused():
    with Listener("unix", SECRET) as listener:
        for byte in range(ANSWER):
            with dial(listener.address) as sock:
                listener.try_accept()
                answer = bytearray(ConnectorSide(SECRET, listener.address, False).answer(receive(sock, OPENING)))
                answer[byte] ^= 1 << byte % 8
                sock.sendall(answer)
                assert listener.try_accept() is None
                assert receive(sock, VERDICT) == bytes(VERDICT)


@pytest.mark.parametrize("count", [100, 1000])
def test_many_that_say_nothing(place, count):
    """Those there before, and those that come later; a friend among them is let in at once."""
    host, encrypt = place
    with ExitStack() as stack:
        listener = stack.enter_context(Listener(host, SECRET, encrypt=encrypt))
        silent = [stack.enter_context(dial(listener.address)) for _ in range(count // 2)]
        pool = stack.enter_context(ThreadPoolExecutor(1))
        friend = pool.submit(connect, listener.address, SECRET, LONG, encrypt=encrypt)
        accepted = stack.enter_context(listener.accept(LONG))
        connected = stack.enter_context(friend.result())
        for _ in range(count // 2):
            silent.append(stack.enter_context(dial(listener.address)))
            assert listener.try_accept() is None
        assert len(listener._pending) <= PENDING
        connected.send_message("hello")
        assert accepted.receive_message() == "hello"
        assert listener.refused["there were too many at once"] >= len(silent) - PENDING


def test_silence_and_single_bytes_have_a_deadline():
    with Listener("unix", SECRET, handshake=1.0) as listener:
        with dial(listener.address) as silent, dial(listener.address) as slow:
            with pytest.raises(TimeoutError, match="nobody connected to unix:.*within 0.01 s"):
                listener.accept(0.01)
            with suppress(BrokenPipeError):
                for _ in range(ANSWER - 1):
                    slow.sendall(b"f")
                    with pytest.raises(TimeoutError):
                        listener.accept(0.02)
            with pytest.raises(TimeoutError, match="1 because they said nothing, 1 because they were too slow"):
                listener.accept(0)
            assert len(receive(silent, 1000)) == len(receive(slow, 1000)) == OPENING  # then the end
        assert not listener._pending


def test_nobody_is_late_because_the_listener_was_busy():
    """What came in time counts, whenever the listener looks."""
    with Listener("unix", SECRET, handshake=0.1) as listener, dial(listener.address) as sock:
        assert listener.try_accept() is None
        sock.sendall(ConnectorSide(SECRET, listener.address, False).answer(receive(sock, OPENING)))
        time.sleep(0.15)
        with listener.accept(0):
            assert not listener.refused


@pytest.mark.parametrize("when", ["at once", "in the middle"])
def test_a_connector_that_was_dropped_tries_again(when):
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        to = f"tcp:127.0.0.1:{server.getsockname()[1]}"
        connecting = pool.submit(connect, to, SECRET, LONG)
        for _ in range(2):
            dropped, _ = server.accept()
            if when == "in the middle":
                dropped.sendall(ListenerSide(SECRET, to, False).opening)
            dropped.close()
        sock, _ = server.accept()
        with sock:
            side = ListenerSide(SECRET, to, False)
            sock.sendall(side.opening)
            sock.sendall(side.verdict(receive(sock, ANSWER)))
            connecting.result().close()


def test_no_descriptors_left_for_strangers():
    """Whoever opens connections until the process can open no more drops out; a friend comes in."""
    import resource

    with ExitStack() as stack:
        listener = stack.enter_context(Listener("unix", SECRET))
        for _ in range(30):
            stack.enter_context(dial(listener.address))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 100
        client = stack.enter_context(dial(listener.address))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 10, hard))
        try:
            listener.try_accept()
            client.sendall(ConnectorSide(SECRET, listener.address, False).answer(receive(client, OPENING)))
            stack.enter_context(listener.accept(LONG))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert listener.refused["there were too many at once"] >= 10


class Impostor:
    """Listens at an address without the secret, and answers a connector by a function of what it said."""

    def __init__(self, reply):
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp:127.0.0.1:{self.sock.getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve, args=(reply,))
        self.thread.start()

    def serve(self, reply):
        sock, _ = self.sock.accept()
        with sock:
            opening = MAGIC + b"\0" + os.urandom(NONCE)
            sock.sendall(opening)
            sock.sendall(reply(receive(sock, ANSWER)))
            sock.recv(1)

    def close(self):
        self.thread.join()
        self.sock.close()


@pytest.mark.parametrize(
    "reply",
    [
        lambda answer: b"\1" + answer[OPENING:],  # the connector's own proof, sent back
        lambda answer: b"\1" + os.urandom(32),
        lambda answer: b"\1" + bytes(32),
        lambda answer: b"\2" + os.urandom(32),
    ],
)
def test_a_listener_without_the_secret_is_not_believed(reply):
    impostor = Impostor(reply)
    with pytest.raises(PeerLost, match="it does not have the run's secret"):
        connect(impostor.address, SECRET, LONG)
    impostor.close()


def test_what_answers_is_something_else():
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        to = f"tcp:127.0.0.1:{server.getsockname()[1]}"
        connecting = pool.submit(connect, to, SECRET, LONG)
        sock, _ = server.accept()
        with sock:
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\nServer: something\r\n\r\n" + bytes(100))
            with pytest.raises(PeerLost, match="does not speak fdl's protocol"):
                connecting.result()
        silent = pool.submit(connect, to, SECRET, 0.2)
        sock, _ = server.accept()
        with sock, pytest.raises(PeerLost, match="cannot be reached"):
            silent.result()


def test_nothing_is_left_and_nothing_listens(place):
    host, encrypt = place
    before = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else set()
    with Listener(host, SECRET, encrypt=encrypt) as listener, dial(listener.address), dial(listener.address):
        listener.try_accept()
        kind, where = address.parse(listener.address)
        if kind == "unix":
            folder = Path(where).parent
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert len(where) < 104
    listener.close()
    with pytest.raises(PeerLost, match="cannot be reached"):
        connect(listener.address, SECRET, 1, encrypt=encrypt)
    with pytest.raises(OSError, match="is closed"):
        listener.accept(1)
    if kind == "unix":
        assert not folder.exists()
    if before:
        assert set(os.listdir("/proc/self/fd")) <= before


def test_close_ends_an_accept_of_another_thread():
    listener = Listener("unix", SECRET)
    with ThreadPoolExecutor(1) as pool:
        accepting = pool.submit(listener.accept, LONG)
        time.sleep(0.05)
        listener.close()
        with pytest.raises(OSError, match="is closed"):
            accepting.result(LONG)


def test_a_listener_that_comes_later_is_waited_for():
    with Listener("127.0.0.1", SECRET) as listener:
        to = listener.address
    with pytest.raises(PeerLost, match=r"rank 2 on 127.0.0.1 at tcp:127.0.0.1:\d+ cannot be reached"):
        connect(to, SECRET, LONG, retry_until=time.monotonic() + 0.05, name="rank 2")


@pytest.mark.parametrize("place", ["", "0.0.0.0", "::", "*"])
def test_not_at_all_addresses_of_the_host(place):
    with pytest.raises(ArgumentError, match="all addresses"):
        Listener(place, SECRET)


@pytest.mark.parametrize("place", ["192.0.2.1", "no such host"])
def test_not_at_an_address_of_another_host(place):
    with pytest.raises(ArgumentError, match=place):
        Listener(place, SECRET)


@pytest.mark.parametrize("secret", [b"", bytes(31), "a" * 32, None])
def test_a_secret_is_long_enough(secret):
    with pytest.raises(ArgumentError, match="secret"):
        Listener("unix", secret)
    with pytest.raises(ArgumentError, match="secret"):
        connect("unix:/tmp/socket", secret, 1)


@pytest.mark.parametrize(
    "to", ["", "tcp:", "tcp:host", "tcp::80", "tcp:host:0", "tcp:host:65536", "tcp:host:x", "unix:"]
)
def test_what_is_no_address(to):
    with pytest.raises(ArgumentError, match="no address"):
        connect(to, SECRET, 1)


def test_secrets_are_not_repeated():
    assert len({new_secret() for _ in range(100)}) == 100
    assert len(new_secret()) == handshake.SECRET
