"""What the parent and the zygote tell each other: records of 24 bytes, several in one message of a socket.

To the zygote:

    FORK      slot                  have a child in this slot
    SIGNAL    slot, pid, signal     send it, if that process still is this slot's child
    END       milliseconds          end all children: those that have not ended by then are killed; then end yourself

From the zygote:

    BORN      slot, pid             a child was forked
    UNBORN    slot, error number    it could not be
    DIED      slot, pid, status     it was reaped; the status is the exit code, or minus the signal
    STOPPED   slot, pid, 1 or 0     it was stopped (SIGSTOP, SIGTSTP), or goes on
"""

from __future__ import annotations

import socket
import struct
from typing import Final, NamedTuple

__all__ = ["BORN", "DIED", "END", "FORK", "SIGNAL", "STOPPED", "UNBORN", "Order", "pack", "unpack"]

FORK: Final = 1
SIGNAL: Final = 2
END: Final = 3
BORN: Final = 11
UNBORN: Final = 12
DIED: Final = 13
STOPPED: Final = 14

_RECORD = struct.Struct("<IIqq")
LARGEST: int = _RECORD.size * 1024
"""The largest message; more records go in several."""


class Order(NamedTuple):
    """One record, in either direction."""

    kind: int
    slot: int = 0
    pid: int = 0
    value: int = 0


def pack(orders: list[Order]) -> list[bytes]:
    """Write records, as few messages."""
    data = b"".join(_RECORD.pack(order.kind, order.slot, order.pid, order.value) for order in orders)
    return [data[place : place + LARGEST] for place in range(0, len(data), LARGEST)]


def unpack(connection: socket.socket, *, wait: bool = True) -> list[Order] | None:
    """Read one message, or, without `wait`, nothing if there is none; None is the end of the connection.

    Raises: BlockingIOError, TimeoutError: there is none, on a connection that does not wait, or not as long.
    """
    try:
        data = connection.recv(LARGEST, 0 if wait else socket.MSG_DONTWAIT)
    except ConnectionError:
        return None
    except BlockingIOError:
        if wait:
            raise
        return []
    if not data:
        return None
    return [Order(*fields) for fields in _RECORD.iter_unpack(data)]
