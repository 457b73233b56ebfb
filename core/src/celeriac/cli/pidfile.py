"""A file with the number of the process that owns it, so that a second one does not start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from celeriac.cli import exits

__all__ = ["CannotCreate", "pidfile"]


class CannotCreate(click.ClickException):
    """The file is somebody else's, or cannot be written."""

    exit_code = exits.CANNOT_CREATE


@contextmanager
def pidfile(path: str | None) -> Iterator[None]:
    """Own the file `path` for the time of the block; None owns nothing.

    A file that a process left behind when it died is taken over.

    Raises: CannotCreate: the process it names is alive, or the file cannot be written.
    """
    if path is None:
        yield
        return
    _create(path)
    try:
        yield
    finally:
        if _owner(path) == os.getpid():
            with suppress(OSError):
                os.unlink(path)


def _create(path: str) -> None:
    for _ in range(2):
        try:
            with open(path, "x", encoding="ascii") as file:
                file.write(f"{os.getpid()}\n")
        except FileExistsError:
            _remove_stale(path)
        except OSError as error:
            raise CannotCreate(f"The pid file {path} cannot be written: {error.strerror}.") from error
        else:
            return
    raise CannotCreate(f"The pid file {path} was taken by another process just now.")


def _remove_stale(path: str) -> None:
    owner = _owner(path)
    # Our own number in it: a container that was killed and started again, with the same numbers.
    if owner is not None and owner != os.getpid() and _is_alive(owner):
        raise CannotCreate(
            f"The pid file {path} belongs to process {owner}, which is alive. Stop it (kill {owner}),"
            " or give this worker another --pidfile."
        )
    with suppress(FileNotFoundError):
        os.unlink(path)


def _owner(path: str) -> int | None:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return int(file.read(32))
    except (OSError, ValueError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
