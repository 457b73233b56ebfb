"""Connections to RabbitMQ that break after every byte of a request or an answer: nothing that was accepted is lost.

Each call is tried once for every place where its bytes may be cut, in both directions, by a reset and by an end. What
is longer than `PLACES` bytes is cut at so many places, evenly; the first and last bytes are always among them. A call
that returned has taken effect; of one that raised, nobody knows, and it has happened in whole, in part, or not at all.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from proxy import Direction, Proxy

pytest.importorskip("celeriac_amqp.transport")
from celeriac_amqp.testing import installed

if not installed():
    pytest.skip("RabbitMQ is not installed", allow_module_level=True)

from celeriac.errors import DeadlineExceeded, TransportLost
from celeriac.model.address import Address
from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Action, Verdict
from celeriac.spi.service import Context
from celeriac_amqp.testing import Node, running_server
from celeriac_amqp.transport import AmqpTransport

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

PLACES = 60
TIMEOUT = 10.0
numbers = itertools.count()
Call = Callable[[AmqpTransport], object]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with running_server() as node:
        yield node


class Bench:
    """Connections through a proxy, and one beside it that always works."""

    def __init__(self, node: Node, url: str, proxy: Proxy) -> None:
        self.proxy, self._port = proxy, node.port
        self._url = url
        self._opened: list[AmqpTransport] = []
        self.sound = self._connect(url)

    def _connect(self, url: str) -> AmqpTransport:
        options = {"native_delayed_delivery_queue_type": "classic"}
        transport = AmqpTransport(Address.parse(url), Context(options=options))
        try:
            transport.open(timeout=TIMEOUT)
        except BaseException:
            transport.close()
            raise
        return transport

    def connect(self) -> AmqpTransport:
        """Return a connection through the proxy."""
        url = urlsplit(self._url)
        transport = self._connect(f"amqp://guest:guest@127.0.0.1:{self.proxy.port}{url.path}")
        self._opened.append(transport)
        return transport

    def forget(self) -> None:
        for transport in self._opened:
            transport.close()
        self._opened.clear()

    def close(self) -> None:
        self.forget()
        self.sound.close()

    def publish(self, *texts: str, queue: str = "q") -> None:
        self.sound.publish(messages(*texts, queue=queue), timeout=TIMEOUT)

    def drained(self, queue: str = "q") -> list[Delivery]:
        """Take all there is in a queue, once what was held over lost connections has returned."""
        taken: list[Delivery] = []
        taker = self._connect(self._url)  # of its own: what is pushed to it afterwards would be taken by nobody
        while found := taker.receive([queue], limit=100, timeout=0.05):
            taken += found
        taker.settle([Verdict(delivery=each) for each in taken], timeout=TIMEOUT)
        taker.close()
        return taken

    def letters(self) -> list[str]:
        """Take all dead and parked letters."""
        letters = self.sound.letters(limit=100, timeout=TIMEOUT)
        self.sound.discard([letter.id for letter in letters], timeout=TIMEOUT)
        return [letter.message.body.decode() for letter in letters]


@pytest.fixture
def bench(node: Node) -> Iterator[Bench]:
    with ExitStack() as stack:
        url = stack.enter_context(node.vhost())
        proxy = stack.enter_context(Proxy(node.port))
        bench = Bench(node, url, proxy)
        stack.callback(bench.close)
        yield bench


def messages(*texts: str, queue: str = "q", **fields: Any) -> list[Message]:
    return [Message(body=text.encode(), routing_key=queue, **fields) for text in texts]


def fresh(count: int) -> list[str]:
    return [f"m{next(numbers)}" for _ in range(count)]


def texts(deliveries: list[Delivery]) -> list[str]:
    return sorted(delivery.message.body.decode() for delivery in deliveries)


def places(size: int) -> list[int]:
    """Return where to cut what is `size` bytes long, and a little behind it: lengths differ from call to call."""
    step = max(1, -(-size // PLACES))
    return sorted({*range(0, size + 20, step), 1, 2, 3, 7, 8, size - 2, size - 1})


def measured(bench: Bench, direction: Direction, call: Callable[[], object]) -> int:
    before = bench.proxy.bytes[direction]
    call()
    return bench.proxy.bytes[direction] - before


def breaks(bench: Bench, call: Callable[[], object], cut: int, direction: Direction, reset: bool) -> bool:
    """Make a call that is cut before its end; return whether it failed."""
    bench.proxy.cut(cut, direction, reset=reset)
    try:
        call()
    except TransportLost:
        return True
    finally:
        bench.proxy.heal()
    return False


def both(function: Any) -> Any:
    function = pytest.mark.parametrize("direction", ["answers", "requests"])(function)
    return pytest.mark.parametrize("reset", [True, False], ids=["reset", "end"])(function)


@both
def test_a_handshake_that_breaks_anywhere_is_an_error_at_once(bench: Bench, direction: Direction, reset: bool) -> None:
    bench.connect()
    bench.forget()
    size = measured(bench, direction, bench.connect)
    bench.forget()
    threads = threading.active_count()

    for cut in range(0, size, max(1, size // (2 * PLACES))):
        begin = time.monotonic()
        assert breaks(bench, bench.connect, cut, direction, reset) or direction == "requests"
        assert time.monotonic() - begin < TIMEOUT / 2
        bench.forget()

    assert threading.active_count() <= threads


@both
@pytest.mark.parametrize("delayed", [False, True], ids=["now", "delayed"])
def test_what_was_published_is_there_and_what_was_not_confirmed_is_there_at_most_once(
    bench: Bench, direction: Direction, reset: bool, delayed: bool
) -> None:
    def batch() -> list[Message]:
        due = time.time() + 0.01 if delayed else None
        return [*messages(*fresh(3)), *(messages(*fresh(2), due=time.time() + 30) if due else [])]

    def first() -> None:
        bench.connect().publish(batch(), timeout=TIMEOUT)

    first()
    size = measured(bench, direction, first)
    bench.forget()
    bench.sound.purge("q", timeout=TIMEOUT)
    lost = 0

    for cut in places(size):
        sent = batch()
        now = sorted(each.body.decode() for each in sent if each.due is None)

        def publish(sent: list[Message] = sent) -> None:
            bench.connect().publish(sent, timeout=TIMEOUT)

        failed = breaks(bench, publish, cut, direction, reset)
        lost += failed
        bench.forget()

        found = Counter(texts(bench.drained()))
        assert max(found.values(), default=1) == 1
        assert set(found) <= set(now)
        assert failed or set(found) == set(now)
    assert lost > PLACES // 2


@both
def test_what_was_taken_by_a_call_that_breaks_is_taken_once_by_the_next_connection(
    bench: Bench, direction: Direction, reset: bool
) -> None:
    def take(transport: AmqpTransport) -> list[Delivery]:
        return transport.receive(["q"], limit=10, timeout=0.3)

    bench.publish(*fresh(3))
    transport = bench.connect()
    size = measured(bench, direction, lambda: take(transport))
    bench.forget()
    bench.drained()

    for cut in places(size):
        sent = fresh(3)
        bench.publish(*sent)
        transport = bench.connect()
        bench.proxy.cut(cut, direction, reset=reset)
        with suppress(TransportLost):
            take(transport)
        bench.proxy.heal()
        bench.forget()

        found: list[Delivery] = []
        end = time.monotonic() + TIMEOUT
        while len(found) < 3 and time.monotonic() < end:
            found += bench.drained()
        found += bench.drained()
        assert texts(found) == sorted(sent)
        assert {delivery.deliveries for delivery in found} <= {1, 2}


@both
def test_a_settlement_that_breaks_leaves_every_message_in_a_place(
    bench: Bench, direction: Direction, reset: bool
) -> None:
    def held(transport: AmqpTransport) -> list[Delivery]:
        bench.publish(*fresh(4))
        taken: list[Delivery] = []
        while len(taken) < 4:
            taken += transport.receive(["q"], limit=4 - len(taken), timeout=1.0)
        return taken

    def verdicts(taken: list[Delivery], release: Action = Action.RELEASE) -> list[Verdict]:
        done, dead, back, parked = taken
        name = f"next of {done.message.body.decode()}"
        return [
            Verdict(delivery=done, followups=tuple(messages(name, queue="next"))),
            Verdict(delivery=dead, action=Action.DEAD, reason="test"),
            Verdict(delivery=back, action=release),
            Verdict(delivery=parked, action=Action.PARK, reason="test"),
        ]

    def settle(transport: AmqpTransport) -> int:
        # What is released comes back to this connection, which would hold it for the next take.
        ready = verdicts(held(transport), Action.ACK)
        return measured(bench, direction, lambda: transport.settle(ready, timeout=TIMEOUT))

    transport = bench.connect()
    settle(transport)
    size = settle(transport)
    bench.forget()
    bench.drained()
    bench.drained("next")
    bench.letters()

    for cut in places(size):
        transport = bench.connect()
        settle(transport)
        bench.drained()
        bench.drained("next")
        bench.letters()
        taken = held(transport)
        ready = verdicts(taken)
        done, dead, back, parked = (each.message.body.decode() for each in taken)

        lost = breaks(bench, lambda: transport.settle(ready, timeout=TIMEOUT), cut, direction, reset)  # noqa: B023
        bench.forget()

        waiting = Counter(texts([*bench.drained(), *bench.drained()]))
        letters = Counter(bench.letters())
        followed = texts(bench.drained("next"))
        places_of = waiting + letters
        assert {dead, back, parked} <= set(places_of), "a message is nowhere"
        assert done in waiting or followed == [f"next of {done}"], "a task is neither to be done nor followed"
        assert max(places_of.values()) <= 2
        assert set(waiting) <= {done, dead, back, parked}
        if not lost:
            assert {dead, parked} <= set(letters)
            assert back in waiting
            assert len(followed) == 1


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_a_connection_without_a_byte_ends_within_twice_its_heartbeat(node: Node, queue_type: str) -> None:
    with node.vhost() as url, Proxy(node.port) as proxy:
        through = f"amqp://guest:guest@127.0.0.1:{proxy.port}{urlsplit(url).path}"
        context = Context(options={"heartbeat": 1.0, "queue_type": queue_type})
        idle, busy, publishing = (AmqpTransport(Address.parse(through), context) for _ in range(3))
        for transport in (idle, busy, publishing):
            transport.open(timeout=TIMEOUT)
        publishing.publish(messages(*fresh(3)), timeout=TIMEOUT)
        (held,) = busy.receive(["q"], limit=1, timeout=TIMEOUT)
        took: dict[str, float] = {}

        def ends(name: str, call: Callable[[], object]) -> None:
            begin = time.monotonic()
            try:
                while time.monotonic() - begin < TIMEOUT:
                    call()
            except (TransportLost, DeadlineExceeded):
                took[name] = time.monotonic() - begin

        def keep_settling() -> None:
            time.sleep(0.1)  # as a run does
            busy.settle([Verdict(delivery=held, action=Action.RELEASE)], timeout=TIMEOUT)

        proxy.silence()
        threads = [
            threading.Thread(target=ends, args=each)
            for each in (
                ("taking", lambda: idle.receive(["other"], limit=1, timeout=TIMEOUT)),
                ("settling", keep_settling),
                ("publishing", lambda: publishing.publish(messages("x"), timeout=TIMEOUT)),
            )
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * TIMEOUT)
        proxy.heal()
        for transport in (idle, busy, publishing):
            transport.close()

    assert set(took) == {"taking", "settling", "publishing"}
    # A second more: for the beat, which looks four times in each.
    assert max(took.values()) < 2 * 1.0 + 1.0, took
