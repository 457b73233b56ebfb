from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from amqp_peer import CLOSE, PUBLISH, SECONDS, Peer, confirm, frame, method
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celeriac_amqp.failures import ChannelClosed, DeadlineExceeded, LinkLost, Nacked
from celeriac_amqp.frames import Outgoing, Properties
from celeriac_amqp.link import Link
from celeriac_amqp.location import Location
from celeriac_amqp.publisher import Publisher
from celeriac_amqp.tables import BadTable


def a_message(name: str = "", *, exchange: str = "", key: str = "q", body: bytes = b"body", **headers: Any) -> Outgoing:
    properties = Properties(correlation_id=name or None, delivery_mode=2)
    return Outgoing(exchange=exchange, routing_key=key, properties=properties, headers=headers, body=body)


@pytest.fixture
def link(place: Location, connect: Callable[[Location], Link]) -> Link:
    """A link to a real server, which has one queue."""
    link = connect(place)
    link.rare(lambda channel: channel.queue_declare("q", auto_delete=False), timeout=SECONDS)
    return link


def count(link: Link, queue: str = "q") -> int:
    answer = link.rare(lambda channel: channel.queue_declare(queue, passive=True), timeout=SECONDS)
    return int(answer.message_count)


@pytest.fixture
def peer_link(peer: Peer, stack: ExitStack) -> tuple[Peer, Link]:
    link = Link(peer.location(), name="test")
    stack.callback(link.close)
    link.open(SECONDS)
    return peer, link


Publishing = Callable[[list[Outgoing]], "Future[list[int]]"]


@pytest.fixture
def peer(stack: ExitStack) -> Peer:
    return stack.enter_context(Peer())


@pytest.fixture
def publishing(peer: Peer, stack: ExitStack) -> Publishing:
    """Publish from a thread to the scripted server."""
    pool = stack.enter_context(ThreadPoolExecutor(8))
    link = Link(peer.location(), name="test")
    stack.callback(link.close)
    link.open(SECONDS)
    publisher = Publisher(link)
    return lambda messages: pool.submit(publisher.publish, messages, mandatory=True, timeout=SECONDS)


def test_what_is_confirmed_is_in_its_queue(link: Link) -> None:
    publisher = Publisher(link)

    assert publisher.publish([a_message(str(number)) for number in range(500)], mandatory=True, timeout=SECONDS) == []

    assert count(link) == 500


def test_messages_larger_than_a_frame_and_empty_ones_arrive_whole(link: Link) -> None:
    bodies = [random.Random(5).randbytes(3 << 20), b"", b"x" * 131072]

    Publisher(link).publish([a_message(body=body) for body in bodies], mandatory=True, timeout=SECONDS)

    got = [link.rare(lambda channel: channel.basic_get("q", no_ack=True), timeout=SECONDS).body for _ in bodies]
    assert [body or b"" for body in got] == bodies  # py-amqp has a text for no body


def test_messages_that_no_queue_is_bound_for_are_told_apart(link: Link) -> None:
    messages = [a_message(str(number), key="q" if number % 3 else "none") for number in range(10)]

    assert Publisher(link).publish(messages, mandatory=True, timeout=SECONDS) == [0, 3, 6, 9]

    assert count(link) == 6


def test_of_messages_that_look_alike_each_is_told_once(link: Link) -> None:
    messages = [a_message(key="none")] * 3 + [a_message()]

    assert Publisher(link).publish(messages, mandatory=True, timeout=SECONDS) == [0, 1, 2]


def test_a_queue_that_is_full_and_rejects_is_told(link: Link) -> None:
    arguments = {"x-max-length": 2, "x-overflow": "reject-publish"}
    link.rare(lambda channel: channel.queue_declare("full", auto_delete=False, arguments=arguments), timeout=SECONDS)
    publisher = Publisher(link)
    publisher.publish([a_message(key="full")] * 2, mandatory=True, timeout=SECONDS)

    with pytest.raises(Nacked) as caught:
        publisher.publish(
            [a_message(), a_message(key="full"), a_message("x", key="n")], mandatory=True, timeout=SECONDS
        )

    assert (caught.value.indexes, caught.value.unroutable) == ([1], [2])
    assert count(link) == 1


def test_an_unknown_exchange_fails_one_call_and_not_the_next(link: Link) -> None:
    publisher = Publisher(link)

    for _ in range(3):
        with pytest.raises(ChannelClosed, match="no exchange 'none'") as caught:
            publisher.publish([a_message(exchange="none")], mandatory=True, timeout=SECONDS)
        assert caught.value.code == 404
        assert publisher.publish([a_message()], mandatory=True, timeout=SECONDS) == []
    assert not link.lost


def test_a_message_that_cannot_be_written_keeps_all_of_its_call_from_being_sent(link: Link) -> None:
    publisher = Publisher(link)

    with pytest.raises(BadTable, match="'odd'"):
        publisher.publish([a_message(), a_message(odd=object())], mandatory=True, timeout=SECONDS)

    assert publisher.publish([a_message()], mandatory=True, timeout=SECONDS) == []
    assert count(link) == 1


def test_what_is_only_sent_arrives_too_and_leaves_the_confirms_of_others_alone(link: Link) -> None:
    publisher = Publisher(link)

    publisher.send([a_message()] * 5)
    publisher.publish([a_message()] * 5, mandatory=True, timeout=SECONDS)

    assert count(link) == 10


def test_many_threads_publish_at_once_and_each_learns_of_its_own(link: Link) -> None:
    publisher = Publisher(link)

    def work(number: int) -> list[int]:
        messages = [a_message(f"{number}.{each}", key="none" if each == number else "q") for each in range(8)]
        return publisher.publish(messages, mandatory=True, timeout=SECONDS)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [[number] for number in range(8)]
    assert count(link) == 56


def test_confirms_count_in_any_order_and_any_grouping(peer: Peer, publishing: Publishing) -> None:
    first = publishing([a_message()] * 4)
    channel = peer.expect(PUBLISH, 4)[0]
    second = publishing([a_message()] * 4)
    peer.expect(PUBLISH, 4)

    for tag in (8, 6, 5):
        peer.send(confirm(channel, tag))
    peer.send(confirm(channel, 2, multiple=True) + confirm(channel, 4))
    assert not first.done()
    peer.send(confirm(channel, 7))
    assert second.result(SECONDS) == []
    assert not first.done()
    peer.send(confirm(channel, 3, multiple=True))
    assert first.result(SECONDS) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    confirms=st.lists(st.tuples(st.integers(1, 16), st.booleans(), st.booleans()), max_size=12),
)
def test_whatever_the_order_each_call_learns_of_its_own(
    peer_link: tuple[Peer, Link], sizes: list[int], confirms: list[tuple[int, bool, bool]]
) -> None:
    peer, link = peer_link
    publisher, total = Publisher(link), sum(sizes)
    outstanding, refused, said = set(range(1, total + 1)), set(), b""
    with ThreadPoolExecutor(4) as pool:
        calls = []
        for size in sizes:
            calls.append(pool.submit(publisher.publish, [a_message()] * size, mandatory=True, timeout=SECONDS))
            channel = peer.expect(PUBLISH, size)[0]
        for tag, multiple, taken in [*confirms, (total, True, True)]:
            if tag <= total and (multiple or tag in outstanding):
                meant = {each for each in outstanding if each == tag or (multiple and each < tag)}
                outstanding -= meant
                refused |= set() if taken else meant
                said += confirm(channel, tag, multiple=multiple, taken=taken)
        peer.send(said)

        first = 1
        for size, call in zip(sizes, calls, strict=True):
            expected = [tag - first for tag in range(first, first + size) if tag in refused]
            first += size
            try:
                assert call.result(SECONDS) == []
                got = []
            except Nacked as error:
                got = error.indexes
            assert got == expected


def test_one_confirm_ends_several_calls(peer: Peer, publishing: Publishing) -> None:
    calls = []
    for _ in range(3):
        calls.append(publishing([a_message()] * 2))
        channel = peer.expect(PUBLISH, 2)[0]

    peer.send(confirm(channel, 6, multiple=True))

    assert [call.result(SECONDS) for call in calls] == [[], [], []]


def test_what_was_not_taken_is_told_by_its_place(peer: Peer, publishing: Publishing) -> None:
    call = publishing([a_message()] * 6)
    channel = peer.expect(PUBLISH, 6)[0]

    peer.send(confirm(channel, 2) + confirm(channel, 3, multiple=True, taken=False))
    peer.send(confirm(channel, 5, taken=False) + confirm(channel, 6, multiple=True))

    with pytest.raises(Nacked) as caught:
        call.result(SECONDS)
    assert caught.value.indexes == [0, 2, 4]


def test_a_channel_that_is_closed_fails_all_that_was_under_way_on_it(peer: Peer, publishing: Publishing) -> None:
    calls = []
    for _ in range(2):
        calls.append(publishing([a_message()]))
        channel, _ = peer.expect(PUBLISH)
    peer.send(method(channel, CLOSE, (406).to_bytes(2, "big") + b"\x09too large" + bytes(4)))

    for call in calls:
        with pytest.raises(ChannelClosed, match="406 too large"):
            call.result(SECONDS)
    again = publishing([a_message()])
    channel, _ = peer.expect(PUBLISH)
    peer.send(confirm(channel, 1))
    assert again.result(SECONDS) == []


def test_a_message_that_came_back_with_what_cannot_be_read_does_not_end_the_link(
    peer: Peer, publishing: Publishing
) -> None:
    call = publishing([a_message()])
    channel, _ = peer.expect(PUBLISH)
    peer.send(
        method(channel, 60 << 16 | 50, b"\x01\x38\x01n\0\x01q")
        + frame(2, channel, b"\0\x3c\0\0" + bytes(8) + b"\x20\0\0\0\0\x04\x01aZ\0")
        + confirm(channel, 1)
    )

    assert call.result(SECONDS) == []


def test_no_confirm_in_time_is_a_deadline_and_the_next_call_is_not_confused(peer: Peer, stack: ExitStack) -> None:
    link = Link(peer.location(), name="test")
    stack.callback(link.close)
    link.open(SECONDS)
    publisher = Publisher(link)

    with pytest.raises(DeadlineExceeded, match="did not confirm 1 of 1") as caught:
        publisher.publish([a_message()], mandatory=True, timeout=0.1)
    assert caught.value.sent
    channel, _ = peer.expect(PUBLISH)
    peer.send(confirm(channel, 1, taken=False))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(publisher.publish, [a_message()], mandatory=True, timeout=SECONDS)
        peer.expect(PUBLISH)
        peer.send(confirm(channel, 2))
        assert call.result(SECONDS) == []


def test_a_link_that_is_lost_fails_every_call(peer: Peer, publishing: Publishing) -> None:
    calls = [publishing([a_message()]) for _ in range(3)]
    for _ in calls:
        peer.expect(PUBLISH)
    threading.Thread(target=peer.hang_up).start()

    for call in calls:
        with pytest.raises(LinkLost):
            call.result(SECONDS)
