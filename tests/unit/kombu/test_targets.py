"""Which transport an address names, what it can do, and what is said when it cannot be used."""

from __future__ import annotations

import sys

import pytest

from celeriac.client.app import Celeriac
from celeriac.errors import ConfigurationError, MissingDependency
from celeriac.model.address import Address
from celeriac.spi.service import Context
from celeriac_kombu.kinds import kind_of
from celeriac_kombu.transport import KombuTransport


def transport(url, **options):
    return KombuTransport(Address.parse(url), Context(options=options))


@pytest.mark.parametrize("url", ["kombu+memory://", "kombu+sqla+sqlite:///x.db", "kombu+amqp://user:word@host/name"])
def test_one_plugin_serves_every_scheme_after_the_prefix(url):
    app = Celeriac("schemes", set_as_current=False, broker_url=url)

    assert isinstance(app.connections.new_transport("a"), KombuTransport)


def test_kombu_gets_the_rest_of_the_url_with_its_query_and_every_option_it_knows():
    made = transport("kombu+amqp://user:word@host:1234/name?heartbeat=7", max_retries=3)

    connection = made._target.connection()

    assert (connection.hostname, connection.port, connection.userid) == ("host", 1234, "user")
    assert connection.transport_options["max_retries"] == 3
    assert "word" not in str(made.address)


def test_capabilities_are_those_of_the_transport_that_is_named(tmp_path):
    folders = {"data_folder_in": str(tmp_path), "data_folder_out": str(tmp_path)}

    memory, files = transport("kombu+memory://").capabilities, transport("kombu+filesystem://", **folders).capabilities
    database = transport("kombu+sqla+sqlite:///x.db").capabilities

    assert (memory.reach, memory.durable) == ("process", False)
    assert (files.reach, files.durable, files.guarantee) == ("machine", True, "at least once")
    assert database.exchanges == {"direct", "topic"}
    assert database.reach == "machine"
    assert database.guarantee.startswith("at most once when a worker is killed")
    assert not any(each.letters or each.inspects or each.delays for each in (memory, files, database))


def test_a_missing_driver_names_the_extra_of_kombu(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymongo", None)
    monkeypatch.delitem(sys.modules, "kombu.transport.mongodb", raising=False)

    with pytest.raises(MissingDependency, match=r'pip install "kombu\[mongodb\]"'):
        transport("kombu+mongodb://host/name")


def test_a_missing_driver_of_a_database_is_named_too():
    made = transport("kombu+sqla+postgresql+nosuchdriver://host/name")
    made.open(timeout=5)
    try:
        with pytest.raises((MissingDependency, ConnectionError), match="nosuchdriver"):
            made.receive(["q"], limit=1, timeout=1)
    finally:
        made.close()


def test_an_unknown_transport_is_an_error_with_the_nearest():
    with pytest.raises(ConfigurationError, match=r"Did you mean .*mongodb"):
        transport("kombu+mongodbx://host")
    with pytest.raises(ConfigurationError, match="kombu's URL after the sign"):
        transport("kombu://host")


def test_folders_that_differ_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="one folder"):
        transport("kombu+filesystem://", data_folder_in=str(tmp_path / "in"), data_folder_out=str(tmp_path / "out"))


def test_a_transport_that_nobody_knows_promises_nothing():
    assert "not known" in kind_of("some.module").guarantee
    assert not kind_of("some.module").keeps
