"""A virtual host of its own for each test, and links that are closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from amqp_peer import SECONDS

from celeriac.model.address import Address
from celeriac_amqp import testing
from celeriac_amqp.link import Link
from celeriac_amqp.location import Location

Connect = Callable[[Location], Link]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def place(stack: ExitStack) -> Location:
    address = Address.parse(stack.enter_context(testing.vhost()))
    [(host, port)] = address.hosts
    return Location(label="amqp://here", nodes=((str(host), int(port or 0)),), virtual_host=address.path[1:])


@pytest.fixture
def connect(stack: ExitStack) -> Connect:
    def connected(location: Location) -> Link:
        link = Link(location, name="test")
        stack.callback(link.close)
        link.open(SECONDS)
        return link

    return connected
