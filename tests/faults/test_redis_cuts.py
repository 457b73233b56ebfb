"""Connections to Redis that break after every byte of a request or an answer: every message is in one place, once.

Each call is tried once for every place where its bytes may be cut, in both directions, by a reset and by an end. What
is longer than `PLACES` bytes is cut at so many places, evenly; the first and last bytes are always among them.
"""

from __future__ import annotations

import itertools
from functools import partial

import pytest
from proxy import Proxy

pytest.importorskip("celeriac_redis.transport")
import redis_servers

if not redis_servers.installed():
    pytest.skip("redis-server is not installed", allow_module_level=True)

from redis_servers import redis_server

from celeriac.errors import TransportLost
from celeriac.model.address import Address
from celeriac.model.message import Message
from celeriac.model.outcome import Action, Verdict
from celeriac.model.record import SUCCESS, ResultRecord
from celeriac.spi.service import Context
from celeriac_redis.results import RedisResultStore
from celeriac_redis.transport import RedisTransport

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

PLACES = 120
TIMEOUT = 10.0
numbers = itertools.count()


@pytest.fixture(scope="module")
def server():
    with redis_server() as server:
        yield server


@pytest.fixture
def proxy(server):
    server.run("FLUSHALL")
    with Proxy(server.port) as proxy:
        yield proxy


class Bench:
    """Connections through the proxy, and one beside it that always works."""

    def __init__(self, server, proxy):
        self.server, self.proxy = server, proxy
        self.opened = []
        self.sound = self.connect("observer", server.port)
        self.results = RedisResultStore(Address.parse(server.url), Context())
        self.results.open(timeout=TIMEOUT)
        self.committed = RedisResultStore(Address.parse(f"redis://127.0.0.1:{proxy.port}/0"), Context())

    def connect(self, holder="worker", port=None):
        url = f"redis://127.0.0.1:{port or self.proxy.port}/0"
        transport = RedisTransport(Address.parse(url), Context(holder=holder))
        transport.open(timeout=TIMEOUT)
        self.opened.append(transport)
        return transport

    def again(self, *known):
        """Connect anew, as a worker does that holds these."""
        transport = self.connect()
        transport.retain(known, timeout=TIMEOUT)
        assert transport.commits_with(self.committed)
        return transport

    def forget(self):
        for transport in self.opened[1:]:
            transport.close()
        del self.opened[1:]

    def close(self):
        self.forget()
        self.sound.close()
        self.results.close()

    def clear(self):
        for queue in ("q", "next"):
            self.sound.purge(queue, timeout=TIMEOUT)
        ids = [letter.id for letter in self.sound.letters(limit=1000, timeout=TIMEOUT)]
        self.sound.discard(ids, timeout=TIMEOUT)

    def depth(self):
        (depth,) = self.sound.depths(["q"], timeout=TIMEOUT)
        return depth.waiting, depth.delayed, depth.held

    def waiting(self):
        return [each.body.decode() for each in self.sound.browse("q", limit=1000, timeout=TIMEOUT)]


@pytest.fixture
def bench(server, proxy):
    bench = Bench(server, proxy)
    yield bench
    bench.close()


def messages(count=3, **fields):
    return [Message(body=f"{next(numbers)}".encode(), routing_key="q", **fields) for _ in range(count)]


def texts(sent):
    return [each.body.decode() for each in sent]


def cuts(bench, direction, call):
    """Yield every place to cut, having measured how many bytes `call` has in this direction when all goes well."""
    call()  # whatever is only sent the first time
    before = bench.proxy.bytes[direction]
    call()
    size = bench.proxy.bytes[direction] - before
    assert size > 0
    step = max(1, -(-size // PLACES))
    yield from sorted({*range(0, size, step), 1, 2, 3, size - 1, size - 2} & set(range(size)))


def breaks(bench, call, cut, direction, reset):
    """Make a call that is cut before its end; return whether it failed."""
    broken = bench.proxy.breaks
    bench.proxy.cut(cut, direction, reset=reset)
    try:
        call()
    except TransportLost:
        assert bench.proxy.breaks == broken + 1
        return True
    finally:
        bench.proxy.heal()
    return False  # lengths differ by a byte or two from call to call


WAYS = [
    pytest.mark.parametrize("direction", ["answers", "requests"]),
    pytest.mark.parametrize("reset", [True, False], ids=["reset", "end"]),
]


def both(function):
    for way in WAYS:
        function = way(function)
    return function


@both
@pytest.mark.parametrize("several", [False, True], ids=["one queue", "delayed too"])
def test_a_batch_whose_publishing_breaks_is_accepted_whole_or_not_at_all(bench, direction, reset, several):
    def batch():
        sent = messages(3)
        return [*sent, *messages(2, due=2e9)] if several else sent

    transport = bench.connect()
    for cut in cuts(bench, direction, lambda: transport.publish(batch(), timeout=TIMEOUT)):
        bench.sound.purge("q", timeout=TIMEOUT)
        transport.publish(messages(1), timeout=TIMEOUT)
        bench.sound.purge("q", timeout=TIMEOUT)
        sent = batch()

        lost = breaks(bench, partial(transport.publish, sent, timeout=TIMEOUT), cut, direction, reset)

        whole = sorted(texts(sent))
        assert sorted(bench.waiting()) in ([whole] if direction == "answers" or not lost else [whole, []])


@both
def test_what_was_taken_by_a_call_that_breaks_is_taken_once_by_the_next_connection(bench, direction, reset):
    def take(transport, count):
        taken = transport.receive(["q"], limit=10, timeout=0.0)
        assert len(taken) == count
        return taken

    def publish_and_take():
        transport.publish(messages(), timeout=TIMEOUT)
        before = dict(bench.proxy.bytes)
        transport.settle([Verdict(delivery=each) for each in take(transport, 3)], timeout=TIMEOUT)
        return before

    transport = bench.connect()
    publish_and_take()
    sent = messages()
    bench.sound.publish(sent, timeout=TIMEOUT)
    places = list(cuts(bench, direction, lambda: transport.receive(["q"], limit=10, timeout=0.0)))
    bench.again()
    # The measured takes were empty or not; an answer with three messages is the longest there is here.
    places += range(places[-1] + 1, places[-1] + 1500, 12) if direction == "answers" else []
    bench.sound.purge("q", timeout=TIMEOUT)
    bench.forget()

    for cut in places:
        transport = bench.again()
        transport.receive(["q"], limit=10, timeout=0.0)
        sent = messages()
        bench.sound.publish(sent, timeout=TIMEOUT)

        bench.proxy.cut(cut, direction, reset=reset)
        try:
            lost = transport.receive(["q"], limit=10, timeout=0.0)
        except TransportLost:
            lost = []
        bench.proxy.heal()
        after = bench.again(*lost)

        found = [*lost, *after.receive(["q"], limit=10, timeout=0.0)]
        assert sorted(each.message.body.decode() for each in found) == sorted(texts(sent))
        assert {each.deliveries for each in found} == {1}
        assert after.settle([Verdict(delivery=each) for each in found], timeout=TIMEOUT) == []
        assert bench.depth() == (0, 0, 0)
        bench.forget()


@both
def test_a_settlement_that_breaks_takes_effect_once_when_it_is_repeated(bench, direction, reset):
    def held(transport):
        bench.sound.publish(messages(4), timeout=TIMEOUT)
        taken = transport.receive(["q"], limit=10, timeout=1.0)
        assert len(taken) == 4
        return taken

    def verdicts(taken):
        done, dead, back, parked = taken
        name = f"r{next(numbers)}"
        return name, [
            Verdict(
                delivery=done,
                records=(ResultRecord(id=name, state=SUCCESS, payload=b'{"status":"SUCCESS"}'),),
                followups=tuple(Message(body=name.encode(), routing_key="next") for _ in range(2)),
            ),
            Verdict(delivery=dead, action=Action.DEAD, reason="test"),
            Verdict(delivery=back, action=Action.RELEASE),
            Verdict(delivery=parked, action=Action.PARK, reason="test"),
        ]

    def settle(transport):
        _, ready = verdicts(held(transport))
        before = dict(bench.proxy.bytes)
        assert transport.settle(ready, timeout=TIMEOUT) == []
        return {each: bench.proxy.bytes[each] - before[each] for each in before}

    transport = bench.again()
    settle(transport)
    bench.clear()
    size = settle(transport)[direction]
    bench.clear()
    bench.forget()

    for cut in range(0, size, max(1, size // PLACES)):
        transport = bench.again()
        settle(transport)
        bench.clear()
        taken = held(transport)
        name, ready = verdicts(taken)

        lost = breaks(bench, partial(transport.settle, ready, timeout=TIMEOUT), cut, direction, reset)
        after = bench.again(*(taken if lost else []))

        assert after.settle(ready if lost else [], timeout=TIMEOUT) == []
        assert set(bench.results.get([name], timeout=TIMEOUT)) == {name}
        assert [each.body for each in bench.sound.browse("next", limit=9, timeout=TIMEOUT)] == [name.encode()] * 2
        letters = {letter.kind: letter for letter in bench.sound.letters(limit=9, timeout=TIMEOUT)}
        assert set(letters) == {"dead", "parked"}
        (back,) = after.receive(["q"], limit=9, timeout=1.0)
        assert (back.message.body, back.deliveries) == (taken[2].message.body, 2)
        assert after.settle([Verdict(delivery=back)], timeout=TIMEOUT) == []
        assert bench.depth() == (0, 0, 0)
        bench.clear()
        bench.forget()
