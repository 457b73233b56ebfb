"""Dead and parked messages: listing, replaying, discarding.

Each queue has a sorted set of either kind. All scores are 0, so that members lie in the order of their text, which
begins with when they were put aside; the id of a letter is that beginning, then d or p, a colon and the queue.
"""

from __future__ import annotations

import heapq
import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from time import monotonic
from typing import Final

from celeriac.spi.transport import Letter, LetterKind
from celeriac_redis.envelope import open_envelope
from celeriac_redis.keys import Keys
from celeriac_redis.link import Link
from celeriac_redis.scripts import REPLAY

__all__ = ["Letters"]

_KINDS: Final[dict[str, LetterKind]] = {"d": "dead", "p": "parked"}
_NUMBER_LENGTH: Final = 22
_ID: Final = re.compile(r"(?P<number>[0-9]{22})(?P<kind>[dp]):(?P<queue>.*)", re.DOTALL)
_MOST: Final = 100
"""How many letters one call moves, deletes or reads: each may be large."""
_Place = tuple[str, LetterKind]


class Letters:
    """The letters of every queue."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    def page(self, kind: LetterKind | None, limit: int, after: str | None, timeout: float) -> list[Letter]:
        """List letters, oldest first, beginning after the letter `after`."""
        end = monotonic() + timeout
        names = [name.decode() for name in self._link.run(b"SMEMBERS", self._keys.queues, timeout=timeout)]
        kinds = [kind] if kind is not None else list(_KINDS.values())
        places = [(name, each) for name in sorted(names) for each in kinds]
        sizes = self._link.pipeline([(b"ZCARD", self._key(place)) for place in places], timeout=end - monotonic())
        found: list[Letter] = []
        position = after or ""
        places = [place for place, size in zip(places, sizes, strict=True) if size]
        while places and len(found) < limit:
            count = min(limit - len(found), _MOST)
            pages = [self._page(place, position, count, end) for place in places]
            page = heapq.nsmallest(count, (letter for page in pages for letter in page), key=lambda one: one.id)
            if not page:
                break
            found += page
            position = page[-1].id
        return found

    def _page(self, place: _Place, after: str, count: int, end: float) -> list[Letter]:
        """Return the letters of one queue and kind that come after an id; such as begin like it may come too."""
        queue, kind = place
        number = after[:_NUMBER_LENGTH]
        begin = f"[{number}" if number else "-"
        members = self._link.run(
            b"ZRANGEBYLEX", self._key(place), begin, "+", b"LIMIT", 0, count + 1, timeout=end - monotonic()
        )
        letters = [_letter(member, queue, kind) for member in members]
        return [letter for letter in letters if letter.id > after]

    def replay(self, ids: Collection[str], timeout: float) -> int:
        """Put letters back on their queues, with a delivery count of 0; return how many there were."""
        end = monotonic() + timeout
        count = 0
        for place, numbers in _by_place(ids):
            keys = [self._key(place), self._keys.queue(place[0]).main]
            count += self._link.script(REPLAY, keys, numbers, timeout=end - monotonic())
        return count

    def discard(self, ids: Collection[str], timeout: float) -> int:
        """Delete letters; return how many there were."""
        commands = [
            (b"ZREMRANGEBYLEX", self._key(place), f"[{number}", f"({number}:")
            for place, numbers in _by_place(ids)
            for number in numbers
        ]
        return sum(self._link.pipeline(commands, timeout=timeout))

    def _key(self, place: _Place) -> bytes:
        return self._keys.queue(place[0]).base + place[1].encode()


def _letter(member: bytes, queue: str, kind: LetterKind) -> Letter:
    """Read a member: 22 digits, the priority step, the length of the reason, a colon, the reason, the message."""
    number = member[:_NUMBER_LENGTH].decode()
    size, _, rest = member[_NUMBER_LENGTH + 1 :].partition(b":")
    reason, raw = rest[: int(size)], rest[int(size) :]
    message, before = open_envelope(raw, queue)
    return Letter(
        id=f"{number}{kind[0]}:{queue}",
        kind=kind,
        queue=queue,
        reason=reason.decode("utf-8", "replace"),
        moment=int(number[:16]) / 1e6,
        deliveries=before + 1,
        message=message,
    )


def _by_place(ids: Iterable[str]) -> Iterable[tuple[_Place, list[str]]]:
    """Sort ids by where their letters are, in portions, the oldest first; what is no id of a letter is no letter."""
    found: defaultdict[_Place, list[str]] = defaultdict(list)
    for id_ in sorted(set(ids)):
        number, rest = id_[:_NUMBER_LENGTH], id_[_NUMBER_LENGTH:]
        kind, colon, queue = rest[:1], rest[1:2], rest[2:]
        if (
            len(number) == _NUMBER_LENGTH
            and number.isascii()
            and number.isdecimal()
            and kind in _KINDS
            and colon == ":"
        ):
            found[queue, _KINDS[kind]].append(number)
    for place, numbers in found.items():
        for start in range(0, len(numbers), _MOST):
            yield place, numbers[start : start + _MOST]
