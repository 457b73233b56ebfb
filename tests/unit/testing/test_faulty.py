"""Faulty transports: faults happen at the chosen calls, before or after the effect, and nowhere else."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from celeriac.errors import StoreFull, TransportLost
from celeriac.model.address import Address
from celeriac.model.message import Message
from celeriac.model.outcome import Verdict
from celeriac.model.routing import Queue
from celeriac.spi.service import Context
from celeriac.spi.transport import Commits, Declares, Inspects, KeepsLetters, Leases, Transport, TransportCapabilities
from celeriac.testing import Faults, FaultyTransport, VirtualClock
from celeriac.testing.contracts.transport import TransportContract
from celeriac.testing.harness import StoreHarness
from celeriac_memory import testing as memory
from celeriac_memory.store import forget
from celeriac_memory.transport import MemoryTransport

T = 1.0
CALL = Message(body=b"x", routing_key="q")


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def transport(faults: Faults) -> Iterator[FaultyTransport]:
    address = Address.parse(f"memory://{uuid.uuid4().hex}")
    faulty = FaultyTransport.wrap(MemoryTransport(address, Context(clock=VirtualClock())), faults)
    faulty.open(timeout=T)
    yield faulty
    faulty.close()
    forget(address)


def waiting(transport: FaultyTransport) -> int:
    return sum(depth.waiting for depth in transport.inner.depths(timeout=T))


def test_without_faults_it_does_what_it_wraps_does(transport: FaultyTransport) -> None:
    transport.publish([CALL], timeout=T)

    (delivery,) = transport.receive(["q"], limit=1, timeout=0)

    assert transport.settle([Verdict(delivery=delivery)], timeout=T) == []
    assert waiting(transport) == 0


def test_a_call_lost_before_its_effect_has_none(transport: FaultyTransport, faults: Faults) -> None:
    faults.lose("publish")

    with pytest.raises(TransportLost):
        transport.publish([CALL], timeout=T)

    assert waiting(transport) == 0
    transport.publish([CALL], timeout=T)
    assert waiting(transport) == 1


def test_a_call_lost_after_its_effect_has_it(transport: FaultyTransport, faults: Faults) -> None:
    faults.lose("publish", when="after")

    with pytest.raises(TransportLost):
        transport.publish([CALL], timeout=T)

    assert waiting(transport) == 1


def test_chosen_calls_are_lost_and_counted_from_one(transport: FaultyTransport, faults: Faults) -> None:
    faults.lose("publish", 2, 4)
    ended = []

    for _ in range(5):
        try:
            transport.publish([CALL], timeout=T)
            ended.append("published")
        except TransportLost:
            ended.append("lost")

    assert ended == ["published", "lost", "published", "lost", "published"]
    assert faults.calls["publish"] == 5
    assert faults.pending == 0


def test_another_error_may_be_raised(transport: FaultyTransport, faults: Faults) -> None:
    faults.lose("settle", error=StoreFull("no room"))

    with pytest.raises(StoreFull, match="no room"):
        transport.settle([Verdict(delivery=None)], timeout=T)


def test_asleep_every_call_is_lost_and_awake_none(transport: FaultyTransport, faults: Faults) -> None:
    with faults.asleep():
        for call in (
            lambda: transport.publish([CALL], timeout=T),
            lambda: transport.receive(["q"], limit=1, timeout=0),
            lambda: transport.renew(timeout=T),  # type: ignore[attr-defined]
        ):
            with pytest.raises(TransportLost, match="asleep"):
                call()

    transport.publish([CALL], timeout=T)
    assert waiting(transport) == 1


def test_closing_works_asleep(transport: FaultyTransport, faults: Faults) -> None:
    faults.sleep()

    transport.wake()
    transport.close()


def test_a_delay_goes_by_the_clock_of_the_transport(transport: FaultyTransport, faults: Faults) -> None:
    clock = transport.clock
    assert isinstance(clock, VirtualClock)
    faults.delay("publish", 60.0)
    with ThreadPoolExecutor(1) as threads:
        publishing = threads.submit(transport.publish, [CALL], timeout=T)
        assert clock.await_waiters()
        assert waiting(transport) == 0

        clock.advance(60.0)

        publishing.result(5.0)
    assert waiting(transport) == 1


def test_faults_are_shared_by_the_transports_of_one_worker(transport: FaultyTransport, faults: Faults) -> None:
    second = FaultyTransport.wrap(MemoryTransport(transport.address, transport.context), faults)
    second.open(timeout=T)
    faults.lose("publish", 2)

    transport.publish([CALL], timeout=T)
    with pytest.raises(TransportLost):
        second.publish([CALL], timeout=T)
    second.close()


@pytest.mark.parametrize("interface", [Declares, Leases, Commits, Inspects, KeepsLetters])
def test_it_has_the_optional_interfaces_of_what_it_wraps(transport: FaultyTransport, interface: type) -> None:
    assert isinstance(transport, interface)
    assert transport.capabilities == transport.inner.capabilities


def test_it_has_no_interface_that_what_it_wraps_has_not(faults: Faults) -> None:
    class Plain(Transport):
        capabilities = TransportCapabilities()
        _open = _close = _publish = _receive = _settle = _wake = lambda *_: None  # type: ignore[assignment]

    plain = FaultyTransport.wrap(Plain(Address.parse("plain://"), Context()), faults)

    assert not isinstance(plain, Declares | Leases | Commits | Inspects | KeepsLetters)


def test_declaring_may_fail_too(transport: FaultyTransport, faults: Faults) -> None:
    faults.lose("declare")

    with pytest.raises(TransportLost):
        transport.declare([Queue("q")], timeout=T)  # type: ignore[attr-defined]


class FaultyMemory:
    """A harness module for the memory transport behind faults that never come."""

    @staticmethod
    @contextmanager
    def transport() -> Iterator[StoreHarness[FaultyTransport]]:
        with memory.transport() as harness:
            yield StoreHarness(_wrapped, harness.address.url, results=harness.results)


def _wrapped(address: Address, context: Context) -> FaultyTransport:
    return FaultyTransport.wrap(MemoryTransport(address, context), Faults())


class TestWithoutFaults(TransportContract):
    harness = FaultyMemory
