"""A worker in a thread of the test's own process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celeriac import Celeriac
from celeriac.runtime.worker import Worker


@contextmanager
def running(app: Celeriac, *, pool: str = "solo", **options: Any) -> Iterator[Worker]:
    """Run a worker of `app` until the block ends; it must then stop cleanly, unless the test stopped it itself."""
    worker = Worker(app, pool=pool, **options)
    thread = threading.Thread(target=worker.run, name="test-worker", daemon=True)
    thread.start()
    try:
        assert worker.ready.wait(10), "the worker did not start"
        yield worker
    finally:
        worker.stop()
        thread.join(20)
    assert not thread.is_alive(), "the worker did not stop"


def eventually(condition: Callable[[], Any], what: str, seconds: float = 10.0) -> Any:
    """Wait for an effect in a store that announces nothing to its observers; return what `condition` returned."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.01)
    return value
