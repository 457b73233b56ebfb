"""What is settled instead of a verdict that cannot be written as it is: a result too large for its store, say.

Each is a dead letter, so that nothing is lost, and each carries less than the one before:

1. without what follows the run: a callback that no broker takes;
2. with a failure in place of its result, which says why: who waits is told, and error callbacks are called;
3. with nothing at all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from msgspec.structs import replace

from celeriac.model.document import safe_repr
from celeriac.model.outcome import Action
from celeriac.model.record import FAILURE
from celeriac.runtime.commits import Item
from celeriac.runtime.failures import Failures
from celeriac.runtime.recording import plain_text

__all__ = ["fallbacks"]

logger: logging.Logger = logging.getLogger(__name__)


def fallbacks(item: Item, error: Exception, failures: Failures | None) -> Iterator[Item]:
    """Yield what to settle instead of `item`, which could not be written for this error, in order."""
    reason = plain_text(f"settling failed: {safe_repr(error)}")
    bare = replace(item.verdict, action=Action.DEAD, reason=reason, delay=0.0, followups=())
    yield replace(item, verdict=bare)
    if bare.records and item.held is not None and failures is not None:
        request = item.held.request
        try:
            told = failures.consequences(request.message, request.queue, FAILURE, error)
        except Exception:  # the message itself is yet to be settled
            logger.exception("a failure is not recorded", extra={"event": "internal_error", "task": request.task})
        else:
            failed = replace(
                bare, records=told.records, followups=told.followups, joins=(), grows=(), parts=told.parts, closes=()
            )
            outcome = item.outcome and replace(item.outcome, state=FAILURE, error=safe_repr(error), traceback="")
            yield replace(item, verdict=failed, outcome=outcome)
    yield replace(item, verdict=replace(bare, records=()))
