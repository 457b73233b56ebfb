"""The joins that are open, what their members gave, and which are closed."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence

from celeriac.model.join import Growth, Join, Part
from celeriac.model.message import Message

__all__ = ["Joins"]


class _Open:
    """One join. `parts` is None once it is closed; `told` whether its message was published in a settlement."""

    __slots__ = ("added", "failures", "join", "parts", "size", "succeeded", "successes", "told")

    def __init__(self, join: Join) -> None:
        self.join = join
        self.size, self.successes, self.failures = join.size, join.successes, join.failures
        self.parts: dict[str, Part] | None = {}
        self.succeeded = 0
        self.added: set[str] = set()
        self.told = False

    @property
    def complete(self) -> bool:
        if self.parts is None:
            return False
        ended = len(self.parts)
        return self.succeeded >= self.successes or ended - self.succeeded >= self.failures or ended >= self.size

    def take(self, part: Part) -> bool:
        """Take a part in; return whether it tells of the join, and does not just come late."""
        assert self.parts is not None  # noqa: S101  who calls this has looked
        if part.member in self.parts:
            return True
        late = self.complete
        self.parts[part.member] = part
        self.succeeded += part.succeeded
        return not late


class Joins:
    """The joins of one store. Not thread-safe. `tick` is `Clock.monotonic()`."""

    def __init__(self) -> None:
        self._known: dict[str, _Open] = {}
        self._expiries: list[tuple[float, str]] = []

    def open(self, joins: Sequence[Join], tick: float) -> None:
        for join in joins:
            if join.id in self._known:
                continue
            self._known[join.id] = _Open(join)
            if join.expires_seconds is not None:
                heapq.heappush(self._expiries, (tick + join.expires_seconds, join.id))

    def grow(self, growths: Sequence[Growth]) -> None:
        for growth in growths:
            known = self._known.get(growth.join)
            if known is not None and growth.member not in known.added:
                known.added.add(growth.member)
                known.size += 1
                known.successes += growth.successes
                known.failures += growth.failures

    def give(self, parts: Sequence[Part], tick: float, *, once: bool = False) -> list[Message]:
        """Return the messages of joins that are complete by these parts, or to which one of them came before.

        With `once` only of those whose message was not returned so before.
        """
        self._expire(tick)
        telling: dict[str, _Open] = {}
        for part in parts:
            known = self._known.get(part.join)
            if known is None or known.parts is None:
                continue
            if known.take(part) or once:
                telling[part.join] = known
        complete = [each for each in telling.values() if each.complete and not (once and each.told)]
        if once:
            for each in complete:
                each.told = True
        return [each.join.message for each in complete]

    def messages(self, parts: Sequence[Part]) -> list[Message]:
        """Return the messages that these parts may bring about."""
        return [self._known[id_].join.message for id_ in {part.join for part in parts} if id_ in self._known]

    def parts(self, id_: str, tick: float) -> list[Part]:
        self._expire(tick)
        known = self._known.get(id_)
        return [] if known is None else sorted((known.parts or {}).values(), key=lambda part: (part.place, part.member))

    def close(self, ids: Collection[str]) -> None:
        for id_ in ids:
            if id_ in self._known:
                self._known[id_].parts = None

    def _expire(self, tick: float) -> None:
        while self._expiries and self._expiries[0][0] <= tick:
            self._known.pop(heapq.heappop(self._expiries)[1], None)
