"""Turns at writing, inside one process, and what a fork must do first.

SQLite has one writer at a time. Between processes we wait for our turn by asking again; between the threads of one
process a lock per file hands over at once.

A fork copies SQLite's notes about which file locks it has, but not the locks, and a child that opens the same file
would believe the notes. So every connection is closed just before a fork, and opened again at the next use.
Source: https://www.sqlite.org/howtocorrupt.html, section 2.6.
"""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from typing import Protocol

__all__ = ["Gate", "gate_of", "register"]

_FORK_WAIT_SECONDS = 5.0
"""A fork waits so long for a transaction that runs, rather than for ever for one that hangs."""


class Gate:
    """The lock of one database file in this process; what writes goes through it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class _Closes(Protocol):
    gate: Gate
    reading: threading.Lock

    def disconnect(self) -> None: ...


_mutex = threading.Lock()
_gates: weakref.WeakValueDictionary[Path, Gate] = weakref.WeakValueDictionary()
_open: weakref.WeakSet[_Closes] = weakref.WeakSet()
_held: list[threading.Lock] = []


def gate_of(path: Path) -> Gate:
    """Return the one gate of that file."""
    with _mutex:
        return _gates.setdefault(path, Gate())


def register(database: _Closes) -> None:
    """Close the connections of `database` before this process forks."""
    with _mutex:
        _open.add(database)


def _before_fork() -> None:
    _mutex.acquire()
    databases = list(_open)
    # Gates first, as everywhere; each once, although several databases of this process may share one.
    locks = dict.fromkeys([database.gate.lock for database in databases] + [database.reading for database in databases])
    for lock in locks:
        if lock.acquire(timeout=_FORK_WAIT_SECONDS):
            _held.append(lock)  # noqa: PERF401  each is noted as soon as it is held
    for database in databases:
        if database.gate.lock in _held and database.reading in _held:
            database.disconnect()


def _after_fork() -> None:
    for lock in _held:
        lock.release()
    _held.clear()
    _mutex.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
