from __future__ import annotations

import pytest

from celeriac.model.join import Join, Part
from celeriac.model.message import Message
from celeriac.model.outcome import Verdict
from celeriac_redis.results import RedisResultStore
from celeriac_redis.transport import RedisTransport

SECONDS = 10.0
QUEUE = "celeriac.joins"


def join(id_: str, size: int, **terms: object) -> Join:
    message = Message(body=id_.encode(), routing_key=QUEUE, headers={"id": id_})
    return Join(id=id_, size=size, message=message, **{"successes": size, **terms})


def part(of: str, place: int, payload: bytes = b"+-") -> Part:
    return Part(join=of, member=f"{of}-{place}", place=place, succeeded=True, payload=payload)


@pytest.fixture
def store(opened, url) -> RedisResultStore:
    return opened(RedisResultStore, url)


def taken(transport: RedisTransport) -> list[bytes]:
    found = transport.receive([QUEUE], limit=10, timeout=0.0)
    return [delivery.message.body for delivery in found]


def test_a_join_expires_with_all_that_was_given_and_also_when_it_was_closed(store, link):
    store.open_joins([join("g", 2, expires_seconds=100.0), join("h", 1)], timeout=SECONDS)
    store.give([part("g", 0)], timeout=SECONDS)
    store.close_joins(["g"], timeout=SECONDS)

    assert 90_000 < link.run("PTTL", "celeriac:join:g", timeout=SECONDS) <= 100_000
    assert link.run("HGETALL", "celeriac:join:g", timeout=SECONDS) == [b"state", b"2"]
    assert link.run("PTTL", "celeriac:join:h", timeout=SECONDS) == -1


def test_what_members_gave_comes_back_whatever_it_is(store):
    store.open_joins([join("g", 3, failures=4)], timeout=SECONDS)
    parts = [
        part("g", 0, b""),
        Part(join="g", member="m:x", place=1, succeeded=False, payload=b"-+-\x00\xff"),
        part("g", 12, b"+3"),
    ]

    store.give(parts, timeout=SECONDS)

    found = store.parts("g", timeout=SECONDS)
    assert [(each.place, each.payload) for each in found] == [(each.place, each.payload) for each in parts]


@pytest.mark.parametrize("options", [{}, {"global_keyprefix": "mine:", "priority_steps": "0,5"}])
@pytest.mark.parametrize("priority", [0, 7])
def test_a_settlement_publishes_what_a_client_opened(opened, url, options, priority):
    kept = {name: value for name, value in options.items() if name == "global_keyprefix"}
    transport, store = opened(RedisTransport, url, **options), opened(RedisResultStore, url, **kept)
    assert transport.commits_with(store)
    message = Message(body=b"g", routing_key=QUEUE, headers={"id": "g"}, priority=priority)
    store.open_joins([Join(id="g", size=1, successes=1, message=message)], timeout=SECONDS)

    for _ in range(2):
        assert transport.settle([Verdict(delivery=None, parts=(part("g", 0),))], timeout=SECONDS) == []

    (delivery,) = transport.receive([QUEUE], limit=10, timeout=SECONDS)
    assert delivery.message == message


def test_a_join_that_a_settlement_published_is_told_again_to_who_gives_without_one(opened, url, store):
    transport = opened(RedisTransport, url)
    assert transport.commits_with(store)
    transport.settle([Verdict(delivery=None, joins=(join("g", 1),), parts=(part("g", 0),))], timeout=SECONDS)

    again = store.give([part("g", 0)], timeout=SECONDS)
    transport.settle([Verdict(delivery=None, closes=("g",))], timeout=SECONDS)

    assert [message.body for message in again] == [b"g"]
    assert taken(transport) == [b"g"]
    assert store.give([part("g", 0)], timeout=SECONDS) == []
