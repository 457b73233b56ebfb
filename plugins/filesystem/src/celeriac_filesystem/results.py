"""A result store in a folder: one file per record, replaced in one step."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Final

from celeriac.errors import ConfigurationError, ReadOnlyStore, StoreFull, StoreLost
from celeriac.model.address import Address
from celeriac.model.record import SUCCESS, ResultRecord
from celeriac.spi.results import Expires, ResultStore
from celeriac.spi.service import Context
from celeriac_filesystem.layout import Stored, from_bytes, to_bytes
from celeriac_filesystem.lock import LOCK_NAME, FolderLock
from celeriac_filesystem.names import PREFIX, TEMPORARY, file_name
from celeriac_filesystem.plugin import CAPABILITIES, OPTIONS

__all__ = ["FilesystemResults"]

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})

_ABANDONED_SECONDS: Final = 3600.0
"""A temporary file this old is of a process that died."""


class FilesystemResults(ResultStore, Expires):
    """Writers hold the lock of the folder; readers need none, since a file is replaced in one step.

    The time of last change of a file is set to when it expires, so that a sweep opens only files that may have
    expired. What counts is what stands in the file.
    """

    capabilities = CAPABILITIES
    options = OPTIONS
    driver_errors: ClassVar[tuple[type[BaseException], ...]] = (OSError,)

    def __init__(self, address: Address, context: Context) -> None:
        super().__init__(address, context)
        if address.host not in (None, "localhost") or not address.path.strip("/"):
            raise ConfigurationError(f"{address} names no folder: write file:///absolute/path, with three slashes.")
        self.folder: Path = Path(address.path)
        self._lock = FolderLock(self.folder)
        self._open_now = False
        self._folds_case = False
        self._kept: dict[str, int] = {}
        """Files that a sweep has opened in vain, with their time of change then."""

    def _open(self, timeout: float) -> None:
        if not self.folder.is_dir():
            raise StoreLost(
                f"{self.address}: there is no folder {self.folder}. Create it, or correct `result_backend`."
            )
        # A client that only reads may be kept from writing; a writer is told at its first record.
        with suppress(OSError), self._lock.held(timeout):
            pass
        self._folds_case = (self.folder / LOCK_NAME.upper()).exists()
        self._open_now = True

    def _close(self) -> None:
        self._open_now = False

    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        self._check_open()
        with self._writing(), self._lock.held(timeout):
            for record in records:
                path = self._path(record.id)
                if _may_replace(self._read(record.id, path), record):
                    self._write(path, record)
            self._sync_folder()

    def _get(self, ids: Collection[str], timeout: float) -> dict[str, ResultRecord]:
        self._check_open()
        return {id_: stored.record for id_ in ids if (stored := self._read(id_, self._path(id_))) is not None}

    def _delete(self, ids: Collection[str], timeout: float) -> int:
        self._check_open()
        found = 0
        with self._writing(), self._lock.held(timeout):
            for id_ in ids:
                path = self._path(id_)
                found += self._read(id_, path) is not None
                path.unlink(missing_ok=True)
        return found

    def sweep(self, *, limit: int, timeout: float) -> int:
        with self._call("sweep"):
            self._check_open()
            dropped = 0
            with self._writing(), self._lock.held(timeout):
                for name in self._due():
                    if dropped == limit:
                        break
                    dropped += self._drop_if_expired(self.folder / name)
            return dropped

    def _path(self, id_: str) -> Path:
        return self.folder / file_name(id_, folds_case=self._folds_case)

    def _read(self, id_: str, path: Path) -> Stored | None:
        """Return the record of `id_` unless there is none, it has expired, or the file holds something else."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        stored = from_bytes(id_, data)
        return stored if stored is not None and not self._expired(stored) else None

    def _expired(self, stored: Stored) -> bool:
        return stored.expires is not None and stored.expires <= self.clock.time()

    def _write(self, path: Path, record: ResultRecord) -> None:
        now = self.clock.time()
        expires = None if record.expires_seconds is None else now + record.expires_seconds
        temporary = self.folder / f"{TEMPORARY}{uuid.uuid4().hex}"
        try:
            with temporary.open("xb") as file:
                file.write(to_bytes(record, expires))
                if self.option["fsync"]:
                    file.flush()
                    os.fsync(file.fileno())
            if expires is not None:
                os.utime(temporary, (now, expires))
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise

    def _sync_folder(self) -> None:
        if not self.option["fsync"] or os.name == "nt":
            return
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _due(self) -> Iterator[str]:
        """Give the files that may have expired, and remove what processes that died left behind."""
        now = self.clock.time()
        kept, self._kept = self._kept, {}
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    changed = entry.stat().st_mtime_ns
                    if entry.name.startswith(TEMPORARY) and changed / 1e9 < now - _ABANDONED_SECONDS:
                        Path(entry.path).unlink()
                    elif not entry.name.startswith(PREFIX) or changed / 1e9 > now + 1:
                        continue
                    elif kept.get(entry.name) == changed:
                        self._kept[entry.name] = changed
                    else:
                        yield entry.name

    def _drop_if_expired(self, path: Path) -> bool:
        with suppress(FileNotFoundError):
            changed = path.stat().st_mtime_ns
            stored = from_bytes(path.name, path.read_bytes())
            if stored is not None and self._expired(stored):
                path.unlink()
                return True
            if stored is None or stored.expires is None:
                self._kept[path.name] = changed
        return False

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Tell a full disk and a read-only folder apart from a lost one."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise StoreFull(f"{self.address}: no room for results ({error.strerror}). Free some.") from error
            if error.errno in _READ_ONLY:
                raise ReadOnlyStore(
                    f"{self.address}: {self.folder} cannot be written ({error.strerror})."
                    " Give this user write permission, or choose another folder."
                ) from error
            raise

    def _check_open(self) -> None:
        if not self._open_now:
            raise self.lost_error(f"{self.address}: this connection is not open.")


def _may_replace(old: Stored | None, new: ResultRecord) -> bool:
    if old is None:
        return True
    return old.record.state != SUCCESS and (new.ready or not old.record.ready)
