"""What stands in for the parts around the one of the runtime that a test is about."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from celeriac.model.message import Message
from celeriac.model.outcome import Outcome
from celeriac.model.protocol import task_headers
from celeriac.model.record import SUCCESS, ResultRecord
from celeriac.model.request import Request
from celeriac.spi.pool import Pool, PoolContext

HOLDER = "worker@box"


class Slots(Pool):
    """A pool whose slots the test moves by hand: what is submitted waits until it says otherwise."""

    def __init__(self, concurrency: int = 1) -> None:
        super().__init__(concurrency, PoolContext(execute=_never, failed=_never, report=_never, started=_never))
        self.waiting: deque[Request] = deque()
        self.arrived = threading.Condition()
        self.broken: BaseException | None = None

    def _start(self) -> None:
        pass

    def _submit(self, requests: Sequence[Request]) -> None:
        if self.broken is not None:
            raise self.broken
        with self.arrived:
            self.waiting.extend(requests)
            self.arrived.notify_all()

    def _drain(self) -> list[Request]:
        taken = list(self.waiting)
        self.waiting.clear()
        return taken

    def _stop(self, timeout: float | None) -> list[Request]:
        return self._drain()

    def wait_for(self, count: int, timeout: float = 5.0) -> list[Request]:
        """Return what waits, once that is `count` requests."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.waiting) >= count, timeout), self.waiting
            return list(self.waiting)


def _never(*_):
    raise AssertionError


def make_message(task="echo", id="id", body=b"[[], {}, {}]", **headers) -> Message:  # noqa: A002  the protocol's name
    table = task_headers(task=task, id=id, origin="test", argsrepr="", kwargsrepr="")
    table.update(headers)
    return Message(body=body, headers=table, routing_key="celery")


def make_request(key=1, task="echo", **fields) -> Request:
    return Request(
        key=key, task=task, id=f"id-{key}", message=make_message(task, f"id-{key}"), queue="celery",
        deliveries=1, received=0.0, **fields,
    )  # fmt: skip


def make_outcome(key=1, **fields) -> Outcome:
    record = ResultRecord(id=f"id-{key}", state=SUCCESS, payload=b"{}")
    return Outcome(**{"key": key, "state": SUCCESS, "records": (record,), **fields})
