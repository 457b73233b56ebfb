"""Processes of their own, for tests: `children.py URL ROLE [ARGUMENT …]`. Each says on its output how far it is."""

from __future__ import annotations

import sys
from collections.abc import Callable

from celeriac.model.address import Address
from celeriac.model.message import Message
from celeriac.model.outcome import Verdict
from celeriac.model.record import ResultRecord
from celeriac.spi.service import Context
from celeriac_sqlite.coordinator import SqliteCoordinator
from celeriac_sqlite.results import SqliteResultStore
from celeriac_sqlite.transport import SqliteTransport

SECONDS = 20.0


def transport(url: str, holder: str = "child") -> SqliteTransport:
    opened = SqliteTransport(Address.parse(url), Context(holder=holder))
    opened.open(timeout=SECONDS)
    return opened


def publish(url: str, name: str, count: str) -> None:
    """Publish in batches of ten and say each batch that was accepted."""
    broker = transport(url)
    for start in range(0, int(count), 10):
        broker.publish(
            [Message(body=f"{name}-{number}".encode(), routing_key="q") for number in range(start, start + 10)],
            timeout=SECONDS,
        )
        print(start)
    broker.close()


def work(url: str, holder: str) -> None:
    """Take and settle with a result and a follow-up until nothing comes; say how many were settled."""
    broker = transport(url, holder)
    print("ready")
    done = 0
    while taken := broker.receive(["q"], limit=20, timeout=0.3):
        verdicts = [
            Verdict(
                delivery=one,
                records=(ResultRecord(id=one.message.body.decode(), state="SUCCESS", payload=holder.encode()),),
                followups=(Message(body=one.message.body, routing_key="done"),),
            )
            for one in taken
        ]
        done += len(verdicts) - len(broker.settle(verdicts, timeout=SECONDS))
    print(done)
    broker.close()


def hold(url: str, holder: str) -> None:
    """Take everything there is, say how many, and keep it until the input ends."""
    broker = transport(url, holder)
    print(len(broker.receive(["q"], limit=1000, timeout=SECONDS)))
    sys.stdin.read()
    broker.close()


def answer(url: str, count: str) -> None:
    """Wait for a message and send it back, `count` times."""
    broker = transport(url)
    print("ready")
    for _ in range(int(count)):
        (taken,) = broker.receive(["q"], limit=1, timeout=SECONDS)
        back = Message(body=taken.message.body, routing_key="back")
        broker.settle([Verdict(delivery=taken, followups=(back,))], timeout=SECONDS)
    broker.close()


def put(url: str, id_: str) -> None:
    """Store a result as soon as a line comes in."""
    store = SqliteResultStore(Address.parse(url), Context())
    store.open(timeout=SECONDS)
    print("ready")
    sys.stdin.readline()
    store.put([ResultRecord(id=id_, state="SUCCESS", payload=b"1")], timeout=SECONDS)
    store.close()


def contend(url: str, owner: str, rounds: str) -> None:
    """Count how often the lease was had, in a number of tries."""
    coordinator = SqliteCoordinator(Address.parse(url), Context())
    coordinator.open(timeout=SECONDS)
    for _ in range(int(rounds)):
        token = coordinator.lease("leader", owner, ttl=60, timeout=SECONDS)
        if token is not None:
            print(token)
            coordinator.lease("leader", owner, ttl=0, timeout=SECONDS)
    coordinator.close()


ROLES: dict[str, Callable[..., None]] = {role.__name__: role for role in (publish, work, hold, answer, put, contend)}

if __name__ == "__main__":
    ROLES[sys.argv[2]](sys.argv[1], *sys.argv[3:])
