"""What of the memory plugin the contract suites do not look at."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from celeriac.errors import ConfigurationError, Unroutable
from celeriac.model.address import Address
from celeriac.model.message import Message
from celeriac.model.outcome import Action, Verdict
from celeriac.model.routing import Exchange, Queue
from celeriac.spi.service import Context
from celeriac.testing import VirtualClock
from celeriac_memory import plugin
from celeriac_memory.agreements import Agreements
from celeriac_memory.store import forget, store_at
from celeriac_memory.transport import MemoryTransport

T = 1.0


@pytest.fixture
def address() -> Iterator[Address]:
    address = Address.parse(f"memory://{uuid.uuid4().hex}")
    yield address
    forget(address)


@pytest.fixture
def transport(address: Address) -> Iterator[MemoryTransport]:
    transport = MemoryTransport(address, Context(clock=VirtualClock()))
    transport.open(timeout=T)
    yield transport
    transport.close()


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("memory://", "memory://", True),
        ("memory://", "memory:///", True),
        ("memory://one", "memory://one/", True),
        ("memory://one", "memory://two", False),
        ("memory://one/a", "memory://one/b", False),
        ("memory://one?lease_seconds=1", "memory://one", True),
    ],
)
def test_a_store_is_shared_by_its_name(first: str, second: str, same: bool) -> None:
    found = store_at(Address.parse(first)), store_at(Address.parse(second))

    assert (found[0] is found[1]) == same
    for url in (first, second):
        forget(Address.parse(url))


@pytest.mark.parametrize("name", ["transport", "results", "coordinator"])
def test_the_declaration_and_the_class_agree(name: str) -> None:
    declaration = getattr(plugin, name)

    loaded = declaration.load(name, "memory")

    assert loaded.capabilities is declaration.capabilities
    assert loaded.options == declaration.options


def test_the_length_of_the_lease_is_an_option(address: Address) -> None:
    url = Address.parse(address.url + "?lease_seconds=2.5")

    assert MemoryTransport(url, Context()).lease_seconds == 2.5


def test_a_follow_up_that_reaches_no_queue_leaves_its_whole_batch_unsettled(transport: MemoryTransport) -> None:
    transport.publish([Message(body=b"1", routing_key="q"), Message(body=b"2", routing_key="q")], timeout=T)
    first, second = transport.receive(["q"], limit=2, timeout=0)
    lost = Message(body=b"", routing_key="k", exchange="nowhere")

    with pytest.raises(Unroutable):
        transport.settle([Verdict(delivery=first), Verdict(delivery=second, followups=(lost,))], timeout=T)

    assert transport.settle([Verdict(delivery=first), Verdict(delivery=second)], timeout=T) == []


def test_declaring_a_queue_with_other_properties_says_which_and_declares_nothing(transport: MemoryTransport) -> None:
    transport.declare([Queue("one", Exchange("e"), "a")], timeout=T)

    with pytest.raises(ConfigurationError, match=r"'one' exists with max_priority=None, not 5"):
        transport.declare([Queue("two", Exchange("e"), "b"), Queue("one", max_priority=5)], timeout=T)

    with pytest.raises(Unroutable):
        transport.publish([Message(body=b"", routing_key="b", exchange="e")], timeout=T)


def test_the_default_exchange_by_name_needs_no_binding(transport: MemoryTransport) -> None:
    transport.declare([Queue("one", Exchange(""), "other")], timeout=T)

    transport.publish([Message(body=b"x", routing_key="one")], timeout=T)

    assert len(transport.receive(["one"], limit=1, timeout=0)) == 1


def test_depths_of_unknown_queues_are_zero(transport: MemoryTransport) -> None:
    (depth,) = transport.depths(["unknown"], timeout=T)

    assert (depth.queue, depth.waiting, depth.delayed, depth.held) == ("unknown", 0, 0, 0)


def test_a_correction_of_the_date_ends_no_lease(transport: MemoryTransport, address: Address) -> None:
    clock = transport.clock
    assert isinstance(clock, VirtualClock)
    transport.publish([Message(body=b"x", routing_key="q")], timeout=T)
    (delivery,) = transport.receive(["q"], limit=1, timeout=0)

    clock.correct(86_400.0)

    assert transport.settle([Verdict(delivery=delivery, action=Action.ACK)], timeout=T) == []


def test_letters_that_came_after_a_discarded_one_are_still_listed(transport: MemoryTransport) -> None:
    for number in range(3):
        transport.publish([Message(body=str(number).encode(), routing_key="q")], timeout=T)
        (delivery,) = transport.receive(["q"], limit=1, timeout=0)
        transport.settle([Verdict(delivery=delivery, action=Action.DEAD)], timeout=T)
    first, second, third = transport.letters(limit=10, timeout=T)
    transport.discard([second.id], timeout=T)

    assert transport.letters(limit=10, after=second.id, timeout=T) == [third]
    assert transport.letters(limit=10, after=first.id, timeout=T) == [third]


def test_what_is_remembered_does_not_pile_up() -> None:
    agreements = Agreements()

    for tick in range(10_000):
        agreements.remember("set", [str(tick)], 1.0, float(tick))

    assert len(agreements._sets["set"].until) < 200


@pytest.mark.parametrize(("rate", "amount"), [(0.0, 1.0), (1.0, 11.0)])
def test_tokens_that_will_never_be_there_are_infinitely_far(rate: float, amount: float) -> None:
    agreements = Agreements()
    agreements.take("bucket", rate, 10.0, 10.0, 0.0)

    assert agreements.take("bucket", rate, 10.0, amount, 0.0) == float("inf")
