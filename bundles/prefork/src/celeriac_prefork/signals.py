"""Signals of the processes that the worker forks: what the worker's own handlers do must happen in the worker alone."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["all_blocked", "for_child", "for_zygote"]

_IGNORED = (signal.SIGINT, signal.SIGQUIT)
"""A terminal sends these to the whole group of processes; the worker decides what becomes of its children."""

_DEFAULT = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, signal.SIGTSTP, signal.SIGTTIN)


@contextmanager
def all_blocked() -> Iterator[None]:
    """Hold signals back while a process is forked, so that none finds the handlers of another one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def for_child() -> None:
    """Set the signals of a child; TERM and HUP end it, as they would any program."""
    _set(_IGNORED, _DEFAULT)


def for_zygote() -> None:
    """Set the signals of the zygote: whoever stops the worker's group means the worker, which will tell the zygote."""
    _set((*_IGNORED, signal.SIGTERM), _DEFAULT[1:])


def _set(ignored: tuple[signal.Signals, ...], default: tuple[signal.Signals, ...]) -> None:
    signal.set_wakeup_fd(-1)
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    for number in default:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
