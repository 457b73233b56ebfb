"""What the worker says about each task: one line when it is settled, and the `task_settled` event."""

from __future__ import annotations

import logging

from celeriac import events
from celeriac.model.outcome import Outcome
from celeriac.model.record import FAILURE, IGNORED, REJECTED, RETRY, REVOKED, SUCCESS
from celeriac.model.request import Request

__all__ = ["Journal"]

logger: logging.Logger = logging.getLogger("celeriac.task")

_LINES = {
    SUCCESS: (logging.INFO, "task %s[%s] succeeded in %.3fs%s"),
    RETRY: (logging.INFO, "task %s[%s] retries after %.3fs: %s"),
    IGNORED: (logging.INFO, "task %s[%s] ignored after %.3fs%s"),
    REVOKED: (logging.INFO, "task %s[%s] revoked after %.3fs: %s"),
    REJECTED: (logging.WARNING, "task %s[%s] rejected after %.3fs: %s"),
    FAILURE: (logging.ERROR, "task %s[%s] failed after %.3fs: %s"),
}


class Journal:
    """Writes task lines. Whether anybody reads a level is asked once, at boot, and not per task."""

    def __init__(self) -> None:
        self._read = frozenset(state for state, (level, _) in _LINES.items() if logger.isEnabledFor(level))

    def wanted(self) -> frozenset[str]:
        """Return the states of the outcomes that `settled` is to be told of: most often only those of failures."""
        return frozenset(_LINES) if events.task_settled.receivers else self._read

    def settled(self, request: Request, outcome: Outcome) -> None:
        """Tell that an outcome is committed."""
        if outcome.state in self._read:
            self._write(request, outcome)
        if events.task_settled.receivers:
            events.task_settled.send(request.task, outcome=outcome, request=request)

    def _write(self, request: Request, outcome: Outcome) -> None:
        level, text = _LINES[outcome.state]
        expected = outcome.state == FAILURE and outcome.traceback is None
        logger.log(
            logging.INFO if expected else level,
            text,
            request.task,
            request.id,
            outcome.runtime,
            outcome.error,
            extra={
                "event": f"task_{outcome.state.lower()}",
                "task": request.task,
                "task_id": request.id,
                "queue": request.queue,
                "runtime": round(outcome.runtime, 6),
                "deliveries": request.deliveries,
                "task_traceback": outcome.traceback,
            },
        )
