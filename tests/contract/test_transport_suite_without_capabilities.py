"""The suite on a transport that can do nothing optional: it skips what was not declared, and checks the rest."""

from __future__ import annotations

import pytest
from bound_transport import BoundTransport
from broken import MemoryModule, assert_fails

from celeriac.testing.contracts.transport import TransportContract
from celeriac.testing.contracts.transports.bench import TransportBench


class KeepsWhatItHeld(BoundTransport):
    def _close(self) -> None:
        self.inner.close()


SUITE_OF_A_THIRD_PARTY = """
from bound_transport import BoundTransport
from broken import MemoryModule
from celeriac.testing.contracts.transport import TransportContract

class TestBoundTransport(TransportContract):
    harness = MemoryModule(BoundTransport)
"""


def test_a_transport_that_can_do_nothing_optional_passes(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE_OF_A_THIRD_PARTY)

    outcomes = pytester.runpytest_inprocess().parseoutcomes()

    assert set(outcomes) == {"passed", "skipped"}
    assert outcomes["passed"] > 50
    assert outcomes["skipped"] > 50


def test_a_transport_that_keeps_what_a_closed_connection_held_fails() -> None:
    promise = "what_a_closed_connection_held_returns_unless_a_lease_keeps_it"

    assert_fails(TransportContract, promise, TransportBench(MemoryModule(KeepsWhatItHeld)), {})
