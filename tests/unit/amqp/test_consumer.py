from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import pytest
from amqp_peer import SECONDS

from celeriac_amqp.consumer import Consumer
from celeriac_amqp.failures import QueueMissing
from celeriac_amqp.frames import Incoming, Outgoing, Properties
from celeriac_amqp.link import Link
from celeriac_amqp.location import Location
from celeriac_amqp.publisher import Publisher

Connect = Callable[..., Link]


@pytest.fixture
def link(place: Location, connect: Connect) -> Link:
    """A link to a real server, which has the queues a, b and c."""
    link = connect(place)
    for name in "abc":
        declare(link, name)
    return link


def declare(link: Link, name: str, **arguments: Any) -> None:
    link.rare(
        lambda channel: channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments),
        timeout=SECONDS,
    )


def publish(link: Link, queue: str, *bodies: str) -> None:
    Publisher(link).publish(
        [
            Outgoing(exchange="", routing_key=queue, properties=Properties(), headers={"n": body}, body=body.encode())
            for body in bodies
        ],
        mandatory=True,
        timeout=SECONDS,
    )


def waiting(link: Link, queue: str) -> int:
    """How many messages are in a queue and with no consumer."""
    answer = link.rare(lambda channel: channel.queue_declare(queue, passive=True), timeout=SECONDS)
    return int(answer.message_count)


def eventually(holds: Callable[[], bool]) -> bool:
    """Ask a server again and again, which does some things a little later."""
    end = monotonic() + SECONDS
    while not holds():
        if monotonic() > end:
            return False
        threading.Event().wait(0.01)
    return True


def collect(consumer: Consumer, queues: list[str], count: int) -> list[Incoming]:
    got: list[Incoming] = []
    end = monotonic() + SECONDS
    while len(got) < count and monotonic() < end:
        got += consumer.take(queues, limit=count - len(got), timeout=1.0)
    return got


def bodies(messages: list[Incoming]) -> list[str]:
    return [message.body.decode() for message in messages]


def test_what_was_published_is_taken_whole_and_in_order(link: Link) -> None:
    Publisher(link).publish(
        [
            Outgoing(
                exchange="amq.direct" if number == 3 else "",
                routing_key="a",
                properties=Properties(content_type="text/plain", delivery_mode=2, priority=4, timestamp=12345),
                headers={"number": number, "none": None, "list": [1, "a"]},
                body=bytes((number,)) * number,
            )
            for number in range(3)
        ],
        mandatory=True,
        timeout=SECONDS,
    )

    got = collect(Consumer(link), ["a"], 3)

    assert [message.body for message in got] == [b"", b"\x01", b"\x02\x02"]
    assert [message.headers["number"] for message in got] == [0, 1, 2]
    assert got[0].headers == {"number": 0, "none": None, "list": [1, "a"]}
    assert got[0].properties == Properties(content_type="text/plain", delivery_mode=2, priority=4, timestamp=12345)
    assert (got[0].queue, got[0].exchange, got[0].routing_key, got[0].redelivered) == ("a", "", "a", False)
    assert got[0].malformed is None


def test_a_take_ends_in_time_when_nothing_is_there(link: Link) -> None:
    consumer = Consumer(link)

    assert consumer.take(["a"], limit=5, timeout=0.0) == []
    started = monotonic()
    assert consumer.take(["a"], limit=5, timeout=0.2) == []
    assert 0.15 < monotonic() - started < SECONDS


def test_a_message_that_comes_while_a_take_waits_ends_it(link: Link, place: Location, connect: Connect) -> None:
    consumer, other = Consumer(link), connect(place)

    with ThreadPoolExecutor(1) as pool:
        take = pool.submit(consumer.take, ["a", "b"], limit=5, timeout=SECONDS)
        publish(other, "b", "1")
        assert bodies(take.result(SECONDS)) == ["1"]


def test_a_wake_ends_the_take_that_waits_or_the_next_one(link: Link) -> None:
    consumer = Consumer(link)

    with ThreadPoolExecutor(1) as pool:
        take = pool.submit(consumer.take, ["a"], limit=5, timeout=SECONDS * 5)
        consumer.wake()
        assert take.result(SECONDS) == []
    consumer.wake()
    started = monotonic()
    assert consumer.take(["a"], limit=5, timeout=SECONDS) == []
    assert monotonic() - started < SECONDS / 2
    assert consumer.take(["a"], limit=5, timeout=0.05) == []


def test_earlier_queues_come_first(link: Link) -> None:
    consumer = Consumer(link)
    consumer.take(["a", "b", "c"], limit=2, timeout=0.0)
    for queue in "cba":
        publish(link, queue, f"{queue}1", f"{queue}2")
    assert eventually(lambda: not any(waiting(link, queue) for queue in "abc"))

    assert bodies(collect(consumer, ["a", "b", "c"], 6)) == ["a1", "a2", "b1", "b2", "c1", "c2"]


def test_a_later_queue_is_left_to_others_while_an_earlier_one_has_enough(link: Link) -> None:
    publish(link, "a", "1", "2", "3")
    publish(link, "b", "1", "2", "3")
    consumer = Consumer(link)
    first = consumer.take(["a"], limit=2, timeout=SECONDS)
    assert eventually(lambda: waiting(link, "a") == 1)
    consumer.ack([message.tag for message in first])
    assert eventually(lambda: waiting(link, "a") == 0)

    consumer.take(["a", "b"], limit=1, timeout=SECONDS)

    assert waiting(link, "b") == 3


def test_no_more_is_held_than_was_asked_for(link: Link) -> None:
    publish(link, "a", *map(str, range(50)))
    consumer = Consumer(link)

    got = collect(consumer, ["a"], 10)
    assert waiting(link, "a") == 40
    got += collect(consumer, ["a"], 5)
    assert waiting(link, "a") == 35
    assert bodies(got) == [str(number) for number in range(15)]
    consumer.ack([message.tag for message in got[:10]])
    assert bodies(collect(consumer, ["a"], 1)) == ["15"]


def test_a_window_that_became_far_too_large_shrinks(link: Link) -> None:
    publish(link, "a", *map(str, range(300)))
    consumer = Consumer(link)
    taken = collect(consumer, ["a"], 100)

    consumer.ack([message.tag for message in taken])
    assert eventually(lambda: waiting(link, "a") == 100)
    for _ in range(50):
        [message] = collect(consumer, ["a"], 1)
        consumer.ack([message.tag])

    assert waiting(link, "a") == 100
    assert bodies(collect(consumer, ["a"], 51)) == [str(number) for number in range(150, 201)]


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_what_was_acknowledged_is_gone_and_the_rest_comes_back_in_order(
    queue_type: str, place: Location, connect: Connect
) -> None:
    first, second = connect(place), connect(place)
    declare(first, "t", **{"x-queue-type": queue_type})
    publish(first, "t", *map(str, range(10)))
    consumer = Consumer(first)
    got = collect(consumer, ["t"], 10)

    tags = [message.tag for message in got]
    consumer.ack([tags[4], tags[0], tags[1]])
    consumer.ack([tags[4], tags[6], 999])
    assert [consumer.holds(tag) for tag in tags[:5]] == [False, False, True, True, False]
    consumer.close()

    again = collect(Consumer(second), ["t"], 6)
    assert bodies(again) == ["2", "3", "5", "7", "8", "9"]
    assert queue_type == "quorum" or all(message.redelivered for message in again)


def test_what_was_pushed_and_not_asked_for_is_handed_out_as_surplus(link: Link) -> None:
    consumer = Consumer(link)
    consumer.take(["a", "b"], limit=2, timeout=0.0)
    publish(link, "a", "1", "2")
    publish(link, "b", "3")
    assert eventually(lambda: waiting(link, "a") + waiting(link, "b") == 0)

    [taken] = collect(consumer, ["a", "b"], 1)
    surplus = consumer.surplus()

    assert bodies([taken]) == ["1"]
    assert bodies(surplus) == ["2", "3"]
    assert consumer.surplus() == []
    consumer.ack([message.tag for message in surplus])
    consumer.close()
    assert eventually(lambda: (waiting(link, "a"), waiting(link, "b")) == (1, 0))


def test_a_queue_that_does_not_exist_is_declared_and_what_is_held_stays(link: Link) -> None:
    consumer = Consumer(link, missing=lambda queue: declare(link, queue))
    publish(link, "a", "1")
    [held] = collect(consumer, ["a"], 1)

    consumer.take(["a", "new"], limit=5, timeout=0.0)
    publish(link, "new", "2")

    assert bodies(collect(consumer, ["a", "new"], 1)) == ["2"]
    assert consumer.holds(held.tag)


def test_a_queue_that_does_not_exist_is_an_error_where_nobody_declares_it(link: Link) -> None:
    consumer = Consumer(link)

    with pytest.raises(QueueMissing, match="'none' does not exist"):
        consumer.take(["none"], limit=1, timeout=1.0)

    publish(link, "a", "1")
    assert bodies(collect(consumer, ["a"], 1)) == ["1"]


def test_a_queue_that_is_deleted_is_declared_again(link: Link) -> None:
    consumer = Consumer(link, missing=lambda queue: declare(link, queue))
    consumer.take(["a"], limit=5, timeout=0.0)

    link.rare(lambda channel: channel.queue_delete("a"), timeout=SECONDS)
    consumer.take(["a"], limit=5, timeout=0.5)
    consumer.take(["a"], limit=5, timeout=0.0)
    publish(link, "a", "1")

    assert bodies(collect(consumer, ["a"], 1)) == ["1"]


def test_a_queue_that_nobody_asks_for_any_more_is_consumed_no_more(link: Link) -> None:
    consumer = Consumer(link)
    consumer.take(["a", "b"], limit=5, timeout=0.0)
    end = monotonic() + 1.2
    while monotonic() < end:
        consumer.take(["a"], limit=5, timeout=0.3)
    consumer.take(["a"], limit=5, timeout=0.0)

    publish(link, "b", "1")

    assert waiting(link, "b") == 1


def test_several_threads_acknowledge_while_one_takes(link: Link) -> None:
    publish(link, "a", *map(str, range(2000)))
    consumer = Consumer(link)

    with ThreadPoolExecutor(4) as pool:
        got: list[Incoming] = []
        while len(got) < 2000:
            some = consumer.take(["a"], limit=50, timeout=SECONDS)
            got += some
            for part in (some[::2], some[1::2]):
                pool.submit(consumer.ack, [message.tag for message in part])
    consumer.close()

    assert sorted(map(int, bodies(got))) == list(range(2000))
    assert waiting(link, "a") == 0


@pytest.mark.parametrize("hub", ["gevent", "eventlet"])
def test_greenlets_take_publish_and_wake_on_one_link(hub: str, place: Location, link: Link) -> None:
    """With a hub's patches no thread may block the others, whichever of them reads."""
    patch = {"gevent": "import gevent.monkey as m; m.patch_all()", "eventlet": "import eventlet as m; m.monkey_patch()"}
    code = f"""
{patch[hub]}
import sys; sys.path.insert(0, {str(__file__.rsplit("/", 1)[0])!r})
from concurrent.futures import ThreadPoolExecutor
from celeriac_amqp.link import Link
from celeriac_amqp.consumer import Consumer
from celeriac_amqp.publisher import Publisher
from celeriac_amqp.location import Location
from celeriac_amqp.frames import Outgoing, Properties
link = Link(Location(label="x", nodes={place.nodes!r}, virtual_host={place.virtual_host!r}), name="t")
link.open(20)
consumer, publisher = Consumer(link), Publisher(link)
pool = ThreadPoolExecutor(6)
message = Outgoing(exchange="", routing_key="a", properties=Properties(), headers={{}}, body=b"")
take = pool.submit(consumer.take, ["b"], limit=1, timeout=60)
sent = [pool.submit(publisher.publish, [message] * 5, mandatory=True, timeout=20) for _ in range(4)]
assert [each.result(20) for each in sent] == [[]] * 4
assert not take.done()
consumer.wake()
assert take.result(20) == []
got = []
while len(got) < 20:
    got += consumer.take(["a"], limit=20, timeout=20)
consumer.ack([each.tag for each in got])
link.close()
pool.shutdown()
print("well")
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=25, check=False
    )

    assert done.stdout.strip() == "well", done.stderr
    assert waiting(link, "a") == 0
