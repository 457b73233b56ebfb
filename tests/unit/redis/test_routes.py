"""Bindings, as Celery's clients write and read them; fanout; letters of several queues."""

from __future__ import annotations

import json

import pytest

from celeriac.errors import InvalidSetting, Unroutable
from celeriac.model.message import Message
from celeriac.model.outcome import Action, Verdict
from celeriac.model.routing import Exchange, Queue
from celeriac_redis.transport import RedisTransport
from celeriac_redis.wire import pack

SECONDS = 10.0


@pytest.fixture
def transport(opened, url):
    return opened(RedisTransport, url, holder="a")


def send(transport, exchange, key, body=b"x"):
    transport.publish([Message(body=body, routing_key=key, exchange=exchange)], timeout=SECONDS)


def take(transport, *queues):
    return transport.receive(queues, limit=100, timeout=0.0)


def test_bindings_are_written_as_kombu_writes_them(transport, link):
    transport.declare(
        [Queue("mail", Exchange("jobs"), "key"), Queue("news", Exchange("wide", "topic"), "eu.*.hot.#")],
        timeout=SECONDS,
    )

    assert link.run("SMEMBERS", "_kombu.binding.jobs", timeout=SECONDS) == [b"key\x06\x16\x06\x16mail"]
    assert link.run("SMEMBERS", "_kombu.binding.wide", timeout=SECONDS) == [
        rb"eu.*.hot.#" + b"\x06\x16" + rb"^eu\.[^\.]+\.hot\..*?$" + b"\x06\x16news"
    ]
    assert link.run("EXISTS", "_kombu.binding_permanent.jobs", timeout=SECONDS) == 1


def test_bindings_that_celery_wrote_are_followed(transport, link):
    link.run("SADD", "_kombu.binding.celery", b"celery\x06\x16\x06\x16celery", timeout=SECONDS)
    link.run("SADD", "_kombu.binding.t", b"a.*\x06\x16^a\\.[^\\.]+$\x06\x16q", timeout=SECONDS)

    send(transport, "celery", "celery")
    send(transport, "t", "a.b")

    assert [delivery.queue for delivery in take(transport, "celery", "q")] == ["celery", "q"]
    with pytest.raises(Unroutable):
        send(transport, "t", "b.b")


def test_a_fanout_reaches_each_queue_of_ours_once_and_subscribers(transport, connect, url):
    wire = connect(url).connection(timeout=SECONDS)
    database = transport.location.database

    wire.send(pack(("SUBSCRIBE", f"/{database}.news/any")), SECONDS)
    wire.read(SECONDS)
    fanout = Exchange("news", "fanout")
    transport.declare([Queue("one", fanout), Queue("two", fanout)], timeout=SECONDS)
    transport.declare([Queue("one", fanout)], timeout=SECONDS)

    send(transport, "news", "any", b"hello")

    assert sorted(delivery.queue for delivery in take(transport, "one", "two")) == ["one", "two"]
    _, _, heard = wire.read(SECONDS)
    assert json.loads(heard)["properties"]["delivery_info"] == {"exchange": "news", "routing_key": "any"}
    wire.close()


def test_a_queue_that_only_subscribes_gets_no_copy_that_nobody_reads(transport, link):
    link.run("SADD", "_kombu.binding.celery.pidbox", b"\x06\x16\x06\x16w1.celery.pidbox", timeout=SECONDS)
    transport.declare([Queue("mine", Exchange("celery.pidbox", "fanout"))], timeout=SECONDS)

    send(transport, "celery.pidbox", "")

    assert link.run("EXISTS", "w1.celery.pidbox", timeout=SECONDS) == 0


def test_letters_of_many_queues_are_listed_by_age_and_found_by_id(transport):
    queues = ["a", "b", "c"]
    for number in range(250):
        queue = queues[number % 3]
        transport.publish([Message(body=b"%d" % number, routing_key=queue)], timeout=SECONDS)
        action = Action.PARK if number % 2 else Action.DEAD
        verdicts = [Verdict(delivery=one, action=action, reason=f"no: {number}") for one in take(transport, *queues)]
        transport.settle(verdicts, timeout=SECONDS)

    letters = transport.letters(limit=1000, timeout=SECONDS)
    rest = transport.letters(limit=1000, after=letters[120].id, timeout=SECONDS)
    replayed = transport.replay([letter.id for letter in letters[:200]], timeout=SECONDS)
    discarded = transport.discard([letter.id for letter in letters], timeout=SECONDS)

    assert [int(letter.message.body) for letter in letters] == list(range(250))
    assert [letter.reason for letter in letters] == [f"no: {number}" for number in range(250)]
    assert rest == letters[121:]
    assert (replayed, discarded) == (200, 50)
    assert sorted(int(delivery.message.body) for delivery in take(transport, "b")) == list(range(1, 200, 3))


@pytest.mark.parametrize("steps", ["", "3,6", "0,0", "0,10", "0;3", "0,a"])
def test_steps_that_make_no_sense_are_refused(url, opened, steps):
    with pytest.raises(InvalidSetting, match="priority_steps"):
        opened(RedisTransport, url, priority_steps=steps)


def test_a_lease_without_length_is_refused(url, opened):
    with pytest.raises(InvalidSetting, match="lease_seconds"):
        opened(RedisTransport, url, lease_seconds=0.0)
