"""The side channel: what is too large for a frame goes through a file in a folder that only this user can enter.

A file is written before the frame that names it, and removed by who reads it, or when the run it belongs to is known
to have ended otherwise. The folder goes with the pool; the zygote removes it if the worker was killed.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["OUTCOME", "REQUEST", "Spool"]

REQUEST: Final = "request"
OUTCOME: Final = "outcome"


class Spool:
    """The folder, by its path; it is made when something is first put into it.

    Args:
        path: The folder of a pool that is at work; None reserves the path of a new one.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path: str = path or tempfile.mkdtemp(prefix="celeriac-prefork-")

    def put(self, what: str, number: int, data: bytes) -> None:
        """Write what belongs to the frame of a number.

        Raises: OSError: there is no room.
        """
        path = self._path(what, number)
        try:
            path.write_bytes(data)
        except OSError:
            path.unlink(missing_ok=True)
            raise

    def take(self, what: str, number: int) -> bytes:
        """Read and remove it.

        Raises: OSError: it is not there.
        """
        path = self._path(what, number)
        data = path.read_bytes()
        path.unlink(missing_ok=True)
        return data

    def drop(self, number: int) -> None:
        """Remove all that belongs to a frame."""
        for what in (REQUEST, OUTCOME):
            with suppress(OSError):
                self._path(what, number).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _path(self, what: str, number: int) -> Path:
        return Path(self.path, f"{what}-{number}")
