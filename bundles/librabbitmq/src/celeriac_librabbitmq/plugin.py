"""What this distribution brings, said without importing py-amqp or opening rabbitmq-c."""

from __future__ import annotations

from typing import Final

from celeriac.spi.declaration import Declaration
from celeriac_amqp.plugin import TRANSPORT_CAPABILITIES, TRANSPORT_OPTIONS

__all__ = ["transport"]

FIX: Final = "Or use amqp:// instead of librabbitmq://: the same transport, and it needs no C library."

transport: Declaration = Declaration(
    spi_version=1,
    target="celeriac_librabbitmq.transport:LibrabbitmqTransport",
    summary="RabbitMQ as amqp:// has it, with messages read and written by the C library rabbitmq-c.",
    capabilities=TRANSPORT_CAPABILITIES,
    options=TRANSPORT_OPTIONS,
    fix=FIX,
)
