"""What goes wrong between a worker and Redis, and what the worker is at when it does.

A fault is a context manager: it has gone wrong when the block begins, and is mended when the block has ended. A state
takes a fault and lets it happen while the worker is idle, busy, taking or settling.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from redis_rig import Rig
from redis_servers import RedisServer, redis_server
from running import eventually

Fault = Callable[[Rig], AbstractContextManager[None]]


@contextmanager
def reset(rig: Rig) -> Iterator[None]:
    rig.proxy.refuse()
    rig.proxy.drop()
    time.sleep(0.7)
    yield
    rig.proxy.heal()


@contextmanager
def ended(rig: Rig) -> Iterator[None]:
    rig.proxy.refuse()
    rig.proxy.drop(reset=False)
    time.sleep(0.7)
    yield
    rig.proxy.heal()


@contextmanager
def silence(rig: Rig) -> Iterator[None]:
    rig.proxy.silence()
    time.sleep(3.0)
    yield
    rig.proxy.heal()


@contextmanager
def swallowed(rig: Rig) -> Iterator[None]:
    rig.proxy.swallow()
    yield


@contextmanager
def late(rig: Rig) -> Iterator[None]:
    rig.proxy.latency = 5.0
    time.sleep(4.0)
    yield
    rig.proxy.heal()


@contextmanager
def torn(rig: Rig) -> Iterator[None]:
    rig.proxy.cut(777, every=True)
    rig.proxy.cut(999, "requests", every=True)
    time.sleep(2.0)
    yield
    rig.proxy.heal()


@contextmanager
def read_only(rig: Rig) -> Iterator[None]:
    # A replica of nobody keeps its data and takes no writes.
    rig.server.run("REPLICAOF", "127.0.0.1", 1)
    time.sleep(1.0)
    yield
    rig.server.run("REPLICAOF", "NO", "ONE")


@contextmanager
def scripts_flushed(rig: Rig) -> Iterator[None]:
    for _ in range(20):
        rig.server.run("SCRIPT", "FLUSH")
        time.sleep(0.02)
    yield


@contextmanager
def killed(rig: Rig) -> Iterator[None]:
    rig.server.kill()
    time.sleep(0.5)
    yield
    rig.server.start()


@contextmanager
def paused(rig: Rig) -> Iterator[None]:
    with rig.server.paused():
        time.sleep(3.0)
        yield


@contextmanager
def clients_killed(rig: Rig) -> Iterator[None]:
    for _ in range(20):
        rig.server.run("CLIENT", "KILL", "TYPE", "normal")
        rig.server.run("CLIENT", "KILL", "TYPE", "pubsub")
        time.sleep(0.05)
    yield


@contextmanager
def password_changed(rig: Rig) -> Iterator[None]:
    new = f"secret{random.getrandbits(64):x}"
    rig.server.run("ACL", "SETUSER", rig.server.user, "resetpass", f">{new}")
    rig.server.run("CLIENT", "KILL", "TYPE", "normal")
    time.sleep(0.7)
    yield
    rig.password = new


@contextmanager
def full(rig: Rig) -> Iterator[None]:
    rig.server.run("CONFIG", "SET", "maxmemory", 1)
    time.sleep(1.0)
    yield
    rig.server.run("CONFIG", "SET", "maxmemory", 0)


def idle(rig: Rig, fault: Fault) -> None:
    rig.publish(5)
    rig.balance()

    with fault(rig):
        pass
    assert eventually(lambda: rig.publish(20), "the client publishes again")


def busy(rig: Rig, fault: Fault) -> None:
    rig.occupy()
    rig.publish(40)

    with fault(rig):
        pass
    rig.gate.set()


def settling(rig: Rig, fault: Fault) -> None:
    rig.occupy()
    rig.publish(40)

    with fault(rig):
        rig.gate.set()
        time.sleep(0.3)


def taking(rig: Rig, fault: Fault) -> None:
    with rig.streaming():
        eventually(lambda: len(rig.runs) > 50, "work is under way", 30)
        with fault(rig):
            pass
        before = len(rig.runs)
        eventually(lambda: len(rig.runs) > before + 50, "work goes on", 30)


@contextmanager
def guarded_server() -> Iterator[RedisServer]:
    """Run a server whose worker has a password; who is not that user may do everything."""
    rights = ("--user", "worker", "on", ">first", "~*", "&*", "+@all")
    nobody = {"username": "", "password": ""}
    with redis_server(*rights, user="worker", password="first", administrator=nobody) as server:
        yield server


def renewed(rig: Rig) -> None:
    """Make the server as it was before another test."""
    rig.server.run("FLUSHALL")
    if rig.server.user:
        rig.server.run("ACL", "SETUSER", rig.server.user, "resetpass", f">{rig.server.password}")


def endure(rig: Rig, fault: Fault, state: Callable[[Rig, Fault], None]) -> None:
    """Let a fault happen in a state, and check that every accepted task ran once and has its result."""
    renewed(rig)
    with rig, rig.working():
        state(rig, fault)

        rig.balance()
        assert rig.accepted
