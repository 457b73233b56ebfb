from __future__ import annotations

import pytest

from celeriac.errors import ConfigurationError, UnknownSetting
from celeriac.model.address import Address
from celeriac.spi.service import read_options
from celeriac_redis.location import Location, locate
from celeriac_redis.plugin import CONNECTION_OPTIONS


def located(url: str, **options: object) -> Location:
    address = Address.parse(url)
    return locate(address, read_options(CONNECTION_OPTIONS, address, options, source=address.scheme))


def token() -> tuple[str, str]:
    return "anna", "token"


NOT_CALLABLE = "anna"


@pytest.mark.parametrize(
    ("url", "kind", "nodes", "database", "tls"),
    [
        ("redis://", "server", (("localhost", 6379),), 0, False),
        ("redis://host", "server", (("host", 6379),), 0, False),
        ("redis://host:1/2", "server", (("host", 1),), 2, False),
        ("redis://[::1]:1/2/", "server", (("::1", 1),), 2, False),
        ("valkey://host/2", "server", (("host", 6379),), 2, False),
        ("rediss://host/2", "server", (("host", 6379),), 2, True),
        ("valkeys://host/2", "server", (("host", 6379),), 2, True),
        ("redis+socket:///run/redis.sock", "socket", (), 0, False),
        ("redis+socket:///run/redis.sock?virtual_host=3", "socket", (), 3, False),
        ("redis+socket:///run/redis.sock?virtual_host=/3", "socket", (), 3, False),
        ("redis+cluster://a:1,b", "cluster", (("a", 1), ("b", 6379)), 0, False),
        ("rediss+cluster://a:1,b/0", "cluster", (("a", 1), ("b", 6379)), 0, True),
        ("sentinel://a;sentinel://b:2/3?master_name=m", "sentinel", (("a", 26379), ("b", 2)), 3, False),
        ("sentinel://a:1,b:2/3?master_name=m&ssl=1", "sentinel", (("a", 1), ("b", 2)), 3, True),
    ],
)
def test_a_url_says_where_the_store_is(url, kind, nodes, database, tls):
    found = located(url)

    assert (found.kind, found.nodes, found.database, found.tls is not None) == (kind, nodes, database, tls)


def test_user_and_password_are_unquoted_and_never_shown():
    found = located("redis://anna:p%40ss@host/0")

    assert (found.user, found.password, found.label) == ("anna", "p@ss", "redis://anna:**@host/0")
    assert located("redis://:pass@host").user is None


def test_what_tls_needs_comes_from_the_url_as_with_celery(tmp_path):
    for name in ("ca", "cert", "key"):
        (tmp_path / name).touch()
    files = f"ssl_ca_certs={tmp_path}/ca&ssl_certfile={tmp_path}/cert&ssl_keyfile={tmp_path}/key"

    found = located(f"rediss://host/0?ssl_cert_reqs=CERT_OPTIONAL&ssl_check_hostname=no&{files}")

    assert found.tls == {
        "ssl_cert_reqs": "optional",
        "ssl_check_hostname": False,
        "ssl_ca_certs": f"{tmp_path}/ca",
        "ssl_certfile": f"{tmp_path}/cert",
        "ssl_keyfile": f"{tmp_path}/key",
    }


def test_tls_checks_everything_unless_told_otherwise():
    found = located("rediss://host/0").tls
    assert found is not None
    assert (found["ssl_cert_reqs"], found["ssl_check_hostname"]) == ("required", True)

    unchecked = located("rediss://host/0?ssl_cert_reqs=none").tls
    assert unchecked is not None
    assert (unchecked["ssl_cert_reqs"], unchecked["ssl_check_hostname"]) == ("none", False)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://a,b/0", "several servers"),
        ("redis://host/queue", "database is a number"),
        ("redis+cluster://host/1", "database 0 only"),
        ("redis+socket://host/path", "three slashes"),
        ("redis+socket:///", "three slashes"),
        ("sentinel://host/0", "master_name"),
        ("rediss://host?ssl_cert_reqs=perhaps", "required, optional or none"),
        ("rediss://host?ssl_ca_certs=/no/such/file", "ssl_ca_certs.*no such file"),
        ("redis://host?ssl_ca_certs=/etc/hostname", "without TLS"),
        ("redis://host?credential_provider=nowhere:token", "cannot be imported"),
        ("redis://host?credential_provider=token", "cannot be imported"),
        ("redis://host?credential_provider=os:sep", "function"),
        ("redis://host?socket_connect_timeout=soon", "float"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_connects(url, said):
    with pytest.raises(ConfigurationError, match=said):
        located(url)


def test_an_unknown_option_is_refused_with_the_nearest():
    with pytest.raises(UnknownSetting, match="ssl_ca_certs"):
        located("rediss://host?ssl_ca_cert=x")


def test_a_credential_provider_is_a_function_or_its_name():
    assert located("redis://host", credential_provider=token).credentials is token
    named = located("redis://host?credential_provider=os:getlogin").credentials
    assert named is not None
    assert named.__name__ == "getlogin"
    assert located("redis://host?credential_provider=os.getlogin").credentials is named
    with pytest.raises(ConfigurationError, match="function"):
        located("redis://host", credential_provider=3)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("redis://host/0", "redis://host:6379", True),
        ("redis://host/0", "redis://user:pass@host/0", True),
        ("redis://host/0", "redis://host/1", False),
        ("redis://host/0", "redis://other/0", False),
        ("redis+socket:///tmp/x", "redis+socket:////tmp/./x", True),
        ("redis+socket:///tmp/x", "redis+socket:///tmp/y", False),
        ("sentinel://a,b/0?master_name=m", "sentinel://b;sentinel://a/0?master_name=m", True),
        ("sentinel://a,b/0?master_name=m", "sentinel://a,b/0?master_name=n", False),
        ("redis+cluster://a,b", "redis+cluster://b,a", True),
        ("redis+cluster://a", "redis://a", False),
    ],
)
def test_two_urls_may_name_one_store(one, other, same):
    assert located(one).same_store(located(other)) is same
