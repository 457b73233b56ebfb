"""Leases, buckets, semaphores and expiring sets."""

from __future__ import annotations

import math
from collections.abc import Collection
from itertools import count

__all__ = ["Agreements"]


class _ExpiringSet:
    """Members with the moment each leaves. Swept when it has doubled, so that sweeping costs nothing per member."""

    def __init__(self) -> None:
        self.until: dict[str, float] = {}
        self._sweep_at = 64

    def add(self, member: str, until: float, tick: float) -> None:
        self.until[member] = until
        if len(self.until) >= self._sweep_at:
            self.sweep(tick)
            self._sweep_at = max(64, 2 * len(self.until))

    def sweep(self, tick: float) -> None:
        self.until = {member: until for member, until in self.until.items() if until > tick}

    def holds(self, member: str, tick: float) -> bool:
        return self.until.get(member, -math.inf) > tick


class Agreements:
    """What processes agree upon. Not thread-safe. `tick` is `Clock.monotonic()`."""

    def __init__(self) -> None:
        self._leases: dict[str, tuple[str, int, float]] = {}
        """By name: owner, fencing token, until when."""
        self._tokens = count(1)
        self._buckets: dict[str, tuple[float, float]] = {}
        """By name: how many tokens there were, and when."""
        self._semaphores: dict[str, _ExpiringSet] = {}
        self._sets: dict[str, _ExpiringSet] = {}

    def lease(self, name: str, owner: str, ttl: float, tick: float) -> int | None:
        holder, token, until = self._leases.get(name, ("", 0, -math.inf))
        if until > tick and holder != owner:
            return None
        if ttl <= 0:
            self._leases.pop(name, None)
            return None
        if until <= tick:
            token = next(self._tokens)
        self._leases[name] = (owner, token, tick + ttl)
        return token

    def take(self, bucket: str, rate: float, capacity: float, amount: float, tick: float) -> float:
        level, since = self._buckets.get(bucket, (capacity, tick))
        level = min(capacity, level + (tick - since) * rate)
        if level >= amount:
            self._buckets[bucket] = (level - amount, tick)
            return 0.0
        self._buckets[bucket] = (level, tick)
        return (amount - level) / rate if rate > 0 and amount <= capacity else math.inf

    def enter(self, key: str, owner: str, limit: int, ttl: float, tick: float) -> bool:
        inside = self._semaphores.setdefault(key, _ExpiringSet())
        inside.sweep(tick)
        if ttl <= 0:
            inside.until.pop(owner, None)
        elif owner in inside.until or len(inside.until) < limit:
            inside.until[owner] = tick + ttl
        if not inside.until:
            del self._semaphores[key]
        return owner in inside.until

    def remember(self, name: str, members: Collection[str], ttl: float, tick: float) -> None:
        kept = self._sets.setdefault(name, _ExpiringSet())
        for member in members:
            if ttl > 0:
                kept.add(member, tick + ttl, tick)
            else:
                kept.until.pop(member, None)

    def recall(self, name: str, members: Collection[str], tick: float) -> set[str]:
        kept = self._sets.get(name)
        return {member for member in members if kept.holds(member, tick)} if kept is not None else set()
