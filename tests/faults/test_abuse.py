"""Tasks that do what tasks must not do, on every pool, in real workers: each ends once, and the worker goes on.

What a pool cannot promise is not asked of it: no pool can interrupt C in its own process, and only processes of their
own survive what ends a process.
"""

from __future__ import annotations

import importlib
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from fleet import APPS, Fleet, wait_until

from celeriac.errors import TimeLimitExceeded, WorkerLostError
from celeriac.kernel import plugins

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

LIMIT = 1.0
MACHINE = 5.0
"""What a loaded machine may add to a promise of a second."""

LATE, LOST = TimeLimitExceeded, WorkerLostError

WAITS = {"sleeps": LATE, "waits_for_a_peer": LATE, "swallows": LATE}
"""What any pool with hard limits can leave alone."""

ENDS = {
    "exits": SystemExit,
    "allocates": MemoryError,
    "prints": None,
    "recurses": RecursionError,
    "starts_threads": None,
}
"""What ends by itself, and harms no worker."""

COMPUTES = {"computes": LATE}
"""What only those can leave alone that need not be asked to."""

DESTROYS = {
    "computes_in_c": LATE,
    "ignores_signals": LATE,
    "forks": None,
    "forks_and_sleeps": LATE,
    "forks_and_returns_twice": None,
    "closes_descriptors": (None, LOST),
    "leaves": LOST,
    "segfaults": LOST,
    "is_killed": LOST,
    "is_stopped": LATE,
}
"""What only a process of its own survives."""

CLAIMS = {
    "prefork": {**WAITS, **ENDS, **COMPUTES, **DESTROYS},
    "threads": {**WAITS, **ENDS, **COMPUTES},
    "asyncio": {**WAITS, **ENDS, **COMPUTES},
    "gevent": {**WAITS, **ENDS},
    "eventlet": {**WAITS, **ENDS},
    "solo": ENDS,
}

MATRIX = [
    pytest.param(pool, task, expected, id=f"{pool}-{task}")
    for pool, claims in CLAIMS.items()
    if pool in plugins.names("pool")
    for task, expected in claims.items()
]


@pytest.fixture(scope="module")
def abuse(tmp_path_factory) -> Iterator[tuple[Fleet, object]]:
    home = tmp_path_factory.mktemp("abuse")
    with Fleet(home) as fleet, pytest.MonkeyPatch.context() as patched:
        for name in ("FAULTS_HOME", "FAULTS_BROKER"):
            patched.setenv(name, fleet.environment[name])
        patched.syspath_prepend(str(APPS))
        sys.modules.pop("abuse_app", None)
        module = importlib.import_module("abuse_app")
        yield fleet, module
        module.app.close()
        sys.modules.pop("abuse_app", None)
    orphans = home / "orphans"
    for pid in orphans.read_text().split() if orphans.exists() else ():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


@pytest.mark.parametrize(("pool", "task", "expected"), MATRIX)
def test_a_task_that_misbehaves_ends_once_and_its_worker_goes_on(abuse, pool, task, expected):
    fleet, module = abuse
    worker = fleet.start("-c", "1", pool=pool, app="abuse_app")
    first = module.ping.apply_async()
    first.get(timeout=60)

    result = getattr(module, task).apply_async(time_limit=LIMIT if expected is LATE else None)
    begun = time.monotonic()
    following = module.ping.delay()
    following.get(timeout=60)
    took = time.monotonic() - begun

    assert took < LIMIT + 1.0 + MACHINE
    assert ended(result) in (expected if isinstance(expected, tuple) else (expected,))
    assert worker.poll() is None
    worker.terminate()
    assert worker.wait(30) in (0, 1, 75), fleet.log(worker)
    assert len(endings(fleet.log(worker), result.id)) == 1
    assert "internal_error" not in fleet.log(worker)


def ended(result):
    """Return the class of the error that a task ended in, or None."""
    wait_until(result.ready, 30, "the result is there")
    error = result.get(propagate=False)
    if not isinstance(error, BaseException):
        return None
    kinds = {"SystemExit": SystemExit}
    return kinds.get(getattr(error, "type_name", ""), type(error))


def endings(log, task_id):
    return re.findall(rf"task abuse_app\.\w+\[{task_id}\] (?:succeeded|failed|rejected|revoked|retries)", log)
