"""A connection to a reply queue whose messages a test puts in."""

from __future__ import annotations

import json
import queue
import threading

from celeriac_amqp.failures import LinkLost
from celeriac_amqp.frames import Incoming, Properties

__all__ = ["ScriptedLine", "message"]


class ScriptedLine:
    """A connection whose messages the test puts in."""

    def __init__(self, fails: BaseException | None = None):
        self.fails = fails
        self.arriving: queue.SimpleQueue[Incoming | None] = queue.SimpleQueue()
        self.lost = False
        self.acked: list[int] = []
        self.log: list[str] = []
        self.taking = threading.Event()
        self.takers = 0

    def open(self, timeout):
        self.log.append("open")
        if self.fails is not None:
            raise self.fails

    def take(self, timeout):
        self.takers += 1
        assert self.takers == 1, "one thread takes at a time"
        try:
            if timeout:
                self.taking.set()
            found = []
            while True:
                try:
                    item = self.arriving.get(timeout=timeout) if timeout and not found else self.arriving.get_nowait()
                except queue.Empty:
                    return found
                if self.lost:
                    raise LinkLost("gone")
                if item is None:
                    return found
                found.append(item)
        finally:
            self.takers -= 1

    def ack(self, tags):
        self.acked += tags

    def wake(self):
        self.arriving.put(None)

    def close(self, *, delete):
        self.log.append("delete" if delete else "close")
        self.lost = True

    def bring(self, *items):
        for item in items:
            self.arriving.put(item)

    def breaks(self):
        self.lost = True
        self.arriving.put(None)


def message(id_, status="SUCCESS", tag=1, **document) -> Incoming:
    return Incoming(
        queue="me",
        exchange="",
        routing_key="me",
        redelivered=False,
        properties=Properties(content_type="application/json", content_encoding="utf-8", correlation_id=id_),
        headers={},
        body=json.dumps({"status": status, **document}).encode(),
        tag=tag,
    )
