import pytest

from celeriac.errors import ConfigurationError
from celeriac.model.address import Address


def test_a_url_is_taken_apart():
    address = Address.parse("redis://user:p%40ss@host:6379/2?timeout=5")

    assert (address.scheme, address.user, address.password) == ("redis", "user", "p@ss")
    assert (address.host, address.port, address.path, address.query) == ("host", 6379, "/2", {"timeout": "5"})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://guest:secret@host//", "amqp://guest:**@host//"),
        ("redis://:secret@host/0", "redis://:**@host/0"),
        ("sqlite:///queue.db", "sqlite:///queue.db"),
    ],
)
def test_passwords_are_never_shown(url, shown):
    address = Address.parse(url)

    assert str(address) == repr(address) == shown


@pytest.mark.parametrize("url", ["queue.db", "redis://host:port/0", ""])
def test_what_is_no_url_is_refused(url):
    with pytest.raises(ConfigurationError):
        Address.parse(url)
