"""Decide what becomes of each delivery before it may have a slot.

unreadable headers    dead letter                 known task?    else parked
delivered too often   dead letter, failure        revoked?       done, REVOKED
expired?              done, REVOKED               not due yet?   back, with the delay
over its rate limit?  back, with a delay          else           a `Request`
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from celeriac import events
from celeriac.client.canvas.planning import JOIN_TASK
from celeriac.errors import InvalidMessage, StoreError, TaskRevokedError, WorkerLostError
from celeriac.kernel.clock import Clock
from celeriac.model.document import safe_repr
from celeriac.model.message import Delivery
from celeriac.model.outcome import Action, Verdict
from celeriac.model.protocol import TaskHeaders, check_headers, moment_from_text
from celeriac.model.record import FAILURE, REVOKED
from celeriac.model.request import Request
from celeriac.runtime.failures import Failures
from celeriac.runtime.inflight import Held, Inflight
from celeriac.runtime.limits import RateLimit, parse_rate
from celeriac.runtime.recording import plain_text

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.spi.coordinator import Coordinator

__all__ = ["REVOKED_SET", "Admission", "Admitted"]

logger: logging.Logger = logging.getLogger(__name__)

REVOKED_SET = "revoked"
"""The coordinator's set of revoked task ids."""

NO_LIMITS = (None, None)

FOR_EVER_SECONDS = 1e9
"""A limit of this many seconds or more is none: no clock of the system takes it."""

EARLY_SECONDS = 0.1
"""A message that comes at most this early runs at once: clocks differ, and a round trip is not worth it."""

ASK_AGAIN_SECONDS = 10.0
"""How long a coordinator that gave no answer is left alone: each try may take a whole deadline, and logs a line."""


class Admitted(Struct):
    """What became of a batch: runs that may start, runs to acknowledge before they start, verdicts on the others."""

    ready: list[Held] = field(default_factory=list)
    ack_first: list[Held] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)


class _Policy(Struct, frozen=True):
    """What admission must know of one task."""

    acks_late: bool
    max_deliveries: int | None
    limit: RateLimit | None
    time_limit: float | None
    soft_time_limit: float | None


class Admission:
    """Admits deliveries of an app's tasks.

    Args:
        hard_limits: Whether the pool keeps hard time limits.
        soft_limits: Whether it keeps soft ones.
    """

    def __init__(
        self,
        app: Celeriac,
        failures: Failures,
        inflight: Inflight,
        coordinator: Coordinator | None,
        clock: Clock,
        *,
        hard_limits: bool = True,
        soft_limits: bool = True,
    ) -> None:
        self._failures = failures
        self._inflight = inflight
        self._coordinator = coordinator
        self._clock = clock
        self._timeout: float = app.conf.broker_timeout_seconds
        self._ask_after = clock.monotonic()
        self._unknown: defaultdict[str, list[str]] = defaultdict(list)
        self._keeps = (hard_limits, soft_limits)
        self._keeps_limits = hard_limits and soft_limits
        self._told_limits: set[str] = set()
        limited = not app.conf.worker_disable_rate_limits
        self._policies: dict[str, _Policy] = {JOIN_TASK: _Policy(True, app.conf.task_max_deliveries, None, None, None)}
        for name, task in app.tasks.items():
            rate = parse_rate(task.rate_limit) if limited else None
            self._policies[name] = _Policy(
                task.acks_late,
                task.max_deliveries if task.max_deliveries is not None else app.conf.task_max_deliveries,
                RateLimit(rate, clock) if rate else None,
                _limit(task.time_limit, None),
                _limit(task.soft_time_limit, None),
            )

    def admit(self, deliveries: Sequence[Delivery]) -> Admitted:
        """Decide about a batch, with one question to the coordinator at the most; one line for each task it lacks."""
        admitted = Admitted()
        self._unknown.clear()
        readable: list[tuple[Delivery, TaskHeaders]] = []
        for delivery in deliveries:
            try:
                headers = check_headers(delivery.message.headers)
                headers.id.encode(), headers.task.encode()  # what stores could not take must not reach them
                readable.append((delivery, headers))
            except (InvalidMessage, UnicodeEncodeError) as error:
                admitted.verdicts.append(self._dead(delivery, plain_text(str(error))))
        revoked = self._revoked([headers.id for delivery, headers in readable if not delivery.unrevoked])
        for delivery, headers in readable:
            try:
                verdict = self._refusal(delivery, headers, revoked)
            except InvalidMessage as error:
                verdict = self._dead(delivery, str(error))
            except Exception as error:  # one message must not keep all others from running, time and again
                logger.exception("admission failed", extra={"event": "internal_error", "task_id": headers.id})
                verdict = self._dead(delivery, plain_text(f"admission failed: {safe_repr(error)}"))
            if verdict is not None:
                admitted.verdicts.append(verdict)
                continue
            if headers.timelimit != NO_LIMITS and not self._keeps_limits:
                self._tell_limits(headers)
            held = Held(self._request(delivery, headers), delivery)
            (admitted.ready if self._policies[headers.task].acks_late else admitted.ack_first).append(held)
        for name, ids in self._unknown.items():
            logger.error(
                "task %s is not registered here; %d of its messages are parked, the first is %s",
                name,
                len(ids),
                ids[0],
                extra={"event": "task_unknown", "task": name, "task_id": ids[0], "count": len(ids)},
            )
        return admitted

    def _request(self, delivery: Delivery, headers: TaskHeaders) -> Request:
        policy = self._policies[headers.task]
        hard, soft = policy.time_limit, policy.soft_time_limit
        if headers.timelimit is not None and headers.timelimit != NO_LIMITS:
            hard, soft = _limit(headers.timelimit[0], hard), _limit(headers.timelimit[1], soft)
        return Request(
            key=self._inflight.next_key(),
            task=headers.task,
            id=headers.id,
            message=delivery.message,
            queue=delivery.queue,
            deliveries=delivery.deliveries,
            received=self._clock.monotonic(),
            time_limit=hard,
            soft_time_limit=soft,
            headers=headers,
        )

    def _revoked(self, ids: list[str]) -> set[str]:
        if self._coordinator is None or not ids or self._clock.monotonic() < self._ask_after:
            return set()
        try:
            return self._coordinator.recall(REVOKED_SET, ids, timeout=self._timeout)
        except Exception as error:  # a defect of a plugin too: whether it was revoked is no reason to stop a task
            logger.warning(
                "revoked tasks run: the coordinator gave no answer: %s; asked again in %.0f s",
                safe_repr(error),
                ASK_AGAIN_SECONDS,
                exc_info=None if isinstance(error, StoreError) else error,
                extra={"event": "recall_failed"},
            )
            self._ask_after = self._clock.monotonic() + ASK_AGAIN_SECONDS
            return set()

    def _refusal(self, delivery: Delivery, headers: TaskHeaders, revoked: set[str]) -> Verdict | None:
        """Return the verdict on a delivery that may not run now, or None."""
        policy = self._policies.get(headers.task)
        if policy is None:
            return self._park(delivery, headers)
        if headers.id in revoked:
            return self._revoke(delivery, headers, "revoked")
        if headers.expires and moment_from_text(headers.expires, "expires") <= self._clock.time():
            return self._revoke(delivery, headers, "expired")
        if policy.max_deliveries is not None and delivery.deliveries > policy.max_deliveries:
            return self._exhausted(delivery, headers)
        delay = self._delay(headers, policy)
        if delay > 0:
            return Verdict(delivery=delivery, action=Action.RELEASE, delay=delay, counted=False)
        return None

    def _delay(self, headers: TaskHeaders, policy: _Policy) -> float:
        """Return the seconds until it may run: it is early, or over its rate limit."""
        if headers.eta:
            early = moment_from_text(headers.eta, "eta") - self._clock.time()
            if early > EARLY_SECONDS:
                return early
        return policy.limit.delay() if policy.limit is not None else 0.0

    def _tell_limits(self, headers: TaskHeaders) -> None:
        """Say, once for each task, that the limits a call asks for are not kept: refusing it would lose work."""
        asked = headers.timelimit or NO_LIMITS
        lost = [
            kind
            for kind, seconds, kept in zip(("time limit", "soft time limit"), asked, self._keeps, strict=True)
            if _limit(seconds, None) is not None and not kept
        ]
        if lost and headers.task not in self._told_limits:
            self._told_limits.add(headers.task)
            logger.warning(
                "calls of %s ask for a %s, which this pool cannot keep: they run without",
                headers.task,
                " and a ".join(lost),
                extra={"event": "limits_not_kept", "task": headers.task},
            )

    def _park(self, delivery: Delivery, headers: TaskHeaders) -> Verdict:
        self._unknown[headers.task].append(headers.id)
        if events.task_unknown.receivers:
            events.task_unknown.send(self, delivery=delivery, name=headers.task)
        return Verdict(delivery=delivery, action=Action.PARK, reason=f"unknown task {headers.task!r}")

    def _dead(self, delivery: Delivery, reason: str) -> Verdict:
        logger.error("message refused: %s", reason, extra={"event": "message_refused", "queue": delivery.queue})
        if events.task_rejected.receivers:
            events.task_rejected.send(self, delivery=delivery, reason=reason)
        return Verdict(delivery=delivery, action=Action.DEAD, reason=reason)

    def _exhausted(self, delivery: Delivery, headers: TaskHeaders) -> Verdict:
        reason = f"delivered {delivery.deliveries - 1} times without an end"
        error = WorkerLostError(f"{headers.task} was {reason}.")
        told = self._failures.consequences(delivery.message, delivery.queue, FAILURE, error)
        dead = self._dead(delivery, reason)
        return replace(dead, records=told.records, followups=told.followups, parts=told.parts)

    def _revoke(self, delivery: Delivery, headers: TaskHeaders, why: str) -> Verdict:
        logger.info(
            "task %s[%s] %s", headers.task, headers.id, why, extra={"event": "task_revoked", "task_id": headers.id}
        )
        told = self._failures.consequences(delivery.message, delivery.queue, REVOKED, TaskRevokedError(why))
        return Verdict(delivery=delivery, records=told.records, parts=told.parts)


def _limit(seconds: float | None, default: float | None) -> float | None:
    """Return a time limit, or the default where it is none: not given, 0 as Celery's clients send it, or nonsense."""
    return seconds if seconds is not None and 0 < seconds < FOR_EVER_SECONDS else default
