"""Field tables: message headers and arguments, as RabbitMQ writes them.

Source: https://www.rabbitmq.com/amqp-0-9-1-errata (section 3, field types).
"""

from __future__ import annotations

from typing import Any

__all__ = ["BadTable", "decode", "encode"]


class BadTable(ValueError):
    """A table that cannot be written, or not be read."""


def encode(table: dict[str, Any]) -> bytes:
    """Return the table with its length in front. Raises: BadTable: it names the key and the fix."""
    raise NotImplementedError


def decode(data: bytes, start: int, end: int) -> dict[str, Any]:
    """Return the table whose entries lie at `data[start:end]`, its length not among them. Raises: BadTable."""
    raise NotImplementedError
