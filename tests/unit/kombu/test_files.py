"""Files that programs of kombu write and read at the same time."""

from __future__ import annotations

import fcntl
import json

import kombu
import pytest

from celeriac.model.address import Address
from celeriac.model.message import Message
from celeriac.model.outcome import Verdict
from celeriac.spi.service import Context
from celeriac_kombu.testing import folder_options
from celeriac_kombu.transport import KombuTransport


@pytest.fixture
def options(tmp_path):
    return folder_options(tmp_path)


@pytest.fixture
def transport(options):
    made = KombuTransport(Address.parse("kombu+filesystem://"), Context(options=options))
    made.open(timeout=5)
    yield made
    made.close()


def publish_by_kombu(options, body):
    with kombu.Connection("filesystem://", transport_options=options) as connection:
        channel = connection.channel()
        channel.basic_publish(channel.prepare_message(body, headers={"id": "1"}), exchange="", routing_key="q")


def take(transport):
    return [one.message.body for one in transport.receive(["q"], limit=9, timeout=0.05)]


def test_a_file_that_is_created_but_not_written_yet_is_left_alone(transport, options, tmp_path):
    publish_by_kombu(options, b"whole")
    (path,) = (tmp_path / "queues").glob("*.msg")
    text = path.read_bytes()
    path.write_bytes(b"")

    assert take(transport) == []

    path.write_bytes(text)
    assert take(transport) == [b"whole"]


def test_a_file_that_its_writer_has_locked_is_left_alone(transport, options, tmp_path):
    publish_by_kombu(options, b"whole")
    (path,) = (tmp_path / "queues").glob("*.msg")

    with path.open("rb+") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        assert take(transport) == []

    assert take(transport) == [b"whole"]


def test_readers_of_kombu_see_whole_files_with_its_names(transport, options, tmp_path):
    transport.publish([Message(body=b"x", routing_key="q", headers={"id": "1"})], timeout=5)

    (path,) = (tmp_path / "queues").glob("*.msg")
    assert json.loads(path.read_text())["headers"] == {"id": "1"}
    with kombu.Connection("filesystem://", transport_options=options) as connection:
        found = connection.channel().basic_get("q")
        assert found.body == b"x"


def test_what_is_held_is_a_file_until_it_is_settled(transport, options, tmp_path):
    publish_by_kombu(options, b"x")
    (held,) = transport.receive(["q"], limit=1, timeout=1)
    assert len(list((tmp_path / "queues").glob("celeriac-held/*/*.msg"))) == 1

    assert transport.settle([Verdict(delivery=held)], timeout=5) == []

    assert list((tmp_path / "queues").rglob("*.msg")) == []
