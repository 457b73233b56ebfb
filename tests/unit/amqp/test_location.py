"""Reading where a RabbitMQ is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from celeriac.errors import ConfigurationError, InvalidSetting
from celeriac.model.address import Address
from celeriac.spi.service import read_options
from celeriac_amqp.location import Location, locate
from celeriac_amqp.plugin import CONNECTION_OPTIONS


def located(url: str, **options: Any) -> Location:
    address = Address.parse(url)
    return locate(address, read_options(CONNECTION_OPTIONS, address, options, source=address.scheme))


@pytest.mark.parametrize(
    ("url", "virtual_host"),
    [
        ("amqp://", "/"),
        ("amqp://h", "/"),
        ("amqp://h/", "/"),
        ("amqp://h//", "/"),
        ("amqp://h/%2F", "/"),
        ("amqp://h/name", "name"),
        ("amqp://h/%2Fname", "/name"),
        ("amqp://h/a%20b", "a b"),
    ],
)
def test_the_virtual_host_is_what_follows_the_first_slash(url: str, virtual_host: str) -> None:
    assert located(url).virtual_host == virtual_host


def test_what_is_not_said_is_what_rabbitmq_comes_with() -> None:
    found = located("amqp://")

    assert (found.nodes, found.user, found.password, found.tls) == ((("localhost", 5672),), "guest", "guest", None)


@pytest.mark.parametrize("url", ["amqp://u:p@a:1,b/v", "amqp://u:p@a:1/v;amqp://u:p@b/v"])
def test_several_hosts_are_tried_in_their_order(url: str) -> None:
    found = located(url)

    assert (found.nodes, found.virtual_host, found.user) == ((("a", 1), ("b", 5672)), "v", "u")
    assert not found.shuffle
    assert located(url, failover_strategy="shuffle").shuffle


def test_an_empty_password_is_one() -> None:
    assert located("amqp://u:@h").password == ""


def test_the_label_shows_no_password() -> None:
    assert "secret" not in located("amqp://u:secret@h").label


@pytest.mark.parametrize(("url", "options"), [("amqps://h", {}), ("amqp://h", {"ssl": True})])
def test_tls_has_its_own_port_and_checks_the_certificate(url: str, options: dict[str, Any]) -> None:
    found = located(url, **options)

    assert found.nodes == (("h", 5671),)
    assert found.tls is not None
    assert (found.tls.requirement, found.tls.check_hostname) == ("required", True)


def test_no_name_is_checked_where_no_certificate_is(tmp_path: Path) -> None:
    found = located("amqps://h?ssl_cert_reqs=CERT_NONE")

    assert found.tls is not None
    assert (found.tls.requirement, found.tls.check_hostname) == ("none", False)


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        ("amqp://h?login_method=guess", InvalidSetting, "PLAIN, AMQPLAIN, EXTERNAL"),
        ("amqp://h?failover_strategy=hope", InvalidSetting, "round-robin, shuffle"),
        ("amqps://h?ssl_cert_reqs=maybe", InvalidSetting, "required, optional or none"),
        ("amqps://h?ssl_ca_certs=/no/such", ConfigurationError, "no such file"),
        ("amqp://h?ssl_ca_certs=/no/such", ConfigurationError, "Write amqps://"),
    ],
)
def test_what_makes_no_sense_is_an_error_that_says_the_fix(url: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        located(url)
