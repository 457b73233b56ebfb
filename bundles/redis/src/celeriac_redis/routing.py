"""Which server a command goes to: the only one, or the node of a cluster that has the slot of its key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from time import monotonic, sleep
from typing import Any, Final

import hiredis
from redis.crc import key_slot

from celeriac_redis.dialing import Dialler
from celeriac_redis.location import Node
from celeriac_redis.replies import LinkLost, Refused, code_of
from celeriac_redis.wire import Argument, pack
from celeriac_redis.wires import Wires

__all__ = ["Routing", "SlotRouting", "StraightRouting"]

_REDIRECTS: Final = 5
_PAUSE_SECONDS: Final = 0.05
"""Before asking again for what a node cannot answer while a slot is moving or a primary is being elected."""
_ASKING: Final = pack(("ASKING",))
_SLOTS: Final = pack(("CLUSTER", "SLOTS"))


class Routing(ABC):
    """Sends packed commands where they belong. The key of a command without one is None."""

    @abstractmethod
    def exchange(self, packed: list[bytes], keys: Sequence[Argument | None], end: float) -> list[Any]:
        """Send commands and return their replies in the same order."""

    @abstractmethod
    def at(self, key: Argument | None, end: float) -> Wires:
        """Return the wires to the server that has a key."""

    @abstractmethod
    def everywhere(self, end: float) -> Iterable[Wires]:
        """Return the wires to every server that takes writes."""

    @abstractmethod
    def forget(self) -> None:
        """Close what is idle, and learn anew where things are."""

    @abstractmethod
    def close(self) -> None:
        """Close everything; calls under way fail."""


class StraightRouting(Routing):
    """Everything goes to one server."""

    def __init__(self, wires: Wires) -> None:
        self._wires = wires

    def exchange(self, packed: list[bytes], keys: Sequence[Argument | None], end: float) -> list[Any]:
        count = len(packed)
        return self._wires.call(packed[0] if count == 1 else b"".join(packed), count, end)

    def at(self, key: Argument | None, end: float) -> Wires:
        return self._wires

    def everywhere(self, end: float) -> Iterable[Wires]:
        return [self._wires]

    def forget(self) -> None:
        self._wires.forget_idle()

    def close(self) -> None:
        self._wires.close()


class SlotRouting(Routing):
    """Each key has one of 16384 slots, and each slot one primary.

    1. The map of slots is asked of any node that answers, and kept.
    2. Commands are sent node by node, in their order for each node.
    3. A command that was sent to the wrong node is sent on to the one that it names, and the map is learnt anew.
    """

    def __init__(self, dialler: Dialler) -> None:
        self._dialler = dialler
        # Without a lock, which a fork would leave locked; setting one key of a dictionary is atomic.
        self._nodes: dict[Node, Wires] = {}
        self._slots: list[Node] | None = None
        self._asked = 0
        self._closed = False

    def exchange(self, packed: list[bytes], keys: Sequence[Argument | None], end: float) -> list[Any]:
        try:
            return self._exchanged(packed, keys, end)
        except LinkLost:
            # The node may be dead, and another one have its slots by now.
            self.forget()
            raise

    def _exchanged(self, packed: list[bytes], keys: Sequence[Argument | None], end: float) -> list[Any]:
        replies: list[Any] = [None] * len(packed)
        by_node: dict[Node, list[int]] = {}
        for index, key in enumerate(keys):
            by_node.setdefault(self._node(key, end), []).append(index)
        for node, indexes in by_node.items():
            answers = self._to(node).call(b"".join([packed[index] for index in indexes]), len(indexes), end)
            for index, answer in zip(indexes, answers, strict=True):
                replies[index] = answer
        for index, reply in enumerate(replies):
            if reply.__class__ is hiredis.ReplyError:
                replies[index] = self._redirected(packed[index], keys[index], reply, end)
        return replies

    def _redirected(self, packed: bytes, key: Argument | None, reply: BaseException, end: float) -> Any:
        """Follow a command to the node that has its slot now; return its reply, or the last refusal."""
        node = self._node(key, end)
        for _ in range(_REDIRECTS):
            code = code_of(reply)
            if code == "ASK":
                node = _named(reply, node)
                (_, answer) = self._to(node).call(_ASKING + packed, 2, end)
            elif code in ("MOVED", "TRYAGAIN", "CLUSTERDOWN"):
                self.forget()
                if code == "MOVED":
                    node = _named(reply, node)
                else:
                    sleep(max(0.0, min(_PAUSE_SECONDS, end - monotonic())))
                    node = self._node(key, end)
                (answer,) = self._to(node).call(packed, 1, end)
            else:
                return reply
            if answer.__class__ is not hiredis.ReplyError:
                return answer
            reply = answer
        return reply

    def at(self, key: Argument | None, end: float) -> Wires:
        return self._to(self._node(key, end))

    def everywhere(self, end: float) -> Iterable[Wires]:
        return [self._to(node) for node in sorted(set(self._known(end)))]

    def forget(self) -> None:
        self._slots = None

    def close(self) -> None:
        self._closed = True
        for wires in list(self._nodes.values()):
            wires.close()

    def _to(self, node: Node) -> Wires:
        found = self._nodes.get(node)
        if found is None:
            found = self._nodes.setdefault(node, Wires(self._dialler, node))
            if self._closed:
                found.close()
        return found

    def _node(self, key: Argument | None, end: float) -> Node:
        slots = self._known(end)
        if key is None:
            return slots[0]
        return slots[key_slot(key if isinstance(key, bytes) else str(key).encode())]

    def _known(self, end: float) -> list[Node]:
        slots = self._slots
        if slots is None:
            slots = self._slots = self._learnt(end)
        return slots

    def _learnt(self, end: float) -> list[Node]:
        """Ask the nodes for the map of slots, beginning with another one each time: one may be cut off and not know."""
        error: LinkLost = LinkLost("no node of the cluster answers")
        known = list(dict.fromkeys([*self._dialler.location.nodes, *self._nodes]))
        first = self._asked % len(known)
        for node in known[first:] + known[:first]:
            self._asked += 1
            # One that is silent must not use up the time of the others.
            now = monotonic()
            try:
                (answer,) = self._to(node).call(_SLOTS, 1, now + max((end - now) / 2, 0.0))
                if isinstance(answer, list):
                    return _map_of(answer, node)
                error = LinkLost(f"{node[0]}:{node[1]} is no node of a cluster ({answer})")
            except Refused:
                raise
            except LinkLost as lost:
                error = lost
        raise error


def _map_of(ranges: list[Any], asked: Node) -> list[Node]:
    """Read the answer to CLUSTER SLOTS. A node that does not know its own host name is where it was asked."""
    slots: list[Node | None] = [None] * 16384
    for first, last, primary, *_ in ranges:
        host = primary[0].decode() if primary[0] else asked[0]
        slots[first : last + 1] = [(host, primary[1])] * (last + 1 - first)
    known = [node for node in slots if node is not None]
    if len(known) < len(slots):
        raise LinkLost("the cluster does not serve all slots")
    return known


def _named(reply: BaseException, asked: Node) -> Node:
    """Return the node that a MOVED or ASK names; without a host it is at that of the node that was asked."""
    host, _, port = str(reply).rpartition(" ")[2].rpartition(":")
    return (host if host not in ("", "?") else asked[0]), int(port)
