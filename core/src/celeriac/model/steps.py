"""The later steps of a chain as a message carries them: written down already, and read only where somebody looks.

A run needs the next step and hands on the others. So the bytes of these go from message to message as they are, and
what a step costs does not grow with how many come after it, but for copying bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, overload

import msgspec

from celeriac.errors import DecodeError

__all__ = ["Steps"]

_OPENING = {ord("{")}
_first = itemgetter(0)
_view: Callable[[msgspec.Raw], memoryview] = memoryview


class Steps(Sequence[dict[str, Any]]):
    """Signatures in wire form, in the wire's order: the next step is the last.

    Args:
        raw: Each step in JSON.
        read: Reads one.
        content_type: Of the message that they came in: only in a body of the same they can stand as they are.
    """

    __slots__ = ("_content_type", "_raw", "_read", "_seen")

    def __init__(self, raw: Sequence[msgspec.Raw], read: Callable[[bytes], Any], content_type: str) -> None:
        self._raw = raw
        self._read = read
        self._content_type = content_type
        self._seen: list[dict[str, Any]] | None = None

    def check(self) -> None:
        """Raise DecodeError if a step is no JSON object. What is in them is seen when they are read."""
        if set(map(_first, map(_view, self._raw))) != _OPENING:
            raise DecodeError("A step of a chain is no table.")

    def all(self) -> list[dict[str, Any]]:
        """Return all steps, the same list each time: who changes it changes what follows.

        Raises: DecodeError: one cannot be read.
        """
        if self._seen is None:
            self._seen = [self._read(bytes(step)) for step in self._raw]
        return self._seen

    def split(self) -> tuple[Sequence[dict[str, Any]], dict[str, Any]]:
        """Return what comes after the next step, unread if nobody has looked, and that step.

        Raises: DecodeError: it cannot be read. IndexError: there is none.
        """
        if self._seen is not None:
            return self._seen[:-1], self._seen[-1]
        return Steps(self._raw[:-1], self._read, self._content_type), self._read(bytes(self._raw[-1]))

    def written(self, content_type: str) -> bytes | None:
        """Return all steps as a JSON array; None if they must be written anew, for one may have been changed."""
        if self._seen is not None or content_type != self._content_type:
            return None
        return b"[" + b",".join(self._raw) + b"]"

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        return self.all()[index]

    def __len__(self) -> int:
        return len(self._raw) if self._seen is None else len(self._seen)
