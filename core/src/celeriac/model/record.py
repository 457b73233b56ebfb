"""What a result store keeps of one task, and the states it can be in."""

from __future__ import annotations

from msgspec import Struct

__all__ = [
    "EXCEPTION_STATES",
    "FAILURE",
    "GROUP_PREFIX",
    "IGNORED",
    "PENDING",
    "PROPAGATE_STATES",
    "READY_STATES",
    "RECEIVED",
    "REJECTED",
    "RETRY",
    "REVOKED",
    "SAVED",
    "STARTED",
    "SUCCESS",
    "ResultRecord",
]

PENDING = "PENDING"
RECEIVED = "RECEIVED"
STARTED = "STARTED"
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"
REJECTED = "REJECTED"
RETRY = "RETRY"
IGNORED = "IGNORED"

SAVED = "SAVED"
"""The state of the record of a saved group: one that is never ready, so that a later one always replaces it."""
GROUP_PREFIX = "celery-taskset-meta-"
"""What the ids of records of saved groups begin with; the group's id follows.

A store that others read uses the whole id as it stands for its key or file, where it puts `celery-task-meta-` in front
of a task's id: that is where Celery's clients look.
"""

READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})


class ResultRecord(Struct, frozen=True, kw_only=True, gc=False):
    """The state of one task as it is stored, or the members of a saved group, by the prefix of its id.

    `payload` is the whole result document (`status`, `result`, `traceback`, …) in the result serializer's bytes,
    exactly what a Celery client would read. `expires_seconds` counts from the moment it is stored; None keeps it.
    `reply_to` is where the caller listens for it, for a store that `replies`; to every other it means nothing.
    """

    id: str
    state: str
    payload: bytes
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    expires_seconds: float | None = None
    reply_to: str = ""

    @property
    def ready(self) -> bool:
        """Whether the task has ended."""
        return self.state in READY_STATES
