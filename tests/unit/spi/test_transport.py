"""What the public methods of a transport do before the plugin's work."""

from __future__ import annotations

import pytest

from celeriac.errors import Unsupported
from celeriac.model.address import Address
from celeriac.model.message import Message
from celeriac.model.outcome import Action, Verdict
from celeriac.spi.service import Context
from celeriac.spi.transport import Transport, TransportCapabilities


class Plain(Transport):
    """A transport that can do nothing beyond what every one must."""

    capabilities = TransportCapabilities()

    def __init__(self):
        super().__init__(Address.parse("plain://"), Context())
        self.published = []
        self.settled = []

    def _open(self, timeout):
        pass

    def _close(self):
        pass

    def _wake(self):
        pass

    def _receive(self, queues, limit, timeout):
        return []

    def _publish(self, messages, timeout):
        self.published += messages

    def _settle(self, verdicts, timeout):
        self.settled += verdicts
        return []


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (Message(body=b"", routing_key="q", due=1.0), "a countdown or an ETA"),
        (Message(body=b"", routing_key="q", priority=5), "priorities"),
    ],
)
def test_what_a_transport_would_ignore_is_refused_and_nothing_is_published(message, what):
    transport = Plain()
    fine = Message(body=b"", routing_key="q")

    with pytest.raises(Unsupported, match=what):
        transport.publish([fine, message], timeout=1)
    with pytest.raises(Unsupported, match=what):
        transport.settle([Verdict(delivery=None, followups=(message,))], timeout=1)

    assert transport.published == transport.settled == []


def test_putting_back_with_a_delay_is_refused_where_nothing_waits():
    transport = Plain()

    with pytest.raises(Unsupported, match="with a delay"):
        transport.settle([Verdict(delivery=None, action=Action.RELEASE, delay=5.0)], timeout=1)

    assert transport.settled == []


def test_what_every_transport_can_do_is_passed_on_and_counted():
    transport = Plain()
    fine = Message(body=b"", routing_key="q")

    transport.publish([fine], timeout=1)
    transport.publish([], timeout=1)
    transport.settle([], timeout=1)

    assert transport.published == [fine]
    assert transport.calls["publish"] == 1
    assert transport.calls["settle"] == 0
