"""Who reads the socket: whoever waits for something of it, if nobody does already."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from time import monotonic

from celeriac_amqp.failures import DeadlineExceeded, LinkLost
from celeriac_amqp.wire import Wire

__all__ = ["Pump"]


class _Follower:
    """A thread that waits while another one reads."""

    __slots__ = ("_bell", "done")

    def __init__(self, done: Callable[[], object]) -> None:
        self.done = done
        self._bell = threading.Lock()
        self._bell.acquire()

    def wait(self, seconds: float) -> None:
        self._bell.acquire(timeout=seconds)

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._bell.release()


class Pump:
    """Reading by turns: the leader/followers pattern (Schmidt and others, 2000), so that no thread only reads.

    1. Who waits and finds nobody reading leads: it reads, gives out what arrived, and stops when it has its own.
    2. Who finds a leader follows: it sleeps until the leader has given it what it waits for, or the lead is free.
    3. Who needs the lead itself (py-amqp can only be talked to by the one thread that reads) nudges the leader, and
       nobody else gets it in between.
    """

    def __init__(
        self,
        arrived: Callable[[bytes], object],
        lost: Callable[[], LinkLost | None],
        failed: Callable[[LinkLost], object],
    ) -> None:
        self._arrived = arrived
        self._lost = lost
        self._failed = failed
        self._state = threading.Lock()
        self._followers: list[_Follower] = []
        self._claims: list[_Follower] = []
        self._leader = 0
        self.wire: Wire | None = None

    def wait(self, done: Callable[[], object], end: float) -> bool:
        """Return True once `done()` is true, False at the moment `end`. Raises: LinkLost."""
        while not done():
            self._check()
            left = end - monotonic()
            if left <= 0:
                return False
            follower: _Follower | None = None
            with self._state:
                if self._leader or self._claims:
                    follower = _Follower(done)
                    self._followers.append(follower)
                else:
                    self._leader = threading.get_ident()
            if follower is None:
                try:
                    self._lead(done, end)
                finally:
                    self._yield()
                continue
            try:
                # It may have come true before the leader could know of us.
                if not done() and self._lost() is None:
                    follower.wait(left)
            finally:
                self._leave(follower)
        return True

    def _leave(self, follower: _Follower) -> None:
        with self._state:
            if follower in self._followers:
                self._followers.remove(follower)
            self._appoint()

    def _appoint(self) -> None:
        """Wake who may lead next, if nobody does."""
        if not self._leader:
            for each in self._claims or self._followers[:1]:
                each.wake()

    def _yield(self) -> None:
        self.rouse()
        with self._state:
            self._leader = 0
            self._appoint()
        self._reap()

    def _lead(self, done: Callable[[], object], end: float) -> None:
        while not self._claims and self._lost() is None:
            if self.once(end):
                if done():
                    return
            elif done() or monotonic() >= end:
                return

    def once(self, end: float) -> bool:
        """As the leader: read and give out what is there, or wait for more; return whether something came."""
        try:
            wire = self._wire()
            data = wire.read()
            if data is None:
                wire.wait(max(end - monotonic(), 0.0))
                data = wire.read()
                if data is None:
                    return False
            self._arrived(data)
        except LinkLost as lost:
            self._failed(lost)
            # What was the reason first: this may only be its consequence.
            raise self._lost() or lost from lost
        self.rouse()
        return True

    def now(self) -> None:
        """Read what has arrived, if nobody else is reading."""
        me = threading.get_ident()
        with self._state:
            nested = self._leader == me
            if (self._leader or self._claims) and not nested:
                return
            self._leader = me
        try:
            data = self._wire().read()
            if data is not None:
                self._arrived(data)
        except LinkLost as lost:
            self._failed(lost)
            # What was the reason first: this may only be its consequence.
            raise self._lost() or lost from lost
        finally:
            if not nested:
                self._yield()

    @contextlib.contextmanager
    def leading(self, end: float) -> Iterator[None]:
        """Have the lead, whoever has it now. Raises: LinkLost. DeadlineExceeded."""
        claim = _Follower(lambda: False)
        with self._state:
            self._claims.append(claim)
        try:
            while True:
                self._check()
                with self._state:
                    if not self._leader and self._claims[0] is claim:
                        self._leader = threading.get_ident()
                        break
                left = end - monotonic()
                if left <= 0:
                    raise DeadlineExceeded("RabbitMQ was not free for this request in time", sent=False)
                if self.wire is not None:
                    self.wire.nudge()
                claim.wait(left)
        finally:
            with self._state:
                self._claims.remove(claim)
                self._appoint()
        try:
            yield
        finally:
            self._yield()

    def rouse(self) -> None:
        """Wake every follower that has what it waits for, and let the leader look too when that is another thread."""
        lost = self._lost() is not None
        with self._state:
            for follower in self._followers:
                if lost or follower.done():
                    follower.wake()
            if lost:
                for claim in self._claims:
                    claim.wake()
            outside = self._leader and self._leader != threading.get_ident()
        if outside and self.wire is not None:
            self.wire.nudge()

    def abandon(self) -> None:
        """In a forked process, close its copies of what belongs to the parent; locks may be held by nobody."""
        wire, self.wire = self.wire, None
        if wire is not None:
            wire.close()

    def stop(self) -> None:
        """Wake everybody after the link was lost, and give the socket back as soon as nobody reads it."""
        if self.wire is not None:
            self.wire.hang_up()
        self.rouse()
        self._reap()

    def _reap(self) -> None:
        if self._lost() is None:
            return
        with self._state:
            wire = None if self._leader else self.wire
            if wire is not None:
                self.wire = None
        if wire is not None:
            wire.close()

    def _check(self) -> None:
        lost = self._lost()
        if lost is not None:
            raise lost

    def _wire(self) -> Wire:
        if self.wire is None:
            raise self._lost() or LinkLost("the link is not open")
        return self.wire
