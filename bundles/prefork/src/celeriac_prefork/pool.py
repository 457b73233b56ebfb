"""The prefork pool: a parent that hands out and settles, a zygote that forks, children that run.

1. `start` forks the zygote, the only process that forks children. Then it starts one thread, the collector.
2. `submit` writes requests into a socket that all idle children read from (`dispatch`).
3. Children put outcomes into rings in shared memory; the collector reads them, tells of starts in their order and
   reports in batches. It sleeps only when all rings are empty, and children wake it only when it said that it sleeps.
4. It looks now and then: which runs have begun, which limits are reached (`limits`), whether anything is lost.
5. A child that ended has left everything in its slot: outcomes are read, then the run it had is failed, or handed to
   another child if it had not begun.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from signal import Signals

from celeriac.errors import ConfigurationError, InternalError
from celeriac.model.request import Request
from celeriac.spi.pool import Kills, Places, Pool, PoolContext, Resizes
from celeriac_prefork.brood import Brood, warn_of_threads
from celeriac_prefork.child import Wear, Work
from celeriac_prefork.collector import Collector
from celeriac_prefork.crew import Crew
from celeriac_prefork.dispatch import AHEAD, Dispatch
from celeriac_prefork.family import Inheritance, be_zygote
from celeriac_prefork.forking import fork
from celeriac_prefork.frames import Frames
from celeriac_prefork.limits import Limits
from celeriac_prefork.memory import SharedFile
from celeriac_prefork.parts import Parts
from celeriac_prefork.plugin import CAPABILITIES
from celeriac_prefork.slots import Board
from celeriac_prefork.spawning import spawn_zygote
from celeriac_prefork.spool import Spool
from celeriac_prefork.zygote import Handle

__all__ = ["PreforkPool"]

LOOKS = 50
LOOK_SECONDS = 0.001
"""How often, and how soon again, to look for the child of a run whose start is being told."""
FAREWELL_SECONDS = 5.0
"""How long idle children may take to end (`worker_process_shutdown` and whatever else runs then)."""


class PreforkPool(Pool, Kills, Places, Resizes):
    """Runs tasks in `concurrency` child processes."""

    capabilities = CAPABILITIES

    def __init__(self, concurrency: int, context: PoolContext) -> None:
        super().__init__(concurrency, context)
        self._lock = threading.Lock()
        self._stopped = False
        self._file: SharedFile | None = None
        self._parts: Parts | None = None
        self._collector: Collector | None = None

    @property
    def zygote(self) -> int:
        """The process id of the zygote; 0 before the start."""
        return 0 if self._parts is None else self._parts.brood.pid

    def _start(self) -> None:
        file, spool = SharedFile(), Spool()
        frames = Frames(spool)
        dispatch, board = Dispatch(frames, spool), Board(file)
        self._file = file
        try:
            brood = Brood(lambda near, theirs: self._start_zygote(near, theirs, dispatch, file, spool))
        except BaseException:
            for part in (dispatch, board, file):
                part.close()
            spool.remove()
            raise
        crew = Crew(file, brood.control, dispatch, self.concurrency)
        limits = Limits(crew, dispatch)
        self._parts = Parts(
            context=self.context,
            lock=self._lock,
            dispatch=dispatch,
            crew=crew,
            limits=limits,
            board=board,
            frames=frames,
            spool=spool,
            brood=brood,
        )
        self._collector = Collector(self._parts)
        self._set_window(self._parts)
        crew.fill()
        self._collector.start()

    def _start_zygote(
        self, near: socket.socket, theirs: socket.socket, dispatch: Dispatch, file: SharedFile, spool: Spool
    ) -> Handle:
        context = self.context
        wear = Wear(tasks=context.max_tasks_per_child, memory=context.max_memory_per_child)
        left = Inheritance(control=theirs, source=dispatch.far, file=file, spool=spool, wear=wear)
        if context.options.get("start_method") == "spawn":
            if context.rebuild is None:
                raise ConfigurationError(
                    "With the start method 'spawn' each child imports the app, and where it is was not said."
                    " Name it, as in `celeriac -A module worker`, or start children by fork."
                )
            return spawn_zygote(left, context.rebuild)
        work = Work(
            execute=context.execute, failed=context.failed, aexecute=context.aexecute, is_async=context.is_async
        )

        def main() -> int:
            near.close()
            dispatch.near.close()
            return be_zygote(left, lambda: work)

        warn_of_threads()
        return fork(main, "celeriac-zygote")

    def _submit(self, requests: Sequence[Request]) -> None:
        with self._lock:
            if self._stopped or self._parts is None or self._collector is None:
                raise InternalError(f"{len(requests)} requests were submitted to a pool that is not at work.")
            self._parts.dispatch.add(requests)
            self._collector.expect()

    def _drain(self) -> list[Request]:
        with self._lock:
            if self._stopped or self._parts is None or self._collector is None:
                return []
            drained = self._parts.dispatch.drain()
            self._collector.tell_all()
            if not self._stopped:
                self._parts.crew.fill()
                self._parts.dispatch.push()
            return drained

    def terminate(self, key: int, *, signal: str = "TERM") -> bool:
        with self._lock:
            if self._stopped or self._parts is None or self._collector is None:
                return False
            found = self._parts.limits.terminate(key, Signals[signal if signal.startswith("SIG") else f"SIG{signal}"])
            self._collector.expect()
            return found

    def place(self, key: int) -> int | None:
        """Return the number of the process that runs a key; None if it does not run."""
        for _ in range(LOOKS):
            with self._lock:
                if self._parts is None or self._collector is None:
                    return None
                told = self._collector.telling
                if told is None or told.request.key != key:
                    return self._parts.limits.place(key)
                if pid := told.pid or self._parts.limits.holder(told):
                    return pid
            # The kernel has given it to a child, and is still writing it into the child's slot.
            time.sleep(LOOK_SECONDS)
        return None

    def resize(self, concurrency: int) -> None:
        with self._lock:
            self.concurrency = concurrency
            if self._stopped or self._parts is None or self._collector is None:
                return
            self._set_window(self._parts)
            self._parts.crew.resize(concurrency)
            self._parts.dispatch.push()
            self._collector.expect()

    def _stop(self, timeout: float | None) -> list[Request]:
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            already, self._stopped = self._stopped, True
            parts, collector = self._parts, self._collector
            if already or parts is None or collector is None:
                return []
            unstarted = parts.dispatch.drain()
            parts.dispatch.window = 0
            parts.crew.closing = True
            collector.tell_all()
            collector.waiters += 1
            collector.wake()
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            collector.settled.wait_for(lambda: not parts.dispatch.runs, left)
        collector.finish()
        parts.dispatch.end()
        left = FAREWELL_SECONDS if deadline is None else max(0.0, deadline - time.monotonic())
        parts.brood.end(0.0 if parts.dispatch.runs else min(left, FAREWELL_SECONDS))
        collector.collect()  # what ended at the last moment is reported, and not returned
        with self._lock:
            unended = [run.request for run in (*parts.dispatch.runs.values(), *parts.dispatch.waiting)]
            parts.dispatch.runs.clear()
            parts.dispatch.waiting.clear()
        self._close(parts)
        return unended + unstarted

    def _close(self, parts: Parts) -> None:
        parts.crew.close()
        parts.dispatch.close()
        parts.board.close()
        parts.brood.close()
        parts.spool.remove()
        if self._file is not None:
            self._file.close()

    def _set_window(self, parts: Parts) -> None:
        parts.dispatch.window = self.concurrency + AHEAD
