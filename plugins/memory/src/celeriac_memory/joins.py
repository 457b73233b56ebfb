"""The joins that are open, what their members gave, and which are closed."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence

from celeriac.model.join import Join, Part
from celeriac.model.message import Message

__all__ = ["Joins"]


class _Open:
    """One join. `parts` is None once it is closed; `told` whether its message was published in a settlement."""

    __slots__ = ("join", "parts", "told")

    def __init__(self, join: Join) -> None:
        self.join = join
        self.parts: dict[str, Part] | None = {}
        self.told = False

    @property
    def complete(self) -> bool:
        if self.parts is None:
            return False
        succeeded = sum(part.succeeded for part in self.parts.values())
        failed = len(self.parts) - succeeded
        join = self.join
        return succeeded >= join.successes or failed >= join.failures or len(self.parts) >= join.size


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
            late = known.complete and part.member not in known.parts
            known.parts.setdefault(part.member, part)
            if not late or once:
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
        return [] if known is None else sorted((known.parts or {}).values(), key=lambda part: part.place)

    def close(self, ids: Collection[str]) -> None:
        for id_ in ids:
            if id_ in self._known:
                self._known[id_].parts = None

    def _expire(self, tick: float) -> None:
        while self._expiries and self._expiries[0][0] <= tick:
            self._known.pop(heapq.heappop(self._expiries)[1], None)
