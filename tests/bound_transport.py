"""A transport that can do nothing optional and ties what is held to the connection, as many brokers do."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import msgspec

from celeriac.model.address import Address
from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Action, Verdict
from celeriac.spi.service import Context
from celeriac.spi.transport import Transport, TransportCapabilities
from celeriac_memory.transport import MemoryTransport

__all__ = ["BoundTransport"]


class BoundTransport(Transport):
    """The memory transport under a holder of its own, whose leases outlast any test."""

    capabilities = TransportCapabilities(durable=False, reach="process")

    def __init__(self, address: Address, context: Context) -> None:
        super().__init__(address, context)
        own = msgspec.structs.replace(context, holder=uuid.uuid4().hex, options={"lease_seconds": 1e9})
        self.inner = MemoryTransport(address, own)
        self.held: dict[int, Delivery] = {}

    def _open(self, timeout: float) -> None:
        self.inner.open(timeout=timeout)

    def _close(self) -> None:
        if self.held:
            self.inner.settle([Verdict(delivery=one, action=Action.RELEASE) for one in self.held.values()], timeout=1)
            self.held.clear()
        self.inner.close()

    def _publish(self, messages: Sequence[Message], timeout: float) -> None:
        self.inner.publish([msgspec.structs.replace(message, priority=0) for message in messages], timeout=timeout)

    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        taken = self.inner.receive(queues, limit=limit, timeout=timeout)
        self.held.update((delivery.tag, delivery) for delivery in taken)
        return taken

    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        for verdict in verdicts:
            self.held.pop(verdict.delivery.tag if verdict.delivery is not None else -1, None)
        return self.inner.settle(verdicts, timeout=timeout)

    def _wake(self) -> None:
        self.inner.wake()
