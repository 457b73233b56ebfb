import socket

import pytest

from celeriac.runtime.hostname import expand_hostname


@pytest.fixture(autouse=True)
def named_host(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "box.example.org")


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (None, "celeriac@box.example.org"),
        ("worker1@%h", "worker1@box.example.org"),
        ("worker1@%n.%d", "worker1@box.example.org"),
        ("worker1", "worker1@box.example.org"),
        ("50%%@%n", "50%@box"),
        ("%%h@%n", "%h@box"),
    ],
)
def test_placeholders_are_filled_in(pattern, name):
    assert expand_hostname(pattern) == name
