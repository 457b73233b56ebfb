"""What goes wrong between a worker and RabbitMQ, and what the worker is at when it does.

A fault is a context manager: it has gone wrong when the block begins, and is mended when the block has ended. A state
takes a fault and lets it happen while the worker is idle, busy, taking or settling.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from amqp_rig import AmqpRig
from running import eventually

Fault = Callable[[AmqpRig], AbstractContextManager[None]]
State = Callable[[AmqpRig, Fault], None]


@contextmanager
def reset(rig: AmqpRig) -> Iterator[None]:
    rig.proxy.refuse()
    rig.proxy.drop()
    time.sleep(0.7)
    yield
    rig.proxy.heal()


@contextmanager
def ended(rig: AmqpRig) -> Iterator[None]:
    rig.proxy.refuse()
    rig.proxy.drop(reset=False)
    time.sleep(0.7)
    yield
    rig.proxy.heal()


@contextmanager
def silence(rig: AmqpRig) -> Iterator[None]:
    rig.proxy.silence()
    time.sleep(4.0)
    yield
    rig.proxy.heal()


@contextmanager
def swallowed(rig: AmqpRig) -> Iterator[None]:
    rig.proxy.swallow()
    yield


@contextmanager
def late(rig: AmqpRig) -> Iterator[None]:
    rig.proxy.latency = 5.0
    time.sleep(4.0)
    yield
    rig.proxy.heal()


@contextmanager
def torn(rig: AmqpRig) -> Iterator[None]:
    # A handshake is some 600 bytes either way: it is torn too.
    rig.proxy.cut(777, every=True)
    rig.proxy.cut(1999, "requests", every=True)
    time.sleep(2.0)
    yield
    rig.proxy.heal()


@contextmanager
def slow(rig: AmqpRig) -> Iterator[None]:
    rig.proxy.bandwidth = 100.0  # byte by byte
    time.sleep(3.0)
    yield
    rig.proxy.heal()


@contextmanager
def closed(rig: AmqpRig) -> Iterator[None]:
    # A worker whose slots are all busy finds out when it takes or settles next, so there may be few to close.
    assert rig.close_connections(10) > 0
    yield


@contextmanager
def killed(rig: AmqpRig) -> Iterator[None]:
    # RabbitMQ writes down that there is a queue half a second after it has made it.
    time.sleep(1.5)
    rig.node.kill()
    time.sleep(0.5)
    yield
    rig.node.start()


@contextmanager
def stopped(rig: AmqpRig) -> Iterator[None]:
    rig.node.stop()
    yield
    rig.node.start()


@contextmanager
def short_of_memory(rig: AmqpRig) -> Iterator[None]:
    rig.node.ctl("set_vm_memory_high_watermark", "0.0000001")
    yield
    rig.node.ctl("set_vm_memory_high_watermark", "0.4")


def idle(rig: AmqpRig, fault: Fault) -> None:
    rig.publish(5)
    rig.balance()

    with fault(rig):
        pass
    assert eventually(lambda: rig.publish(20), "the client publishes again", 30)


def busy(rig: AmqpRig, fault: Fault) -> None:
    rig.occupy()
    rig.publish(40)

    with fault(rig):
        pass
    rig.gate.set()


def settling(rig: AmqpRig, fault: Fault) -> None:
    rig.occupy()
    rig.publish(40)

    with fault(rig):
        rig.gate.set()
        time.sleep(0.3)


def taking(rig: AmqpRig, fault: Fault) -> None:
    with rig.streaming():
        eventually(lambda: len(rig.runs) > 50, "work is under way", 30)
        with fault(rig):
            pass
        before = len(rig.runs)
        eventually(lambda: len(rig.runs) > before + 50, "work goes on", 30)


def endure(rig: AmqpRig, fault: Fault, state: State, *, once: bool = True) -> None:
    """Let a fault happen in a state, and check that every accepted task ran, `once` if so said, and nothing is left."""
    with rig, rig.working(once=once):
        state(rig, fault)
    assert rig.accepted
