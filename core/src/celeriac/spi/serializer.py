"""Serializers: values to bytes and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

__all__ = ["Serializer"]


class Serializer(ABC):
    """Turns arguments and results into bytes. Stateless, and called from every thread."""

    content_type: ClassVar[str]
    content_encoding: ClassVar[str] = "utf-8"

    trusted: ClassVar[bool] = True
    """False where reading hostile bytes can run code: then it is never accepted unless named in `accept_content`."""

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
