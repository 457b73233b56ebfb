"""kombu's transport over files, made safe: written whole, taken whole, and not lost with who took it.

A folder that programs of Celery share; both see the same files there. What is different on this side:

1. A message is written under another name and renamed when it is complete. kombu creates the file first and writes
   then; who reads in between gets nothing, and deletes it.
2. One that somebody else is still writing is left alone: it is empty, or its writer has it locked.
3. kombu deletes what it takes. Here taking is renaming a file into a folder of the taker, `celeriac-held/<who>`, and
   acknowledging is deleting it there. The taker has a lock on the file `celeriac-held/<who>.lock` as long as it lives;
   when the operating system has dropped that lock, whoever looks next puts back what is left, marked as redelivered.
4. Of messages of one millisecond, those of one process keep their order.

Source: kombu 5.7, `kombu/transport/filesystem.py` (names and contents of files).
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from collections import deque
from contextlib import suppress
from itertools import count
from pathlib import Path
from queue import Empty
from typing import Any, Final

from kombu.transport import filesystem
from kombu.utils.json import dumps, loads

__all__ = ["SafeChannel", "SafeTransport"]

_HELD: Final = "celeriac-held"
_RECOVER_SECONDS: Final = 1.0
"""How often what dead takers left is looked for."""

_numbers: Final = count()


class SafeChannel(filesystem.Channel):  # type: ignore[misc]  # kombu has no types
    """A channel of which each message is in a file at any moment."""

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._names: dict[str, deque[str]] = {}
        self._paths: dict[str, Path] = {}
        self._own: Path | None = None
        self._lock_file: int | None = None
        self._next_recovery = 0.0

    @property
    def _all_held(self) -> Path:
        return Path(self.data_folder_in) / _HELD

    # -- writing -----------------------------------------------------------------------------------

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:
        name = f"{round(time.monotonic() * 1000)}_{next(_numbers) % 10**9:09}-{uuid.uuid4()}.{queue}.msg"
        self._write(Path(self.data_folder_out), name, dumps(payload))

    def _write(self, folder: Path, name: str, text: str) -> None:
        self._all_held.mkdir(parents=True, exist_ok=True)
        # Of the same file system, and not a name that a reader looks for.
        draft = self._all_held / f"{uuid.uuid4()}.draft"
        try:
            draft.write_bytes(text.encode())
            draft.rename(folder / name)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    # -- taking ------------------------------------------------------------------------------------

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        self._recover()
        names = self._names.get(queue)
        if not names:
            names = self._names[queue] = deque(self._list(queue))
        own = self._claim_folder()
        while names:
            path = self._take(names.popleft(), own)
            if path is not None:
                payload = loads(path.read_text())
                # Copies of one message for several queues have one tag; here each is held by itself.
                tag = payload["properties"]["delivery_tag"] = str(uuid.uuid4())
                self._paths[tag] = path
                return payload
        raise Empty

    def _list(self, queue: str) -> list[str]:
        end = f"{queue}.msg"
        return sorted(name for name in os.listdir(self.data_folder_in) if name.partition(".")[2] == end)

    def _take(self, name: str, own: Path) -> Path | None:
        """Move a file to our folder, if it is complete and nobody was faster."""
        here = Path(self.data_folder_in) / name
        with suppress(FileNotFoundError), here.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            if os.fstat(file.fileno()).st_size == 0:
                return None
            return here.rename(own / name)
        return None

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        path = self._paths.pop(delivery_tag, None)
        if path is not None:
            path.unlink(missing_ok=True)
        super().basic_ack(delivery_tag, multiple)

    def close(self) -> None:
        """Leave what is still held to whoever looks next."""
        super().close()
        if self._lock_file is not None:
            with suppress(OSError):
                if self._own is not None:
                    self._own.rmdir()
                    self._own.with_suffix(".lock").unlink()
            os.close(self._lock_file)
            self._lock_file = self._own = None

    # -- who died ----------------------------------------------------------------------------------

    def _claim_folder(self) -> Path:
        """Return our folder, made and locked when it is first needed."""
        if self._own is None:
            own = self._all_held / uuid.uuid4().hex
            self._all_held.mkdir(parents=True, exist_ok=True)
            lock = os.open(own.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            own.mkdir()
            self._own, self._lock_file = own, lock
        return self._own

    def _recover(self) -> None:
        """Put back what takers left that live no more."""
        now = time.monotonic()
        if now < self._next_recovery:
            return
        self._next_recovery = now + _RECOVER_SECONDS
        for lock_path in self._all_held.glob("*.lock") if self._all_held.exists() else ():
            if self._own is not None and lock_path.stem == self._own.name:
                continue
            with suppress(FileNotFoundError), lock_path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                self._put_back(lock_path.with_suffix(""))
                lock_path.unlink(missing_ok=True)

    def _put_back(self, folder: Path) -> None:
        for path in sorted(folder.glob("*.msg")) if folder.exists() else ():
            text = path.read_text()
            with suppress(ValueError):
                payload = json.loads(text)
                payload["redelivered"] = True
                text = json.dumps(payload)
            self._write(Path(self.data_folder_in), path.name, text)
            path.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            folder.rmdir()


class SafeTransport(filesystem.Transport):  # type: ignore[misc]  # as above
    """kombu's transport over files with the channel of this module."""

    Channel = SafeChannel
