"""Settling: in one step, once, whatever becomes of the answer."""

from __future__ import annotations

import pytest
from proxy import Proxy
from running import eventually

from celeriac.errors import StoreError, StoreFull, TransportLost
from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Action, Verdict
from celeriac.model.record import ResultRecord
from celeriac_redis import settlement
from celeriac_redis.results import RedisResultStore
from celeriac_redis.transport import RedisTransport

SECONDS = 10.0
ANSWER = b"celeriac:settled:"
"""What only requests to settle hold."""


def message(text: str, queue: str = "q", **fields: object) -> Message:
    return Message(body=text.encode(), routing_key=queue, **fields)  # type: ignore[arg-type]


def texts(deliveries):
    return [delivery.message.body.decode() for delivery in deliveries]


def record(id_: str) -> ResultRecord:
    return ResultRecord(id=id_, state="SUCCESS", payload=b'{"status": "SUCCESS"}')


def take(transport, limit=10_000, queues=("q",)):
    return transport.receive(queues, limit=limit, timeout=0.0)


@pytest.fixture
def transport(opened, url):
    return opened(RedisTransport, url, holder="a")


@pytest.fixture
def proxy(transport):
    location = transport.location
    port = location.nodes[0][1] if location.nodes else 0
    with Proxy(port, path=location.path) as proxy:
        yield proxy


@pytest.fixture
def behind(proxy, opened, transport):
    """Open transports that reach the same database through the proxy."""
    url = f"redis://127.0.0.1:{proxy.port}/{transport.location.database}"
    return lambda **options: opened(RedisTransport, url, **options)


def verdicts_of_every_kind(transport) -> list[Verdict]:
    """Give verdicts that are accepted, but for the second, which is refused; each of the others has a follow-up."""
    transport.publish([message(text) for text in ("done", "stale", "back")], timeout=SECONDS)
    done, stale, back = take(transport)
    transport.settle([Verdict(delivery=stale)], timeout=SECONDS)
    return [
        Verdict(delivery=done, records=(record("1"),), followups=(message("of done", "next"),)),
        Verdict(delivery=stale, records=(record("2"),), followups=(message("of stale", "next"),)),
        Verdict(delivery=None, records=(record("3"),), followups=(message("of none", "next"),)),
        Verdict(delivery=back, action=Action.RELEASE, followups=(message("of back", "next"),)),
    ]


def assert_carried_out_once(transport, results):
    assert set(results.get(["1", "2", "3"], timeout=SECONDS)) == {"1", "3"}
    assert texts(take(transport, queues=["next"])) == ["of done", "of none", "of back"]
    assert [(texts([one]), one.deliveries) for one in take(transport)] == [(["back"], 2)]


@pytest.mark.parametrize("direction", ["requests", "answers"])
def test_what_is_settled_again_after_a_break_takes_effect_once(behind, proxy, transport, opened, url, direction):
    verdicts = verdicts_of_every_kind(behind())
    broken = behind()
    if direction == "answers":
        proxy.cut(0, "answers", seen=ANSWER)
    else:
        proxy.cut(20, "requests", seen=b"")
    with pytest.raises(TransportLost):
        broken.settle(verdicts, timeout=SECONDS)
    proxy.heal()

    refused = behind().settle(verdicts, timeout=SECONDS)

    assert refused == [verdicts[1]]
    assert_carried_out_once(transport, opened(RedisResultStore, url))
    assert (behind().location.label, "a") not in settlement._lost


def test_half_of_a_batch_may_be_settled_again_first_as_a_settler_does(behind, proxy, transport, opened, url):
    verdicts = verdicts_of_every_kind(behind())
    proxy.cut(0, "answers", seen=ANSWER)
    with pytest.raises(TransportLost):
        behind().settle(verdicts, timeout=SECONDS)
    again = behind()

    first, second = again.settle(verdicts[:2], timeout=SECONDS), again.settle(verdicts[2:], timeout=SECONDS)

    assert (first, second) == ([verdicts[1]], [])
    assert_carried_out_once(transport, opened(RedisResultStore, url))


def test_a_request_that_arrives_after_it_was_given_up_has_no_effect(behind, proxy, transport, opened, url, link):
    slow = behind()
    verdicts = verdicts_of_every_kind(slow)
    slow.settle([Verdict(delivery=None, followups=(message("first", "next"),))], timeout=SECONDS)
    slow.purge("next", timeout=SECONDS)
    proxy.silence()
    with pytest.raises(TransportLost):
        slow.settle(verdicts, timeout=0.3)
    # Another server name would be another store: the memory is that of this holder on this address.
    settlement._lost[transport.location.label, "a"] = settlement._lost.pop((slow.location.label, "a"))
    before = scripts_run(link)

    refused = transport.settle(verdicts, timeout=SECONDS)
    settled = scripts_run(link)
    proxy.heal()

    eventually(lambda: scripts_run(link) > settled, "the late request arrived")
    assert settled > before
    assert refused == [verdicts[1]]
    assert_carried_out_once(transport, opened(RedisResultStore, url))


def scripts_run(link) -> int:
    text = link.run("INFO", "commandstats", timeout=SECONDS).decode()
    return sum(
        int(line.partition("calls=")[2].partition(",")[0])
        for line in text.splitlines()
        if line.startswith(("cmdstat_eval:", "cmdstat_evalsha:"))
    )


def test_a_batch_larger_than_one_call_is_settled_completely(transport):
    transport.publish([message(str(number)) for number in range(1200)], timeout=SECONDS)
    held: list[Delivery] = []
    while taken := take(transport):
        held += taken
    followups = [Verdict(delivery=one, followups=(message(one.tag, "next"),)) for one in held]

    assert transport.settle([*followups, followups[0]], timeout=SECONDS) == [followups[0]]

    (depth,) = transport.depths(["next"], timeout=SECONDS)
    assert depth.waiting == 1200


def test_a_follow_up_that_cannot_be_put_anywhere_leaves_everything_as_it_was(transport, link):
    transport.publish([message("x")], timeout=SECONDS)
    (held,) = take(transport)
    link.run("SET", "not a queue", "mine", timeout=SECONDS)

    with pytest.raises(StoreError, match="Something else uses this key"):
        transport.settle([Verdict(delivery=held, followups=(message("y", "not a queue"),))], timeout=SECONDS)

    assert transport.settle([Verdict(delivery=held)], timeout=SECONDS) == []


def test_a_task_with_an_eta_lies_where_celery_finds_it_and_is_not_had_before(transport, link):
    eta = {"eta": "2096-10-02T07:06:40+00:00"}
    transport.publish([message("later", due=4e9, headers=eta), message("now")], timeout=SECONDS)
    assert link.run("LLEN", "q", timeout=SECONDS) == 2

    taken = take(transport)

    assert texts(taken) == ["now"]
    (depth,) = transport.depths(["q"], timeout=SECONDS)
    assert (depth.waiting, depth.delayed, depth.held) == (0, 1, 1)
    (shown,) = transport.browse("q", limit=5, timeout=SECONDS)
    assert (shown.body, shown.due, shown.headers) == (b"later", 4e9, eta)


class TestAServerWithoutMemory:
    """Nothing more is accepted, and everything that was can be finished."""

    @pytest.fixture
    def full(self, opened, own_server, connect):
        transport = opened(RedisTransport, own_server, holder="a")
        transport.publish([message(text) for text in "abcd"], timeout=SECONDS)
        self.held = take(transport, 2)
        link = connect(own_server)
        link.run("CONFIG", "SET", "maxmemory", 1, timeout=SECONDS)
        self.link = link
        return transport

    @pytest.mark.parametrize(
        "batch", [[message("x")], [message("x"), message("y", "r")], [message("x", due=4e9)]], ids=len
    )
    def test_publishing_is_refused(self, full, batch):
        with pytest.raises(StoreFull):
            full.publish(batch, timeout=SECONDS)

        (depth,) = full.depths(["q"], timeout=SECONDS)
        assert (depth.waiting, depth.delayed) == (2, 0)

    def test_what_waits_is_taken_and_settled_with_what_follows(self, full):
        first, second = self.held
        verdicts = [
            Verdict(delivery=first, records=(record("1"),), followups=(message("next", "r"),)),
            Verdict(delivery=second, action=Action.DEAD, reason="broken"),
        ]

        assert texts(take(full)) == ["c", "d"]
        assert full.settle(verdicts, timeout=SECONDS) == []
        assert texts(take(full, queues=["r"])) == ["next"]

    def test_leases_are_renewed_and_what_lapsed_returns(self, full, opened, own_server):
        assert full.renew(timeout=SECONDS)

        self.link.run("CONFIG", "SET", "maxmemory", 0, timeout=SECONDS)
        self.link.run("ZADD", "celeriac:{q}:leases", "XX", 1, "a", timeout=SECONDS)
        self.link.run("CONFIG", "SET", "maxmemory", 1, timeout=SECONDS)
        other = opened(RedisTransport, own_server, holder="b")
        assert texts(take(other)) == ["a", "b", "c", "d"]
