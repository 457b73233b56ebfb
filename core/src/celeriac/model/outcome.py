"""How one run of a task ended, and what is to become of its message."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from celeriac.model.join import Growth, Join, Part
from celeriac.model.message import Delivery, Message
from celeriac.model.record import ResultRecord

__all__ = ["Action", "Outcome", "Verdict"]


class Action(Enum):
    """What becomes of a message that was taken."""

    ACK = "ack"
    """Done: the message is gone."""
    RELEASE = "release"
    """Back to its queue, at the front of its priority, now or after a delay."""
    DEAD = "dead"
    """To the dead letters, with a reason."""
    PARK = "park"
    """Aside, with a reason, until somebody who can run it comes."""


class Outcome(Struct, frozen=True, kw_only=True, gc=False):
    """How one run ended, as a pool reports it. Plain data: it crosses process boundaries.

    `key` is the key of the `Request`. `state` is a result state, or IGNORED or REJECTED. `records` is empty
    where nothing is to be stored; a failed step of a chain records its failure for the later ones too. `followups` are
    published with the settlement: callbacks, the next step of a chain, a retry. `joins` are opened with it, joins grow
    by `grows`, `parts` are given to joins, and the joins named in `closes` are closed, in this order.
    """

    key: int
    state: str
    action: Action = Action.ACK
    reason: str = ""
    delay: float = 0.0
    records: tuple[ResultRecord, ...] = ()
    followups: tuple[Message, ...] = ()
    joins: tuple[Join, ...] = ()
    grows: tuple[Growth, ...] = ()
    parts: tuple[Part, ...] = ()
    closes: tuple[str, ...] = ()
    runtime: float = 0.0
    error: str = ""
    traceback: str | None = None


class Verdict(Struct, frozen=True, kw_only=True, gc=False):
    """What is to become of one delivery, and what must be committed with it.

    `delivery` is None where the message was settled before (at-most-once tasks): then only what follows from the run
    is committed: `records`, `followups`, `joins`, `grows`, `parts`, `closes`. `counted` is False for work handed back
    unstarted: its delivery count is not raised.
    """

    delivery: Delivery | None
    action: Action = Action.ACK
    reason: str = ""
    delay: float = 0.0
    counted: bool = True
    records: tuple[ResultRecord, ...] = ()
    followups: tuple[Message, ...] = ()
    joins: tuple[Join, ...] = ()
    grows: tuple[Growth, ...] = ()
    parts: tuple[Part, ...] = ()
    closes: tuple[str, ...] = ()
