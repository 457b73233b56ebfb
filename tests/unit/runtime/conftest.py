"""An app on a broker in memory with a virtual clock, and what stands in for the parts around the one under test."""

from __future__ import annotations

import pytest
from parts import HOLDER, Slots, make_message

from celeriac.model.address import Address
from celeriac.model.message import Delivery, Message
from celeriac.model.request import Request
from celeriac.runtime.inflight import Held, Inflight
from celeriac.runtime.journal import Journal
from celeriac.runtime.prefetch import Prefetch
from celeriac.runtime.settler import Settler
from celeriac.spi.service import Context
from celeriac.testing.clock import VirtualClock
from celeriac.testing.faulty import Faults, FaultyTransport


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def slots():
    return Slots()


@pytest.fixture
def faults():
    return Faults()


@pytest.fixture
def store(clock, faults):
    """An empty broker and result store in memory."""
    from celeriac_memory.results import MemoryResults  # noqa: PLC0415  only where the plugin is installed
    from celeriac_memory.store import forget  # noqa: PLC0415  as above
    from celeriac_memory.transport import MemoryTransport  # noqa: PLC0415  as above

    address = Address.parse("memory://unit-runtime")
    context = Context(clock=clock, holder=HOLDER)

    class Store:
        transport = FaultyTransport.wrap(MemoryTransport(address, context), faults)
        other = MemoryTransport(address, Context(clock=clock, holder="other@box"))
        results = MemoryResults(address, context)

        def put(self, *messages: Message) -> None:
            self.other.publish(messages, timeout=1)

        def take(self, count: int = 1) -> list[Delivery]:
            return self.transport.receive(["celery"], limit=count, timeout=0)

        @property
        def depth(self):
            return self.other.depths(["celery"], timeout=1)[0]

        def letters(self, kind=None):
            return self.other.letters(kind, limit=1000, timeout=1)

    store = Store()
    for service in (store.transport, store.other, store.results):
        service.open(timeout=1)
    yield store
    for service in (store.transport, store.other, store.results):
        service.close()
    forget(address)


@pytest.fixture
def inflight(clock):
    return Inflight(clock)


@pytest.fixture
def prefetch():
    return Prefetch(1)


@pytest.fixture
def settler(inflight, prefetch):
    """A settler whose thread runs, attached to nothing yet."""
    settler = Settler(inflight=inflight, prefetch=prefetch, journal=Journal(), timeout=1.0, sender="worker")
    settler.start()
    yield settler
    settler.stop()


@pytest.fixture
def hold(inflight, store):
    """Publish and take messages, as the receiver does; return what is held then."""

    def hold(count: int = 1, **message) -> list[Held]:
        store.put(*(make_message(id=f"id-{n}", **message) for n in range(1, count + 1)))
        held = []
        for delivery in store.take(count):
            key = inflight.next_key()
            request = Request(
                key=key, task="echo", id=delivery.message.headers["id"], message=delivery.message,
                queue="celery", deliveries=1, received=0.0,
            )  # fmt: skip
            held.append(Held(request, delivery))
        inflight.add(held)
        return held

    return hold
