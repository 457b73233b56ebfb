"""Exit codes, and which error ends in which. docs/reference/cli.md lists them for users.

Source: sysexits.h, as Celery uses it.
"""

from __future__ import annotations

from celeriac.errors import ConfigurationError, InternalError, StoreError
from celeriac.errors import TimeoutError as ResultTimeout

__all__ = [
    "CANNOT_CREATE",
    "FAILURE",
    "IMPOSSIBLE",
    "INTERRUPTED",
    "NOT_YET",
    "OK",
    "SOFTWARE",
    "UNAVAILABLE",
    "USAGE",
    "exit_code",
]

OK = 0
FAILURE = 1
"""The command did its work and the answer is bad: the task failed, nothing was found."""
USAGE = 2
"""An option or argument is wrong."""
IMPOSSIBLE = 64
"""The app, a setting or a plugin must change before this can work (EX_USAGE)."""
UNAVAILABLE = 69
"""The broker or the result store cannot be reached or refuses (EX_UNAVAILABLE)."""
SOFTWARE = 70
"""An error nobody foresaw, in the app's modules or in Celeriac (EX_SOFTWARE)."""
CANNOT_CREATE = 73
"""The pid file belongs to a living process, or cannot be written (EX_CANTCREAT)."""
NOT_YET = 75
"""The task has not ended yet: ask again later (EX_TEMPFAIL)."""
INTERRUPTED = 130
"""Interrupted from the keyboard."""


def exit_code(error: BaseException) -> int:
    """Return the code that an error ends in."""
    if isinstance(error, ConfigurationError):
        return IMPOSSIBLE
    if isinstance(error, StoreError):
        return UNAVAILABLE
    if isinstance(error, ResultTimeout):
        return NOT_YET
    return SOFTWARE if isinstance(error, InternalError) else FAILURE
