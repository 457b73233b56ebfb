"""What a signature asks of its app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from celeriac.model.signature import Signature

__all__ = ["SignatureApp"]


class SignatureApp(Protocol):
    """What a signature needs of an app. The client's `Celeriac` is one."""

    def call_signature(self, signature: Signature[Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run the task's function here and now."""

    def apply_signature(self, signature: Signature[Any]) -> Any:
        """Run the task here and now, as a worker would; return an EagerResult."""

    def send_signature(self, signature: Signature[Any]) -> Any:
        """Publish; return an AsyncResult."""

    def result_of(self, signature: Signature[Any]) -> Any:
        """Return the AsyncResult of a signature that has an id."""

    def task_of(self, signature: Signature[Any]) -> Any:
        """Return the registered task."""

    def reply_to(self) -> str:
        """Return where results are sent that are for this process; empty where all can read them."""
        ...

    def new_id(self) -> str:
        """Return a fresh task id."""
