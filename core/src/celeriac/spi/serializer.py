"""Serializers: values to bytes and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

__all__ = ["Serializer"]

T = TypeVar("T")


class Serializer(ABC):
    """Turns arguments and results into bytes. Stateless, and called from every thread."""

    content_type: ClassVar[str]
    content_encoding: ClassVar[str] = "utf-8"

    trusted: ClassVar[bool] = True
    """False where reading hostile bytes can run code: then it is never accepted unless named in `accept_content`."""

    joins: ClassVar[bool] = False
    """Whether parts that `dumps` wrote may be put together with the brackets and commas of JSON, and a whole that JSON
    allows around them: `[` + dumps(a) + `,` + dumps(b) + `]` is then what `loads` reads as `[a, b]`."""

    def reader(self, kind: type[T]) -> Callable[[bytes], T] | None:  # noqa: ARG002  for those that override it
        """Return a function that reads bytes as one type in one step; None where there is no such way.

        It may refuse, with a DecodeError, what `loads` reads: who calls it then asks `loads`.
        """
        return None

    @abstractmethod
    def dumps(self, value: Any) -> bytes:
        """Write a value.

        Raises: EncodeError: it cannot be written; says which part and why.
        """

    @abstractmethod
    def loads(self, data: bytes) -> Any:
        """Read a value.

        Raises: DecodeError: these are no bytes of this serializer. Never RecursionError or MemoryError.
        """
