"""Joins: a message that waits until the members of a group have ended, or as many of them as it needs."""

from __future__ import annotations

from msgspec import Struct

from celeriac.model.message import Message

__all__ = ["UNPLACED", "Growth", "Join", "Part"]

UNPLACED = -1
"""The place of a member that has none: in a chord that a client of Celery's opened: behind all others."""


class Join(Struct, frozen=True, kw_only=True):
    """What a join waits for; opened before any of its members can end.

    It is complete as soon as `successes` members have succeeded, or `failures` have not, or all `size` have ended.
    Then `message` is published, once. It is forgotten `expires_seconds` after it was opened; None keeps it.
    """

    id: str
    size: int
    message: Message
    successes: int
    failures: int = 1
    expires_seconds: float | None = None


class Growth(Struct, frozen=True, kw_only=True):
    """One more member that a join waits for, added while another member runs.

    `member` is the id of its task: however often this comes, the join grows by it once. `successes` and `failures` are
    what the join then needs more of each. `theirs` is said of a chord that a client of Celery's opened, which is kept
    for `expires_seconds` more; None keeps it.
    """

    join: str
    member: str
    successes: int = 1
    failures: int = 0
    theirs: bool = False
    expires_seconds: float | None = None


class Part(Struct, frozen=True, kw_only=True):
    """What one member gives to its join when it has ended.

    `member` is the id of its task: however often it comes, it counts once, and the first one stands. `place` is its
    position among the members, from 0. `payload` is what the join gets of it, in bytes that the store does not read.

    A member of a chord that a client of Celery's opened brings the `message` that is published if the chord is complete
    with it. Its part is kept for `expires_seconds` more; None keeps it.
    """

    join: str
    member: str
    place: int
    succeeded: bool
    payload: bytes
    message: Message | None = None
    expires_seconds: float | None = None
