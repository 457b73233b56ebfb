"""What a consumer says to a server, and what it makes of what that says."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from amqp_peer import ACK, CLOSE, CONSUME, QOS, SECONDS, Peer, deliver, method

from celeriac_amqp.consumer import Consumer
from celeriac_amqp.failures import LinkLost
from celeriac_amqp.link import Link
from celeriac_amqp.wire import Wire

Connect = Callable[..., Link]


def test_a_message_whose_headers_cannot_be_read_is_delivered_with_the_reason(connect: Connect) -> None:
    with Peer() as peer, ThreadPoolExecutor(1) as pool:
        consumer = Consumer(connect(peer.location()))
        take = pool.submit(consumer.take, ["q"], limit=3, timeout=SECONDS)
        channel, arguments = peer.expect(CONSUME)
        name = arguments[5 : 5 + arguments[4]]
        peer.send(
            deliver(channel, name, 1, b"\x20\0\0\0\0\x03\x01aZ", b"first")
            + deliver(channel, name, 2, b"\x20\0\0\0\0\x09\x01a", b"second")
            + deliver(channel, name, 3, b"\0\0", b"third")
        )

        got = take.result(SECONDS)

    assert [message.body.decode() for message in got] == ["first", "second", "third"]
    assert "unknown type b'Z'" in str(got[0].malformed)
    assert got[1].malformed
    assert [message.headers for message in got] == [{}, {}, {}]
    assert got[2].malformed is None


def test_acknowledgements_go_as_one_up_to_the_first_that_is_held(connect: Connect) -> None:
    with Peer() as peer, ThreadPoolExecutor(1) as pool:
        consumer = Consumer(connect(peer.location()))
        take = pool.submit(consumer.take, ["q"], limit=9, timeout=SECONDS)
        channel, arguments = peer.expect(CONSUME)
        name = arguments[5 : 5 + arguments[4]]
        peer.send(b"".join(deliver(channel, name, tag, b"\0\0", b"") for tag in range(1, 8)))
        assert len(take.result(SECONDS)) == 7

        consumer.ack([3, 1, 2, 5])
        assert [struct.unpack(">QB", peer.expect(ACK)[1]) for _ in range(2)] == [(3, 1), (5, 0)]
        consumer.ack([4])
        assert struct.unpack(">QB", peer.expect(ACK)[1]) == (4, 1)
        consumer.ack([7, 6])
        assert struct.unpack(">QB", peer.expect(ACK)[1]) == (7, 1)


def test_what_may_be_acknowledged_later_goes_before_the_next_and_without_one(connect: Connect) -> None:
    with Peer() as peer, ThreadPoolExecutor(1) as pool:
        consumer = Consumer(connect(peer.location()))
        take = pool.submit(consumer.take, ["q"], limit=9, timeout=SECONDS)
        channel, arguments = peer.expect(CONSUME)
        name = arguments[5 : 5 + arguments[4]]
        peer.send(b"".join(deliver(channel, name, tag, b"\0\0", b"") for tag in range(1, 5)))
        assert len(take.result(SECONDS)) == 4

        consumer.ack([1, 2], later=True)
        consumer.ack([3])
        assert [struct.unpack(">QB", peer.expect(ACK)[1]) for _ in range(2)] == [(2, 1), (3, 1)]
        consumer.ack([4], later=True)
        assert not consumer.holds(4)
        assert struct.unpack(">QB", peer.expect(ACK)[1]) == (4, 1)


def test_what_may_be_sent_later_is_sent_when_somebody_waits() -> None:
    here, there = socket.socketpair()
    with there:
        wire = Wire(here, lambda: None, lambda lost: None)
        there.setblocking(False)
        wire.postpone(b"first")
        wire.postpone(b"second")
        with pytest.raises(BlockingIOError):
            there.recv(100)

        wire.wait(0.0)

        assert there.recv(100) == b"firstsecond"
        wire.postpone(b"third")
        wire.write(b"fourth", time.monotonic() + SECONDS)
        assert there.recv(100) == b"thirdfourth"
        wire.close()


def test_a_window_counts_what_is_held(connect: Connect) -> None:
    with Peer() as peer, ThreadPoolExecutor(1) as pool:
        consumer = Consumer(connect(peer.location()))
        take = pool.submit(consumer.take, ["q"], limit=2, timeout=SECONDS)
        _, qos = peer.expect(QOS)
        channel, arguments = peer.expect(CONSUME)
        assert struct.unpack(">IHB", qos) == (0, 2, 0)
        name = arguments[5 : 5 + arguments[4]]
        peer.send(b"".join(deliver(channel, name, tag, b"\0\0", b"") for tag in (1, 2)))
        assert len(take.result(SECONDS)) == 2

        consumer.take(["q"], limit=3, timeout=0.0)

        # A new consumer counts from nothing: what the old one holds is not in its window.
        assert struct.unpack(">IHB", peer.expect(QOS)[1]) == (0, 3, 0)


def test_a_channel_that_the_server_closes_is_a_lost_link_with_its_reason(connect: Connect) -> None:
    reason = b"PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 60000 ms"
    with Peer() as peer, ThreadPoolExecutor(1) as pool:
        link = connect(peer.location())
        consumer = Consumer(link)
        take = pool.submit(consumer.take, ["q"], limit=1, timeout=SECONDS)
        channel, _ = peer.expect(CONSUME)
        peer.send(method(channel, CLOSE, (406).to_bytes(2, "big") + bytes((len(reason),)) + reason + bytes(4)))

        fix = r"timed out.*set `hold_seconds` to at most 30, or raise `consumer_timeout`"
        with pytest.raises(LinkLost, match=fix) as caught:
            take.result(SECONDS)
        assert caught.value.code == 406
        assert caught.value.reason == reason.decode()
        assert link.lost
        with pytest.raises(LinkLost, match="timed out"):
            consumer.take(["q"], limit=1, timeout=1.0)
