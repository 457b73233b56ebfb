from __future__ import annotations

import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import monotonic
from typing import Any

import amqp
import pytest
import trustme
from amqp_peer import CLOSE, DECLARE, GOODBYE, PUBLISH, SECONDS, Peer, frame, method

from celeriac.model.address import Address
from celeriac_amqp import testing
from celeriac_amqp.failures import DeadlineExceeded, LinkLost
from celeriac_amqp.frames import Outgoing, Properties
from celeriac_amqp.link import Link
from celeriac_amqp.location import Location, Tls
from celeriac_amqp.publisher import Publisher


def a_message(body: bytes = b"", key: str = "q") -> Outgoing:
    return Outgoing(exchange="", routing_key=key, properties=Properties(), headers={}, body=body)


def place(url: str) -> Location:
    address = Address.parse(url)
    [(host, port)] = address.hosts
    return Location(label=address.masked, nodes=((str(host), int(port or 0)),), virtual_host=address.path[1:])


@pytest.fixture
def url(stack: ExitStack) -> str:
    return stack.enter_context(testing.vhost())


def goodbye(code: int, reason: bytes) -> bytes:
    return method(0, GOODBYE, code.to_bytes(2, "big") + bytes((len(reason),)) + reason + bytes(4))


def test_rare_methods_are_answered_and_refused(url: str, connect: Callable[..., Link]) -> None:
    link = connect(place(url))

    def declared(channel: Any) -> int:
        return int(channel.queue_declare("q", auto_delete=False).message_count)

    assert link.rare(declared, timeout=SECONDS) == 0
    with pytest.raises(amqp.exceptions.NotFound):
        link.rare(lambda channel: channel.queue_declare("none", passive=True), timeout=SECONDS)
    with pytest.raises(amqp.exceptions.PreconditionFailed):
        link.rare(lambda channel: channel.queue_declare("q", durable=True, auto_delete=False), timeout=SECONDS)
    assert link.rare(declared, timeout=SECONDS) == 0


def test_many_threads_use_a_link_at_once(url: str, connect: Callable[..., Link]) -> None:
    link = connect(place(url))
    publisher = Publisher(link)

    def work(number: int) -> int:
        name = f"q{number}"
        link.rare(lambda channel: channel.queue_declare(name, auto_delete=False), timeout=SECONDS)
        for _ in range(5):
            assert publisher.publish([a_message(key=name)] * 3, mandatory=True, timeout=SECONDS) == []
        answer = link.rare(lambda channel: channel.queue_declare(name, passive=True), timeout=SECONDS)
        return int(answer.message_count)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(16))) == [15] * 16


def test_a_wrong_password_is_said_with_the_fix(url: str) -> None:
    good = place(url)
    link = Link(Location(label="amqp://guest:***@here", nodes=good.nodes, password="wrong"), name="test")

    with pytest.raises(LinkLost, match="check the user 'guest' and the password") as caught:
        link.open(SECONDS)

    assert caught.value.code == 403
    assert caught.value.permanent


def test_an_unknown_virtual_host_is_said_with_the_fix(url: str) -> None:
    good = place(url)

    with pytest.raises(LinkLost, match="rabbitmqctl add_vhost nowhere") as caught:
        Link(Location(label="amqp://here", nodes=good.nodes, virtual_host="nowhere"), name="test").open(SECONDS)

    assert caught.value.permanent


def test_a_missing_right_is_said_with_the_fix() -> None:
    with Peer() as peer:
        peer.open_answer = goodbye(530, b"NOT_ALLOWED - access to vhost 'v' refused for user 'guest'")

        with pytest.raises(LinkLost, match="set_permissions -p v guest"):
            Link(peer.location(virtual_host="v"), name="test").open(SECONDS)


def test_a_port_that_nobody_listens_on_is_said_and_the_next_host_is_tried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        dead = free.getsockname()[:2]

    with pytest.raises(LinkLost, match="is RabbitMQ running there"):
        Link(Location(label="amqp://x", nodes=(dead,)), name="test").open(SECONDS)
    with Peer() as peer:
        link = Link(peer.location(nodes=(dead, *peer.location().nodes)), name="test")
        link.open(SECONDS)
        link.close()


def test_a_host_that_does_not_answer_leaves_time_for_the_next(stack: ExitStack) -> None:
    silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    peer = stack.enter_context(Peer())
    link = Link(peer.location(nodes=(silent.getsockname(), *peer.location().nodes), connect_seconds=0.2), name="test")

    link.open(SECONDS)

    link.close()


@pytest.mark.parametrize(
    ("greeting", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "management"),
        (b"AMQP\0\0\x08\0", "another version"),
        (bytes(99), "not AMQP"),
    ],
)
def test_a_server_that_speaks_something_else_is_named(greeting: bytes, words: str) -> None:
    with Peer(greeting=greeting) as peer, pytest.raises(LinkLost, match=words):
        Link(peer.location(), name="test").open(SECONDS)


def test_tls_is_spoken_and_a_certificate_of_nobody_is_refused(stack: ExitStack) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    authorities = stack.enter_context(authority.cert_pem.tempfile())

    with Peer(tls=context) as peer:
        link = Link(peer.location(tls=Tls(authorities=authorities)), name="test")
        link.open(SECONDS)
        publisher = Publisher(link)
        publisher.send([a_message(bytes(300_000))])
        peer.expect(PUBLISH)
        link.close()
    with Peer(tls=context) as peer, pytest.raises(LinkLost, match="authority that signed"):
        Link(peer.location(tls=Tls()), name="test").open(SECONDS)


def test_a_server_without_tls_is_told_apart() -> None:
    with Peer(greeting=b"what?" * 20) as peer, pytest.raises(LinkLost, match="does this port speak TLS"):
        Link(peer.location(tls=Tls()), name="test").open(SECONDS)


def test_what_the_server_says_at_the_end_reaches_who_waits_and_who_comes_later(connect: Callable[..., Link]) -> None:
    with Peer() as peer, ThreadPoolExecutor(3) as pool:
        link = connect(peer.location())
        waiting = [pool.submit(link.wait, lambda: False, monotonic() + SECONDS) for _ in range(3)]
        peer.send(goodbye(320, b"CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"))

        for each in waiting:
            with pytest.raises(LinkLost, match="320 CONNECTION_FORCED") as caught:
                each.result(SECONDS)
            assert caught.value.code == 320
        with pytest.raises(LinkLost, match="CONNECTION_FORCED"):
            link.rare(lambda channel: channel.queue_declare("q"), timeout=SECONDS)
        assert link.lost


def test_garbage_ends_the_link(connect: Callable[..., Link]) -> None:
    with Peer() as peer:
        link = connect(peer.location())
        peer.send(b"garbage that is no frame at all")

        with pytest.raises(LinkLost, match="not AMQP"):
            link.wait(lambda: False, monotonic() + SECONDS)


def test_an_idle_link_learns_that_the_server_is_gone(connect: Callable[..., Link]) -> None:
    with Peer() as peer:
        link = connect(peer.location())
        peer.hang_up()

        end = monotonic() + SECONDS
        while not link.lost and monotonic() < end:
            threading.Event().wait(0.01)
        assert link.lost


def test_a_server_that_says_nothing_any_more_is_given_up(connect: Callable[..., Link]) -> None:
    with Peer(heartbeat=1) as peer:
        link = connect(peer.location(heartbeat=1.0))

        with pytest.raises(LinkLost, match="missed its heartbeats"):
            link.wait(lambda: False, monotonic() + SECONDS)


def test_heartbeats_keep_an_idle_link(url: str, connect: Callable[..., Link]) -> None:
    good = place(url)
    link = connect(Location(label=good.label, nodes=good.nodes, virtual_host=good.virtual_host, heartbeat=1.0))
    assert link.heartbeat_seconds == 1

    # The server gives up after two intervals without a word from here.
    assert not link.wait(lambda: False, monotonic() + 4)
    assert not link.lost


def test_a_rare_method_without_an_answer_ends_at_its_deadline_and_the_link_goes_on(
    connect: Callable[..., Link],
) -> None:
    with Peer() as peer:
        answer = peer.answers.pop(DECLARE)
        link = connect(peer.location())

        with pytest.raises(DeadlineExceeded) as caught:
            link.rare(lambda channel: channel.queue_declare("q"), timeout=0.2)
        assert caught.value.sent
        late, _ = peer.expect(CLOSE)
        peer.answers[DECLARE] = answer
        peer.send(method(late, answer[0], b"\x04late" + bytes(8)))

        assert link.rare(lambda channel: channel.queue_declare("q"), timeout=SECONDS).queue == "q"


def test_a_peer_that_does_not_read_ends_a_write_at_its_deadline(connect: Callable[..., Link]) -> None:
    with Peer() as peer:
        link = connect(peer.location())
        publisher = Publisher(link)
        publisher.send([a_message()])
        peer.expect(PUBLISH)
        peer.reads.clear()

        with pytest.raises((LinkLost, DeadlineExceeded)):
            publisher.send([a_message(bytes(1 << 20))] * 100, timeout=0.3)
        with pytest.raises((LinkLost, DeadlineExceeded)):
            publisher.publish([a_message()], mandatory=False, timeout=0.3)


def test_who_reads_is_not_in_the_way_of_who_writes(connect: Callable[..., Link]) -> None:
    with Peer() as peer, ThreadPoolExecutor(1) as pool:
        link = connect(peer.location())
        over = threading.Event()
        reading = pool.submit(link.wait, over.is_set, monotonic() + SECONDS)

        Publisher(link).send([a_message()])
        peer.expect(PUBLISH)
        assert not reading.done()
        over.set()
        link.rouse()
        assert reading.result(SECONDS)


def test_a_blocked_connection_is_told_once_and_publishing_says_why(
    connect: Callable[..., Link], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "celeriac_amqp")
    with Peer() as peer:
        link = connect(peer.location())
        publisher = Publisher(link)
        peer.send(method(0, 10 << 16 | 60, b"\x0dlow on memory"))
        link.wait(lambda: link.blocked, monotonic() + SECONDS)

        with pytest.raises(DeadlineExceeded, match="low on memory") as caught:
            publisher.publish([a_message()], mandatory=False, timeout=0.1)
        assert not caught.value.sent
        peer.send(method(0, 10 << 16 | 61))
        link.wait(lambda: link.blocked is None, monotonic() + SECONDS)
        publisher.send([a_message()])
        peer.expect(PUBLISH)
    assert [record.levelname for record in caplog.records if hasattr(record, "event")] == ["WARNING", "INFO"]


def test_a_link_that_was_closed_says_so_and_may_be_closed_again(connect: Callable[..., Link]) -> None:
    with Peer() as peer:
        link = connect(peer.location())
        link.close()
        link.close()

        peer.expect(GOODBYE)
        with pytest.raises(LinkLost, match="closed here"):
            link.rare(lambda channel: channel.queue_declare("q"), timeout=SECONDS)


def test_frames_of_a_channel_that_nobody_has_are_passed_over(connect: Callable[..., Link]) -> None:
    with Peer() as peer:
        link = connect(peer.location())
        peer.send(method(99, 60 << 16 | 80, bytes(9)) + frame(8, 0, b""))

        assert link.rare(lambda channel: channel.queue_declare("q"), timeout=SECONDS).queue == "q"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_leaves_the_link_of_its_parent_alone(url: str, connect: Callable[..., Link]) -> None:
    link = connect(place(url))
    child = os.fork()
    if not child:
        code = 1
        try:
            Publisher(link).send([a_message()])
        except LinkLost:
            link.close()
            code = 0
        finally:
            os._exit(code)

    assert os.waitpid(child, 0)[1] == 0
    assert link.rare(lambda channel: channel.queue_declare("q", auto_delete=False), timeout=SECONDS).queue == "q"
