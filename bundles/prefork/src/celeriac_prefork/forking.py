"""Start the zygote, and from it the children, by fork.

billiard prepares both sides: it flushes the streams before, and in the new process gives the log handlers new locks,
closes standard input, and runs what libraries registered with it or with `multiprocessing` for after a fork.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from billiard import context, popen_fork

from celeriac_prefork.signals import all_blocked

__all__ = ["Forked", "fork"]

log: logging.Logger = logging.getLogger(__name__)

EXIT_FAILURE = 1


class _Popen(popen_fork.Popen):  # type: ignore[misc]  # billiard has no types
    """A fork without the pipe by which billiard waits for the process: the zygote waits for all children at once."""

    def _launch(self, process_obj: Any) -> None:
        code = EXIT_FAILURE
        self.pid = os.fork()
        if self.pid == 0:
            try:
                code = process_obj._bootstrap()
            finally:
                os._exit(code)


class _Process(context.Process):  # type: ignore[misc]  # billiard has no types
    @staticmethod
    def _Popen(process_obj: Any) -> _Popen:  # noqa: N802  billiard's name for it
        return _Popen(process_obj)


class Forked:
    """A process that was forked."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self._status: int | None = None
        self.pid: int = process.pid

    def poll(self) -> int | None:
        """Reap it if it has ended; return its exit code, or minus the signal that ended it."""
        if self._status is None:
            self._status = self._process.exitcode
            if self._status is not None:
                self._process.close()
        return self._status


def fork(main: Callable[[], int], name: str) -> Forked:
    """Run `main` in a forked process of a name, which then ends with the exit code that it returns.

    Signals are held back in the new process until it sets its own.

    Raises: OSError: the system has no room for another process.
    """
    process = _Process(target=_run, args=(main, name), name=name)
    with all_blocked(), warnings.catch_warnings():
        # CPython 3.12 and later warn of a fork beside threads. The pool has told about them itself.
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*multi-threaded.*fork")
        process.start()
    return Forked(process)


def _run(main: Callable[[], int], name: str) -> None:
    """Run `main` and end the process here: what the parent registered for its own exit is not to be done twice."""
    # The name that logging puts into records is this one, and not billiard's.
    multiprocessing.current_process().name = name
    code = EXIT_FAILURE
    try:
        code = main()
    except BaseException:
        log.exception("The process %s failed", name, extra={"event": "internal_error"})
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(code)
