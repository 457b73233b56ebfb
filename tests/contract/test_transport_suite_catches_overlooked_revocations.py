"""Each test of revocations passes a sound transport, and fails one that is broken in just that way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest
from broken import MemoryModule, assert_fails, promises_of

from celeriac.model.message import Delivery
from celeriac.spi.coordinator import Coordinator
from celeriac.spi.transport import ChecksRevocations
from celeriac.testing.contracts.transports.bench import TransportBench
from celeriac.testing.contracts.transports.revoking import Revoking
from celeriac_memory.coordinator import MemoryCoordinator
from celeriac_memory.transport import MemoryTransport


class Looks(MemoryTransport, ChecksRevocations):
    """A sound one: it looks in the step in which it takes."""

    capabilities = msgspec.structs.replace(MemoryTransport.capabilities, revocations=True)
    known: Callable[[], bool] | None = None

    def checks_with(self, coordinator: Coordinator, name: str) -> bool:
        if not isinstance(coordinator, MemoryCoordinator) or coordinator._store is not self._store:
            return False
        self.known = lambda: self._holds_something(coordinator, name)
        return True

    def _holds_something(self, coordinator: MemoryCoordinator, name: str) -> bool:
        members = coordinator._agreements._sets.get(name)
        return members is not None and any(until > self.clock.monotonic() for until in members.until.values())

    def looked(self) -> bool:
        return self.known is not None and not self.known()

    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        taken = super()._receive(queues, limit, timeout)
        return [msgspec.structs.replace(delivery, unrevoked=self.looked()) for delivery in taken]


class LooksAnywhere(Looks):
    def checks_with(self, coordinator: Coordinator, name: str) -> bool:
        return super().checks_with(coordinator, name) or True


class NeverLooks(Looks):
    def looked(self) -> bool:
        return True


class NeverSure(Looks):
    def looked(self) -> bool:
        return False


class LooksOnce(Looks):
    seen: bool | None = None

    def looked(self) -> bool:
        if self.seen is None:
            self.seen = super().looked()
        return self.seen


class LooksBeforeItWaits(Looks):
    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        seen = self.looked()
        taken = MemoryTransport._receive(self, queues, limit, timeout)
        return [msgspec.structs.replace(delivery, unrevoked=seen) for delivery in taken]


class LooksAtAnySet(Looks):
    def checks_with(self, coordinator: Coordinator, name: str) -> bool:
        return super().checks_with(coordinator, "another")


DEFECTS: dict[str, list[type[Looks]]] = {
    "it_looks_at_the_coordinator_of_the_same_address_and_at_no_other": [LooksAnywhere],
    "who_did_not_ask_it_to_look_is_told_nothing": [NeverLooks],
    "what_is_taken_while_nothing_was_revoked_is_unrevoked": [NeverSure, LooksAtAnySet],
    "what_is_taken_after_a_revocation_is_to_be_asked_about": [NeverLooks, LooksOnce],
    "a_blocked_receiver_looks_when_it_takes": [NeverLooks, LooksBeforeItWaits],
    "what_is_taken_after_the_last_revocation_was_forgotten_is_unrevoked": [NeverLooks, NeverSure, LooksOnce],
}


@pytest.mark.parametrize("promise", DEFECTS)
def test_a_sound_transport_passes(promise: str) -> None:
    with TransportBench(MemoryModule(Looks)) as bench:
        getattr(Revoking(), f"test_{promise}")(bench)


@pytest.mark.parametrize(("promise", "broken"), [(name, one) for name, several in DEFECTS.items() for one in several])
def test_a_broken_transport_fails(promise: str, broken: type[Looks]) -> None:
    assert_fails(Revoking, promise, TransportBench(MemoryModule(broken)), {})


def test_every_test_is_shown_to_fail_some_transport() -> None:
    assert sorted(DEFECTS) == promises_of(Revoking)
