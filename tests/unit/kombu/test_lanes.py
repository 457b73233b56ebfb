"""Deadlines of drivers that know none, and what a broken connection held."""

from __future__ import annotations

import threading

import pytest

from celeriac.errors import DeadlineExceeded, TransportLost
from celeriac.model.address import Address
from celeriac.model.message import Message
from celeriac.spi.service import Context
from celeriac_kombu.lane import Lane, LaneLost
from celeriac_kombu.transport import KombuTransport


class Link:
    target = None

    def open(self):
        pass

    def close(self):
        pass


@pytest.fixture
def lane():
    made = Lane(Link(), "test")
    made._thread.start()
    yield made
    made.close(5)


def test_a_call_that_does_not_return_ends_the_lane_after_its_deadline(lane):
    let_go = threading.Event()
    with pytest.raises(LaneLost, match="no answer to waiting within"):
        lane.run(lambda link: let_go.wait(20), what="waiting", timeout=0.05)

    assert lane.lost
    with pytest.raises(LaneLost):
        lane.submit(lambda link: None)
    let_go.set()


def test_a_call_that_has_not_begun_is_cancelled_and_the_lane_goes_on(lane):
    let_go, done = threading.Event(), []
    first = lane.submit(lambda link: let_go.wait(20))
    with pytest.raises(DeadlineExceeded):
        lane.run(lambda link: done.append(1), what="publishing", timeout=0.05)
    let_go.set()
    first.result(5)

    assert lane.run(lambda link: len(done), what="counting", timeout=5) == 0


def test_whatever_a_driver_raises_means_that_the_connection_is_gone(lane):
    def fail(link):
        raise RuntimeError("of the driver")

    with pytest.raises(LaneLost, match="RuntimeError: of the driver"):
        lane.run(fail, what="publishing", timeout=5)
    assert lane.lost


def test_what_a_broken_connection_could_not_give_back_is_there_again_with_the_next(monkeypatch):
    url = "kombu+memory://broken/"
    first, second = (KombuTransport(Address.parse(url), Context()) for _ in range(2))
    first.open(timeout=5)
    first.publish([Message(body=b"x", routing_key="kept")], timeout=5)
    (held,) = first.receive(["kept"], limit=1, timeout=1)

    def broken(link, messages):
        raise OSError("no broker")

    with monkeypatch.context() as patch:
        patch.setattr("celeriac_kombu.link.Link.publish", broken)
        with pytest.raises(TransportLost):
            first.publish([Message(body=b"y", routing_key="kept")], timeout=5)
        first.close()
    second.open(timeout=5)
    try:
        (again,) = second.receive(["kept"], limit=9, timeout=1)
    finally:
        second.close()

    assert (again.message.body, again.deliveries) == (b"x", held.deliveries + 1)
