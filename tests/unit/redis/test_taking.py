"""Taking, and what becomes of what a holder that is gone has taken."""

from __future__ import annotations

import json
import threading

import pytest

from celeriac.errors import TransportLost
from celeriac.model.message import Message
from celeriac.model.outcome import Action, Verdict
from celeriac_redis.coordinator import RedisCoordinator
from celeriac_redis.transport import RedisTransport

SECONDS = 10.0


def message(text: str, **fields: object) -> Message:
    return Message(body=text.encode(), routing_key="q", **fields)  # type: ignore[arg-type]


def texts(deliveries):
    return [delivery.message.body.decode() for delivery in deliveries]


def lapse(link, holder, queue="q"):
    """Let a lease have lapsed long ago, by the server's clock."""
    link.run("ZADD", f"celeriac:{{{queue}}}:leases", "XX", 1, holder, timeout=SECONDS)


@pytest.fixture
def transport(opened, url):
    return opened(RedisTransport, url, holder="a")


@pytest.fixture
def other(opened, url):
    return opened(RedisTransport, url, holder="b")


def publish(transport, *words, **fields):
    transport.publish([message(word, **fields) for word in words], timeout=SECONDS)


def take(transport, limit=10_000, queues=("q",), timeout=0.0):
    return transport.receive(queues, limit=limit, timeout=timeout)


def test_what_waits_lies_in_the_lists_of_kombu(transport, link):
    publish(transport, "plain")
    publish(transport, "urgent", priority=9)

    (plain,) = link.run("LRANGE", "q", 0, -1, timeout=SECONDS)
    (urgent,) = link.run("LRANGE", "q\x06\x169", 0, -1, timeout=SECONDS)

    assert json.loads(plain)["properties"]["delivery_info"] == {"exchange": "", "routing_key": "q"}
    assert json.loads(urgent)["properties"]["priority"] == 9


def test_a_prefix_stands_before_every_key(opened, url, link):
    transport = opened(RedisTransport, url, global_keyprefix="p-")

    publish(transport, "x")
    take(transport)
    publish(transport, "y")

    keys = link.run("KEYS", "*", timeout=SECONDS)
    assert b"p-q" in keys
    assert all(key.startswith(b"p-") for key in keys)


def test_priority_0_may_come_first_as_with_celery(opened, url):
    transport = opened(RedisTransport, url, lowest_priority_first=True)
    publish(transport, "last", priority=9)
    publish(transport, "first")

    assert texts(take(transport)) == ["first", "last"]


def test_steps_may_be_any(opened, url):
    transport = opened(RedisTransport, url, priority_steps="0,1,2,3,4,5,6,7,8,9")
    for priority in range(10):
        publish(transport, str(priority), priority=priority)

    assert texts(take(transport)) == [str(priority) for priority in reversed(range(10))]


def test_a_take_ends_after_so_many_bytes_and_loses_none(transport):
    words = [f"{number:02d}" + "x" * 3_000_000 for number in range(12)]
    for word in words:
        publish(transport, word)

    portions = []
    while portion := take(transport):
        portions.append(texts(portion))

    assert [word for portion in portions for word in portion] == words
    assert len(portions) > 2


def test_a_message_larger_than_a_take_may_be_is_taken_alone(transport):
    publish(transport, "x" * 20_000_000, "small")

    assert [len(text) for text in texts(take(transport, 10))] == [20_000_000]
    assert texts(take(transport, 10)) == ["small"]


def test_a_take_is_bounded_however_large_the_limit(transport):
    publish(transport, *map(str, range(2500)))

    assert len(take(transport)) == 1000
    assert len(take(transport)) == 1000
    assert len(take(transport)) == 500


def test_what_many_takes_held_returns_in_portions_and_in_order(transport, other, link):
    words = [str(number) for number in range(1300)]
    publish(transport, *words)
    while take(transport, 400):
        pass
    publish(transport, "younger")

    lapse(link, "a")

    found = []
    while portion := take(other):
        found += portion
    assert texts(found) == [*words, "younger"]
    assert {delivery.deliveries for delivery in found[:-1]} == {2}
    assert not transport.renew(timeout=SECONDS)


def test_a_holder_that_lapsed_with_much_renews_anew(transport, link):
    publish(transport, *map(str, range(1300)))
    while take(transport):
        pass
    lapse(link, "a")

    assert not transport.renew(timeout=SECONDS)
    assert link.run("LLEN", "q", timeout=SECONDS) == 1300
    assert transport.renew(timeout=SECONDS)


def test_a_lapse_that_ones_own_take_notices_is_told_by_renew(transport, link):
    publish(transport, "x")
    take(transport)
    lapse(link, "a")

    (again,) = take(transport)

    assert again.deliveries == 2
    assert not transport.renew(timeout=SECONDS)
    assert transport.renew(timeout=SECONDS)
    assert transport.settle([Verdict(delivery=again)], timeout=SECONDS) == []


def test_who_settled_everything_has_nothing_that_could_lapse(transport, link):
    publish(transport, "x")
    transport.settle([Verdict(delivery=one) for one in take(transport)], timeout=SECONDS)

    assert link.run("EXISTS", "celeriac:{q}:leases", timeout=SECONDS) == 0
    assert transport.renew(timeout=SECONDS)


def test_a_lease_is_renewed_although_somebody_emptied_the_database(transport, link):
    take(transport)
    link.run("FLUSHDB", timeout=SECONDS)
    publish(transport, "x")
    (held,) = take(transport)
    before = float(link.run("ZSCORE", "celeriac:{q}:leases", "a", timeout=SECONDS))

    assert transport.renew(timeout=SECONDS)

    assert float(link.run("ZSCORE", "celeriac:{q}:leases", "a", timeout=SECONDS)) > before
    assert transport.settle([Verdict(delivery=held)], timeout=SECONDS) == []


def test_an_older_connection_of_a_holder_takes_nothing_more(transport, opened, url):
    publish(transport, "one", "two")
    held = take(transport, 1)
    newer = opened(RedisTransport, url, holder="a")

    handed_back = newer.retain(held, timeout=SECONDS)

    with pytest.raises(TransportLost, match="newer connection"):
        take(transport)
    assert handed_back == 0
    assert texts(take(newer)) == ["two"]
    assert newer.settle([Verdict(delivery=held[0])], timeout=SECONDS) == []


def test_what_an_answer_that_was_lost_held_goes_back_in_portions(transport, opened, url):
    publish(transport, *map(str, range(1200)))
    known = take(transport, 100)
    while take(transport):
        pass
    newer = opened(RedisTransport, url, holder="a")

    assert newer.retain(known, timeout=SECONDS) == 1100
    found = []
    while portion := take(newer):
        found += portion
    assert texts(found) == [str(number) for number in range(100, 1200)]
    assert {delivery.deliveries for delivery in found} == {1}


def test_many_messages_become_due_in_portions_and_in_order(transport, link):
    words = [f"{number:04d}" for number in range(1100)]
    publish(transport, *words)
    while taken := take(transport):
        back = [Verdict(delivery=one, action=Action.RELEASE, delay=3600.0) for one in taken]
        transport.settle(back, timeout=SECONDS)
    members = link.run("ZRANGE", "celeriac:{q}:delayed", 0, -1, timeout=SECONDS)
    for start in range(0, len(members), 100):
        pairs = [argument for member in members[start : start + 100] for argument in (1, member)]
        link.run("ZADD", "celeriac:{q}:delayed", "XX", *pairs, timeout=SECONDS)

    found = []
    while portion := take(transport):
        found += portion

    assert texts(found) == words


def test_equal_messages_of_another_client_may_be_delayed_together(transport, link):
    raw = b'{"body": "x", "headers": {}, "properties": {"delivery_tag": "the same"}}'
    link.run("LPUSH", "q", raw, raw, timeout=SECONDS)

    delayed = [Verdict(delivery=one, action=Action.RELEASE, delay=3600.0) for one in take(transport)]
    transport.settle(delayed, timeout=SECONDS)

    (depth,) = transport.depths(["q"], timeout=SECONDS)
    assert (depth.waiting, depth.delayed, depth.held) == (0, 2, 0)


@pytest.mark.parametrize("queue", ["q", "also"])
def test_a_sleeping_worker_hears_a_foreign_producer_in_every_list(transport, link, queue):
    taken = []
    thread = threading.Thread(target=lambda: taken.extend(take(transport, queues=("q", "also"), timeout=25)))
    thread.start()

    link.run("LPUSH", f"{queue}\x06\x163", b'{"body": "hello", "properties": {}}', timeout=SECONDS)

    thread.join(20)
    assert [delivery.message.body for delivery in taken] == [b"hello"]


def test_a_sleeping_worker_hears_of_what_is_due_sooner(transport, other):
    publish(other, "much later", due=transport.clock.time() + 3600)
    taken = []
    thread = threading.Thread(target=lambda: taken.extend(take(transport, timeout=25)))
    thread.start()

    publish(other, "soon", due=transport.clock.time() + 0.3)

    thread.join(20)
    assert texts(taken) == ["soon"]


def test_a_worker_asks_again_and_again_where_it_is_not_told(opened, own_server, connect, caplog):
    connect(own_server).run("ACL", "SETUSER", "default", "-client|tracking", timeout=SECONDS)
    transport, publisher = (opened(RedisTransport, own_server, holder=holder) for holder in "ab")
    taken = []
    thread = threading.Thread(target=lambda: taken.extend(take(transport, timeout=25)))
    thread.start()

    publish(publisher, "x")

    thread.join(20)
    assert texts(taken) == ["x"]
    assert "cannot tell when a message comes" in caplog.text


def test_the_script_is_sent_again_to_a_server_that_forgot_it(transport, link):
    publish(transport, "x", "y")
    take(transport, 1)

    link.run("SCRIPT", "FLUSH", timeout=SECONDS)

    assert texts(take(transport)) == ["y"]


def test_a_queue_that_is_a_key_of_another_kind_is_an_error_that_says_so(transport, link):
    link.run("SET", "q", "mine", timeout=SECONDS)

    with pytest.raises(Exception, match="Something else uses this key"):
        take(transport)


def test_everything_done_leaves_only_names_and_what_expires(opened, url, link):
    transport = opened(RedisTransport, url, holder="a")
    publish(transport, *"abc")
    publish(transport, "later", due=transport.clock.time() + 0.05)
    transport.settle([Verdict(delivery=one, action=Action.RELEASE) for one in take(transport)], timeout=SECONDS)
    found = []
    while len(found) < 4:
        found += take(transport, timeout=5.0)
    transport.renew(timeout=SECONDS)

    transport.settle([Verdict(delivery=one) for one in found], timeout=SECONDS)
    transport.close()

    keys = link.run("KEYS", "*", timeout=SECONDS)
    lasting = {key for key in keys if link.run("TTL", key, timeout=SECONDS) < 0}
    assert lasting == {b"celeriac:queues"}


def test_who_may_not_look_for_revocations_is_not_sure_and_takes_all_the_same(opened, own_server, connect):
    transport = opened(RedisTransport, own_server, holder="a")
    coordinator = opened(RedisCoordinator, own_server, global_keyprefix="elsewhere:")
    assert transport.checks_with(coordinator, "revoked")
    publish(transport, "a", "b")
    before = transport.receive(["q"], limit=1, timeout=1.0)

    connect(own_server).run("ACL", "SETUSER", "default", "resetkeys", "~q*", "~celeriac:*", timeout=5.0)
    after = transport.receive(["q"], limit=1, timeout=1.0)

    assert [delivery.unrevoked for delivery in before + after] == [True, False]
    assert texts(before + after) == ["a", "b"]
