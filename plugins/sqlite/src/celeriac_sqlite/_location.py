"""Where the database file is, and whether it can be written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from celeriac.errors import ConfigurationError, InvalidSetting, ReadOnlyStore, StoreError, StoreFull
from celeriac.model.address import Address

__all__ = ["database_path", "prepare"]


def database_path(address: Address) -> Path:
    """Return the absolute path of the file that a URL names; `sqlite:///x.db` is relative, `sqlite:////x.db` absolute.

    Raises: ConfigurationError: it names no file.
    """
    if address.host:
        raise ConfigurationError(
            f"{address} names a host; a file has three slashes (sqlite:///queue.db), an absolute path four."
        )
    name = address.path.removeprefix("/")
    if not name or name == ":memory:" or name.startswith("file:"):
        raise ConfigurationError(
            f"{address} names no file, and several processes cannot share a database in memory."
            " Use sqlite:///queue.db, or memory:// for tests and one process."
        )
    return Path(os.path.realpath(name))


def prepare(path: Path, file_mode: str) -> None:
    """Create the directory and the file where they are missing, and check that both can be written.

    Raises: ReadOnlyStore, StoreFull, StoreError: they cannot; says which path, and the fix.
    """
    mode = _mode(file_mode)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, mode))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(f"No room to create {path}. Free some space.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise _read_only(path, error) from error
        raise StoreError(f"{path} cannot be created: {error.strerror}. Name another file in the URL.") from error
    if path.is_dir():
        raise StoreError(f"{path} is a directory. Name a file in the URL.")
    # SQLite keeps two more files beside the database, so the directory matters as much as the file.
    for place in (path, path.parent):
        if not os.access(place, os.W_OK):
            raise _read_only(place, None)


def _mode(text: str) -> int:
    if not text:
        return 0o666
    try:
        return int(text, 8)
    except ValueError as error:
        raise InvalidSetting("file_mode", text, "octal digits, such as 600", source="sqlite") from error


def _read_only(path: Path, error: OSError | None) -> ReadOnlyStore:
    why = f" ({error.strerror})" if error else ""
    return ReadOnlyStore(
        f"{path} cannot be written{why}. Give this user write access to it and its directory, or name another file."
    )
