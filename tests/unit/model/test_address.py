import pytest

from celeriac.errors import ConfigurationError
from celeriac.model.address import Address


def test_a_url_is_taken_apart():
    address = Address.parse("redis://user:p%40ss@host:6379/2?timeout=5")

    assert (address.scheme, address.user, address.password) == ("redis", "user", "p@ss")
    assert (address.host, address.port, address.path, address.query) == ("host", 6379, "/2", {"timeout": "5"})


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://:secret@a:1;sentinel://:other@[::1]:2;sentinel://c/3",
        "sentinel://:secret@a:1,[::1]:2,c/3",
    ],
)
def test_a_url_may_name_several_hosts(url):
    address = Address.parse(url)

    assert address.hosts == (("a", 1), ("::1", 2), ("c", None))
    assert (address.host, address.port, address.user, address.password, address.path) == ("a", 1, "", "secret", "/3")


def test_a_url_without_a_host_has_none():
    assert (Address.parse("sqlite:///queue.db").hosts, Address.parse("sqlite:///queue.db").host) == ((), None)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://guest:secret@host//", "amqp://guest:**@host//"),
        ("redis://:secret@host/0", "redis://:**@host/0"),
        ("sqlite:///queue.db", "sqlite:///queue.db"),
        ("sentinel://:one@a:1;sentinel://u:two@b:2/0?x=1", "sentinel://:**@a:1;sentinel://u:**@b:2/0?x=1"),
        ("redis://u:p@ss@host?x=1", "redis://u:**@host?x=1"),
    ],
)
def test_passwords_are_never_shown(url, shown):
    address = Address.parse(url)

    assert str(address) == repr(address) == shown


@pytest.mark.parametrize("url", ["queue.db", "redis://host:port/0", ""])
def test_what_is_no_url_is_refused(url):
    with pytest.raises(ConfigurationError):
        Address.parse(url)
