"""What a worker holds of a run goes when the run is over, whatever the worker does meanwhile."""

import os
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fdl_spark.engines import members
from fdl_spark.engines.members import KEPT_RUNS, Member, forget, taking_part
from fdl_spark.net.connection import Connection
from fdl_spark.net.exchange import Link, Room
from fdl_spark.net.mesh import Mesh
from fdl_spark.net.shared import Segment, available

PATIENCE = 60.0
SIZES = 1, 100, 50, np.dtype(np.float32), False

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts what Linux tells of processes")


def held():
    return sorted(os.listdir("/proc/self/fd")), threading.active_count()


def wait_for(what):
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def _nothing_is_left():
    before = held()
    yield
    wait_for(lambda: held() == before)


def line():
    """A connection, and its other end."""
    mine, theirs = socket.socketpair()
    return Connection(mine, "here"), theirs


def room():
    return Room(*SIZES, Segment.create(Room.bytes(*SIZES))) if available() else Room(*SIZES)


def fill(member, hub=True):
    """What a rank of two has; the other ends of its connections to the driver and to the other one."""
    connection, other = line()
    member.mesh, member.room = Mesh(links={"other": Link(connection, room())}), room()
    member.room.slice[:] = 1
    driver = None
    if hub:
        member.hub, driver = line()
    return driver, other


def is_closed(end):
    """Whether the member has hung up."""
    end.setblocking(False)
    try:
        return end.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:  # it did not read what came before
        return True


def test_the_driver_hangs_up():
    with taking_part("run") as member:
        driver, other = fill(member)
    with taking_part("run") as again:
        assert again is member and not is_closed(driver)
    other.send(b"a message is not the end")
    driver.send(b"nor is one of the driver's")
    other.shutdown(socket.SHUT_WR)  # nor has a run ended because another process has: the driver says so
    with taking_part("run") as again:
        assert again is member
    with driver, other:
        driver.shutdown(socket.SHUT_WR)
        wait_for(lambda: is_closed(other))
        wait_for(lambda: member.room.shared is None or member.room.shared.fd == -1)
        with taking_part("run") as new:
            assert new is not member
    assert forget("run") and not forget("run")


def test_another_rank_hangs_up_where_none_reaches_the_driver():
    with taking_part("run") as member:
        _, other = fill(member, hub=False)
    with other:
        other.shutdown(socket.SHUT_WR)
        wait_for(lambda: is_closed(other))
    assert not forget("run")


def test_nobody_says_anything(monkeypatch):
    monkeypatch.setattr(members, "IDLE_SECONDS", 0.05)
    with taking_part("run") as member:
        _, other = fill(member, hub=False)
    with other:
        wait_for(lambda: is_closed(other))
    with taking_part("alone"):  # one rank has no connections at all
        pass
    wait_for(lambda: not forget("alone"))


def test_a_group_under_way_is_not_disturbed():
    """Its rank sees for itself who has gone."""
    with taking_part("run") as member:
        driver, other = fill(member)
    with taking_part("run") as again, other:
        driver.close()
        with taking_part("later") as later:
            pass
        assert again is member and member.hub.fileno() > 0 and not is_closed(other)
    wait_for(lambda: member.hub.fileno() == -1)
    assert forget("later") and later is not member


def test_a_group_that_fails_keeps_nothing():
    with pytest.raises(ZeroDivisionError), taking_part("run") as member:
        driver, other = fill(member)
        _ = 1 / 0
    with driver, other:
        assert is_closed(driver) and is_closed(other)
    assert not forget("run")


def test_few_runs_are_kept():
    ends = []
    for number in range(KEPT_RUNS + 2):
        with taking_part(f"run {number}") as member:
            ends += [end for end in fill(member) if end]
    assert [forget(f"run {number}") for number in range(KEPT_RUNS + 2)] == [False] * 2 + [True] * KEPT_RUNS
    for end in ends:
        end.close()


def test_a_member_of_nothing():
    assert Member().lines == [] and not Member(since=time.monotonic()).is_over()


def test_a_process_that_may_have_no_more_threads(monkeypatch):
    """Its groups go on; what it keeps goes when a thread can be had."""

    def start(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with taking_part("run") as member:
            driver, other = fill(member)
        with taking_part("run") as again:
            assert again is member
    with taking_part("run"):
        pass
    driver.close()
    wait_for(lambda: is_closed(other))
    other.close()
